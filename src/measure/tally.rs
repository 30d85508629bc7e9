//! Counts of outcomes, and the names that records give to failures.

use std::collections::BTreeMap;

use super::series::Row;
use crate::probe::{Class, Outcome, Reach};

/// How many slots came to what. The sum of all fields is the number of planned slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Good ones.
    pub good: u64,
    /// Bad ones.
    pub bad: u64,
    /// Slots about which nothing can be said.
    pub unknown: u64,
    /// Sent too late to count.
    pub client_late: u64,
    /// Not sent: too many in flight.
    pub capped: u64,
    failures: BTreeMap<(Class, u16), u64>,
}

impl Tally {
    /// The counts of these slots.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let mut tally = Self::default();
        for row in rows {
            tally.add(row.outcome);
        }
        tally
    }

    /// Counts one slot.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Good => self.good += 1,
            Outcome::Bad { class, status } => {
                self.bad += 1;
                // The status is part of the name only where it is the failure.
                let status = if has_status(class) { status } else { 0 };
                *self.failures.entry((class, status)).or_default() += 1;
            }
            Outcome::Unknown => self.unknown += 1,
            Outcome::ClientLate => self.client_late += 1,
            Outcome::Capped => self.capped += 1,
        }
    }

    /// Adds the counts of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.good += other.good;
        self.bad += other.bad;
        self.unknown += other.unknown;
        self.client_late += other.client_late;
        self.capped += other.capped;
        for (&failure, count) in &other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
    }

    /// Slots that say nothing about the service.
    #[must_use]
    pub const fn unseen(&self) -> u64 {
        self.unknown + self.client_late + self.capped
    }

    /// Slots that say something.
    #[must_use]
    pub const fn seen(&self) -> u64 {
        self.good + self.bad
    }

    /// All planned slots.
    #[must_use]
    pub const fn planned(&self) -> u64 {
        self.seen() + self.unseen()
    }

    /// Whether at most one slot in a hundred says nothing.
    #[must_use]
    pub const fn covered(&self) -> bool {
        self.unseen() * 100 <= self.planned()
    }

    /// Bad ones by how far they came.
    #[must_use]
    pub fn reach(&self) -> BTreeMap<Reach, u64> {
        let mut reach = BTreeMap::new();
        for (&(class, _), count) in &self.failures {
            *reach.entry(class.reach()).or_default() += count;
        }
        reach
    }

    /// Bad ones by class: `connect-refused`, `status-503`.
    #[must_use]
    pub fn classes(&self) -> BTreeMap<String, u64> {
        self.failures.iter().map(|(&(class, status), &count)| (failure(class, status), count)).collect()
    }
}

/// The name of a failure in records: the class, with the status where that is the failure.
#[must_use]
pub fn failure(class: Class, status: u16) -> String {
    // The class names itself through serde, so that there is one spelling in all records.
    let name = serde_json::to_value(class).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    if has_status(class) { format!("{name}-{status}") } else { name.to_owned() }
}

/// Whether the status is the failure.
const fn has_status(class: Class) -> bool {
    matches!(class, Class::Status | Class::GrpcStatus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{Script, bad};

    #[test]
    fn failures_are_named_by_class_and_status() {
        assert_eq!(failure(Class::ConnectRefused, 0), "connect-refused");
        assert_eq!(failure(Class::Status, 503), "status-503");
        assert_eq!(failure(Class::BodyMismatch, 200), "body-mismatch");
        assert_eq!(failure(Class::GrpcStatus, 14), "grpc-status-14");
    }

    #[test]
    fn every_slot_is_counted_once() {
        let script = Script::at("10/s").good(5).bad(2).each(3, bad(503), 1).unknown(1);
        let tally = Tally::of(script.each(1, Outcome::ClientLate, 0).each(2, Outcome::Capped, 0).series().rows());
        assert_eq!(tally.planned(), 14);
        assert_eq!((tally.good, tally.bad, tally.unseen()), (5, 5, 4));
        assert_eq!(tally.classes(), BTreeMap::from([("connect-refused".into(), 2), ("status-503".into(), 3)]));
        assert_eq!(tally.reach(), BTreeMap::from([(Reach::NotSent, 2), (Reach::Answered, 3)]));
    }

    #[test]
    fn coverage_is_exact_at_one_in_a_hundred() {
        assert!(Tally::of(Script::at("10/s").good(99).unknown(1).series().rows()).covered());
        assert!(!Tally::of(Script::at("10/s").good(98).unknown(1).series().rows()).covered());
    }
}
