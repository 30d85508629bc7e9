//! A percentage.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::{ScalarError, quoted};

/// A percentage between 0 and 100, written with its sign: `25%`. The decimal text is kept exactly: `99.90%` prints as `99.90%`, though it
/// equals `99.9%`.
#[derive(Debug, Clone, Copy)]
pub struct Percent {
    /// The number without its decimal point.
    digits: u32,
    /// How many of the digits stand behind the point.
    decimals: u32,
}

/// Most digits behind the point.
const MOST_DECIMALS: u32 = 6;

impl Percent {
    /// The share, between 0 and 1: the nearest binary fraction.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.digits) / f64::from(100 * 10_u32.pow(self.decimals))
    }

    /// That share of `n`, rounded down; exact.
    #[must_use]
    pub fn of_rounded_down(self, n: usize) -> usize {
        let part = n as u128 * u128::from(self.digits) / (100 * 10_u128.pow(self.decimals));
        usize::try_from(part).unwrap_or(n)
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.digits == 0
    }

    /// In units of the finest decimal.
    const fn exact(self) -> u64 {
        self.digits as u64 * 10_u64.pow(MOST_DECIMALS - self.decimals)
    }
}

impl PartialEq for Percent {
    fn eq(&self, other: &Self) -> bool {
        self.exact() == other.exact()
    }
}

impl Eq for Percent {}

impl PartialOrd for Percent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Percent {
    fn cmp(&self, other: &Self) -> Ordering {
        self.exact().cmp(&other.exact())
    }
}

impl FromStr for Percent {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let Some(number) = text.strip_suffix('%') else {
            return Err(without_sign(text));
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if number.starts_with('-') && is_number(number.get(1..2).unwrap_or_default()) {
            return Err(ScalarError::new(format!("a percentage can't be negative: {}", quoted(text))));
        }
        if !is_number(whole) || !is_number(fraction) {
            return Err(
                ScalarError::new(format!("can't read the percentage {}", quoted(text))).hint("write `25%` or `99.9%`")
            );
        }
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(ScalarError::new(format!("a percentage has no leading zeros: {}", quoted(text))));
        }
        let decimals = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let decimals = u32::try_from(decimals).ok().filter(|decimals| *decimals <= MOST_DECIMALS);
        let decimals = decimals
            .ok_or_else(|| ScalarError::new(format!("{} has more than {MOST_DECIMALS} decimals", quoted(text))))?;
        // Nine digits behind the check above are at most three before the point, so they fit; more are over 100 anyway.
        let over =
            || ScalarError::new(format!("{} is over 100%", quoted(text))).hint("a share lies between `0%` and `100%`");
        let digits: u32 = number.replacen('.', "", 1).parse().map_err(|_| over())?;
        let percent = Self { digits, decimals };
        if percent.exact() > 100 * 10_u64.pow(MOST_DECIMALS) { Err(over()) } else { Ok(percent) }
    }
}

/// A number without `%`: a percentage, or a ratio that has to be multiplied.
fn without_sign(text: &str) -> ScalarError {
    let error = ScalarError::new(format!("a percentage needs its sign, {} has none", quoted(text)));
    match text.parse::<f64>() {
        Ok(ratio) if ratio > 0.0 && ratio <= 1.0 => {
            // Formatting with twelve decimals hides what the multiplication added beyond the digits that were written.
            let percent = format!("{:.12}", ratio * 100.0);
            error.hint(format!("write `{}%`", percent.trim_end_matches('0').trim_end_matches('.')))
        }
        Ok(number) if number.is_finite() => error.hint(format!("write `{}%`", text.trim())),
        _ => error.hint("write `25%` or `99.9%`"),
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10_u32.pow(self.decimals);
        write!(f, "{}", self.digits / scale)?;
        if self.decimals > 0 {
            write!(f, ".{:0width$}", self.digits % scale, width = self.decimals as usize)?;
        }
        f.write_str("%")
    }
}

super::text_serde!(
    Percent,
    deserialize_str,
    "a percentage such as `25%`",
    "A percentage between 0 and 100 with its sign.",
    r"^(0|[1-9][0-9]?|100)(\.[0-9]{1,6})?%$",
    ["25%", "99.9%"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hint(text: &str) -> String {
        text.parse::<Percent>().unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn keeps_its_text_and_compares_by_value() {
        let percent: Percent = "99.90%".parse().unwrap();
        assert_eq!(percent.to_string(), "99.90%");
        assert_eq!(percent, "99.9%".parse().unwrap());
        assert!(percent < "100%".parse().unwrap());
        assert!((percent.share() - 0.999).abs() < 1e-15);
    }

    #[test]
    fn rounds_down_exactly() {
        assert_eq!("33%".parse::<Percent>().unwrap().of_rounded_down(3), 0);
        assert_eq!("34%".parse::<Percent>().unwrap().of_rounded_down(3), 1);
        assert_eq!("29%".parse::<Percent>().unwrap().of_rounded_down(100), 29);
        assert_eq!("100%".parse::<Percent>().unwrap().of_rounded_down(usize::MAX), usize::MAX);
    }

    #[test]
    fn refuses_what_is_no_share() {
        assert_eq!(hint("99"), "write `99%`");
        assert_eq!(hint("0.999"), "write `99.9%`");
        assert_eq!(hint("150%"), "a share lies between `0%` and `100%`");
        for bad in [
            "150%",
            "100.000001%",
            "-1%",
            "%",
            ".5%",
            "5.%",
            "1e1%",
            "nan%",
            "inf%",
            "05%",
            "1.1234567%",
            "99999999999%",
        ] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(digits in 0..=100_000_000_u32, decimals in 0..=6_u32) {
            let percent = Percent { digits: digits / 10_u32.pow(6 - decimals), decimals };
            let text = percent.to_string();
            let back: Percent = text.parse().unwrap();
            prop_assert_eq!(back, percent);
            prop_assert_eq!(back.to_string(), text);
        }

        #[test]
        fn never_panics(text in "\\PC{0,12}|[0-9.%-]{0,14}") {
            let _ = text.parse::<Percent>();
        }
    }
}
