//! Words and calls that have no place in the tree, or only in one place.

use crate::lexer::{lex, words};
use crate::tree::{Tree, Violation};

/// Whole words, told apart by case, with what to do instead. Written in pieces so that this file is held to the rule too.
const BANNED: [(&str, &str); 11] = [
    (concat!("TO", "DO"), UNFINISHED),
    (concat!("FIX", "ME"), UNFINISHED),
    (concat!("X", "XX"), UNFINISHED),
    (concat!("to", "do!"), UNFINISHED),
    (concat!("unimple", "mented!"), UNFINISHED),
    (concat!("#[ig", "nore]"), "say why: `= \"needs a cluster\"`"),
    (concat!("this ses", "sion"), HOW_IT_WAS_MADE),
    (concat!("Co-Auth", "ored-By"), HOW_IT_WAS_MADE),
    (concat!("assis", "tant"), HOW_IT_WAS_MADE),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("/ho", "me/"), "a path of one machine"),
];
const UNFINISHED: &str = "finish it, or open an issue";
const HOW_IT_WAS_MADE: &str = "say what the code does, not how it came about";

/// Files that others wrote, or that tools write.
const NOT_OURS: [&str; 4] = ["LICENSE", "Cargo.lock", "tests/testbed/go.mod", "tests/testbed/go.sum"];

/// No file has one of the banned words.
pub(crate) fn check_banned(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| !NOT_OURS.contains(&file.path.as_str())) {
        for (word, instead) in BANNED {
            let found = words(&file.text, word).filter(|at| !word.starts_with('/') || starts_a_path(&file.text, *at));
            violations.extend(found.map(|at| file.violation(at, format!("`{word}`: {instead}"))));
        }
    }
    violations
}

/// Whether the slash here is a path's first, as far as one can see.
fn starts_a_path(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '}' | '_' | '-' | '.' | '~'))
}

/// What prints, in code.
const PRINTING: [&str; 6] = ["println!", "eprintln!", "print!", "eprint!", "io::stdout()", "io::stderr()"];

/// Only `src/term` and `src/main.rs` print.
pub(crate) fn check_printing(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.rust("src/").filter(|f| f.path != "src/main.rs" && !f.path.starts_with("src/term/")) {
        let code = lex(&file.text).code;
        for call in PRINTING {
            violations
                .extend(words(&code, call).map(|at| file.violation(at, format!("`{call}`: only src/term prints"))));
        }
    }
    violations
}

#[test]
fn banned_words_are_found() {
    let marks = BANNED.map(|(word, _)| word).join("\n");
    assert_eq!(check_banned(&Tree::of(&[("docs/a.md", &marks)])).len(), BANNED.len());
    assert_eq!(
        check_banned(&Tree::of(&[
            ("docs/a.md", "this TLS session, TODOs, /proc/$pid/root/x, #[ignore = \"needs a cluster\"]"),
            ("LICENSE", &marks)
        ])),
        []
    );
}

#[test]
fn printing_outside_term_is_found() {
    let prints = "// println!\nfn f() { eprintln!(\"print!\"); }";
    let tree = Tree::of(&[("src/main.rs", prints), ("src/term/a.rs", prints), ("src/run/a.rs", prints)]);
    let found: Vec<String> = check_printing(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["src/run/a.rs:2: `eprintln!`: only src/term prints"]);
}
