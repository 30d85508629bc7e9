//! A fault is one file, one line in the list, one example; nothing else in `src` knows its name.

use crate::lexer::{Lexed, braced, identifier, lex, test_modules, words};
use crate::modules;
use crate::tree::{File, Tree, Violation};

const INDEX: &str = "src/fault/mod.rs";

/// A line of the `catalogue!` list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The module.
    pub(crate) module: String,
    /// The type that implements `Fault`.
    pub(crate) fault: String,
    at: usize,
}

/// The list that `catalogue! { module::Fault, … }` holds.
pub(crate) fn listed(code: &str) -> Vec<Entry> {
    let Some(start) = code.find("catalogue! {") else { return Vec::new() };
    let list = braced(code, start + "catalogue! ".len());
    words(code, "::")
        .filter(|at| list.contains(at))
        .map(|at| {
            let before = code[..at].trim_end();
            let from = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |position| position + 1);
            Entry {
                module: before[from..].to_owned(),
                fault: identifier(code[at + 2..].trim_start()).to_owned(),
                at: from,
            }
        })
        .collect()
}

/// The list is complete, each fault has its example, and its name stays in its folder.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(index) = tree.get(INDEX) else { return vec![Violation::at_line(INDEX, 1, "there is no catalogue")] };
    let entries = listed(&lex(&index.text).code);
    let mut violations = Vec::new();
    if entries.is_empty() {
        violations.push(index.violation(0, "the list of `catalogue!` is empty or not found"));
    }
    for file in tree.rust("src/fault/") {
        let code = lex(&file.text).code;
        for at in words(&code, "impl Fault for") {
            let fault = identifier(code[at + "impl Fault for".len()..].trim_start());
            if !entries.iter().any(|entry| entry.fault == fault) && !in_tests(&code, at) {
                violations.push(file.violation(at, format!("`{fault}` is not in the list of `catalogue!` in {INDEX}")));
            }
        }
    }
    let program = modules::program(tree);
    // The lab speaks of the API's own words, one of which (`scale`) a fault is named after too; by its layer it may use no fault.
    let speaks_otherwise = |file: &File| ["src/fault/", "src/lab/"].iter().any(|folder| file.path.starts_with(folder));
    let others: Vec<&File> =
        tree.rust("src/").filter(|file| !speaks_otherwise(file) && program.contains(file.path.as_str())).collect();
    for entry in &entries {
        check_entry(tree, index, entry, &others, &mut violations);
    }
    violations
}

fn check_entry(tree: &Tree, index: &File, entry: &Entry, others: &[&File], violations: &mut Vec<Violation>) {
    let places = [format!("src/fault/{}.rs", entry.module), format!("src/fault/{}/mod.rs", entry.module)];
    let Some(file) = places.iter().find_map(|path| tree.get(path)) else {
        violations.push(index.violation(entry.at, format!("`{}` has no file {}", entry.module, places[0])));
        return;
    };
    let Some((at, key)) = key(file) else {
        violations.push(file.violation(0, "no `key: \"…\"` in its `ABOUT`"));
        return;
    };
    let example = format!("experiments/{}.yaml", kebab(&key));
    if !tree.get(&example).is_some_and(|e| e.text.contains(&format!("{key}:"))) {
        violations.push(file.violation(at, format!("`{key}` has no example: {example} with a step that uses it")));
    }
    for other in others {
        let lexed = lex(&other.text);
        let named = types(&lexed.code, &entry.fault).into_iter().chain(literals(&lexed, &key));
        let named = named.filter(|at| !in_tests(&lexed.code, *at));
        for at in named {
            let message = format!(
                "`{key}` is named outside src/fault: loop over the catalogue, or ask the fault through its contract"
            );
            violations.push(other.violation(at, message));
        }
    }
}

/// The key in a fault's `ABOUT`, and where.
fn key(file: &File) -> Option<(usize, String)> {
    let at = file.text.find("key: \"")?;
    let (_, key) = lex(&file.text).strings.into_iter().find(|(offset, _)| *offset > at)?;
    Some((at, key))
}

