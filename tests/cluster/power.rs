//! Nodes whose power is cut and given back: by commands of the user's, and by a Docker Engine. Only the test bed has such commands and
//! such a node; left out, and said so, elsewhere.
//!
//! A power cut takes the pods of other tests too: these run alone (see `.config/nextest.toml`).

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bed::BED;
use crate::support::{Place, Ran, Rule, covered, experiment, signal};

/// The bed's record of its bridge: process id, start time, boot.
const BRIDGE: &str = "/run/squall-testbed/pid/bridge";
/// A Docker Engine on the bed, with the container of one more node.
const DOCKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/docker.sh");
/// The name of that node and of its container.
const CONTAINER: &str = "kind-worker";
/// The step is held for long enough that the cluster misses the node: the bed's does after 8 s.
const TIMING: &str = "  timing: {before: 4s, after: 4s, heal: 90s}\n  limits: {nodes: 1}\n";

/// Whether this is the test bed with its cloud, which alone has what these tests need.
fn has_power(place: &Place) -> bool {
    let has = std::path::Path::new(BRIDGE).exists();
    if !has {
        eprintln!(
            "left out, because only the nodes of the test bed with its cloud can be switched off here: {}",
            place.namespace
        );
    }
    has
}

/// What runs a script of the bed. A test is in the network of the cluster; nodes are made where the bed's bridge is.
fn outside(script: &str, arguments: &[&str]) -> Vec<String> {
    let bridge = std::fs::read_to_string(BRIDGE).unwrap();
    let bridge = bridge.split(' ').next().unwrap();
    let before = ["nsenter", "--target", bridge, "--mount", "--net", script];
    before.iter().chain(arguments).map(|&word| word.to_owned()).collect()
}

/// Runs it, and returns what it printed.
fn run_outside(script: &str, arguments: &[&str]) -> String {
    let argv = outside(script, arguments);
    let output = Command::new(&argv[0]).args(&argv[1..]).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{argv:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node of the cluster.
struct Node<'a> {
    place: &'a Place,
    name: String,
}

impl Node<'_> {
    fn get(&self) -> Value {
        serde_json::from_str(&self.place.kubectl(&["get", "node", &self.name, "-o", "json"])).unwrap()
    }

    fn uid(&self) -> String {
        self.get()["metadata"]["uid"].as_str().unwrap().to_owned()
    }

    fn is_ready(&self) -> bool {
        let node = self.get();
        let conditions = node["status"]["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    }
}

/// A node of the bed that is on when the test is over, however it ends.
struct Machine<'a> {
    node: Node<'a>,
    /// Its number on the bed.
    number: String,
}

impl<'a> std::ops::Deref for Machine<'a> {
    type Target = Node<'a>;

    fn deref(&self) -> &Node<'a> {
        &self.node
    }
}

impl<'a> Machine<'a> {
    /// One that runs no pod of the cluster's DNS.
    fn of(place: &'a Place) -> Option<Self> {
        if !has_power(place) {
            return None;
        }
        // One of its pods that is still to come would come to a node that has none.
        place.kubectl(&["-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=90s"]);
        let names =
            |arguments: &[&str]| place.kubectl(arguments).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let dns = names(&[
            "-n",
            "kube-system",
            "get",
            "pods",
            "-l",
            "k8s-app=kube-dns",
            "-o",
            "jsonpath={.items[*].spec.nodeName}",
        ]);
        let nodes = names(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"]);
        let name = nodes.into_iter().find(|node| !dns.contains(node)).expect("a node without DNS");
        let number = name.trim_start_matches("node").split('-').next().unwrap().to_owned();
        Some(Self { node: Node { place, name }, number })
    }

    /// The command that does it.
    fn switch(&self, verb: &str) -> Vec<String> {
        outside(BED, &[verb, &self.number])
    }

    /// A step that cuts its power.
    fn cut(&self, hold: &str) -> String {
        let argv = |verb: &str| serde_json::to_string(&self.switch(verb)).unwrap();
        format!(
            "for: {hold}\n      nodeTerminate: {{nodes: {{names: [{}]}}, provider: exec, exec: {{off: {}, on: {}}}}}",
            self.name,
            argv("power-off"),
            argv("power-on")
        )
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        // Harmless where it is on.
        let on = self.switch("power-on");
        let status = Command::new(&on[0]).args(&on[1..]).status();
        if !std::thread::panicking() {
            assert!(status.unwrap().success());
            self.place.wait_for("the node", || self.is_ready());
        }
    }
}

/// A Docker Engine with the container of a node of the bed, which are gone when the test is over, however it ends.
struct Container<'a> {
    node: Node<'a>,
}

