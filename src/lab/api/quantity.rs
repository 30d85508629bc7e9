//! Amounts of resources as the API writes them: `250m`, `1.5Gi`.

/// Suffixes, and what they multiply by.
const UNITS: [(&str, i128); 12] = [
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("Pi", 1 << 50),
    ("Ei", 1 << 60),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000),
];

/// An amount in millionths, rounded up. `None`: it is none.
pub(in crate::lab) fn millionths(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
    let (number, suffix) = digits.split_at(end);
    let (times, over) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        _ => match UNITS.iter().find(|(unit, _)| *unit == suffix) {
            Some((_, times)) => (*times, 1),
            None => (power(suffix)?, 1),
        },
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') {
        return None;
    }
    let scale = 10_i128.checked_pow(u32::try_from(part.len()).ok()?)?;
    let mantissa: i128 = format!("{whole}{part}").parse().ok()?;
    let above = mantissa.checked_mul(times)?.checked_mul(1_000_000)?;
    let below = scale.checked_mul(over)?;
    let amount = above / below + i128::from(above % below != 0);
    Some(if negative { -amount } else { amount })
}

/// Ten to the power that `e3` or `E3` says.
fn power(suffix: &str) -> Option<i128> {
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    10_i128.checked_pow(exponent.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::millionths;

    #[test]
    fn amounts_are_read_with_their_units() {
        let equal = |left: &str, right: &str| assert_eq!(millionths(left), millionths(right), "{left} and {right}");
        equal("1", "1000m");
        equal("1.5Gi", "1610612736");
        equal("2k", "2e3");
        equal("0.5", ".5");
        equal("+3", "3");
        assert_eq!(millionths("100n"), Some(1), "rounded up");
        assert!(millionths("-1") < millionths("0"));
        for wrong in ["", "x", "1x", "1.2.3", ".", "1 Gi"] {
            assert_eq!(millionths(wrong), None, "{wrong}");
        }
    }
}
