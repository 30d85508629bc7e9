//! Steps: what their fault allows, and where `limits` lets them act.

use super::{Part, Parts};
use crate::scalar::nearest;
use crate::spec::diagnostic::{Code, Diagnostic};
use crate::spec::node::Node;
use crate::spec::source::Span;
use crate::spec::{CountOrPercent, Step};

pub(super) fn check(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    if let Some(list) = parts.spec.entry("method")
        && matches!(&list.value.body, crate::spec::node::Body::List(items) if items.is_empty())
    {
        found.push(
            Diagnostic::error(Code::MissingField, list.value.span, "a method needs a step, this one injects nothing")
                .hint("add a step with `name`, `at` and a fault; `squall faults` lists them"),
        );
    }
    for step in &parts.steps {
        fields(step, found);
        arguments(step, found);
        namespaces(parts, step, found);
        account(parts, step, found);
    }
    limits(parts, found);
}

/// `for` and `expect` where the fault has a use for them.
fn fields(step: &Part<'_, Step>, found: &mut Vec<Diagnostic>) {
    let about = step.value.fault.about();
    if step.value.hold.is_some() && !about.undoable {
        found.push(
            Diagnostic::error(
                Code::StepField,
                step.key("for"),
                format!("`{}` has no undo, so `for` says nothing", about.key),
            )
            .hint("remove `for`: what it does ends by itself, or not at all"),
        );
    } else if step.value.hold.is_some_and(crate::scalar::Duration::is_zero) {
        found.push(
            Diagnostic::error(Code::StepField, step.place("for"), "`for: 0s` takes the fault back before it bites")
                .hint("write `for: 30s`, or leave `for` out to hold it until the end of *during*"),
        );
    }
    if step.value.expect.is_some() && !about.refusable {
        found.push(
            Diagnostic::error(
                Code::StepField,
                step.key("expect"),
                format!("nothing refuses `{}`, so `expect` says nothing", about.key),
            )
            .hint("remove `expect`; only an eviction is refused, by a disruption budget"),
        );
    }
}

/// A fault that acts on AWS needs to know on which account.
fn account(parts: &Parts<'_>, step: &Part<'_, Step>, found: &mut Vec<Diagnostic>) {
    if parts.spec.get("aws").is_some() || step.value.fault.cloud_permissions().is_empty() {
        return;
    }
    let key = step.value.fault.about().key;
    found.push(
        Diagnostic::error(
            Code::MissingField,
            step.key(key),
            format!("`{key}` acts on AWS, and nothing says on which account"),
        )
        .hint("add `aws: {account: \"123456789012\", region: us-east-1, cluster: NAME}` under `spec`"),
    );
}

/// What the fault itself says of its arguments.
fn arguments(step: &Part<'_, Step>, found: &mut Vec<Diagnostic>) {
    let Some(arguments) = step.node.get(step.value.fault.about().key) else { return };
    for complaint in step.value.fault.check() {
        let span = place(arguments, &complaint.path);
        found.push(Diagnostic::error(Code::FaultArguments, span, complaint.message).hint(complaint.hint));
    }
}

/// The key to which a path leads, or the last one on the way that is there.
fn place(arguments: &Node, path: &[&'static str]) -> Span {
    let (mut node, mut span) = (arguments, arguments.place());
    for entry in path.iter().map_while(|key| {
        let entry = node.entry(key)?;
        node = &entry.value;
        Some(entry)
    }) {
        span = entry.span;
    }
    span
}

fn namespaces(parts: &Parts<'_>, step: &Part<'_, Step>, found: &mut Vec<Diagnostic>) {
    let Some(allowed) = parts.limits.as_ref().and_then(|limits| limits.value.namespaces.as_ref()) else { return };
    let allowed: Vec<&str> = allowed.iter().map(crate::scalar::Name::as_str).collect();
    for namespace in step.value.fault.namespaces() {
        if allowed.contains(&namespace.as_str()) {
            continue;
        }
        let place = find_text(step.node, &namespace).map_or_else(|| step.node.place(), Node::place);
        let hint = match nearest(&namespace, allowed.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{namespace}` to `limits.namespaces` if the step may act there"),
        };
        let message = format!(
            "the step `{}` acts in the namespace `{namespace}`, which is outside `limits.namespaces`",
            step.value.name
        );
        found.push(Diagnostic::error(Code::OutsideLimits, place, message).hint(hint));
    }
}

/// The node under a key `namespace` or `namespaces` that has this text.
fn find_text<'t>(node: &'t Node, text: &str) -> Option<&'t Node> {
    node.entries()
        .iter()
        .filter(|entry| matches!(entry.key.as_str(), "namespace" | "namespaces"))
        .find_map(|entry| {
            std::iter::once(&entry.value).chain(entry.value.children()).find(|value| value.text() == Some(text))
        })
        .or_else(|| node.children().find_map(|child| find_text(child, text)))
}

/// Limits that forbid everything.
fn limits(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    let Some(limits) = &parts.limits else { return };
    if limits.value.namespaces.as_ref().is_some_and(Vec::is_empty) {
        found.push(
            Diagnostic::error(Code::OutsideLimits, limits.place("namespaces"), "an empty list allows no namespace")
                .hint("name the namespaces, or leave it out for those that the steps name"),
        );
    }
    let is_zero = |value: Option<CountOrPercent>| match value {
        Some(CountOrPercent::Count(count)) => count == 0,
        Some(CountOrPercent::Percent(percent)) => percent.is_zero(),
        None => false,
    };
    let all_select = |noun| {
        let selects = |step: &Part<'_, Step>| {
            step.node.get(step.value.fault.about().key).is_some_and(|fault| fault.get(noun).is_some())
        };
        !parts.steps.is_empty() && parts.is_whole && parts.steps.iter().all(selects)
    };
    for (noun, one, limit) in [("pods", "pod", limits.value.pods), ("nodes", "node", limits.value.nodes)] {
        if is_zero(limit) && all_select(noun) {
            found.push(
                Diagnostic::error(
                    Code::OutsideLimits,
                    limits.place(noun),
                    format!("this allows no {one}, and every step takes one away"),
                )
                .hint(format!("write `{noun}: 1`")),
            );
        }
    }
}
