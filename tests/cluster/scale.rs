//! `scale`, the fault that is taken back: by the run, by an abort, by `recover` after kill -9, and not over somebody else's change.

use std::process::Child;

use crate::reader;
use crate::support::{Place, Ran, experiment, signal};

fn scale(place: &Place, replicas: u32, hold: &str) -> String {
    format!(
        "for: {hold}\n      scale: {{workload: deployment/web, namespace: {}, replicas: {replicas}}}",
        place.namespace
    )
}

const REST: &str = "  timing: {before: 4s, after: 4s, heal: 60s}\n  limits: {pods: 2}\n";

pub(crate) fn place_with_three(name: &str) -> Place {
    let place = Place::new(name);
    place.deploy("web", 3, &["--drain=2s"], "/readyz");
    place
}

pub(crate) fn replicas(place: &Place) -> i64 {
    place.get("deployment/web")["spec"]["replicas"].as_i64().unwrap()
}

fn hypothesis() -> [&'static str; 1] {
    ["{probe: web, tolerance: success >= 95%}"]
}

/// Starts a long hold and returns once the workload is scaled down.
fn started(place: &Place) -> Child {
    started_with(place, &[])
}

pub(crate) fn started_with(place: &Place, options: &[&str]) -> Child {
    let hold = experiment(place, &hypothesis(), &scale(place, 1, "60s"), REST);
    let child = place.start_with(options, &hold, "\"type\":\"injected\"");
    assert_eq!(replicas(place), 1);
    child
}

