//! A namespace of its own for each test, the real binary, and evidence when something fails.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// How long a condition of the cluster may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Two namespaces (the workload's and Squall's state) and a folder, all gone afterwards.
pub(crate) struct Place {
    pub(crate) context: String,
    pub(crate) namespace: String,
    pub(crate) state: String,
    pub(crate) folder: tempfile::TempDir,
    /// Variables that the binary gets beside the test's own.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A kind of call, or the permission to make it: verb, group, resource, namespace.
pub(crate) type Rule = (String, String, String, String);

fn rule(of: &Value) -> Rule {
    let text = |key: &str| of[key].as_str().unwrap_or_default().to_owned();
    (text("verb"), text("group"), text("resource"), text("namespace"))
}

/// Whether a call is allowed by a permission: one for the whole cluster allows it in every namespace.
pub(crate) fn covered(call: &Rule, permission: &Rule) -> bool {
    let anywhere = permission.3.is_empty();
    (&call.0, &call.1, &call.2) == (&permission.0, &permission.1, &permission.2) && (anywhere || call.3 == permission.3)
}

/// What the binary answered.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// Makes the namespaces. The context is `SQUALL_E2E_CONTEXT`, or the test bed's.
    pub(crate) fn new(name: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let context = std::env::var("SQUALL_E2E_CONTEXT").unwrap_or_else(|_| "squall-testbed".to_owned());
        let unique = format!("{:x}{:x}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let place = Self {
            context,
            namespace: format!("e2e-{name}-{unique}"),
            state: format!("e2e-{name}-{unique}-state"),
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        };
        place.kubectl(&["create", "namespace", &place.namespace]);
        place.kubectl(&["create", "namespace", &place.state]);
        place
    }

