//! The account of one stream: every planned slot is entered once and settled once, in exactly one outcome.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::sample::{Nanos, Outcome, Sample};
use super::transport::Trouble;

/// What became of the slots of a stream so far.
///
/// `planned` is always the sum of the others and of the requests in flight; [`Counts::balanced`] says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Slots whose instant has come.
    pub planned: u64,
    /// Sent and not settled yet.
    pub in_flight: u64,
    /// Settled as [`Outcome::Good`].
    pub good: u64,
    /// Settled as [`Outcome::Bad`].
    pub bad: u64,
    /// Settled as [`Outcome::ClientLate`].
    pub client_late: u64,
    /// Settled as [`Outcome::Capped`].
    pub capped: u64,
    /// Settled as [`Outcome::Unknown`], by reason.
    pub unknown: UnknownCounts,
}

/// Why slots are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownCounts {
    /// The engine stood still when the slot fell due, or while its request was in flight.
    pub stalled: u64,
    /// No file descriptor was left.
    pub files: u64,
    /// No local port was left.
    pub ports: u64,
    /// The kernel had no buffer or memory left.
    pub memory: u64,
    /// The engine was aborted while the request was in flight.
    pub aborted: u64,
}

impl UnknownCounts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.stalled + self.files + self.ports + self.memory + self.aborted
    }
}

impl Counts {
    /// Slots that have their outcome.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.good + self.bad + self.client_late + self.capped + self.unknown.total()
    }

    /// Whether every planned slot is either in flight or has exactly one outcome.
    #[must_use]
    pub const fn balanced(&self) -> bool {
        self.planned == self.in_flight + self.settled()
    }
}

/// Why a slot is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Stalled,
    Aborted,
    Local(Trouble),
}

/// Samples kept for a receiver that is slow; more are dropped and counted.
const KEPT_MAX: usize = 1 << 16;
/// Remote addresses told apart within one batch.
const REMOTES_MAX: usize = 256;

/// The account of one stream, and the samples that were not handed over yet.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counts: Counts,
    /// Slots from the first unsettled one: planned instant, and whether it is settled. Bounded by rate × timeout.
    open: VecDeque<(Nanos, bool)>,
    first_open: u64,
    samples: Vec<Sample>,
    remotes: BTreeMap<SocketAddr, u64>,
    lost: u64,
}

impl Ledger {
    /// Enters the next slot and gives its number.
    pub(crate) fn plan(&mut self, planned: Nanos) -> u64 {
        let slot = self.counts.planned;
        self.counts.planned += 1;
        self.counts.in_flight += 1;
        self.open.push_back((planned, false));
        slot
    }

    /// Settles a slot. `reason` goes with [`Outcome::Unknown`] and only with it.
    pub(crate) fn settle(&mut self, sample: Sample, reason: Option<Reason>) {
        let index = usize::try_from(sample.slot.wrapping_sub(self.first_open)).unwrap_or(usize::MAX);
        let open = self.open.get_mut(index).filter(|(_, settled)| !settled);
        debug_assert!(open.is_some(), "slot {} is settled twice or was never planned", sample.slot);
        let Some((_, settled)) = open else { return };
        *settled = true;
        while self.open.front().is_some_and(|(_, settled)| *settled) {
            self.open.pop_front();
            self.first_open += 1;
        }
        self.count(sample.outcome, reason);
        debug_assert!(self.counts.balanced(), "{:?} does not add up", self.counts);
        if self.samples.len() < KEPT_MAX {
            self.samples.push(sample);
        } else {
            self.lost += 1;
        }
    }

