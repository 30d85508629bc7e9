//! Reads typed values from the tree and finds every mistake on the way, not just the first.
//!
//! serde stops at the first failure. So a value that failed is reported and pruned, and the reading starts again without it, until it
//! succeeds or nothing is left to read. What is missing only because it was pruned is not reported again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::de::DeserializeOwned;

use super::de::De;
use super::diagnostic::{Code, Diagnostic};
use super::failure::{Failure, Kind, Place};
use super::node::{Body, Entry, Node, NodeId, Plain, Scalar, Style};
use crate::scalar::{nearest, quoted};

/// Most rounds of reading, one per mistake: a file with more is not the file that was meant.
const MAX_ROUNDS: usize = 64;

pub(super) struct Reader<'a> {
    root: &'a Node,
    /// Placeholders of the parser.
    broken: &'a BTreeSet<NodeId>,
    pruned: RefCell<BTreeSet<NodeId>>,
    found: RefCell<Vec<Diagnostic>>,
    /// Values under unknown keys that have been reported.
    unknown: RefCell<BTreeSet<NodeId>>,
    /// Mappings with unknown fields, and the fields that these may have been meant to be.
    excused: RefCell<BTreeMap<NodeId, BTreeSet<String>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Node, broken: &'a BTreeSet<NodeId>) -> Self {
        Self {
            root,
            broken,
            pruned: RefCell::default(),
            found: RefCell::default(),
            unknown: RefCell::default(),
            excused: RefCell::default(),
        }
    }

    /// What was found so far.
    pub(super) fn into_found(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }

    /// Reads the whole document. `None` unless something could be read of every part that is required.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        for _ in 0..MAX_ROUNDS {
            match T::deserialize(De { node: self.root, reader: self }) {
                Ok(value) => return Some(value),
                Err(failure) => {
                    let id = failure.node.unwrap_or(self.root.id);
                    self.report(&failure, id);
                    if id == self.root.id || !self.pruned.borrow_mut().insert(id) {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Reads one part if nothing is wrong with it; says nothing.
    pub(super) fn part<T: DeserializeOwned>(node: &Node, broken: &BTreeSet<NodeId>) -> Option<T> {
        let reader = Reader::new(node, broken);
        let value = T::deserialize(De { node, reader: &reader }).ok()?;
        Some(value)
    }

    pub(super) fn is_pruned(&self, id: NodeId) -> bool {
        self.pruned.borrow().contains(&id)
    }

    pub(super) fn is_broken(&self, id: NodeId) -> bool {
        self.broken.contains(&id)
    }

    /// A plain text that readers of YAML 1.1 take for a truth value.
    pub(super) fn doubt(&self, node: &Node, scalar: &Scalar) {
        let lower = scalar.text.to_ascii_lowercase();
        let meaning = match lower.as_str() {
            "yes" | "on" | "y" => "true",
            "no" | "off" | "n" => "false",
            _ => return,
        };
        if scalar.style == Style::Plain {
            let message = format!("`{}` is a text here, and `{meaning}` for other readers of YAML", scalar.text);
            self.found.borrow_mut().push(
                Diagnostic::warning(Code::AmbiguousText, node.place(), message)
                    .hint(format!("write `\"{}\"`", scalar.text)),
            );
        }
    }

    /// A key that the struct does not have.
    pub(super) fn unknown_field(&self, map: &Node, entry: &Entry, fields: &[&'static str]) {
        if !self.unknown.borrow_mut().insert(entry.value.id) {
            return;
        }
        let mut excused = self.excused.borrow_mut();
        let excused = excused.entry(map.id).or_default();
        let place = self.root.path_to(map.id).filter(|path| !path.is_empty());
        let place = place.map_or_else(|| "the document".to_owned(), |path| format!("`{path}`"));
        let message = format!("unknown field {} in {place}", quoted(&entry.key));
        let open: Vec<&str> = fields.iter().copied().filter(|field| map.entry(field).is_none()).collect();
        let hint = match nearest(&entry.key, open.iter().copied()) {
            Some(near) => {
                excused.insert(near.to_owned());
                format!("did you mean `{near}`?")
            }
            None if open.is_empty() => "remove it".to_owned(),
            None => format!("fields that can stand here: `{}`", open.join("`, `")),
        };
        self.found.borrow_mut().push(Diagnostic::error(Code::UnknownField, entry.span, message).hint(hint));
    }

    /// A text that is none of an enum's variants.
    pub(super) fn unknown_choice(text: &str, variants: &[&'static str]) -> Failure {
        let hint = match nearest(text, variants.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of `{}`", variants.join("`, `")),
        };
        Failure::said(Code::UnknownChoice, format!("{} is not possible here", quoted(text)), hint)
    }

    fn report(&self, failure: &Failure, id: NodeId) {
        let Some(node) = find(self.root, id) else { return };
        let diagnostic = match &failure.kind {
            Kind::Broken => None,
            Kind::Said { code, message, hint, place } => {
                let span = match place {
                    Place::Offset(offset) => node.inside(*offset),
                    Place::Node => node.place(),
                    Place::Key => node.key.unwrap_or_else(|| node.place()),
                };
                let consequence = *code == Code::Choice && self.is_guesswork(node);
                (!consequence).then(|| Diagnostic::error(*code, span, message.clone()).maybe_hint(hint.clone()))
            }
            Kind::Type(expected) => Some(wrong_type(node, expected)),
            Kind::Missing { field, of } => self.missing(node, field, *of),
            Kind::Unknown { field, fields } => Some(
                Diagnostic::error(
                    Code::UnknownField,
                    node.key.unwrap_or(node.span),
                    format!("unknown field {}", quoted(field)),
                )
                .hint(format!("fields that can stand here: `{}`", fields.join("`, `"))),
            ),
        };
        self.found.borrow_mut().extend(diagnostic);
    }

    /// Whether fields of a mapping were refused, so that nothing can be said of those that are not there.
    fn is_guesswork(&self, node: &Node) -> bool {
        self.excused.borrow().contains_key(&node.id)
            || matches!(&node.body, Body::Map(map) if map.incomplete)
            || node.children().any(|child| self.is_pruned(child.id))
    }

    /// All fields that a mapping lacks, in one message; `None` when none is missing but for another mistake.
    fn missing(&self, node: &Node, field: &str, of: Option<&str>) -> Option<Diagnostic> {
        if matches!(&node.body, Body::Map(map) if map.incomplete) {
            return None;
        }
        let needs = of.and_then(|name| NEEDS.get(name));
        let mut fields: Vec<&str> = needs.into_iter().flatten().map(|need| need.field.as_str()).collect();
        if !fields.contains(&field) {
            fields.push(field);
        }
        let excused = self.excused.borrow().get(&node.id).cloned().unwrap_or_default();
        fields.retain(|field| node.entry(field).is_none() && !excused.contains(*field));
        let first = *fields.first()?;
        let path = self.root.path_to(node.id).filter(|path| !path.is_empty());
        let place = path.map_or_else(|| "the document".to_owned(), |path| format!("`{path}`"));
        let message = format!("{place} lacks `{}`", fields.join("`, `"));
        let example =
            needs.into_iter().flatten().find(|need| need.field == first).and_then(|need| need.example.as_deref());
        let hint = match example {
            Some(example) => format!("add `{first}: {example}`"),
            None => format!("add `{first}: …`"),
        };
        Some(Diagnostic::error(Code::MissingField, node.place(), message).hint(hint))
    }
}

/// A required field of a struct, with an example of its value.
struct Need {
    field: String,
    example: Option<String>,
}

/// What each struct requires, from the same schema that editors use.
static NEEDS: LazyLock<BTreeMap<String, Vec<Need>>> = LazyLock::new(|| {
    let schema = super::schema();
    let definitions = schema.get("$defs").and_then(serde_json::Value::as_object);
    let needs = |definition: &serde_json::Value| -> Vec<Need> {
        let required = definition.get("required").and_then(serde_json::Value::as_array);
        let fields = required.into_iter().flatten().filter_map(serde_json::Value::as_str);
        fields
            .map(|field| {
                let property = definition.pointer(&format!("/properties/{field}"));
                let target = property
                    .and_then(|p| p.get("$ref"))
                    .and_then(serde_json::Value::as_str)
                    .and_then(|reference| schema.pointer(reference.trim_start_matches('#')));
                let example = [property, target].into_iter().flatten().find_map(|s| s.pointer("/examples/0"));
                Need { field: field.to_owned(), example: example.and_then(|e| e.as_str()).map(as_yaml) }
            })
            .collect()
    };
    let mut all: BTreeMap<_, _> =
        definitions.into_iter().flatten().map(|(name, definition)| (name.clone(), needs(definition))).collect();
    all.insert("Experiment".to_owned(), needs(&schema));
    all
});

/// An example as it can be typed: in quotes where YAML wants them.
fn as_yaml(example: &str) -> String {
    let plain = Plain::of(example) == Plain::Text && !example.contains([':', '#', '[', '{', '=', '<', '>', '%']);
    if plain || !example.contains(": ") && !example.contains(['#', '[', '{', '=', '<', '>', '%']) {
        example.to_owned()
    } else {
        format!("\"{example}\"")
    }
}

fn find(node: &Node, id: NodeId) -> Option<&Node> {
    if node.id == id { Some(node) } else { node.children().find_map(|child| find(child, id)) }
}

/// A value of another type than the one that is wanted, with what to do about it.
fn wrong_type(node: &Node, expected: &str) -> Diagnostic {
    let found = match &node.body {
        Body::List(_) => "a list".to_owned(),
        Body::Map(_) => "a mapping".to_owned(),
        Body::Scalar(scalar) => match scalar.plain() {
            Plain::Null => "nothing".to_owned(),
            Plain::Bool(_) => format!("the truth value `{}`", scalar.text),
            Plain::Unsigned(_) | Plain::Signed(_) | Plain::Float(_) => format!("the number {}", quoted(&scalar.text)),
            Plain::Text => format!("the text {}", quoted(&scalar.text)),
        },
    };
    let message = format!("expected {expected}, found {found}");
    Diagnostic::error(Code::WrongType, node.place(), message).maybe_hint(type_hint(node, expected))
}

fn type_hint(node: &Node, expected: &str) -> Option<String> {
    if expected.contains("mapping") && node.text() != Some("") {
        return Some("write its fields as `key: value`, each on a line of its own, indented below the key".to_owned());
    }
    let scalar = match &node.body {
        Body::Scalar(scalar) => scalar,
        Body::List(_) => return Some("write one value, without `- ` or brackets".to_owned()),
        Body::Map(_) if expected.contains("list") => return Some("begin each item of a list with `- `".to_owned()),
        Body::Map(_) => return Some("write the value behind the colon, on the same line".to_owned()),
    };
    let text = scalar.text.as_str();
    match scalar.plain() {
        Plain::Null if text == "~" => {
            Some("`~` means nothing: give it a value, put it in quotes, or remove the key".to_owned())
        }
        Plain::Null => Some("give it a value, or remove the key".to_owned()),
        _ if !expected.contains("text")
            && matches!(Plain::of(text), Plain::Unsigned(_))
            && scalar.style == Style::Text =>
        {
            Some(format!("write `{text}`, without quotes"))
        }
        _ if expected.contains("list") => Some(format!("write `[{text}]`, or begin each item with `- `")),
        _ if expected == "`true` or `false`" => Some(match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => "write `true`, without quotes".to_owned(),
            "no" | "off" | "n" | "false" => "write `false`, without quotes".to_owned(),
            _ => "write `true` or `false`".to_owned(),
        }),
        _ if expected == "a whole number" || expected.starts_with("a number") => Some(number_hint(text)),
        Plain::Bool(_) | Plain::Unsigned(_) | Plain::Signed(_) | Plain::Float(_) => Some(format!("write `\"{text}\"`")),
        Plain::Text => None,
    }
}

/// The whole number that was probably meant.
fn number_hint(text: &str) -> String {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | ' ')).collect();
    match digits.parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..=1e9).contains(&number) => format!("write `{number}`"),
        _ => "write a whole number, such as `10`".to_owned(),
    }
}
