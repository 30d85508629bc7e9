//! Where the time of good requests went, step by step.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::probe::{Nanos, Outcome, STEPS, Sample, Step};
use crate::record::{Phase, StepTime};

/// Smallest and largest time that is told apart, in nanoseconds: 1 µs and ten minutes.
const LOW: Nanos = 1_000;
const HIGH: Nanos = 600_000_000_000;
/// Significant decimal digits: a step's time is exact to 1 %, which keeps a stream's histograms below half a megabyte.
const DIGITS: u8 = 2;

/// The steps of one stream's good requests, by the phase of the run.
///
/// The steps of one request add up to its service time; their quantiles don't, because each has its own requests at the top.
#[derive(Debug, Clone, Default)]
pub struct Breakdown {
    times: BTreeMap<(Phase, Step), Histogram<u64>>,
}

impl Breakdown {
    /// Counts a good request's steps; one that a request did not need (a kept-alive one does not connect) is not counted.
    pub fn record(&mut self, phase: Phase, sample: &Sample) {
        if sample.outcome != Outcome::Good {
            return;
        }
        for step in STEPS {
            let time = sample.steps.duration(step, sample.service_time());
            if time == 0 {
                continue;
            }
            if let Some(times) = self.of(phase, step) {
                times.saturating_record(time);
            }
        }
    }

    fn of(&mut self, phase: Phase, step: Step) -> Option<&mut Histogram<u64>> {
        use std::collections::btree_map::Entry;
        match self.times.entry((phase, step)) {
            Entry::Occupied(known) => Some(known.into_mut()),
            // The bounds are constants that the histogram takes.
            Entry::Vacant(free) => Histogram::new_with_bounds(LOW, HIGH, DIGITS).ok().map(|new| free.insert(new)),
        }
    }

    /// The steps of a phase, in the order in which a request goes through them.
    #[must_use]
    pub fn steps(&self, phase: Phase) -> Vec<StepTime> {
        let micros = |nanos: u64| nanos.div_ceil(1_000);
        let of = |step| {
            let times = self.times.get(&(phase, step))?;
            let quantile = |q| micros(times.value_at_quantile(q));
            Some(StepTime {
                step,
                requests: times.len(),
                p50_us: quantile(0.5),
                p99_us: quantile(0.99),
                max_us: micros(times.max()),
            })
        };
        STEPS.into_iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::{Class, Steps};

    fn sample(outcome: Outcome, begun: &[(Step, u64)], service: Nanos) -> Sample {
        let mut steps = Steps::default();
        for (step, micros) in begun {
            steps.begin(*step, Duration::from_micros(*micros));
        }
        Sample { slot: 0, planned: 0, sent: 0, done: service, outcome, reused: false, steps }
    }

    #[test]
    fn only_the_steps_that_good_requests_took_are_counted() {
        let mut breakdown = Breakdown::default();
        let fresh = [(Step::Dns, 0), (Step::Connect, 100), (Step::Response, 300), (Step::Body, 900)];
        for _ in 0..99 {
            breakdown.record(Phase::During, &sample(Outcome::Good, &fresh, 1_000_000));
        }
        breakdown.record(Phase::During, &sample(Outcome::Good, &[(Step::Response, 0)], 5_000_000));
        let bad = Outcome::Bad { class: Class::ResponseTimeout, status: 0 };
        breakdown.record(Phase::During, &sample(bad, &fresh, 500_000_000));
        let steps = breakdown.steps(Phase::During);
        let told: Vec<_> = steps.iter().map(|time| (time.step, time.requests)).collect();
        assert_eq!(told, [(Step::Dns, 99), (Step::Connect, 99), (Step::Response, 100), (Step::Body, 99)]);
        let within = |us: u64, of: u64| us.abs_diff(of) * 100 <= of;
        assert!(within(steps[0].p50_us, 100) && within(steps[1].p99_us, 200), "{steps:?}");
        assert!(within(steps[2].p50_us, 600) && within(steps[2].max_us, 5_000), "{steps:?}");
        assert!(breakdown.steps(Phase::Before).is_empty());
    }
}
