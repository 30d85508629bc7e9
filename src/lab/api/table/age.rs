//! How long ago something was, as the server writes it: the longer, the coarser.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// From a time, as the API writes it, until now.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => in_words(now.duration_since(time)),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A span of time in one or two units.
pub(super) fn in_words(span: SignedDuration) -> String {
    let (seconds, minutes, hours) = (span.as_secs(), span.as_mins(), span.as_hours());
    let two = |great: i64, unit: &str, small: i64, of: &str| {
        if small == 0 { format!("{great}{unit}") } else { format!("{great}{unit}{small}{of}") }
    };
    let days = hours / 24;
    match seconds {
        // Clocks of two machines may differ by that much.
        _ if seconds < -1 => "<invalid>".to_owned(),
        _ if seconds < 0 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => two(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_ago_the_coarser() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * 3600, "3h"),
            (7 * 3600 + 60, "7h1m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86_400, "8d"),
            (730 * 86_400, "2y"),
            (731 * 86_400, "2y1d"),
            (3_000 * 86_400, "8y"),
        ] {
            assert_eq!(in_words(SignedDuration::from_secs(seconds)), text);
        }
        assert_eq!(since("", Timestamp::UNIX_EPOCH), "<unknown>");
        assert_eq!(since("1970-01-01T00:00:00Z", Timestamp::from_second(7).unwrap()), "7s");
    }
}
