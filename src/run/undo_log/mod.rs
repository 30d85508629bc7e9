//! The undo log: what to take back, durable before the harm is done.
//!
//! Each line of `undo.jsonl` is an [`Entry`], appended and synced to disk, and then copied to a ConfigMap of the cluster, before the
//! mutation that it announces. One fold, [`Acts::apply`], gives the state of every act; it is used while a run goes on and when a
//! log is read again, so that both see the same thing. A record without an outcome means "perhaps done": it is undone.
//!
//! ```text
//! Prepared ──▶ Injected ──▶ Undoing ──▶ Undone
//!     │  ╲        ▲            │  ▲
//!     │   ╲▶ InjectFailed ─────┤  └─ UndoFailed
//!     └────────────────────────┘
//! ```

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use file::{Noted, UNDO_LOG, UndoLog};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::record::{ClusterId, Target, UndoOutcome};

/// Version of the log's format.
pub const VERSION: u32 = 1;
/// A ConfigMap holds 1 MiB at most; past this no act is announced any more, and so nothing injected. What is left of the MiB is for the
/// outcomes of those that were.
pub const MAX_BYTES: usize = 900_000;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// [`VERSION`].
    pub v: u32,
    /// Number within the log, from 0, without gaps.
    pub seq: u64,
    /// Run id.
    pub run: String,
    /// Wall clock, for people.
    pub wall: jiff::Timestamp,
    /// SHA-256 of the line before, in hex; empty for the first. An edited log is noticed.
    pub prev: String,
    /// What is recorded.
    pub what: Record,
}

/// Number of an act within its run: one fault on one target.
pub type ActId = u32;

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Record {
    /// The log begins.
    Opened {
        /// Name of the experiment.
        experiment: String,
        /// The cluster that it acts on: `recover` acts on no other.
        cluster: ClusterId,
        /// Who runs it, `user@host`.
        by: String,
        /// When the run has ended and undone at the latest, by the wall clock of its machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<jiff::Timestamp>,
    },
    /// A fault is about to be injected into a target.
    Prepared {
        /// The act.
        act: ActId,
        /// Step.
        step: String,
        /// Fault key.
        fault: String,
        /// Target.
        target: Target,
        /// What the fault's undo needs.
        note: serde_json::Value,
    },
    /// The injection was accepted.
    Injected {
        /// The act.
        act: ActId,
    },
    /// The injection was refused, or the target was gone: certainly nothing was done.
    NotInjected {
        /// The act.
        act: ActId,
        /// Why.
        why: String,
    },
    /// The injection failed, or was blocked part of the way: perhaps something was done.
    InjectFailed {
        /// The act.
        act: ActId,
        /// Why.
        why: String,
    },
    /// The undo begins, or begins again.
    Undoing {
        /// The act.
        act: ActId,
    },
    /// The undo ended; nothing of ours is left.
    Undone {
        /// The act.
        act: ActId,
        /// How.
        outcome: UndoOutcome,
        /// In words.
        detail: String,
    },
    /// The undo failed; it may be tried again.
    UndoFailed {
        /// The act.
        act: ActId,
        /// Why.
        why: String,
    },
    /// The run, or its recovery, is over and nothing is left.
    Closed,
}

/// How far an act has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Announced; perhaps done.
    Prepared,
    /// Done.
    Injected,
    /// Perhaps done.
    InjectFailed,
    /// Being taken back.
    Undoing,
    /// The last try to take it back failed.
    UndoFailed,
    /// Nothing is left.
    Over,
}

/// One act with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// Number.
    pub id: ActId,
    /// Step.
    pub step: String,
    /// Fault key.
    pub fault: String,
    /// Target.
    pub target: Target,
    /// What the undo needs.
    pub note: serde_json::Value,
    /// How far it has come.
    pub state: State,
    /// Why the last try failed, if it did.
    pub why: String,
}

/// A log that breaks its own rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Corrupt {
    /// Line, from 1.
    pub line: u64,
    /// What is wrong.
    pub message: String,
}

/// What the first line says of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The cluster that it acts on.
    pub cluster: ClusterId,
    /// When it has ended and undone at the latest, where the log says so.
    pub until: Option<jiff::Timestamp>,
}

/// Every act of a run: the fold over its entries.
#[derive(Debug, Clone, Default)]
pub struct Acts {
    by_id: BTreeMap<ActId, Act>,
    next_seq: u64,
    last: String,
    opened: Option<Opened>,
    closed: bool,
}

