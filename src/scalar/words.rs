//! Numbers as people read them: one way, everywhere.

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

/// A length of time given in seconds.
#[must_use]
pub fn seconds(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from float saturates, which is what an endless time should do"
    )]
    duration((value * 1e6).round() as i64)
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
        assert_eq!([count(0), count(999), count(1_234_567)], ["0", "999", "1,234,567"]);
        assert_eq!([plural(1, "request"), plural(2_000, "request")], ["1 request", "2,000 requests"]);
    }
}
