//! The stop rule of [`super::sequential`] on one stream, block by block, while the run goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::live::Standing;
use super::sequential::Detector;
use super::series::{Row, Seen, float, nanos, seconds, slot_length};
use super::tolerance::{bound, latency_meets};
use crate::probe::{Nanos, Sample};
use crate::scalar::{Measure, Rate, Tolerance};

/// Length of a block without `over`, in nanoseconds.
const BLOCK: Nanos = 1_000_000_000;
/// Slots that a block has room for at least.
const LEAST_SLOTS: u64 = 3;
/// How long after the last timeout of a block its samples may still be on their way, in nanoseconds.
const GRACE: Nanos = 250_000_000;

/// What a stop condition with a stated rate of false alarms needs to know of its probe.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Rate of the probe.
    pub rate: Rate,
    /// Timeout of its requests.
    pub timeout: Duration,
    /// Streams that the condition is evaluated on: each may raise its share of the false alarms.
    pub streams: u32,
    /// The instant at which slot 0 begins.
    pub start: Nanos,
}

/// A stop condition that fires on evidence rather than on time.
///
/// Requests are counted in blocks of planned instants: `over`, else a second, and three slots at least. A block is closed when
/// its last request has timed out; slots that say nothing count as good, but a block in which nothing was seen counts as
/// bad throughout, so that a run that can't see ends. Two detectors take turns: what fails together for as long as a block
/// lies in two blocks that follow each other, and must not count as two coincidences.
#[derive(Debug, Clone)]
pub struct Alarm {
    tolerance: Tolerance,
    block: Nanos,
    patience: Nanos,
    start: Nanos,
    next: u64,
    open: BTreeMap<u64, Block>,
    detectors: [Detector; 2],
    standing: Standing,
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    bad: u64,
    seen: u64,
    planned: u64,
}

impl Block {
    fn score(self) -> f64 {
        if self.seen == 0 { 1.0 } else { float(self.bad) / float(self.planned) }
    }
}

/// The share of requests that may be bad where the condition is only just not met: `0.01` for `success < 99%`; for `p99 > 200ms`, the
/// share that may be slower. `None` for a measure that is no share of requests, and where none or all of them may.
#[must_use]
pub fn allowed(tolerance: &Tolerance) -> Option<f64> {
    let allowed = match tolerance.measure {
        Measure::Success => 1.0 - bound(tolerance),
        Measure::Quantile(quantile) => 1.0 - quantile,
        Measure::Max | Measure::Outage | Measure::Downtime | Measure::Recovery => return None,
    };
    (allowed > 0.0 && allowed < 1.0).then_some(allowed)
}

impl Alarm {
    /// A condition on a stream whose false alarms are at most one in `every`, over all its streams together. `None` where
    /// [`allowed`] is.
    #[must_use]
    pub fn new(tolerance: Tolerance, every: Duration, stream: &Stream) -> Option<Self> {
        let allowed = allowed(&tolerance)?;
        let block = tolerance.over.map_or(BLOCK, nanos).max(LEAST_SLOTS * slot_length(stream.rate));
        // Each of two detectors sees half of the blocks and may raise half of the alarms.
        let blocks = every.as_secs_f64() * f64::from(stream.streams.max(1)) / seconds(block);
        let detector = Detector::new(allowed, blocks);
        Some(Self {
            tolerance,
            block,
            patience: nanos(stream.timeout).saturating_add(GRACE),
            start: stream.start,
            next: 0,
            open: BTreeMap::new(),
            detectors: [detector.clone(), detector],
            standing: Standing::Clear,
        })
    }

    /// Takes in one sample, in any order. One of a block that is closed comes too late to count.
    pub fn push(&mut self, sample: &Sample) {
        let at = sample.planned.saturating_sub(self.start) / self.block;
        if at < self.next {
            return;
        }
        let row = Row::of(sample);
        let block = self.open.entry(at).or_default();
        block.planned += 1;
        block.seen += u64::from(row.seen() != Seen::Unseen);
        block.bad += u64::from(match row.seen() {
            Seen::Unseen => false,
            Seen::Bad => true,
            Seen::Good => {
                matches!(self.tolerance.measure, Measure::Quantile(_))
                    && latency_meets(&self.tolerance, Some(row.response))
            }
        });
    }