impl<'a> Container<'a> {
    fn of(place: &'a Place) -> Self {
        // Made before it is complete, so that what there is of it goes again.
        let container = Self { node: Node { place, name: CONTAINER.to_owned() } };
        run_outside(DOCKER, &["up"]);
        container
    }

    /// What Docker says of a key of its state.
    fn state(key: &str) -> String {
        run_outside(DOCKER, &["docker", "inspect", "--format", &format!("{{{{.State.{key}}}}}"), CONTAINER])
            .trim()
            .to_owned()
    }

    /// A step that cuts its power.
    fn cut(hold: &str, more: &str) -> String {
        format!("for: {hold}\n      nodeTerminate: {{nodes: {{names: [{CONTAINER}]}}, provider: docker{more}}}")
    }
}

impl<'a> std::ops::Deref for Container<'a> {
    type Target = Node<'a>;

    fn deref(&self) -> &Node<'a> {
        &self.node
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let down = outside(DOCKER, &["down"]);
        let status = Command::new(&down[0]).args(&down[1..]).status();
        if !std::thread::panicking() {
            assert!(status.unwrap().success());
        }
    }
}

/// The run made every call that its plan names, and no other.
fn assert_declared(place: &Place) {
    let (declared, made) = (place.declared(), place.made());
    let undeclared: Vec<_> = made.iter().filter(|call| !declared.iter().any(|rule| covered(call, rule))).collect();
    let plan = squall::plan::Plan::read(&place.record("plan.json").unwrap()).unwrap();
    let loses_nothing = plan.steps.iter().all(|step| step.leaving.is_empty());
    let owners = |rule: &Rule| (rule.0.as_str(), rule.1.as_str(), rule.2.as_str()) == ("get", "apps", "replicasets");
    // Of a node that carries nothing nobody asks whose pods go with it.
    let others = declared.iter().filter(|rule| rule.3 != place.state && !(loses_nothing && owners(rule)));
    let unused: Vec<_> = others.filter(|rule| !made.iter().any(|call| covered(call, rule))).collect();
    assert!(undeclared.is_empty() && unused.is_empty(), "undeclared: {undeclared:#?}, unused: {unused:#?}");
}

