//! The machines on which kubelets run: their addresses and images, and what a power cut does to what runs there.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use super::containers::{Container, Role, State};
use super::worker::{self, Stage, Worker};
use super::{Kubelets, take_up};
use crate::lab::model::objects;
use crate::lab::store::{ObjectKey, Store};
use crate::lab::world::World;

/// The addresses that a node has for its pods: `.0` is the network, `.1` the gateway, `.255` the broadcast.
const HOSTS: std::ops::RangeInclusive<u8> = 2..=254;

/// A machine.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// In order of their appearance, from 1.
    number: usize,
    /// The last part of the address that was given last.
    last: u8,
    /// Whether it has power, and an object in the API.
    on: bool,
    /// When it last came back.
    booted: Option<Instant>,
    /// When its kubelet first asked its runtime what runs.
    listed: Option<Instant>,
}

impl Kubelets {
    fn machine(&mut self, node: &str) -> &mut Machine {
        let number = self.machines.len() + 1;
        self.machines.entry(node.to_owned()).or_insert_with(|| Machine { number, ..Machine::default() })
    }

    /// A machine has run for long: what runs on it is taken over as it is, and these images are there.
    pub(super) fn run_on(&mut self, node: &str, images: impl Iterator<Item = String>) {
        self.machine(node).on = true;
        self.images.extend(images.map(|image| ((node.to_owned(), image), Instant::now())));
    }

    /// Whether a node's kubelet works.
    pub(super) fn works(&self, node: &str) -> bool {
        self.machines.get(node).is_some_and(|machine| machine.on)
    }

    /// When a node's kubelet last started, if not before everything else.
    pub(super) fn booted(&self, node: &str) -> Option<Instant> {
        self.machines.get(node)?.booted
    }

    /// A node's own address.
    pub(super) fn host(&mut self, store: &Store, node: &str) -> IpAddr {
        let object = store.get::<Node>("", node);
        let addresses = object.as_ref().and_then(|node| node.status.as_ref()?.addresses.as_ref());
        let own = addresses.into_iter().flatten().find(|address| address.type_ == "InternalIP");
        own.and_then(|address| address.address.parse().ok()).unwrap_or_else(|| {
            let [high, low] = bytes(self.machine(node).number);
            Ipv4Addr::new(192, 168, high, low).into()
        })
    }

    /// An address for a pod: the node's next that is free, as the plugin `host-local` gives them. `None`: all are taken.
    pub(super) fn address(&mut self, store: &Store, node: &str, in_host_network: bool) -> Option<IpAddr> {
        if in_host_network {
            return Some(self.host(store, node));
        }
        let Machine { number, last, .. } = *self.machine(node);
        let [high, low] = bytes(number);
        let after = HOSTS.filter(|host| *host > last).chain(HOSTS.filter(|host| *host <= last));
        let mut all = after.map(|host| (host, IpAddr::from([10, 244_u8.saturating_add(high), low, host])));
        let (host, address) = all.find(|(_, address)| !self.processes.is_taken(*address))?;
        self.machine(node).last = host;
        Some(address)
    }

    /// When an image is on a node that is pulled from now on unless it is or was already.
    pub(super) fn image(&mut self, node: &str, image: &str, pull: Duration, from: Instant) -> Instant {
        let there = self.images.entry((node.to_owned(), image.to_owned())).or_insert(from + pull);
        from.max(*there)
    }
}

/// When a node's kubelet next asks its runtime what runs, at an instant or after it: from then on it knows what happened before. Its
/// other ticker, which brings up pods whose time has come, goes at the same pace.
pub(super) fn next_relist(world: &mut World, node: &str, not_before: Instant) -> Instant {
    let period = world.settings.relist.max(Duration::from_millis(1));
    let first = if let Some(first) = world.kubelets.machine(node).listed {
        first
    } else {
        let first = Instant::now() + world.up_to(world.settings.relist_spread);
        world.kubelets.machine(node).listed = Some(first);
        first
    };
    let since = not_before.saturating_duration_since(first).as_nanos();
    let ticks = u32::try_from(since.div_ceil(period.as_nanos())).unwrap_or(u32::MAX);
    first + period * ticks
}

fn bytes(number: usize) -> [u8; 2] {
    let number = u16::try_from(number).unwrap_or(u16::MAX);
    number.to_be_bytes()
}

