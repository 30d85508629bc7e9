//! The stop conditions of a run, each on every stream of its probe: the worse stream decides. Of a probe per endpoint it is the one
//! of all endpoints together.

use crate::measure::{Alarm, Live, Series, Standing, Stream};
use crate::probe::{Nanos, Sample, StreamKind};
use crate::spec::StopCondition;

/// All of them.
#[derive(Default)]
pub(super) struct Stops(Vec<Stop>);

/// A stop condition on one stream.
struct Stop {
    condition: StopCondition,
    stream: usize,
    rule: Rule,
}

/// What makes it fire.
enum Rule {
    /// It held for long enough.
    Held(Box<Live>),
    /// The evidence is strong enough.
    Weighed(Box<Alarm>),
}

impl Stops {
    /// The conditions on the streams, which begin at `start`.
    pub(super) fn new(conditions: &[StopCondition], series: &[Series], start: Nanos) -> Self {
        let mut stops = Vec::new();
        for condition in conditions {
            let of = |series: &&Series| series.probe() == condition.probe.as_str() && !series.stream().is_endpoint();
            let streams = u32::try_from(series.iter().filter(of).count()).unwrap_or(u32::MAX);
            for (stream, series) in series.iter().enumerate().filter(|(_, series)| of(series)) {
                let tolerance = condition.tolerance.clone();
                let held = |hold: crate::scalar::Duration| {
                    Live::new(tolerance.clone(), hold.get(), series.rate(), start)
                        .map(|live| if series.stream() == StreamKind::PerEndpoint { live.pooled() } else { live })
                        .map(|live| Rule::Held(Box::new(live)))
                };
                let about = Stream { rate: series.rate(), timeout: series.timeout(), streams, start };
                let rule = condition.hold.and_then(held).or_else(|| {
                    Alarm::new(tolerance.clone(), condition.false_alarms?.every(), &about)
                        .map(|alarm| Rule::Weighed(Box::new(alarm)))
                });
                stops.extend(rule.map(|rule| Stop { condition: condition.clone(), stream, rule }));
            }
        }
        Self(stops)
    }

    /// Takes in samples of a stream.
    pub(super) fn push(&mut self, stream: usize, samples: &[Sample]) {
        for stop in self.0.iter_mut().filter(|stop| stop.stream == stream) {
            for sample in samples {
                match &mut stop.rule {
                    Rule::Held(live) => live.push(*sample),
                    Rule::Weighed(alarm) => alarm.push(sample),
                }
            }
        }
    }

    /// The first condition that is met, in words.
    pub(super) fn fired(&mut self, now: Nanos) -> Option<String> {
        self.0.iter_mut().find_map(|stop| {
            let standing = match &mut stop.rule {
                Rule::Held(live) => live.tick(now),
                Rule::Weighed(alarm) => alarm.tick(now),
            };
            matches!(standing, Standing::Fired { .. }).then(|| stop.words())
        })
    }
}

impl Stop {
    fn words(&self) -> String {
        let StopCondition { probe, tolerance, hold, false_alarms } = &self.condition;
        match (hold, false_alarms) {
            (Some(hold), _) => format!("`{tolerance}` of probe `{probe}` held for {hold}"),
            (None, Some(rate)) => {
                format!("`{tolerance}` of probe `{probe}` is shown, with a false alarm {rate} at most")
            }
            (None, None) => format!("`{tolerance}` of probe `{probe}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::Steps;
    use crate::probe::{Class, Outcome};

    /// The instant in seconds at which a rule fires, and its words, when every request of one of two streams fails from 20 s on.
    fn fires(rule: &str) -> Option<(u64, String)> {
        let condition = format!(r#"{{"probe": "web", "tolerance": "success < 99%", {rule}}}"#);
        let condition: StopCondition = serde_json::from_str(&condition).unwrap();
        let series = [StreamKind::Fresh, StreamKind::KeptAlive]
            .map(|kind| Series::new("web", kind, "10/s".parse().unwrap(), Duration::from_millis(500), 0));
        let mut stops = Stops::new(&[condition], &series, 0);
        (0..60).find_map(|second| {
            for stream in 0..2 {
                let samples: Vec<Sample> =
                    (0..10).map(|slot| sample(second, slot, stream == 1 && second >= 20)).collect();
                stops.push(stream, &samples);
            }
            stops.fired((second + 1) * 1_000_000_000).map(|words| (second + 1, words))
        })
    }

    fn sample(second: u64, slot: u64, failed: bool) -> Sample {
        let planned = second * 1_000_000_000 + slot * 100_000_000;
        let outcome = if failed { Outcome::Bad { class: Class::ConnectRefused, status: 0 } } else { Outcome::Good };
        Sample {
            slot: second * 10 + slot,
            planned,
            sent: planned,
            done: planned + 1_000_000,
            outcome,
            reused: false,
            steps: Steps::default(),
        }
    }

    #[test]
    fn one_rule_waits_and_the_other_weighs() {
        let (at, words) = fires(r#""for": "15s""#).unwrap();
        assert_eq!((at, words.as_str()), (36, "`success < 99%` of probe `web` held for 15s"));
        let (at, words) = fires(r#""falseAlarms": "1 in 1000h""#).unwrap();
        assert_eq!(
            (at, words.as_str()),
            (28, "`success < 99%` of probe `web` is shown, with a false alarm 1 in 1000h at most")
        );
        // The rarer a false alarm may be, the more has to be seen.
        assert!(fires(r#""falseAlarms": "1 in 1000000h""#).unwrap().0 > 28);
    }
}