fn hypotheses() -> [&'static str; 1] {
    ["{probe: web, tolerance: success >= 50%}"]
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn commands_cut_the_power_of_a_node_and_give_it_back_only_where_they_are_allowed() {
    let place = Place::new("power");
    place.deploy("web", 3, &["--drain=3s"], "/readyz");
    let Some(machine) = Machine::of(&place) else { return };
    let uid = machine.uid();
    place.write("experiment.yaml", &experiment(&place, &hypotheses(), &machine.cut("30s"), TIMING));
    let shown = format!("{BED} power-off {}", machine.number);
    for verb in ["plan", "run"] {
        place.squall(&[verb, "experiment.yaml"]).exits(3).says(&shown).says("--allow-exec");
    }
    assert!(machine.is_ready());

    place.squall(&["run", "experiment.yaml", "--allow-exec"]).exits(0);
    assert!(machine.is_ready());
    assert_eq!(machine.uid(), uid, "the same node is back");
    assert_eq!(place.events("effect")[0]["detail"], format!("node/{} is not Ready", machine.name));
    let of = |kind: &str, key: &str| place.events(kind)[0][key].clone();
    assert!(of("injected", "detail").as_str().unwrap().contains(&shown), "{}", of("injected", "detail"));
    assert_eq!(of("undone", "outcome"), "undone");
    assert_eq!(of("healed", "detail"), format!("node/{} is Ready again", machine.name));
    place.kubectl(&["-n", &place.namespace, "rollout", "status", "deployment/web", "--timeout=90s"]);
    assert_declared(&place);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_recover_shows_the_command_and_runs_it_only_when_it_may() {
    let place = Place::new("powerkill");
    place.deploy("web", 3, &["--drain=3s"], "/readyz");
    let Some(machine) = Machine::of(&place) else { return };
    let text = experiment(&place, &hypotheses(), &machine.cut("5m"), TIMING);
    let mut child = place.start_with(&["--no-guard", "--allow-exec"], &text, "\"type\":\"effect\"");
    signal(&child, "KILL");
    child.wait().unwrap();
    let (run, on) = (place.run_id(), format!("{BED} power-on {}", machine.number));
    place.squall(&["recover", &run]).exits(7).says("LEFT").says("by hand: cd ").says(&on);
    assert!(!machine.is_ready());

    // A log that only the cluster has may come from anybody: nothing of it is run.
    let record = place.reports().join(&run);
    let aside = place.folder.path().join("aside");
    std::fs::rename(&record, &aside).unwrap();
    place.squall(&["recover", &run, "--allow-exec"]).exits(7).says("by hand: cd ");
    assert!(!machine.is_ready());
    std::fs::remove_dir_all(&record).unwrap();
    std::fs::rename(&aside, &record).unwrap();

    let ran = place.squall(&["recover", &run, "--allow-exec"]).exits(0).says("running `");
    assert!(ran.stdout.contains("clean"), "{}", ran.stdout);
    place.wait_for("the node", || machine.is_ready());
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_killed_runners_guard_gives_the_power_back_and_a_command_that_fails_is_a_finding() {
    let place = Place::new("powerguard");
    place.deploy("web", 3, &["--drain=3s"], "/readyz");
    let Some(machine) = Machine::of(&place) else { return };
    let text = experiment(&place, &hypotheses(), &machine.cut("5m"), TIMING);
    let mut child = place.start_with(&["--allow-exec"], &text, "\"type\":\"effect\"");
    assert!(!machine.is_ready());
    signal(&child, "KILL");
    child.wait().unwrap();
    place.wait_for("the guard", || machine.is_ready());
    place.wait_for("the end of its work", || place.squall(&["recover"]).stdout.contains("nothing is left"));
    // A node is Ready before its pods are: a run that began now could find most of the service still down.
    let whole = [
        "-n",
        &place.namespace,
        "wait",
        "--for=jsonpath={.status.availableReplicas}=3",
        "deployment/web",
        "--timeout=60s",
    ];
    place.kubectl(&whole);

    let off = machine.cut("5s").replace("power-off", "power-of");
    place.write("experiment.yaml", &experiment(&place, &hypotheses(), &off, TIMING));
    let ran: Ran = place.squall(&["run", "experiment.yaml", "--allow-exec"]);
    let outcome = place.events("injected").first().map(|event| event["outcome"].clone());
    assert_eq!(outcome, Some("failed".into()), "exit {}: {}\n{}", ran.code, ran.stdout, ran.stderr);
    assert_ne!(ran.code, 0);
    assert_eq!(place.events("undone")[0]["outcome"], "undone", "what failed may have done its work: `on` is run");
    assert!(machine.is_ready());
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_container_is_killed_and_started_again_and_recover_starts_what_a_dead_runner_stopped() {
    let mut place = Place::new("docker");
    if !has_power(&place) {
        return;
    }
    place.environment = vec![("DOCKER_HOST", run_outside(DOCKER, &["host"]).trim().to_owned())];
    place.deploy("web", 3, &["--drain=3s"], "/readyz");
    let others = place.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let text = |step: &str| experiment(&place, &hypotheses(), step, TIMING);
    place.write("other.yaml", &text(&Container::cut("30s", "").replace(CONTAINER, &others)));
    place
        .squall(&["plan", "other.yaml"])
        .exits(3)
        .says("does not answer: there is no such socket")
        .says("`DOCKER_HOST`");

    let container = Container::of(&place);
    place.squall(&["plan", "other.yaml"]).exits(3).says("is no container of kind: its `spec.providerID` is `aws:///");
    let (uid, started) = (container.uid(), Container::state("StartedAt"));
    place.run(&text(&Container::cut("30s", ""))).exits(0).says("kill container ");
    assert!(container.is_ready());
    assert_eq!(container.uid(), uid, "the same node is back");
    assert_ne!(Container::state("StartedAt"), started);
    let of = |kind: &str, key: &str| place.events(kind)[0][key].clone();
    assert_eq!(of("effect", "detail"), format!("node/{CONTAINER} is not Ready"));
    assert_eq!(of("undone", "outcome"), "undone");
    assert_eq!(of("healed", "detail"), format!("node/{CONTAINER} is Ready again"));

    std::fs::remove_dir_all(place.reports()).unwrap();
    let text = text(&Container::cut("5m", ", mode: shutdown"));
    let mut child = place.start_with(&["--no-guard"], &text, "\"type\":\"effect\"");
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(Container::state("Running"), "false");
    assert_ne!(Container::state("ExitCode"), "137", "it was asked to shut down, and did");
    let run = place.run_id();
    place.squall(&["recover", &run]).exits(0).says("clean");
    assert_eq!(Container::state("Running"), "true");
    place.wait_for("the node", || container.is_ready());
    place.assert_clean();
}
