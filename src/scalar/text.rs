//! What all scalars share: how they pass through serde as text, and how messages quote what was written.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error, Visitor};

use super::ScalarError;

/// Separates message, hint and offset in the alternate form of a [`ScalarError`]: a control character that no message contains.
pub(crate) const PARTS: char = '\u{1e}';

/// Longest piece of a document that a message repeats, in characters.
const LONGEST_QUOTE: usize = 60;

/// What was written, in backticks: control characters escaped, and cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(LONGEST_QUOTE) + 2);
    shown.push('`');
    for c in text.chars().take(LONGEST_QUOTE) {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push_str(if text.chars().nth(LONGEST_QUOTE).is_some() { "…`" } else { "`" });
    shown
}

/// The candidate that `word` was probably meant to be: at most a third of its letters apart, in any case and with any joint.
pub(crate) fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    // Edit distance is quadratic, and nothing longer than this is a misspelt keyword.
    if word.len() > 80 {
        return None;
    }
    let wanted = plain(word);
    let most = (wanted.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= most && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The words of a comparison with their byte offsets: runs of comparison signs, and runs of anything else between spaces.
pub(crate) struct Words<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> Words<'t> {
    /// From the text's start.
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, position: 0 }
    }
}

impl<'t> Iterator for Words<'t> {
    type Item = (usize, &'t str);

    fn next(&mut self) -> Option<(usize, &'t str)> {
        let is_sign = |c: char| matches!(c, '<' | '>' | '=' | '!' | '≤' | '≥');
        let rest = &self.text[self.position..];
        let start = self.position + (rest.len() - rest.trim_start().len());
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let length = rest.find(|c: char| c.is_whitespace() || is_sign(c) != is_sign(first)).unwrap_or(rest.len());
        self.position = start + length;
        Some((start, &rest[..length]))
    }
}

/// Reads a type from text.
pub(crate) struct TextVisitor<T> {
    expecting: &'static str,
    to: PhantomData<T>,
}

impl<T> TextVisitor<T> {
    /// `expecting` completes the sentence "expected …".
    pub(crate) const fn new(expecting: &'static str) -> Self {
        Self { expecting, to: PhantomData }
    }
}

impl<T: FromStr<Err = ScalarError>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Gives a type that parses from text its `Serialize`, `Deserialize` and `JsonSchema`.
///
/// `reads` is the serde method: `deserialize_str` for a type with a unit or a grammar of its own, whose parser says best what is
/// wrong with a bare number; `deserialize_string` for a text, where a bare `123` or `true` is a mistake of YAML.
macro_rules! text_serde {
    ($type:ident, $reads:ident, $expecting:literal, $description:literal, $pattern:expr, $examples:expr) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.$reads($crate::scalar::TextVisitor::new($expecting))
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    // A reference to a variable may stand in its place.
                    "pattern": format!("{}|[$][{{]", $pattern),
                    "examples": $examples,
                })
            }
        }
    };
}
pub(crate) use text_serde;
