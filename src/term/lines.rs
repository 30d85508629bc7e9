//! The line, if any, that an event earns while the run goes on.

use std::collections::{BTreeMap, BTreeSet};

use anstyle::Style;

use super::{BAD, FAINT, GOOD, NOTICE, STRONG, paint};
use crate::probe::StreamKind;
use crate::record::{Change, Event, Interval, Micros, Target, What};
use crate::report::format::{self, classes, count, instant};
use crate::report::words::{self, Tone, Words};
use crate::scalar::EngineKind;

/// After so many clean seconds of a stream, its next bad request is news again.
const QUIET_AGAIN: Micros = 5_000_000;

/// What must be remembered from one event to the next.
#[derive(Default)]
pub(super) struct Lines {
    /// Names of targets and of what they belong to: their changes matter.
    followed: BTreeSet<String>,
    /// Last instant at which a stream was seen failing.
    failing: BTreeMap<(String, StreamKind), Micros>,
}

impl Lines {
    /// The lines that an event earns.
    pub(super) fn of(&mut self, event: &Event) -> Vec<String> {
        match &event.what {
            What::RunStarted { run, experiment, cluster, seed, engine, .. } => {
                let on = if cluster.context.is_empty() { String::new() } else { format!(" on {}", cluster.context) };
                let by = match engine {
                    EngineKind::Native => String::new(),
                    EngineKind::Lab => ", a rehearsal".to_owned(),
                    EngineKind::Reqwest => format!(", engine {engine}"),
                };
                return vec![format!("{} {experiment}{on}, seed {seed}{by}", paint(STRONG, &format!("run {run}")))];
            }
            What::PhaseStarted { phase, from } => {
                return vec![String::new(), format!("{} from {}", paint(STRONG, phase.label()), instant(*from))];
            }
            What::Object { change, kind, name, .. } if *change == Change::Seen || !self.follows(kind, name) => {
                return Vec::new();
            }
            What::ProbesStopped { .. } => return Vec::new(),
            What::Interval(interval) => return self.second(event.at, interval).into_iter().collect(),
            // Its second may be told only after the outage was: then it is no news.
            What::Outage(outage) => {
                let until = outage.to.unwrap_or(outage.last_bad);
                self.failing.insert((outage.probe.clone(), outage.stream), until);
            }
            What::Prepared { target, .. } | What::Injected { target, .. } => self.follow(target),
            _ => {}
        }
        let line = |words: Words| timed(event.at, style(words.tone), &words.word, &words.text);
        words::describe(&event.what).map(line).into_iter().collect()
    }

    fn follow(&mut self, target: &Target) {
        self.followed.insert(target.name.clone());
        self.followed.extend(target.node.clone());
        if let Some((_, owner)) = target.owner.as_deref().and_then(|o| o.split_once('/')) {
            self.followed.insert(owner.to_owned());
        }
    }

    /// Whether an object has to do with a target: by its name, or by a name that begins with that of the target's owner.
    fn follows(&self, kind: &str, name: &str) -> bool {
        self.followed.contains(name)
            || (kind != "node"
                && self
                    .followed
                    .iter()
                    .any(|f| name.strip_prefix(f.as_str()).is_some_and(|rest| rest.starts_with('-'))))
    }

    /// The first bad second of a stream, which is when its outage opens; the outage's event tells when it closed.
    fn second(&mut self, at: Micros, interval: &Interval) -> Option<String> {
        let bad: u64 = interval.bad.values().sum();
        if bad == 0 {
            return None;
        }
        let key = (interval.probe.clone(), interval.stream);
        let before = self.failing.insert(key, interval.to);
        if before.is_some_and(|last| interval.from - last < QUIET_AGAIN) {
            return None;
        }
        let stream = format::stream(&interval.probe, interval.stream);
        let judged = count(interval.good + bad);
        Some(timed(at, BAD, "failing", &format!("{stream} {} of {judged}: {}", count(bad), classes(&interval.bad))))
    }
}

const fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => GOOD,
        Tone::Bad => BAD,
        Tone::Notice => NOTICE,
        Tone::Strong => STRONG,
        Tone::Faint => FAINT,
    }
}

/// A line with its instant and a word that says what kind of thing it is.
pub(super) fn timed(at: Micros, style: Style, word: &str, text: &str) -> String {
    let gap = " ".repeat(13_usize.saturating_sub(word.chars().count()));
    format!("{:>11}  {}{gap} {text}", instant(at), paint(style, word))
}
