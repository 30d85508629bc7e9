//! How long a certificate has to be valid yet: `14d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::text_serde;
use super::{ScalarError, quoted};

/// A time in days or hours, as written in a document: whole hours, at most ten years.
///
/// Not a [`Duration`](super::Duration): those end at 24 hours and have no days, which nothing in a run lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Validity {
    hours: u32,
}

const DAY: u32 = 24;
const LONGEST_DAYS: u32 = 3650;
const FORMS: &str = "write `14d`, or `36h`";

impl Validity {
    /// The time.
    #[must_use]
    pub fn get(self) -> Duration {
        Duration::from_secs(u64::from(self.hours) * 3600)
    }
}

impl FromStr for Validity {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let wrong = || ScalarError::new(format!("{} is not a number of days or hours", quoted(text))).hint(FORMS);
        let factor = match unit {
            _ if number.is_empty() => return Err(wrong()),
            "d" => DAY,
            "h" => 1,
            "" => {
                let error = ScalarError::new(format!("{} lacks its unit", quoted(text)));
                return Err(error.hint(format!("write `{text}d`, or `{text}h`")));
            }
            _ => return Err(wrong().at(digits)),
        };
        let hours = number.parse::<u32>().ok().and_then(|number| number.checked_mul(factor));
        match hours {
            Some(0) => {
                Err(ScalarError::new("every certificate that is accepted is valid that long").hint("leave it out"))
            }
            Some(hours) if hours <= LONGEST_DAYS * DAY => Ok(Self { hours }),
            _ => Err(ScalarError::new(format!("{} is longer than the limit of {LONGEST_DAYS}d", quoted(text)))
                .hint("no certificate is made to last that long")),
        }
    }
}

impl fmt::Display for Validity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.hours.is_multiple_of(DAY) { write!(f, "{}d", self.hours / DAY) } else { write!(f, "{}h", self.hours) }
    }
}

text_serde!(
    Validity,
    deserialize_str,
    "a number of days or hours, such as `14d`",
    "A number of days or hours.",
    "^[0-9]+[dh]$",
    ["14d", "36h"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_and_comes_back() {
        for (text, hours, shown) in
            [("14d", 336, "14d"), ("36h", 36, "36h"), ("48h", 48, "2d"), ("3650d", 87_600, "3650d")]
        {
            let validity: Validity = text.parse().unwrap();
            assert_eq!((validity.get(), validity.to_string()), (Duration::from_secs(hours * 3600), shown.to_owned()));
        }
    }

    #[test]
    fn mistakes_are_told_with_what_to_write() {
        let of = |text: &str| text.parse::<Validity>().unwrap_err();
        assert_eq!(
            (of("14").message, of("14").hint.unwrap()),
            ("`14` lacks its unit".into(), "write `14d`, or `14h`".into())
        );
        assert_eq!(of("0d").hint.unwrap(), "leave it out");
        for (text, offset) in
            [("", 0), ("d", 0), ("14days", 2), ("1.5d", 1), ("2w", 1), ("é", 0), ("9999d", 0), ("99999999999h", 0)]
        {
            assert_eq!(of(text).offset, offset, "{text}");
        }
    }
}
