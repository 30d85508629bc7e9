//! What holds for every fault of the catalogue: its experiment passes, and its undo finishes from wherever a crash left it.

use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Place, Ran};

/// What these do is felt by every pod of the cluster, so that nothing else can be judged beside them.
const FELT_BY_ALL: [&str; 4] = ["coreDns:", "nodeDrain:", "nodeTerminate:", "zoneOutage:"];

/// Every file of `experiments/` on the application of `make demo-cluster`: first those whose faults stay within it, two at a time and each
/// on one of its own, then the others in turn. Phases are only as long as the samples need, and requests have the patience of a machine that carries the
/// whole cluster too; everything else is as the file says.
#[test]
#[ignore = "needs a cluster (make e2e)"]
fn each_experiment_of_the_catalogue_passes_on_the_demo_application() {
    let mut files: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments"))
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    files.sort();
    let no_aws = std::env::var_os("AWS_ENDPOINT_URL").is_none();
    if no_aws {
        eprintln!("left out, because there is no AWS here: every experiment that needs it");
        files.retain(|text| !text.contains("needs: aws"));
    }
    let (alone, beside): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|text| FELT_BY_ALL.iter().any(|fault| text.contains(fault)));
    let mut faults = Vec::new();
    // Two at a time: the machine carries the whole cluster too, and each of them measures.
    for pair in beside.chunks(2) {
        let run = |(number, text): (usize, &String)| passes(&demo(&format!("catalogue{number}")), text);
        std::thread::scope(|scope| {
            let runs: Vec<_> = pair.iter().enumerate().map(|one| scope.spawn(move || run(one))).collect();
            faults.extend(runs.into_iter().flat_map(|run| run.join().unwrap()));
        });
    }
    // Each on an application of its own here too: to the address of one whose node was lost, single ports lead nowhere for minutes, as
    // connection tracking remembers where they led, and the next experiment would begin with that.
    faults.extend(alone.iter().flat_map(|text| passes(&demo("catalogue"), text)));

    let wanted = squall::fault::CATALOGUE.iter().map(|about| about.key);
    for key in wanted.filter(|key| !no_aws || !["asgSuspend", "nodeTerminate", "zoneOutage"].contains(key)) {
        assert!(faults.iter().any(|fault| fault == key), "no experiment injects {key}");
    }
}

/// The application of `make demo-cluster` in a namespace of this test.
fn demo(name: &str) -> Place {
    let place = Place::new(name);
    let demo = include_str!("../../deploy/demo.yaml");
    // The namespaces are there already, under this test's names.
    let objects: Vec<&str> = demo.split("---\n").filter(|object| !object.contains("kind: Namespace")).collect();
    place.apply(&here(&place, &objects.join("---\n")));
    place
}

fn here(place: &Place, text: &str) -> String {
    text.replace("namespace: shop", &format!("namespace: {}", place.namespace))
        .replace("namespaces: [shop", &format!("namespaces: [{}", place.namespace))
        .replace("web.shop.svc", &format!("web.{}.svc", place.namespace))
}

/// Runs an experiment, which must pass and leave nothing; returns the faults that it injected.
fn passes(place: &Place, experiment: &str) -> Vec<String> {
    place.kubectl(&["-n", &place.namespace, "rollout", "status", "deployment/web", "--timeout=90s"]);
    // Ready pods are one thing, a Service that every node knows of is another.
    let path = "jsonpath={.spec.clusterIP}";
    let address = place.kubectl(&["-n", &place.namespace, "get", "service/web", "-o", path]);
    place.wait_for("the Service", || TcpStream::connect((address.as_str(), 80)).is_ok());
    let timings = [60, 120].map(|during| format!("timing: {{before: 20s, during: {during}s, after: 30s}}"));
    let timing = timings.iter().find(|timing| experiment.contains(timing.as_str()));
    let timing = timing.unwrap_or_else(|| panic!("it has another timing:\n{experiment}"));
    let mut text = here(place, experiment)
        .replace(timing, "timing: {before: 16s, during: 30s, after: 16s}")
        // The game day's longest fault has to fit into them, and the zone's, which this cluster misses in seconds.
        .replace("      for: 50s", "      for: 25s")
        .replace("      for: 90s", "      for: 30s")
        // No longer than the run takes.
        .replace("tolerance: \"success < 20%\", for: 75s", "tolerance: \"success < 20%\", for: 40s")
        .replace("timeout: 500ms", "timeout: 2s");
    if text.contains("nodeDrain:") {
        let any = "{selector: \"kubernetes.io/os=linux\", count: 1}";
        assert!(text.contains(any), "it drains another node:\n{text}");
        text = text.replace(any, &format!("{{names: [{}]}}", node_without_dns(place)));
    }
    steady(place, &text).exits(0);
    place.assert_clean();
    place.events("injected").iter().map(|injected| injected["fault"].as_str().unwrap().to_owned()).collect()
}

