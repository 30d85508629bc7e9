//! A label selector in kubectl's syntax.

use std::fmt;
use std::str::FromStr;

use super::{ScalarError, quoted};

/// A label selector as `kubectl -l` takes it: `app=web,tier!=cache,env in (a,b),!legacy`.
///
/// The text is checked against the grammar and the rules for label keys and values, and kept as written: the API server reads it.
///
/// ```text
/// SELECTOR    = REQUIREMENT { "," REQUIREMENT }
/// REQUIREMENT = KEY | "!" KEY | KEY ("=" | "==" | "!=") [VALUE] | KEY ("in" | "notin") "(" VALUE { "," VALUE } ")"
/// KEY         = [DNS-SUBDOMAIN "/"] NAME         at most 253 and 63 characters
/// NAME, VALUE = letters, digits, "-", "_", "."   beginning and ending with a letter or a digit, at most 63
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(String);

/// Longest name and value of a label.
const LONGEST: usize = 63;
/// Longest prefix of a label's key.
const LONGEST_PREFIX: usize = 253;
const FORMS: &str =
    "write `app=web`, `tier!=cache`, `env in (a,b)`, `env notin (a,b)`, `canary` or `!canary`, joined by commas";

impl Selector {
    /// The text, as the API takes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Selector {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        if text.trim().is_empty() {
            return Err(
                ScalarError::new("an empty selector matches every pod").hint("write `all: true` if that is meant")
            );
        }
        let mut reader = Reader { text, at: 0 };
        loop {
            reader.requirement()?;
            match reader.peek() {
                None => return Ok(Self(text.trim().to_owned())),
                Some(',') => reader.at += 1,
                Some(c) => return Err(reader.error(format!("{} does not belong here", quoted(&c.to_string())))),
            }
        }
    }
}

/// Reads requirement after requirement.
struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// The next character that is no space; the position is moved to it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn error(&self, message: String) -> ScalarError {
        ScalarError::new(message).hint(FORMS).at(self.at)
    }

    /// The run of characters up to a space or a sign of the grammar.
    fn word(&mut self) -> (usize, &'t str) {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| c.is_whitespace() || "=!<>(),".contains(c)).unwrap_or(rest.len());
        let start = self.at;
        self.at += length;
        (start, &rest[..length])
    }

    fn requirement(&mut self) -> Result<(), ScalarError> {
        let negated = self.peek() == Some('!');
        if negated {
            self.at += 1;
        }
        let (at, key) = self.word();
        check_label_key(key).map_err(|e| e.within(at))?;
        match self.peek() {
            None | Some(',') => Ok(()),
            Some(_) if negated => Err(self.error(format!("nothing follows {}", quoted(&format!("!{key}"))))),
            Some('=' | '!') => self.equality(),
            Some('<' | '>') => Err(self.error("a pod selector can't compare with `<` or `>`".to_owned())),
            Some(_) => self.set(),
        }
    }

    fn equality(&mut self) -> Result<(), ScalarError> {
        let rest = &self.text[self.at..];
        let sign = rest.len() - rest.trim_start_matches(['=', '!']).len();
        if !["=", "==", "!="].contains(&&rest[..sign]) {
            return Err(self.error(format!("there is no operator {}", quoted(&rest[..sign]))));
        }
        self.at += sign;
        let (at, value) = self.word();
        check_label_value(value).map_err(|e| e.within(at))
    }

    fn set(&mut self) -> Result<(), ScalarError> {
        let (at, operator) = self.word();
        if !["in", "notin"].contains(&operator) {
            self.at = at;
            return Err(self.error(format!(
                "there is no operator {}",
                quoted(if operator.is_empty() { &self.text[at..=at] } else { operator })
            )));
        }
        if self.peek() != Some('(') {
            return Err(self.error(format!("`{operator}` needs a list in parentheses")));
        }
        let open = self.at;
        self.at += 1;
        loop {
            let (at, value) = self.word();
            if value.is_empty() {
                return Err(ScalarError::new(format!("a value of `{operator} (…)` is missing")).hint(FORMS).at(at));
            }
            check_label_value(value).map_err(|e| e.within(at))?;
            match self.peek() {
                Some(',') => self.at += 1,
                Some(')') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(c) => {
                    return Err(self.error(format!("{} does not belong in a list of values", quoted(&c.to_string()))));
                }
                None => return Err(ScalarError::new("the parenthesis is not closed").hint("add `)`").at(open)),
            }
        }
    }
}

