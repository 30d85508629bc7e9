//! `coreDns`, the fault on what all pods share: what is broken is broken at the resolver, nothing else is, and it is whole afterwards.
//!
//! The kubelet takes up to a minute and a half to bring an edited ConfigMap to the pods that mount it, but does so at once for a pod
//! that changes: the tests annotate CoreDNS's pods to spare that time, as an administrator in a hurry would.

use std::process::Child;

use serde_json::{Value, json};

use crate::support::{Place, Ran, signal};

const NAMESPACE: [&str; 2] = ["-n", "kube-system"];

/// CoreDNS as it was when the test began, which it is given back when the test fails half way.
struct Dns<'p> {
    place: &'p Place,
    corefile: String,
    replicas: i64,
}

impl<'p> Dns<'p> {
    fn of(place: &'p Place) -> Self {
        let dns = Self { place, corefile: String::new(), replicas: 0 };
        let (corefile, replicas) = (dns.corefile_now(), dns.replicas_now());
        Self { corefile, replicas, ..dns }
    }

    fn get(&self, object: &str) -> Value {
        let text = self.place.kubectl(&[&NAMESPACE[..], &["get", object, "-o", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    fn corefile_now(&self) -> String {
        self.get("configmap/coredns")["data"]["Corefile"].as_str().unwrap().to_owned()
    }

    fn replicas_now(&self) -> i64 {
        self.get("deployment/coredns")["spec"]["replicas"].as_i64().unwrap()
    }

    fn write(&self, corefile: &str) {
        let patch = json!({ "data": { "Corefile": corefile } }).to_string();
        self.place.kubectl(&[&NAMESPACE[..], &["patch", "configmap/coredns", "--type=merge", "-p", &patch]].concat());
    }

    /// Makes the kubelets look at CoreDNS's pods, and with them at the ConfigMap, now.
    fn hurry(&self) {
        let pods = ["annotate", "pods", "-l", "k8s-app=kube-dns", "--overwrite"];
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let value = format!("e2e.squall.dev/looked-at={}", now.as_millis());
        self.place.try_kubectl(&[&NAMESPACE[..], &pods, &[&value]].concat());
    }

    /// Hurries until the record of the run has an event of this type, and no longer.
    fn hurry_until(&self, kind: &str) {
        self.place.wait_for(kind, || {
            self.hurry();
            !self.place.events(kind).is_empty()
        });
    }

    /// Nothing of ours is left in it.
    fn assert_as_before(&self) {
        assert_eq!(self.corefile_now(), self.corefile);
        assert_eq!(self.replicas_now(), self.replicas);
        for object in ["configmap/coredns", "deployment/coredns"] {
            assert!(!self.get(object).to_string().contains("squall.dev/undo"), "{object} carries an undo note");
        }
    }
}

impl Drop for Dns<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let corefile =
                json!({"metadata": {"annotations": {"squall.dev/undo": null}}, "data": {"Corefile": self.corefile}});
            let replicas =
                json!({"metadata": {"annotations": {"squall.dev/undo": null}}, "spec": {"replicas": self.replicas}});
            for (object, patch) in [("configmap/coredns", corefile), ("deployment/coredns", replicas)] {
                self.place.try_kubectl(
                    &[&NAMESPACE[..], &["patch", object, "--type=merge", "-p", &patch.to_string()]].concat(),
                );
            }
        }
        self.hurry();
    }
}

fn place(name: &str) -> Place {
    let place = Place::new(name);
    place.deploy("web", 2, &["--drain=1s"], "/readyz");
    place
}

/// Asks for the workload's name and for another one, and sends requests over connections that are kept.
fn experiment(place: &Place, step: &str) -> String {
    let name = format!("web.{}.svc.cluster.local.", place.namespace);
    format!(
        r#"apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: dns}}
spec:
  probes:
    - {{name: name, rate: 20/s, timeout: 800ms, dns: {{name: "{name}"}}}}
    - {{name: other, rate: 20/s, timeout: 800ms, dns: {{name: kubernetes.default.svc.cluster.local.}}}}
    - {{name: web, rate: 20/s, timeout: 2s, http: {{url: "http://{name}/", connection: keepAlive}}}}
  steadyState:
    - {{probe: name, tolerance: success >= 90%, when: [before]}}
    - {{probe: other, tolerance: success >= 90%, when: [before]}}
    - {{probe: web, tolerance: success >= 95%}}
  method:
    - name: break
      {step}
  timing: {{before: 4s, after: 4s, heal: 120s}}
  limits: {{pods: 2}}
"#
    )
}

/// What the bad requests of a probe came to.
fn bad(place: &Place, probe: &str) -> std::collections::BTreeMap<String, u64> {
    let mut bad = std::collections::BTreeMap::new();
    for second in place.events("interval").iter().filter(|second| second["probe"] == probe) {
        for (class, count) in second["bad"].as_object().unwrap() {
            *bad.entry(class.clone()).or_default() += count.as_u64().unwrap();
        }
    }
    bad
}

fn ended(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().unwrap())
}

