//! Taking back: the one place where undos are called, by a run that ends a step and by `recover` alike.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep};

use super::state::{StateError, StateStore};
use super::undo_log::{ActId, Noted, Record, State, UndoLog};
use crate::cluster::Cluster;
use crate::fault::{self, Acting, Ending, Undo};
use crate::record::{Clock, Micros, Target, UndoOutcome, What};

/// Pause after the first failed undo; doubles up to [`UNDO_PAUSE_MAX`].
const UNDO_PAUSE: Duration = Duration::from_millis(250);
const UNDO_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What is needed to take acts back, and to say so.
pub(super) struct Undoer {
    /// The cluster.
    pub cluster: Cluster,
    /// Run id.
    pub run: String,
    /// The run's clock.
    pub clock: Clock,
    /// The undo log; locked while it is written, so that its lines have one order.
    pub log: Mutex<UndoLog>,
    /// The cluster's copy.
    pub store: StateStore,
    /// How many of the log's entries that copy has; locked while it is written, so that no older text comes after a newer one.
    pub copied: Mutex<u64>,
    /// Where events go.
    pub events: UnboundedSender<(Micros, What)>,
}

impl Undoer {
    /// For a log of which the cluster's copy may lack any entry.
    pub(super) fn new(
        cluster: Cluster,
        run: &str,
        clock: Clock,
        log: UndoLog,
        store: StateStore,
        events: UnboundedSender<(Micros, What)>,
    ) -> Self {
        let (run, log, copied) = (run.to_owned(), Mutex::new(log), Mutex::new(0));
        Self { cluster, run, clock, log, store, copied, events }
    }

    /// Where a fault acts for this run, whether or not it ends early: an undo goes on then.
    pub(super) fn acting<'a>(&'a self, step: &'a str) -> Acting<'a> {
        let state = self.store.namespace();
        Acting { cluster: &self.cluster, run: &self.run, state, step, ending: Ending::default() }
    }

    /// Sends an event that happened now.
    pub(super) fn tell(&self, what: What) {
        // The dispatcher outlives every step.
        let _closed = self.events.send((self.clock.now(), what));
    }

    /// Writes an outcome. Either copy may lag: an older one only undoes more than needed, and an undo is harmless then.
    pub(super) async fn log_outcome(&self, record: Record) {
        let mut log = self.log.lock().await;
        match log.note(self.clock.wall(self.clock.now()), record) {
            Ok(Noted::Here) => {}
            Ok(Noted::Elsewhere(e)) => {
                let text =
                    format!("the undo log on this machine can't be written, so only the cluster's copy goes on: {e}");
                self.tell(What::Warning { text });
            }
            Err(e) => self.tell(What::Warning { text: format!("the undo log does not take an outcome: {e}") }),
        }
        let entries = log.acts().len();
        drop(log);
        if let Err(e) = self.copy(entries).await {
            self.tell(What::Warning { text: format!("the cluster's copy of the undo log lags behind: {e}") });
        }
    }

    /// Has the cluster's copy hold at least so many entries. Who waits for another's write may find that it held theirs too.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub(super) async fn copy(&self, entries: u64) -> Result<(), StateError> {
        let mut copied = self.copied.lock().await;
        if *copied >= entries {
            return Ok(());
        }
        let log = self.log.lock().await;
        let (text, known) = (log.text().to_owned(), log.acts().len());
        drop(log);
        self.store.write(&self.run, &text).await?;
        *copied = known;
        Ok(())
    }

    /// Takes back one act, again and again until it succeeds or the budget is spent. Whether nothing is left.
    pub(super) async fn undo(
        &self,
        step: &str,
        key: &str,
        id: ActId,
        target: &Target,
        note: &Value,
        budget: Duration,
    ) -> bool {
        let cx = self.acting(step);
        let deadline = Instant::now() + budget;
        let mut pause = UNDO_PAUSE;
        let mut heals_itself = false;
        // A state that the log has already is not written again: tries must not fill it.
        let mut last = match self.log.lock().await.acts().get(id) {
            Some(act) if act.state == State::UndoFailed => Some(act.why.clone()),
            _ => None,
        };
        if last.is_none() {
            self.log_outcome(Record::Undoing { act: id }).await;
        }
        loop {
            let answer = match fault::undo(key, &cx, target, note).await {
                Some(answer) => answer.map_err(|e| e.to_string()),
                None => Err(format!("this binary knows no fault `{key}`")),
            };
            let (outcome, detail) = match answer {
                Ok(Undo::Undone(detail)) => (UndoOutcome::Undone, detail),
                Ok(Undo::Nothing(detail)) => (UndoOutcome::Nothing, detail),
                Ok(Undo::HealsItself) => {
                    heals_itself = true;
                    (UndoOutcome::Nothing, "it heals by itself".to_owned())
                }
                Ok(Undo::Conflict(detail)) => (UndoOutcome::Conflict, detail),
                Ok(Undo::ByHand(why)) => {
                    if last.as_ref() != Some(&why) {
                        self.log_outcome(Record::UndoFailed { act: id, why: why.clone() }).await;
                    }
                    (UndoOutcome::Failed, why)
                }
                Err(why) => {
                    if last.as_ref() != Some(&why) {
                        self.log_outcome(Record::UndoFailed { act: id, why: why.clone() }).await;
                        last = Some(why.clone());
                    }
                    if Instant::now() + pause < deadline {
                        sleep(pause).await;
                        pause = (pause * 2).min(UNDO_PAUSE_MAX);
                        continue;
                    }
                    (UndoOutcome::Failed, why)
                }
            };
            if outcome != UndoOutcome::Failed {
                self.log_outcome(Record::Undone { act: id, outcome, detail: detail.clone() }).await;
            }
            // A fault that heals by itself has nothing to take back; saying so each time would only be noise.
            if !heals_itself {
                self.tell(What::Undone { step: step.to_string(), target: target.clone(), outcome, detail });
            }
            return outcome != UndoOutcome::Failed;
        }
    }
}