impl Acts {
    /// Takes the next entry in; `line` is its text, for the chain of hashes.
    ///
    /// # Errors
    ///
    /// When the entry can't follow the ones before.
    pub fn apply(&mut self, entry: &Entry, line: &str) -> Result<(), Corrupt> {
        let wrong = |message: String| Corrupt { line: self.next_seq + 1, message };
        if entry.v != VERSION {
            return Err(wrong(format!("format version {} (this binary reads {VERSION})", entry.v)));
        }
        if entry.seq != self.next_seq {
            return Err(wrong(format!("entry {} where {} should be", entry.seq, self.next_seq)));
        }
        if entry.prev != self.last {
            return Err(wrong("it does not follow the line before: the log was edited".to_owned()));
        }
        self.step(&entry.what).map_err(|message| Corrupt { line: entry.seq + 1, message })?;
        self.next_seq += 1;
        self.last = hash(line);
        Ok(())
    }

    fn step(&mut self, record: &Record) -> Result<(), String> {
        let (id, to, reason) = match record {
            Record::Opened { cluster, until, .. } => {
                self.opened = Some(Opened { cluster: cluster.clone(), until: *until });
                return Ok(());
            }
            Record::Closed => {
                self.closed = true;
                return Ok(());
            }
            Record::Prepared { act, step, fault, target, note } => {
                let new = Act {
                    id: *act,
                    step: step.clone(),
                    fault: fault.clone(),
                    target: target.clone(),
                    note: note.clone(),
                    state: State::Prepared,
                    why: String::new(),
                };
                return match self.by_id.insert(*act, new) {
                    None => Ok(()),
                    Some(_) => Err(format!("act {act} is prepared twice")),
                };
            }
            Record::Injected { act } => (act, State::Injected, ""),
            Record::NotInjected { act, why } => (act, State::Over, why.as_str()),
            Record::InjectFailed { act, why } => (act, State::InjectFailed, why.as_str()),
            Record::Undoing { act } => (act, State::Undoing, ""),
            Record::Undone { act, .. } => (act, State::Over, ""),
            Record::UndoFailed { act, why } => (act, State::UndoFailed, why.as_str()),
        };
        let act = self.by_id.get_mut(id).ok_or_else(|| format!("act {id} was never prepared"))?;
        if !follows(act.state, to, record) {
            return Err(format!("act {id} can't go from {:?} to {to:?}", act.state));
        }
        act.state = to;
        reason.clone_into(&mut act.why);
        Ok(())
    }

    /// The acts that must still be taken back, in the reverse of the order in which they were announced.
    #[must_use]
    pub fn pending(&self) -> Vec<Act> {
        self.by_id.values().rev().filter(|act| act.state != State::Over).cloned().collect()
    }

    /// The act of this number.
    #[must_use]
    pub fn get(&self, id: ActId) -> Option<&Act> {
        self.by_id.get(&id)
    }

    /// What the first line says.
    #[must_use]
    pub const fn opened(&self) -> Option<&Opened> {
        self.opened.as_ref()
    }

    /// Whether the log says that nothing is left.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.closed
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.next_seq
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.next_seq == 0
    }
}

/// Which states may follow which. Undoing may begin from anywhere but the end, because a crash leaves any of them behind.
const fn follows(from: State, to: State, record: &Record) -> bool {
    match to {
        State::Injected | State::InjectFailed => matches!(from, State::Prepared),
        State::Over if matches!(record, Record::NotInjected { .. }) => matches!(from, State::Prepared),
        State::Over | State::UndoFailed => matches!(from, State::Undoing | State::UndoFailed),
        State::Undoing => !matches!(from, State::Over),
        State::Prepared => false,
    }
}

fn hash(line: &str) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(line.as_bytes()) {
        // Writing to a text can't fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Reads a log. A torn last line, as a crash leaves it, is dropped: what it announced was not yet done.
///
/// # Errors
///
/// When any other line is wrong.
pub fn read(text: &str) -> Result<Acts, Corrupt> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut acts = Acts::default();
    for (number, line) in (1..).zip(complete.lines()) {
        let entry: Entry =
            serde_json::from_str(line).map_err(|e| Corrupt { line: number, message: format!("not an entry: {e}") })?;
        acts.apply(&entry, line)?;
    }
    Ok(acts)
}
