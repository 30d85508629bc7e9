//! Rows of what makes pods, and of what counts them.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{NONE, Shown, UNSET, age};

pub(super) fn deployment(shown: &Shown<'_>) -> Value {
    let ready = format!("{}/{}", shown.number("/status/readyReplicas"), shown.number("/spec/replicas"));
    let [names, images] = shown.containers("/spec/template/spec");
    json!([
        shown.name(),
        ready,
        shown.number("/status/updatedReplicas"),
        shown.number("/status/availableReplicas"),
        shown.age(),
        names,
        images,
        shown.selector("/spec/selector"),
    ])
}

pub(super) fn replica_set(shown: &Shown<'_>) -> Value {
    let [names, images] = shown.containers("/spec/template/spec");
    json!([
        shown.name(),
        shown.number("/spec/replicas"),
        shown.number("/status/replicas"),
        shown.number("/status/readyReplicas"),
        shown.age(),
        names,
        images,
        shown.selector("/spec/selector"),
    ])
}

pub(super) fn stateful_set(shown: &Shown<'_>) -> Value {
    let ready = format!("{}/{}", shown.number("/status/readyReplicas"), shown.number("/spec/replicas"));
    let [names, images] = shown.containers("/spec/template/spec");
    json!([shown.name(), ready, shown.age(), names, images])
}

pub(super) fn daemon_set(shown: &Shown<'_>) -> Value {
    let [names, images] = shown.containers("/spec/template/spec");
    json!([
        shown.name(),
        shown.number("/status/desiredNumberScheduled"),
        shown.number("/status/currentNumberScheduled"),
        shown.number("/status/numberReady"),
        shown.number("/status/updatedNumberScheduled"),
        shown.number("/status/numberAvailable"),
        shown.labels("/spec/template/spec/nodeSelector"),
        shown.age(),
        names,
        images,
        shown.selector("/spec/selector"),
    ])
}

pub(super) fn revision(shown: &Shown<'_>) -> Value {
    let controls = |owner: &&Value| owner["controller"] == true;
    let owner = shown.list("/metadata/ownerReferences").iter().find(controls);
    let controller = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let text = |field: &str| owner[field].as_str().unwrap_or_default();
            let group = text("apiVersion").split_once('/').map_or_else(String::new, |(group, _)| format!(".{group}"));
            format!("{}{group}/{}", text("kind").to_lowercase(), text("name"))
        },
    );
    json!([shown.name(), controller, shown.number("/revision"), shown.age()])
}

pub(super) fn job(shown: &Shown<'_>) -> Value {
    let done = shown.number("/status/succeeded");
    let completions = match (shown.at("/spec/completions").as_i64(), shown.number("/spec/parallelism")) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, at_once) if at_once > 1 => format!("{done}/1 of {at_once}"),
        (None, _) => format!("{done}/1"),
    };
    let time = |pointer: &str| shown.text(pointer).parse::<Timestamp>().ok();
    let duration = time("/status/startTime").map(|start| {
        let end = time("/status/completionTime").unwrap_or(shown.now);
        age::in_words(end.duration_since(start))
    });
    let ended = ["Complete", "Failed"].into_iter().find(|condition| shown.is(condition));
    let status = ended
        .or_else(|| shown.is_leaving().then_some("Terminating"))
        .or_else(|| ["Suspended", "FailureTarget", "SuccessCriteriaMet"].into_iter().find(|is| shown.is(is)))
        .unwrap_or("Running");
    let [names, images] = shown.containers("/spec/template/spec");
    json!([
        shown.name(),
        status,
        completions,
        duration.unwrap_or_default(),
        shown.age(),
        names,
        images,
        shown.selector("/spec/selector"),
    ])
}

pub(super) fn cron_job(shown: &Shown<'_>) -> Value {
    let suspended = match shown.at("/spec/suspend").as_bool() {
        None => UNSET,
        Some(true) => "True",
        Some(false) => "False",
    };
    let last = match shown.text("/status/lastScheduleTime") {
        "" => NONE.to_owned(),
        time => age::since(time, shown.now),
    };
    let [names, images] = shown.containers("/spec/jobTemplate/spec/template/spec");
    json!([
        shown.name(),
        shown.text("/spec/schedule"),
        shown.text_or("/spec/timeZone", NONE),
        suspended,
        shown.size("/status/active"),
        last,
        shown.age(),
        names,
        images,
        shown.selector("/spec/jobTemplate/spec/selector"),
    ])
}

pub(super) fn budget(shown: &Shown<'_>) -> Value {
    let bound = |pointer: &str| match shown.at(pointer) {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    json!([
        shown.name(),
        bound("/spec/minAvailable"),
        bound("/spec/maxUnavailable"),
        shown.number("/status/disruptionsAllowed"),
        shown.age(),
    ])
}

pub(super) fn autoscaler(shown: &Shown<'_>) -> Value {
    let reference = format!("{}/{}", shown.text("/spec/scaleTargetRef/kind"), shown.text("/spec/scaleTargetRef/name"));
    let least = shown.at("/spec/minReplicas").as_i64().map_or_else(|| UNSET.to_owned(), |least| least.to_string());
    json!([
        shown.name(),
        reference,
        targets(shown),
        least,
        shown.number("/spec/maxReplicas"),
        shown.number("/status/currentReplicas"),
        shown.age(),
    ])
}

/// What an autoscaler measures, and what it should be.
fn targets(shown: &Shown<'_>) -> String {
    let (specs, statuses) = (shown.list("/spec/metrics"), shown.list("/status/currentMetrics"));
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let metric = |(number, spec): (usize, &Value)| {
        let (part, named) = match spec["type"].as_str().unwrap_or_default() {
            "Resource" => ("resource", true),
            "ContainerResource" => ("containerResource", true),
            "Pods" => ("pods", false),
            "Object" => ("object", false),
            "External" => ("external", false),
            _ => return "<unknown type>".to_owned(),
        };
        let target = &spec[part]["target"];
        let current = statuses.get(number).map_or(&Value::Null, |status| &status[part]["current"]);
        let percent = |value: &Value| value.as_i64().map(|value| format!("{value}%"));
        let amount = |value: &Value| value.as_str().map(ToOwned::to_owned);
        let unknown = || "<unknown>".to_owned();
        let averaged = !target["averageValue"].is_null();
        let (now, wanted) = if named && !averaged {
            let wanted = percent(&target["averageUtilization"]).unwrap_or_else(|| "<auto>".to_owned());
            (percent(&current["averageUtilization"]), wanted)
        } else {
            let field = if averaged || part == "pods" { "averageValue" } else { "value" };
            (amount(&current[field]), amount(&target[field]).unwrap_or_default())
        };
        let text = format!("{}/{wanted}", now.unwrap_or_else(unknown));
        match part {
            _ if named => format!("{}: {text}", spec[part]["name"].as_str().unwrap_or_default()),
            "object" | "external" if averaged => format!("{text} (avg)"),
            _ => text,
        }
    };
    let all: Vec<String> = specs.iter().enumerate().map(metric).collect();
    let shown = all.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > 2 { format!("{shown} + {} more...", all.len() - 2) } else { shown }
}
