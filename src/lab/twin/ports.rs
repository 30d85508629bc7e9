//! Ports that answer though nobody declares them.
//!
//! To declare a port of a container only informs. The lab takes what is declared for all that a container listens on, so that a probe of
//! another port fails there, as it mostly does. Of a container that is ready it is seen that its probes' ports answer: they are added.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::items;

/// A workload, as its pods and its own object are known by, and a container of it.
type Of<P> = (P, String);

const PROBES: [&str; 3] = ["/readinessProbe", "/livenessProbe", "/startupProbe"];
const PORTS: [&str; 3] = ["/httpGet/port", "/tcpSocket/port", "/grpc/port"];

/// Adds them, to pods and templates alike. `tops` are the objects' workloads, one for each.
pub(super) fn declare<P: Ord + Clone>(objects: &mut [Value], tops: &[P]) {
    let mut seen: BTreeMap<Of<P>, BTreeSet<u64>> = BTreeMap::new();
    for (pod, top) in objects.iter().zip(tops).filter(|(object, _)| object["kind"] == "Pod") {
        for container in items(pod, "/spec/containers").filter(|container| is_ready(pod, container)) {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            seen.entry((top.clone(), name)).or_default().extend(undeclared(container));
        }
    }
    for (object, top) in objects.iter_mut().zip(tops) {
        let containers = if object["kind"] == "Pod" { "/spec/containers" } else { "/spec/template/spec/containers" };
        let containers = object.pointer_mut(containers).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let missing = undeclared(container);
            let found = seen.get(&(top.clone(), name)).into_iter().flatten().filter(|port| missing.contains(port));
            let found: Vec<Value> = found.map(|port| json!({"containerPort": port, "protocol": "TCP"})).collect();
            if let Some(ports) = container["ports"].as_array_mut() {
                ports.extend(found);
            }
        }
    }
}

fn is_ready(pod: &Value, container: &Value) -> bool {
    let mut statuses = items(pod, "/status/containerStatuses");
    statuses.any(|status| status["name"] == container["name"] && status["ready"] == true)
}

/// Ports that its probes ask, and that it does not declare. One that declares none is taken to listen wherever it is asked.
fn undeclared(container: &Value) -> BTreeSet<u64> {
    let declared: BTreeSet<u64> =
        items(container, "/ports").filter_map(|port| port["containerPort"].as_u64()).collect();
    if declared.is_empty() {
        return declared;
    }
    let probes = PROBES.iter().filter_map(|probe| container.pointer(probe));
    let asked = probes.flat_map(|probe| PORTS.iter().filter_map(|port| probe.pointer(port)?.as_u64()));
    asked.filter(|port| !declared.contains(port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_a_probe_is_a_port_and_what_does_not_is_none() {
        let container = json!({"name": "dns", "ports": [{"containerPort": 53}],
            "readinessProbe": {"httpGet": {"port": 8181}}, "livenessProbe": {"tcpSocket": {"port": 53}}});
        let pod = |ready: bool| {
            json!({"kind": "Pod", "spec": {"containers": [container]},
                "status": {"containerStatuses": [{"name": "dns", "ready": ready}]}})
        };
        let deployment = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [container]}}}});
        for (ready, ports) in [(true, json!([53, 8181])), (false, json!([53]))] {
            let mut objects = [pod(ready), deployment.clone()];
            declare(&mut objects, &["a", "a"]);
            for (object, at) in objects.iter().zip(["/spec/containers", "/spec/template/spec/containers"]) {
                let container = items(object, at).next().unwrap();
                let found: Vec<_> = items(container, "/ports").map(|port| port["containerPort"].clone()).collect();
                assert_eq!(json!(found), ports, "{ready} {at}");
            }
        }
    }
}