/// A node's power came or went, or its object did: then the machine is gone as well.
pub(in crate::lab::model) fn power_changed(world: &mut World, node: &str) {
    let on = world.store.get::<Node>("", node).is_some() && world.nodes.is_up(node);
    let known = world.kubelets.machines.contains_key(node);
    let machine = world.kubelets.machine(node);
    if std::mem::replace(&mut machine.on, on) == on {
        return;
    }
    machine.listed = None;
    if on && known {
        machine.booted = Some(Instant::now());
    }
    let here = world.kubelets.workers.values().filter(|worker| worker.node == node);
    let here: Vec<String> = here.map(|worker| worker.uid.clone()).collect();
    for uid in here {
        let Some(mut worker) = world.kubelets.workers.remove(&uid) else { continue };
        if on {
            worker.boot(world);
            worker.advance(world);
        } else {
            worker.cut(world);
        }
        if !worker.over {
            world.kubelets.workers.insert(uid, worker);
        }
    }
    if on && !world.nodes.is_cut_off(node) {
        take_up_all(world, node, false);
    }
}

/// A node's network was cut, or is whole again: then its kubelet sees what has become of its pods meanwhile, and says what has become of
/// their containers.
pub(in crate::lab::model) fn network_changed(world: &mut World, node: &str) {
    let is_cut_off = world.nodes.is_cut_off(node);
    let here = world.kubelets.workers.values_mut().filter(|worker| worker.node == node);
    let mut uids = Vec::new();
    for worker in here {
        worker.cut_off = is_cut_off;
        uids.push(worker.uid.clone());
    }
    if is_cut_off || !world.kubelets.works(node) {
        return;
    }
    for uid in uids {
        super::with(world, &uid, |world, worker| worker.heard(world));
    }
    take_up_all(world, node, true);
}

/// Has a node's kubelet see the pods that are bound to it: those that it does not know, or all.
fn take_up_all(world: &mut World, node: &str, known: bool) {
    for pod in world.store.pods_on(node) {
        let (meta, uid) = (&pod.metadata, pod.metadata.uid.as_deref().unwrap_or_default());
        if known || !world.kubelets.workers.contains_key(uid) {
            let key =
                ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
            take_up(world, &key, uid, node);
        }
    }
}

impl Worker {
    /// The node hears and is heard again: the pod may have been deleted meanwhile.
    fn heard(&mut self, world: &mut World) {
        if self.stored(world).is_none() && !self.gone {
            return self.vanished(world);
        }
        self.touch(&world.settings);
    }

    /// The node has lost its power, with all that ran on it.
    fn cut(&mut self, world: &mut World) {
        for index in 0..self.containers.len() {
            self.lost(world, index);
        }
        if let Some(sandbox) = self.sandbox {
            world.kubelets.processes.end(sandbox, true);
        }
        (self.frozen, self.planned, self.sync_at, self.relist_at) = (true, None, None, None);
    }

    /// The node has its power back: what ran starts anew, in a new sandbox, and what was to end has ended.
    fn boot(&mut self, world: &mut World) {
        // A kubelet that starts asks first what runs.
        (self.frozen, self.listed) = (false, true);
        self.release(world);
        next_relist(world, &self.node, Instant::now());
        let stored = self.stored(world).filter(|pod| !objects::is_finished(pod));
        let Some(pod) = stored else {
            self.over = true;
            return;
        };
        self.pod = pod;
        self.read_apps(&world.settings);
        self.new_probes(world);
        if self.pod.metadata.deletion_timestamp.is_some() {
            (self.ending, self.grace) = (None, 0);
            return self.deleted(world);
        }
        let again: Vec<bool> = self.containers.iter().map(|container| self.runs_again(container)).collect();
        if self.ending.is_some() || !again.contains(&true) {
            self.stage = Stage::Up;
            return self.touch(&world.settings);
        }
        for (container, _) in self.containers.iter_mut().zip(again).filter(|(_, again)| *again) {
            container.forget();
        }
        self.create_sandbox(world);
    }

    fn new_probes(&mut self, world: &mut World) {
        let pod = std::sync::Arc::clone(&self.pod);
        let Some(spec) = &pod.spec else { return };
        let init = spec.init_containers.iter().flatten();
        for of in spec.containers.iter().chain(init) {
            if let Some(container) = self.containers.iter_mut().find(|container| container.name == of.name) {
                container.probers = worker::probers(world, of, container.role, &self.node);
            }
        }
    }

    /// Whether a container runs in the sandbox after this one.
    fn runs_again(&self, container: &Container) -> bool {
        match &container.state {
            State::Ended(exit) if container.role == Role::Main => self.restarts(exit.code),
            State::Ended(_) => self.policy() != "Never",
            _ => true,
        }
    }
}
