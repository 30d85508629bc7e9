//! How numbers and names are written for people: one way, for the terminal, the page and CI alike.

use std::fmt::Write as _;

use crate::probe::StreamKind;
use crate::record::{Injection, Judgement, RunVerdict, UndoOutcome, Verdict};

/// A length of time, given in microseconds, with three significant digits: `812 ms`, `1.20 s`, `2 min 05 s`, `1 h 02 min`.
#[must_use]
pub fn duration(micros: i64) -> String {
    let sign = if micros < 0 { "−" } else { "" };
    let us = micros.unsigned_abs();
    // A unit ends where rounding would print its thousand.
    let text = match us {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{us} µs"),
        1_000..999_500 => format!("{} ms", three_digits(us, 1_000)),
        999_500..59_950_000 => format!("{} s", three_digits(us, 1_000_000)),
        59_950_000..3_599_500_000 => {
            let seconds = (us + 500_000) / 1_000_000;
            format!("{} min {:02} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = (us + 30_000_000) / 60_000_000;
            format!("{} h {:02} min", minutes / 60, minutes % 60)
        }
    };
    format!("{sign}{text}")
}

/// A latency, given in microseconds.
#[must_use]
pub fn latency(micros: u64) -> String {
    if micros == 0 { "0 µs".to_owned() } else { duration(i64::try_from(micros).unwrap_or(i64::MAX)) }
}

/// `value / unit` with three significant digits, in integers so that no digit is an artefact.
fn three_digits(value: u64, unit: u64) -> String {
    for (places, scale) in [(2_usize, 100), (1, 10)] {
        let scaled = (value * scale + unit / 2) / unit;
        if scaled < 1_000 {
            return format!("{}.{:0places$}", scaled / scale, scaled % scale);
        }
    }
    ((value + unit / 2) / unit).to_string()
}

/// An instant, in seconds since the run's zero and to the millisecond: `12.480 s`.
#[must_use]
pub fn instant(micros: i64) -> String {
    let ms = micros.unsigned_abs() / 1_000;
    let sign = if micros < 0 && ms > 0 { "−" } else { "" };
    format!("{sign}{}.{:03} s", count(ms / 1_000), ms % 1_000)
}

/// A count with thousands separators: `12,345`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 request`, `2 requests`. The noun's plural is its singular with `s`.
#[must_use]
pub fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A count of things in memory.
#[must_use]
pub fn plural_of(n: usize, noun: &str) -> String {
    plural(u64::try_from(n).unwrap_or(u64::MAX), noun)
}

/// A share as a percentage. Only 1 prints as `100 %` and only 0 as `0 %`: the digits grow until the difference shows.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if value <= 0.0 {
        return "0 %".to_owned();
    }
    if value >= 100.0 {
        return "100 %".to_owned();
    }
    let distance = value.min(100.0 - value);
    let mut places = 2;
    let mut step = 0.01;
    // A shade under the step, so that a float just below a round number does not earn a digit.
    while distance < step * 0.999 && places < 6 {
        places += 1;
        step /= 10.0;
    }
    format!("{value:.places$} %")
}

/// Good ÷ (good + bad) as a percentage; `–` when nothing was judged.
#[must_use]
pub fn success(good: u64, bad: u64) -> String {
    ratio(good, good + bad).map_or_else(|| "–".to_owned(), percent)
}

