//! The command line without a cluster: what each mistake of the environment or the call is answered with, and its exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests: what fails in them fails the test")]

mod served;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const GOOD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/experiments/pod-kill.yaml");

/// A kubeconfig with two contexts, whose server nobody listens on.
const KUBECONFIG: &str = r"
apiVersion: v1
kind: Config
clusters:
  - {name: gone, cluster: {server: 'http://127.0.0.1:1'}}
users:
  - {name: me, user: {token: secret}}
  - {name: plugin, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-plugin, interactiveMode: Never}}}
contexts:
  - {name: kind-ci, context: {cluster: gone, user: me}}
  - {name: eks, context: {cluster: gone, user: plugin}}
current-context: kind-ci
";

/// A probe of every kind that one engine only can measure, and one that both can.
const PROTOCOLS: &str = r#"
apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {name: protocols}
spec:
  probes:
    - {name: web, rate: 10/s, timeout: 1s, http: {url: "http://127.0.0.1/"}}
    - {name: pay, rate: 10/s, timeout: 1s, grpc: {address: "127.0.0.1:1"}}
    - {name: port, rate: 10/s, timeout: 1s, tcp: {address: "127.0.0.1:1"}}
    - {name: names, rate: 10/s, timeout: 1s, dns: {name: example.com}}
    - name: some
      rate: 10/s
      timeout: 1s
      http:
        url: "http://127.0.0.1/"
        connection: {reuse: 10}
    - {name: two, rate: 10/s, timeout: 1s, http: {url: "http://127.0.0.1/", version: 2}}
    - {name: each, rate: 10/s, timeout: 1s, http: {url: "http://web.shop/", connection: perEndpoint}}
  steadyState:
    - {probe: web, tolerance: "outage <= 2s"}
    - {probe: pay, tolerance: "outage <= 2s"}
    - {probe: port, tolerance: "outage <= 2s"}
    - {probe: names, tolerance: "outage <= 2s"}
    - {probe: some, tolerance: "outage <= 2s"}
    - {probe: two, tolerance: "outage <= 2s"}
    - {probe: each, tolerance: "outage <= 2s"}
  method:
    - {name: kill, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, count: 1}}}
  timing: {before: 60s, during: 60s, after: 60s}
"#;

/// A twin up to its objects.
const TWIN: &str = "apiVersion: twin.squall.dev/v1alpha1\nkind: Twin\nsquall: 0.1.0\ntaken: 2026-01-01T00:00:00Z\ncluster: {version: v1.34.0}\ncount: 2\nobjects:\n";
/// A step that runs commands.
const COMMANDS: &str = r#"
apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {name: commands}
spec:
  probes:
    - {name: web, rate: 10/s, timeout: 1s, http: {url: "http://web.shop.svc/"}}
  steadyState:
    - {probe: web, tolerance: "outage <= 2m"}
  method:
    - name: off
      at: 0s
      for: 90s
      nodeTerminate: {nodes: {names: [node1]}, provider: exec, exec: {off: [/bin/off, "{node}"], on: [/bin/on, "{node}"]}}
  timing: {before: 20s, during: 2m, after: 20s}
  limits: {nodes: 1}
"#;

/// Runs the binary in an empty folder with a `config`, and gives what it printed and its exit code as one text.
fn squall(arguments: &[&str], kubeconfig: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config"), KUBECONFIG).unwrap();
    std::fs::write(folder.path().join("not-yaml"), "{").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    std::fs::copy(GOOD, folder.path().join("good.yaml")).unwrap();
    let bad = std::fs::read_to_string(GOOD).unwrap().replace("rate: 200/s", "rat: 200/s");
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    std::fs::write(folder.path().join("protocols.yaml"), PROTOCOLS).unwrap();
    std::fs::write(folder.path().join("cut.yaml"), format!("{TWIN}- {{\"kind\": \"Pod\", \"metadata\": {{\"na"))
        .unwrap();
    std::fs::write(folder.path().join("short.yaml"), format!("{TWIN}- {{\"kind\": \"Pod\"}}\n")).unwrap();
    std::fs::write(folder.path().join("newer.yaml"), TWIN.replace("v1alpha1", "v9")).unwrap();
    std::fs::write(folder.path().join("commands.yaml"), COMMANDS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).env_clear().env("HOME", folder.path());
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    let output = command.output().unwrap();
    let mut text = format!("exit {}\n", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            write!(text, "--- {name}\n{}", String::from_utf8_lossy(bytes)).unwrap();
        }
    }
    text.replace(&folder.path().display().to_string(), "FOLDER")
}

fn is_clean(folder: &Path) -> bool {
    !folder.join("reports").exists()
}

