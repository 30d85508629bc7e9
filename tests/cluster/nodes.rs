//! Nodes drained: where their pods went, what a budget does to a drain, and that no node stays cordoned.
//!
//! A drain evicts whatever is on the node, the pods of other tests too: these run alone (see `.config/nextest.toml`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::safety::Runner;
use crate::support::{Place, Ran, covered, experiment, signal};

const TIMING: &str = "  timing: {before: 4s, after: 4s, heal: 90s}\n  limits: {nodes: 1}\n";

fn hypothesis() -> [&'static str; 1] {
    ["{probe: web, tolerance: success >= 90%}"]
}

/// A node that goes back to work when the test is over, however it ends.
struct Worker<'a> {
    place: &'a Place,
    name: String,
}

impl<'a> Worker<'a> {
    /// One that runs a pod of `web`, and not all of the cluster's DNS.
    fn of(place: &'a Place) -> Self {
        let everywhere = on(&place.kubectl(&["get", "pods", "-A", "-l", "k8s-app=kube-dns", "-o", "json"]));
        let all: usize = everywhere.values().sum();
        let name = web_on(place).into_keys().find(|node| everywhere.get(node).is_none_or(|here| *here < all));
        Self { place, name: name.expect("a node with a pod of `web`, and with DNS elsewhere") }
    }

    fn get(&self) -> Value {
        serde_json::from_str(&self.place.kubectl(&["get", "node", &self.name, "-o", "json"])).unwrap()
    }

    fn is_cordoned(&self) -> bool {
        self.get()["spec"]["unschedulable"] == true
    }

    fn has_note(&self) -> bool {
        self.get()["metadata"]["annotations"]["squall.dev/undo"].is_string()
    }

    /// A step that drains it.
    fn drain(&self, hold: &str, more: &str) -> String {
        format!("{hold}\n      nodeDrain: {{nodes: {{names: [{}]}}, {more}}}", self.name)
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        self.place.try_kubectl(&["uncordon", &self.name]);
        self.place.try_kubectl(&["annotate", "node", &self.name, "squall.dev/undo-"]);
    }
}

/// How many pods of a list are on each node.
fn on(list: &str) -> BTreeMap<String, usize> {
    let list: Value = serde_json::from_str(list).unwrap();
    let mut nodes = BTreeMap::new();
    for pod in list["items"].as_array().unwrap() {
        if let Some(node) = pod["spec"]["nodeName"].as_str() {
            *nodes.entry(node.to_owned()).or_default() += 1;
        }
    }
    nodes
}

fn web_on(place: &Place) -> BTreeMap<String, usize> {
    on(&place.kubectl(&["-n", &place.namespace, "get", "pods", "-l", "app=web", "-o", "json"]))
}

fn deployed(name: &str) -> Place {
    let place = Place::new(name);
    place.deploy("web", 3, &["--drain=3s"], "/readyz");
    place
}

fn with_budget(name: &str, budget: &str) -> Place {
    let place = deployed(name);
    place.apply(&format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: strict}}\n\
         spec: {{{budget}, selector: {{matchLabels: {{app: web}}}}}}\n"
    ));
    place.wait_for("the budget", || place.get("pdb/strict")["status"]["currentHealthy"] == 3);
    place
}

