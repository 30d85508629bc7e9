//! What can start nowhere else when a zone is lost: predicted, and held against what the scheduler does.
//!
//! As those of `aws`, it takes nodes away, and runs alone.

use serde_json::{Value, json};

use crate::aws::{Cloud, experiment, names};
use crate::support::{Place, Ran};

/// A workload of one pod whose volume can be used from one zone only.
fn stored(place: &Place, zone: &str) {
    let name = &place.namespace;
    place.apply(&format!(
        r#"apiVersion: v1
kind: PersistentVolume
metadata: {{name: {name}}}
spec:
  capacity: {{storage: 1Mi}}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  claimRef: {{namespace: {name}, name: stored}}
  hostPath: {{path: /tmp/{name}, type: DirectoryOrCreate}}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{{matchExpressions: [{{key: topology.kubernetes.io/zone, operator: In, values: [{zone}]}}]}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: stored}}
spec: {{accessModes: [ReadWriteOnce], storageClassName: "", volumeName: {name}, resources: {{requests: {{storage: 1Mi}}}}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: stored}}
spec:
  selector: {{matchLabels: {{app: stored}}}}
  template:
    metadata: {{labels: {{app: stored}}}}
    spec:
      containers: [{{name: stored, image: "testbed.local/agnhost:1", args: [pause], volumeMounts: [{{name: disk, mountPath: /disk}}]}}]
      volumes: [{{name: disk, persistentVolumeClaim: {{claimName: stored}}}}]
"#
    ));
    place.kubectl(&["-n", name, "rollout", "status", "deployment/stored", "--timeout=90s"]);
}

fn available(place: &Place, deployment: &str) -> u64 {
    place.get(&format!("deployment/{deployment}"))["status"]["availableReplicas"].as_u64().unwrap_or_default()
}

/// The scheduler itself is asked: the pods of the nodes that are gone are removed, as the cluster would within a minute.
fn assert_what_was_predicted_is_true(place: &Place) {
    for effect in place.events("effect").iter().filter(|effect| effect["target"]["kind"] == "node") {
        let on = format!("spec.nodeName={}", effect["target"]["name"].as_str().unwrap());
        place.kubectl(&[
            "-n",
            &place.namespace,
            "delete",
            "pods",
            "--field-selector",
            &on,
            "--force",
            "--grace-period=0",
        ]);
    }
    place.wait_for("what can start elsewhere", || available(place, "web") == 4);
    let reason = "jsonpath={.items[*].status.conditions[?(@.reason==\"Unschedulable\")].message}";
    let reason = place.kubectl(&["-n", &place.namespace, "get", "pods", "-l", "app=stored", "-o", reason]);
    assert!(reason.contains("PersistentVolume's node affinity"), "{reason}");
}

/// What was removed from the lost nodes was looked for elsewhere before anything was given back.
fn assert_the_prediction_was_compared(place: &Place, ran: &Ran) {
    let replaced = place.events("replaced");
    let of = |workload: &str| {
        let is_it = |one: &&Value| {
            one["displaced"]["workload"] == workload && one["displaced"]["namespace"] == place.namespace.as_str()
        };
        replaced.iter().find(is_it).unwrap_or_else(|| panic!("{workload} is not in {replaced:?}")).clone()
    };
    let stored = of("deployment/stored");
    assert_eq!((&stored["placed"], &stored["bound"]), (&json!(0), &json!(0)), "{stored}");
    assert_eq!(stored["standing"], "asPredicted");
    assert!(stored["detail"].as_str().unwrap().contains("PersistentVolume's node affinity"), "{stored}");
    // Its pods are spread over three zones: one or two of four were in this one.
    let web = of("deployment/web");
    assert_eq!((&web["placed"], &web["standing"]), (&web["displaced"]["pods"], &json!("asPredicted")), "{web}");
    let told =
        format!("deployment/stored in `{}`: 0 of 1 displaced pod placed elsewhere, as predicted", place.namespace);
    assert!(ran.stdout.contains(&told), "{}", ran.stdout);
    let events = std::fs::read_to_string(place.record("events.jsonl").unwrap()).unwrap();
    let first = |kind: &str| events.find(&format!("\"type\":\"{kind}\"")).unwrap();
    assert!(first("replaced") < first("undone"), "it was looked for too late");
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn a_lost_zone_stays_lost_until_its_groups_are_given_back_and_what_can_not_start_elsewhere_was_predicted() {
    let (cloud, place) = (Cloud::new(), Place::new("zone"));
    place.deploy("web", 4, &["--drain=2s"], "/readyz");
    stored(&place, "us-east-1c");
    cloud.suspend("workers-multi", "AlarmNotification");
    let step = "for: 30s\n      zoneOutage: {zone: us-east-1c}";
    let text = experiment(&place, step, "  limits: {nodes: 2, groups: 2}\n");
    let child = place.start(&text, "\"type\":\"effect\"");
    place.wait_for("all effects", || place.events("effect").len() == 4);
    let state: Value = serde_json::from_str(&cloud.control(&["state"])).unwrap();
    let launched = |group: &str| {
        let members = state["groups"][group]["members"].as_object().unwrap().values();
        members.filter(|member| member["zone"] == "us-east-1c" && member["ec2"] == "running").count()
    };
    assert_eq!((launched("workers-c"), launched("workers-multi")), (0, 0), "{state}");
    assert_what_was_predicted_is_true(&place);
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(0);
    let predicted: Vec<&str> = ran.stdout.lines().filter(|line| line.contains("predicted: ")).collect();
    let workload = format!(
        "1 pod of deployment/stored in `{}` will not start elsewhere until the zone is back: volume",
        place.namespace
    );
    assert!(predicted.len() == 1 && predicted[0].contains(&workload), "{predicted:?}");
    assert_the_prediction_was_compared(&place, &ran);

    let (injected, undone) = (place.events("injected"), place.events("undone"));
    let instant = |event: &Value, key: &str| event[key].as_i64().unwrap();
    let of = |kind: &str| injected.iter().filter(|event| event["target"]["kind"] == kind).cloned().collect::<Vec<_>>();
    let (groups, nodes) = (of("group"), of("node"));
    assert_eq!((groups.len(), nodes.len(), undone.len()), (2, 2, 2));
    let held = groups.iter().map(|event| instant(event, "answered")).max().unwrap();
    let killed = nodes.iter().map(|event| instant(event, "sent")).min().unwrap();
    assert!(held <= killed, "the first instance went before the last group was held");
    assert_eq!(cloud.suspended("workers-c"), names(&[]));
    assert_eq!(cloud.suspended("workers-multi"), names(&["AlarmNotification"]));
    cloud.assert_unmarked();
    cloud.control(&["wait", "90"]);
    place.wait_for("what waited for its zone", || available(&place, "stored") == 1);
    place.assert_clean();
    place.kubectl(&["delete", "pv", &place.namespace, "--wait=false"]);
}