/// String literals that are the key, or hold it as a YAML key or in quotes. A key that is an everyday word may stand in a sentence.
fn literals(lexed: &Lexed, key: &str) -> Vec<usize> {
    let names = |text: &str| {
        text == key
            || words(text, key).any(|at| {
                let (before, after) = (&text[..at], &text[at + key.len()..]);
                after.starts_with(": {") || (before.ends_with(['"', '`']) && after.starts_with(['"', '`', '\\']))
            })
    };
    lexed.strings.iter().filter(|(_, text)| names(text)).map(|(at, _)| *at).collect()
}

/// Where a fault's type is named: `AnyFault::Name`, `fault::Name`, or in the group of a `use crate::fault::{…}`. Another type may
/// have the same name.
fn types(code: &str, fault: &str) -> Vec<usize> {
    let groups: Vec<_> = code.match_indices("fault::{").map(|(at, path)| braced(code, at + path.len() - 1)).collect();
    let ours = |at: &usize| {
        let path = &code[..*at];
        path.ends_with("AnyFault::") || path.ends_with("fault::") || groups.iter().any(|group| group.contains(at))
    };
    words(code, fault).filter(ours).collect()
}

fn in_tests(code: &str, at: usize) -> bool {
    test_modules(code).iter().any(|module| module.contains(&at))
}

/// `podKill` as `pod-kill`.
fn kebab(key: &str) -> String {
    key.chars().flat_map(|c| c.is_uppercase().then_some('-').into_iter().chain(c.to_lowercase())).collect()
}

#[test]
fn an_incomplete_catalogue_is_found() {
    let found = |extra: &[(&str, &str)]| {
        let whole = [
            ("src/lib.rs", "mod fault; mod plan; mod run; #[cfg(test)] mod testing;"),
            ("src/testing.rs", "const A: &str = \"podKill\";"),
            (
                "src/fault/mod.rs",
                "macro_rules! catalogue { ($a:b) => { x::Y } }\ncatalogue! {\n    pod_kill::PodKill,\n}\n",
            ),
            ("src/fault/pod_kill.rs", "impl Fault for PodKill { const ABOUT: About = About { key: \"podKill\" }; }"),
            ("experiments/pod-kill.yaml", "method: [{podKill: {}}]"),
            ("src/plan/mod.rs", "// podKill\n#[cfg(test)]\nmod tests { const A: &str = \"podKill\"; }"),
        ];
        let mut files: Vec<_> = whole.into_iter().filter(|(path, _)| !extra.iter().any(|(p, _)| p == path)).collect();
        files.extend(extra.iter().filter(|(_, text)| !text.is_empty()));
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found(&[]), "");
    assert!(found(&[("experiments/pod-kill.yaml", "")]).contains("src/fault/pod_kill.rs:1: `podKill` has no example"));
    assert!(found(&[("src/fault/pod_kill.rs", "")]).contains("src/fault/mod.rs:3: `pod_kill` has no file"));
    assert!(
        found(&[("src/fault/drain.rs", "\nimpl Fault for Drain {}")])
            .contains("src/fault/drain.rs:2: `Drain` is not in")
    );
    assert!(
        found(&[("src/run/mod.rs", "\nif key == \"podKill\" {}")]).starts_with("src/run/mod.rs:2: `podKill` is named")
    );
    assert!(found(&[("src/run/mod.rs", "match f { AnyFault::PodKill(_) => 1 }")]).starts_with("src/run/mod.rs:1:"));
    assert!(found(&[("src/run/mod.rs", "use crate::fault::{\n    Fault, PodKill};")]).starts_with("src/run/mod.rs:2:"));
    assert_eq!(found(&[("src/run/mod.rs", "struct PodKill;")]), "");
    assert_eq!(found(&[("src/run/mod.rs", "let s = \"a sentence with podKills\";")]), "");
}
