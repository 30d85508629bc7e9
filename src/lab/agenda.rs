//! What is to be done when: the lab's only timer.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::model::{Controller, Task};
use super::store::ObjectKey;

/// Tasks by their time, and by their order where the time is the same.
#[derive(Debug, Default)]
pub(in crate::lab) struct Agenda {
    tasks: BTreeMap<(Instant, u64), Task>,
    queued: BTreeMap<(Controller, ObjectKey), (Instant, u64)>,
    number: u64,
}

impl Agenda {
    /// Adds a task. A controller's queue has each object at most once: the earlier time counts.
    pub(in crate::lab) fn add(&mut self, due: Instant, task: Task) {
        let place = (due, self.number);
        self.number += 1;
        if let Task::Reconcile(controller, key) = &task {
            let queued = (*controller, key.clone());
            match self.queued.get(&queued) {
                Some((earlier, _)) if *earlier <= due => return,
                Some(later) => drop(self.tasks.remove(later)),
                None => {}
            }
            self.queued.insert(queued, place);
        }
        self.tasks.insert(place, task);
    }

    /// When the next task is due.
    pub(in crate::lab) fn next(&self) -> Option<Instant> {
        self.tasks.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes the next task that is due.
    pub(in crate::lab) fn take(&mut self, now: Instant) -> Option<Task> {
        let (place, _) = self.tasks.first_key_value().filter(|((due, _), _)| *due <= now)?;
        let task = self.tasks.remove(&place.clone())?;
        if let Task::Reconcile(controller, key) = &task {
            self.queued.remove(&(*controller, key.clone()));
        }
        Some(task)
    }
}
