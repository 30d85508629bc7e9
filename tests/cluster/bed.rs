//! What only the test bed can do to a cluster: stop its API server. Left out, and said so, on any other cluster.

use std::process::Command;
use std::time::Duration;

use crate::support::{Place, Ran, experiment};

/// The test bed's own script.
pub(crate) const BED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testbed/testbed.sh");

fn bed(verb: &str) {
    let status = Command::new("bash").args([BED, verb]).status().unwrap();
    assert!(status.success(), "testbed.sh {verb}");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_run_survives_an_api_server_that_is_gone_for_ten_seconds_and_says_what_it_could_not_see() {
    let place = Place::new("api");
    place.deploy("web", 3, &["--drain=2s"], "/readyz");
    // The controllers are away for as long as the API server, and come back when their own clients try again: the hold has to outlast both
    // for its effect to be seen.
    let step =
        format!("for: 50s\n      scale: {{workload: deployment/web, namespace: {}, replicas: 2}}", place.namespace);
    let rest = "  timing: {before: 4s, after: 8s, heal: 60s}\n  limits: {pods: 1}\n";
    // Of the service nothing is asked but that it is back: kube-proxy has been blind too, and sent new connections to the pod that is
    // gone until its own watch was back; what connection tracking knows of it stays for two minutes more.
    let back = format!(
        "{{object: deployment/web, namespace: {}, tolerance: \"status.readyReplicas >= 3\", when: [after]}}",
        place.namespace
    );
    let hypotheses = ["{probe: web, tolerance: success >= 95%, when: [before]}", back.as_str()];
    let child = place.start(&experiment(&place, &hypotheses, &step, rest), "\"type\":\"injected\"");
    bed("api-stop");
    std::thread::sleep(Duration::from_secs(10));
    bed("api-start");
    Ran::of(&child.wait_with_output().unwrap()).exits(0).says("API server");

    assert_eq!(place.get("deployment/web")["spec"]["replicas"], 3);
    let blind = place.events("blind");
    assert!(blind.iter().any(|b| b["to"].is_i64() && b["what"] == "the API server"), "{blind:?}");
    assert_eq!(place.events("undone")[0]["outcome"], "undone");
    place.assert_clean();
}