/// When the first event of this type was recorded, in microseconds of the run's clock.
fn when(place: &Place, kind: &str) -> i64 {
    let text = std::fs::read_to_string(place.record("events.jsonl").unwrap()).unwrap();
    let mut events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.find(|event| event["what"]["type"] == kind).unwrap()["at"].as_i64().unwrap()
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_drain_with_room_moves_the_pods_and_the_printed_role_is_enough_and_used() {
    let place = with_budget("drain", "minAvailable: 2");
    let node = Worker::of(&place);
    let step = node.drain("for: 2s", "timeout: 2m, force: true, deleteEmptyDirData: true");
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &step, TIMING));
    let roles = place.squall(&["plan", "experiment.yaml", "--rbac"]).exits(0).stdout;
    let runner = Runner::new(&place, &roles);
    runner.run(&place).exits(0);
    runner.remove(&place);

    assert!(!node.is_cordoned() && !node.has_note());
    let pods = web_on(&place);
    assert_eq!((pods.values().sum::<usize>(), pods.get(&node.name)), (3, None), "{pods:?}");
    assert_eq!(place.events("effect")[0]["seen"], true);
    assert_eq!(place.events("undone")[0]["outcome"], "undone");
    assert_eq!(place.events("healed")[0]["healed"], true);
    let (declared, made) = (place.declared(), place.made());
    let undeclared: Vec<_> = made.iter().filter(|call| !declared.iter().any(|rule| covered(call, rule))).collect();
    // What is asked of the state namespace depends on whether a run was there before; `safety` asks for it.
    let others = declared.iter().filter(|rule| rule.3 != place.state);
    let unused: Vec<_> = others.filter(|rule| !made.iter().any(|call| covered(call, rule))).collect();
    assert!(undeclared.is_empty() && unused.is_empty(), "undeclared: {undeclared:#?}, unused: {unused:#?}");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_budget_without_room_blocks_the_drain_and_the_node_is_uncordoned_at_its_deadline() {
    let place = with_budget("blocked", "maxUnavailable: 0");
    let node = Worker::of(&place);
    let before = place.pods("web");
    let step = node.drain("for: 15s", "timeout: 8s, podSelector: app=web");
    let run = |step: &str| place.run(&experiment(&place, &hypothesis(), step, TIMING));
    run(&step)
        .exits(5)
        .says("blocked until its `timeout` of 8s")
        .says("poddisruptionbudget/strict: 0 disruptions allowed");
    assert!(!node.is_cordoned() && !node.has_note());
    assert_eq!(place.pods("web"), before, "nothing was evicted");
    assert_eq!(place.events("undone")[0]["detail"], "uncordoned");
    let held = when(&place, "undone") - when(&place, "injected");
    assert!(held < 10_000_000, "uncordoned {held} µs later: there is nothing to hold");
    place.assert_clean();

    run(&format!("expect: refused\n      {step}")).exits(0);
    assert!(!node.is_cordoned());
    assert_eq!(place.pods("web"), before, "nothing was evicted");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn ctrl_c_ends_a_drain_that_is_blocked() {
    let place = with_budget("interrupted", "maxUnavailable: 0");
    let node = Worker::of(&place);
    let step = node.drain("for: 60s", "timeout: 5m, podSelector: app=web");
    let child = place.start(&experiment(&place, &hypothesis(), &step, TIMING), "\"type\":\"prepared\"");
    place.wait_for("the cordon", || node.is_cordoned());
    let asked = std::time::SystemTime::now();
    signal(&child, "INT");
    Ran::of(&child.wait_with_output().unwrap()).exits(6).says("SIGINT");
    assert!(asked.elapsed().unwrap().as_secs() < 30, "the drain did not wait for its own time");
    assert!(!node.is_cordoned() && !node.has_note());
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_node_that_was_cordoned_before_stays_so() {
    let place = deployed("cordoned");
    let node = Worker::of(&place);
    place.kubectl(&["cordon", &node.name]);
    let step = node.drain("for: 2s", "timeout: 1m, podSelector: app=web");
    place.run(&experiment(&place, &hypothesis(), &step, TIMING)).exits(0);
    assert!(node.is_cordoned() && !node.has_note());
    assert_eq!(place.events("undone")[0]["detail"], "it stays cordoned, as it was");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_recover_uncordons_from_the_log_and_from_the_note_alone() {
    let place = deployed("killdrain");
    let node = Worker::of(&place);
    let killed = || {
        let step = node.drain("for: 5m", "timeout: 1m, podSelector: app=web");
        let text = experiment(&place, &hypothesis(), &step, TIMING);
        let mut child = place.start_with(&["--no-guard"], &text, "\"type\":\"injected\"");
        signal(&child, "KILL");
        child.wait().unwrap();
        assert!(node.is_cordoned() && node.has_note());
        place.run_id()
    };
    let run = killed();
    place.squall(&["recover", &run]).exits(0).says("uncordoned");
    assert!(!node.is_cordoned() && !node.has_note());
    place.assert_clean();

    place.kubectl(&["-n", &place.namespace, "rollout", "status", "deployment/web", "--timeout=90s"]);
    std::fs::remove_dir_all(place.reports()).unwrap();
    let run = killed();
    std::fs::remove_dir_all(place.reports()).unwrap();
    place.kubectl(&["-n", &place.state, "delete", "configmap", &format!("squall-run-{run}")]);
    place.squall(&["recover"]).exits(0).says("nothing is left");
    assert!(node.is_cordoned(), "without --scan nothing is known of it");
    place.squall(&["recover", "--scan"]).exits(0).says(&format!("{run}: clean"));
    assert!(!node.is_cordoned() && !node.has_note());
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn what_no_drain_may_take_is_refused() {
    let place = deployed("nodrain");
    let node = Worker::of(&place);
    let run = |step: &str, rest: &str| place.run(&experiment(&place, &hypothesis(), step, rest)).exits(3);
    let drain = node.drain("at: 0s", "podSelector: app=web");
    run(&drain, "  timing: {before: 4s, after: 4s}\n").says("limits.nodes");
    run("nodeDrain: {nodes: {all: true}}", "  limits: {nodes: 9}\n").says("allowLast");
    run("nodeDrain: {nodes: {zone: mars-1}}", TIMING).says("zones seen: ");
    place.kubectl(&["-n", &place.namespace, "annotate", "deployment/web", "squall.dev/protected=true"]);
    run(&drain, TIMING).says("deployment/web").says("is protected by its owner");
    place.kubectl(&["annotate", "namespace", &place.namespace, "squall.dev/protected=true"]);
    run(&drain, TIMING).says(&format!("of namespace `{}`, which is protected", place.namespace));
    assert!(!node.is_cordoned());
}