    fn count(&mut self, outcome: Outcome, reason: Option<Reason>) {
        let unknown = &mut self.counts.unknown;
        let counter = match (outcome, reason) {
            (Outcome::Good, _) => &mut self.counts.good,
            (Outcome::Bad { .. }, _) => &mut self.counts.bad,
            (Outcome::ClientLate, _) => &mut self.counts.client_late,
            (Outcome::Capped, _) => &mut self.counts.capped,
            (Outcome::Unknown, Some(Reason::Local(Trouble::Files))) => &mut unknown.files,
            (Outcome::Unknown, Some(Reason::Local(Trouble::Ports))) => &mut unknown.ports,
            (Outcome::Unknown, Some(Reason::Local(Trouble::Memory))) => &mut unknown.memory,
            (Outcome::Unknown, Some(Reason::Aborted)) => &mut unknown.aborted,
            (Outcome::Unknown, Some(Reason::Stalled) | None) => &mut unknown.stalled,
        };
        *counter += 1;
        self.counts.in_flight -= 1;
    }

    /// Notes the address that a request went to.
    pub(crate) fn answered_by(&mut self, remote: SocketAddr) {
        if let Some(count) = self.remotes.get_mut(&remote) {
            *count += 1;
        } else if self.remotes.len() < REMOTES_MAX {
            self.remotes.insert(remote, 1);
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn kept(&self) -> usize {
        self.samples.len()
    }

    /// Slots in flight, with their planned instants.
    pub(crate) fn in_flight(&self) -> Vec<(u64, Nanos)> {
        let slots = (self.first_open..).zip(&self.open);
        slots.filter(|(_, (_, settled))| !settled).map(|(slot, (planned, _))| (slot, *planned)).collect()
    }

    /// The planned instant of the oldest slot in flight: everything before it is settled.
    pub(crate) fn oldest_open(&self) -> Option<Nanos> {
        self.open.front().map(|(planned, _)| *planned)
    }

    /// Takes what was gathered since the last call.
    pub(crate) fn take(&mut self) -> (Vec<Sample>, BTreeMap<SocketAddr, u64>) {
        (std::mem::take(&mut self.samples), std::mem::take(&mut self.remotes))
    }

    /// Gives back what could not be handed over.
    pub(crate) fn put_back(&mut self, samples: Vec<Sample>, remotes: BTreeMap<SocketAddr, u64>) {
        debug_assert!(self.samples.is_empty() && self.remotes.is_empty());
        self.samples = samples;
        self.remotes = remotes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::Steps;
    use super::*;

    fn sample(slot: u64, outcome: Outcome) -> Sample {
        Sample { slot, planned: slot, sent: slot, done: slot, outcome, reused: false, steps: Steps::default() }
    }

    #[test]
    fn slots_settle_in_any_order_and_the_account_balances() {
        let mut ledger = Ledger::default();
        for planned in 0..6 {
            assert_eq!(ledger.plan(planned), planned);
        }
        ledger.settle(sample(2, Outcome::Good), None);
        assert_eq!(ledger.oldest_open(), Some(0));
        ledger.settle(sample(0, Outcome::ClientLate), None);
        assert_eq!(ledger.oldest_open(), Some(1));
        ledger.settle(sample(1, Outcome::Unknown), Some(Reason::Local(Trouble::Files)));
        assert_eq!(ledger.oldest_open(), Some(3));
        ledger.settle(sample(5, Outcome::Capped), None);
        assert_eq!(ledger.in_flight(), [(3, 3), (4, 4)]);
        let counts = ledger.counts();
        assert!(counts.balanced());
        assert_eq!((counts.planned, counts.in_flight, counts.settled()), (6, 2, 4));
        assert_eq!((counts.good, counts.client_late, counts.capped, counts.unknown.files), (1, 1, 1, 1));
    }

    #[test]
    #[should_panic(expected = "settled twice")]
    fn settling_twice_is_a_bug() {
        let mut ledger = Ledger::default();
        ledger.plan(0);
        ledger.plan(1);
        ledger.settle(sample(1, Outcome::Good), None);
        ledger.settle(sample(1, Outcome::Good), None);
    }

    #[test]
    fn a_slow_receiver_costs_samples_but_no_counts() {
        let mut ledger = Ledger::default();
        let planned = KEPT_MAX as u64 + 10;
        for slot in 0..planned {
            ledger.plan(slot);
            ledger.settle(sample(slot, Outcome::Good), None);
        }
        assert_eq!((ledger.counts().good, ledger.lost(), ledger.kept()), (planned, 10, KEPT_MAX));
    }
}
