//! Synthetic series for the tests of this folder: a script of outcomes at exact planned instants.

use std::time::Duration;

use super::Series;
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
