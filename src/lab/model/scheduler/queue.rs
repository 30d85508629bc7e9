//! The pods that wait for a node: in which order they are tried, and what has those tried again that found none.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::lab::store::ObjectKey;
use crate::scheduling::Unfit;

/// `podInitialBackoffSeconds`.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// `podMaxBackoffSeconds`.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// What may have a pod fit that did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// A node is new, or another than it was.
    Node,
    /// A pod stands somewhere, or is another than it was.
    Stands,
    /// A pod is gone from where it stood.
    Goes,
    /// A volume, a claim or a storage class is another.
    Volume,
}

/// Which events have a pod tried again, by why it found no node.
#[derive(Debug, Clone, Default)]
pub(super) struct Hints(BTreeSet<Event>);

impl Hints {
    /// Something is wrong with its volumes.
    pub(super) fn volumes() -> Self {
        Self(BTreeSet::from([Event::Volume, Event::Node]))
    }

    /// What these wait for, too.
    pub(super) fn merge(&mut self, more: &Self) {
        self.0.extend(&more.0);
    }

    /// A rule kept it off a node.
    pub(super) fn add(&mut self, unfit: &Unfit) {
        self.0.insert(Event::Node);
        let more: &[Event] = match unfit {
            Unfit::Ports | Unfit::Lacks(_) | Unfit::Near { .. } | Unfit::Excluded { .. } => &[Event::Goes],
            Unfit::Unlabelled { .. } | Unfit::Uneven { .. } => &[Event::Stands, Event::Goes],
            Unfit::Far { .. } => &[Event::Stands],
            Unfit::Volume { .. } => &[Event::Volume],
            Unfit::Elsewhere | Unfit::Cordoned | Unfit::Tainted | Unfit::Unwanted => &[],
        };
        self.0.extend(more);
    }
}

#[derive(Debug)]
struct Waiting {
    priority: i32,
    /// When it came, or failed last.
    since: Instant,
    /// When it is tried; `None`: once something happens.
    due: Option<Instant>,
    attempts: u32,
    /// Its back-off is over then. The scheduler tries those in back-off too when nothing else waits, as it does since 1.33.
    calm: Instant,
    hints: Hints,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Queue(BTreeMap<ObjectKey, Waiting>);

impl Queue {
    /// Has a pod tried at a time, or earlier where it is to be tried earlier already.
    pub(super) fn add(&mut self, key: &ObjectKey, priority: i32, now: Instant, due: Instant) {
        let new = || Waiting { priority, since: now, due: None, attempts: 0, calm: now, hints: Hints::default() };
        let waiting = self.0.entry(key.clone()).or_insert_with(new);
        waiting.priority = priority;
        waiting.due = Some(waiting.due.map_or(due, |earlier| earlier.min(due)));
    }

    pub(super) fn has(&self, key: &ObjectKey) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) {
        self.0.remove(key);
    }

    /// It found no node.
    pub(super) fn failed(&mut self, key: &ObjectKey, hints: Hints, now: Instant) {
        if let Some(waiting) = self.0.get_mut(key) {
            let backoff = FIRST_BACKOFF.saturating_mul(1 << waiting.attempts.min(10)).min(LONGEST_BACKOFF);
            waiting.attempts += 1;
            (waiting.due, waiting.since, waiting.calm, waiting.hints) = (None, now, now + backoff, hints);
        }
    }

    /// Has those tried that an event may help. Whether there are any.
    pub(super) fn wake(&mut self, event: Event, due: Instant) -> bool {
        let mut any = false;
        for waiting in self.0.values_mut().filter(|waiting| waiting.due.is_none() && waiting.hints.0.contains(&event)) {
            waiting.due = Some(due);
            any = true;
        }
        any
    }

    /// Those that are to be tried now: the higher priority first, then who waits longer; those in back-off last.
    pub(super) fn due(&self, now: Instant) -> Vec<ObjectKey> {
        let due = self.0.iter().filter(|(_, waiting)| waiting.due.is_some_and(|due| due <= now));
        let mut due: Vec<(&ObjectKey, &Waiting)> = due.collect();
        due.sort_by_key(|(_, waiting)| {
            (Some(waiting.calm).filter(|calm| *calm > now), Reverse(waiting.priority), waiting.since)
        });
        due.into_iter().map(|(key, _)| key.clone()).collect()
    }

    /// When the next is to be tried.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|waiting| waiting.due).min()
    }
}
