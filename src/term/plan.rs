//! A plan as text: what would be touched, by which calls, with how much room, and whether the samples will do.

use std::collections::BTreeMap;

use super::table::{Cell, table};
use super::{BAD, FAINT, GOOD, NOTICE, STRONG, paint};
use crate::plan::{BudgetRoom, Plan, PlannedStep, SampleCheck};
use crate::record::Target;
use crate::report::format::{count, duration, plural, plural_of};

/// The plan as painted text that ends in a newline; print it with [`super::Terminal::result`].
#[must_use]
pub fn plan(plan: &Plan) -> String {
    let mut lines = head(plan);
    for step in &plan.steps {
        lines.push(String::new());
        lines.extend(step_lines(step));
    }
    section(&mut lines, "budgets", &plan.budgets.iter().map(budget).collect::<Vec<_>>());
    section(&mut lines, "samples", &plan.samples.iter().map(sample).collect::<Vec<_>>());
    lines.push(String::new());
    lines.push(permissions(plan));
    if !plan.warnings.is_empty() || !plan.refusals.is_empty() {
        lines.push(String::new());
    }
    for warning in &plan.warnings {
        lines.push(format!("{} {warning}", paint(NOTICE, "warning:")));
    }
    for refused in &plan.refusals {
        let step = refused.step.as_ref().map(|step| format!("step `{step}`: ")).unwrap_or_default();
        lines.push(format!("{} {step}{}", paint(BAD, "refused:"), refused.message));
        if let Some(hint) = &refused.hint {
            lines.push(format!("{} {hint}", paint(NOTICE, "   hint:")));
        }
    }
    lines.push(String::new());
    lines.push(match plan.refusals.len() {
        0 => format!("{} nothing stands in the way; nothing was touched", paint(GOOD, "may run:")),
        n => format!("{} for {}; nothing was touched", paint(BAD, "refused"), plural_of(n, "reason")),
    });
    lines.join("\n") + "\n"
}

fn permissions(plan: &Plan) -> String {
    let title = paint(STRONG, "permissions");
    let mut rules = plural_of(plan.permissions.len(), "rule") + " (`squall plan --rbac` writes them)";
    if !plan.cloud.is_empty() {
        rules = format!("{rules}, {} of AWS (`squall plan --iam`)", plural_of(plan.cloud.len(), "action"));
    }
    format!("{title}  {rules}")
}

fn head(plan: &Plan) -> Vec<String> {
    let cluster = &plan.cluster;
    let mut lines = vec![format!("{} {} from {}", paint(STRONG, "plan"), plan.experiment, plan.source), String::new()];
    let version = if cluster.version.is_empty() { String::new() } else { format!(", {}", cluster.version) };
    let row = |key: &str, value: String| vec![Cell::painted(FAINT, key), Cell::text(value)];
    let mut rows = vec![
        row("cluster", format!("{} at {}{version}", cluster.context, cluster.server)),
        row("", format!("kube-system {}", cluster.uid)),
    ];
    if let Some(aws) = &cluster.aws {
        rows.push(row("aws", format!("account {} in {}, tag {}", aws.account, aws.region, aws.tag())));
        rows.push(row("", format!("as {}", aws.caller)));
        let instead = |endpoint| {
            vec![Cell::text(""), Cell::painted(NOTICE, format!("not AWS itself: {endpoint} stands in its place"))]
        };
        rows.extend(aws.endpoints.iter().map(instead));
    }
    rows.extend([
        row("state", format!("namespace {}", plan.state_namespace)),
        row("limits", limits(plan)),
        row("timing", timing(plan)),
        row("seed", plan.seed.to_string()),
    ]);
    lines.extend(table(&rows));
    lines
}

/// How long the phases last, and how many requests that makes.
fn timing(plan: &Plan) -> String {
    let timing = &plan.timing;
    let during = timing
        .during_ms
        .map_or_else(|| format!("at most {}", duration(micros(timing.during_at_most_ms))), |ms| duration(micros(ms)));
    let (before, after) = (duration(micros(timing.before_ms)), duration(micros(timing.after_ms)));
    format!("before {before}, during {during}, after {after}; at most {}", plural(timing.requests, "request"))
}

/// What the run may touch at most.
fn limits(plan: &Plan) -> String {
    let limits = &plan.limits;
    let counts = [(limits.pods, "pod"), (limits.nodes, "node"), (limits.groups, "group")];
    let counts: Vec<_> = counts.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| plural_of(*n, noun)).collect();
    let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
    if limits.namespaces.is_empty() { counts } else { format!("{counts} in {}", limits.namespaces.join(", ")) }
}

