//! What the tests of this folder begin with.

use super::{Plan, PlannedLimits, PlannedStep, PlannedTiming, VERSION};
use crate::record::{ClusterId, Target};
use crate::scalar::{Bound, Comparison, Measure, Tolerance};
use crate::spec::Experiment;

/// An experiment with one paired probe at 100/s, and these steps.
pub(super) fn experiment(steps: &str) -> Experiment {
    serde_json::from_str(&format!(
        r#"{{"apiVersion": "squall.dev/v1alpha1", "kind": "Experiment", "metadata": {{"name": "test"}}, "spec": {{
            "probes": [{{"name": "web", "rate": "100/s", "timeout": "500ms", "http": {{"url": "http://web.shop.svc/"}}}}],
            "steadyState": [], "method": {steps}}}}}"#
    ))
    .unwrap()
}

/// A pod as a target.
pub(super) fn pod(namespace: &str, name: &str) -> Target {
    Target {
        kind: "pod".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        node: None,
        zone: None,
        owner: None,
        instance: None,
    }
}

/// A step that kills these targets.
pub(super) fn step(name: &str, at_ms: u64, targets: Vec<Target>) -> PlannedStep {
    PlannedStep {
        name: name.to_owned(),
        at_ms,
        hold_ms: None,
        fault: "podKill".to_owned(),
        of: targets.len(),
        pods: targets.len(),
        targets,
        calls: Vec::new(),
        undo: Vec::new(),
        leaving: Vec::new(),
        undoable: false,
        commands: Vec::new(),
        undo_commands: Vec::new(),
        displaced: Vec::new(),
    }
}

/// A plan of these steps.
pub(super) fn plan(steps: Vec<PlannedStep>) -> Plan {
    Plan {
        version: VERSION,
        squall: "0.0.0".to_owned(),
        experiment: "test".to_owned(),
        source: "test.yaml".to_owned(),
        source_sha256: None,
        document: serde_json::json!({"kind": "Experiment"}),
        seed: 1,
        cluster: ClusterId {
            aws: None,
            context: "test".to_owned(),
            server: "https://test".to_owned(),
            uid: "cluster".to_owned(),
            version: String::new(),
        },
        state_namespace: "squall".to_owned(),
        limits: PlannedLimits::default(),
        timing: PlannedTiming::default(),
        steps,
        endpoints: Vec::new(),
        budgets: Vec::new(),
        samples: Vec::new(),
        permissions: Vec::new(),
        cloud: Vec::new(),
        warnings: Vec::new(),
        refusals: Vec::new(),
    }
}

/// A tolerance.
pub(super) fn tolerance(measure: Measure, comparison: Comparison, bound: Bound, text: &str) -> Tolerance {
    Tolerance { measure, comparison, bound, over: None, text: text.to_owned() }
}
