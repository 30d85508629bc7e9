//! Defaults of Services, and their addresses and node ports.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::{each, fill, is_text};
use crate::lab::world::World;

/// The ports that a node lends to Services: `--service-node-port-range`.
const NODE_PORTS: std::ops::RangeInclusive<i32> = 30_000..=32_767;

pub(super) fn service(world: &World, json: &mut Value) {
    let Some(spec) = json.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    fill(spec, "type", "ClusterIP");
    fill(spec, "sessionAffinity", "None");
    if is_text(spec, "sessionAffinity", "ClientIP") {
        fill(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }
    for port in each(spec, "ports") {
        fill(port, "protocol", "TCP");
        let same = port.get("port").cloned().unwrap_or_default();
        fill(port, "targetPort", same);
    }
    let outside = is_text(spec, "type", "NodePort") || is_text(spec, "type", "LoadBalancer");
    if outside {
        fill(spec, "externalTrafficPolicy", "Cluster");
        node_ports(world, spec);
    }
    if is_text(spec, "type", "LoadBalancer") {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
    if is_text(spec, "type", "ExternalName") {
        return;
    }
    fill(spec, "internalTrafficPolicy", "Cluster");
    fill(spec, "ipFamilies", json!(["IPv4"]));
    fill(spec, "ipFamilyPolicy", "SingleStack");
    let address = spec.get("clusterIP").and_then(Value::as_str).filter(|address| !address.is_empty());
    let address = address.map_or_else(|| free_address(world), ToOwned::to_owned);
    spec["clusterIP"] = address.clone().into();
    fill(spec, "clusterIPs", json!([address]));
}

/// The first address of 10.96.0.0/16 that nobody has, beyond those that are kept for Services that name theirs.
fn free_address(world: &World) -> String {
    let specs: Vec<_> = world.store.list::<Service>(None).filter_map(|service| service.spec.clone()).collect();
    let taken: BTreeSet<&str> = specs.iter().filter_map(|spec| spec.cluster_ip.as_deref()).collect();
    let mut all = (1..=255).flat_map(|high| (1..255).map(move |low| format!("10.96.{high}.{low}")));
    all.find(|address| !taken.contains(address.as_str())).unwrap_or_default()
}

fn node_ports(world: &World, spec: &mut Value) {
    let specs: Vec<_> = world.store.list::<Service>(None).filter_map(|service| service.spec.clone()).collect();
    let ports = specs.iter().flat_map(|spec| spec.ports.iter().flatten());
    let mut taken: BTreeSet<i32> = ports.filter_map(|port| port.node_port).collect();
    for port in each(spec, "ports") {
        if let Some(free) = NODE_PORTS.into_iter().find(|free| !taken.contains(free)) {
            fill(port, "nodePort", free);
            taken.insert(free);
        }
    }
}
