//! The tolerance of a probe's hypothesis: `MEASURE (< | <= | > | >=) VALUE [over WINDOW]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::Words;
use super::{Percent, ScalarError, quoted};

/// What is measured over a probe's samples. See `docs/measures.md` for the exact definitions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Measure {
    /// Good ÷ (good + bad).
    Success,
    /// A latency quantile, counted from the planned instant; the value lies in `0.5..=0.999`.
    Quantile(f64),
    /// The largest latency.
    Max,
    /// The longest window from a first bad request to the next sustained good one; once per run.
    Outage,
    /// Bad requests ÷ rate: seconds of full outage that would have failed as many requests.
    Downtime,
    /// From the acknowledged injection to the first 5 s window that meets every other tolerance; once per run.
    Recovery,
}

/// How the measured value is compared to the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
}

/// The bound's value: a ratio for `success`, a time for everything else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// A share between 0 and 1.
    Ratio(f64),
    /// A time.
    Time(Duration),
}

/// A parsed tolerance. `text` is what was written, for messages and reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolerance {
    /// What is measured.
    pub measure: Measure,
    /// How it is compared.
    pub comparison: Comparison,
    /// What it is compared with.
    pub bound: Bound,
    /// Judge the worst sliding window of this length instead of the whole phase.
    pub over: Option<Duration>,
    /// The tolerance as written.
    pub text: String,
}

const FORM: &str =
    "write `MEASURE (< | <= | > | >=) VALUE [over WINDOW]`, such as `success >= 99.9%` or `p99 <= 50ms over 10s`";
const MEASURES: [&str; 10] = ["success", "p50", "p90", "p95", "p99", "p99.9", "max", "outage", "downtime", "recovery"];

impl Measure {
    /// Whether there is one value for the whole run rather than one per phase.
    #[must_use]
    pub const fn is_once_per_run(self) -> bool {
        matches!(self, Self::Outage | Self::Recovery)
    }

    fn read(word: &str) -> Result<Self, ScalarError> {
        Ok(match word {
            "success" => Self::Success,
            "max" => Self::Max,
            "outage" => Self::Outage,
            "downtime" => Self::Downtime,
            "recovery" => Self::Recovery,
            _ => match word.strip_prefix('p').filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
                Some(number) => Self::Quantile(quantile(word, number)?),
                None => return Err(unknown_measure(word)),
            },
        })
    }
}

/// The share of a quantile's name, `99.9` of `p99.9`.
fn quantile(word: &str, number: &str) -> Result<f64, ScalarError> {
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenths = match (whole.parse::<u32>(), tenth.parse::<u32>()) {
        (Ok(whole), Ok(tenth)) if tenth < 10 && number.len() <= 4 && !whole.to_string().starts_with('0') => {
            Some(whole * 10 + tenth)
        }
        _ => None,
    };
    if let Some(tenths @ 500..=999) = tenths {
        return Ok(f64::from(tenths) / 1000.0);
    }
    let error = ScalarError::new(format!("{} is not a quantile between `p50` and `p99.9`", quoted(word)));
    Err(error.hint(match word {
        "p100" => "write `max` for the largest latency",
        "p999" => "write `p99.9`",
        _ => "quantiles have at most one decimal: `p50`, `p90`, `p95`, `p99`, `p99.9`",
    }))
}

fn unknown_measure(word: &str) -> ScalarError {
    let error = ScalarError::new(format!("there is no measure {}", quoted(word)));
    match super::text::nearest(word, MEASURES) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("measures are `{}`", MEASURES.join("`, `"))),
    }
}

impl Comparison {
    /// Whether smaller values meet it.
    #[must_use]
    pub const fn is_upper(self) -> bool {
        matches!(self, Self::Less | Self::AtMost)
    }

    fn read(sign: &str) -> Result<Self, ScalarError> {
        Ok(match sign {
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::More,
            ">=" => Self::AtLeast,
            _ => {
                let hint = match sign {
                    "=<" | "≤" => "write `<=`",
                    "=>" | "≥" => "write `>=`",
                    _ => "a measured value is never exactly that; write `<=` or `>=`",
                };
                return Err(ScalarError::new(format!("{} is not a comparison of tolerances", quoted(sign))).hint(hint));
            }
        })
    }
}

