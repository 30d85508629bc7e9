//! The same binary as a Job in the cluster, which is how a person on kind reaches Services by name.

use crate::support::{Place, experiment};

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
    let ended = || {
        let status = place.kubectl(&[
            "-n",
            &place.state,
            "get",
            "job/run",
            "-o",
            "jsonpath={.status.succeeded}{.status.failed}",
        ]);
        !status.is_empty()
    };
    place.wait_for("the Job", ended);
    let said = place.kubectl(&["-n", &place.state, "logs", "job/run"]);
    let succeeded = place.kubectl(&["-n", &place.state, "get", "job/run", "-o", "jsonpath={.status.succeeded}"]);
    assert_eq!(succeeded, "1", "{said}");
    assert!(said.contains("passed (exit 0)"), "{said}");
    let after = place.pods("web");
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 2);
    place.assert_clean();
    place.kubectl(&["delete", "-f", roles.to_str().unwrap(), "--ignore-not-found"]);
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
