//! How numbers and names are written for people: one way, for the terminal, the page and CI alike.

use std::fmt::Write as _;

use crate::probe::StreamKind;
use crate::record::{Injection, Judgement, RunVerdict, Shift, UndoOutcome, Verdict};
pub use crate::scalar::words::{count, duration, percent, plural, seconds};

/// A latency, given in microseconds.
#[must_use]
pub fn latency(micros: u64) -> String {
    if micros == 0 { "0 µs".to_owned() } else { duration(i64::try_from(micros).unwrap_or(i64::MAX)) }
}

/// An instant, in seconds since the run's zero and to the millisecond: `12.480 s`.
#[must_use]
pub fn instant(micros: i64) -> String {
    let ms = micros.unsigned_abs() / 1_000;
    let sign = if micros < 0 && ms > 0 { "−" } else { "" };
    format!("{sign}{}.{:03} s", count(ms / 1_000), ms % 1_000)
}

/// A count of things in memory.
#[must_use]
pub fn plural_of(n: usize, noun: &str) -> String {
    plural(u64::try_from(n).unwrap_or(u64::MAX), noun)
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

/// A value of a shifted measure: a share, or a time.
#[must_use]
pub fn measured(shift: &Shift, value: f64) -> String {
    if shift.measure == "success" { percent(value) } else { seconds(value) }
}

/// The 95 % interval of a shift, in the measure's unit: `[−0.12 ms, +0.31 ms]`, or points of a percentage.
#[must_use]
pub fn shifted(shift: &Shift) -> Option<String> {
    let (low, high) = shift.interval?;
    let write = |value: f64| {
        let sign = if value > 0.0 { "+" } else { "" };
        if shift.measure == "success" { points(value) } else { format!("{sign}{}", seconds(value)) }
    };
    Some(format!("[{}, {}]", write(low), write(high)))
}

/// A difference of two shares in points: `−0.08 pp`.
fn points(difference: f64) -> String {
    let text = format!("{:.2}", (difference * 100.0).abs());
    let sign = match difference {
        _ if text == "0.00" => "",
        d if d < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{text} pp")
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
    fn instants_and_rates() {
        assert_eq!(instant(12_480_900), "12.480 s");
        assert_eq!(instant(-1), "0.000 s");
        assert_eq!(instant(-1_500), "−0.001 s");
        assert_eq!(rate(200.0), "200/s");
        assert_eq!(rate(12.5), "12.5/s");
        assert_eq!(success(0, 0), "–");
    }

    #[test]
    fn a_shift_has_its_sign_and_its_unit() {
        let shift = |measure: &str, interval| Shift {
            measure: measure.to_owned(),
            before: 0.0,
            after: 0.0,
            interval,
            margin: 0.0,
            standing: crate::record::Standing::CantTell,
            reason: String::new(),
        };
        assert_eq!(shifted(&shift("p99", Some((-0.001_2, 0.000_31)))).unwrap(), "[−1.20 ms, +310 µs]");
        assert_eq!(shifted(&shift("success", Some((-0.000_8, 0.0)))).unwrap(), "[−0.08 pp, 0.00 pp]");
        assert_eq!(shifted(&shift("p99", None)), None);
        assert_eq!(measured(&shift("success", None), 0.999), "99.90 %");
    }
}
