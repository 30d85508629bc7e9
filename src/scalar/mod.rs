//! The small typed values that experiment files, plans and events are written in.
//!
//! Every value that has a unit is a newtype that parses from text with its unit and prints back the same way, so that a
//! number without a unit can't travel through the program. Nothing here knows of clusters, probes or files.

mod aws;
mod duration;
mod engine;
mod false_alarms;
mod matching;
mod name;
mod percent;
mod predicate;
mod rate;
mod selector;
mod text;
mod tolerance;
mod validity;
pub mod words;

pub use aws::{AccountId, Region};
pub use duration::Duration;
pub use engine::EngineKind;
pub use false_alarms::FalseAlarms;
pub use name::Name;
pub use percent::Percent;
pub use predicate::{Operator, Predicate, Subject, Value};
pub use rate::Rate;
pub use selector::Selector;
pub(crate) use selector::{check_label_key, check_label_value};
pub(crate) use text::{PARTS, TextVisitor, nearest, quoted, text_serde};
pub use tolerance::{Bound, Comparison, Measure, Tolerance};
pub use validity::Validity;

use std::fmt;

/// Why a scalar could not be read: the sentence, and what to write instead.
///
/// `offset` is the byte within the scalar's text where reading failed, so that a diagnostic can point into the scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScalarError {
    /// What is wrong, as a lower-case sentence fragment.
    pub message: String,
    /// What to type instead, if there is a likely answer.
    pub hint: Option<String>,
    /// Byte offset into the scalar's text.
    pub offset: usize,
}

impl ScalarError {
    /// An error at the start of the scalar.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, offset: 0 }
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error, pointing at a byte within the scalar.
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// The same error of a part, for the whole text in which the part begins at `start`.
    #[must_use]
    pub fn within(mut self, start: usize) -> Self {
        self.offset += start;
        self
    }
}

impl std::error::Error for ScalarError {}

/// The plain form is the message. The alternate form (`{:#}`) carries hint and offset too, separated by `PARTS`: it is how they
/// pass through `serde::de::Error::custom`, which takes nothing but text, to a deserialiser that knows places.
impl fmt::Display for ScalarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            write!(f, "{}{PARTS}{}{PARTS}{}", self.message, self.hint.as_deref().unwrap_or_default(), self.offset)
        } else {
            f.write_str(&self.message)
        }
    }
}
