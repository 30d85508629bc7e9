//! Files and functions stay short.

use crate::lexer::{braced, identifier, lex, words};
use crate::tree::{File, Tree, Violation};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Sources and scripts have at most [`FILE_LINES`] lines, the bodies of Rust functions at most [`FUNCTION_LINES`] with code.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in &tree.files {
        let lines = file.text.lines().count();
        let is_script = file.extension() == "sh" || file.text.starts_with("#!");
        if (is_script || matches!(file.extension(), "rs" | "go" | "py")) && lines > FILE_LINES {
            let message = format!("{lines} lines; a file has at most {FILE_LINES}: split it by what its parts are for");
            violations.push(Violation::at_line(&file.path, FILE_LINES + 1, message));
        }
        if file.extension() == "rs" {
            check_functions(file, &mut violations);
        }
    }
    violations
}

fn check_functions(file: &File, violations: &mut Vec<Violation>) {
    let code = lex(&file.text).code;
    for at in words(&code, "fn") {
        let name = identifier(code[at + 2..].trim_start());
        let Some(open) = body(&code, at) else { continue };
        let lines = code[braced(&code, open)].lines().filter(|line| !line.trim().is_empty()).count().saturating_sub(2);
        if !name.is_empty() && lines > FUNCTION_LINES {
            violations.push(
                file.violation(
                    at,
                    format!("`{name}` has {lines} lines of code; a function has at most {FUNCTION_LINES}"),
                ),
            );
        }
    }
}

/// Where the body of the function opens whose `fn` stands here; `None` for a declaration or a function type.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    None
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let long =
        |lines: usize| format!("fn short() {{}}\n\nfn long(f: [u8; 3]) {{\n{}}}\n", "    call(\"}\");\n".repeat(lines));
    let found = |text: &str| {
        check(&Tree::of(&[("src/a.rs", text)])).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(found(&long(FUNCTION_LINES)), "");
    assert!(found(&long(FUNCTION_LINES + 1)).starts_with("src/a.rs:3: `long` has 71 lines"));
    assert_eq!(found(&"\n".repeat(FILE_LINES)), "");
    assert!(found(&"\n".repeat(FILE_LINES + 1)).starts_with("src/a.rs:501: 501 lines"));
}