/// What a step's targets are called.
fn noun(step: &PlannedStep) -> String {
    match step.targets.first() {
        Some(first) if step.targets.iter().any(|target| target.kind != first.kind) => "targets".to_owned(),
        Some(first) if step.of == 1 => first.kind.clone(),
        Some(first) => format!("{}s", first.kind),
        None => "targets".to_owned(),
    }
}

fn step_lines(step: &PlannedStep) -> Vec<String> {
    let hold = step.hold_ms.map(|ms| format!(", held for {}", duration(micros(ms)))).unwrap_or_default();
    let name = paint(STRONG, &step.name);
    let mut lines = vec![format!(
        "step {name}  {} at {}{hold}: {} of {} {}",
        step.fault,
        duration(micros(step.at_ms)),
        step.targets.len(),
        step.of,
        noun(step),
    )];
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (i, target) in step.targets.iter().enumerate() {
        rows.push(target_row(if i == 0 { "targets" } else { "" }, target));
    }
    for (i, text) in leaving(step).into_iter().enumerate() {
        rows.push(vec![Cell::painted(FAINT, if i == 0 { "  leaving" } else { "" }), Cell::text(text)]);
    }
    for (key, list) in [("calls", &step.calls), ("undo", &step.undo)] {
        for (i, text) in list.iter().enumerate() {
            rows.push(vec![
                Cell::painted(FAINT, if i == 0 { format!("  {key}") } else { String::new() }),
                Cell::text(text),
            ]);
        }
    }
    lines.extend(table(&rows));
    lines
}

/// How many pods leave each node, by namespace.
fn leaving(step: &PlannedStep) -> Vec<String> {
    let mut nodes: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for pod in &step.leaving {
        let node = pod.node.as_deref().unwrap_or_default();
        *nodes.entry(node).or_default().entry(&pod.namespace).or_default() += 1;
    }
    let line = |(node, namespaces): (&str, BTreeMap<&str, usize>)| {
        let all = plural_of(namespaces.values().sum(), "pod");
        let each: Vec<String> = namespaces.iter().map(|(namespace, n)| format!("{n} of {namespace}")).collect();
        format!("{all} of {node}: {}", each.join(", "))
    };
    nodes.into_iter().map(line).collect()
}

fn target_row(key: &str, target: &Target) -> Vec<Cell> {
    let namespace = if target.namespace.is_empty() { String::new() } else { format!("in {}", target.namespace) };
    let place = match (&target.node, &target.zone) {
        (Some(node), Some(zone)) => format!("on {node} ({zone})"),
        (Some(node), None) => format!("on {node}"),
        (None, Some(zone)) => format!("in {zone}"),
        (None, None) => String::new(),
    };
    let owner = target.owner.as_ref().map(|owner| format!("of {owner}")).unwrap_or_default();
    vec![
        Cell::painted(FAINT, format!("  {key}")),
        Cell::text(target.to_string()),
        Cell::text(namespace),
        Cell::text(owner),
        Cell::text(place),
    ]
}

fn budget(room: &BudgetRoom) -> Vec<Cell> {
    let enough = usize::try_from(room.allowed).is_ok_and(|allowed| allowed >= room.targets);
    vec![
        Cell::text(format!("  {}/{}", room.namespace, room.name)),
        Cell::text(format!("allows {} now", room.allowed)),
        Cell::text(format!("{} healthy, wants {}", room.healthy, room.desired)),
        Cell::text(format!("covers {}", plural_of(room.targets, "target"))),
        match room.allowed {
            _ if enough => Cell::painted(GOOD, "enough room"),
            ..1 => Cell::painted(NOTICE, "blocks now"),
            _ => Cell::painted(NOTICE, "not enough room"),
        },
        Cell::text(&room.problem),
    ]
}

fn sample(check: &SampleCheck) -> Vec<Cell> {
    let enough = check.have >= check.need;
    vec![
        Cell::text(format!("  {}", check.tolerance)),
        Cell::text(format!("probe {}", check.probe)),
        Cell::text(check.phase.label()),
        Cell::number(format!("{} of {} needed", count(check.have), count(check.need))),
        if enough { Cell::painted(GOOD, "enough") } else { Cell::painted(NOTICE, "too few: would be unproven") },
    ]
}

fn section(lines: &mut Vec<String>, title: &str, rows: &[Vec<Cell>]) {
    if !rows.is_empty() {
        lines.push(String::new());
        lines.push(paint(STRONG, title));
        lines.extend(table(rows));
    }
}

fn micros(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000)
}