/// A label's key: `name` or `prefix/name`.
pub(crate) fn check_label_key(key: &str) -> Result<(), ScalarError> {
    if key.is_empty() {
        return Err(ScalarError::new("a label's key is missing").hint(FORMS));
    }
    let Some((prefix, name)) = key.split_once('/') else {
        return check_part("key", key);
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= LONGEST
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if prefix.len() > LONGEST_PREFIX || !prefix.split('.').all(is_label) {
        return Err(ScalarError::new(format!("the prefix of a label's key is a DNS name, {} is none", quoted(prefix)))
            .hint("such as `app.kubernetes.io/name`"));
    }
    if name.is_empty() {
        return Err(ScalarError::new("the name after `/` is missing").at(prefix.len() + 1));
    }
    check_part("key", name).map_err(|e| e.within(prefix.len() + 1))
}

/// A label's value, which may be empty.
pub(crate) fn check_label_value(value: &str) -> Result<(), ScalarError> {
    check_part("value", value)
}

/// The rule that names and values of labels share.
fn check_part(what: &str, part: &str) -> Result<(), ScalarError> {
    const RULE: &str = "letters, digits, `-`, `_` and `.`, beginning and ending with a letter or a digit";
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if let Some((at, c)) = part.char_indices().find(|(_, c)| !allowed(*c)) {
        return Err(ScalarError::new(format!(
            "a label's {what} can't contain {}: {}",
            quoted(&c.to_string()),
            quoted(part)
        ))
        .hint(RULE)
        .at(at));
    }
    if part.len() > LONGEST {
        return Err(ScalarError::new(format!(
            "a label's {what} has at most {LONGEST} characters, this one has {}",
            part.len()
        ))
        .at(LONGEST));
    }
    let joint = |c: char| !c.is_ascii_alphanumeric();
    if part.starts_with(joint) || part.ends_with(joint) {
        let at = if part.starts_with(joint) { 0 } else { part.len() - 1 };
        return Err(ScalarError::new(format!(
            "a label's {what} begins and ends with a letter or a digit: {}",
            quoted(part)
        ))
        .hint(RULE)
        .at(at));
    }
    Ok(())
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

super::text_serde!(
    Selector,
    deserialize_string,
    "a label selector such as `app=web`",
    "A label selector as `kubectl -l` takes it.",
    r"^.*\S.*$",
    ["app=web", "app=web,tier!=cache", "env in (a,b)"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> (String, usize) {
        let error = text.parse::<Selector>().unwrap_err();
        (error.message, error.offset)
    }

    #[test]
    fn takes_what_kubectl_takes() {
        for good in [
            "app=web",
            "app==web",
            "app != web",
            "app=",
            "canary",
            "!canary",
            "! canary",
            "app.kubernetes.io/name=web,env in (a, b),tier notin(c),x",
            " app=web ",
            "in=in",
            "A_b.c-D=1",
        ] {
            assert_eq!(good.parse::<Selector>().unwrap().as_str(), good.trim());
        }
    }

    #[test]
    fn points_at_the_mistake() {
        assert_eq!(error("app=we$b"), ("a label's value can't contain `$`: `we$b`".into(), 6));
        assert_eq!(error("app=web,"), ("a label's key is missing".into(), 8));
        assert_eq!(error("app=-web").1, 4);
        assert_eq!(error("app=a=b"), ("`=` does not belong here".into(), 5));
        assert_eq!(error("app=>1").0, "`>` does not belong here");
        assert_eq!(error("app>1").0, "a pod selector can't compare with `<` or `>`");
        assert_eq!(error("app===web"), ("there is no operator `===`".into(), 3));
        assert_eq!(error("env within (a)"), ("there is no operator `within`".into(), 4));
        assert_eq!(error("env in a"), ("`in` needs a list in parentheses".into(), 7));
        assert_eq!(error("env in (a"), ("the parenthesis is not closed".into(), 7));
        assert_eq!(error("env in ()"), ("a value of `in (…)` is missing".into(), 8));
        assert_eq!(error("env in (a b)").1, 10);
        assert_eq!(error("!app=web").1, 4);
        assert_eq!(error("Bad_/x=1").0, "the prefix of a label's key is a DNS name, `Bad_` is none");
        assert_eq!(error("a/=1").1, 2);
        assert_eq!(error("a (b)").1, 2);
        assert_eq!(error(&format!("a={}", "x".repeat(64))).1, 65);
        assert_eq!(error("  ").0, "an empty selector matches every pod");
    }

    proptest! {
        #[test]
        fn what_is_built_from_the_grammar_reads(
            key in "([a-z]{1,3}\\.io/)?[A-Za-z0-9]{1,5}",
            tail in "|=[a-z]{0,3}|!=[a-z]{0,3}| in \\([a-z]{1,3}(,[a-z]{1,2})?\\)| notin \\([a-z]\\)",
        ) {
            let text = format!("{key}{tail},!{key}");
            prop_assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }

        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,20}|(in |notin|[a=!(),<> é/.-]){0,14}") {
            if let Err(error) = text.parse::<Selector>() {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error:?}");
            }
        }
    }
}
