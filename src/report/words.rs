//! What an event says to a person: a word for its kind, a tone, and a sentence. The terminal and the page use the same ones.

use super::format::{self, classes, duration, instant, plural, plural_of, run_verdict};
use crate::record::{Change, Displaced, Foretold, Injection, Micros, Outage, Replaced, UndoOutcome, What};

/// How an event is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// It went well.
    Good,
    /// It did not.
    Bad,
    /// Worth a look.
    Notice,
    /// A landmark.
    Strong,
    /// Background.
    Faint,
}

impl Tone {
    /// The tone's name, as the page's classes have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Notice => "notice",
            Self::Strong => "strong",
            Self::Faint => "faint",
        }
    }
}

/// An event in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// How it is meant.
    pub tone: Tone,
    /// Its kind in one or two words: `injected`, `effect`, `pod`.
    pub word: String,
    /// What happened.
    pub text: String,
}

/// An event in words; nothing for what is told elsewhere (the plan, the seconds, the summaries).
#[must_use]
pub fn describe(what: &What) -> Option<Words> {
    let words = |tone, word: &str, text: String| Some(Words { tone, word: word.to_owned(), text });
    match what {
        What::RunStarted { run, .. } => words(Tone::Strong, "started", format!("run {run}")),
        What::PhaseStarted { phase, from } => {
            words(Tone::Strong, "phase", format!("{} from {}", phase.label(), instant(*from)))
        }
        What::ProbesStopped { .. } => words(Tone::Faint, "probes", "stopped".to_owned()),
        What::Injected { .. } | What::Effect { .. } | What::Undone { .. } | What::Healed { .. } => acted(what),
        What::Object { .. } => object(what),
        What::Blind { what, from, to } => {
            let text = match to {
                None => format!("{what} can't be seen since {}", instant(*from)),
                Some(to) => format!("{what} can be seen again after {}", duration(to - from)),
            };
            words(Tone::Notice, "blind", text)
        }
        What::Replaced(one) => Some(replaced(one)),
        What::Outage(o) => words(Tone::Bad, "outage", outage(o)),
        What::Aborting { by, detail } => words(Tone::Notice, "aborting", format!("{by}: {detail}")),
        What::Warning { text } => words(Tone::Notice, "warning", text.clone()),
        What::RunFinished { verdict, .. } => words(Tone::Strong, "finished", run_verdict(Some(*verdict)).to_owned()),
        What::Planned { .. }
        | What::Predicted(_)
        | What::Prepared { .. }
        | What::Interval(_)
        | What::Life(_)
        | What::Summary(_)
        | What::Judged(_)
        | What::Impact(_)
        | What::Availability(_)
        | What::Compared(_) => None,
    }
}

/// What an object did, in words. Of a new object only what is out of the ordinary; of an event of the cluster what it says.
fn object(what: &What) -> Option<Words> {
    let What::Object { change, kind, name, detail, state, .. } = what else { return None };
    let text = match (change, state.get("reason"), state.get("object")) {
        (_, Some(reason), Some(object)) if kind == "event" => {
            let message = state.get("message").map(|m| format!(": {m}")).unwrap_or_default();
            format!("{object} {reason}{message}")
        }
        (Change::Deleted, ..) => format!("{name} deleted"),
        (Change::Added, ..) => {
            let ordinary = |part: &&str| part.starts_with("uid ") || ["terminating false", "restarts 0"].contains(part);
            let rest: Vec<&str> = detail.split(", ").filter(|part| !ordinary(part) && !part.is_empty()).collect();
            format!("{name} added: {}", rest.join(", ")).trim_end_matches([':', ' ']).to_owned()
        }
        _ => format!("{name} {detail}"),
    };
    Some(Words { tone: Tone::Faint, word: kind.clone(), text })
}

