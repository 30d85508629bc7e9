//! Where the time of one request went, step by step.

use std::time::Duration;

use super::sample::{Nanos, Step};

/// The end of each step but the last, counted from the send. The steps add up to the whole by construction: each begins where the
/// one before it ended, and the last ends with the request.
///
/// Kept in units of 100 ns, up to 429 s: 20 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    ends: [u32; LAST],
}

/// All steps, in the order in which a request goes through them.
pub const STEPS: [Step; 6] = [Step::Dns, Step::Connect, Step::Tls, Step::Send, Step::Response, Step::Body];
const LAST: usize = STEPS.len() - 1;
/// Nanoseconds in a unit.
const UNIT: u64 = 100;
/// The end of a step that has not ended.
const OPEN: u32 = u32::MAX;

impl Steps {
    /// Steps that nobody saw: none has a duration. No request has these ends, since no step ends before those in front of it.
    pub(crate) const UNSEEN: Self = Self { ends: [OPEN, OPEN, OPEN, OPEN, 0] };
}

impl Default for Steps {
    fn default() -> Self {
        Self { ends: [OPEN; LAST] }
    }
}

impl Steps {
    /// `step` begins, so long after the send: those before it are over, those behind it have not begun.
    pub(crate) fn begin(&mut self, step: Step, since_send: Duration) {
        let at = u32::try_from(since_send.as_nanos() / u128::from(UNIT)).unwrap_or(OPEN);
        let index = index(step);
        // Stamps of the kernel may lie before the last look at the clock; no step ends before it began.
        let before = self.ends.iter().take(index).filter(|end| **end != OPEN).max();
        let at = before.map_or(at, |before| at.max(*before));
        for (number, end) in self.ends.iter_mut().enumerate() {
            if number >= index {
                *end = OPEN;
            } else if *end == OPEN {
                *end = at;
            }
        }
    }

    /// How long a step took, in nanoseconds, of a request that took `service` from send to outcome; 0 for one that it did not
    /// need or did not come to. Over all steps these add up to `service`, unless the engine sees no steps: then all are 0.
    #[must_use]
    pub fn duration(&self, step: Step, service: Nanos) -> Nanos {
        if *self == Self::UNSEEN {
            return 0;
        }
        let index = index(step);
        let end_of = |index| match self.ends.get(index) {
            Some(&end) if end != OPEN => (Nanos::from(end) * UNIT).min(service),
            _ => service,
        };
        let begin = index.checked_sub(1).map_or(0, end_of);
        end_of(index).saturating_sub(begin)
    }
}

fn index(step: Step) -> usize {
    STEPS.iter().position(|known| *known == step).unwrap_or(LAST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: Nanos = 1_000;

    fn durations(begun: &[(Step, u64)], service: Nanos) -> [Nanos; 6] {
        let mut steps = Steps::default();
        for (step, micros) in begun {
            steps.begin(*step, Duration::from_micros(*micros));
        }
        STEPS.map(|step| steps.duration(step, service))
    }

    #[test]
    fn each_step_ends_where_the_next_one_begins() {
        let whole = [
            (Step::Dns, 0),
            (Step::Connect, 10),
            (Step::Tls, 30),
            (Step::Send, 70),
            (Step::Response, 71),
            (Step::Body, 90),
        ];
        assert_eq!(durations(&whole, 100 * US), [10, 20, 40, 1, 19, 10].map(|us| us * US));
        assert_eq!(durations(&[(Step::Response, 0)], 5 * US), [0, 0, 0, 0, 5, 0].map(|us| us * US));
        assert_eq!(durations(&[(Step::Dns, 0), (Step::Connect, 3)], 9 * US), [3, 6, 0, 0, 0, 0].map(|us| us * US));
        let again = [(Step::Response, 0), (Step::Dns, 2), (Step::Connect, 4)];
        assert_eq!(durations(&again, 9 * US), [4, 5, 0, 0, 0, 0].map(|us| us * US), "an idle connection was of no use");
        assert_eq!(durations(&[], 0), [0; 6]);
    }

    #[test]
    fn steps_that_nobody_saw_have_no_duration() {
        assert_eq!(STEPS.map(|step| Steps::UNSEEN.duration(step, 9 * US)), [0; 6]);
    }

    proptest! {
        #[test]
        fn they_add_up(begun in proptest::collection::vec((0_usize..6, 0_u64..1 << 40), 0..8), service in 0_u64..1 << 50) {
            let begun: Vec<_> = begun.into_iter().map(|(step, at)| (STEPS[step], at)).collect();
            prop_assert_eq!(durations(&begun, service).iter().sum::<u64>(), service);
        }
    }
}
