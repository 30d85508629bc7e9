//! Network ACLs, as far as they let everything through or nothing: a node in a subnet that is cut off runs on, hears nobody, and is not
//! heard.

use super::parts::Acl;
use crate::lab::model::{self, Controller, Task};
use crate::lab::store::ObjectKey;
use crate::lab::world::World;

/// By which the agenda knows what packets meet: no instance has this id.
pub(super) const ACLS: &str = "/acls";

/// Puts the subnet of an association under an ACL. The id of the new association.
pub(super) fn associate(world: &mut World, association: &str, acl: &str) -> Option<String> {
    let aws = world.aws.as_mut()?;
    let new = aws.id("aclassoc");
    let subnet = aws.subnets.values_mut().find(|subnet| subnet.association == association)?;
    (subnet.acl, subnet.association) = (acl.to_owned(), new.clone());
    let after = world.settings.cloud.acl;
    if after.is_zero() {
        apply(world);
    } else {
        world.later(after, Task::Reconcile(Controller::Cloud, ObjectKey::new("", ACLS)));
    }
    Some(new)
}

/// Has each node's packets meet the network ACL of its subnet.
pub(super) fn apply(world: &mut World) {
    let Some(aws) = &world.aws else { return };
    let cut: Vec<(String, bool)> = aws
        .instances
        .values()
        .filter(|instance| instance.joined && !instance.state.is_over())
        .map(|instance| (instance.node.clone(), aws.is_cut(&instance.subnet)))
        .collect();
    for (node, is_cut) in cut {
        if is_cut { model::cut_network(world, &node) } else { model::restore_network(world, &node) }
    }
}

/// Makes an ACL, which denies everything; the same token makes it once. Its id.
pub(super) fn make(
    world: &mut World,
    tags: std::collections::BTreeMap<String, String>,
    token: &str,
) -> Option<(String, Acl)> {
    let aws = world.aws.as_mut()?;
    let known = aws.acls.iter().find(|(_, acl)| !token.is_empty() && acl.token == token);
    if let Some((id, acl)) = known {
        return Some((id.clone(), acl.clone()));
    }
    let id = aws.id("acl");
    let acl = Acl { is_default: false, allows: false, tags, token: token.to_owned() };
    aws.acls.insert(id.clone(), acl.clone());
    Some((id, acl))
}
