//! Stop conditions, evaluated while the run goes on.

use std::collections::VecDeque;
use std::time::Duration;

use super::distribution::seconds_of;
use super::outage::Tracker;
use super::series::{Pace, Reorder, Row, Seen, float, nanos, seconds, slot_length};
use super::stats;
use super::tolerance::meets;
use crate::probe::{Nanos, Sample};
use crate::scalar::{Measure, Rate, Tolerance};

/// Distance of the instants at which a condition is evaluated, in nanoseconds.
const TICK: Nanos = 250_000_000;

/// How a stop condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The condition is not met.
    Clear,
    /// Met at every instant since then, but not yet for long enough.
    Holding {
        /// First instant at which it was met.
        since: Nanos,
    },
    /// Met for long enough: the run must end. Stays so.
    Fired {
        /// First instant at which it was met.
        since: Nanos,
        /// The instant at which it had been met for long enough.
        at: Nanos,
    },
}

/// One stop condition on one stream.
///
/// Every 250 ms it looks at what became known in the trailing window (`over`, else a second, and three slots at least), and
/// fires when its condition was met at each of these instants for the whole of `for`. A window in which nothing about the
/// service became known counts as met. Instants that passed while the process was stopped are made up for at the next call:
/// nothing became known in them, so a runner that was stopped for longer than `for` stops the run.
#[derive(Debug, Clone)]
pub struct Live {
    tolerance: Tolerance,
    hold: Nanos,
    window: Nanos,
    pace: Pace,
    next: Nanos,
    known: VecDeque<Known>,
    reorder: Reorder,
    outages: Tracker,
    standing: Standing,
}

/// A request whose outcome became known.
#[derive(Debug, Clone, Copy)]
struct Known {
    at: Nanos,
    /// `None` for a bad one.
    latency: Option<Nanos>,
}

impl Live {
    /// A condition on a stream that starts at `start`; `None` for `recovery`, which is known only after the run.
    #[must_use]
    pub fn new(tolerance: Tolerance, hold: Duration, rate: Rate, start: Nanos) -> Option<Self> {
        if tolerance.measure == Measure::Recovery {
            return None;
        }
        let window = tolerance.over.map_or_else(|| (3 * slot_length(rate)).max(1_000_000_000), nanos);
        Some(Self {
            tolerance,
            hold: nanos(hold),
            window,
            pace: Pace::Steady(rate),
            // Before a whole window has passed, its emptiness says nothing.
            next: start.saturating_add(window).div_ceil(TICK) * TICK,
            known: VecDeque::new(),
            reorder: Reorder::default(),
            outages: Tracker::new(rate),
            standing: Standing::Clear,
        })
    }

    /// The same on all endpoints of a Service together, whose number changes.
    #[must_use]
    pub fn pooled(self) -> Self {
        Self { pace: Pace::Pooled(0), ..self }
    }

    /// Takes in one sample, in any order.
    pub fn push(&mut self, sample: Sample) {
        if matches!(self.standing, Standing::Fired { .. }) {
            return;
        }
        let row = Row::of(&sample);
        let latency = match row.seen() {
            Seen::Good => Some(Some(row.response)),
            Seen::Bad => Some(None),
            Seen::Unseen => None,
        };
        if let Some(latency) = latency {
            let known = Known { at: sample.done, latency };
            let at = self.known.partition_point(|other| other.at <= known.at);
            self.known.insert(at, known);
        }
        if self.tolerance.measure == Measure::Outage {
            let outages = &mut self.outages;
            self.reorder.push(sample, |sample| {
                outages.settle(&Row::of(sample));
            });
        }
    }

    /// Evaluates the condition at every tick up to `now`; call it after the samples that were known by then.
    pub fn tick(&mut self, now: Nanos) -> Standing {
        while self.next <= now && !matches!(self.standing, Standing::Fired { .. }) {
            let at = self.next;
            self.next += TICK;
            self.standing = match (self.met(at), self.standing) {
                (false, _) => Standing::Clear,
                (true, Standing::Holding { since }) if at - since >= self.hold => Standing::Fired { since, at },
                (true, Standing::Clear) if self.hold == 0 => Standing::Fired { since: at, at },
                (true, Standing::Clear) => Standing::Holding { since: at },
                (true, standing) => standing,
            };
        }
        self.standing
    }

    /// How it stood at the last tick.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// The condition as written.
    #[must_use]
    pub fn condition(&self) -> &str {
        &self.tolerance.text
    }

    fn met(&mut self, at: Nanos) -> bool {
        let from = at.saturating_sub(self.window);
        while self.known.front().is_some_and(|known| known.at <= from) {
            self.known.pop_front();
        }
        let past = self.known.partition_point(|known| known.at <= at);
        if past == 0 {
            return true;
        }
        let latencies = self.known.iter().take(past).map(|known| known.latency);
        let value = match self.tolerance.measure {
            Measure::Success | Measure::Recovery => float(latencies.flatten().count() as u64) / float(past as u64),
            Measure::Downtime => {
                let per_second = self.pace.per_second(past as u64, &(from..at));
                seconds_of(latencies.filter(Option::is_none).count() as u64, per_second)
            }
            Measure::Quantile(quantile) => quantile_of(latencies, quantile),
            Measure::Max => quantile_of(latencies, 1.0),
            Measure::Outage => self.outages.open().map_or(0.0, |window| seconds(at.saturating_sub(window.from))),
        };
        meets(&self.tolerance, value)
    }
}