/// Runs it on a machine that is steady. One that carries a whole cluster is not always: then the run ends before anything is injected,
/// which says nothing of the experiment.
fn steady(place: &Place, text: &str) -> Ran {
    const UNSTEADY: i32 = 4;
    for _ in 0..2 {
        let ran = place.run(text);
        if ran.code != UNSTEADY {
            return ran;
        }
        assert!(place.events("injected").is_empty(), "unsteady, and injected: {}", ran.stdout);
        eprintln!("not steady before, and tried again:\n{}", ran.stdout);
        place.assert_clean();
    }
    place.run(text)
}

/// A node that carries the application and none of the cluster's DNS: what the loss of a resolver does is another experiment's question.
fn node_without_dns(place: &Place) -> String {
    let nodes = |namespace: &str, label: &str| {
        let path = "jsonpath={.items[*].spec.nodeName}";
        let names = place.kubectl(&["-n", namespace, "get", "pods", "-l", label, "-o", path]);
        names.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    let dns = nodes("kube-system", "k8s-app=kube-dns");
    nodes(&place.namespace, "app=web")
        .into_iter()
        .find(|node| !dns.contains(node))
        .expect("three nodes, two of them with DNS")
}

/// Every instant at which a runner may die between the announcement of a fault and the end of its undo: each length of the log, with
/// the object as it was and as the fault leaves it.
#[test]
#[ignore = "needs a cluster (make e2e)"]
fn an_undo_finishes_from_wherever_a_crash_left_it() {
    let place = Place::new("crash");
    place.deploy("web", 3, &["--drain=1s"], "/readyz");
    let step =
        format!("for: 1s\n      scale: {{workload: deployment/web, namespace: {}, replicas: 2}}", place.namespace);
    let rest = "  timing: {before: 4s, after: 1s, heal: 60s}\n";
    let experiment = crate::support::experiment(&place, &["{probe: web, tolerance: outage <= 60s}"], &step, rest);
    place.run(&experiment).exits(0);
    let run = place.run_id();
    let log = place.record("undo.jsonl").unwrap();
    let whole = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let kinds: Vec<Value> =
        lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap()["what"]["type"].clone()).collect();
    assert_eq!(kinds, ["opened", "prepared", "injected", "undoing", "undone", "closed"]);
    let note = note_on_object(&run, lines[1]);

    for length in 2..=4 {
        for harmed in [false, true] {
            for torn in ["", "{\"v\":1,\"seq\""] {
                harm(&place, harmed, &note);
                std::fs::write(&log, lines[..length].concat() + torn).unwrap();
                place.squall(&["recover", &run]).exits(0).says("clean");
                let web = place.get("deployment/web");
                let case = format!("after {:?}, harmed: {harmed}, torn: {}", kinds[length - 1], !torn.is_empty());
                assert_eq!(web["spec"]["replicas"], 3, "{case}");
                assert_eq!(web["metadata"]["annotations"]["squall.dev/undo"], Value::Null, "{case}");
                place.squall(&["recover"]).exits(0).says("nothing is left");
            }
        }
    }
    place.assert_clean();
}

/// The note that `scale` leaves on the object, from its record in the log.
fn note_on_object(run: &str, prepared: &str) -> String {
    let prepared: Value = serde_json::from_str(prepared).unwrap();
    let what = &prepared["what"];
    json!({
        "run": run, "step": what["step"], "fault": what["fault"],
        "previous": what["note"]["previous"], "injected": what["note"]["injected"],
    })
    .to_string()
}

/// Puts the workload into the state that the fault leaves, or into its own.
fn harm(place: &Place, harmed: bool, note: &str) {
    let (replicas, note) = if harmed { (2, Value::from(note)) } else { (3, Value::Null) };
    let patch = json!({"metadata": {"annotations": {"squall.dev/undo": note}}, "spec": {"replicas": replicas}});
    place.kubectl(&["-n", &place.namespace, "patch", "deployment/web", "--type=merge", "-p", &patch.to_string()]);
}
