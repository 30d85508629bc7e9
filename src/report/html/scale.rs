//! From values to places on a drawing, and the round values that an axis names.

use crate::record::Micros;
use crate::report::format;

/// A time axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeScale {
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) x0: f64,
    pub(super) x1: f64,
}

impl TimeScale {
    /// Where an instant lies; one outside lies on the edge.
    pub(super) fn x(&self, at: Micros) -> f64 {
        let at = at.clamp(self.from, self.to);
        self.x0 + (self.x1 - self.x0) * number(at - self.from) / number((self.to - self.from).max(1))
    }

    /// Whether an instant lies within.
    pub(super) fn shows(&self, at: Micros) -> bool {
        (self.from..=self.to).contains(&at)
    }

    /// Round instants, some eight of them, with their labels.
    pub(super) fn ticks(&self) -> Vec<(Micros, String)> {
        const STEPS: [Micros; 16] = [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400];
        let seconds = (self.to - self.from) / 1_000_000;
        let step = STEPS.into_iter().find(|s| seconds / s <= 9).unwrap_or(28_800) * 1_000_000;
        let first = self.from.div_euclid(step) * step;
        (0..=(self.to - first).div_euclid(step))
            .map(|i| first + i * step)
            .filter(|at| *at >= self.from)
            .map(|at| (at, Self::label(at, step)))
            .collect()
    }

    fn label(at: Micros, step: Micros) -> String {
        let seconds = at / 1_000_000;
        if step >= 60_000_000 {
            format!("{} min", seconds / 60)
        } else {
            format!("{} s", format::count(seconds.unsigned_abs()))
        }
    }
}

/// A logarithmic axis of latencies in microseconds; `y0` is the place of the smallest.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// An axis from the round value below the smallest to the one above the largest.
    pub(super) fn around(smallest: u64, largest: u64) -> Self {
        let low = round_values().rfind(|v| *v <= smallest.max(1)).unwrap_or(1);
        let high = round_values().find(|v| *v >= largest && *v >= low * 10).unwrap_or(10_000_000_000);
        Self { low: unsigned(low), high: unsigned(high) }
    }

    /// Where a value lies, from 0 at the smallest to 1 at the largest.
    pub(super) fn share(&self, value: f64) -> f64 {
        (value.clamp(self.low, self.high) / self.low).ln() / (self.high / self.low).ln()
    }

    /// Round values within, with labels: decades where there are enough of them.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let decades = (self.high / self.low).log10();
        let digits: &[u64] = if decades >= 2.5 { &[1] } else { &[1, 2, 5] };
        round_values()
            .filter(|v| digits.contains(&leading(*v)) && (self.low..=self.high).contains(&unsigned(*v)))
            .map(|v| (unsigned(v), short(v)))
            .collect()
    }
}

/// 1, 2, 5, 10, 20, 50 … in microseconds, up to some hours.
fn round_values() -> impl DoubleEndedIterator<Item = u64> {
    (0..10_u32).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)))
}

fn leading(value: u64) -> u64 {
    value / 10_u64.pow(value.max(1).ilog10())
}

/// A round latency without needless digits: `200 µs`, `5 ms`, `1 s`.
fn short(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

/// A time as a number; exact below 285 years.
#[expect(clippy::cast_precision_loss, reason = "a drawing's precision is a pixel")]
pub(super) const fn number(micros: i64) -> f64 {
    micros as f64
}

/// A count or latency as a number.
#[expect(clippy::cast_precision_loss, reason = "a drawing's precision is a pixel")]
pub(super) const fn unsigned(value: u64) -> f64 {
    value as f64
}

/// Width of a text in 12 px letters; a guess on the wide side, because nobody can ask for a font here.
#[expect(clippy::cast_precision_loss, reason = "a text has few letters")]
pub(super) fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_of_latencies_spans_at_least_a_decade_of_round_values() {
        let axis = LogScale::around(1_400, 1_500);
        assert_eq!(
            axis.ticks().iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(),
            ["1 ms", "2 ms", "5 ms", "10 ms"]
        );
        assert!((axis.share(10_000.0) - 1.0).abs() < 1e-9 && axis.share(1.0).abs() < 1e-9);
        let wide = LogScale::around(90, 600_000);
        assert_eq!(
            wide.ticks().iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>(),
            ["100 µs", "1 ms", "10 ms", "100 ms", "1 s"]
        );
    }

    #[test]
    fn an_axis_of_time_names_round_instants() {
        let axis = TimeScale { from: 0, to: 80_000_000, x0: 0.0, x1: 800.0 };
        assert_eq!(axis.ticks().first().map(|(_, label)| label.as_str()), Some("0 s"));
        assert_eq!(axis.ticks().len(), 9);
        assert!((axis.x(20_000_000) - 200.0).abs() < 1e-9);
        let hour = TimeScale { from: 0, to: 3_600_000_000, x0: 0.0, x1: 800.0 };
        assert_eq!(hour.ticks().last().map(|(_, label)| label.clone()), Some("60 min".to_owned()));
    }
}
