//! A pod's row: what its containers come to, in one word.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{NONE, Shown, age};
use crate::lab::store::Kind;

/// Containers of a pod, told together.
#[derive(Default)]
struct Count {
    ready: usize,
    restarts: i64,
    /// When the last of the restarted ended.
    last: Option<Timestamp>,
}

impl Count {
    fn restarted(&mut self, status: &Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or(0);
        let ended = status.pointer("/lastState/terminated/finishedAt").and_then(Value::as_str);
        self.last = self.last.max(ended.and_then(|ended| ended.parse().ok()));
    }
}

pub(super) fn cells(shown: &Shown<'_>) -> Value {
    let sidecars = shown.list("/spec/initContainers").iter().filter(|container| is_sidecar(container)).count();
    let all = shown.list("/spec/containers").len() + sidecars;
    let (count, status) = state(shown);
    let restarts = match count.last {
        Some(last) if count.restarts > 0 => {
            format!("{} ({} ago)", count.restarts, age::in_words(shown.now.duration_since(last)))
        }
        _ => count.restarts.to_string(),
    };
    let gates = shown.list("/spec/readinessGates");
    let open = gates.iter().filter(|gate| shown.is(gate["conditionType"].as_str().unwrap_or_default())).count();
    let gates = if gates.is_empty() { NONE.to_owned() } else { format!("{open}/{}", gates.len()) };
    json!([
        shown.name(),
        format!("{}/{all}", count.ready),
        status,
        restarts,
        shown.age(),
        shown.text_or("/status/podIPs/0/ip", NONE),
        shown.text_or("/spec/nodeName", NONE),
        shown.text_or("/status/nominatedNodeName", NONE),
        gates,
    ])
}

/// The condition of the row of a pod that is over.
pub(super) fn over(kind: &Kind, json: &Value) -> Option<Value> {
    let message = match (kind.kind, json.pointer("/status/phase").and_then(Value::as_str)?) {
        ("Pod", "Succeeded") => "The pod has completed successfully.",
        ("Pod", "Failed") => "The pod failed.",
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": json["status"]["phase"], "message": message}))
}

fn state(shown: &Shown<'_>) -> (Count, String) {
    let phase = shown.text("/status/phase");
    let mut word = shown.text_or("/status/reason", phase).to_owned();
    let gated = |condition: &Value| condition["type"] == "PodScheduled" && condition["reason"] == "SchedulingGated";
    if shown.list("/status/conditions").iter().any(gated) {
        "SchedulingGated".clone_into(&mut word);
    }
    let (mut count, sidecars, initializing) = initialising(shown);
    if let Some(doing) = &initializing {
        doing.clone_into(&mut word);
    }
    if initializing.is_none() || shown.is("Initialized") {
        count = Count { ready: count.ready, ..sidecars };
        word = running(shown, &mut count, word);
    }
    if shown.is_leaving() && shown.text("/status/reason") == "NodeLost" {
        "Unknown".clone_into(&mut word);
    } else if shown.is_leaving() && !matches!(phase, "Succeeded" | "Failed") {
        "Terminating".clone_into(&mut word);
    }
    (count, word)
}

/// How far the init containers are: all of them, the sidecars among them, and what the first does that is not done.
fn initialising(shown: &Shown<'_>) -> (Count, Count, Option<String>) {
    let specs = shown.list("/spec/initContainers");
    let (mut all, mut sidecars) = (Count::default(), Count::default());
    for (number, status) in shown.list("/status/initContainerStatuses").iter().enumerate() {
        all.restarted(status);
        let sidecar = specs.iter().any(|spec| spec["name"] == status["name"] && is_sidecar(spec));
        if sidecar {
            sidecars.restarted(status);
        }
        let terminated = &status["state"]["terminated"];
        let waiting = status.pointer("/state/waiting/reason").and_then(Value::as_str).unwrap_or_default();
        let doing = if terminated["exitCode"] == 0 {
            continue;
        } else if sidecar && status["started"] == true {
            all.ready += usize::from(status["ready"] == true);
            continue;
        } else if terminated.is_object() {
            format!("Init:{}", ended(terminated))
        } else if !matches!(waiting, "" | "PodInitializing") {
            format!("Init:{waiting}")
        } else {
            format!("Init:{number}/{}", specs.len())
        };
        return (all, sidecars, Some(doing));
    }
    (all, sidecars, None)
}

/// What the containers do, the first counting most.
fn running(shown: &Shown<'_>, count: &mut Count, mut word: String) -> String {
    let mut any = false;
    for status in shown.list("/status/containerStatuses").iter().rev() {
        count.restarted(status);
        let state = &status["state"];
        match state["waiting"]["reason"].as_str() {
            Some(reason) if !reason.is_empty() => reason.clone_into(&mut word),
            _ if state["terminated"].is_object() => word = ended(&state["terminated"]),
            _ if status["ready"] == true && state["running"].is_object() => {
                any = true;
                count.ready += 1;
            }
            _ => {}
        }
    }
    if word == "Completed" && any {
        // One of several has done its work.
        if shown.is("Ready") { "Running" } else { "NotReady" }.clone_into(&mut word);
    }
    word
}

fn ended(terminated: &Value) -> String {
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => match terminated["signal"].as_i64() {
            Some(signal) if signal != 0 => format!("Signal:{signal}"),
            _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        },
    }
}

fn is_sidecar(spec: &Value) -> bool {
    spec["restartPolicy"] == "Always"
}
