//! A DNS label.

use std::fmt;
use std::str::FromStr;

use super::{ScalarError, quoted};

/// A name that is a DNS label (RFC 1123): lower-case letters, digits and `-`, at most 63 of them, beginning and ending with a letter or
/// a digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Longest DNS label.
const LONGEST: usize = 63;

impl Name {
    /// A name that stands in the program itself, and is one.
    pub(crate) fn fixed(name: &'static str) -> Self {
        debug_assert!(name.parse::<Self>().is_ok(), "{name}");
        Self(name.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        const RULE: &str =
            "a name has lower-case letters, digits and `-`, and begins and ends with a letter or a digit";
        if text.is_empty() {
            return Err(ScalarError::new("a name can't be empty").hint(RULE));
        }
        if let Some((at, c)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
            let error = ScalarError::new(format!("a name can't contain {}: {}", quoted(&c.to_string()), quoted(text)));
            return Err(match likely(text) {
                Some(name) => error.hint(format!("write `{name}`")),
                None => error.hint(RULE),
            }
            .at(at));
        }
        if text.len() > LONGEST {
            return Err(ScalarError::new(format!(
                "a name has at most {LONGEST} characters, this one has {}",
                text.len()
            ))
            .hint("it becomes part of labels and object names, where Kubernetes allows no more")
            .at(LONGEST));
        }
        if text.starts_with('-') || text.ends_with('-') {
            let at = if text.starts_with('-') { 0 } else { text.len() - 1 };
            return Err(ScalarError::new(format!("a name can't begin or end with `-`: {}", quoted(text)))
                .hint(RULE)
                .at(at));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The name that was probably meant: lower case, `-` for what joins words.
fn likely(text: &str) -> Option<String> {
    let joined = text.to_ascii_lowercase().replace(['_', '.', ' ', '/'], "-");
    let fits =
        joined.len() <= LONGEST && joined.chars().all(is_allowed) && !joined.starts_with('-') && !joined.ends_with('-');
    fits.then_some(joined)
}

const fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::text_serde!(
    Name,
    deserialize_string,
    "a name such as `web`",
    "A DNS label (RFC 1123): at most 63 lower-case letters, digits and `-`.",
    "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
    ["web"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_rfc_1123() {
        for good in ["a", "web-1", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().to_string(), good);
        }
        for (bad, offset) in
            [("", 0), ("Web", 0), ("we_b", 2), ("-web", 0), ("web-", 3), ("wéb", 1), (&"x".repeat(64), 63)]
        {
            assert_eq!(bad.parse::<Name>().unwrap_err().offset, offset, "{bad}");
        }
    }

    #[test]
    fn suggests_the_likely_name() {
        assert_eq!("Kill_One".parse::<Name>().unwrap_err().hint.unwrap(), "write `kill-one`");
    }
}
