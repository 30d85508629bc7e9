//! Probes of every protocol on one workload, whose pods die.

use std::collections::BTreeMap;
use std::fmt::Write as _;

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

/// An event of the newest run, whole.
fn record(place: &Place) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(place.record("events.jsonl").unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The lives of the endpoints of a probe: stream, first and last instant.
fn lives(place: &Place, probe: &str) -> BTreeMap<String, (i64, Option<i64>)> {
    let mut lives = BTreeMap::new();
    for life in place.events("life").iter().filter(|life| life["probe"] == probe) {
        let stream = life["stream"].as_str().unwrap().to_owned();
        lives.insert(stream, (life["from"].as_i64().unwrap(), life["to"].as_i64()));
    }
    lives
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn each_endpoint_is_asked_by_itself_for_as_long_as_it_is_ready() {
    const RATE: i64 = 50;
    let place = Place::new("endpoints");
    place.deploy("web", 3, &["--drain=0s"], "/readyz");
    let name = format!("web.{}.svc.cluster.local", place.namespace);
    let probes = [
        ("http", format!(r#"http: {{url: "http://{name}/", connection: perEndpoint}}"#)),
        ("http2", format!(r#"http: {{url: "http://{name}/", version: 2, connection: perEndpoint}}"#)),
        ("grpc", format!(r#"grpc: {{address: "{name}:80", connection: perEndpoint}}"#)),
        ("tcp", format!(r#"tcp: {{address: "{name}:80", connection: perEndpoint}}"#)),
    ];
    let (mut written, mut hypotheses) = (String::new(), String::new());
    for (probe, ask) in &probes {
        let _ = writeln!(written, "    - {{name: {probe}, rate: {RATE}/s, timeout: 500ms, {ask}}}");
        let _ = writeln!(hypotheses, "    - {{probe: {probe}, tolerance: success >= 90%}}");
        let _ = writeln!(hypotheses, "    - {{probe: {probe}, tolerance: outage <= 5s}}");
    }
    let experiment = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: e2e-endpoints}}\nspec:\n  probes:\n{written}  \
         steadyState:\n{hypotheses}  method:\n    - name: act\n      podKill: {{pods: {{namespace: {}, selector: app=web, \
         count: 1}}, gracePeriod: 0s}}\n  timing: {{before: 4s, during: 4s, after: 4s, heal: 60s}}\n",
        place.namespace
    );
    place.run(&experiment).exits(0);
    let read = ("get".to_owned(), String::new(), "services".to_owned(), place.namespace.clone());
    assert!(place.declared().contains(&read) && place.made().contains(&read), "{:?}", place.made());
    let report = std::fs::read_to_string(place.record("report.json").unwrap()).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for (probe, _) in probes {
        ended_when_it_was_seen(&place, &report, probe, RATE);
        judged_together_and_apart(&report, probe);
    }
    place.assert_clean();
}

/// The dead pod's stream ended as soon as the watch showed it gone, and the new one's began.
fn ended_when_it_was_seen(place: &Place, report: &serde_json::Value, probe: &str, rate: i64) {
    let lives = lives(place, probe);
    let ended: Vec<_> = lives.iter().filter_map(|(stream, (from, to))| Some((stream, *from, (*to)?))).collect();
    assert_eq!((lives.len(), ended.len()), (4, 1), "{probe}: three, and one in the dead one's place: {lives:?}");
    let first = lives.values().map(|(from, _)| *from).min().unwrap();
    assert_eq!(lives.values().filter(|(from, _)| *from == first).count(), 3, "{probe}: {lives:?}");
    let (dead, from, to) = ended[0];
    let address = dead.trim_start_matches("endpoint:").split(':').next().unwrap();
    let events = record(place);
    let gone = events.iter().find(|event| {
        let (what, state) = (&event["what"], &event["what"]["state"]);
        let out = what["change"] == "deleted" || state["ready"] == "false" || state["terminating"] == "true";
        what["kind"] == "endpoint" && state["address"] == address && out
    });
    let gone = gone.unwrap()["at"].as_i64().unwrap();
    assert!((0..100_000).contains(&(to - gone)), "{probe}: seen at {gone}, ended at {to}");
    let (mut planned, mut left) = (0, 0);
    for summary in report["summaries"].as_array().unwrap().iter().filter(|s| s["probe"] == probe) {
        let requests = summary["planned"].as_i64().unwrap();
        planned += if summary["stream"] == dead.as_str() { requests } else { 0 };
        left += if summary["stream"] == "perEndpoint" { requests } else { -requests };
    }
    // One slot at each end is cut, and the word to the engine takes a moment.
    let expected = (to - from) * rate / 1_000_000;
    assert!((expected - 2..=expected + 3).contains(&planned), "{probe}: {planned} on {dead}, not {expected}");
    assert_eq!(left, 0, "{probe}: the requests of all are those of each");
}

/// The share is that of all endpoints, the outage that of one.
fn judged_together_and_apart(report: &serde_json::Value, probe: &str) {
    let judged = report["hypotheses"].as_array().unwrap().iter();
    let judged: Vec<_> = judged.filter(|j| j["subject"] == format!("probe {probe}")).collect();
    let success: Vec<_> = judged.iter().filter(|j| j["tolerance"] == "success >= 90%").collect();
    assert_eq!(success.len(), 3, "{probe}: {judged:?}");
    assert!(success.iter().all(|j| j["stream"] == "perEndpoint"), "{probe}: {judged:?}");
    let outage: Vec<_> = judged.iter().filter(|j| j["tolerance"] == "outage <= 5s").collect();
    assert_eq!(outage.len(), 1, "{probe}: {judged:?}");
    let failed = outage[0]["value"].as_f64().unwrap() > 0.0;
    assert_eq!(outage[0]["stream"].as_str().unwrap().starts_with("endpoint:"), failed, "{probe}: {outage:?}");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_service_without_the_port_or_without_an_endpoint_is_refused_in_words() {
    let place = Place::new("endpoints-none");
    place.deploy("web", 1, &["--drain=0s"], "/readyz");
    // Its pod is there, but never ready.
    place.apply(&crate::support::workload("api", 1, &["--ready-after=never"], "/readyz"));
    place.wait_for("an endpoint that is not ready", || {
        place.kubectl(&["-n", &place.namespace, "get", "endpointslices", "-o", "json"]).contains("\"ready\": false")
    });
    let run = |address: &str| {
        let ask = format!(r#"tcp: {{address: "{address}", connection: perEndpoint}}"#);
        place.run(&format!(
            "apiVersion: squall.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: e2e-none}}\nspec:\n  probes:\n    - {{name: tcp, \
             rate: 10/s, timeout: 500ms, {ask}}}\n  steadyState:\n    - {{probe: tcp, tolerance: success >= 90%}}\n  method:\n    \
             - name: act\n      {}\n  timing: {{before: 2s, after: 2s}}\n",
            kill(&place)
        ))
    };
    let host = |app: &str| format!("{app}.{}.svc", place.namespace);
    run(&format!("{}:8080", host("web"))).exits(3).says("has no TCP port 8080").says("its port is 80");
    run(&format!("{}:80", host("gone"))).exits(3).says("there is no Service");
    run(&format!("{}:80", host("api"))).exits(4).says("has no ready endpoint");
}
