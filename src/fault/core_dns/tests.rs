use serde_json::{Value, json};

use super::*;

fn fault(arguments: Value) -> CoreDns {
    serde_json::from_value(arguments).unwrap()
}

#[test]
fn arguments_that_contradict_each_other_are_told() {
    let complaints = |arguments: Value| -> Vec<String> {
        fault(arguments).check().into_iter().map(|c| format!("{}: {}", c.path.join("."), c.message)).collect()
    };
    for sound in [
        json!({"mode": "kill", "replicas": "50%"}),
        json!({"mode": "scaleToZero"}),
        json!({"mode": "nxdomain", "names": ["web.shop.svc.cluster.local"], "queries": "10%"}),
        json!({"mode": "delay", "delay": "3900ms"}),
    ] {
        assert!(complaints(sound.clone()).is_empty(), "{sound}");
    }
    for (wrong, word) in [
        (json!({"mode": "drop", "replicas": 1}), "replicas: all replicas share the Corefile"),
        (json!({"mode": "kill", "names": ["a.b"]}), "names: `mode: kill` knows no names"),
        (json!({"mode": "scaleToZero", "queries": "5%"}), "queries: `mode: scaleToZero`"),
        (json!({"mode": "delay"}), "delay: nothing says how late"),
        (json!({"mode": "delay", "delay": "500ms"}), "delay: CoreDNS's own plugins can't make a delay of 500ms"),
        (json!({"mode": "delay", "delay": "4s"}), "delay: CoreDNS's own plugins"),
        (json!({"mode": "drop", "delay": "2s"}), "delay: `mode: drop` delays nothing"),
        (json!({"mode": "kill", "replicas": 0}), "replicas: this is no replica"),
        (json!({"mode": "drop", "queries": "0%"}), "queries: `0%` meets no query"),
        (json!({"mode": "drop", "names": vec!["a.b"; 17]}), "names: these are more than 16"),
    ] {
        let found = complaints(wrong.clone());
        assert!(found.len() == 1 && found[0].starts_with(word), "{wrong}: {found:?}");
    }
}

#[test]
fn only_a_killed_pod_heals_by_itself() {
    let undoable = |mode: &str| fault(json!({ "mode": mode })).about().undoable;
    assert!(!undoable("kill") && undoable("scaleToZero") && undoable("drop"));
}

#[test]
fn counts_the_replicas_that_are_left() {
    let left = |replicas: Value| fault(json!({"mode": "scaleToZero", "replicas": replicas})).left_of(3);
    assert_eq!([json!(1), json!("50%"), json!("all"), Value::Null].map(left), [2, 2, 0, 0]);
}

#[test]
fn may_do_only_what_its_mode_does() {
    let changes = |mode: &str| -> Vec<String> {
        let all = fault(json!({ "mode": mode })).permissions();
        let changing = all.into_iter().filter(|p| !matches!(p.verb, "get" | "list"));
        changing.map(|p| format!("{} {} in {}", p.verb, p.resource, p.namespace.unwrap())).collect()
    };
    assert_eq!(changes("kill"), ["delete pods in kube-system"]);
    assert_eq!(changes("scaleToZero"), ["patch replicasets in kube-system", "patch deployments in kube-system"]);
    assert_eq!(changes("nxdomain"), ["patch configmaps in kube-system"]);
}
