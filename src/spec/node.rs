//! The tree of a document: scalars, lists and mappings, each with its place. What it means is read later.

use super::source::Span;

/// A node's number within its document.
pub(super) type NodeId = usize;

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Without quotes: its text decides its type.
    Plain,
    /// In quotes or as a block: always text.
    Text,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub id: NodeId,
    pub span: Span,
    /// Place of the key under which it stands; `None` in a list and at the root.
    pub key: Option<Span>,
    pub body: Body,
    /// Nodes in it, itself included.
    pub size: usize,
    /// Levels below it, its own included.
    pub height: usize,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

#[derive(Debug, Clone)]
pub(super) struct Scalar {
    pub text: String,
    pub style: Style,
    /// Where the text begins in the source, when it stands there letter by letter: an offset in the text is then a place in the file.
    pub verbatim: Option<usize>,
    /// It was nothing but a reference to a variable, whose value may be read as a number too.
    pub is_variable: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Map {
    pub entries: Vec<Entry>,
    /// Entries that could not be understood were left out, so that a missing one may not be missing.
    pub incomplete: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub span: Span,
    pub value: Node,
}

/// The type of a plain scalar by the core schema of YAML 1.2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    /// A whole number that fits.
    Unsigned(u64),
    /// A negative whole number that fits.
    Signed(i64),
    /// Any other number: with a point or an exponent, too large, infinite, or none.
    Float(f64),
    Text,
}

impl Scalar {
    pub(super) fn plain(&self) -> Plain {
        if self.style == Style::Plain { Plain::of(&self.text) } else { Plain::Text }
    }
}

impl Plain {
    pub(super) fn of(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" => Self::Bool(true),
            "false" | "False" | "FALSE" => Self::Bool(false),
            ".nan" | ".NaN" | ".NAN" => Self::Float(f64::NAN),
            _ => Self::number(text).unwrap_or(Self::Text),
        }
    }

    fn number(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix("0x").filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) {
            return u64::from_str_radix(digits, 16).ok().map(Self::Unsigned);
        }
        if let Some(digits) = text.strip_prefix("0o").filter(|d| d.bytes().all(|b| (b'0'..=b'7').contains(&b))) {
            return u64::from_str_radix(digits, 8).ok().map(Self::Unsigned);
        }
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
            return Some(Self::Float(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        // Rust's parser takes a few words and forms more than YAML does, so the letters are looked at first.
        let is_numeric = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'))
            && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.bytes().any(|b| b.is_ascii_digit());
        if !is_numeric {
            return None;
        }
        if unsigned.bytes().all(|b| b.is_ascii_digit()) {
            if let Ok(number) = text.parse::<u64>() {
                return Some(Self::Unsigned(number));
            }
            if let Ok(number) = text.parse::<i64>() {
                return Some(Self::Signed(number));
            }
        }
        text.parse().ok().map(Self::Float)
    }
}

impl Node {
    pub(super) const fn scalar(&self) -> Option<&Scalar> {
        match &self.body {
            Body::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a scalar, whatever its style.
    pub(super) fn text(&self) -> Option<&str> {
        self.scalar().map(|scalar| scalar.text.as_str())
    }

    pub(super) fn entries(&self) -> &[Entry] {
        match &self.body {
            Body::Map(map) => &map.entries,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match &self.body {
            Body::List(items) => items,
            _ => &[],
        }
    }

    pub(super) fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match &self.body {
            Body::Scalar(_) => Box::new(std::iter::empty()),
            Body::List(items) => Box::new(items.iter()),
            Body::Map(map) => Box::new(map.entries.iter().map(|entry| &entry.value)),
        }
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The place to show for the node as a whole: a scalar itself, else the key under which the collection stands, else its first key.
    pub(super) fn place(&self) -> Span {
        match (&self.body, self.key) {
            (Body::Scalar(scalar), Some(key)) if scalar.text.is_empty() && self.span.start >= self.span.end => key,
            (Body::Scalar(_), _) => self.span,
            (_, Some(key)) => key,
            (_, None) => self.entries().first().map_or(self.span, |entry| entry.span),
        }
    }

    /// The place of a byte of a scalar's text.
    pub(super) fn inside(&self, offset: usize) -> Span {
        match self.scalar().and_then(|scalar| scalar.verbatim.map(|start| (start, start + scalar.text.len()))) {
            Some((start, end)) if offset > 0 => Span::new((start + offset).min(end), end),
            _ => self.place(),
        }
    }

    /// How a person would say where the node is: `spec.probes[0].http`. Empty for the root.
    pub(super) fn path_to(&self, id: NodeId) -> Option<String> {
        if self.id == id {
            return Some(String::new());
        }
        let join = |step: String, rest: String| match rest.chars().next() {
            None | Some('[') => step + &rest,
            Some(_) => step + "." + &rest,
        };
        match &self.body {
            Body::Scalar(_) => None,
            Body::List(items) => {
                items.iter().enumerate().find_map(|(i, item)| item.path_to(id).map(|rest| join(format!("[{i}]"), rest)))
            }
            Body::Map(map) => {
                map.entries.iter().find_map(|entry| entry.value.path_to(id).map(|rest| join(entry.key.clone(), rest)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for (text, plain) in [
            ("", Plain::Null),
            ("~", Plain::Null),
            ("true", Plain::Bool(true)),
            ("no", Plain::Text),
            ("yes", Plain::Text),
            ("12", Plain::Unsigned(12)),
            ("+12", Plain::Unsigned(12)),
            ("010", Plain::Unsigned(10)),
            ("0x1f", Plain::Unsigned(31)),
            ("0o17", Plain::Unsigned(15)),
            ("-3", Plain::Signed(-3)),
            ("1e3", Plain::Float(1000.0)),
            (".5", Plain::Float(0.5)),
            (".inf", Plain::Float(f64::INFINITY)),
            ("1_000", Plain::Text),
            ("inf", Plain::Text),
            ("nan", Plain::Text),
            (".", Plain::Text),
            ("-", Plain::Text),
            ("10/s", Plain::Text),
            ("1.2.3.4", Plain::Text),
            ("99999999999999999999", Plain::Float(1e20)),
        ] {
            assert_eq!(Plain::of(text), plain, "{text}");
        }
    }
}
