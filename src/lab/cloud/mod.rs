//! The AWS account behind the lab's nodes: instances, Auto Scaling groups, subnets and the network ACLs at their edges.
//!
//! ```text
//!  SDK clients ──▶ wire ──▶ calls (query protocol) ──▶ instances, groups, ACLs ◀── life, scaling (on the lab's agenda)
//!                                                           │
//!                                    nodes and their kubelets: power, network, a node that joins
//! ```
//! A machine ends or comes with its instance: `life` cuts a node's power, and makes the Node of one that has booted. What Auto Scaling does
//! by itself, as far as nobody has suspended it, is in `scaling`. The calls answer and refuse as the services do.

mod calls;
mod figures;
mod layout;
mod life;
mod network;
mod parts;
mod scaling;
mod serve;
#[cfg(feature = "aws")]
mod wire;

#[cfg(test)]
#[cfg(feature = "aws")]
mod tests;

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub(in crate::lab) use self::figures::Figures;
pub use self::layout::{Groups, Site};
pub(in crate::lab) use self::layout::{enlist, lay_out};
pub(in crate::lab) use self::life::provider_id;
use self::parts::{Acl, Activity, Group, Instance, Subnet};
#[cfg(feature = "aws")]
pub(in crate::lab) use self::wire::endpoint;
use super::model::Controller;
use super::store::ObjectKey;
use super::world::World;

/// What the services know, and what they remember.
#[derive(Debug)]
pub(in crate::lab) struct Aws {
    site: Site,
    vpc: String,
    /// By their ids, as everything here but groups.
    subnets: BTreeMap<String, Subnet>,
    acls: BTreeMap<String, Acl>,
    instances: BTreeMap<String, Instance>,
    groups: BTreeMap<String, Group>,
    /// The oldest first.
    activities: Vec<Activity>,
    /// Ids are random, and of a source of their own: an account behind the nodes changes nothing else that is.
    chance: ChaCha8Rng,
    /// Machines that there ever were.
    machines: usize,
}

impl Aws {
    /// A new id: `i-0c7e…`.
    fn id(&mut self, kind: &str) -> String {
        format!("{kind}-0{:016x}", self.chance.random::<u64>())
    }

    /// The tag by which instances and groups are the cluster's.
    fn tag(&self) -> String {
        format!("kubernetes.io/cluster/{}", self.site.cluster)
    }

    fn zone_of(&self, subnet: &str) -> &str {
        self.subnets.get(subnet).map_or("", |subnet| subnet.zone.as_str())
    }

    /// Whether the network ACL over a subnet lets nothing through.
    fn is_cut(&self, subnet: &str) -> bool {
        let acl = self.subnets.get(subnet).and_then(|subnet| self.acls.get(&subnet.acl));
        acl.is_some_and(|acl| !acl.allows)
    }

    /// Everything that an experiment must leave as it was.
    pub(in crate::lab) fn everything(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        for group in self.groups.values() {
            let mut members = BTreeMap::<String, usize>::new();
            for member in &group.members {
                let health = if member.healthy { "healthy" } else { "unhealthy" };
                let key = format!("{} {} {health}", member.zone, member.lifecycle.name());
                *members.entry(key).or_default() += 1;
            }
            let tags: BTreeMap<_, _> = group.tags.iter().map(|(key, tag)| (key, &tag.value)).collect();
            let suspended: Vec<_> = group.suspended.keys().collect();
            let sizes = [group.min, group.desired, group.max];
            let state = json!({"suspended": suspended, "subnets": group.subnets, "sizes": sizes, "tags": tags, "members": members});
            all.insert(format!("group {}", group.name), state);
        }
        for (id, subnet) in &self.subnets {
            all.insert(format!("subnet {id}"), json!({"acl": subnet.acl}));
        }
        for (id, acl) in &self.acls {
            all.insert(format!("network ACL {id}"), json!({"tags": acl.tags}));
        }
        let mut instances = BTreeMap::<String, usize>::new();
        for instance in self.instances.values().filter(|instance| !instance.state.is_over()) {
            *instances.entry(format!("{} {}", instance.zone, instance.state.name())).or_default() += 1;
        }
        all.insert("instances".to_owned(), json!(instances));
        all
    }
}

/// Has the services look at what they do by themselves, as soon as they would notice.
fn look(world: &mut World, what: &str) {
    world.notice(Controller::Cloud, ObjectKey::new("", what));
}

/// Goes on with an instance, by its id, or with the groups.
pub(in crate::lab) fn reconcile(world: &mut World, key: &ObjectKey) {
    match key.name.as_str() {
        scaling::GROUPS => scaling::reconcile(world),
        network::ACLS => network::apply(world),
        instance => life::go_on(world, instance),
    }
}