#[test]
fn a_cluster_that_can_not_be_opened_is_refused_and_says_why() {
    let run = ["run", "good.yaml"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    insta::assert_snapshot!("no-kubeconfig", squall(&run, None));
    insta::assert_snapshot!("kubeconfig-is-not-there", squall(&run, Some("missing")));
    insta::assert_snapshot!("kubeconfig-is-a-folder", squall(&with(&["--kubeconfig", "empty"]), None));
    insta::assert_snapshot!("kubeconfig-is-not-yaml", squall(&with(&["--kubeconfig", "not-yaml"]), None));
    insta::assert_snapshot!("no-context-named", squall(&run, Some("config")));
    insta::assert_snapshot!("no-such-context", squall(&with(&["--context", "kind-cj"]), Some("config")));
    insta::assert_snapshot!("nobody-listens", squall(&with(&["--context", "kind-ci"]), Some("config")));
    insta::assert_snapshot!("credential-plugin-is-not-there", squall(&with(&["--context", "eks"]), Some("config")));
}

#[test]
fn a_call_that_makes_no_sense_is_a_usage_error() {
    insta::assert_snapshot!("no-such-file", squall(&["check", "none.yaml"], None));
    insta::assert_snapshot!("a-mistake-in-a-file", squall(&["check", "good.yaml", "bad.yaml"], None));
    insta::assert_snapshot!("a-mistake-as-json", squall(&["check", "bad.yaml", "--json"], None));
    insta::assert_snapshot!(
        "a-bad-file-keeps-all-from-running",
        squall(&["run", "good.yaml", "bad.yaml"], Some("config"))
    );
    insta::assert_snapshot!("an-empty-folder", squall(&["run", "empty"], Some("config")));
    insta::assert_snapshot!("nothing-selected", squall(&["run", "good.yaml", "--select", "needs=aws"], Some("config")));
    insta::assert_snapshot!("an-undeclared-variable", squall(&["check", "good.yaml", "--set", "zone=a"], None));
    insta::assert_snapshot!("no-such-fault", squall(&["faults", "podKil"], None));
    insta::assert_snapshot!("no-such-run", squall(&["report", "20260101-none"], None));
    insta::assert_snapshot!("plan-is-not-a-plan", squall(&["run", "--plan", "config"], Some("config")));
}

#[test]
fn an_engine_that_can_not_measure_a_probe_is_a_usage_error() {
    let run = |file| squall(&["run", file, "--engine", "reqwest"], Some("config"));
    insta::assert_snapshot!("engine-sends-http-only", run("protocols.yaml"));
    insta::assert_snapshot!("engine-of-no-such-name", squall(&["run", "good.yaml", "--engine", "requests"], None));
    // What it can measure gets as far as the cluster.
    assert_eq!(run("good.yaml"), squall(&["run", "good.yaml"], Some("config")));
    assert!(squall(&["run", "protocols.yaml"], Some("config")).starts_with("exit 3"), "the native engine can");
}

#[test]
fn what_needs_no_cluster_works_without_one() {
    insta::assert_snapshot!("a-valid-file", squall(&["check", "good.yaml"], None));
    insta::assert_snapshot!("the-faults", squall(&["faults"], None));
    insta::assert_snapshot!("one-fault", squall(&["faults", "scale"], None));
    let schema = squall(&["schema"], None);
    let document = schema.strip_prefix("exit 0\n--- stdout\n").unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(document).unwrap()["properties"]["spec"].is_object());
}

/// A refusal before any act leaves nothing behind, not even a folder.
#[test]
fn a_refused_call_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["run", GOOD, "--context", "none", "--kubeconfig", "none"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    assert!(is_clean(folder.path()));
}

