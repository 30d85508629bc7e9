//! What a tolerance asks: whether a value meets it, and how many samples could show it.

use super::series::{nanos, seconds};
use super::{stats, words};
use crate::probe::Nanos;
use crate::scalar::{Bound, Comparison, Measure, Tolerance};

/// The bound as a number: a ratio, or seconds.
pub(super) fn bound(tolerance: &Tolerance) -> f64 {
    match tolerance.bound {
        Bound::Ratio(ratio) => ratio,
        Bound::Time(time) => seconds(nanos(time)),
    }
}

/// Whether two values are one but for the last bits of a division.
pub(super) fn same(a: f64, b: f64) -> bool {
    // An infinite value (a bad request) is the same as nothing finite, whatever the scale.
    a.total_cmp(&b).is_eq() || ((a - b).is_finite() && (a - b).abs() <= 1e-12 * a.abs().max(b.abs()))
}

/// Whether a value (a ratio, or seconds) meets the tolerance.
pub(super) fn meets(tolerance: &Tolerance, value: f64) -> bool {
    let bound = bound(tolerance);
    match tolerance.comparison {
        Comparison::AtMost => value < bound || same(value, bound),
        Comparison::Less => value < bound && !same(value, bound),
        Comparison::AtLeast => value > bound || same(value, bound),
        Comparison::More => value > bound && !same(value, bound),
    }
}

/// Whether a latency meets the tolerance; a bad request ranks above every latency.
pub(super) fn latency_meets(tolerance: &Tolerance, latency: Option<Nanos>) -> bool {
    meets(tolerance, latency.map_or(f64::INFINITY, seconds))
}

/// Whether the tolerance keeps its value down.
pub(super) const fn caps(tolerance: &Tolerance) -> bool {
    matches!(tolerance.comparison, Comparison::AtMost | Comparison::Less)
}

/// Samples that are needed before the tolerance can be shown to hold, per stream and phase, or per window with `over`:
/// `3 / e` for `success >= 1 - e`, `3.7 / (1 - q)` for a quantile. `None` where there is no such number: for `max`, `outage`,
/// `downtime` and `recovery`, which speak of the samples themselves, and for `success >= 100%`, which no sample can show of
/// the service and which is judged of the requests that were sent.
#[must_use]
pub fn needed_samples(tolerance: &Tolerance) -> Option<u64> {
    match (tolerance.measure, tolerance.bound) {
        (Measure::Success, Bound::Ratio(ratio)) => {
            stats::samples_for_share(if caps(tolerance) { ratio } else { 1.0 - ratio })
        }
        (Measure::Quantile(quantile), _) => stats::samples_for_quantile(quantile),
        _ => None,
    }
}

/// The measure's name as it is written: `success`, `p99.9`.
pub(super) fn name(measure: Measure) -> String {
    match measure {
        Measure::Success => "success".to_owned(),
        Measure::Quantile(quantile) => {
            let number = format!("{:.3}", quantile * 100.0);
            format!("p{}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        Measure::Max => "max".to_owned(),
        Measure::Outage => "outage".to_owned(),
        Measure::Downtime => "downtime".to_owned(),
        Measure::Recovery => "recovery".to_owned(),
    }
}

/// A value of the tolerance's measure in words, told apart from its bound.
pub(super) fn value_text(tolerance: &Tolerance, value: f64) -> String {
    match tolerance.bound {
        Bound::Ratio(ratio) => words::percent(value, ratio),
        Bound::Time(_) => words::time(value, bound(tolerance)),
    }
}

/// How a value that misses the tolerance lies to its bound: `above 100 ms`.
pub(super) fn miss_text(tolerance: &Tolerance) -> String {
    let side = match tolerance.comparison {
        Comparison::AtMost => "above",
        Comparison::Less => "not below",
        Comparison::AtLeast => "below",
        Comparison::More => "not above",
    };
    let bound = bound(tolerance);
    let bound = match tolerance.bound {
        Bound::Ratio(_) => words::given_percent(bound),
        Bound::Time(_) => words::given_time(bound),
    };
    format!("{side} {bound}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measure::testing::{at_most, ratio};

    #[test]
    fn a_value_on_the_bound_is_inside_or_outside_as_written() {
        let at_least = ratio(Comparison::AtLeast, 99.9 / 100.0);
        assert!(meets(&at_least, 999.0 / 1_000.0));
        assert!(!meets(&at_least, 998.0 / 999.0));
        assert!(!meets(&ratio(Comparison::More, 0.999), 999.0 / 1_000.0));
        let p99 = at_most(Measure::Quantile(0.99), Duration::from_millis(100));
        assert!(latency_meets(&p99, Some(100_000_000)));
        assert!(!latency_meets(&p99, Some(100_000_001)));
        assert!(!latency_meets(&p99, None));
    }

    #[test]
    fn sample_needs_are_those_of_the_rules() {
        assert_eq!(needed_samples(&ratio(Comparison::AtLeast, 0.999)), Some(3_000));
        assert_eq!(needed_samples(&ratio(Comparison::Less, 0.5)), Some(6));
        assert_eq!(needed_samples(&ratio(Comparison::AtLeast, 1.0)), None);
        assert_eq!(needed_samples(&at_most(Measure::Quantile(0.999), Duration::ZERO)), Some(3_700));
        assert_eq!(needed_samples(&at_most(Measure::Outage, Duration::ZERO)), None);
    }

    #[test]
    fn quantiles_are_named_as_written() {
        assert_eq!([0.5, 0.95, 0.999, 0.995].map(|q| name(Measure::Quantile(q))), ["p50", "p95", "p99.9", "p99.5"]);
    }
}
