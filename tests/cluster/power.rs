//! Nodes whose power commands of the user's cut and give back. Only the test bed has such commands; left out, and said so, elsewhere.
//!
//! A power cut takes the pods of other tests too: these run alone (see `.config/nextest.toml`).

use std::process::Command;

use serde_json::Value;

use crate::bed::BED;
use crate::support::{Place, Ran, covered, experiment, signal};

/// The bed's record of its bridge: process id, start time, boot.
const BRIDGE: &str = "/run/squall-testbed/pid/bridge";
/// The step is held for long enough that the cluster misses the node.
const TIMING: &str = "  timing: {before: 4s, after: 4s, heal: 90s}\n  limits: {nodes: 1}\n";

/// A node of the bed that is on when the test is over, however it ends.
struct Machine<'a> {
    place: &'a Place,
    name: String,
    /// Its number on the bed.
    number: String,
}

impl<'a> Machine<'a> {
    /// One that runs no pod of the cluster's DNS.
    fn of(place: &'a Place) -> Option<Self> {
        if !std::path::Path::new(BRIDGE).exists() {
            eprintln!(
                "left out, because only the nodes of the test bed with its cloud can be switched off here: {}",
                place.namespace
            );
            return None;
        }
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
        Some(Self { place, name, number })
    }

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

    /// The command that does it. A test is in the network of the cluster; nodes are made where the bed's bridge is.
    fn switch(&self, verb: &str) -> Vec<String> {
        let bridge = std::fs::read_to_string(BRIDGE).unwrap();
        let bridge = bridge.split(' ').next().unwrap();
        let outside = ["nsenter", "--target", bridge, "--mount", "--net", BED, verb, self.number.as_str()];
        outside.map(str::to_owned).to_vec()
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
    place.write("experiment.yaml", &experiment(&place, &hypotheses(), &machine.cut("80s"), TIMING));
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
    let (declared, made) = (place.declared(), place.made());
    let undeclared: Vec<_> = made.iter().filter(|call| !declared.iter().any(|rule| covered(call, rule))).collect();
    let others = declared.iter().filter(|rule| rule.3 != place.state);
    let unused: Vec<_> = others.filter(|rule| !made.iter().any(|call| covered(call, rule))).collect();
    assert!(undeclared.is_empty() && unused.is_empty(), "undeclared: {undeclared:#?}, unused: {unused:#?}");
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

    let off = machine.cut("5s").replace("power-off", "power-of");
    place.write("experiment.yaml", &experiment(&place, &hypotheses(), &off, TIMING));
    let ran: Ran = place.squall(&["run", "experiment.yaml", "--allow-exec"]);
    assert_eq!(place.events("injected")[0]["outcome"], "failed", "{}", ran.stdout);
    assert_ne!(ran.code, 0);
    assert_eq!(place.events("undone")[0]["outcome"], "undone", "what failed may have done its work: `on` is run");
    assert!(machine.is_ready());
    place.assert_clean();
}