/// Runs a mode that edits the Corefile, on the workload's name alone.
fn edited(place: &Place, dns: &Dns<'_>, arguments: &str) {
    let names = format!("names: [web.{}.svc.cluster.local]", place.namespace);
    let step = format!("for: 15s\n      coreDns: {{{arguments}, {names}}}");
    // What is waited for is an event of this run, not of one before it.
    let _nothing_yet = std::fs::remove_dir_all(place.reports());
    let child = place.start(&experiment(place, &step), "\"type\":\"injected\"");
    assert!(dns.corefile_now().ends_with(&dns.corefile) && dns.corefile_now() != dns.corefile);
    dns.hurry_until("effect");
    dns.hurry_until("undone");
    dns.hurry_until("healed");
    ended(child).exits(0);
    let effect = &place.events("effect")[0];
    assert_eq!((&effect["seen"], &place.events("healed")[0]["healed"]), (&json!(true), &json!(true)), "{effect}");
    assert_eq!(bad(place, "other").values().sum::<u64>(), 0, "every other name is answered as before");
    dns.assert_as_before();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn at_no_replicas_names_fail_and_kept_connections_do_not() {
    let place = place("dnszero");
    let dns = Dns::of(&place);
    place.run(&experiment(&place, "for: 8s\n      coreDns: {mode: scaleToZero}")).exits(0);
    assert!(bad(&place, "name").values().sum::<u64>() > 60, "{:?}", bad(&place, "name"));
    let effect = &place.events("effect")[0];
    assert!(effect["detail"].as_str().unwrap().contains("gives no answer"), "{effect}");
    assert!(place.events("healed")[0]["detail"].as_str().unwrap().contains("answer as before"));
    dns.assert_as_before();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_killed_replica_comes_back() {
    let place = place("dnskill");
    let dns = Dns::of(&place);
    place.run(&experiment(&place, "coreDns: {mode: kill, replicas: 1}")).exits(0);
    assert_eq!(place.events("injected").len(), 1);
    assert!(place.events("undone").is_empty(), "there is nothing to take back");
    assert_eq!(place.events("healed")[0]["healed"], true);
    dns.assert_as_before();
    // What its owner protects is closed to this fault too, and two pods are more than one.
    let two = experiment(&place, "coreDns: {mode: kill, replicas: all}").replace("pods: 2", "pods: 1");
    place.run(&two).exits(3).says("limits.pods");
    place.kubectl(&[&NAMESPACE[..], &["annotate", "deployment/coredns", "squall.dev/protected=true"]].concat());
    let refused = place.run(&experiment(&place, "coreDns: {mode: scaleToZero}"));
    place.kubectl(&[&NAMESPACE[..], &["annotate", "deployment/coredns", "squall.dev/protected-"]].concat());
    refused.exits(3).says("protected by its owner");
    place.run(&experiment(&place, "coreDns: {mode: drop, deployment: kube-proxy}")).exits(3).says("kube-proxy");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn one_name_does_not_exist_and_every_other_does() {
    let place = place("dnsname");
    let dns = Dns::of(&place);
    edited(&place, &dns, "mode: nxdomain");
    assert!(bad(&place, "name")["dns-nxdomain"] > 20, "{:?}", bad(&place, "name"));
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn each_way_to_break_an_answer_is_seen_at_the_resolver() {
    let place = place("dnsways");
    let dns = Dns::of(&place);
    for (arguments, class) in [
        ("mode: servfail, queries: 50%", "dns-servfail"),
        ("mode: refuse", "dns-refused"),
        ("mode: drop", "dns-timeout"),
        ("mode: delay, delay: 1s", "dns-timeout"),
    ] {
        edited(&place, &dns, arguments);
        assert!(
            bad(&place, "name").get(class).is_some_and(|count| *count > 20),
            "{arguments}: {:?}",
            bad(&place, "name")
        );
    }
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn what_somebody_else_writes_into_the_corefile_stays_and_is_reported() {
    let place = place("dnsforeign");
    let dns = Dns::of(&place);
    let step = "for: 5s\n      coreDns: {mode: refuse, names: [nobody.example]}";
    let child = place.start(&experiment(&place, step), "\"type\":\"injected\"");
    let theirs = |text: &str| text.replace("errors\n", "errors\n    log corp.example\n");
    dns.write(&theirs(&dns.corefile_now()));
    ended(child).exits(8).says("somebody else edited the Corefile");
    assert_eq!(dns.corefile_now(), theirs(&dns.corefile));
    assert_ne!(dns.corefile_now(), dns.corefile, "they did write");
    assert_eq!(place.events("undone")[0]["outcome"], "conflict");
    dns.write(&dns.corefile);
    dns.assert_as_before();
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn after_kill_nine_another_machine_and_the_notes_alone_take_it_back() {
    let place = place("dnskillnine");
    let dns = Dns::of(&place);
    for mode in ["mode: refuse, names: [nobody.example]", "mode: scaleToZero, replicas: 1"] {
        for scan in [false, true] {
            let step = format!("for: 60s\n      coreDns: {{{mode}}}");
            let mut child = place.start_with(&["--no-guard"], &experiment(&place, &step), "\"type\":\"injected\"");
            signal(&child, "KILL");
            child.wait().unwrap();
            let run = place.run_id();
            assert!(dns.corefile_now() != dns.corefile || dns.replicas_now() != dns.replicas);
            std::fs::remove_dir_all(place.reports()).unwrap();
            if scan {
                place.kubectl(&["-n", &place.state, "delete", "configmap", &format!("squall-run-{run}")]);
                let found = place.squall(&["recover", "--scan", "--force", "--namespace", "kube-system"]);
                found.exits(0).says(&format!("{run}: clean"));
            } else {
                place.squall(&["recover", "--force"]).exits(0).says(&format!("{run}: clean"));
            }
            dns.assert_as_before();
        }
    }
    place.assert_clean();
}
