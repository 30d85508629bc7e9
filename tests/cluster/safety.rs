//! What is refused before any act, and that nothing was touched.

use std::process::Command;

use crate::support::{Place, Ran, experiment};

const TIMING: &str = "  timing: {before: 4s, during: 4s, after: 4s}\n";

fn kill(place: &Place, selector: &str, count: u32) -> String {
    format!("podKill: {{pods: {{namespace: {}, selector: {selector}, count: {count}}}}}", place.namespace)
}

fn hypothesis() -> [&'static str; 1] {
    ["{probe: web, tolerance: success >= 97%}"]
}

fn deployed(name: &str, replicas: u32) -> Place {
    let place = Place::new(name);
    place.deploy("web", replicas, &["--drain=1s"], "/readyz");
    place
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn no_targets_is_refused() {
    let place = deployed("notargets", 2);
    let before = place.pods("web");
    place
        .run(&experiment(&place, &hypothesis(), &kill(&place, "app=wbe", 1), TIMING))
        .exits(3)
        .says("app=wbe")
        .says("app=web");
    assert_eq!(place.pods("web"), before);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_limit_smaller_than_the_targets_is_refused() {
    let place = deployed("limit", 3);
    let before = place.pods("web");
    place.run(&experiment(&place, &hypothesis(), &kill(&place, "app=web", 2), TIMING)).exits(3).says("limit");
    assert_eq!(place.pods("web"), before);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn protected_namespaces_are_refused() {
    let place = deployed("protected", 1);
    let step = "podKill: {pods: {namespace: kube-system, selector: k8s-app=kube-dns, count: 1}}";
    place.run(&experiment(&place, &hypothesis(), step, TIMING)).exits(3).says("kube-system");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_missing_state_namespace_is_refused_with_the_command_that_makes_it() {
    let place = deployed("nostate", 1);
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    let ran = place.squall(&["run", "experiment.yaml", "--state-namespace", "e2e-there-is-none"]);
    ran.exits(3).says("kubectl create namespace e2e-there-is-none");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_missing_permission_names_verb_resource_and_namespace() {
    let place = deployed("rbac", 2);
    let before = place.pods("web");
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    let roles = place.squall(&["plan", "experiment.yaml", "--rbac"]).exits(0).stdout;
    let runner = Runner::new(&place, &roles);
    runner.run(&place).exits(0);

    // Without the one right that matters, nothing is touched.
    let before_second = place.pods("web");
    assert_ne!(before, before_second, "with the printed role it ran");
    runner.without_delete(&place);
    runner.run(&place).exits(3).says("delete").says("pods").says(&place.namespace);
    assert_eq!(place.pods("web"), before_second);
    runner.remove(&place);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn credentials_that_ended_or_end_too_soon_are_refused_and_say_when() {
    use base64::Engine as _;
    let place = deployed("token", 3);
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    let roles = place.squall(&["plan", "experiment.yaml", "--rbac"]).exits(0).stdout;
    let runner = Runner::new(&place, &roles);
    // Ten minutes is the shortest that the API server gives: enough for this run, too short for one of an hour.
    runner.log_in(&place, place.kubectl(&["-n", &place.state, "create", "token", "squall", "--duration=10m"]).trim());
    runner.run(&place).exits(0);
    let long = TIMING.replace("during: 4s", "during: 1h");
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), &long));
    let before = place.pods("web");
    runner.run(&place).exits(3).says("the token expires at").says("log in again for longer");

    let claims = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":1577836800}"#);
    runner.log_in(&place, &format!("e30.{claims}.e30"));
    runner.run(&place).exits(3).says(&place.context).says("the token expired at 2020-01-01T00:00:00Z: log in again");
    runner.log_in(&place, "an-opaque-token-that-nobody-gave");
    runner.run(&place).exits(3).says("does not accept the credentials").says("log in again");
    assert_eq!(place.pods("web"), before);
    runner.remove(&place);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn what_is_declared_is_what_is_called() {
    let place = deployed("declared", 3);
    let stateful = crate::support::workload("db", 3, &["--drain=1s"], "/readyz")
        .replace("kind: Deployment", "kind: StatefulSet")
        .replacen("spec:\n", "spec:\n  serviceName: db\n", 1);
    place.apply(&stateful);
    place.kubectl(&["-n", &place.namespace, "rollout", "status", "statefulset/db", "--timeout=90s"]);
    let mut declared = std::collections::BTreeSet::new();
    let mut made = std::collections::BTreeSet::new();
    let ns = &place.namespace;
    let rest = "  timing: {before: 4s, after: 2s, heal: 60s}\n  limits: {pods: 4}\n";
    for (app, kind) in [("web", "deployment"), ("db", "statefulset")] {
        let object = format!("{{object: {kind}/{app}, namespace: {ns}, tolerance: status.readyReplicas >= 0}}");
        for step in [
            format!("podKill: {{pods: {{namespace: {ns}, selector: app={app}, count: 1}}}}"),
            format!("podEvict: {{pods: {{namespace: {ns}, selector: app={app}, count: 1}}}}"),
            format!("for: 6s\n      scale: {{workload: {kind}/{app}, namespace: {ns}, replicas: 2}}"),
        ] {
            // What the service does meanwhile is not what is asked here.
            let code =
                place.run(&experiment(&place, &["{probe: web, tolerance: success >= 1%}", &object], &step, rest)).code;
            assert!([0, 5].contains(&code), "exit {code}");
            declared.extend(place.declared());
            made.extend(place.made());
        }
    }
    let unused: Vec<_> = declared.difference(&made).collect();
    assert!(unused.is_empty(), "declared and never called: {unused:#?}");
}

/// A service account with the printed roles, and a kubeconfig for it.
pub(crate) struct Runner {
    kubeconfig: String,
    roles: String,
}

impl Runner {
    pub(crate) fn new(place: &Place, roles: &str) -> Self {
        let path = place.write("roles.yaml", roles);
        let made = place.try_kubectl(&["-n", &place.state, "create", "serviceaccount", "squall"]);
        assert!(made.status.success());
        place.kubectl(&["apply", "-f", path.to_str().unwrap()]);
        let token = place.kubectl(&["-n", &place.state, "create", "token", "squall"]);
        let config: serde_json::Value =
            serde_json::from_str(&place.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]))
                .unwrap();
        let mut config = config;
        config["users"][0]["user"] = serde_json::json!({ "token": token.trim() });
        let kubeconfig = place.write("kubeconfig", &config.to_string());
        Self { kubeconfig: kubeconfig.to_str().unwrap().to_owned(), roles: path.to_str().unwrap().to_owned() }
    }

    /// The same account with another token.
    fn log_in(&self, place: &Place, token: &str) {
        let text = std::fs::read_to_string(&self.kubeconfig).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["users"][0]["user"] = serde_json::json!({ "token": token });
        place.write("kubeconfig", &config.to_string());
    }

    pub(crate) fn run(&self, place: &Place) -> Ran {
        let mut command: Command = place.command(&["run", "experiment.yaml"]);
        Ran::of(&command.env("KUBECONFIG", &self.kubeconfig).output().unwrap())
    }

    fn without_delete(&self, place: &Place) {
        let text = std::fs::read_to_string(&self.roles).unwrap();
        let without: Vec<&str> = text.lines().filter(|line| line.trim() != "- delete").collect();
        let path = place.write("less.yaml", &without.join("\n"));
        place.kubectl(&["apply", "-f", path.to_str().unwrap()]);
    }

    pub(crate) fn remove(&self, place: &Place) {
        place.kubectl(&["delete", "-f", &self.roles, "--ignore-not-found"]);
    }
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_plan_is_followed_and_refused_when_its_targets_have_drifted() {
    let place = deployed("drift", 2);
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    place.squall(&["plan", "experiment.yaml", "--out", "plan.json", "--seed", "7"]).exits(0);
    place.squall(&["run", "--plan", "plan.json"]).exits(0);
    // Its target is gone now.
    let before = place.pods("web");
    place.squall(&["run", "--plan", "plan.json"]).exits(3).says("drifted");
    assert_eq!(place.pods("web"), before);
    let text = std::fs::read_to_string(place.folder.path().join("plan.json")).unwrap();
    place.write("plan.json", &text.replacen("\"seed\": 7", "\"seed\": 8", 1));
    place.squall(&["run", "--plan", "plan.json"]).exits(3).says("hash");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_plan_for_another_cluster_is_refused() {
    let place = deployed("othercluster", 2);
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    place.squall(&["plan", "experiment.yaml", "--out", "plan.json"]).exits(0);
    // The same server under another name is another context: the plan was not made for it.
    let config = place.kubectl(&["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]);
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["contexts"][0]["name"] = "production".into();
    config["current-context"] = "production".into();
    let path = place.write("kubeconfig", &config.to_string());
    let mut command = place.command(&["run", "--plan", "plan.json"]);
    let ran = Ran::of(&command.env("KUBECONFIG", path).env("SQUALL_CONTEXT", "production").output().unwrap());
    ran.exits(3).says("production");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn an_implicit_context_is_refused() {
    let place = deployed("implicit", 1);
    place.write("experiment.yaml", &experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING));
    let mut command = place.command(&["run", "experiment.yaml"]);
    Ran::of(&command.env_remove("SQUALL_CONTEXT").output().unwrap()).exits(3).says("--context");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn two_runs_at_once_the_second_is_refused_and_names_the_first() {
    let place = deployed("two", 2);
    let long = "  timing: {before: 20s, after: 2s}\n";
    let child =
        place.start(&experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), long), "\"type\":\"phaseStarted\"");
    let first = place.run_id();
    place.run(&experiment(&place, &hypothesis(), &kill(&place, "app=web", 1), TIMING)).exits(3).says(&first);
    crate::support::signal(&child, "TERM");
    Ran::of(&child.wait_with_output().unwrap()).exits(6).says("SIGTERM");
    place.assert_clean();
}
