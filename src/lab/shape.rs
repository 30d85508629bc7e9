//! What a lab is made of before any manifest is applied.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::cloud::{self, Site};
use super::store::named;
use super::world::{Shared, World};

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
    /// The AWS account that its nodes are instances of; without one they are machines of nobody's.
    pub aws: Option<Site>,
}

/// The region that zones are named by where no account says another.
const REGION: &str = "lab-1";
/// The type of each machine.
pub(super) const INSTANCE_TYPE: &str = "lab";
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
        let region = self.aws.as_ref().map_or(REGION, |site| &site.region);
        let zones = self.zones.max(1);
        let zone = |number: usize| {
            let letter = u8::try_from(number % zones).map_or('z', |zone| char::from(b'a' + zone.min(25)));
            format!("{region}{letter}")
        };
        if let Some(site) = &self.aws {
            shared.with(|world| cloud::lay_out(world, site, &(0..zones).map(zone).collect(), self.seed));
        }
        for number in 0..self.nodes.max(1) {
            shared.with(|world| {
                let zone = zone(number);
                let provider = cloud::enlist(world, &zone).map(|instance| cloud::provider_id(&zone, &instance));
                let place = Place { region, zone: &zone, provider: provider.as_deref() };
                add(world, node(&node_name(number), &address(number), &place));
            });
        }
        create(shared, storage_class());
        // It is our own text; the tests read it.
        for document in serde_yaml::from_multiple::<Value>(DNS).unwrap_or_default() {
            create(shared, document);
        }
    }
}

/// Where a node is.
pub(super) struct Place<'a> {
    pub region: &'a str,
    pub zone: &'a str,
    /// By which the cloud knows its machine.
    pub provider: Option<&'a str>,
}

/// The name of the node of this number, from 0.
pub(super) fn node_name(number: usize) -> String {
    format!("node{}", number + 1)
}

/// Its address.
pub(super) fn address(number: usize) -> String {
    format!("192.168.{}.{}", number / 250, number % 250 + 1)
}

/// A node that is Ready.
pub(super) fn node(name: &str, address: &str, place: &Place<'_>) -> Value {
    let labels = json!({
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": INSTANCE_TYPE,
        "topology.kubernetes.io/region": place.region,
        "topology.kubernetes.io/zone": place.zone,
    });
    let room: serde_json::Map<String, Value> = ROOM.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady",
        "message": "kubelet is posting ready status"});
    let spec = place.provider.map_or_else(|| json!({}), |provider| json!({"providerID": provider}));
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": spec,
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

/// The class of claims that name none: disks that are made for the node of their pod, as clusters of the clouds have it.
fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "disk.lab.squall.dev", "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
    })
}

/// Past the API server: nodes come with their status, and the rest has what defaults would add.
fn create(shared: &Shared, object: Value) {
    shared.with(|world| add(world, object));
}

/// The same of a world that is open already.
pub(super) fn add(world: &mut World, mut object: Value) {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let Some(kind) = named(&text("apiVersion"), &text("kind")) else { return };
    super::api::defaults::apply(world, kind, &mut object);
    let wall = world.wall();
    // The names are ours, and each is there once.
    drop(world.store.create(kind, object, wall));
}
