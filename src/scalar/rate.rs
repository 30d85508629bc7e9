//! A rate.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ScalarError, quoted};

/// So many per second, minute or hour: `200/s`, `30/m`. Kept as a ratio of integers, so that instants never drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    period: Duration,
    unit: char,
}

/// Most per period: beyond it the number is a slip of the finger.
const MOST: u32 = 1_000_000;
const FORM: &str = "write how many per second, minute or hour: `200/s`, `30/m`, `6/h`";

impl Rate {
    /// Length of `slots` slots; exact to the nanosecond below.
    #[must_use]
    pub fn length_of(self, slots: u64) -> Duration {
        let nanos = u128::from(slots) * self.period.as_nanos() / u128::from(self.count);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many slots begin within `time`, counted from its start.
    #[must_use]
    pub fn slots_in(self, time: Duration) -> u64 {
        let slots = (time.as_nanos() * u128::from(self.count)).div_ceil(self.period.as_nanos());
        u64::try_from(slots).unwrap_or(u64::MAX)
    }

    /// Per second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.period.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let Some((count, unit)) = text.split_once('/') else {
            let error = ScalarError::new(format!("a rate needs a unit, {} has none", quoted(text)));
            return Err(match text.trim().parse::<u32>() {
                Ok(count) if count > 0 => error.hint(format!("write `{count}/s`")),
                _ => error.hint(FORM),
            });
        };
        let unit_at = count.len() + 1;
        let (symbol, seconds) = match unit {
            "s" => ('s', 1),
            "m" => ('m', 60),
            "h" => ('h', 3600),
            _ => {
                let error = ScalarError::new(format!("there is no rate per {}", quoted(unit))).at(unit_at);
                return Err(match unit.trim().chars().next() {
                    Some(first @ ('s' | 'm' | 'h')) => error.hint(format!("write `{}/{first}`", count.trim())),
                    _ => error.hint(FORM),
                });
            }
        };
        let count = whole(text, count, symbol)?;
        Ok(Self { count, period: Duration::from_secs(seconds), unit: symbol })
    }
}

/// The count before the slash.
fn whole(text: &str, count: &str, unit: char) -> Result<u32, ScalarError> {
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        let error = ScalarError::new(format!("a rate has a whole number, {} has not", quoted(text)));
        return Err(match (count.trim().parse::<f64>(), unit) {
            (Ok(number), 's') if number > 0.0 && (number * 60.0).fract() == 0.0 && number.fract() != 0.0 => {
                error.hint(format!("write `{}/m`", number * 60.0))
            }
            (Ok(number), _) if number >= 1.0 && number.fract() == 0.0 && number <= f64::from(MOST) => {
                error.hint(format!("write `{number}/{unit}`"))
            }
            _ => error.hint(FORM),
        });
    }
    if count.bytes().all(|b| b == b'0') {
        return Err(ScalarError::new("a rate of zero measures nothing").hint(FORM));
    }
    if count.starts_with('0') {
        let meant = count.trim_start_matches('0');
        return Err(ScalarError::new(format!("a rate has no leading zeros: {}", quoted(text)))
            .hint(format!("write `{meant}/{unit}`")));
    }
    count.parse().ok().filter(|count| *count <= MOST).ok_or_else(|| {
        ScalarError::new(format!("{} is over the limit of {MOST}/{unit}", quoted(text)))
            .hint("one probe can't send that much; a load generator can")
    })
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit)
    }
}

super::text_serde!(
    Rate,
    deserialize_str,
    "a rate such as `200/s`",
    "So many per second, minute or hour.",
    "^[1-9][0-9]{0,6}/(s|m|h)$",
    ["200/s", "30/m"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_never_drift() {
        let rate: Rate = "3/s".parse().unwrap();
        assert_eq!(rate.length_of(3_000_000), Duration::from_secs(1_000_000));
        assert_eq!(rate.length_of(1), Duration::from_nanos(333_333_333));
        assert_eq!(rate.slots_in(Duration::from_secs(1)), 3);
        assert_eq!(rate.slots_in(Duration::from_millis(334)), 2);
        assert!(("30/m".parse::<Rate>().unwrap().per_second() - 0.5).abs() < 1e-12);
    }

    #[test]
    fn says_what_to_write() {
        for (written, hint) in [
            ("10", "write `10/s`"),
            ("10/sec", "write `10/s`"),
            ("1.5/s", "write `90/m`"),
            ("1e3/s", "write `1000/s`"),
            ("010/s", "write `10/s`"),
            ("10 / s", "write `10/s`"),
            ("0/s", FORM),
            ("1_000/s", FORM),
            ("-1/s", FORM),
            ("/s", FORM),
        ] {
            assert_eq!(written.parse::<Rate>().unwrap_err().hint.as_deref(), Some(hint), "{written}");
        }
        assert!("1000001/s".parse::<Rate>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(count in 1..=MOST, unit in "[smh]") {
            let text = format!("{count}/{unit}");
            prop_assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }

        #[test]
        fn never_panics(text in "\\PC{0,12}|[0-9./smh -]{0,12}") {
            if let Err(error) = text.parse::<Rate>() {
                prop_assert!(error.offset <= text.len());
            }
        }
    }
}
