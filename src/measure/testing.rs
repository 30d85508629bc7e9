//! Synthetic series for the tests of this folder: a script of outcomes at exact planned instants.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::Series;
use super::series::Row;
use crate::probe::{Class, Nanos, Outcome, Sample, Steps, StreamKind};
use crate::scalar::{Bound, Comparison, Measure, Rate, Tolerance};

/// One millisecond in nanoseconds.
pub(crate) const MS: Nanos = 1_000_000;
/// One second in nanoseconds.
pub(crate) const S: Nanos = 1_000 * MS;

/// A bad outcome with an HTTP status, or `connect-refused` without one.
pub(crate) const fn bad(status: u16) -> Outcome {
    let class = if status == 0 { Class::ConnectRefused } else { Class::Status };
    Outcome::Bad { class, status }
}

/// Outcomes in the order of their slots; each slot is planned exactly where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    rate: Rate,
    samples: Vec<Sample>,
}

impl Script {
    pub(crate) fn at(rate: &str) -> Self {
        Self { rate: rate.parse().unwrap(), samples: Vec::new() }
    }

    /// `n` slots with this outcome, known `after` nanoseconds.
    pub(crate) fn each(mut self, n: usize, outcome: Outcome, after: Nanos) -> Self {
        for _ in 0..n {
            let slot = self.samples.len() as u64;
            let planned = u64::try_from(self.rate.length_of(slot).as_nanos()).unwrap();
            let (sent, done, steps) = (planned, planned + after, Steps::default());
            self.samples.push(Sample { slot, planned, sent, done, outcome, reused: false, steps });
        }
        self
    }

    /// `n` good ones of 1 ms.
    pub(crate) fn good(self, n: usize) -> Self {
        self.each(n, Outcome::Good, MS)
    }

    /// `n` refused connections.
    pub(crate) fn bad(self, n: usize) -> Self {
        self.each(n, bad(0), MS / 10)
    }

    /// `n` slots about which nothing is known.
    pub(crate) fn unknown(self, n: usize) -> Self {
        self.each(n, Outcome::Unknown, 0)
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.clone()
    }

    /// The series of the fresh stream of the probe `web`, with a timeout of 500 ms.
    pub(crate) fn series(&self) -> Series {
        let mut series = Series::new("web", StreamKind::Fresh, self.rate, Duration::from_millis(500), 0);
        series.extend(self.samples.iter().copied());
        series
    }

    /// The same, with nothing more to come.
    pub(crate) fn finished(&self) -> Series {
        let mut series = self.series();
        series.finish(self.samples.len() as u64);
        series
    }
}

/// Requests of `secs` seconds at `rate` a second. `common` draws what those of one second share, in seconds that are cut anywhere, and
/// `each` what becomes of one of them: its outcome, and when it is known.
pub(crate) fn simulated<C: Copy>(
    rng: &mut ChaCha8Rng,
    (rate, secs): (u64, u64),
    mut common: impl FnMut(&mut ChaCha8Rng) -> C,
    mut each: impl FnMut(&mut ChaCha8Rng, C) -> (Outcome, Nanos),
) -> Vec<Row> {
    let cut = rng.random_range(0..S);
    let (mut second, mut shared) = (cut / S, common(rng));
    let row = |slot: u64| {
        let planned = slot * S / rate;
        if (planned + cut) / S != second {
            (second, shared) = ((planned + cut) / S, common(rng));
        }
        let (outcome, after) = each(rng, shared);
        let (sent, done, steps) = (planned, planned + after, Steps::default());
        Row::of(&Sample { slot, planned, sent, done, outcome, reused: false, steps })
    };
    (0..secs * rate).map(row).collect()
}

/// A standard normal deviate (Box and Muller, 1958).
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// A log-normal latency around 5 ms, of which the second `shared` so much of the variance.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a simulated latency, not negative")]
pub(crate) fn latency(rng: &mut ChaCha8Rng, burst: f64, shared: f64) -> Nanos {
    let log = 0.4 * (burst.sqrt() * shared + (1.0 - burst).sqrt() * normal(rng));
    (0.005 * log.exp() * 1e9) as Nanos
}

/// A tolerance on a ratio.
pub(crate) fn ratio(comparison: Comparison, bound: f64) -> Tolerance {
    let text = format!("success {comparison:?} {bound}");
    Tolerance { measure: Measure::Success, comparison, bound: Bound::Ratio(bound), over: None, text }
}

/// A tolerance `measure <= time`.
pub(crate) fn at_most(measure: Measure, time: Duration) -> Tolerance {
    let text = format!("{measure:?} <= {time:?}");
    Tolerance { measure, comparison: Comparison::AtMost, bound: Bound::Time(time), over: None, text }
}

/// The same tolerance over a sliding window.
pub(crate) fn over(tolerance: Tolerance, window: Duration) -> Tolerance {
    Tolerance { over: Some(window), ..tolerance }
}
