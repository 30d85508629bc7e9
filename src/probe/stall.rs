//! Noticing that the engine itself stood still: stopped, starved of CPU, or overloaded.
//!
//! The loop says when it means to wake up next; that it woke later is the only sign of a stall that a process can see of itself. What
//! was in flight meanwhile proves nothing: an answer may have lain in the socket's buffer for as long as the process
//! slept, and a deadline that passed in its sleep is not the service's fault.
//!
//! Two things make a request unknown: one stall longer than the bound on lateness, as a stopped process has; and stalls that
//! together make up most of the request's time, as an overloaded one has, which is late again at every step.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Long stalls remembered apart; older ones are joined.
const STALLS_MAX: usize = 64;
/// Waking up later than this counts as time lost.
pub(crate) const PROMPT: Duration = Duration::from_millis(1);

/// The stalls of the recent past.
#[derive(Debug)]
pub(crate) struct StallWatch {
    /// How long the loop may go without a look at the clock while anything is in flight.
    beat: Duration,
    wake: Instant,
    /// Long stalls: begin and end.
    stalls: VecDeque<(Instant, Instant)>,
    /// The length of all stalls so far, short ones as well.
    lost: Duration,
}

/// A request's time: when it was sent and done, and what the engine had lost before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) sent: Instant,
    pub(crate) done: Instant,
    pub(crate) lost_before: Duration,
}

/// How often the loop has to look at the clock for a bound on lateness.
fn beat(lateness_max: Duration) -> Duration {
    // A stall that begins right after a beat shows only from the next one on: half the bound leaves half of it to be seen.
    (lateness_max / 2).clamp(Duration::from_micros(500), Duration::from_millis(25))
}

impl StallWatch {
    /// A watch fine enough for the smallest bound on lateness of all streams.
    pub(crate) fn new(lateness_max: Duration, now: Instant) -> Self {
        Self { beat: beat(lateness_max), wake: now, stalls: VecDeque::new(), lost: Duration::ZERO }
    }

    /// Another stream has this bound on lateness.
    pub(crate) fn mind(&mut self, lateness_max: Duration) {
        self.beat = self.beat.min(beat(lateness_max));
    }

    /// The instant by which the loop has to wake up while anything is in flight.
    pub(crate) fn next_beat(&self, now: Instant) -> Instant {
        now + self.beat
    }

    /// What the engine has lost so far.
    pub(crate) fn lost(&self) -> Duration {
        self.lost
    }

    /// The loop is about to wait until `wake`.
    pub(crate) fn sleeps_until(&mut self, wake: Instant) {
        self.wake = wake;
    }

    /// The loop runs again.
    pub(crate) fn woke(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.wake);
        if late > PROMPT {
            self.lost += late;
        }
        if late > self.beat {
            if self.stalls.len() == STALLS_MAX
                && let Some((begin, _)) = self.stalls.pop_front()
                && let Some(next) = self.stalls.front_mut()
            {
                next.0 = begin;
            }
            self.stalls.push_back((self.wake, now));
        }
        self.wake = self.wake.max(now);
    }

    /// Forgets long stalls that ended before `horizon`.
    pub(crate) fn forget(&mut self, horizon: Instant) {
        while self.stalls.front().is_some_and(|(_, end)| *end < horizon) {
            self.stalls.pop_front();
        }
    }

    /// Whether the engine stood still for so much of a request's time that its outcome says nothing.
    pub(crate) fn spoils(&self, span: Span, lateness_max: Duration) -> bool {
        let lost = self.lost.saturating_sub(span.lost_before);
        let most = span.done.saturating_duration_since(span.sent) / 2;
        lost > lateness_max.max(most)
            || self.long(lateness_max).any(|(begin, end)| *end > span.sent && *begin < span.done)
    }

    /// Whether the engine stood still when a slot was due. The last slots of a stall are late by less than the bound, but late all the
    /// same, and by nobody's fault but ours: to send them would sell the end of the stall as latency.
    pub(crate) fn swallowed(&self, planned: Instant, lateness_max: Duration) -> bool {
        self.long(lateness_max).any(|(begin, end)| *begin <= planned && planned < *end)
    }

    /// The stalls longer than a bound on lateness. Up to one beat of a stall goes unseen; it is counted as if it had been seen.
    fn long(&self, lateness_max: Duration) -> impl Iterator<Item = &(Instant, Instant)> {
        let seen = lateness_max.saturating_sub(self.beat);
        self.stalls.iter().filter(move |(begin, end)| end.saturating_duration_since(*begin) > seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn span(zero: Instant, sent: u32, done: u32) -> Span {
        Span { sent: zero + sent * MS, done: zero + done * MS, lost_before: Duration::MAX }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_stall_spoils_what_was_in_flight_and_nothing_else() {
        let zero = Instant::now();
        let mut watch = StallWatch::new(20 * MS, zero);
        watch.sleeps_until(zero + 10 * MS);
        watch.woke(zero + 11 * MS);
        assert!(!watch.spoils(span(zero, 0, 11), 20 * MS), "a millisecond late is no stall");
        watch.sleeps_until(zero + 20 * MS);
        watch.woke(zero + 520 * MS);
        assert!(watch.spoils(span(zero, 5, 521), 20 * MS));
        assert!(!watch.spoils(span(zero, 0, 19), 20 * MS), "was done before");
        assert!(!watch.spoils(span(zero, 520, 530), 20 * MS), "was sent after");
        assert!(!watch.spoils(span(zero, 5, 521), 600 * MS), "its bound is longer than the stall");
        assert!(watch.swallowed(zero + 519 * MS, 20 * MS), "late by a millisecond only, in a stall of half a second");
        assert!(watch.swallowed(zero + 20 * MS, 20 * MS));
        assert!(!watch.swallowed(zero + 19 * MS, 20 * MS));
        assert!(!watch.swallowed(zero + 520 * MS, 20 * MS));
        watch.forget(zero + 521 * MS);
        assert!(!watch.spoils(span(zero, 5, 521), 20 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn short_stalls_spoil_what_they_make_up_most_of() {
        let zero = Instant::now();
        let mut watch = StallWatch::new(50 * MS, zero);
        for step in 0..100 {
            watch.sleeps_until(zero + 10 * MS * step);
            watch.woke(zero + 10 * MS * step + 6 * MS);
        }
        assert_eq!(watch.lost(), 600 * MS);
        let during = |lost_before, done| Span { lost_before, ..span(zero, 0, done) };
        assert!(watch.spoils(during(Duration::ZERO, 1_000), 50 * MS));
        assert!(!watch.spoils(during(Duration::ZERO, 1_400), 50 * MS), "more than half of its time was sound");
        assert!(!watch.spoils(during(560 * MS, 41), 50 * MS), "as little as a late send is allowed");
    }

    #[tokio::test(start_paused = true)]
    async fn many_stalls_are_joined_rather_than_forgotten() {
        let zero = Instant::now();
        let mut watch = StallWatch::new(2 * MS, zero);
        for step in 0..200_u32 {
            watch.sleeps_until(zero + 10 * MS * step);
            watch.woke(zero + 10 * MS * step + 5 * MS);
        }
        assert!(watch.spoils(span(zero, 0, 1), 2 * MS));
        assert_eq!(watch.stalls.len(), STALLS_MAX);
    }
}
