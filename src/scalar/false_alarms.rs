//! How seldom a false alarm may be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ScalarError, quoted};

/// One false alarm in so many hours at most: `1 in 1000h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FalseAlarms {
    hours: u32,
}

/// Rarer than once in a century can't be meant.
const MOST: u32 = 1_000_000;
const FORM: &str = "write one alarm in so many hours: `1 in 1000h`";

impl FalseAlarms {
    /// The time in which there may be one.
    #[must_use]
    pub fn every(self) -> Duration {
        Duration::from_secs(u64::from(self.hours) * 3_600)
    }
}

impl FromStr for FalseAlarms {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let error = |message: String| ScalarError::new(message).hint(FORM);
        let words: Vec<&str> = text.split_whitespace().collect();
        let time = match words.as_slice() {
            ["1", "in", time] => *time,
            [count, "in", _] if count.parse::<f64>().is_ok() => {
                return Err(error(format!("a rate of false alarms is one in a time, {} is not", quoted(text))));
            }
            _ => return Err(error(format!("{} is not a rate of false alarms", quoted(text)))),
        };
        let at = text.len() - text.trim_end().len();
        let at = text.len() - at - time.len();
        let digits = time.strip_suffix('h').unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
            return Err(error(format!("the time of a false alarm is in whole hours, {} is not", quoted(time))).at(at));
        }
        let hours = digits.parse().ok().filter(|hours| *hours <= MOST);
        let hours = hours.ok_or_else(|| {
            ScalarError::new(format!("{} is over the limit of {MOST}h", quoted(time)))
                .hint("a run lasts a day at most: `1 in 10000h` stops 1 of 400 such runs wrongly")
                .at(at)
        })?;
        Ok(Self { hours })
    }
}

impl fmt::Display for FalseAlarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1 in {}h", self.hours)
    }
}

super::text_serde!(
    FalseAlarms,
    deserialize_str,
    "a rate of false alarms such as `1 in 1000h`",
    "At most one false alarm in so many hours.",
    r"^\s*1\s+in\s+[1-9][0-9]{0,6}h\s*$",
    ["1 in 1000h", "1 in 100h"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_hours_and_points_at_what_is_none() {
        let read: FalseAlarms = " 1  in 1000h ".parse().unwrap();
        assert_eq!((read.to_string().as_str(), read.every().as_secs()), ("1 in 1000h", 3_600_000));
        let error = |text: &str| {
            let error = text.parse::<FalseAlarms>().unwrap_err();
            (error.message, error.offset)
        };
        assert_eq!(error("2 in 1000h").0, "a rate of false alarms is one in a time, `2 in 1000h` is not");
        assert_eq!(error("5%").0, "`5%` is not a rate of false alarms");
        assert_eq!(error("1 in 90m"), ("the time of a false alarm is in whole hours, `90m` is not".into(), 5));
        assert_eq!(error("1 in 0h").1, 5);
        assert_eq!(error("1 in 2000000h "), ("`2000000h` is over the limit of 1000000h".into(), 5));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(hours in 1..=MOST) {
            let rate = FalseAlarms { hours };
            prop_assert_eq!(rate.to_string().parse::<FalseAlarms>().unwrap(), rate);
        }

        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,12}|1 in [0-9a-zµ .]{0,9}") {
            if let Err(error) = text.parse::<FalseAlarms>() {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error:?}");
            }
        }
    }
}
