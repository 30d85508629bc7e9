//! What the objects did, on the chart's time axis: a lane per object, a bar per state, a tick per change.

use std::collections::BTreeMap;

use super::chart::{X0, X1};
use super::panel::{shorten, swatch};
use super::scale::{TimeScale, text_width};
use super::{Esc, put};
use crate::record::{Change, Event, Fields, Micros, What};
use crate::report::format;
use crate::report::model::Report;

/// Most lanes; the list of events has the rest.
const LANES: usize = 12;
const ROW: f64 = 20.0;
/// Most changes that are drawn in one lane.
const CHANGES: usize = 200;

/// The state of an object that a bar shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Ready,
    NotReady,
    Terminating,
    There,
    Gone,
}

impl State {
    const fn class(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "notready",
            Self::Terminating => "going",
            Self::There | Self::Gone => "other",
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NotReady => "not ready",
            Self::Terminating => "terminating",
            Self::There => "there",
            Self::Gone => "gone",
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lane {
    kind: String,
    name: String,
    /// How near it is to the fault: 0 for a target.
    distance: u8,
    changes: Vec<(Micros, State, String)>,
}

impl Lane {
    /// Objects with a life are drawn as bars; what only happens (events, slices) as ticks.
    fn has_bars(&self) -> bool {
        !matches!(self.kind.as_str(), "event" | "endpointslice" | "poddisruptionbudget")
    }
}

/// The lanes worth drawing between two instants, and how many were left out.
pub(super) fn of(report: &Report, events: &[Event], from: Micros, to: Micros) -> (Vec<Lane>, usize) {
    let mut all: BTreeMap<(String, String), Lane> = BTreeMap::new();
    for event in events {
        let What::Object { change, kind, namespace, name, detail, state } = &event.what else { continue };
        // Every Event object has a name of its own and one message: they share a lane.
        let key = if kind == "event" { String::new() } else { format!("{namespace}/{name}") };
        let lane = all.entry((kind.clone(), key)).or_insert_with(|| Lane {
            kind: kind.clone(),
            name: if kind == "event" { "events".to_owned() } else { name.clone() },
            distance: distance(report, kind, name),
            changes: Vec::new(),
        });
        let words = match (state.get("reason"), state.get("object")) {
            (Some(reason), Some(object)) if kind == "event" => format!("{object} {reason}"),
            _ => detail.clone(),
        };
        lane.changes.push((event.at, state_of(*change, state), words));
    }
    let moved = |lane: &Lane| lane.changes.iter().any(|(at, _, _)| *at > from && *at <= to) || lane.distance == 0;
    let mut lanes: Vec<Lane> = all.into_values().filter(moved).collect();
    let first = |lane: &Lane| lane.changes.iter().map(|(at, ..)| *at).find(|at| *at > from).unwrap_or(Micros::MAX);
    lanes.sort_by(|a, b| (a.distance, first(a), &a.name).cmp(&(b.distance, first(b), &b.name)));
    let hidden = lanes.len().saturating_sub(LANES);
    lanes.truncate(LANES);
    (lanes, hidden)
}

/// 0 for a target, 1 for what belongs with it, 2 for what sends traffic to it, 3 for the rest.
fn distance(report: &Report, kind: &str, name: &str) -> u8 {
    let mut nearest = match kind {
        "endpoint" | "endpointslice" => 2,
        "event" => 4,
        _ => 3,
    };
    for (_, touched) in report.targets() {
        let target = &touched.target;
        let owner = target.owner.as_deref().and_then(|o| o.split_once('/')).map_or("", |(_, name)| name);
        let kin =
            !owner.is_empty() && name.strip_prefix(owner).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if target.kind == kind && target.name == name {
            return 0;
        }
        if target.name == name || target.node.as_deref() == Some(name) || (kin && kind != "endpointslice") {
            nearest = nearest.min(1);
        }
    }
    nearest
}

fn state_of(change: Change, state: &Fields) -> State {
    let is = |key: &str, value: &str| state.get(key).is_some_and(|v| v.eq_ignore_ascii_case(value));
    if change == Change::Deleted {
        State::Gone
    } else if is("terminating", "true") {
        State::Terminating
    } else if is("ready", "true") {
        State::Ready
    } else if state.get("ready").is_some() {
        State::NotReady
    } else {
        State::There
    }
}

/// Letters of a lane's name that fit left of the chart.
pub(super) const LETTERS: usize = 22;

/// Draws the lanes from `y` down and returns where they end.
pub(super) fn draw(out: &mut String, lanes: &[Lane], hidden: usize, time: &TimeScale, mut y: f64) -> f64 {
    if lanes.is_empty() {
        return y;
    }
    put!(out, "<text class=\"name\" x=\"0\" y=\"{:.1}\">Objects</text>\n", y + 10.0);
    y += 18.0;
    for lane in lanes {
        let words = if lane.kind == "event" { lane.name.clone() } else { format!("{} {}", lane.kind, lane.name) };
        let shown = tail(&words, LETTERS);
        put!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}<title>{}</title></text>",
            X0 - 8.0,
            y + 13.0,
            Esc(&shown),
            Esc(&words)
        );
        put!(out, "<line class=\"grid\" x1=\"{X0}\" y1=\"{:.1}\" x2=\"{X1}\" y2=\"{:.1}\"/>\n", y + ROW, y + ROW);
        if lane.has_bars() {
            bars(out, lane, time, y);
        } else {
            ticks(out, lane, time, y);
        }
        y += ROW;
    }
    if hidden > 0 {
        put!(
            out,
            "<text x=\"{X0}\" y=\"{:.1}\">and {} further from the fault; the timeline lists them</text>\n",
            y + 14.0,
            format::plural_of(hidden, "object")
        );
        y += 18.0;
    }
    y + 4.0
}