    /// Runs kubectl and returns what it printed; panics when it fails.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Output {
        Command::new("kubectl").args(["--context", &self.context]).args(arguments).output().unwrap()
    }

    /// An object of the workload's namespace as JSON.
    pub(crate) fn get(&self, object: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["-n", &self.namespace, "get", object, "-o", "json"])).unwrap()
    }

    /// Names and UIDs of the pods with the label `app`.
    pub(crate) fn pods(&self, app: &str) -> Vec<(String, String)> {
        let list: Value = serde_json::from_str(&self.kubectl(&[
            "-n",
            &self.namespace,
            "get",
            "pods",
            "-l",
            &format!("app={app}"),
            "-o",
            "json",
        ]))
        .unwrap();
        let text = |pod: &Value, key: &str| pod["metadata"][key].as_str().unwrap().to_owned();
        list["items"].as_array().unwrap().iter().map(|pod| (text(pod, "name"), text(pod, "uid"))).collect()
    }

    /// Applies manifests to the workload's namespace.
    pub(crate) fn apply(&self, manifests: &str) {
        let path = self.write("manifests.yaml", manifests);
        self.kubectl(&["-n", &self.namespace, "apply", "-f", path.to_str().unwrap()]);
    }

    /// Applies a workload, and waits until it is ready and a request through its Service is answered.
    pub(crate) fn deploy(&self, app: &str, replicas: u32, arguments: &[&str], readiness: &str) {
        self.apply(&workload(app, replicas, arguments, readiness));
        self.await_ready(app, replicas);
    }

    /// Waits until a workload is ready and a request through its Service is answered.
    pub(crate) fn await_ready(&self, app: &str, replicas: u32) {
        let object = format!("deployment/{app}");
        self.kubectl(&["-n", &self.namespace, "rollout", "status", &object, "--timeout=90s"]);
        let ready = || {
            let slices = self.kubectl(&[
                "-n",
                &self.namespace,
                "get",
                "endpointslices",
                "-l",
                &format!("kubernetes.io/service-name={app}"),
                "-o",
                "json",
            ]);
            slices.matches("\"ready\": true").count() as u64 == u64::from(replicas)
        };
        self.wait_for("endpoints", ready);
        // kube-proxy writes its rules a little later than the endpoints are there.
        let host = format!("{app}.{}.svc.cluster.local:80", self.namespace);
        self.wait_for("an answer through the Service", || TcpStream::connect(&host).is_ok());
    }

    /// URL of a workload's Service.
    pub(crate) fn url(&self, app: &str) -> String {
        format!("http://{app}.{}.svc.cluster.local/", self.namespace)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn reports(&self) -> PathBuf {
        self.folder.path().join("reports")
    }

    /// The binary with this place's cluster and state namespace.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("SQUALL_CONTEXT", &self.context)
            .env("SQUALL_STATE_NAMESPACE", &self.state)
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn squall(&self, arguments: &[&str]) -> Ran {
        Ran::of(&self.command(arguments).output().unwrap())
    }

    /// Runs an experiment given as text. It may make no call that its plan does not name.
    #[track_caller]
    pub(crate) fn run(&self, experiment: &str) -> Ran {
        self.write("experiment.yaml", experiment);
        let ran = self.squall(&["run", "experiment.yaml"]);
        let declared = self.declared();
        let undeclared: Vec<Rule> =
            self.made().into_iter().filter(|call| !declared.iter().any(|rule| covered(call, rule))).collect();
        assert!(undeclared.is_empty(), "calls that the plan does not name: {undeclared:?}");
        ran
    }

    /// Each kind of call that the newest run made: verb, group, resource, namespace.
    pub(crate) fn made(&self) -> BTreeSet<Rule> {
        let text = self.record("calls.jsonl").and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
        text.lines().map(|line| rule(&serde_json::from_str(line).unwrap())).collect()
    }

    /// Each permission that the newest run's plan names.
    pub(crate) fn declared(&self) -> BTreeSet<Rule> {
        let text = self.record("plan.json").and_then(|path| std::fs::read_to_string(path).ok());
        let plan: Value = text.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        let of_cloud = |rule: &Value| {
            let (service, action) = rule["action"].as_str().unwrap().split_once(':').unwrap();
            (action.to_owned(), format!("{service}.amazonaws.com"), String::new(), String::new())
        };
        let mut declared: BTreeSet<Rule> = plan["permissions"].as_array().into_iter().flatten().map(rule).collect();
        declared.extend(plan["cloud"].as_array().into_iter().flatten().map(of_cloud));
        if plan["cloud"].is_array() {
            // Nobody needs leave to ask who he is; and what one may do is asked by those who may, and by others once.
            for (action, service) in [("GetCallerIdentity", "sts"), ("SimulatePrincipalPolicy", "iam")] {
                let service = format!("{service}.amazonaws.com");
                declared.insert((action.to_owned(), service, String::new(), String::new()));
            }
        }
        declared
    }

    /// Starts an experiment and returns once its record has an event that contains `text`.
    pub(crate) fn start(&self, experiment: &str, text: &str) -> Child {
        self.start_with(&[], experiment, text)
    }

    /// The same with more options of `run`.
    pub(crate) fn start_with(&self, options: &[&str], experiment: &str, text: &str) -> Child {
        self.write("experiment.yaml", experiment);
        let mut child = self.command(&[&["run", "experiment.yaml"], options].concat()).spawn().unwrap();
        let seen = || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("it ended ({status}) before `{text}` was recorded");
            }
            self.events_text().contains(text)
        };
        self.wait_for(text, seen);
        child
    }

    fn events_text(&self) -> String {
        self.record("events.jsonl").and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    }

    /// A file of the newest run record.
    pub(crate) fn record(&self, name: &str) -> Option<PathBuf> {
        let mut runs: Vec<PathBuf> =
            std::fs::read_dir(self.reports()).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
        // Two may have begun within one second, which is all that their names tell.
        let began = |run: &PathBuf| std::fs::metadata(run.join("plan.json")).and_then(|plan| plan.modified()).ok();
        let second = |run: &PathBuf| run.file_name().and_then(|name| name.to_str()?.get(..15).map(str::to_owned));
        runs.sort_by_key(|run| (second(run), began(run)));
        runs.pop().map(|run| run.join(name))
    }

    /// Id of the newest run.
    pub(crate) fn run_id(&self) -> String {
        let path = self.record("events.jsonl").unwrap();
        path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// The `what` of every event of the newest run with this type.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        self.events_text()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|event| event["what"].clone())
            .filter(|what| what["type"] == kind)
            .collect()
    }

    /// Waits until a condition holds; panics when it does not in time.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = SystemTime::now();
        while !condition() {
            assert!(start.elapsed().unwrap_or_default() < PATIENCE, "{}: waited in vain for: {what}", self.namespace);
            std::thread::sleep(LOOK);
        }
    }

    /// Nothing of Squall may be left in the cluster: no undo log, no holder of the lease, no note on an object.
    pub(crate) fn assert_clean(&self) {
        let maps = self.kubectl(&["-n", &self.state, "get", "configmaps", "-l", "squall.dev/run", "-o", "name"]);
        assert_eq!(maps, "", "an undo log is left");
        let lease =
            self.try_kubectl(&["-n", &self.state, "get", "lease", "squall", "-o", "jsonpath={.spec.holderIdentity}"]);
        assert_eq!(String::from_utf8_lossy(&lease.stdout), "", "the lease is still held");
        let objects = self.kubectl(&["-n", &self.namespace, "get", "deployments,statefulsets", "-o", "json"]);
        assert!(!objects.contains("squall.dev/undo"), "an undo note is left");
        let nodes = self.kubectl(&["get", "nodes", "-o", "json"]);
        assert!(!nodes.contains("squall.dev/undo"), "an undo note is left on a node");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for arguments in [
                &["-n", &self.namespace, "get", "pods,deployments,pdb,endpointslices", "-o", "wide"][..],
                &["-n", &self.namespace, "get", "events", "--sort-by=.lastTimestamp"],
                &["-n", &self.state, "get", "lease", "-o", "yaml"],
                &["-n", &self.state, "get", "configmaps", "-l", "squall.dev/run", "-o", "yaml"],
            ] {
                let output = self.try_kubectl(arguments);
                eprintln!("--- kubectl {arguments:?}\n{}", String::from_utf8_lossy(&output.stdout));
            }
            eprintln!("--- events\n{}", self.events_text());
        }
        if std::env::var_os("SQUALL_E2E_KEEP").is_none() {
            self.try_kubectl(&["delete", "namespace", &self.namespace, &self.state, "--wait=false"]);
        }
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails with everything that was printed unless the exit code is this one.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless something printed contains the text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let all = format!("{}\n{}", self.stdout, self.stderr);
        assert!(all.contains(text), "`{text}` was not said:\n{all}");
        self
    }
}

