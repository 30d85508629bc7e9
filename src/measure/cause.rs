//! The likeliest cause of an outage, from what else was on the timeline when it began.

use super::words::plain_time;
use crate::record::{Micros, Outage};

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// A step injected its fault.
    Injected,
    /// A pod was asked to end.
    Terminating,
    /// A pod is gone.
    Deleted,
    /// A container began again.
    Restarted,
    /// A pod's `Ready` condition became false.
    PodNotReady,
    /// An endpoint was taken out of service.
    EndpointNotReady,
    /// A node's `Ready` condition became false.
    NodeNotReady,
}

impl MarkKind {
    /// How readily it explains an outage: a node takes many pods along; an endpoint that was taken out ends failures
    /// rather than causing them.
    const fn weight(self) -> f64 {
        match self {
            Self::NodeNotReady => 5.0,
            Self::Terminating | Self::Restarted => 4.0,
            Self::Deleted | Self::PodNotReady => 3.0,
            Self::Injected => 2.0,
            Self::EndpointNotReady => 1.0,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Injected => "was the target of",
            Self::Terminating => "was terminating",
            Self::Deleted => "was deleted",
            Self::Restarted => "restarted",
            Self::PodNotReady | Self::NodeNotReady => "was not ready",
            Self::EndpointNotReady => "was taken out of service",
        }
    }
}

/// Something that happened on the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Micros,
    /// What.
    pub kind: MarkKind,
    /// The object, as `pod/web-7f`; for an endpoint, the pod behind it.
    pub object: String,
    /// The step, for [`MarkKind::Injected`]; else empty.
    pub step: String,
}

/// The class of requests that explain themselves: see [`crate::probe::Class::ConnectTimeoutSamePort`].
const SAME_PORT: &str = "connect-timeout-same-port";
/// How long before a window a mark may lie and still explain it.
const BEFORE: Micros = 30_000_000;
/// How long after its begin: what a watch shows comes later than what it did to requests.
const AFTER: Micros = 2_000_000;
/// The distance at which a mark explains half as well.
const HALF: f64 = 2_000_000.0;

/// The likeliest cause in words, or `None` when nothing near the window's begin explains it.
///
/// Each mark between 30 s before and 2 s after the first bad request is weighed by its kind and its distance; the heaviest
/// wins, the earlier of two equal ones. An injection on the same object, or else the latest one before the window, is named
/// with it, and so is how long the object's endpoint stayed in service while requests failed.
#[must_use]
pub fn cause(outage: &Outage, marks: &[Mark]) -> Option<String> {
    let same_port = outage.classes.get(SAME_PORT).copied().unwrap_or(0);
    if same_port * 2 > outage.bad {
        return Some(
            "these source ports had timed out before: the connection tracking of a node still sends them to an endpoint that is gone"
                .to_owned(),
        );
    }
    let near = |mark: &&Mark| mark.at >= outage.from - BEFORE && mark.at <= outage.from + AFTER;
    let mut best: Option<(&Mark, f64)> = None;
    for mark in marks.iter().filter(near) {
        let heavier = best.is_none_or(|(other, weight)| {
            let own = weight_of(mark, outage.from);
            own > weight || (super::tolerance::same(own, weight) && mark.at < other.at)
        });
        if heavier {
            best = Some((mark, weight_of(mark, outage.from)));
        }
    }
    let (mark, _) = best?;
    let mut text = format!("{} {}", mark.object, mark.kind.words());
    if mark.kind == MarkKind::Injected {
        text = format!("{text} {}, injected {}", mark.step, distance(mark.at, outage.from));
        return Some(text);
    }
    if let Some(injection) = injection(outage, marks, &mark.object) {
        text = format!("{text} ({} injected {})", injection.step, distance(injection.at, outage.from));
    } else {
        text = format!("{text} {}", distance(mark.at, outage.from));
    }
    if matches!(mark.kind, MarkKind::Terminating | MarkKind::Deleted | MarkKind::NodeNotReady)
        && let Some(late) = endpoint_late(mark, marks)
    {
        text = format!("{text}; its endpoint stayed ready {} longer", microseconds(late));
    }
    Some(text)
}

fn weight_of(mark: &Mark, from: Micros) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most 30 s in microseconds")]
    let distance = (mark.at - from).unsigned_abs() as f64;
    mark.kind.weight() / (1.0 + distance / HALF)
}

/// The injection that goes with a cause: on that object, or else the latest before the window.
fn injection<'a>(outage: &Outage, marks: &'a [Mark], object: &str) -> Option<&'a Mark> {
    let before = |mark: &&Mark| {
        mark.kind == MarkKind::Injected && mark.at <= outage.from + AFTER && mark.at >= outage.from - BEFORE
    };
    marks.iter().filter(before).max_by_key(|mark| (mark.object == object, mark.at))
}

/// How long after the cause the object's endpoint was taken out of service.
fn endpoint_late(cause: &Mark, marks: &[Mark]) -> Option<Micros> {
    marks
        .iter()
        .filter(|mark| mark.kind == MarkKind::EndpointNotReady && mark.object == cause.object && mark.at > cause.at)
        .map(|mark| mark.at - cause.at)
        .min()
}

fn distance(at: Micros, from: Micros) -> String {
    let side = if at <= from { "before" } else { "after" };
    format!("{} {side}", microseconds((from - at).abs()))
}

/// A time with the hundredths that a reader can use.
fn microseconds(time: Micros) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a distance on a run's timeline")]
    let seconds = (time / 1_000) as f64 / 1e3;
    plain_time(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::outages;
    use crate::measure::testing::Script;

    /// An outage from 10 s until 12 s.
    fn outage() -> Outage {
        outages(&Script::at("100/s").good(1_000).bad(200).good(200).finished()).remove(0)
    }

    fn mark(at_ms: Micros, kind: MarkKind, object: &str) -> Mark {
        let step = if kind == MarkKind::Injected { "kill-one".to_owned() } else { String::new() };
        Mark { at: at_ms * 1_000, kind, object: object.into(), step }
    }

    #[test]
    fn a_killed_pod_whose_endpoint_stayed() {
        let marks = [
            mark(2_000, MarkKind::Restarted, "pod/other"),
            mark(9_790, MarkKind::Injected, "pod/web-7f"),
            mark(9_800, MarkKind::Terminating, "pod/web-7f"),
            mark(10_700, MarkKind::EndpointNotReady, "pod/web-7f"),
            mark(10_100, MarkKind::EndpointNotReady, "pod/other"),
        ];
        let text =
            "pod/web-7f was terminating (kill-one injected 210 ms before); its endpoint stayed ready 900 ms longer";
        assert_eq!(cause(&outage(), &marks).as_deref(), Some(text));
        let mut shuffled = marks.to_vec();
        shuffled.reverse();
        assert_eq!(cause(&outage(), &shuffled).as_deref(), Some(text));
    }

    #[test]
    fn an_injection_by_itself_a_cause_of_its_own_and_none() {
        let only = [mark(8_500, MarkKind::Injected, "node/a")];
        assert_eq!(
            cause(&outage(), &only).as_deref(),
            Some("node/a was the target of kill-one, injected 1.50 s before")
        );
        let own = [mark(10_400, MarkKind::NodeNotReady, "node/b")];
        assert_eq!(cause(&outage(), &own).as_deref(), Some("node/b was not ready 400 ms after"));
        let far = [mark(-25_000, MarkKind::Injected, "pod/a"), mark(12_100, MarkKind::NodeNotReady, "node/a")];
        assert_eq!(cause(&outage(), &far), None);
        assert_eq!(cause(&outage(), &[]), None);
    }
}
