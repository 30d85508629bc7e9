//! A time with its unit: `250ms`, `30s`, `1m30s`.

use std::fmt;
use std::str::FromStr;

use super::{ScalarError, quoted};

/// A time as written in a document: whole microseconds, at most 24 hours.
///
/// One or more numbers with the units `h`, `m`, `s`, `ms`, `us`, the larger before the smaller; a number without a unit is an error.
/// It prints in one way whichever way it was written: `90s` as `1m30s`, `1.5s` as `1s500ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(std::time::Duration);

/// Units in the order in which they may follow each other, with their length in microseconds.
const UNITS: [(&str, u64); 5] = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];
/// What people write instead of a unit, and the unit that they mean.
const MEANT: [(&str, &str); 14] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("S", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hour", "h"),
    ("hours", "h"),
    ("H", "h"),
    ("msec", "ms"),
    ("µs", "us"),
];
/// The longest time, in microseconds: 24 hours.
const LONGEST: u64 = 24 * 3_600_000_000;
const FORMS: &str = "write a number with its unit (`us`, `ms`, `s`, `m`, `h`), such as `250ms`, `30s` or `1m30s`";

impl Duration {
    /// From a time. What is finer than a microsecond does not show when printed.
    #[must_use]
    pub const fn new(time: std::time::Duration) -> Self {
        Self(time)
    }

    /// From whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// The time.
    #[must_use]
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Duration {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        if text.is_empty() {
            return Err(ScalarError::new("a duration is missing").hint(FORMS));
        }
        if text.starts_with('-') {
            return Err(ScalarError::new(format!("a duration can't be negative: {}", quoted(text))).hint(FORMS));
        }
        let (mut total, mut position, mut smallest) = (0_u64, 0, 0);
        while position < text.len() {
            let part = Part::read(text, position)?;
            if part.unit < smallest {
                return Err(ScalarError::new(format!("the units of {} are out of order", quoted(text)))
                    .hint("the larger unit comes first, and each once: `1m30s`")
                    .at(position));
            }
            smallest = part.unit + 1;
            total = total.saturating_add(part.micros);
            position = part.end;
        }
        if total > LONGEST {
            return Err(ScalarError::new(format!("{} is longer than the limit of 24h", quoted(text)))
                .hint("no phase, wait or window may be longer than `24h`"));
        }
        Ok(Self(std::time::Duration::from_micros(total)))
    }
}

/// A number with its unit.
struct Part {
    micros: u64,
    /// Index into [`UNITS`].
    unit: usize,
    /// Where the next part begins.
    end: usize,
}

impl Part {
    fn read(text: &str, start: usize) -> Result<Self, ScalarError> {
        let rest = &text[start..];
        let whole = rest.bytes().take_while(u8::is_ascii_digit).count();
        let fraction = match rest[whole..].strip_prefix('.') {
            Some(after) => after.bytes().take_while(u8::is_ascii_digit).count() + 1,
            None => 0,
        };
        let number = &rest[..whole + fraction];
        if whole == 0 || fraction == 1 {
            let at = start + if whole == 0 { 0 } else { number.len() };
            return Err(ScalarError::new(format!("can't read the duration {}", quoted(text))).hint(FORMS).at(at));
        }
        let after = &rest[number.len()..];
        let unit = &after[..after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len())];
        let unit_at = start + number.len();
        let index = UNITS
            .iter()
            .position(|(name, _)| *name == unit)
            .ok_or_else(|| wrong_unit(text, number, unit, after).at(unit_at))?;
        let micros = micros_of(number, UNITS[index].1).ok_or_else(|| {
            ScalarError::new(format!("{} is finer than a microsecond", quoted(text)))
                .hint("the finest duration is `1us`")
                .at(start)
        })?;
        Ok(Self { micros, unit: index, end: unit_at + unit.len() })
    }
}

/// A decimal number of units in microseconds, saturating; `None` when it is not a whole number of them.
fn micros_of(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(unit);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        return Some(whole);
    }
    // Ten decimals are the most that an hour can have and still be whole microseconds.
    let digits = u32::try_from(fraction.len()).ok().filter(|n| *n <= 10)?;
    let scaled = u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit);
    let divisor = 10_u128.pow(digits);
    (scaled % divisor == 0).then(|| whole.saturating_add(u64::try_from(scaled / divisor).unwrap_or(u64::MAX)))
}