impl FromStr for Tolerance {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let mut words = Words::new(text);
        let Some((at, word)) = words.next() else {
            return Err(ScalarError::new("a tolerance is missing").hint(FORM));
        };
        let measure = Measure::read(word).map_err(|e| e.at(at))?;
        let Some((at, sign)) = words.next() else {
            return Err(ScalarError::new(format!("a tolerance needs a bound, {} has none", quoted(text)))
                .hint(FORM)
                .at(text.len()));
        };
        let comparison = Comparison::read(sign).map_err(|e| e.at(at))?;
        let Some((bound_at, written)) = words.next() else {
            return Err(ScalarError::new(format!("the value after {} is missing", quoted(sign)))
                .hint(FORM)
                .at(text.len()));
        };
        let bound = bound(measure, written, text, bound_at)?;
        possible(measure, comparison, bound, written).map_err(|e| e.at(bound_at))?;
        let over = match words.next() {
            None => None,
            Some((at, "over")) => Some(window(measure, &mut words, text, at)?),
            Some((at, word)) => {
                return Err(ScalarError::new(format!("{} does not belong here", quoted(word))).hint(FORM).at(at));
            }
        };
        if let Some((at, word)) = words.next() {
            return Err(ScalarError::new(format!("{} does not belong here", quoted(word))).hint(FORM).at(at));
        }
        Ok(Self { measure, comparison, bound, over, text: text.trim().to_owned() })
    }
}

/// The bound in the unit of the measure.
fn bound(measure: Measure, written: &str, text: &str, at: usize) -> Result<Bound, ScalarError> {
    let not_finite =
        matches!(written.trim_start_matches(['.', '-', '+']).to_ascii_lowercase().as_str(), "nan" | "inf" | "infinity");
    if not_finite {
        return Err(ScalarError::new(format!("a bound must be finite: {}", quoted(text))).hint(FORM).at(at));
    }
    let inside = |e: ScalarError| e.within(at);
    if measure == Measure::Success {
        if written.parse::<super::Duration>().is_ok() {
            return Err(ScalarError::new(format!("`success` is a share, {} is a time", quoted(written)))
                .hint("write `success >= 99.9%`, or compare a time: `p99`, `outage`, `downtime`, `recovery`")
                .at(at));
        }
        return written.parse::<Percent>().map(|percent| Bound::Ratio(percent.share())).map_err(inside);
    }
    if written.ends_with('%') {
        let name =
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '.').find(|w| !w.is_empty()).unwrap_or_default();
        return Err(ScalarError::new(format!("`{name}` is a time, {} is a share", quoted(written)))
            .hint(format!("write `{name} <= 500ms`, or compare the share: `success`"))
            .at(at));
    }
    written.parse::<super::Duration>().map(|time| Bound::Time(time.get())).map_err(inside)
}

/// Refuses a bound that no measured value could ever meet.
fn possible(measure: Measure, comparison: Comparison, bound: Bound, written: &str) -> Result<(), ScalarError> {
    let latency = matches!(measure, Measure::Quantile(_) | Measure::Max);
    let never = match (bound, comparison) {
        (Bound::Ratio(ratio), Comparison::More) => ratio >= 1.0,
        (Bound::Ratio(ratio), Comparison::Less) => ratio <= 0.0,
        (Bound::Time(time), Comparison::Less) => time.is_zero(),
        (Bound::Time(time), Comparison::AtMost) => time.is_zero() && latency,
        _ => false,
    };
    if never {
        return Err(ScalarError::new(format!("nothing can be beyond {}: this never holds", quoted(written)))
            .hint("compare with a value that a healthy service reaches"));
    }
    Ok(())
}

