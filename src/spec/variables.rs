//! `"${zone}"`: replaced in the tree, after parsing, so that a value can't change what the document is.
//!
//! References stand in quoted scalars and blocks; `$${` is a literal `${`. Values are not looked at again, so nothing can refer to itself.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::{Code, Diagnostic};
use super::node::{Body, Node, NodeId, Style};
use super::source::Span;
use crate::scalar::{nearest, quoted};

const FORM: &str = "write `\"${name}\"`, or `$${` for the characters themselves";

/// A declared variable.
struct Declared {
    /// Its key under `spec.variables`.
    key: Span,
    value: Option<String>,
    is_used: bool,
}

struct Replacer<'f> {
    declared: BTreeMap<String, Declared>,
    found: &'f mut Vec<Diagnostic>,
    broken: &'f mut BTreeSet<NodeId>,
}

/// Replaces every reference in the tree. `sets` are the `--set name=value` of the command line, the last of a name counts. The values
/// that were used come back; a scalar whose reference can't be resolved becomes a placeholder.
pub(super) fn replace(
    root: &mut Node,
    sets: &[(String, String)],
    found: &mut Vec<Diagnostic>,
    broken: &mut BTreeSet<NodeId>,
) -> BTreeMap<String, String> {
    let declarations = root.get("spec").and_then(|spec| spec.entry("variables"));
    let mut declared: BTreeMap<String, Declared> = BTreeMap::new();
    for entry in declarations.map(|entry| entry.value.entries()).unwrap_or_default() {
        let value = entry.value.get("default").and_then(|default| default.text()).map(str::to_owned);
        declared.insert(entry.key.clone(), Declared { key: entry.span, value, is_used: false });
        if !is_name(&entry.key) {
            let message = format!("{} is not the name of a variable", quoted(&entry.key));
            found.push(
                Diagnostic::error(Code::Variable, entry.span, message)
                    .hint("a variable has letters, digits, `_` and `-`, and begins with a letter"),
            );
        }
        if let Some(default) = entry.value.get("default") {
            refuse_recursion(default, found);
        }
    }
    let place = declarations.map(|entry| entry.span);
    set(&mut declared, sets, place, found);
    let mut replacer = Replacer { declared, found, broken };
    let declarations = root.get("spec").and_then(|spec| spec.get("variables"));
    for default in declarations.into_iter().flat_map(Node::children).filter_map(|variable| variable.get("default")) {
        replacer.mention(default.text().unwrap_or_default());
    }
    replacer.walk(root, &mut Vec::new());
    replacer.finish()
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn refuse_recursion(default: &Node, found: &mut Vec<Diagnostic>) {
    if let Some(at) = default.text().and_then(|text| text.find("${")) {
        found.push(
            Diagnostic::error(
                Code::RecursiveVariable,
                default.inside(at),
                "a variable's value can't refer to a variable",
            )
            .hint("write the value out"),
        );
    }
}

/// Applies `--set`.
fn set(
    declared: &mut BTreeMap<String, Declared>,
    sets: &[(String, String)],
    place: Option<Span>,
    found: &mut Vec<Diagnostic>,
) {
    for (name, value) in sets {
        if let Some(variable) = declared.get_mut(name) {
            variable.value = Some(value.clone());
        } else {
            let message = format!("`--set {name}=…` names a variable that the document does not declare");
            let hint = match nearest(name, declared.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `--set {near}=…`?"),
                None => format!("declare it: `spec: {{variables: {{{name}: {{}}}}}}`"),
            };
            let error = Diagnostic::error(Code::Variable, place.unwrap_or_default(), message).hint(hint);
            found.push(Diagnostic { span: place, ..error });
        }
        if value.contains("${") {
            let message = format!("the value of `--set {name}=…` can't refer to a variable");
            found.push(Diagnostic::nowhere(Code::RecursiveVariable, message).hint("write the value out"));
        }
    }
}

impl Replacer<'_> {
    /// `path` is where the node stands; the declarations themselves are left alone.
    fn walk(&mut self, node: &mut Node, path: &mut Vec<String>) {
        if path.iter().map(String::as_str).eq(["spec", "variables"]) {
            return;
        }
        match &mut node.body {
            Body::Scalar(scalar) if scalar.text.contains("${") => {
                if scalar.style == Style::Plain {
                    self.unquoted(node);
                } else {
                    self.scalar(node);
                }
            }
            Body::Scalar(_) => {}
            Body::List(items) => {
                path.push("[]".to_owned());
                for item in items {
                    self.walk(item, path);
                }
                path.pop();
            }
            Body::Map(map) => {
                for entry in &mut map.entries {
                    if entry.key.contains("${") {
                        self.found.push(
                            Diagnostic::error(Code::Variable, entry.span, "a key can't hold a variable")
                                .hint("variables stand in values"),
                        );
                    }
                    path.push(entry.key.clone());
                    self.walk(&mut entry.value, path);
                    path.pop();
                }
            }
        }
    }

    fn unquoted(&mut self, node: &Node) {
        let text = node.text().unwrap_or_default();
        let span = node.inside(text.find("${").unwrap_or_default());
        self.found.push(
            Diagnostic::error(Code::UnquotedVariable, span, "a variable is only replaced in quotes")
                .hint(format!("write `\"{text}\"`")),
        );
        self.give_up(node.id, text);
    }

    /// A scalar that can't be replaced becomes a placeholder.
    fn give_up(&mut self, id: NodeId, text: &str) {
        self.broken.insert(id);
        self.mention(text);
    }

    /// A reference that can't be replaced still uses its variable.
    fn mention(&mut self, text: &str) {
        for (name, variable) in &mut self.declared {
            variable.is_used |= text.contains(&format!("${{{name}}}"));
        }
    }

    /// Replaces the references of one scalar.
    fn scalar(&mut self, node: &mut Node) {
        let text = node.text().unwrap_or_default().to_owned();
        let mut out = String::with_capacity(text.len());
        let (mut at, mut is_whole) = (0, false);
        while let Some(length) = text[at..].find("${") {
            let start = at + length;
            if text[at..start].ends_with('$') {
                out.push_str(&text[at..start]);
                out.push('{');
                at = start + 2;
                continue;
            }
            out.push_str(&text[at..start]);
            match self.value(&text[start + 2..]) {
                Ok((value, length)) => {
                    is_whole = start == 0 && length + 3 == text.len();
                    out.push_str(&value);
                    at = start + 2 + length + 1;
                }
                Err(unresolved) => {
                    if let Some((message, hint)) = unresolved {
                        self.found.push(Diagnostic::error(Code::Variable, node.inside(start), message).hint(hint));
                    }
                    self.give_up(node.id, &text);
                    return;
                }
            }
        }
        out.push_str(&text[at..]);
        if let Body::Scalar(scalar) = &mut node.body {
            scalar.text = out;
            scalar.verbatim = None;
            scalar.is_variable = is_whole;
        }
    }

    /// The value of the reference behind `${`, and the length of its name. `Err(None)`: it has no value, which is reported where it is
    /// declared.
    fn value(&mut self, rest: &str) -> Result<(String, usize), Option<(String, String)>> {
        let Some(length) = rest.find('}').filter(|end| is_name(&rest[..*end])) else {
            return Err(Some(("can't read this reference to a variable".to_owned(), FORM.to_owned())));
        };
        let name = &rest[..length];
        if let Some(variable) = self.declared.get_mut(name) {
            variable.is_used = true;
            return variable.value.clone().map(|value| (value, length)).ok_or(None);
        }
        let hint = match nearest(name, self.declared.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `${{{near}}}`?"),
            None => format!("declare it under `spec.variables`, or write `$${{{name}}}` for the characters themselves"),
        };
        Err(Some((format!("the variable {} is not declared", quoted(name)), hint)))
    }

    /// What is left to say about the declarations.
    fn finish(self) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for (name, variable) in self.declared {
            if !variable.is_used {
                self.found.push(
                    Diagnostic::error(
                        Code::UnusedVariable,
                        variable.key,
                        format!("the variable {} is never used", quoted(&name)),
                    )
                    .hint(format!("write `\"${{{name}}}\"` where its value belongs, or remove it")),
                );
            }
            match variable.value {
                Some(value) => {
                    values.insert(name, value);
                }
                None => self.found.push(
                    Diagnostic::error(
                        Code::VariableWithoutValue,
                        variable.key,
                        format!("the variable {} has no default and no value", quoted(&name)),
                    )
                    .hint(format!("give it one with `--set {name}=VALUE`")),
                ),
            }
        }
        values
    }
}