fn wrong_unit(text: &str, number: &str, unit: &str, after: &str) -> ScalarError {
    if let Some((_, meant)) = MEANT.iter().find(|(written, _)| *written == unit) {
        return ScalarError::new(format!("there is no unit {}", quoted(unit))).hint(format!("write `{number}{meant}`"));
    }
    match unit {
        "M" => ScalarError::new(format!("{} is ambiguous: a month or a minute", quoted(text)))
            .hint(format!("write `{number}m` for minutes; there are no months")),
        "d" | "day" | "days" => {
            ScalarError::new("there is no unit for days").hint("the longest duration is a day: `24h`")
        }
        "ns" => ScalarError::new("there are no nanoseconds").hint("the finest duration is `1us`"),
        "" if after.is_empty() => ScalarError::new(format!("a duration needs a unit, {} has none", quoted(text)))
            .hint(format!("write `{number}s` for seconds or `{number}ms` for milliseconds")),
        "" if after.starts_with(',') => ScalarError::new(format!("can't read the duration {}", quoted(text)))
            .hint(format!("the decimal sign is a point: `{}`", text.replacen(',', ".", 1))),
        "" if after.starts_with(char::is_whitespace) => {
            ScalarError::new(format!("can't read the duration {}", quoted(text)))
                .hint(format!("write it without spaces: `{}`", text.split_whitespace().collect::<String>()))
        }
        _ => ScalarError::new(format!("can't read the duration {}", quoted(text))).hint(FORMS),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_micros();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in UNITS {
            let count = rest / u128::from(length);
            rest %= u128::from(length);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

super::text_serde!(
    Duration,
    deserialize_str,
    "a duration such as `30s`",
    "A time with its unit (`us`, `ms`, `s`, `m`, `h`), at most 24 hours.",
    r"^([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?([0-9]+(\.[0-9]+)?us)?$",
    ["30s", "250ms", "1m30s"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> (String, String, usize) {
        let error = text.parse::<Duration>().unwrap_err();
        (error.message, error.hint.unwrap_or_default(), error.offset)
    }

    #[test]
    fn reads_and_prints_canonically() {
        for (written, printed) in [
            ("30s", "30s"),
            ("90s", "1m30s"),
            ("1m30s", "1m30s"),
            ("1.5s", "1s500ms"),
            ("0.5h", "30m"),
            ("24h", "24h"),
            ("0s", "0s"),
            ("1h0m1us", "1h1us"),
            ("0.0000000025h", "9us"),
        ] {
            assert_eq!(written.parse::<Duration>().unwrap().to_string(), printed, "{written}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        assert_eq!(error("30").1, "write `30s` for seconds or `30ms` for milliseconds");
        assert_eq!(
            error("1M"),
            ("`1M` is ambiguous: a month or a minute".into(), "write `1m` for minutes; there are no months".into(), 1)
        );
        assert_eq!(error("-30s").0, "a duration can't be negative: `-30s`");
        assert_eq!(
            error("1,5s"),
            ("can't read the duration `1,5s`".into(), "the decimal sign is a point: `1.5s`".into(), 1)
        );
        assert_eq!(error("1.5 s").1, "write it without spaces: `1.5s`");
        assert_eq!(error("1m5sec").1, "write `5s`");
        assert_eq!(error("1m5sec").2, 3);
        assert_eq!(error("99999999999999999999s").0, "`99999999999999999999s` is longer than the limit of 24h");
        assert_eq!(error("24h1us").0, "`24h1us` is longer than the limit of 24h");
        assert_eq!(error("1s1m").0, "the units of `1s1m` are out of order");
        assert_eq!(error("1s1s").2, 2);
        assert_eq!(error("1.s").2, 2);
        assert_eq!(error("0.5us").0, "`0.5us` is finer than a microsecond");
        assert_eq!(error("s").0, "can't read the duration `s`");
        assert_eq!(error("").0, "a duration is missing");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(micros in 0..=LONGEST) {
            let duration = Duration::new(std::time::Duration::from_micros(micros));
            prop_assert_eq!(duration.to_string().parse::<Duration>().unwrap(), duration);
        }

        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,12}|[0-9.,smhu -]{0,12}") {
            if let Err(error) = text.parse::<Duration>() {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error:?}");
            }
        }
    }
}
