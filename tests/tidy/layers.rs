//! Which folder of `src` may use which, as the table in ARCHITECTURE.md says.

use std::collections::{BTreeMap, BTreeSet};

use crate::lexer::{identifier, lex, words};
use crate::tree::{Tree, Violation};

const TABLE: &str = "ARCHITECTURE.md";
/// The heading that the table stands under.
const HEADING: &str = "## Layers";
/// Says in the table's last column: everything that stands above.
const ALL: &str = "all above";

/// Every `crate::folder` in a folder of `src` is allowed by the table, and the table has no cycle.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let table = table(tree, &mut violations);
    for file in tree.rust("src/") {
        let Some((folder, _)) = file.path["src/".len()..].split_once('/') else { continue };
        let Some(allowed) = table.get(folder) else {
            let message = format!("`{folder}` has no row in the table of layers in {TABLE}");
            violations.push(Violation::at_line(&file.path, 1, message));
            continue;
        };
        for (at, used) in uses(&lex(&file.text).code) {
            if used != folder && table.contains_key(&used) && !allowed.contains(&used) {
                violations
                    .push(file.violation(at, format!("`{folder}` may not use `{used}`: see the table in {TABLE}")));
            }
        }
    }
    violations
}

/// The rows whose first cell is a folder in backticks: what it may use. A folder may use only folders above it, so that
/// there is no cycle.
fn table(tree: &Tree, violations: &mut Vec<Violation>) -> BTreeMap<String, BTreeSet<String>> {
    let mut table = BTreeMap::<String, BTreeSet<String>>::new();
    let text = tree.get(TABLE).map_or("", |file| file.text.as_str());
    let section = text.lines().enumerate().skip_while(|(_, line)| *line != HEADING).skip(1);
    for (index, line) in section.take_while(|(_, line)| !line.starts_with("## ")) {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let [folder, .., may_use] = cells.as_slice() else { continue };
        let Some(folder) = folder.strip_prefix('`').and_then(|f| f.strip_suffix('`')) else { continue };
        let mut allowed = BTreeSet::new();
        for name in may_use.split(',').map(|name| name.trim().trim_matches('`')) {
            if name == ALL {
                allowed.extend(table.keys().cloned());
            } else if table.contains_key(name) {
                allowed.insert(name.to_owned());
            } else if name != "–" {
                let message = format!("`{folder}` uses `{name}`, which has no row above it: that would be a cycle");
                violations.push(Violation::at_line(TABLE, index + 1, message));
            }
        }
        table.insert(folder.to_owned(), allowed);
    }
    if table.is_empty() {
        violations.push(Violation::at_line(TABLE, 1, format!("no table of layers under `{HEADING}`")));
    }
    table
}

/// The first segments behind `crate::`, with the groups of a `use crate::{…}`.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, "crate::") {
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            found.push((at, identifier(rest).to_owned()));
            continue;
        }
        let mut depth = 0_usize;
        for (offset, byte) in rest.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && matches!(byte, b'{' | b',') {
                let member = rest[offset + 1..].trim_start();
                found.push((at, identifier(member).to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_use_that_the_table_does_not_allow_is_found() {
    let architecture = "| `none` | of ours | - |\n## Layers\n| `scalar` | values | – |\n| `plan` | what | scalar |\n| `term` | prints | all above |\n";
    let found = |path: &str, text: &str| {
        let tree = Tree::of(&[("ARCHITECTURE.md", architecture), (path, text)]);
        check(&tree).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found("src/plan/a.rs", "use crate::scalar::X; // crate::term\nuse crate::plan::Y;"), "");
    assert_eq!(found("src/term/a.rs", "use crate::{plan::{self, X}, scalar::Y};"), "");
    let refused = "src/plan/a.rs:2: `plan` may not use `term`: see the table in ARCHITECTURE.md";
    assert_eq!(found("src/plan/a.rs", "\nfn f() { crate::term::print() }"), refused);
    assert_eq!(found("src/plan/a.rs", "\nuse crate::{scalar::{A, B}, term::C};"), refused);
    assert!(found("src/extra/a.rs", "").contains("no row"));
}

#[test]
fn a_cycle_in_the_table_and_a_missing_table_are_found() {
    let cycle = Tree::of(&[("ARCHITECTURE.md", "## Layers\n| `a` | x | b |\n| `b` | y | a |\n")]);
    assert_eq!(check(&cycle).len(), 1);
    assert_eq!(check(&Tree::of(&[])).len(), 1);
}
