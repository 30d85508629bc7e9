//! Pods killed and evicted: what users saw, and what the verdict says of it.

use crate::support::{Place, experiment};

const KILL: &str = "podKill: {pods: {namespace: NS, selector: app=web, count: 1}}";
const EVICT: &str = "podEvict: {pods: {namespace: NS, selector: app=web, count: 1}}";
const TIMING: &str = "  timing: {before: 4s, during: 4s, after: 4s, heal: 60s}\n";

fn step(place: &Place, step: &str) -> String {
    step.replace("NS", &place.namespace)
}

fn budget(name: &str, minimum: u32) -> String {
    format!(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: {name}}}\n\
         spec: {{minAvailable: {minimum}, selector: {{matchLabels: {{app: web}}}}}}\n"
    )
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_healthy_service_survives_a_killed_pod() {
    let place = Place::new("healthy");
    place.deploy("web", 3, &["--drain=5s"], "/readyz");
    let before = place.pods("web");
    let hypotheses = [
        "{probe: web, tolerance: success >= 97%}",
        "{probe: web, tolerance: outage <= 1s}",
        "{probe: web, tolerance: recovery <= 20s}",
        "{object: deployment/web, namespace: NS, tolerance: status.availableReplicas >= 2}",
    ]
    .map(|h| h.replace("NS", &place.namespace));
    let hypotheses: Vec<&str> = hypotheses.iter().map(String::as_str).collect();
    place.run(&experiment(&place, &hypotheses, &step(&place, KILL), TIMING)).exits(0);

    let after = place.pods("web");
    let survivors = before.iter().filter(|pod| after.contains(pod)).count();
    assert_eq!(survivors, 2, "exactly one pod was killed: {before:?} {after:?}");
    assert_eq!(place.events("effect").len(), 1);
    assert_eq!(place.events("effect")[0]["seen"], true);
    assert_eq!(place.events("healed")[0]["healed"], true);
    place.assert_clean();
    for file in ["events.jsonl", "report.json", "report.html", "junit.xml", "undo.jsonl", "probes.hlog"] {
        assert!(place.record(file).unwrap().is_file(), "{file} is missing");
    }
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_single_replica_that_dies_at_once_is_an_outage_as_long_as_an_independent_client_says() {
    let place = Place::new("single");
    place.deploy("web", 1, &["--drain=0s", "--ready-after=5s"], "/readyz");
    let witness = place.witness("web");
    place
        .run(&experiment(&place, &["{probe: web, tolerance: outage <= 1s}"], &step(&place, KILL), TIMING))
        .exits(5)
        .says("outage <= 1s");
    let seen = witness.finish();

    let longest = place
        .events("outage")
        .into_iter()
        // The witness's is a run of bad requests; one of ours goes on over good ones, where single connections still time out behind it.
        .filter(|outage| outage["good"] == 0)
        .max_by_key(|outage| outage["to"].as_i64().unwrap_or(0) - outage["from"].as_i64().unwrap())
        .expect("an outage without a good request in it");
    let length = longest["to"].as_i64().unwrap() - longest["from"].as_i64().unwrap();
    assert!(length > 4_000_000, "the new pod was ready only after 5 s: {longest}");
    // One interval of each client (20 ms and 5 ms, a uniform place within the slot may double ours), plus how late each was.
    let ours_late: i64 = place.events("interval").iter().map(|i| i["lateMaxUs"].as_i64().unwrap()).max().unwrap_or(0);
    let slack = 2 * 20_000 + 2 * 5_000 + ours_late + seen.late_us;
    assert!(
        (length - seen.outage_us).abs() <= 2 * slack,
        "ours {length} µs, the witness's {} µs, slack {slack}",
        seen.outage_us
    );
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn ten_seconds_of_graceful_serving_hide_the_death_of_a_single_replica() {
    let place = Place::new("graceful");
    // Its kubelet probe does not ask `/readyz`, so that it stays `serving` while it drains.
    place.deploy("web", 1, &["--drain=10s", "--ready-after=3s"], "/healthz");
    place
        .run(&experiment(
            &place,
            &["{probe: web, tolerance: success >= 97%}", "{probe: web, tolerance: outage <= 1s}"],
            &step(&place, KILL),
            TIMING,
        ))
        .exits(0);
    let served = place.events("object").into_iter().any(|object| {
        object["kind"] == "endpoint" && object["state"]["serving"] == "true" && object["state"]["terminating"] == "true"
    });
    assert!(served, "the timeline names the terminating endpoint that served");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn not_steady_before_touches_no_pod() {
    let place = Place::new("unsteady");
    place.deploy("web", 2, &["--status=503"], "/livez");
    let before = place.pods("web");
    place
        .run(&experiment(&place, &["{probe: web, tolerance: success >= 97%}"], &step(&place, KILL), TIMING))
        .exits(4)
        .says("status");
    assert_eq!(place.pods("web"), before);
    assert!(place.events("injected").is_empty());
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn nothing_listens_before_names_the_step_that_failed() {
    let place = Place::new("nothing");
    place.deploy("web", 1, &[], "/readyz");
    place.apply("{apiVersion: v1, kind: Service, metadata: {name: dead}, spec: {selector: {app: web}, ports: [{port: 80, targetPort: 9999}]}}");
    let before = place.pods("web");
    let experiment = experiment(&place, &["{probe: web, tolerance: success >= 97%}"], &step(&place, KILL), TIMING);
    place.run(&experiment.replace("http://web.", "http://dead.")).exits(4).says("connect");
    assert_eq!(place.pods("web"), before);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn an_eviction_that_a_budget_refuses_deviates_unless_that_is_what_is_expected() {
    let place = Place::new("budget");
    place.deploy("web", 2, &["--drain=1s"], "/readyz");
    place.apply(&budget("strict", 2));
    place.wait_for("the budget", || place.get("pdb/strict")["status"]["currentHealthy"] == 2);
    let before = place.pods("web");

    let hypotheses = ["{probe: web, tolerance: success >= 97%}"];
    place.run(&experiment(&place, &hypotheses, &step(&place, EVICT), TIMING)).exits(5).says("strict");
    assert_eq!(place.pods("web"), before, "nothing was killed");

    let expecting = format!("expect: refused\n      {}", step(&place, EVICT));
    place.run(&experiment(&place, &hypotheses, &expecting, TIMING)).exits(0);
    assert_eq!(place.pods("web"), before, "nothing was killed");
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn an_eviction_within_the_budget_passes() {
    let place = Place::new("evict");
    place.deploy("web", 3, &["--drain=5s"], "/readyz");
    place.apply(&budget("roomy", 2));
    place.wait_for("the budget", || place.get("pdb/roomy")["status"]["disruptionsAllowed"] == 1);
    let before = place.pods("web");
    place.run(&experiment(&place, &["{probe: web, tolerance: success >= 97%}"], &step(&place, EVICT), TIMING)).exits(0);
    let after = place.pods("web");
    assert_eq!(before.iter().filter(|pod| after.contains(pod)).count(), 2);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn two_budgets_on_one_pod_are_both_named() {
    let place = Place::new("twobudgets");
    place.deploy("web", 3, &["--drain=1s"], "/readyz");
    place.apply(&format!("{}---\n{}", budget("first", 1), budget("second", 1)));
    for name in ["pdb/first", "pdb/second"] {
        place.wait_for(name, || place.get(name)["status"]["currentHealthy"] == 3);
    }
    let before = place.pods("web");
    place
        .run(&experiment(&place, &["{probe: web, tolerance: success >= 97%}"], &step(&place, EVICT), TIMING))
        .exits(5)
        .says("first")
        .says("second");
    assert_eq!(place.pods("web"), before);
    place.assert_clean();
}
