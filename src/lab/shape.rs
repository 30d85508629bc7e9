//! What a lab is made of before any manifest is applied.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::store::named;
use super::world::Shared;

/// The size of a lab, and what fixes its chances.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Nodes, at least one. They take turns in the zones.
    pub nodes: usize,
    /// Zones, at least one: `a`, `b`, …
    pub zones: usize,
    /// Fixes every random choice.
    pub seed: u64,
    /// The wall clock when it begins.
    pub wall: Timestamp,
    /// What records call it: the options that make the same lab again.
    pub name: String,
}

/// The region that zones are named by.
const REGION: &str = "lab-1";
/// What each node has to give.
const ROOM: [(&str, &str); 4] = [("cpu", "16"), ("memory", "64Gi"), ("pods", "110"), ("ephemeral-storage", "100Gi")];
/// The namespaces of every cluster, and the one in which the runner keeps its lease and undo logs.
const NAMESPACES: [&str; 5] = ["default", "kube-node-lease", "kube-public", "kube-system", "squall"];
/// The cluster's DNS: two pods behind the Service `kube-dns`.
const DNS: &str = include_str!("dns.yaml");

impl Shape {
    pub(super) fn build(&self, shared: &Shared) {
        for name in NAMESPACES {
            create(shared, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        }
        for number in 0..self.nodes.max(1) {
            create(shared, self.node(number));
        }
        // It is our own text; the tests read it.
        for document in serde_yaml::from_multiple::<Value>(DNS).unwrap_or_default() {
            create(shared, document);
        }
    }

    fn node(&self, number: usize) -> Value {
        let name = format!("node{}", number + 1);
        let zone = u8::try_from(number % self.zones.max(1)).map_or('z', |zone| char::from(b'a' + zone.min(25)));
        let labels = json!({
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "node.kubernetes.io/instance-type": "lab",
            "topology.kubernetes.io/region": REGION,
            "topology.kubernetes.io/zone": format!("{REGION}{zone}"),
        });
        let room: serde_json::Map<String, Value> = ROOM.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        let address = format!("192.168.{}.{}", number / 250, number % 250 + 1);
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
            "message": "kubelet is posting ready status"});
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "spec": {},
            "status": {
                "capacity": room, "allocatable": room, "conditions": [ready],
                "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
                "nodeInfo": {
                    "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": super::VERSION,
                    "kubeProxyVersion": "", "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "",
                    "osImage": "squall lab", "containerRuntimeVersion": "lab://1",
                },
            },
        })
    }
}

/// Past the API server: nodes come with their status, and the rest has what defaults would add.
fn create(shared: &Shared, mut object: Value) {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let Some(kind) = named(&text("apiVersion"), &text("kind")) else { return };
    shared.with(|world| {
        super::api::defaults::apply(world, kind, &mut object);
        let wall = world.wall();
        // The names are ours, and each is there once.
        drop(world.store.create(kind, object, wall));
    });
}