/// What a step did, in words.
fn acted(what: &What) -> Option<Words> {
    let (tone, word, text) = match what {
        What::Injected { fault, target, outcome, sent, answered, detail, expected, .. } => {
            let tone = match (expected, outcome) {
                (false, _) => Tone::Bad,
                (true, Injection::Injected) => Tone::Notice,
                (true, _) => Tone::Good,
            };
            let took = duration(answered - sent);
            (tone, format::injection(*outcome), format!("{fault} {target} in {took}: {detail}"))
        }
        What::Effect { target, seen: true, detail, .. } => (Tone::Notice, "effect", format!("{target} {detail}")),
        What::Effect { target, detail, .. } => (Tone::Bad, "no effect", format!("{target} {detail}")),
        What::Undone { target, outcome, detail, .. } => {
            let tone = match outcome {
                UndoOutcome::Undone => Tone::Good,
                UndoOutcome::Nothing => Tone::Faint,
                UndoOutcome::Conflict | UndoOutcome::Failed => Tone::Bad,
            };
            (tone, format::undo(*outcome), format!("{target} {detail}"))
        }
        What::Healed { target, healed: true, detail, .. } => (Tone::Good, "healed", format!("{target} {detail}")),
        What::Healed { target, detail, .. } => (Tone::Bad, "not healed", format!("{target} {detail}")),
        _ => return None,
    };
    Some(Words { tone, word: word.to_owned(), text })
}

/// What came of displaced pods, in words.
fn replaced(replaced: &Replaced) -> Words {
    let tone = match replaced.standing {
        Foretold::AsPredicted => Tone::Faint,
        Foretold::Open | Foretold::MorePlaced => Tone::Notice,
        Foretold::FewerPlaced => Tone::Bad,
    };
    let Displaced { namespace, workload, .. } = &replaced.displaced;
    let text = format!("{workload} in `{namespace}`: {}", came_of(replaced));
    Words { tone, word: "prediction".to_owned(), text }
}

/// What came of displaced pods: how many found a place, and how that stands to what was predicted.
#[must_use]
pub fn came_of(replaced: &Replaced) -> String {
    let pods = plural_of(replaced.displaced.pods, "displaced pod");
    let detail = if replaced.detail.is_empty() { String::new() } else { format!(" ({})", replaced.detail) };
    format!("{} of {pods} placed elsewhere, {}{detail}", replaced.placed, standing(replaced))
}

/// How what came of displaced pods stands to what was predicted.
#[must_use]
pub fn standing(replaced: &Replaced) -> String {
    let predicted = replaced.displaced.pods.saturating_sub(replaced.displaced.without_place());
    match replaced.standing {
        Foretold::AsPredicted => "as predicted".to_owned(),
        Foretold::MorePlaced if predicted == 0 => "where none was predicted to be".to_owned(),
        Foretold::MorePlaced => format!("more than the {predicted} that were predicted"),
        Foretold::FewerPlaced => format!("fewer than the {predicted} that were predicted"),
        Foretold::Open if replaced.bound > 0 => {
            format!("nothing can be said yet: {} still bound to lost nodes", replaced.bound)
        }
        Foretold::Open => "nothing can be said: the number of its pods changed".to_owned(),
    }
}

/// In which order workloads are told of: first those that came out otherwise than predicted.
#[must_use]
pub fn urgency(replaced: &Replaced) -> u8 {
    match replaced.standing {
        Foretold::FewerPlaced => 0,
        Foretold::MorePlaced => 1,
        Foretold::Open => 2,
        Foretold::AsPredicted if replaced.displaced.without_place() > 0 => 3,
        Foretold::AsPredicted => 4,
    }
}

/// An outage in one line.
#[must_use]
pub fn outage(outage: &Outage) -> String {
    format!("{} {}", format::stream(&outage.probe, outage.stream), outage_of_stream(outage))
}

/// An outage in one line, where its stream is known.
#[must_use]
pub fn outage_of_stream(outage: &Outage) -> String {
    let length = match outage.to {
        Some(to) => duration(to - outage.from),
        None => format!("{} and not over", duration(outage.last_bad - outage.from)),
    };
    let cause = outage.cause.as_deref().unwrap_or("no cause found");
    let bad = plural(outage.bad, "bad request");
    format!("{length} from {}: {cause} ({bad}: {})", instant(outage.from), classes(&outage.classes))
}

/// When an event happened, for those that become known later: an injection when it was answered.
#[must_use]
pub fn when(at: Micros, what: &What) -> Micros {
    match what {
        What::Injected { answered, .. } => *answered,
        What::PhaseStarted { from, .. } => *from,
        _ => at,
    }
}
