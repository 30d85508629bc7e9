//! What depends on several fields at once.
//!
//! The checks work on the parts that could be read, each by itself, so that a mistake in one probe does not hide one in a step. A part
//! that could not be read has been reported by then, and is treated as if it fitted.

mod judging;
mod names;
mod probes;
mod steps;
mod timing;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use super::diagnostic::Diagnostic;
use super::node::{Entry, Node, NodeId};
use super::reader::Reader;
use super::source::{Source, Span};
use super::yaml::Tree;
use super::{Hypothesis, Limits, Probe, Step, StopCondition, Timing};

/// A part of the document with the node that it was read from.
struct Part<'t, T> {
    value: T,
    node: &'t Node,
}

impl<T> Part<'_, T> {
    /// The place of a field, or of the part where the field was left out.
    fn place(&self, field: &str) -> Span {
        self.node.get(field).map_or_else(|| self.node.place(), Node::place)
    }

    /// The key of a field, for what is wrong with its being there.
    fn key(&self, field: &str) -> Span {
        self.node.entry(field).map_or_else(|| self.node.place(), |entry| entry.span)
    }
}

/// The document in parts.
struct Parts<'t> {
    source: &'t Source,
    spec: &'t Node,
    /// Placeholders of what could not be parsed or replaced.
    broken: &'t BTreeSet<NodeId>,
    probes: Vec<Part<'t, Probe>>,
    hypotheses: Vec<Part<'t, Hypothesis>>,
    steps: Vec<Part<'t, Step>>,
    stops: Vec<Part<'t, StopCondition>>,
    /// The phases; the defaults where they are left out, `None` where they can't be read.
    timing: Option<Part<'t, Timing>>,
    /// As `timing`.
    limits: Option<Part<'t, Limits>>,
    /// Whether everything could be read and refers to a probe that is there, so that what is missing really is missing.
    is_whole: bool,
}

/// Runs every check.
pub(super) fn check(source: &Source, tree: &Tree, found: &mut Vec<Diagnostic>) {
    names::labels(&tree.root, found);
    let Some(spec) = tree.root.get("spec") else { return };
    let parts = Parts::read(source, spec, tree);
    names::check(&parts, found);
    probes::check(&parts, found);
    judging::check(&parts, found);
    steps::check(&parts, found);
    timing::check(&parts, found);
}

impl<'t> Parts<'t> {
    fn read(source: &'t Source, spec: &'t Node, tree: &'t Tree) -> Self {
        let mut is_whole = true;
        let parts = Self {
            source,
            spec,
            broken: &tree.broken,
            probes: items(spec, "probes", tree, &mut is_whole),
            hypotheses: items(spec, "steadyState", tree, &mut is_whole),
            steps: items(spec, "method", tree, &mut is_whole),
            stops: items(spec, "stopWhen", tree, &mut is_whole),
            timing: one(spec, "timing", tree),
            limits: one(spec, "limits", tree),
            is_whole: true,
        };
        Self { is_whole: is_whole && parts.refers_to_probes(), ..parts }
    }

    fn refers_to_probes(&self) -> bool {
        let names = self.hypotheses.iter().filter_map(|hypothesis| match &hypothesis.value {
            Hypothesis::Probe { probe, .. } => Some(probe),
            Hypothesis::Object { .. } => None,
        });
        let mut names = names.chain(self.stops.iter().map(|stop| &stop.value.probe));
        names.all(|name| self.probes.iter().any(|probe| probe.value.name == *name))
    }

    /// The nodes of a list, those that could not be read included.
    fn nodes(&self, list: &str) -> &'t [Node] {
        self.spec.get(list).map(Node::items).unwrap_or_default()
    }

    /// `line:column` of a place, for a message that points to a second one.
    fn position(&self, span: Span) -> String {
        let (line, column) = self.source.position(span.start);
        format!("{line}:{column}")
    }
}

fn items<'t, T: DeserializeOwned>(spec: &'t Node, key: &str, tree: &Tree, is_whole: &mut bool) -> Vec<Part<'t, T>> {
    let nodes = spec.get(key).map(Node::items).unwrap_or_default();
    let parts: Vec<_> =
        nodes.iter().filter_map(|node| Reader::part(node, &tree.broken).map(|value| Part { value, node })).collect();
    *is_whole &= parts.len() == nodes.len();
    parts
}

fn one<'t, T: DeserializeOwned + Default>(spec: &'t Node, key: &str, tree: &Tree) -> Option<Part<'t, T>> {
    match spec.entry(key) {
        None => Some(Part { value: T::default(), node: spec }),
        Some(Entry { value: node, .. }) => Reader::part(node, &tree.broken).map(|value| Part { value, node }),
    }
}