/// A quantile in seconds, a bad request above everything.
fn quantile_of(latencies: impl Iterator<Item = Option<Nanos>>, quantile: f64) -> f64 {
    let mut sorted: Vec<Nanos> = latencies.map(|latency| latency.unwrap_or(Nanos::MAX)).collect();
    sorted.sort_unstable();
    let rank = stats::rank(quantile, sorted.len() as u64);
    match super::distribution::nth(&sorted, rank) {
        Some(latency) if latency != Nanos::MAX => seconds(latency),
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{MS, S, Script, at_most, ratio};
    use crate::probe::Outcome;
    use crate::scalar::Comparison;

    const HOLD: Duration = Duration::from_secs(10);

    fn half() -> Tolerance {
        ratio(Comparison::Less, 0.5)
    }

    fn live(tolerance: Tolerance, rate: &str) -> Live {
        Live::new(tolerance, HOLD, rate.parse().unwrap(), 0).unwrap()
    }

    /// Feeds each sample when it is known and ticks every 100 ms until `until`; gives the last standing.
    fn play(live: &mut Live, script: &Script, until: Nanos) -> Standing {
        let mut samples = script.samples();
        samples.sort_by_key(|sample| sample.done);
        let mut samples = samples.into_iter().peekable();
        let mut now = 0;
        while now <= until {
            while let Some(sample) = samples.next_if(|sample| sample.done <= now) {
                live.push(sample);
            }
            live.tick(now);
            now += 100 * MS;
        }
        live.standing()
    }

    #[test]
    fn it_fires_when_met_for_the_whole_time_and_not_before() {
        let script = Script::at("100/s").good(500).bad(2_000);
        // At 5.5 s half of the last second failed: `<` is met at the next tick.
        let since = 5_750 * MS;
        assert_eq!(play(&mut live(half(), "100/s"), &script, 15_700 * MS), Standing::Holding { since });
        assert_eq!(
            play(&mut live(half(), "100/s"), &script, 15_800 * MS),
            Standing::Fired { since, at: since + 10 * S }
        );
    }

    #[test]
    fn a_good_moment_starts_it_over() {
        let script = Script::at("100/s").good(500).bad(900).good(100).bad(900).good(500);
        let mut live = live(half(), "100/s");
        assert_eq!(play(&mut live, &script, 29 * S), Standing::Clear);
    }

    #[test]
    fn silence_counts_as_met() {
        let mut quiet = live(half(), "100/s");
        let script = Script::at("100/s").good(500);
        // The last answer is known at 4.991 s and has left the window at 6 s.
        let since = 6 * S;
        assert_eq!(play(&mut quiet, &script, 16 * S), Standing::Fired { since, at: 16 * S });
        let mut never = live(half(), "100/s");
        assert_eq!(play(&mut never, &Script::at("100/s"), 11 * S), Standing::Fired { since: S, at: 11 * S });
    }

    #[test]
    fn a_slow_rate_is_not_taken_for_silence() {
        let script = Script::at("30/m").good(60);
        let mut live = Live::new(half(), Duration::from_secs(1), "30/m".parse().unwrap(), 0).unwrap();
        assert_eq!(play(&mut live, &script, 100 * S), Standing::Clear);
    }

    #[test]
    fn a_stopped_runner_makes_up_for_the_instants_that_it_missed() {
        let samples = Script::at("100/s").good(500).unknown(2_000).good(500).samples();
        let feed = |live: &mut Live, range: std::ops::Range<usize>| {
            samples[range].iter().for_each(|&sample| live.push(sample));
        };
        // Stopped from 5 s until 12 s: 6 s of silence is not 10.
        let mut short = live(half(), "100/s");
        feed(&mut short, 0..500);
        short.tick(5 * S);
        feed(&mut short, 500..1_200);
        assert_eq!(short.tick(12 * S), Standing::Holding { since: 6 * S });
        // Stopped until 25 s: more than 10 s in which nobody watched.
        let mut long = live(half(), "100/s");
        feed(&mut long, 0..500);
        long.tick(5 * S);
        feed(&mut long, 500..2_500);
        assert_eq!(long.tick(25 * S), Standing::Fired { since: 6 * S, at: 16 * S });
        // The order within a batch does not matter.
        let mut reversed = live(half(), "100/s");
        samples[..2_500].iter().rev().for_each(|&sample| reversed.push(sample));
        assert_eq!(reversed.tick(25 * S), long.standing());
    }

    #[test]
    fn latency_and_outage_can_stop_a_run_and_recovery_can_not() {
        let slow =
            Tolerance { comparison: Comparison::More, ..at_most(Measure::Quantile(0.9), Duration::from_millis(200)) };
        let script = Script::at("100/s").good(500).each(2_000, Outcome::Good, 300 * MS);
        assert!(matches!(play(&mut live(slow, "100/s"), &script, 20 * S), Standing::Fired { .. }));
        let down = Tolerance { comparison: Comparison::More, ..at_most(Measure::Outage, Duration::from_secs(5)) };
        let script = Script::at("100/s").good(500).bad(450).good(150).bad(2_000);
        // The first outage lasts 4.5 s; the second begins at 11 s and is longer than 5 s after 16 s.
        let fired = play(&mut live(down, "100/s"), &script, 27 * S);
        assert_eq!(fired, Standing::Fired { since: 16_250 * MS, at: 26_250 * MS });
        let recovery = at_most(Measure::Recovery, Duration::from_secs(1));
        assert!(Live::new(recovery, HOLD, "100/s".parse().unwrap(), 0).is_none());
    }
}
