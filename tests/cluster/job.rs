//! The same binary as a Job in the cluster, which is how a person on kind reaches Services by name.

use crate::scale::{place_with_three, replicas, started_with};
use crate::support::{Place, experiment, signal};

/// The image that `make image` makes, loaded on every node.
const IMAGE: &str = "squall:dev";

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_job_in_the_cluster_runs_an_experiment_with_the_printed_roles() {
    let place = Place::new("job");
    place.deploy("web", 3, &["--drain=5s"], "/readyz");
    let step = format!("podKill: {{pods: {{namespace: {}, selector: app=web, count: 1}}}}", place.namespace);
    let timing = "  timing: {before: 4s, during: 4s, after: 4s, heal: 60s}\n";
    let text = experiment(&place, &["{probe: web, tolerance: success >= 97%}"], &step, timing);
    place.write("experiment.yaml", &text);
    let roles = place.squall(&["plan", "experiment.yaml", "--rbac"]).exits(0).stdout;
    let roles = place.write("roles.yaml", &roles);
    place.kubectl(&["-n", &place.state, "create", "serviceaccount", "squall"]);
    place.kubectl(&["apply", "-f", roles.to_str().unwrap()]);
    let file = format!("--from-file=experiment.yaml={}", place.folder.path().join("experiment.yaml").display());
    place.kubectl(&["-n", &place.state, "create", "configmap", "experiment", &file]);
    let before = place.pods("web");

    let job = place.write("job.yaml", &job(&place.state));
    place.kubectl(&["-n", &place.state, "apply", "-f", job.to_str().unwrap()]);
    let said = succeeded(&place, "job/run");
    assert!(said.contains("passed (exit 0)"), "{said}");
    let after = place.pods("web");
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 2);
    place.assert_clean();
    place.kubectl(&["delete", "-f", roles.to_str().unwrap(), "--ignore-not-found"]);
}

/// Waits for a Job; fails unless it succeeded. Answers what it printed.
fn succeeded(place: &Place, job: &str) -> String {
    let status = |path: &str| place.kubectl(&["-n", &place.state, "get", job, "-o", &format!("jsonpath={path}")]);
    place.wait_for("the Job", || !status("{.status.succeeded}{.status.failed}").is_empty());
    let said = place.kubectl(&["-n", &place.state, "logs", job]);
    assert_eq!(status("{.status.succeeded}"), "1", "{said}");
    said
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn the_schedule_takes_back_what_is_overdue_and_leaves_the_rest() {
    let place = place_with_three("overdue");
    let mut child = started_with(&place, &["--no-guard"]);
    signal(&child, "KILL");
    child.wait().unwrap();
    let run = place.run_id();
    // Of the printed roles only what Squall itself needs: for the workload, the schedule has a Role of its own.
    let roles = place.squall(&["plan", "experiment.yaml", "--rbac"]).stdout;
    let workload = format!("namespace: {}\n", place.namespace);
    let own: Vec<&str> = roles.split("---\n").filter(|object| !object.contains(&workload)).collect();
    let roles = place.write("roles.yaml", &own.join("---\n"));
    std::fs::remove_dir_all(place.reports()).unwrap();
    place.kubectl(&["-n", &place.state, "create", "serviceaccount", "squall"]);
    place.kubectl(&["apply", "-f", roles.to_str().unwrap()]);
    // Run by hand below, rather than when the minute is full.
    let schedule = include_str!("../../deploy/recover.yaml")
        .replace("namespace: squall", &format!("namespace: {}", place.state))
        .replace("namespace: shop", &format!("namespace: {}", place.namespace))
        .replace("schedule: \"* * * * *\"", "schedule: \"0 0 1 1 *\"")
        .replace("[recover, --overdue,", &format!("[recover, --overdue, --state-namespace, {},", place.state));
    let schedule = place.write("schedule.yaml", &schedule);
    place.kubectl(&["apply", "-f", schedule.to_str().unwrap()]);
    let now = |job: &str| {
        place.kubectl(&["-n", &place.state, "create", "job", job, "--from=cronjob/squall-recover"]);
        succeeded(&place, &format!("job/{job}"))
    };
    // The run might still be going on, for all that another machine can know.
    assert!(now("early").contains(&format!("{run}: left alone: it may still be going on")));
    assert_eq!(replicas(&place), 1);

    // The same run, much later: its log says that it should be over.
    let map = format!("squall-run-{run}");
    let text = place.kubectl(&["-n", &place.state, "get", "configmap", &map, "-o", "jsonpath={.data.undo\\.jsonl}"]);
    let patch = serde_json::json!({ "data": { "undo.jsonl": past(&text) } }).to_string();
    place.kubectl(&["-n", &place.state, "patch", "configmap", &map, "--type=merge", "-p", &patch]);
    assert!(now("late").contains(&format!("{run}: clean")));
    assert_eq!(replicas(&place), 3);
    place.assert_clean();
    for made in [roles, schedule] {
        place.kubectl(&["delete", "-f", made.to_str().unwrap(), "--ignore-not-found"]);
    }
}

/// A log whose run should have been over long ago, with its chain of hashes made right again.
fn past(text: &str) -> String {
    let mut last = String::new();
    let mut lines = String::new();
    for line in text.lines() {
        let mut entry: serde_json::Value = serde_json::from_str(line).unwrap();
        entry["prev"] = last.into();
        if entry["what"]["type"] == "opened" {
            assert!(entry["what"]["until"].is_string(), "{entry}");
            entry["what"]["until"] = "2020-01-01T00:00:00Z".into();
        }
        let line = entry.to_string();
        last = sha256(&line);
        lines += &line;
        lines.push('\n');
    }
    lines
}

fn sha256(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// As `deploy/job.yaml` has it, with this test's names.
fn job(namespace: &str) -> String {
    let pod = serde_json::json!({
        "restartPolicy": "Never",
        "serviceAccountName": "squall",
        "terminationGracePeriodSeconds": 300,
        "containers": [{
            "name": "squall",
            "image": IMAGE,
            "imagePullPolicy": "Never",
            "args": ["run", "/experiments/experiment.yaml", "--reports", "/reports", "--state-namespace", namespace],
            "env": [
                { "name": "SQUALL_POD_NAMESPACE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.namespace" } } },
                { "name": "SQUALL_POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                { "name": "SQUALL_NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            ],
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false },
            "volumeMounts": [
                { "name": "experiments", "mountPath": "/experiments" },
                { "name": "reports", "mountPath": "/reports" },
            ],
        }],
        "volumes": [
            { "name": "experiments", "configMap": { "name": "experiment" } },
            { "name": "reports", "emptyDir": {} },
        ],
    });
    serde_json::json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": "run" },
        "spec": { "backoffLimit": 0, "template": { "spec": pod } },
    })
    .to_string()
}
