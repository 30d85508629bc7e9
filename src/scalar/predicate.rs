//! The tolerance of an object's hypothesis: a field or a condition compared with a value, such as
//! `status.availableReplicas >= 2` or `condition Available == True`.

use std::fmt;
use std::str::FromStr;

use super::text::Words;
use super::{ScalarError, quoted};

/// What of the object is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A path of field names from the object's root.
    Field(Vec<String>),
    /// The status of the entry of this type in `status.conditions`.
    Condition(String),
}

/// How the field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// What the field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A whole or decimal number.
    Number(f64),
    /// A text, `true` and `false` included.
    Text(String),
}

/// A parsed predicate. `text` is what was written.
///
/// ```text
/// PREDICATE = FIELD (< | <= | > | >=) NUMBER
///           | FIELD (== | !=) VALUE
///           | "condition" TYPE (== | !=) ("True" | "False" | "Unknown")
/// FIELD     = NAME { "." NAME | "[" QUOTED "]" }      the bracket is for names with dots: metadata.labels["app.kubernetes.io/name"]
/// VALUE     = NUMBER | WORD | QUOTED                  a quoted value is always text
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Predicate {
    /// What is looked at.
    pub subject: Subject,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub value: Value,
    /// The predicate as written.
    pub text: String,
}

const FORM: &str =
    "write a field or a condition and what it must be: `status.availableReplicas >= 2`, `condition Available == True`";
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

impl Operator {
    const fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    fn read(sign: &str) -> Result<Self, ScalarError> {
        Ok(match sign {
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            _ => {
                let hint = match sign {
                    "=" => "write `==`",
                    "=<" | "≤" => "write `<=`",
                    "=>" | "≥" => "write `>=`",
                    _ => "operators are `<`, `<=`, `>`, `>=`, `==` and `!=`",
                };
                return Err(ScalarError::new(format!("{} is not an operator", quoted(sign))).hint(hint));
            }
        })
    }
}

impl FromStr for Predicate {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let start = text.len() - text.trim_start().len();
        let (subject, rest_at) =
            match text[start..].strip_prefix("condition").filter(|r| r.starts_with(char::is_whitespace)) {
                Some(_) => condition(text, start + "condition".len())?,
                None => field(text, start)?,
            };
        let mut words = Words::new(&text[rest_at..]);
        let Some((at, sign)) = words.next() else {
            return Err(ScalarError::new(format!("{} is compared with nothing", quoted(text.trim())))
                .hint(FORM)
                .at(text.len()));
        };
        let operator = Operator::read(sign).map_err(|e| e.at(rest_at + at))?;
        let value_at = rest_at + at + sign.len();
        let written = text[value_at..].trim();
        let value_at = value_at + (text[value_at..].len() - text[value_at..].trim_start().len());
        let value = value(&subject, operator, written).map_err(|e| e.within(value_at))?;
        Ok(Self { subject, operator, value, text: text.trim().to_owned() })
    }
}

/// The condition's type after the word `condition`, and where what follows begins.
fn condition(text: &str, from: usize) -> Result<(Subject, usize), ScalarError> {
    match Words::new(&text[from..]).next() {
        Some((at, word)) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((Subject::Condition(word.to_owned()), from + at + word.len()))
        }
        _ => Err(ScalarError::new("the type of the condition is missing")
            .hint("write `condition Available == True`")
            .at(from)),
    }
}

/// The field's path, and where what follows begins.
fn field(text: &str, from: usize) -> Result<(Subject, usize), ScalarError> {
    let mut path = Vec::new();
    let mut at = from;
    loop {
        let rest = &text[at..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))).unwrap_or(rest.len());
        if length == 0 {
            return Err(ScalarError::new(format!("can't read the field path {}", quoted(text.trim())))
                .hint(FORM)
                .at(at));
        }
        path.push(rest[..length].to_owned());
        at += length;
        while let Some(inner) = text[at..].strip_prefix('[') {
            let (key, length) = bracket(inner).map_err(|e| e.at(at))?;
            path.push(key);
            at += 1 + length;
        }
        match text[at..].strip_prefix('.') {
            Some(_) => at += 1,
            None => return Ok((Subject::Field(path), at)),
        }
    }
}

/// What stands in `["…"]` after the opening bracket, and the length with its closing bracket.
fn bracket(inner: &str) -> Result<(String, usize), ScalarError> {
    inner
        .strip_prefix('"')
        .and_then(|key| key.split_once("\"]"))
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, _)| (key.to_owned(), key.len() + 3))
        .ok_or_else(|| {
            ScalarError::new("a bracket holds a field name in double quotes")
                .hint("write `metadata.labels[\"app.kubernetes.io/name\"] == web`")
        })
}

