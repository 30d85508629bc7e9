//! Faults on AWS, against the test bed's: moto's wire format, Auto Scaling groups that behave, and instances that are its nodes.
//!
//! There is one AWS for all, and it takes nodes away, so that these tests run alone.

use std::collections::BTreeSet;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::bed::BED;
use crate::support::{Place, Ran, signal, workload};

/// One call to AWS, as any client would make it.
const AWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/cloud/aws.py");

/// The AWS of the test bed, as it was laid out; put back afterwards.
pub(crate) struct Cloud {
    bed: &'static str,
    python: String,
}

impl Cloud {
    pub(crate) fn new() -> Self {
        let venv = std::fs::read_to_string("/run/squall-testbed/venv").expect("a test bed with a cloud");
        let cloud = Self { bed: BED, python: format!("{}/bin/python", venv.trim()) };
        cloud.control(&["reset"]);
        cloud
    }

    /// What `testbed.sh cloud` prints.
    pub(crate) fn control(&self, arguments: &[&str]) -> String {
        let output = Command::new("bash").arg(self.bed).arg("cloud").args(arguments).output().unwrap();
        assert!(output.status.success(), "cloud {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn faults(&self, faults: &Value) {
        self.control(&["faults", &faults.to_string()]);
    }

    /// What a call is answered with, or of it what the `JMESPath` expression picks.
    pub(crate) fn call(&self, service: &str, operation: &str, arguments: &Value, path: &str) -> Value {
        let output = Command::new(&self.python)
            .args([AWS, service, operation, &arguments.to_string(), &format!("[{path}]")])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{operation}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        serde_json::from_str(text.trim()).unwrap_or_else(|_| Value::from(text.trim()))
    }

    fn group(&self, name: &str) -> Value {
        self.call(
            "autoscaling",
            "describe_auto_scaling_groups",
            &json!({"AutoScalingGroupNames": [name]}),
            "AutoScalingGroups[0]",
        )
    }

    pub(crate) fn suspend(&self, group: &str, process: &str) {
        let arguments = json!({"AutoScalingGroupName": group, "ScalingProcesses": [process]});
        self.call("autoscaling", "suspend_processes", &arguments, "`0`");
    }

    pub(crate) fn suspended(&self, group: &str) -> BTreeSet<String> {
        let group = self.group(group);
        let processes = group["SuspendedProcesses"].as_array().unwrap().iter();
        processes.map(|process| process["ProcessName"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn subnets(&self, group: &str) -> BTreeSet<String> {
        let list = self.group(group)["VPCZoneIdentifier"].as_str().unwrap().to_owned();
        list.split(',').map(ToOwned::to_owned).collect()
    }

    /// No group carries a note of ours.
    pub(crate) fn assert_unmarked(&self) {
        let groups = self
            .call("autoscaling", "describe_auto_scaling_groups", &json!({}), "AutoScalingGroups[].Tags[].Key")
            .to_string();
        assert!(!groups.contains("squall.dev/"), "an undo note is left: {groups}");
    }

    /// Every call since the last reset.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.control(&["calls"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- cloud\n{}", self.control(&["state"]));
        }
        self.control(&["reset"]);
    }
}

pub(crate) fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// An experiment with one step on AWS, which judges `web`.
pub(crate) fn experiment(place: &Place, step: &str, rest: &str) -> String {
    format!(
        r#"apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: e2e}}
spec:
  aws: {{account: "123456789012", region: us-east-1, cluster: squall-testbed}}
  probes:
    - {{name: web, rate: 20/s, timeout: 1s, http: {{url: "{url}"}}}}
  steadyState:
    - {{probe: web, tolerance: outage <= 60s}}
  method:
    - name: act
      {step}
  timing: {{before: 4s, after: 4s, heal: 120s}}
{rest}"#,
        url = place.url("web"),
    )
}

/// Holds zone a of a group of that zone and of one across three.
const HOLD: &str =
    "for: 12s\n      asgSuspend: {groups: {names: [workers-a, workers-multi]}, processes: [Launch], zone: us-east-1a}";
const TWO_GROUPS: &str = "  limits: {groups: 2}\n";

pub(crate) fn killed(mut child: Child) {
    signal(&child, "KILL");
    child.wait().unwrap();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_held_zone_is_given_back_as_a_set_and_what_others_did_stays() {
    let (cloud, place) = (Cloud::new(), Place::new("hold"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    cloud.suspend("workers-a", "Launch");
    cloud.suspend("workers-multi", "HealthCheck");
    let before = cloud.subnets("workers-multi");

    // Long enough for somebody to do something meanwhile, on a busy machine too.
    let longer = HOLD.replace("12s", "30s");
    let child = place.start(&experiment(&place, &longer, TWO_GROUPS), "\"type\":\"effect\"");
    place.wait_for("both groups held", || place.events("effect").len() == 2);
    assert_eq!(cloud.suspended("workers-multi"), names(&["AZRebalance", "HealthCheck"]));
    let held = cloud.subnets("workers-multi");
    assert!(held.is_subset(&before) && held.len() == 2, "{held:?} of {before:?}");
    // Somebody gives the group a fourth subnet meanwhile.
    let vpc = cloud.call("ec2", "describe_subnets", &json!({"SubnetIds": held}), "Subnets[0].VpcId");
    let subnet = json!({"VpcId": vpc, "CidrBlock": "10.89.128.0/20", "AvailabilityZone": "us-east-1b"});
    let theirs = cloud.call("ec2", "create_subnet", &subnet, "Subnet.SubnetId").as_str().unwrap().to_owned();
    let list = held.iter().chain([&theirs]).cloned().collect::<Vec<_>>().join(",");
    let update = json!({"AutoScalingGroupName": "workers-multi", "VPCZoneIdentifier": list});
    cloud.call("autoscaling", "update_auto_scaling_group", &update, "`0`");
    Ran::of(&child.wait_with_output().unwrap())
        .exits(8)
        .says(&format!("{theirs} was added by somebody meanwhile, and stays"));

    let mut all = before;
    all.insert(theirs);
    assert_eq!(cloud.subnets("workers-multi"), all);
    assert_eq!(cloud.suspended("workers-multi"), names(&["HealthCheck"]), "it was suspended by somebody else");
    assert_eq!(cloud.suspended("workers-a"), names(&["Launch"]), "it was suspended before us");
    // Alone, it leaves nothing to do: a run of it would be green over somebody else's work.
    let idle = "asgSuspend: {groups: {names: [workers-a]}, processes: [Launch]}";
    place.write("idle.yaml", &experiment(&place, idle, TWO_GROUPS));
    place.squall(&["run", "idle.yaml"]).exits(3).says("suspended already");
    cloud.assert_unmarked();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn another_machine_gives_back_what_a_killed_runner_held_with_its_log_and_without() {
    let (cloud, place) = (Cloud::new(), Place::new("holder"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    cloud.suspend("workers-a", "HealthCheck");
    let before = cloud.subnets("workers-multi");
    let whole = |cloud: &Cloud| {
        assert_eq!(cloud.subnets("workers-multi"), before);
        assert_eq!(cloud.suspended("workers-multi"), names(&[]));
        assert_eq!(cloud.suspended("workers-a"), names(&["HealthCheck"]));
        cloud.assert_unmarked();
    };
    let text = experiment(&place, &HOLD.replace("12s", "60s"), TWO_GROUPS);
    killed(place.start_with(&["--no-guard"], &text, "\"type\":\"effect\""));
    assert_eq!(cloud.suspended("workers-a"), names(&["HealthCheck", "Launch"]));
    // Another machine: no file of that run is on it.
    place.squall(&["recover", "--reports", "elsewhere"]).exits(0).says("clean");
    whole(&cloud);

    // The newest record is the next run's only when there is no other.
    std::fs::remove_dir_all(place.reports()).unwrap();
    let child = place.start_with(&["--no-guard"], &text, "\"type\":\"effect\"");
    place.wait_for("both groups held", || place.events("effect").len() == 2);
    killed(child);
    place.kubectl(&["-n", &place.state, "delete", "configmaps", "-l", "squall.dev/run"]);
    place.squall(&["run", "experiment.yaml", "--reports", "third"]).exits(3).says("that run left something behind");
    let scan = ["recover", "--reports", "fourth", "--scan", "--aws", "123456789012/us-east-1/squall-testbed"];
    place.squall(&scan).exits(0).says("clean");
    whole(&cloud);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn throttled_at_every_call_and_busy_groups_it_still_ends_clean() {
    let (cloud, place) = (Cloud::new(), Place::new("throttle"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let actions = [
        "Describe*",
        "CreateOrUpdateTags",
        "SuspendProcesses",
        "UpdateAutoScalingGroup",
        "ResumeProcesses",
        "DeleteTags",
    ];
    let mut rules: Vec<Value> = actions
        .iter()
        .map(|action| json!({"actions": [format!("autoscaling:{action}")], "error": "throttle", "first": 3}))
        .collect();
    rules.push(json!({"actions": ["autoscaling:ResumeProcesses"], "error": "ScalingActivityInProgress", "skip": 3, "first": 2}));
    cloud.faults(&json!({ "rules": rules }));
    place.run(&experiment(&place, HOLD, TWO_GROUPS)).exits(0);
    let refused = cloud
        .calls()
        .iter()
        .filter(|call| call["error"].as_str().is_some_and(|error| error != "DryRunOperation"))
        .count();
    assert!(refused >= 3 * actions.len(), "only {refused} calls were refused");
    assert_eq!(cloud.suspended("workers-multi"), names(&[]));
    cloud.assert_unmarked();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn credentials_of_another_account_are_refused_before_anything_but_the_caller_is_asked() {
    let (cloud, place) = (Cloud::new(), Place::new("account"));
    cloud.faults(&json!({"accounts": {"stranger": "999988887777"}}));
    place.write("experiment.yaml", &experiment(&place, HOLD, TWO_GROUPS));
    let mut command = place.command(&["run", "experiment.yaml"]);
    Ran::of(&command.env("AWS_ACCESS_KEY_ID", "stranger").output().unwrap()).exits(3).says("999988887777");
    let asked: BTreeSet<String> = cloud
        .calls()
        .iter()
        .filter(|call| call["key"] == "stranger")
        .map(|call| call["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(asked, names(&["GetCallerIdentity"]));
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn the_printed_policy_is_all_that_a_run_needs_and_nothing_of_it_can_be_left_out() {
    let (cloud, place) = (Cloud::new(), Place::new("iam"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let text = experiment(&place, HOLD, TWO_GROUPS);
    place.write("experiment.yaml", &text);
    let policy: Value =
        serde_json::from_str(&place.squall(&["plan", "experiment.yaml", "--iam"]).exits(0).stdout).unwrap();
    // Only actions can be proved here: what they are allowed on is written, and not looked at by the test bed.
    let actions: Vec<&Value> =
        policy["Statement"].as_array().unwrap().iter().flat_map(|s| s["Action"].as_array().unwrap()).collect();
    let allow = |actions: &[&Value]| json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]});
    let run_as = |key: &str| {
        let mut command = place.command(&["run", "experiment.yaml"]);
        Ran::of(&command.env("AWS_ACCESS_KEY_ID", key).output().unwrap())
    };
    let fewer: Vec<&Value> =
        actions.iter().copied().filter(|action| *action != "autoscaling:SuspendProcesses").collect();
    assert!(fewer.len() < actions.len());
    cloud.faults(&json!({"policies": {"least": allow(&actions), "less": allow(&fewer)}}));
    run_as("least").exits(0);
    let called: BTreeSet<String> = cloud
        .calls()
        .iter()
        .filter(|call| call["key"] == "least")
        .map(|call| format!("{}:{}", call["service"].as_str().unwrap(), call["action"].as_str().unwrap()))
        .collect();
    // Asked only where a group is not whole at once.
    let unused = ["autoscaling:DescribeScalingActivities"];
    for action in actions.iter().filter_map(|action| action.as_str()).filter(|action| !unused.contains(action)) {
        assert!(called.contains(action), "{action} is in the policy and was never called: {called:?}");
    }
    run_as("less").says("AccessDenied");
    // Who may have the policies simulated knows it before anything is touched.
    let simulate = json!("iam:SimulatePrincipalPolicy");
    let with = |actions: &[&Value]| allow(&[actions, &[&simulate]].concat());
    cloud.faults(&json!({"policies": {"least": with(&actions), "less": with(&fewer)}}));
    let told = run_as("less").exits(3).says("no policy allows `autoscaling:SuspendProcesses`");
    assert!(!told.stdout.contains("injected"), "{}", told.stdout);
    let told = run_as("least").exits(0);
    assert!(!told.stdout.contains("unverified"), "{}", told.stdout);
    cloud.assert_unmarked();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_terminated_node_is_replaced_while_its_service_is_probed() {
    let (cloud, place) = (Cloud::new(), Place::new("terminate"));
    let spread = "      topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}]\n      containers:";
    place.apply(&workload("web", 3, &["--drain=2s"], "/readyz").replacen("      containers:", spread, 1));
    place.await_ready("web", 3);
    let pods = place.kubectl(&[
        "-n",
        &place.namespace,
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].spec.nodeName}",
    ]);
    let old = pods.trim();

    let step = format!("nodeTerminate: {{nodes: {{names: [{old}]}}}}");
    let ran = place.run(&experiment(&place, &step, "  limits: {nodes: 1}\n")).exits(0);
    ran.says("its node is not Ready");
    let healed = place.events("healed");
    assert_eq!(healed.len(), 1);
    assert!(healed[0]["detail"].as_str().unwrap().contains("in service, on Ready nodes"), "{healed:?}");
    cloud.control(&["wait", "90"]);
    let nodes = place.kubectl(&["get", "nodes", "-o", "name"]);
    assert!(!nodes.contains(old) && nodes.lines().count() == 6, "{nodes}");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_protected_instance_is_passed_over_and_never_unprotected() {
    let (cloud, place) = (Cloud::new(), Place::new("protected"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let of_zone = json!({"Filters": [{"Name": "availability-zone", "Values": ["us-east-1b"]}, {"Name": "instance-state-name", "Values": ["running"]}]});
    let ids = cloud.call("ec2", "describe_instances", &of_zone, "Reservations[].Instances[].InstanceId");
    let ids: Vec<&str> = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    let set = |id: &str, protected: bool| {
        let arguments = json!({"InstanceId": id, "DisableApiTermination": {"Value": protected}});
        cloud.call("ec2", "modify_instance_attribute", &arguments, "`0`");
    };
    let (protect, unprotect) = (|id: &str| set(id, true), |id: &str| set(id, false));
    protect(ids[0]);
    let one = experiment(&place, "nodeTerminate: {nodes: {zone: us-east-1b}}", "  limits: {nodes: 1}\n");
    place.write("experiment.yaml", &one);
    for seed in ["1", "2", "3"] {
        let plan = place.squall(&["plan", "experiment.yaml", "--seed", seed]).exits(0);
        assert!(plan.stdout.contains(&format!("SkipOsShutdown {}", ids[1])), "{}", plan.stdout);
    }
    protect(ids[1]);
    place.squall(&["run", "experiment.yaml"]).exits(3).says("every node that matches is protected");
    // A zone that stays up in part is not lost, unless that is meant.
    unprotect(ids[1]);
    let zone = experiment(&place, "for: 5s\n      zoneOutage: {zone: us-east-1b}", "  limits: {nodes: 2, groups: 2}\n");
    place.write("experiment.yaml", &zone);
    let refused = place.squall(&["run", "experiment.yaml"]).exits(3);
    refused.says(&format!("zone `us-east-1b` would stay up in part: instance {} of", ids[0]));
    place.write("experiment.yaml", &zone.replace("us-east-1b}", "us-east-1b, allowProtected: true}"));
    let plan = place.squall(&["plan", "experiment.yaml"]).exits(0);
    assert!(plan.stdout.contains("has termination protection: it stays up"), "{}", plan.stdout);
    assert!(plan.stdout.contains(&format!("SkipOsShutdown {}", ids[1])), "{}", plan.stdout);
    let terminated =
        cloud.calls().iter().filter(|call| call["action"] == "TerminateInstances" && call["dry_run"] != true).count();
    assert_eq!(terminated, 0);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn no_instance_goes_when_one_group_can_not_be_held() {
    let (cloud, place) = (Cloud::new(), Place::new("half"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    cloud.faults(&json!({"rules": [{"actions": ["autoscaling:UpdateAutoScalingGroup"], "error": "AccessDenied", "status": 403}]}));
    let step = "for: 5s\n      zoneOutage: {zone: us-east-1c}";
    let ran = place.run(&experiment(&place, step, "  limits: {nodes: 2, groups: 2}\n"));
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    let terminated =
        cloud.calls().iter().filter(|call| call["action"] == "TerminateInstances" && call["dry_run"] != true).count();
    assert_eq!(terminated, 0);
    cloud.faults(&json!({}));
    assert_eq!(cloud.suspended("workers-multi"), names(&[]));
    cloud.assert_unmarked();
    place.assert_clean();
}
