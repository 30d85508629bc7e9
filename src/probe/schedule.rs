//! The planned instants of a stream: one request somewhere inside each slot.
//!
//! ```text
//! slot      |    0    |    1    |    2    |    3    |     each 1/rate long, exact to the nanosecond
//! planned   |  ·      |       · | ·       |     ·   |     uniform inside its slot
//! ```
//!
//! A strictly periodic plan would keep step with periodic faults and with other probes; a Poisson plan would not, but its counts
//! vary. One uniform instant per slot (stratified sampling) does neither. The plan is a pure function of seed, probe name,
//! stream and slot number, so that it can be computed again from the run record.

use sha2::{Digest, Sha256};

use super::sample::Nanos;
use super::stream::StreamKind;
use crate::scalar::Rate;

/// The plan of one stream.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: Rate,
    start: Nanos,
    key: u64,
}

impl Schedule {
    /// The plan of a probe's stream whose slot 0 begins at `start`.
    #[must_use]
    pub fn new(rate: Rate, start: Nanos, seed: u64, probe: &str, stream: StreamKind) -> Self {
        let mut digest = Sha256::new();
        digest.update(b"squall probe schedule 1\0");
        digest.update(seed.to_le_bytes());
        digest.update(stream.label().as_bytes());
        digest.update(b"\0");
        digest.update(probe.as_bytes());
        let digest = digest.finalize();
        let key = digest.iter().take(8).fold(0, |key, byte| (key << 8) | u64::from(*byte));
        Self { rate, start, key }
    }

    /// The planned instant of a slot. Strictly increasing with the slot, at rates of up to a thousand million per second.
    #[must_use]
    pub fn planned(&self, slot: u64) -> Nanos {
        let begin = self.begin(slot);
        let width = self.begin(slot.saturating_add(1)) - begin;
        // The high half of a 64 by 64 bit product maps a uniform word onto 0..width; its bias is below width / 2^64.
        let within = (u128::from(self.word(slot)) * u128::from(width)) >> 64;
        begin + u64::try_from(within).unwrap_or(0)
    }

    /// How many slots are planned before `end`.
    #[must_use]
    pub fn slots_before(&self, end: Nanos) -> u64 {
        // All slots that begin before `end` are planned before it, but for the last, whose instant may lie behind it.
        let begun = self.rate.slots_in(std::time::Duration::from_nanos(end.saturating_sub(self.start)));
        match begun.checked_sub(1) {
            Some(last) if self.planned(last) >= end => last,
            _ => begun,
        }
    }

    fn begin(&self, slot: u64) -> Nanos {
        let since_start = u64::try_from(self.rate.length_of(slot).as_nanos()).unwrap_or(u64::MAX);
        self.start.saturating_add(since_start)
    }

    /// The slot's random word: `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), whose
    /// n-th output needs none of those before it.
    fn word(&self, slot: u64) -> u64 {
        let state = self.key.wrapping_add(slot.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: &str, seed: u64) -> Schedule {
        Schedule::new(rate.parse().unwrap(), 7_000, seed, "web", StreamKind::Fresh)
    }

    #[test]
    fn every_instant_lies_in_its_slot_and_after_the_one_before() {
        for rate in ["1/h", "7/m", "3/s", "200/s", "99991/s"] {
            let schedule = schedule(rate, 1);
            let rate: Rate = rate.parse().unwrap();
            let mut before = None;
            for slot in 0..2_000 {
                let planned = schedule.planned(slot);
                let bounds = [rate.length_of(slot), rate.length_of(slot + 1)]
                    .map(|length| 7_000 + u64::try_from(length.as_nanos()).unwrap());
                assert!((bounds[0]..bounds[1]).contains(&planned), "slot {slot} at {planned}, not in {bounds:?}");
                assert!(before < Some(planned), "slot {slot}");
                before = Some(planned);
            }
        }
    }

    #[test]
    fn instants_are_uniform_inside_their_slots() {
        let schedule = schedule("1000/s", 42);
        let mut tenths = [0_u32; 10];
        for slot in 0..10_000 {
            let within = schedule.planned(slot) - 7_000 - slot * 1_000_000;
            tenths[usize::try_from(within / 100_000).unwrap()] += 1;
        }
        // 1000 expected in each; five standard deviations are 150.
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_plan_depends_on_seed_probe_and_stream_only() {
        let plan = |seed, probe: &str, stream| {
            let schedule = Schedule::new("5/s".parse().unwrap(), 0, seed, probe, stream);
            (0..8).map(|slot| schedule.planned(slot)).collect::<Vec<_>>()
        };
        let plans = [
            plan(1, "web", StreamKind::Fresh),
            plan(2, "web", StreamKind::Fresh),
            plan(1, "api", StreamKind::Fresh),
            plan(1, "web", StreamKind::KeptAlive),
        ];
        for (i, a) in plans.iter().enumerate() {
            assert!(plans.iter().skip(i + 1).all(|b| a != b));
        }
        // Written down, so that a change of the generator, which would break the replay of old records, can't go unnoticed.
        assert_eq!(plans[0][..3], [104_274_372, 341_522_316, 580_723_370]);
    }

    #[test]
    fn slots_before_counts_planned_instants() {
        let schedule = schedule("3/s", 5);
        for end in (0..5_000_000_000).step_by(37_000_001) {
            let counted = (0..1_000_u64).take_while(|slot| schedule.planned(*slot) < end).count();
            assert_eq!(schedule.slots_before(end), counted as u64, "before {end}");
        }
    }
}