/// The window after `over`.
fn window(measure: Measure, words: &mut Words<'_>, text: &str, over_at: usize) -> Result<Duration, ScalarError> {
    if measure.is_once_per_run() {
        return Err(ScalarError::new("`outage` and `recovery` are measured once per run, so `over` says nothing")
            .hint("leave `over` out")
            .at(over_at));
    }
    let Some((at, written)) = words.next() else {
        return Err(ScalarError::new("the window after `over` is missing").hint("write `over 10s`").at(text.len()));
    };
    let time = written.parse::<super::Duration>().map_err(|e| e.within(at))?;
    if time.is_zero() {
        return Err(ScalarError::new("a window of no length holds no samples").hint("write `over 10s`").at(at));
    }
    Ok(time.get())
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

super::text_serde!(
    Tolerance,
    deserialize_str,
    "a tolerance such as `success >= 99.9%`",
    "`MEASURE (< | <= | > | >=) VALUE [over WINDOW]`; measures are `success`, `p50` to `p99.9`, `max`, `outage`, `downtime` and `recovery`.",
    r"^\s*(success|p[5-9][0-9](\.[0-9])?|max|outage|downtime|recovery)\s*(<|<=|>|>=)\s*[0-9][0-9.]*(%|[0-9.hmsu]+)(\s+over\s+[0-9][0-9.hmsu]+)?\s*$",
    ["success >= 99.9%", "p99 <= 50ms over 10s", "outage <= 2s", "recovery <= 30s"]
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> (String, usize) {
        let error = text.parse::<Tolerance>().unwrap_err();
        (error.message, error.offset)
    }

    #[test]
    fn reads_every_measure() {
        let tolerance: Tolerance = "p99.9 <= 1m30s over 10s".parse().unwrap();
        assert_eq!(tolerance.measure, Measure::Quantile(0.999));
        assert_eq!(tolerance.comparison, Comparison::AtMost);
        assert_eq!(tolerance.bound, Bound::Time(Duration::from_secs(90)));
        assert_eq!(tolerance.over, Some(Duration::from_secs(10)));
        assert_eq!("success>=99.9%".parse::<Tolerance>().unwrap().bound, Bound::Ratio(0.999));
        for text in
            ["max < 1s", "outage <= 0s", "downtime < 5s over 1m", "recovery <= 30s", "p50 > 1ms", " success  <  50% "]
        {
            assert_eq!(text.parse::<Tolerance>().unwrap().to_string(), text.trim());
        }
    }

    #[test]
    fn points_at_the_word() {
        assert_eq!(error("sucess >= 99%"), ("there is no measure `sucess`".into(), 0));
        assert_eq!(error("success >= 99"), ("a percentage needs its sign, `99` has none".into(), 11));
        assert_eq!(error("success >= 99ms").0, "`success` is a share, `99ms` is a time");
        assert_eq!(error("p99 <= 50%"), ("`p99` is a time, `50%` is a share".into(), 7));
        assert_eq!(error("p999 <= 5ms").0, "`p999` is not a quantile between `p50` and `p99.9`");
        assert_eq!(error("p49.9 <= 5ms").0, "`p49.9` is not a quantile between `p50` and `p99.9`");
        assert_eq!(error("p99 == 5ms"), ("`==` is not a comparison of tolerances".into(), 4));
        assert_eq!(error("p99 < .nan"), ("a bound must be finite: `p99 < .nan`".into(), 6));
        assert_eq!(error("p99 <= 5ms over"), ("the window after `over` is missing".into(), 15));
        assert_eq!(error("p99 <= 5ms over 10"), ("a duration needs a unit, `10` has none".into(), 18));
        assert_eq!(error("p99 <= 5ms for 10s"), ("`for` does not belong here".into(), 11));
        assert_eq!(error("outage <= 2s over 10s").1, 13);
        assert_eq!(error("p99 <= 0ms").1, 7);
        assert_eq!(error("success > 100%").1, 10);
        assert_eq!(error("success"), ("a tolerance needs a bound, `success` has none".into(), 7));
        assert_eq!(error("success >=").1, 10);
        assert_eq!(error(" ").0, "a tolerance is missing");
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            measure in "success|p(5|9)[0-9](\\.[0-9])?|max|downtime",
            sign in "<|<=|>|>=",
            millis in 1..86_400_000_u64,
            window in proptest::option::of(1..3600_u64),
        ) {
            let bound = if measure == "success" { format!("{}.5%", millis % 100) } else { super::super::Duration::new(Duration::from_millis(millis)).to_string() };
            let over = window.map(|s| format!(" over {}", super::super::Duration::seconds(s))).unwrap_or_default();
            let text = format!("{measure} {sign} {bound}{over}");
            let read: Tolerance = text.parse().unwrap();
            prop_assert_eq!(read.over, window.map(Duration::from_secs));
            prop_assert_eq!(read.to_string().parse::<Tolerance>().unwrap(), read);
        }

        #[test]
        fn never_panics_and_points_inside(text in "\\PC{0,20}|(success|p99|[<>=%0-9.msover ]){0,12}") {
            if let Err(error) = text.parse::<Tolerance>() {
                prop_assert!(error.offset <= text.len() && text.is_char_boundary(error.offset), "{error:?}");
            }
        }
    }
}
