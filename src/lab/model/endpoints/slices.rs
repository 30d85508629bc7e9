//! Which endpoint goes into which slice: with as few slices written as may be, and no endpoint moved without need.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// The most endpoints in a slice.
const MOST: usize = 100;

/// Name, protocol, number and application protocol.
pub(super) type Port = (String, String, i32, Option<String>);
/// The ports of one slice.
pub(super) type Ports = Vec<Port>;
/// The endpoints that there are to be, by their ports.
pub(super) type Wanted = BTreeMap<Ports, Vec<Endpoint>>;
/// What a slice says.
type Content = (Ports, Vec<Endpoint>);

/// What is to be done with the slices.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Slices that stay, by name; `None`: as they are.
    pub keep: Vec<(String, Option<Content>)>,
    pub create: Vec<Content>,
    pub delete: Vec<String>,
}

/// What brings a Service's slices to what is wanted.
pub(super) fn plan(slices: Vec<Arc<EndpointSlice>>, mut wanted: Wanted) -> Plan {
    let mut plan = Plan::default();
    let mut groups: BTreeMap<Ports, Vec<Arc<EndpointSlice>>> = BTreeMap::new();
    for slice in slices {
        groups.entry(ports(&slice)).or_default().push(slice);
    }
    let mut empty = None;
    for (ports, slices) in groups {
        match wanted.remove(&ports) {
            Some(endpoints) => fill(&mut plan, &ports, &slices, endpoints),
            None => {
                for slice in slices {
                    // One without ports and endpoints stands for there being nothing.
                    if ports.is_empty() && slice.endpoints.is_empty() && empty.is_none() {
                        empty = Some(name(&slice));
                    } else {
                        plan.delete.push(name(&slice));
                    }
                }
            }
        }
    }
    for (ports, endpoints) in wanted {
        fill(&mut plan, &ports, &[], endpoints);
    }
    match (empty, plan.keep.is_empty() && plan.create.is_empty()) {
        (Some(empty), true) => plan.keep.push((empty, None)),
        (Some(empty), false) => plan.delete.push(empty),
        (None, true) => plan.create.push((Ports::new(), Vec::new())),
        (None, false) => {}
    }
    // Rather than delete one and create another, the one becomes the other.
    while let (Some(content), false) = (plan.create.last(), plan.delete.is_empty()) {
        plan.keep.push((plan.delete.remove(0), Some(content.clone())));
        plan.create.pop();
    }
    plan
}

/// Places the endpoints of the same ports.
fn fill(plan: &mut Plan, ports: &Ports, slices: &[Arc<EndpointSlice>], endpoints: Vec<Endpoint>) {
    let mut left: BTreeMap<Identity, Endpoint> = endpoints.into_iter().map(|one| (identity(&one), one)).collect();
    let mut unchanged: Vec<(String, Vec<Endpoint>)> = Vec::new();
    let mut changed: Vec<(String, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let kept: Vec<Endpoint> = slice.endpoints.iter().filter_map(|was| left.remove(&identity(was))).collect();
        if kept == slice.endpoints {
            unchanged.push((name(slice), kept));
        } else if kept.is_empty() {
            plan.delete.push(name(slice));
        } else {
            changed.push((name(slice), kept));
        }
    }
    let mut left: VecDeque<Endpoint> = left.into_values().collect();
    // What is written anyway is filled first, the fullest before the others.
    changed.sort_by_key(|(_, endpoints)| Reverse(endpoints.len()));
    for (_, endpoints) in &mut changed {
        let room = MOST.saturating_sub(endpoints.len()).min(left.len());
        endpoints.extend(left.drain(..room));
    }
    while !left.is_empty() {
        let fitting = unchanged.iter().enumerate().filter(|(_, (_, endpoints))| endpoints.len() + left.len() <= MOST);
        if let Some((fullest, _)) = fitting.max_by_key(|(_, (_, endpoints))| endpoints.len()) {
            let (name, mut endpoints) = unchanged.remove(fullest);
            endpoints.extend(left.drain(..));
            changed.push((name, endpoints));
        } else {
            let some = left.len().min(MOST);
            plan.create.push((ports.clone(), left.drain(..some).collect()));
        }
    }
    plan.keep.extend(unchanged.into_iter().map(|(name, _)| (name, None)));
    plan.keep.extend(changed.into_iter().map(|(name, endpoints)| (name, Some((ports.clone(), endpoints)))));
}

/// What makes an endpoint that very one: its pod's name and uid, and its address.
type Identity = (Option<String>, Option<String>, Vec<String>);

fn identity(endpoint: &Endpoint) -> Identity {
    let target = endpoint.target_ref.as_ref();
    let (name, uid) = (target.and_then(|pod| pod.name.clone()), target.and_then(|pod| pod.uid.clone()));
    (name, uid, endpoint.addresses.clone())
}

fn ports(slice: &EndpointSlice) -> Ports {
    let all = slice.ports.iter().flatten();
    all.map(|port| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        (text(&port.name), text(&port.protocol), port.port.unwrap_or(0), port.app_protocol.clone())
    })
    .collect()
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}
