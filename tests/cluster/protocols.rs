//! Probes of every protocol on one workload, whose pods die.

use crate::support::Place;

/// One probe of each protocol; all but DNS ask the pods of `web`.
fn experiment(place: &Place, hypotheses: &str, step: &str) -> String {
    let url = place.url("web");
    let host = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let name = host.split(':').next().unwrap().to_owned();
    format!(
        r#"apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: e2e-protocols}}
spec:
  probes:
    - {{name: http2, rate: 50/s, timeout: 2s, http: {{url: "{url}", version: 2}}}}
    - {{name: reuse, rate: 50/s, timeout: 2s, http: {{url: "{url}", connection: {{reuse: 5}}}}}}
    - {{name: grpc, rate: 50/s, timeout: 2s, grpc: {{address: "{name}:80"}}}}
    - {{name: tcp, rate: 50/s, timeout: 2s, tcp: {{address: "{name}:80"}}}}
    - {{name: dns, rate: 50/s, timeout: 2s, dns: {{name: "web.{namespace}.svc.cluster.local."}}}}
    - {{name: dns-tcp, rate: 50/s, timeout: 2s, dns: {{name: "web.{namespace}.svc.cluster.local.", over: tcp}}}}
    - name: gone
      rate: 50/s
      timeout: 2s
      dns: {{name: "gone.{namespace}.svc.cluster.local.", expect: {{rcode: NXDOMAIN}}}}
  steadyState:
{hypotheses}
  method:
    - name: act
      {step}
  timing: {{before: 4s, during: 4s, after: 4s, heal: 60s}}
"#,
        namespace = place.namespace,
    )
}

const PROBES: [(&str, &[&str]); 7] = [
    ("http2", &["fresh", "keptAlive"]),
    ("reuse", &["reuse:5"]),
    ("grpc", &["fresh", "keptAlive"]),
    ("tcp", &["fresh"]),
    ("dns", &["perQuery", "pinned"]),
    ("dns-tcp", &["perQuery", "pinned"]),
    ("gone", &["perQuery", "pinned"]),
];

fn kill(place: &Place) -> String {
    format!("podKill: {{pods: {{namespace: {}, selector: app=web, count: 1}}}}", place.namespace)
}

/// Bad requests of a stream over the whole run, from its summaries.
fn bad(place: &Place, probe: &str, stream: &str) -> (u64, u64) {
    let summaries = place.events("summary");
    let of = |summary: &&serde_json::Value| summary["probe"] == probe && summary["stream"] == stream;
    let sum = |key: &str| summaries.iter().filter(of).map(|summary| summary[key].as_u64().unwrap()).sum();
    (sum("good"), sum("bad"))
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn every_protocol_survives_a_killed_pod_of_three() {
    let place = Place::new("protocols");
    place.deploy("web", 3, &["--drain=5s"], "/readyz");
    let hypotheses: Vec<String> = PROBES
        .iter()
        .flat_map(|(probe, _)| {
            ["success >= 97%", "outage <= 1s"].map(|t| format!("    - {{probe: {probe}, tolerance: {t}}}"))
        })
        .collect();
    place.run(&experiment(&place, &hypotheses.join("\n"), &kill(&place))).exits(0);
    for (probe, streams) in PROBES {
        for stream in streams {
            let (good, bad) = bad(&place, probe, stream);
            assert!(good > 200 && bad * 30 < good, "{probe} {stream}: {good} good, {bad} bad");
        }
    }
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_single_replica_that_dies_is_seen_by_all_protocols_but_dns() {
    let place = Place::new("protocols-single");
    place.deploy("web", 1, &["--drain=0s", "--ready-after=3s"], "/readyz");
    let hypotheses: Vec<String> =
        PROBES.iter().map(|(probe, _)| format!("    - {{probe: {probe}, tolerance: outage <= 1s}}")).collect();
    place.run(&experiment(&place, &hypotheses.join("\n"), &kill(&place))).exits(5);
    let judged = place.events("judged");
    for (probe, streams) in PROBES {
        let asks_pods = !matches!(probe, "dns" | "dns-tcp" | "gone");
        let verdict = if asks_pods { "deviated" } else { "held" };
        for stream in streams {
            let of_stream: Vec<_> =
                judged.iter().filter(|j| j["subject"] == format!("probe {probe}") && j["stream"] == *stream).collect();
            assert!(!of_stream.is_empty(), "{probe} {stream} was judged");
            assert!(of_stream.iter().all(|j| j["verdict"] == verdict), "{probe} {stream}: {of_stream:?}");
        }
    }
    place.assert_clean();
}
