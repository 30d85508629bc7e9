//! The undo note on a group: three tags, written in one call before the group is touched.
//!
//! A tag's value may have letters, digits, spaces and `+ - = . _ : / @`, and 256 of them, hence no JSON.

use std::collections::{BTreeMap, BTreeSet};

use super::HoldNote;
use crate::fault::contract::Acting;

/// Whose note it is: run, state namespace, step and fault, with spaces between.
pub(in crate::fault) const TAG: &str = "squall.dev/undo";
/// Which processes to resume.
const PROCESSES: &str = "squall.dev/undo-processes";
/// Which subnets to give back.
const SUBNETS: &str = "squall.dev/undo-subnets";

/// All keys of a note.
pub(super) const UNDO_KEYS: [&str; 3] = [TAG, PROCESSES, SUBNETS];

/// Whose a note is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fault) struct Whose {
    pub(in crate::fault) run: String,
    pub(in crate::fault) state: String,
    pub(in crate::fault) step: String,
    pub(in crate::fault) fault: String,
}

impl Whose {
    pub(in crate::fault) fn new(cx: &Acting<'_>, fault: &str) -> Self {
        Self { run: cx.run.to_owned(), state: cx.state.to_owned(), step: cx.step.to_owned(), fault: fault.to_owned() }
    }

    /// The value of [`TAG`].
    pub(in crate::fault) fn text(&self) -> String {
        [&self.run, &self.state, &self.step, &self.fault].map(String::as_str).join(" ")
    }

    /// Whose note is among these tags; `None` without one.
    pub(in crate::fault) fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        let words: Vec<&str> = tags.get(TAG)?.split(' ').collect();
        // One that somebody has mangled is a note all the same: of nobody that could be known.
        let word = |index: usize| words.get(index).copied().unwrap_or_default().to_owned();
        Some(Self { run: word(0), state: word(1), step: word(2), fault: word(3) })
    }
}

/// The note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) whose: Whose,
    pub(super) processes: BTreeSet<String>,
    pub(super) subnets: BTreeSet<String>,
}

impl Mark {
    pub(super) fn new(cx: &Acting<'_>, fault: &str, note: &HoldNote) -> Self {
        Self { whose: Whose::new(cx, fault), processes: note.suspend.clone(), subnets: note.remove.clone() }
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let words = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let mut tags = BTreeMap::from([(TAG.to_owned(), self.whose.text())]);
        // A tag without a value is a tag all the same, but says nothing.
        for (key, names) in [(PROCESSES, &self.processes), (SUBNETS, &self.subnets)] {
            if !names.is_empty() {
                tags.insert(key.to_owned(), words(names));
            }
        }
        tags
    }

    /// The note among a group's tags; `None` without one.
    pub(super) fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        let whose = Whose::of(tags)?;
        let names = |key: &str| {
            tags.get(key).map(|text| text.split_whitespace().map(ToOwned::to_owned).collect()).unwrap_or_default()
        };
        Some(Self { whose, processes: names(PROCESSES), subnets: names(SUBNETS) })
    }
}