/// A Deployment of the test bed's `shop` with a Service of its name.
pub(crate) fn workload(app: &str, replicas: u32, arguments: &[&str], readiness: &str) -> String {
    let arguments = serde_json::to_string(arguments).unwrap();
    format!(
        r"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {app}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {app}}}}}
  template:
    metadata: {{labels: {{app: {app}}}}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: shop
          image: testbed.local/shop:1
          imagePullPolicy: IfNotPresent
          args: {arguments}
          ports: [{{containerPort: 8080}}]
          readinessProbe: {{httpGet: {{path: {readiness}, port: 8080}}, periodSeconds: 1, failureThreshold: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {app}}}
spec: {{selector: {{app: {app}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"
    )
}

/// An experiment on `web` with one step; `hypotheses` are lines of `steadyState`, `rest` goes below `spec`.
pub(crate) fn experiment(place: &Place, hypotheses: &[&str], step: &str, rest: &str) -> String {
    let hypotheses = hypotheses.iter().fold(String::new(), |text, h| text + "    - " + h + "\n");
    format!(
        r#"apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: e2e}}
spec:
  probes:
    - name: web
      rate: 50/s
      timeout: 2s
      http: {{url: "{url}"}}
  steadyState:
{hypotheses}  method:
    - name: act
      {step}
{rest}
"#,
        url = place.url("web"),
    )
}

/// Sends a signal to a process that a test started.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// An independent client, written in another language with another HTTP stack, that hits a Service meanwhile.
pub(crate) struct Witness {
    child: Child,
}

/// What the witness saw, in microseconds.
pub(crate) struct Witnessed {
    /// Its longest window from a first bad request to the next good one.
    pub(crate) outage_us: i64,
    /// Its largest lateness.
    pub(crate) late_us: i64,
}

impl Place {
    /// Starts the witness on a workload's Service: fresh connections, every 5 ms.
    pub(crate) fn witness(&self, app: &str) -> Witness {
        let url = self.url(app);
        let child = Command::new("shop")
            .args(["--witness", &url, "--interval", "5ms", "--timeout", "500ms", "--duration", "3m"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test bed's `shop` on the PATH");
        Witness { child }
    }
}

impl Witness {
    /// Ends it and reads its account.
    pub(crate) fn finish(self) -> Witnessed {
        signal(&self.child, "TERM");
        let output = self.child.wait_with_output().unwrap();
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        let length = |window: &Value| {
            let (from, to) = (window["first_bad"].as_i64().unwrap(), window["next_good"].as_i64().unwrap());
            if to == 0 { 0 } else { (to - from) / 1_000 }
        };
        let outage_us = seen["windows"].as_array().unwrap().iter().map(length).max().unwrap_or(0);
        Witnessed { outage_us, late_us: seen["max_lateness_ns"].as_i64().unwrap() / 1_000 }
    }
}
