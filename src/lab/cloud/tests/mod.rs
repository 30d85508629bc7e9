//! Tests of the cloud's rules, through the SDK's own clients where Squall makes the call, and by the form itself where only others do.

mod groups;
mod instances;
mod isolation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;

use super::calls;
use crate::cluster::{Cloud, Cluster, Group, Instance, Let};
use crate::lab::testing::{WALL, pass};
use crate::lab::{Groups, Lab, Shape, Site};

/// The tag of groups and instances.
const TAG: &str = "kubernetes.io/cluster/lab";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A cluster of so many nodes in three zones, which may change everything.
struct Place {
    lab: Lab,
    cluster: Cluster,
}

impl Place {
    fn new(nodes: usize, groups: Groups) -> Self {
        let site = Site { groups, ..Site::default() };
        let wall = Timestamp::from_second(WALL).unwrap();
        let lab = Lab::new(&Shape { nodes, zones: 3, seed: 7, wall, name: "lab".to_owned(), aws: Some(site) });
        let cluster = lab.cluster();
        let all = Let { verb: None, group: None, resource: String::new(), namespace: String::new(), name: None };
        cluster.leash().let_through([all]);
        Self { lab, cluster }
    }

    fn cloud(&self) -> &Cloud {
        self.cluster.cloud().unwrap()
    }

    async fn group(&self, name: &str) -> Group {
        self.cloud().group(name).await.unwrap().unwrap()
    }

    async fn instance(&self, id: &str) -> Option<Instance> {
        self.cloud().instances(&[id.to_owned()]).await.unwrap().pop()
    }

    /// A call by its form: the status, and the answer.
    fn call(&self, version: &str, form: &str) -> (u16, String) {
        let body = format!("Version={version}&{form}");
        self.lab.shared.with(|world| calls::answer(world, "127.0.0.1", body.as_bytes()))
    }

    fn scaling(&self, form: &str) -> (u16, String) {
        self.call("2011-01-01", form)
    }

    fn ec2(&self, form: &str) -> (u16, String) {
        self.call("2016-11-15", form)
    }

    fn node(&self, name: &str) -> Option<Node> {
        self.lab.shared.read(|world| world.store.get::<Node>("", name).map(|node| Node::clone(&node)))
    }

    fn is_ready(&self, name: &str) -> bool {
        let node = self.node(name);
        let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions);
        conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
    }

    /// The instance of a node.
    fn id_of(&self, node: &str) -> String {
        let provider = self.node(node).unwrap().spec.unwrap().provider_id.unwrap();
        provider.rsplit('/').next().unwrap().to_owned()
    }

    /// Nodes that are Ready, by zone.
    fn ready(&self) -> BTreeMap<String, usize> {
        let nodes = self.lab.shared.read(|world| world.store.list::<Node>(None).collect::<Vec<_>>());
        let mut ready = BTreeMap::new();
        for node in nodes.iter().filter(|node| self.is_ready(node.metadata.name.as_deref().unwrap())) {
            let zone = node.metadata.labels.as_ref().unwrap()["topology.kubernetes.io/zone"].clone();
            *ready.entry(zone).or_default() += 1;
        }
        ready
    }

    fn subnets_of(&self, zone: &str) -> BTreeSet<String> {
        self.lab.shared.read(|world| {
            let subnets = &world.aws.as_ref().unwrap().subnets;
            subnets.iter().filter(|(_, subnet)| subnet.zone == zone).map(|(id, _)| id.clone()).collect()
        })
    }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn zones(all: &[(&str, usize)]) -> BTreeMap<String, usize> {
    all.iter().map(|(zone, count)| ((*zone).to_owned(), *count)).collect()
}

fn code(answer: &(u16, String)) -> &str {
    let after = answer.1.split("<Code>").nth(1).unwrap_or("no code");
    after.split('<').next().unwrap()
}
