//! Names: given once, and known where they are used.

use std::collections::BTreeMap;

use super::Parts;
use crate::scalar::{Name, check_label_key, check_label_value, nearest, quoted};
use crate::spec::Hypothesis;
use crate::spec::diagnostic::{Code, Diagnostic};
use crate::spec::node::Node;
use crate::spec::source::Span;

/// Labels follow Kubernetes' rules: in a cluster, the document is an object of its API.
pub(super) fn labels(root: &Node, found: &mut Vec<Diagnostic>) {
    let labels = root.get("metadata").and_then(|metadata| metadata.get("labels"));
    for entry in labels.map(Node::entries).unwrap_or_default() {
        let key = check_label_key(&entry.key).err().map(|e| (entry.span, e));
        let value = entry.value.text().and_then(|text| check_label_value(text).err());
        let value = value.map(|e| (entry.value.inside(e.offset), e));
        for (span, error) in [key, value].into_iter().flatten() {
            found.push(Diagnostic::error(Code::BadValue, span, error.message).maybe_hint(error.hint));
        }
    }
}

pub(super) fn check(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    unique(parts, "probes", "probe", found);
    unique(parts, "method", "step", found);
    for hypothesis in &parts.hypotheses {
        if let Hypothesis::Probe { probe, .. } = &hypothesis.value {
            known(parts, probe, hypothesis.place("probe"), found);
        }
    }
    for stop in &parts.stops {
        known(parts, &stop.value.probe, stop.place("probe"), found);
    }
    unjudged(parts, found);
}

/// The names of a list's items, also of those that could not be read.
fn names<'t>(parts: &Parts<'t>, list: &str) -> impl Iterator<Item = (&'t str, Span)> + use<'t> {
    let broken = parts.broken;
    parts
        .nodes(list)
        .iter()
        .filter_map(|item| item.get("name"))
        .filter(move |name| !broken.contains(&name.id))
        .filter_map(|name: &Node| Some((name.text().filter(|text| !text.is_empty())?, name.place())))
}

fn unique(parts: &Parts<'_>, list: &str, what: &str, found: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
    for (name, place) in names(parts, list) {
        let first = *seen.entry(name).or_insert(place);
        if first != place {
            let message = format!("the {what} {} is already defined at {}", quoted(name), parts.position(first));
            found.push(
                Diagnostic::error(Code::DuplicateName, place, message)
                    .hint(format!("give each {what} a name of its own"))
                    .related(first, "first defined here"),
            );
        }
    }
}

fn known(parts: &Parts<'_>, name: &Name, place: Span, found: &mut Vec<Diagnostic>) {
    let known: Vec<&str> = names(parts, "probes").map(|(name, _)| name).collect();
    // A probe whose own name can't be read may be the one that is meant.
    if known.contains(&name.as_str()) || known.len() < parts.nodes("probes").len() {
        return;
    }
    let hint = match nearest(name.as_str(), known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "define it under `spec.probes`".to_owned(),
        None => format!("probes are `{}`", known.join("`, `")),
    };
    found.push(Diagnostic::error(Code::UnknownProbe, place, format!("there is no probe `{name}`")).hint(hint));
}

/// A probe that costs requests and decides nothing.
fn unjudged(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    if !parts.is_whole {
        return;
    }
    for probe in &parts.probes {
        let name = &probe.value.name;
        let judged =
            parts.hypotheses.iter().any(|h| matches!(&h.value, Hypothesis::Probe { probe, .. } if probe == name));
        if !judged && !parts.stops.iter().any(|stop| stop.value.probe == *name) {
            let message = format!("the probe `{name}` is measured, but nothing judges it");
            found.push(
                Diagnostic::warning(Code::Unjudged, probe.place("name"), message)
                    .hint(format!("add `{{probe: {name}, tolerance: \"outage <= 2s\"}}` to `steadyState`")),
            );
        }
    }
}