    /// Closes every block whose time is over; call it after the samples that were known by then.
    pub fn tick(&mut self, now: Nanos) -> Standing {
        while !matches!(self.standing, Standing::Fired { .. }) {
            let from = self.start.saturating_add(self.next.saturating_mul(self.block));
            let at = from.saturating_add(self.block).saturating_add(self.patience);
            if at > now {
                break;
            }
            let score = self.open.remove(&self.next).unwrap_or_default().score();
            let [even, odd] = &mut self.detectors;
            let detector = if self.next.is_multiple_of(2) { even } else { odd };
            if detector.observe(score) {
                self.standing = Standing::Fired { since: from, at };
            }
            self.next += 1;
        }
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{MS, S, Script, at_most, over, ratio};
    use crate::probe::Outcome;
    use crate::scalar::Comparison;

    const EVERY: Duration = Duration::from_hours(1000);

    fn alarm(tolerance: Tolerance) -> Alarm {
        let timeout = Duration::from_millis(500);
        Alarm::new(tolerance, EVERY, &Stream { rate: "100/s".parse().unwrap(), timeout, streams: 2, start: 0 }).unwrap()
    }

    fn play(alarm: &mut Alarm, script: &Script, until: Nanos) -> Standing {
        script.samples().iter().rev().for_each(|sample| alarm.push(sample));
        alarm.tick(until)
    }

    fn below(share: f64) -> Tolerance {
        ratio(Comparison::Less, share)
    }

    #[test]
    fn a_full_outage_fires_within_seconds_and_a_short_one_does_not() {
        let down = Script::at("100/s").good(2_000).bad(2_000);
        // Four seconds of one parity; the seventh second is closed 750 ms after its end.
        let fired = Standing::Fired { since: 26 * S, at: 27_750 * MS };
        assert_eq!(play(&mut alarm(below(0.99)), &down, 27_700 * MS), Standing::Clear);
        assert_eq!(play(&mut alarm(below(0.99)), &down, 40 * S), fired);
        let short = Script::at("100/s").good(2_000).bad(300).good(10_000);
        assert_eq!(play(&mut alarm(below(0.99)), &short, 120 * S), Standing::Clear);
    }

    #[test]
    fn a_service_on_the_bound_or_better_does_not_fire() {
        let mut script = Script::at("100/s");
        for _ in 0..600 {
            script = script.good(99).bad(1);
        }
        assert_eq!(play(&mut alarm(below(0.99)), &script, 590 * S), Standing::Clear);
        assert!(matches!(play(&mut alarm(below(0.995)), &script, 590 * S), Standing::Fired { .. }));
    }

    #[test]
    fn slow_requests_count_for_a_quantile() {
        let p99 =
            Tolerance { comparison: Comparison::More, ..at_most(Measure::Quantile(0.99), Duration::from_millis(200)) };
        let slow = Script::at("100/s").good(1_000).each(1_000, Outcome::Good, 300 * MS);
        assert!(matches!(play(&mut alarm(p99.clone()), &slow, 20 * S), Standing::Fired { .. }));
        let fast = Script::at("100/s").each(2_000, Outcome::Good, 200 * MS);
        assert_eq!(play(&mut alarm(p99), &fast, 20 * S), Standing::Clear);
    }

    #[test]
    fn silence_fires_and_a_part_of_it_does_not() {
        let fired = play(&mut alarm(below(0.99)), &Script::at("100/s").good(500), 60 * S);
        assert_eq!(fired, Standing::Fired { since: 11 * S, at: 12_750 * MS });
        let stalled = Script::at("100/s").good(500).unknown(2_000);
        assert_eq!(play(&mut alarm(below(0.99)), &stalled, 60 * S), fired);
        let mut half = Script::at("100/s").good(500);
        for _ in 0..40 {
            half = half.unknown(99).good(1);
        }
        assert_eq!(play(&mut alarm(below(0.99)), &half, 45 * S), Standing::Clear);
    }

    #[test]
    fn over_sets_the_block_and_with_it_the_pace() {
        let down = Script::at("100/s").good(2_000).bad(2_000);
        let quick = play(&mut alarm(over(below(0.99), Duration::from_millis(200))), &down, 40 * S);
        assert_eq!(quick, Standing::Fired { since: 21_600 * MS, at: 22_550 * MS });
    }

    #[test]
    fn only_shares_of_requests_have_a_rate_of_false_alarms() {
        let within = |tolerance: &Tolerance| allowed(tolerance).map(|share| (share * 1e6).round() / 1e6);
        assert_eq!(within(&below(0.99)), Some(0.01));
        assert_eq!(within(&at_most(Measure::Quantile(0.999), Duration::ZERO)), Some(0.001));
        assert_eq!(within(&below(1.0)), None);
        for measure in [Measure::Max, Measure::Outage, Measure::Downtime, Measure::Recovery] {
            assert_eq!(within(&at_most(measure, Duration::ZERO)), None);
        }
    }
}
