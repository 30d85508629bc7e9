//! kube-proxy: which endpoints each Service's address leads to, a little behind what the API says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{EndpointConditions, EndpointSlice};
use tokio::time::Instant;

use super::client::Client;
use super::load::{self, Loads};
use crate::lab::model::{Controller, Task};
use crate::lab::store::{Change, ObjectKey};
use crate::lab::world::World;

/// The label by which a slice says whose endpoints it has.
const SERVICE: &str = "kubernetes.io/service-name";

/// The rules in force, and what they have still to take in.
#[derive(Debug)]
pub(in crate::lab) struct Network {
    rules: BTreeMap<SocketAddr, Vec<SocketAddr>>,
    of: BTreeMap<ObjectKey, Vec<SocketAddr>>,
    changed: BTreeSet<ObjectKey>,
    /// What is asked of Services beside the probes.
    pub(super) loads: Loads,
    /// Where probes are sent from.
    pub(super) client: Client,
    written: Option<Instant>,
}

impl Network {
    pub(in crate::lab) fn new(seed: u64) -> Self {
        Self {
            rules: BTreeMap::new(),
            of: BTreeMap::new(),
            changed: BTreeSet::new(),
            loads: Loads::default(),
            client: Client::new(seed),
            written: None,
        }
    }

    /// The endpoints behind a Service's address and port; `None`: no Service has them.
    pub(in crate::lab) fn behind(&self, address: SocketAddr) -> Option<&[SocketAddr]> {
        self.rules.get(&address).map(Vec::as_slice)
    }

    /// The endpoints behind a Service's first port.
    pub(super) fn first_rule(&self, service: &ObjectKey) -> Option<&[SocketAddr]> {
        self.behind(*self.of.get(service)?.first()?)
    }

    /// Whether an address is one of a Service's, on whatever port.
    pub(super) fn is_service(&self, address: IpAddr) -> bool {
        let from = SocketAddr::new(address, 0);
        self.rules.range(from..).next().is_some_and(|(rule, _)| rule.ip() == address)
    }
}

/// Takes note of Services and slices that changed. Rules are written at once where it had been quiet, and else as often as kube-proxy
/// may.
pub(in crate::lab) fn observe(world: &mut World, change: &Change) {
    let object = change.object();
    let service = if object.typed::<Service>().is_some() {
        object.key.name.clone()
    } else if let Some(slice) = object.typed::<EndpointSlice>() {
        let labels = slice.metadata.labels.as_ref();
        let Some(name) = labels.and_then(|labels| labels.get(SERVICE)) else { return };
        name.clone()
    } else {
        return;
    };
    world.network.changed.insert(ObjectKey::new(object.key.namespace.clone(), service));
    let settings = &world.settings;
    let quiet = world.network.written.map(|at| settings.proxy_min_sync.saturating_sub(at.elapsed()));
    let after = quiet.unwrap_or_default().max(settings.proxy_sync);
    world.later(after, Task::Reconcile(Controller::Proxy, ObjectKey::new("", "")));
}

/// Writes the rules of what changed.
pub(in crate::lab) fn reconcile(world: &mut World, _: &ObjectKey) {
    world.network.written = Some(Instant::now());
    for key in std::mem::take(&mut world.network.changed) {
        for old in world.network.of.remove(&key).unwrap_or_default() {
            world.network.rules.remove(&old);
        }
        let rules = rules_of(world, &key);
        let addresses = rules.iter().map(|(address, _)| *address).collect();
        load::note(world, &key);
        world.network.of.insert(key, addresses);
        world.network.rules.extend(rules);
    }
    load::spread(world);
}

fn rules_of(world: &World, key: &ObjectKey) -> Vec<(SocketAddr, Vec<SocketAddr>)> {
    let Some(service) = world.store.get::<Service>(&key.namespace, &key.name) else { return Vec::new() };
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(Ok(address)) = spec.cluster_ip.as_ref().map(|ip| ip.parse::<IpAddr>()) else { return Vec::new() };
    let ports = spec.ports.iter().flatten();
    let rule = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let number = u16::try_from(port.port).ok()?;
        Some((SocketAddr::new(address, number), endpoints(world, key, port.name.as_deref())))
    };
    ports.filter_map(rule).collect()
}

/// The endpoints of a Service's port that traffic goes to: those that are ready, and where none is, those that end but still serve.
pub(super) fn endpoints(world: &World, key: &ObjectKey, port: Option<&str>) -> Vec<SocketAddr> {
    let (mut ready, mut ending) = (BTreeSet::new(), BTreeSet::new());
    for slice in slices(world, key) {
        let ports = slice.ports.iter().flatten();
        let named = ports.filter(|p| p.name.as_deref().unwrap_or_default() == port.unwrap_or_default());
        let Some(number) = named.into_iter().find_map(|p| u16::try_from(p.port?).ok()) else { continue };
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok());
            let addresses = addresses.map(|address| SocketAddr::new(address, number));
            match conditions {
                // Absent means unknown, which consumers are asked to take for ready.
                EndpointConditions { ready: None | Some(true), .. } => ready.extend(addresses),
                EndpointConditions { serving: Some(true), terminating: Some(true), .. } => ending.extend(addresses),
                _ => {}
            }
        }
    }
    let chosen = if ready.is_empty() { ending } else { ready };
    chosen.into_iter().collect()
}

fn slices(world: &World, key: &ObjectKey) -> Vec<std::sync::Arc<EndpointSlice>> {
    let of = |slice: &EndpointSlice| {
        slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE)) == Some(&key.name)
    };
    world.store.list::<EndpointSlice>(Some(&key.namespace)).filter(|slice| of(slice)).collect()
}
