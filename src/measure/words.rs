//! Numbers as people read them.

/// A count with its thousands set off: `1,203`.
pub(super) fn count(n: u64) -> String {
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

/// A count of things: `1 request`, `1,203 requests`.
pub(super) fn counted(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A ratio in percent: `99.95 %`. Takes as many decimals as it needs to differ from `bound`, if it does.
pub(super) fn percent(ratio: f64, bound: f64) -> String {
    distinct(ratio, bound, 2, |value, decimals| format!("{} %", trimmed(value * 100.0, decimals)))
}

/// A time in seconds, in the unit that suits it: `812 ms`, `1.2 s`. Takes as many decimals as it needs to differ from `bound`.
pub(super) fn time(seconds: f64, bound: f64) -> String {
    if !seconds.is_finite() {
        return "for ever".to_owned();
    }
    distinct(seconds, bound, 2, |value, decimals| {
        if value == 0.0 {
            "0 s".to_owned()
        } else if value.abs() < 1e-3 {
            format!("{} µs", trimmed(value * 1e6, decimals.saturating_sub(2)))
        } else if value.abs() < 1.0 {
            let whole = if value < 0.01 { decimals } else { decimals.saturating_sub(2) };
            format!("{} ms", trimmed(value * 1e3, whole))
        } else {
            format!("{} s", trimmed(value, decimals))
        }
    })
}

/// A time with nothing to tell it apart from.
pub(super) fn plain_time(seconds: f64) -> String {
    time(seconds, f64::NAN)
}

/// More decimals until two values that differ read differently: "99.9 %, below 99.9 %" tells nobody anything.
fn distinct(value: f64, bound: f64, decimals: usize, text: impl Fn(f64, usize) -> String) -> String {
    let same = bound.is_nan() || super::tolerance::same(value, bound);
    (decimals..10)
        .map(|decimals| (text(value, decimals), text(bound, decimals)))
        .find(|(value, bound)| same || value != bound)
        .map_or_else(|| text(value, 10), |(value, _)| value)
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_well() {
        assert_eq!([count(0), count(999), count(1_203), count(1_000_000)], ["0", "999", "1,203", "1,000,000"]);
        assert_eq!([counted(1, "request"), counted(2_000, "request")], ["1 request", "2,000 requests"]);
    }

    #[test]
    fn times_take_the_unit_that_suits() {
        let cases = [(0.0, "0 s"), (0.000_25, "250 µs"), (0.001_5, "1.5 ms"), (0.812_4, "812 ms"), (1.2, "1.2 s")];
        for (seconds, text) in cases {
            assert_eq!(plain_time(seconds), text);
        }
    }

    #[test]
    fn a_value_never_reads_like_the_bound_that_it_misses() {
        assert_eq!(percent(0.998_967, 0.999), "99.9 %".replace("99.9", "99.897"));
        assert_eq!(percent(0.999, 0.999), "99.9 %");
        assert_eq!(percent(0.999_999, 1.0), "99.9999 %");
        assert_eq!(time(2.004, 2.0), "2.004 s");
        assert_eq!(time(0.100_3, 0.1), "100.3 ms");
    }
}
