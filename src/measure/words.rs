//! Measured values beside the bound that they hold or miss.

use crate::scalar::words;
pub(super) use crate::scalar::words::{count, plural as counted};

/// A ratio in percent: `99.95 %`. Takes as many decimals as it needs to differ from `bound`, if it does.
pub(super) fn percent(ratio: f64, bound: f64) -> String {
    let longer = |value: f64, decimals: usize| format!("{:.decimals$} %", value * 100.0);
    distinct(ratio, bound, words::percent, longer)
}

/// A time in seconds, in the unit that suits it: `812 ms`, `1.20 s`. Takes as many decimals as it needs to differ from `bound`.
pub(super) fn time(seconds: f64, bound: f64) -> String {
    let longer = |value: f64, decimals: usize| {
        if value.abs() < 1.0 { format!("{:.decimals$} ms", value * 1e3) } else { format!("{value:.decimals$} s") }
    };
    distinct(seconds, bound, plain_time, longer)
}

/// A time with nothing to tell it apart from.
pub(super) fn plain_time(seconds: f64) -> String {
    if seconds.is_finite() { words::seconds(seconds) } else { "for ever".to_owned() }
}

/// A time that somebody wrote down, to the microsecond and without the zeros that a measured one has: `2 s`, `90.5 s`.
pub(super) fn given_time(seconds: f64) -> String {
    if seconds < 1.0 {
        trimmed(&format!("{:.3}", seconds * 1e3)) + " ms"
    } else {
        trimmed(&format!("{seconds:.6}")) + " s"
    }
}

/// A percentage that somebody wrote down: `99.9 %`.
pub(super) fn given_percent(ratio: f64) -> String {
    trimmed(&format!("{:.6}", ratio * 100.0)) + " %"
}

fn trimmed(number: &str) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// More decimals until two values that differ read differently: "99.90 %, below 99.90 %" tells nobody anything.
fn distinct(value: f64, bound: f64, plain: impl Fn(f64) -> String, longer: impl Fn(f64, usize) -> String) -> String {
    let text = plain(value);
    if !value.is_finite() || bound.is_nan() || super::tolerance::same(value, bound) || text != plain(bound) {
        return text;
    }
    let differs = |decimals: &usize| longer(value, *decimals) != longer(bound, *decimals);
    longer(value, (1..10).find(differs).unwrap_or(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_never_reads_like_the_bound_that_it_misses() {
        assert_eq!(percent(0.998_967, 0.999), "99.897 %");
        assert_eq!(percent(0.999, 0.999), "99.90 %");
        assert_eq!(percent(0.999_999, 1.0), "99.9999 %");
        assert_eq!(time(2.004, 2.0), "2.004 s");
        assert_eq!(time(0.100_3, 0.1), "100.3 ms");
        assert_eq!(time(1.2, 2.0), "1.20 s");
        assert_eq!(time(f64::INFINITY, 2.0), "for ever");
    }

    #[test]
    fn what_was_given_is_written_as_it_was_given() {
        assert_eq!([2.0, 0.1, 90.5, 1.236].map(given_time), ["2 s", "100 ms", "90.5 s", "1.236 s"]);
        assert_eq!([0.999, 0.5, 1.0].map(given_percent), ["99.9 %", "50 %", "100 %"]);
    }
}