/// A lane for the windows in which the API server could not be seen; the other lanes know nothing of what happened in them.
pub(super) fn unseen(out: &mut String, report: &Report, time: &TimeScale, y: f64) -> f64 {
    let shown = || report.blind.iter().filter(|b| b.to > time.from && b.from < time.to);
    if shown().next().is_none() {
        return y;
    }
    put!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">API server</text>", X0 - 8.0, y + 13.0);
    for window in shown() {
        let (x, words) = (
            time.x(window.to) + 5.0,
            format!("{} not seen for {}", window.what, format::duration(window.to - window.from)),
        );
        let (x, anchor) = if x + text_width(&words) > X1 { (time.x(window.from) - 5.0, "end") } else { (x, "start") };
        put!(
            out,
            "<text class=\"ink\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            y + 13.0,
            Esc(&words)
        );
    }
    y + ROW
}

/// The end of a name tells pods apart, so a long one loses its middle.
pub(super) fn tail(words: &str, letters: usize) -> String {
    let all: Vec<char> = words.chars().collect();
    if all.len() <= letters {
        return words.to_owned();
    }
    let head: String = all[..letters / 2 - 1].iter().collect();
    let end: String = all[all.len() - letters / 2..].iter().collect();
    format!("{head}…{end}")
}

fn bars(out: &mut String, lane: &Lane, time: &TimeScale, y: f64) {
    let mut spans: Vec<(Micros, Micros, State, &str)> = Vec::new();
    for (i, (at, state, detail)) in lane.changes.iter().enumerate() {
        let until = lane.changes.get(i + 1).map_or(time.to, |(next, ..)| *next);
        match spans.last_mut() {
            Some((_, end, last, _)) if last == state => *end = until,
            _ => spans.push((*at, until, *state, detail)),
        }
    }
    let visible = spans.iter().filter(|(from, to, ..)| *to > time.from && *from < time.to);
    for (from, to, state, detail) in visible.take(CHANGES) {
        let (x0, x1) = (time.x(*from), time.x(*to));
        if *state == State::Gone {
            if X1 - x0 > text_width("✕ gone") {
                put!(out, "<text x=\"{:.1}\" y=\"{:.1}\">✕ gone</text>", x0 + 3.0, y + 14.0);
            }
            continue;
        }
        put!(
            out,
            "<rect class=\"{}\" x=\"{x0:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\" rx=\"2\">",
            state.class(),
            y + 4.0,
            (x1 - x0 - 0.5).max(1.5)
        );
        put!(
            out,
            "<title>{}: {} {} from {}</title></rect>",
            state.label(),
            Esc(&lane.name),
            Esc(detail),
            format::instant(*from)
        );
        if x1 - x0 > text_width(state.label()) + 4.0 {
            put!(out, "<text class=\"dark-in\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", x0 + 5.0, y + 13.5, state.label());
        }
    }
    out.push('\n');
}

fn ticks(out: &mut String, lane: &Lane, time: &TimeScale, y: f64) {
    let visible: Vec<_> = lane.changes.iter().filter(|(at, ..)| time.shows(*at)).take(CHANGES).collect();
    for (i, (at, state, detail)) in visible.iter().enumerate() {
        let x = time.x(*at);
        put!(
            out,
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"4\" height=\"12\" rx=\"1\">",
            state.class(),
            x - 2.0,
            y + 4.0
        );
        put!(out, "<title>{} at {}</title></rect>", Esc(detail), format::instant(*at));
        let room = visible.get(i + 1).map_or(X1, |(next, ..)| time.x(*next)) - x - 8.0;
        let words = shorten(detail, 44);
        if text_width(&words) < room {
            put!(out, "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>", x + 6.0, y + 14.0, Esc(&words));
        }
    }
    out.push('\n');
}

/// What the colours of the bars mean.
pub(super) fn legend(out: &mut String, lanes: &[Lane]) {
    let mut states: Vec<State> =
        lanes.iter().filter(|l| l.has_bars()).flat_map(|l| l.changes.iter().map(|(_, state, _)| *state)).collect();
    states.retain(|s| *s != State::Gone);
    states.sort();
    states.dedup();
    if states.is_empty() {
        return;
    }
    put!(out, "<ul class=\"legend\"><li>Objects:</li>");
    for state in states {
        swatch(out, state.class(), state.label());
    }
    put!(out, "</ul>\n");
}