/// A rehearsal needs nothing: no kubeconfig, no network, no root. The same seed makes the same run, whatever the machine was doing.
#[test]
fn a_rehearsal_is_the_same_each_time_by_its_seed() {
    let folder = tempfile::tempdir().unwrap();
    let rehearse = |reports: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(["rehearse", GOOD, "--seed", "7", "--reports", reports, "--color", "never"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let run = std::fs::read_dir(folder.path().join(reports)).unwrap().next().unwrap().unwrap().path();
        for file in
            ["events.jsonl", "report.html", "report.json", "junit.xml", "plan.json", "calls.jsonl", "probes.hlog"]
        {
            assert!(run.join(file).is_file(), "{file}");
        }
        let report = std::fs::read_to_string(run.join("report.json")).unwrap();
        let mut report: serde_json::Value = serde_json::from_str(&report).unwrap();
        for told_by_the_wall in ["run", "started", "ended"] {
            report[told_by_the_wall] = serde_json::Value::Null;
        }
        report
    };
    let (first, second) = (rehearse("first"), rehearse("second"));
    assert_eq!(first, second);
    assert_eq!(first["engine"], "lab");
    let good: u64 = first["summaries"].as_array().unwrap().iter().map(|s| s["good"].as_u64().unwrap()).sum();
    assert!(good > 40_000, "{good} requests");
}

/// What acts on AWS is rehearsed in an account of the lab's own: no credentials are looked for, and what this machine's environment says
/// of AWS is nothing to it.
#[test]
fn experiments_on_aws_are_rehearsed_without_any() {
    for (name, groups) in [
        ("asg-suspend", "across"),
        ("node-terminate", "across"),
        ("zone-outage", "per-zone"),
        ("zone-outage", "across"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let rehearse = |reports: &str| {
            let file = format!("{}/experiments/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
            let output = Command::new(env!("CARGO_BIN_EXE_squall"))
                .args(["rehearse", &file, "--seed", "3", "--groups", groups, "--reports", reports])
                .current_dir(folder.path())
                .env_clear()
                .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
                .env("AWS_PROFILE", "production")
                .stdin(Stdio::null())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{name} {groups}: {said}");
            let run = std::fs::read_dir(folder.path().join(reports)).unwrap().next().unwrap().unwrap().path();
            let report = std::fs::read_to_string(run.join("report.json")).unwrap();
            let mut report: serde_json::Value = serde_json::from_str(&report).unwrap();
            for told_by_the_wall in ["run", "started", "ended"] {
                report[told_by_the_wall] = serde_json::Value::Null;
            }
            report
        };
        let first = rehearse("first");
        assert_eq!(first["cluster"]["aws"]["region"], "us-east-1", "{name}: {}", first["cluster"]);
        assert_eq!(first, rehearse("second"), "{name} {groups}: the same seed makes the same run");
    }
}

#[test]
fn what_can_not_be_rehearsed_is_refused_and_says_why() {
    let refused = squall(&["rehearse", "commands.yaml"], None);
    assert!(refused.starts_with("exit 3") && refused.contains("can't be rehearsed"), "{refused}");
    assert!(refused.contains("a rehearsal runs no commands"), "{refused}");
    insta::assert_snapshot!(
        "rehearse-of-no-manifest",
        squall(&["rehearse", "good.yaml", "--manifest", "none.yaml"], None)
    );
    insta::assert_snapshot!(
        "rehearse-of-a-bad-manifest",
        squall(&["rehearse", "good.yaml", "--manifest", "not-yaml"], None)
    );
}

#[test]
fn a_twin_that_can_not_be_rehearsed_on_is_a_usage_error_and_a_cluster_that_is_gone_a_refusal() {
    let refused = [
        (&["--twin", "none.yaml"][..], 2, "can't read the twin none.yaml: No such file or directory"),
        (&["--twin", "good.yaml"], 2, "good.yaml: this is no twin: it is a `Experiment`"),
        (&["--twin", "newer.yaml"], 2, "this twin is of version `twin.squall.dev/v9`; this Squall reads"),
        (&["--twin", "cut.yaml"], 2, "at line "),
        (&["--twin", "short.yaml"], 2, "it has 1 of the 2 objects that it says it has: it was cut off, or changed"),
        (&["--twin", "cut.yaml", "--manifest", "good.yaml"], 2, "cannot be used with"),
        (&["--twin", "cut.yaml", "--nodes", "4"], 2, "cannot be used with"),
        (&["--twin", "cut.yaml", "--context", "kind-ci"], 2, "`--twin` and a cluster can't both be rehearsed on"),
        (&["--manifest", "good.yaml", "--context", "kind-ci"], 2, "`--manifest` and a cluster can't both"),
        (&["--context", "kind-ci"], 3, "the API server http://127.0.0.1:1 (context `kind-ci`) can't be reached"),
    ];
    for (more, exit, why) in refused {
        let told = squall(&[&["rehearse", "good.yaml"], more].concat(), Some("config"));
        assert!(told.starts_with(&format!("exit {exit}\n")) && told.contains(why), "{more:?}: {told}");
    }
    let told = squall(&["twin", "show", "good.yaml"], None);
    assert!(told.starts_with("exit 2\n") && told.contains("this is no twin"), "{told}");
}

/// A lab over a real socket is a cluster like any other: its twin is saved, and the experiment that it would pass is passed on the twin.
#[test]
fn the_twin_of_a_cluster_is_saved_over_a_real_connection_and_rehearsed_on() {
    let folder = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        command.env_remove("KUBECONFIG").env_remove("SQUALL_CONTEXT").stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let run = |arguments: &[&str]| {
        let output = command(arguments).output().unwrap();
        let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code().unwrap(), told)
    };
    let mut served = command(&["lab", "serve", "--kubeconfig-out", "config"]).spawn().unwrap();
    let save = ["twin", "save", "--kubeconfig", "config", "--out", "twin.yaml"];
    // Its pods come up in real time.
    let saved =
        (0..500).map(|_| run(&save)).find(|(exit, told)| *exit == 0 && told.contains("pods        5, 5 of them ready"));
    let read =
        saved.is_some().then(|| run(&["rehearse", GOOD, "--kubeconfig", "config", "--seed", "7", "--reports", "read"]));
    served.kill().unwrap();
    served.wait().unwrap();
    let (_, told) = saved.expect("the served lab comes up");
    assert!(told.contains("nodes       3, 3 of them ready: us-east-1a 1, us-east-1b 1, us-east-1c 1"), "{told}");
    let (exit, told) = read.unwrap();
    assert_eq!(exit, 0, "{told}");
    // Without any credentials, twice the same.
    let (exit, told) = run(&["rehearse", GOOD, "--twin", "twin.yaml", "--seed", "7", "--reports", "kept"]);
    assert_eq!(exit, 0, "{told}");
    assert!(told.contains("5 pods as they ran, 0 started anew"), "{told}");
    let plan = |reports: &str| {
        let run = std::fs::read_dir(folder.path().join(reports)).unwrap().next().unwrap().unwrap().path();
        serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(run.join("plan.json")).unwrap()).unwrap()
    };
    let (read, kept) = (plan("read"), plan("kept"));
    assert_eq!(kept["cluster"]["server"], "lab --twin twin.yaml");
    assert_eq!(read["steps"], kept["steps"], "the same pod of the same name on the same node");
}

/// Many rehearsals tell how often it passed, and keep the records of those alone that did not.
#[test]
fn many_rehearsals_are_counted_and_what_failed_is_kept() {
    let many = squall(&["rehearse", "good.yaml", "--seeds", "5", "--seed", "1"], None);
    assert!(many.starts_with("exit 0") && many.contains("passed in 5 of 5 rehearsals"), "{many}");
    let folder = tempfile::tempdir().unwrap();
    let one =
        std::fs::read_to_string(GOOD).unwrap().replace("outage <= 2s", "outage <= 0s").replace("count: 1", "all: true");
    std::fs::write(folder.path().join("all.yaml"), one.replace("pods: 1,", "pods: 3,")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_squall"))
        .args(["rehearse", "all.yaml", "--seeds", "3", "--seed", "1", "--color", "never"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("passed in 0 of 3 rehearsals") && text.contains("with the seeds 1, 2, 3"), "{text}");
    assert!(text.contains("squall rehearse all.yaml --nodes 3 --zones 3 --seed 1"), "{text}");
    let mut kept: Vec<_> =
        std::fs::read_dir(folder.path().join("reports")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let predictions: Vec<_> = kept.extract_if(.., |path| path.is_file()).collect();
    assert_eq!((kept.len(), predictions.len()), (3, 1), "{kept:?} {predictions:?}");
}

/// A prediction goes with the experiment that was rehearsed and with no other; then the run goes on, here until there is no cluster.
#[test]
fn a_prediction_is_taken_for_the_experiment_that_was_rehearsed() {
    let folder = tempfile::tempdir().unwrap();
    let squall = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_squall"))
            .args(args)
            .args(["--color", "never"])
            .env("KUBECONFIG", folder.path().join("none"))
            .env_remove("SQUALL_CONTEXT")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let experiment = std::fs::read_to_string(GOOD).unwrap();
    std::fs::write(folder.path().join("it.yaml"), &experiment).unwrap();
    let (code, text) = squall(&["rehearse", "it.yaml", "--seed", "7", "--seeds", "2"]);
    let offered = text.lines().find_map(|line| line.strip_prefix("beside a real run: squall run it.yaml --predicted "));
    let prediction = offered.unwrap_or_else(|| panic!("{code:?} {text}"));
    assert!(prediction.ends_with(".prediction.json") && folder.path().join(prediction).is_file(), "{text}");
    let (code, text) = squall(&["run", "it.yaml", "--context", "kind-ci", "--predicted", prediction]);
    assert_eq!(code, Some(3), "{text}");
    std::fs::write(folder.path().join("it.yaml"), experiment.replace("for: 10s", "for: 12s")).unwrap();
    let (code, text) = squall(&["run", "it.yaml", "--context", "kind-ci", "--predicted", prediction]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("`spec.stopWhen.0.for` was \"10s\" in rehearsal and is \"12s\"")
            && text.contains("rehearse it again"),
        "{text}"
    );
}