fn ended(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().unwrap())
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn what_was_scaled_down_is_scaled_up_again() {
    let place = place_with_three("scale");
    place.run(&experiment(&place, &hypothesis(), &scale(&place, 1, "3s"), REST)).exits(0);
    assert_eq!(replicas(&place), 3);
    assert_eq!(place.events("undone")[0]["outcome"], "undone");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn ctrl_c_undoes_and_says_six() {
    let place = place_with_three("sigint");
    let child = started(&place);
    signal(&child, "INT");
    ended(child).exits(6).says("SIGINT");
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn abort_from_elsewhere_undoes_and_says_six() {
    let place = place_with_three("abort");
    let child = started(&place);
    place.squall(&["abort", "--wait"]).exits(0);
    ended(child).exits(6).says("squall abort");
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_stop_condition_undoes_and_says_six() {
    let place = Place::new("stop");
    place.deploy("web", 1, &["--drain=0s"], "/readyz");
    let rest = "  timing: {before: 4s, after: 4s}\n  limits: {pods: 1}\n  stopWhen:\n    - {probe: web, tolerance: success < 50%, for: 2s}\n";
    place.run(&experiment(&place, &hypothesis(), &scale(&place, 0, "60s"), rest)).exits(6).says("stop condition");
    assert_eq!(replicas(&place), 1);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_the_local_files_are_enough_to_recover() {
    let place = place_with_three("killlocal");
    let mut child = started_with(&place, &["--no-guard"]);
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(replicas(&place), 1, "nobody undoes a dead run's fault before recover");
    let run = place.run_id();
    every_recorded_second_is_in_the_interval_log(&place);
    let map = format!("squall-run-{run}");
    place.kubectl(&["-n", &place.state, "delete", "configmap", &map]);
    place.squall(&["recover", &run]).exits(0);
    assert_eq!(replicas(&place), 3);
    place.squall(&["recover"]).exits(0).says("nothing is left");
    place.assert_clean();
}

/// What the killed run's events say of a second, its histograms say too, to another implementation's reader.
fn every_recorded_second_is_in_the_interval_log(place: &Place) {
    let mut logged = std::collections::BTreeMap::new();
    for interval in reader::read(&place.record("probes.hlog").unwrap()) {
        assert!(
            interval.min > 0 && interval.min <= interval.max && interval.end == interval.start + 1_000,
            "{interval:?}"
        );
        logged.entry(interval.tag).or_insert_with(Vec::new).push(interval.count);
    }
    let (mut good, mut seconds) = (std::collections::BTreeMap::new(), 0);
    for second in place.events("interval") {
        let stream = if second["stream"] == "keptAlive" { "kept-alive" } else { "fresh" };
        let tag = format!("{}/{stream}/good", second["probe"].as_str().unwrap());
        good.entry(tag).or_insert_with(Vec::new).extend(second["good"].as_u64().filter(|count| *count > 0));
        seconds += 1;
    }
    assert!(seconds >= 4, "{seconds} seconds are recorded");
    for (tag, recorded) in good {
        let logged = &logged[&tag];
        assert!(logged.starts_with(&recorded) && logged.len() <= recorded.len() + 1, "{tag}: {recorded:?}, {logged:?}");
    }
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_another_machine_recovers_from_the_clusters_copy() {
    let place = place_with_three("killremote");
    let mut child = started_with(&place, &["--no-guard"]);
    signal(&child, "KILL");
    child.wait().unwrap();
    let run = place.run_id();
    std::fs::remove_dir_all(place.reports()).unwrap();
    // Nobody measures on top of a fault that a dead run left: not on the same object, and not beside it.
    let recover = format!("squall recover {run}");
    let same = experiment(&place, &hypothesis(), &scale(&place, 2, "3s"), REST);
    place.run(&same).exits(3).says(&recover);
    let kill = format!("podKill: {{pods: {{namespace: {}, selector: app=web, count: 1}}}}", place.namespace);
    place.run(&experiment(&place, &hypothesis(), &kill, REST)).exits(3).says(&recover);
    place.squall(&["recover"]).exits(0);
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_the_guard_takes_it_back_by_itself() {
    let place = place_with_three("guard");
    let mut child = started(&place);
    signal(&child, "KILL");
    child.wait().unwrap();
    place.wait_for("the guard", || replicas(&place) == 3);
    let said = || std::fs::read_to_string(place.record("guard.log").unwrap()).unwrap();
    place.wait_for("the end of the guard", || said().contains("clean"));
    assert!(said().contains("the runner died"), "{}", said());
    place.squall(&["recover"]).exits(0).says("nothing is left");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn notes_on_objects_are_enough_where_no_log_is_left() {
    let place = place_with_three("scan");
    let mut child = started_with(&place, &["--no-guard"]);
    signal(&child, "KILL");
    child.wait().unwrap();
    let run = place.run_id();
    std::fs::remove_dir_all(place.reports()).unwrap();
    place.kubectl(&["-n", &place.state, "delete", "configmap", &format!("squall-run-{run}")]);
    place.squall(&["recover"]).exits(0).says("nothing is left");
    assert_eq!(replicas(&place), 1, "without --scan nothing is known of it");
    place.squall(&["recover", "--scan", "--namespace", &place.state]).exits(0).says("nothing is left");
    // A note names the state namespace of its run, whose lease alone says whether that run lives.
    let elsewhere = ["recover", "--scan", "--namespace", &place.namespace, "--state-namespace", &place.namespace];
    place.squall(&elsewhere).exits(0).says("nothing is left");
    assert_eq!(replicas(&place), 1);
    place.squall(&["recover", "--scan", "--namespace", &place.namespace]).exits(0).says(&format!("{run}: clean"));
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_change_by_somebody_else_is_kept_and_reported() {
    let place = place_with_three("foreign");
    let child = place.start(&experiment(&place, &hypothesis(), &scale(&place, 1, "6s"), REST), "\"type\":\"injected\"");
    place.kubectl(&["-n", &place.namespace, "scale", "deployment/web", "--replicas=2"]);
    ended(child).exits(8).says("somebody else");
    assert_eq!(replicas(&place), 2, "theirs stays");
    assert_eq!(place.events("undone")[0]["outcome"], "conflict");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn ctrl_c_three_times_gives_up_and_says_what_is_left_and_recover_finishes() {
    let place = place_with_three("thrice");
    let child = started(&place);
    // Nobody may change the Deployment any more, so that the undo can't succeed.
    let quota = format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {{name: {ns}}}\n\
         spec:\n  failurePolicy: Fail\n  matchConstraints:\n    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {ns}}}}}\n    \
         resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments]}}]\n  \
         validations: [{{expression: 'false', message: frozen by the test}}]\n---\n\
         apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {{name: {ns}}}\n\
         spec: {{policyName: {ns}, validationActions: [Deny]}}\n",
        ns = place.namespace
    );
    let path = place.write("policy.yaml", &quota);
    place.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    let frozen = || {
        let tried = place.try_kubectl(&["-n", &place.namespace, "annotate", "deployment/web", "try=1", "--overwrite"]);
        String::from_utf8_lossy(&tried.stderr).contains("frozen by the test")
    };
    place.wait_for("the policy", frozen);

    signal(&child, "INT");
    place.wait_for("the abort", || !place.events("aborting").is_empty());
    signal(&child, "INT");
    place.wait_for("the second signal", || {
        place.events("warning").iter().any(|w| w["text"].as_str().unwrap().contains("again"))
    });
    signal(&child, "INT");
    let run = place.run_id();
    ended(child).exits(7).says("deployment/web").says(&format!("squall recover {run}"));
    assert_eq!(replicas(&place), 1);

    place.kubectl(&["delete", "-f", path.to_str().unwrap()]);
    place.wait_for("the end of the policy", || !frozen());
    place.squall(&["recover", &run, "--force"]).exits(0);
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
}
