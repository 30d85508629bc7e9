//! The leases of nodes in `kube-node-lease`: each kubelet renews its own every 10 s, for 40 s.
//!
//! Nobody writes them while nobody looks: when a lease was last renewed follows from when its kubelet began and whether its node has power.
//! Whoever reads them through the API finds them as renewed as they are then, and for as long as somebody watches them each renewal is
//! written at its time. An hour of two hundred nodes has 72,000 of them.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;

use super::{LEASES, after, at, before};
use crate::lab::world::World;

/// Where they lie.
pub(super) const NAMESPACE: &str = "kube-node-lease";
/// How long one holds (`nodeLeaseDurationSeconds`).
const HOLDS: i32 = 40;

/// The row of a node's renewals.
#[derive(Debug, Clone, Copy)]
pub(super) struct Renewals {
    /// One of them.
    from: Timestamp,
    /// The last, of a node without power.
    last: Option<Timestamp>,
}

/// A node is there: its kubelet makes its lease.
pub(super) fn join(world: &mut World, node: &Node) {
    let name = node.metadata.name.clone().unwrap_or_default();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let now = world.wall();
    world.nodes.renewals.remove(&name);
    let spec = LeaseSpec {
        holder_identity: Some(name.clone()),
        lease_duration_seconds: Some(HOLDS),
        renew_time: Some(micro(now)),
        ..LeaseSpec::default()
    };
    let there = world.store.update::<Lease>(NAMESPACE, &name, |lease| {
        lease.metadata.owner_references = Some(vec![owner.clone()]);
        lease.spec = Some(spec.clone());
    });
    if there.is_none() {
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(NAMESPACE.to_owned()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        };
        // A cluster without the namespace has none, as a twin may.
        drop(world.store.add(&Lease { metadata, spec: Some(spec) }, now));
    }
}

/// The API keeps whole microseconds.
fn micro(time: Timestamp) -> MicroTime {
    MicroTime(Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time))
}

/// When a node's lease was last renewed, as its controller knows.
pub(super) fn renewed(world: &mut World, node: &str) -> Timestamp {
    let (now, every) = (world.wall(), world.settings.heartbeat);
    let renewals = if let Some(renewals) = world.nodes.renewals.get(node) {
        *renewals
    } else {
        // Kubelets did not all begin at once.
        let ago = world.up_to(every);
        let renewals = Renewals { from: before(now, ago), last: None };
        world.nodes.renewals.insert(node.to_owned(), renewals);
        renewals
    };
    let since = Duration::try_from(now.duration_since(renewals.from)).unwrap_or_default();
    let rows = u32::try_from(since.as_nanos() / every.as_nanos().max(1)).unwrap_or(u32::MAX);
    renewals.last.unwrap_or_else(|| after(renewals.from, every.saturating_mul(rows)))
}

/// A node loses its power: nothing is renewed after the last time, which this says.
pub(super) fn stop(world: &mut World, node: &str) -> Timestamp {
    let last = renewed(world, node);
    if let Some(renewals) = world.nodes.renewals.get_mut(node) {
        renewals.last = Some(last);
    }
    last
}

/// Its kubelet starts again, and renews at once.
pub(super) fn start(world: &mut World, node: &str) {
    let from = world.wall();
    world.nodes.renewals.insert(node.to_owned(), Renewals { from, last: None });
}

/// Writes all leases as they are by now: somebody reads them, and watches them for so long.
pub(in crate::lab) fn show(world: &mut World, watched: Option<Duration>) {
    if let Some(long) = watched {
        let until = after(world.wall(), long);
        let before = world.nodes.leases_shown.replace(until);
        world.nodes.leases_shown = before.max(Some(until));
    }
    let names: Vec<String> = world.store.list::<Node>(None).filter_map(|node| node.metadata.name.clone()).collect();
    let (now, every) = (world.wall(), world.settings.heartbeat);
    let mut next: Option<Timestamp> = None;
    for name in names {
        let last = renewed(world, &name);
        world.store.update::<Lease>(NAMESPACE, &name, |lease| {
            // It is made at some moment, and not renewed before that.
            let renewed = &mut lease.spec.get_or_insert_default().renew_time;
            if renewed.as_ref().is_none_or(|time| time.0 < last) {
                *renewed = Some(micro(last));
            }
        });
        if world.nodes.is_up(&name) {
            let due = after(last, every);
            next = Some(next.map_or(due, |next| next.min(due)));
        }
    }
    if world.nodes.leases_shown.is_some_and(|until| until > now)
        && let Some(next) = next
    {
        at(world, next, LEASES);
    }
}
