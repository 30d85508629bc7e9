//! Which files `mod` leads to, from the roots that cargo compiles.

use std::collections::BTreeSet;

use crate::catalogue;
use crate::lexer::{identifier, lex, words};
use crate::tree::{File, Tree, Violation};

/// Every Rust file in `src` and `tests` is a root, or is declared by a file that is reached.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let reached = reach(tree, tree.rust("").filter(|file| is_root(&file.path)), true);
    let message = "no `mod` leads here: declare it or delete it";
    let files = tree.rust("src/").chain(tree.rust("tests/"));
    files.filter(|file| !reached.contains(file.path.as_str())).map(|file| file.violation(0, message)).collect()
}

/// The files of the program itself: what is compiled without tests.
pub(crate) fn program(tree: &Tree) -> BTreeSet<&str> {
    reach(tree, ["src/lib.rs", "src/main.rs"].into_iter().filter_map(|path| tree.get(path)), false)
}

fn reach<'t>(tree: &'t Tree, roots: impl Iterator<Item = &'t File>, with_tests: bool) -> BTreeSet<&'t str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&File> = roots.collect();
    while let Some(file) = open.pop() {
        if reached.insert(file.path.as_str()) {
            let modules = declared(file).into_iter().filter(|module| with_tests || !module.for_tests);
            open.extend(modules.flat_map(|module| module.places).filter_map(|path| tree.get(&path)));
        }
    }
    reached
}

fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        ["src", "lib.rs" | "main.rs"] | ["tests" | "benches", _] | ["tests" | "benches", _, .., "main.rs"]
    )
}

/// A module that lies in a file of its own.
struct Module {
    /// Where it may lie.
    places: Vec<String>,
    /// Whether it stands under `#[cfg(test)]`.
    for_tests: bool,
}

/// The modules that a file declares, by `mod name;` or in the catalogue's list.
fn declared(file: &File) -> Vec<Module> {
    let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let stem = name.trim_end_matches(".rs");
    let inside = if is_root(&file.path) || stem == "mod" { folder.to_owned() } else { format!("{folder}/{stem}") };
    let lexed = lex(&file.text);
    let code = lexed.code.as_str();
    let mut modules = Vec::new();
    for at in words(code, "mod") {
        let rest = code[at + "mod".len()..].trim_start();
        let module = identifier(rest);
        if !rest[module.len()..].trim_start().starts_with(';') {
            continue;
        }
        let start = code[..at].rfind([';', '{', '}']).map_or(0, |before| before + 1);
        let attributes = &code[start..at];
        let path =
            lexed.strings.iter().find(|(offset, _)| attributes.contains("#[path") && (start..at).contains(offset));
        let places = path.map_or_else(|| places(&inside, module), |(_, path)| vec![beside(folder, path)]);
        modules.push(Module { places, for_tests: attributes.contains("#[cfg(test)]") });
    }
    let listed = catalogue::listed(code);
    modules.extend(listed.iter().map(|entry| Module { places: places(&inside, &entry.module), for_tests: false }));
    modules
}

/// A path as an attribute gives it, from the folder of its file.
fn beside(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn places(folder: &str, module: &str) -> Vec<String> {
    vec![format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]
}

#[test]
fn a_file_that_nothing_declares_is_found() {
    let tree = Tree::of(&[
        ("src/lib.rs", "pub mod a;\n// mod dead;\nmod b { }"),
        ("src/a/mod.rs", "mod c;\ncatalogue! {\n    d::D,\n}\n#[cfg(test)]\n#[path = \"d_tests.rs\"]\nmod tests;"),
        ("src/a/c.rs", "mod e;"),
        ("src/a/c/e.rs", ""),
        ("src/a/d.rs", ""),
        ("src/a/d_tests.rs", ""),
        ("src/dead.rs", ""),
        ("tests/t/main.rs", "mod u;"),
        ("tests/t/u.rs", ""),
    ]);
    let found: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
    assert_eq!(found, ["src/dead.rs:1: no `mod` leads here: declare it or delete it"]);
    let program: Vec<&str> = program(&tree).into_iter().collect();
    assert_eq!(program, ["src/a/c.rs", "src/a/c/e.rs", "src/a/d.rs", "src/a/mod.rs", "src/lib.rs"]);
}