/// `part / whole`; nothing for an empty whole.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of requests stay far below 2^53")]
pub fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A rate per second: `200/s`, `12.5/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second.fract().abs() < 0.05 || per_second >= 100.0 {
        format!("{per_second:.0}/s")
    } else {
        format!("{per_second:.1}/s")
    }
}

/// Counts by name, largest first: `connect-refused 120, status-503 4`.
#[must_use]
pub fn classes(classes: &std::collections::BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<_> = classes.iter().filter(|(_, n)| **n > 0).collect();
    sorted.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let mut text = String::new();
    for (name, n) in sorted {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{name} {}", count(*n));
    }
    text
}

/// A probe and its stream: `web fresh`.
#[must_use]
pub fn stream(probe: &str, stream: StreamKind) -> String {
    format!("{probe} {}", stream.label())
}

/// What a judgement is about: `probe web, fresh` or `deployment/web`.
#[must_use]
pub fn subject(judgement: &Judgement) -> String {
    match judgement.stream {
        Some(stream) => format!("{}, {}", judgement.subject, stream.label()),
        None => judgement.subject.clone(),
    }
}

/// The phase of a judgement, or `run`.
#[must_use]
pub fn phase(judgement: &Judgement) -> &'static str {
    judgement.phase.map_or("run", crate::record::Phase::label)
}

/// The 95 % interval of a judgement in the unit of its measured value: `[99.80 %, 99.96 %]`.
#[must_use]
pub fn interval(judgement: &Judgement) -> Option<String> {
    let (low, high) = judgement.interval?;
    let is_ratio = judgement.tolerance.trim_start().starts_with("success");
    let write = |value: f64| if is_ratio { percent(value) } else { seconds(value) };
    Some(format!("[{}, {}]", write(low), write(high)))
}

/// A length of time given in seconds.
#[must_use]
pub fn seconds(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from float saturates, which is what an endless time should do"
    )]
    duration((value * 1e6).round() as i64)
}

/// The name of a run's verdict, or of its absence.
#[must_use]
pub const fn run_verdict(verdict: Option<RunVerdict>) -> &'static str {
    match verdict {
        Some(RunVerdict::Passed) => "passed",
        Some(RunVerdict::Deviated) => "deviated",
        Some(RunVerdict::Inconclusive) => "inconclusive",
        Some(RunVerdict::Aborted) => "aborted",
        Some(RunVerdict::Refused) => "refused",
        Some(RunVerdict::Unsteady) => "unsteady",
        Some(RunVerdict::Errored) => "errored",
        Some(RunVerdict::UndoIncomplete) => "undo incomplete",
        None => "no verdict",
    }
}

/// The name of a hypothesis' verdict.
#[must_use]
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Deviated => "deviated",
        Verdict::Unproven => "unproven",
    }
}

/// The name of an injection's outcome.
#[must_use]
pub const fn injection(outcome: Injection) -> &'static str {
    match outcome {
        Injection::Injected => "injected",
        Injection::Refused => "refused",
        Injection::Gone => "target gone",
        Injection::Failed => "failed",
        Injection::Skipped => "skipped",
    }
}

/// The name of an undo's outcome.
#[must_use]
pub const fn undo(outcome: UndoOutcome) -> &'static str {
    match outcome {
        UndoOutcome::Undone => "undone",
        UndoOutcome::Nothing => "nothing to undo",
        UndoOutcome::Conflict => "changed by somebody else",
        UndoOutcome::Failed => "undo failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_three_digits_and_never_print_a_thousand_of_a_unit() {
        let cases = [
            (0, "0 s"),
            (950, "950 µs"),
            (1_204, "1.20 ms"),
            (9_996, "10.0 ms"),
            (812_300, "812 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (1_200_000, "1.20 s"),
            (12_440_000, "12.4 s"),
            (59_949_000, "59.9 s"),
            (59_950_000, "1 min 00 s"),
            (125_000_000, "2 min 05 s"),
            (3_599_400_000, "59 min 59 s"),
            (3_720_000_000, "1 h 02 min"),
            (-1_200_000, "−1.20 s"),
        ];
        for (micros, text) in cases {
            assert_eq!(duration(micros), text, "{micros} µs");
        }
    }

    #[test]
    fn a_percentage_never_rounds_to_all_or_nothing() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.9995), "99.95 %");
        assert_eq!(percent(0.999_99), "99.999 %");
        assert_eq!(percent(0.000_012), "0.001 %");
    }

    #[test]
    fn counts_and_plurals() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(plural(1, "request"), "1 request");
        assert_eq!(plural(2_000, "request"), "2,000 requests");
        assert_eq!(instant(12_480_900), "12.480 s");
        assert_eq!(instant(-1), "0.000 s");
        assert_eq!(instant(-1_500), "−0.001 s");
        assert_eq!(rate(200.0), "200/s");
        assert_eq!(rate(12.5), "12.5/s");
        assert_eq!(success(0, 0), "–");
    }
}