fn value(subject: &Subject, operator: Operator, written: &str) -> Result<Value, ScalarError> {
    if written.is_empty() {
        return Err(ScalarError::new("the value to compare with is missing").hint(FORM));
    }
    if let Subject::Condition(kind) = subject {
        if operator.orders() {
            return Err(ScalarError::new("a condition is `True`, `False` or `Unknown`, and has no order")
                .hint(format!("write `condition {kind} == True`")));
        }
        if !STATUSES.contains(&written) {
            let likely = STATUSES.iter().find(|s| s.eq_ignore_ascii_case(written)).copied().unwrap_or("True");
            return Err(ScalarError::new(format!(
                "a condition is `True`, `False` or `Unknown`, not {}",
                quoted(written)
            ))
            .hint(format!("write `condition {kind} == {likely}`")));
        }
        return Ok(Value::Text(written.to_owned()));
    }
    if let Some(inner) = written.strip_prefix('"') {
        return match inner.strip_suffix('"').filter(|text| !text.contains('"') && !operator.orders()) {
            Some(text) => Ok(Value::Text(text.to_owned())),
            None if operator.orders() => Err(needs_number(written)),
            None => Err(ScalarError::new(format!("the quote is not closed: {}", quoted(written)))),
        };
    }
    if let Some(at) = written.find(|c: char| c.is_whitespace() || "<>=!\"".contains(c)) {
        return Err(ScalarError::new(format!("{} is not one value", quoted(written)))
            .hint("put a value with spaces in double quotes")
            .at(at));
    }
    if is_number(written)
        && let Ok(number) = written.parse::<f64>()
        && number.is_finite()
    {
        return Ok(Value::Number(number));
    }
    if operator.orders() { Err(needs_number(written)) } else { Ok(Value::Text(written.to_owned())) }
}

/// Digits with at most one sign and one point: what JSON calls a number, less the exponent. `nan` and `inf` are texts.
fn is_number(written: &str) -> bool {
    let digits = written.strip_prefix('-').unwrap_or(written);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    [whole, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn needs_number(written: &str) -> ScalarError {
    ScalarError::new(format!("`<`, `<=`, `>` and `>=` compare numbers, {} is none", quoted(written)))
        .hint("texts are compared with `==` and `!=`")
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

super::text_serde!(
    Predicate,
    deserialize_str,
    "a tolerance such as `status.availableReplicas >= 2`",
    "A field path or `condition TYPE`, an operator (`<`, `<=`, `>`, `>=`, `==`, `!=`) and a value.",
    r"^.*[^<>=!\s]\s*(<|<=|>|>=|==|!=)\s*[^<>=!\s].*$",
    ["status.availableReplicas >= 2", "condition Available == True"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> (String, usize) {
        let error = text.parse::<Predicate>().unwrap_err();
        (error.message, error.offset)
    }

    #[test]
    fn reads_fields_and_conditions() {
        let predicate: Predicate = "status.availableReplicas >= 2".parse().unwrap();
        assert_eq!(predicate.subject, Subject::Field(vec!["status".into(), "availableReplicas".into()]));
        assert_eq!((predicate.operator, predicate.value), (Operator::AtLeast, Value::Number(2.0)));
        let predicate: Predicate = "condition Available == True".parse().unwrap();
        assert_eq!(predicate.subject, Subject::Condition("Available".into()));
        assert_eq!(predicate.value, Value::Text("True".into()));
        let predicate: Predicate = r#"metadata.labels["app.kubernetes.io/name"]=="web 1""#.parse().unwrap();
        assert_eq!(
            predicate.subject,
            Subject::Field(vec!["metadata".into(), "labels".into(), "app.kubernetes.io/name".into()])
        );
        assert_eq!(predicate.value, Value::Text("web 1".into()));
        assert_eq!("spec.paused == false".parse::<Predicate>().unwrap().value, Value::Text("false".into()));
        assert_eq!("a.b == \"2\"".parse::<Predicate>().unwrap().value, Value::Text("2".into()));
        assert_eq!("conditions.x != -1.5".parse::<Predicate>().unwrap().value, Value::Number(-1.5));
    }

    #[test]
    fn points_at_the_mistake() {
        assert_eq!(error("status.x = 2"), ("`=` is not an operator".into(), 9));
        assert_eq!(error("status. >= 2").1, 7);
        assert_eq!(
            error("status.phase > Running"),
            ("`<`, `<=`, `>` and `>=` compare numbers, `Running` is none".into(), 15)
        );
        assert_eq!(error("condition Available == true").1, 23);
        assert_eq!(error("condition Available >= True").1, 23);
        assert_eq!(error("condition").0, "`condition` is compared with nothing");
        assert_eq!(error("condition  == True").0, "the type of the condition is missing");
        assert_eq!(error("status.x >= ").0, "the value to compare with is missing");
        assert_eq!(error("status.x >= .nan").1, 12);
        assert_eq!(error("status.x == a b").1, 13);
        assert_eq!(error("a[b] == 1").1, 1);
        assert_eq!(error("").0, "can't read the field path ``");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(path in "[a-z]{1,5}(\\.[a-zA-Z]{1,5}){0,3}", sign in "<|<=|>|>=|==|!=", number in -1000..1000) {
            let read: Predicate = format!("{path} {sign} {number}").parse().unwrap();
            prop_assert_eq!(&read.value, &Value::Number(f64::from(number)));
            prop_assert_eq!(read.to_string().parse::<Predicate>().unwrap(), read);
        }

        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,20}|(condition |a\\.|\\[\"|\"\\]|[<>=!a1\" ]){0,12}") {
            if let Err(error) = text.parse::<Predicate>() {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error:?}");
            }
        }
    }
}
