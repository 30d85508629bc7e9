//! EC2: subnets, what has an interface in them, and the network ACLs that they are under.

use std::collections::BTreeMap;

use super::form::{Filter, Form};
use super::xml::Xml;
use super::{Refused, dry_run};
use crate::lab::cloud::parts::{Acl, Instance, Subnet};
use crate::lab::cloud::{Aws, network};
use crate::lab::world::World;

/// Entries of a page of those that ask for none.
const ALL: usize = 1000;
/// The number of the rule that ends every network ACL.
const LAST: u16 = 32_767;

pub(super) fn subnets(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let (named, filters) = (form.list("SubnetId"), form.filters());
    if let Some(id) = named.iter().find(|id| !aws.subnets.contains_key(*id)) {
        return Err(Refused::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")));
    }
    let meets = |id: &str, subnet: &Subnet, filter: &Filter| {
        let tags = aws.tag();
        if let Some(meets) = filter.meets_tags([(tags.as_str(), "owned")].into_iter()) {
            return Ok(meets);
        }
        match filter.name.as_str() {
            "subnet-id" => Ok(filter.meets(id)),
            "vpc-id" => Ok(filter.meets(&aws.vpc)),
            "availability-zone" | "availabilityZone" => Ok(filter.meets(&subnet.zone)),
            "availability-zone-id" => Ok(filter.meets(&subnet.zone_id)),
            "state" => Ok(filter.meets("available")),
            _ => Err(filter.unknown()),
        }
    };
    let mut found = Vec::new();
    for (id, subnet) in &aws.subnets {
        let meets = filters.iter().map(|filter| meets(id, subnet, filter)).collect::<Result<Vec<_>, _>>()?;
        if (named.is_empty() || named.contains(id)) && !meets.contains(&false) {
            let tag = Xml::default().text("key", aws.tag()).text("value", "owned");
            found.push(
                Xml::default()
                    .text("subnetId", id)
                    .text("vpcId", &aws.vpc)
                    .text("state", "available")
                    .text("availabilityZone", &subnet.zone)
                    .text("availabilityZoneId", &subnet.zone_id)
                    .list("tagSet", "item", [tag]),
            );
        }
    }
    let (page, next) = form.page("MaxResults", ALL)?.of(found);
    Ok(Xml::default().list("subnetSet", "item", page).maybe("nextToken", next))
}

pub(super) fn interfaces(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let (named, filters) = (form.list("NetworkInterfaceId"), form.filters());
    let meets = |instance: &Instance, filter: &Filter| match filter.name.as_str() {
        "subnet-id" => Ok(filter.meets(&instance.subnet)),
        "vpc-id" => Ok(filter.meets(&aws.vpc)),
        "availability-zone" => Ok(filter.meets(&instance.zone)),
        "attachment.instance-id" => Ok(filter.meets(&instance.id)),
        "network-interface-id" => Ok(filter.meets(&instance.interface)),
        _ => Err(filter.unknown()),
    };
    let mut found = Vec::new();
    for instance in aws.instances.values().filter(|instance| !instance.state.is_over()) {
        let meets = filters.iter().map(|filter| meets(instance, filter)).collect::<Result<Vec<_>, _>>()?;
        if (named.is_empty() || named.contains(&instance.interface)) && !meets.contains(&false) {
            found.push(interface(aws, instance));
        }
    }
    let (page, next) = form.page("MaxResults", ALL)?.of(found);
    Ok(Xml::default().list("networkInterfaceSet", "item", page).maybe("nextToken", next))
}

fn interface(aws: &Aws, instance: &Instance) -> Xml {
    let attachment = Xml::default()
        .text("instanceId", &instance.id)
        .text("instanceOwnerId", &aws.site.account)
        .text("deviceIndex", 0)
        .text("status", "attached");
    Xml::default()
        .text("networkInterfaceId", &instance.interface)
        .text("subnetId", &instance.subnet)
        .text("vpcId", &aws.vpc)
        .text("availabilityZone", &instance.zone)
        .text("description", "")
        .text("ownerId", &aws.site.account)
        .text("status", "in-use")
        .text("interfaceType", "interface")
        .text("privateIpAddress", &instance.address)
        .node("attachment", attachment)
}

pub(super) fn acls(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let (named, filters) = (form.list("NetworkAclId"), form.filters());
    if let Some(id) = named.iter().find(|id| !aws.acls.contains_key(*id)) {
        return Err(no_acl(id));
    }
    let meets = |id: &str, acl: &Acl, filter: &Filter| {
        if let Some(meets) = filter.meets_tags(acl.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
            return Ok(meets);
        }
        let mut under = aws.subnets.iter().filter(|(_, subnet)| subnet.acl == id);
        match filter.name.as_str() {
            "network-acl-id" => Ok(filter.meets(id)),
            "vpc-id" => Ok(filter.meets(&aws.vpc)),
            "default" => Ok(filter.meets(&acl.is_default.to_string())),
            "association.subnet-id" => Ok(under.any(|(subnet, _)| filter.meets(subnet))),
            "association.association-id" => Ok(under.any(|(_, subnet)| filter.meets(&subnet.association))),
            "association.network-acl-id" => Ok(filter.meets(id) && under.next().is_some()),
            _ => Err(filter.unknown()),
        }
    };
    let mut found = Vec::new();
    for (id, acl) in &aws.acls {
        let meets = filters.iter().map(|filter| meets(id, acl, filter)).collect::<Result<Vec<_>, _>>()?;
        if (named.is_empty() || named.contains(id)) && !meets.contains(&false) {
            found.push(described(aws, id, acl));
        }
    }
    let (page, next) = form.page("MaxResults", ALL)?.of(found);
    Ok(Xml::default().list("networkAclSet", "item", page).maybe("nextToken", next))
}

fn described(aws: &Aws, id: &str, acl: &Acl) -> Xml {
    let rule = |number: u16, action: &str, egress: bool| {
        Xml::default()
            .text("ruleNumber", number)
            .text("protocol", "-1")
            .text("ruleAction", action)
            .text("egress", egress)
            .text("cidrBlock", "0.0.0.0/0")
    };
    let allow = [true, false].into_iter().filter(|_| acl.allows).map(|egress| rule(100, "allow", egress));
    let deny = [true, false].into_iter().map(|egress| rule(LAST, "deny", egress));
    let under = aws.subnets.iter().filter(|(_, subnet)| subnet.acl == id).map(|(subnet, of)| {
        Xml::default()
            .text("networkAclAssociationId", &of.association)
            .text("networkAclId", id)
            .text("subnetId", subnet)
    });
    let tags = acl.tags.iter().map(|(key, value)| Xml::default().text("key", key).text("value", value));
    Xml::default()
        .text("networkAclId", id)
        .text("vpcId", &aws.vpc)
        .text("default", acl.is_default)
        .list("entrySet", "item", allow.chain(deny))
        .list("associationSet", "item", under)
        .list("tagSet", "item", tags)
        .text("ownerId", &aws.site.account)
}

fn no_acl(id: &str) -> Refused {
    Refused::new("InvalidNetworkAclID.NotFound", format!("The networkAcl ID '{id}' does not exist"))
}

pub(super) fn create(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let vpc = form.text("VpcId");
    if vpc.is_empty() {
        return Err(Refused::missing("VpcId"));
    }
    if world.aws.as_ref().is_none_or(|aws| aws.vpc != vpc) {
        return Err(Refused::new("InvalidVpcID.NotFound", format!("The vpc ID '{vpc}' does not exist")));
    }
    dry_run(form)?;
    let mut tags = BTreeMap::new();
    for of in form.entries("TagSpecification") {
        for tag in form.entries(&format!("{of}.Tag")) {
            let text = |field: &str| form.text(&format!("{tag}.{field}")).to_owned();
            tags.insert(text("Key"), text("Value"));
        }
    }
    let Some((id, acl)) = network::make(world, tags, form.text("ClientToken")) else { return Ok(Xml::default()) };
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    Ok(Xml::default().node("networkAcl", described(aws, &id, &acl)).text("clientToken", form.text("ClientToken")))
}

pub(super) fn replace(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let (association, acl) = (form.text("AssociationId"), form.text("NetworkAclId"));
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    if !aws.subnets.values().any(|subnet| subnet.association == association) {
        let why = format!("The association ID '{association}' does not exist");
        return Err(Refused::new("InvalidAssociationID.NotFound", why));
    }
    if !aws.acls.contains_key(acl) {
        return Err(no_acl(acl));
    }
    dry_run(form)?;
    Ok(Xml::default().maybe("newAssociationId", network::associate(world, association, acl)))
}

pub(super) fn delete(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let id = form.text("NetworkAclId");
    let Some(aws) = &mut world.aws else { return Ok(Xml::default()) };
    let Some(acl) = aws.acls.get(id) else { return Err(no_acl(id)) };
    if acl.is_default {
        return Err(Refused::new("InvalidParameterValue", format!("cannot delete default network ACL {id}")));
    }
    if aws.subnets.values().any(|subnet| subnet.acl == id) {
        let why = format!("The network acl '{id}' has dependencies and cannot be deleted.");
        return Err(Refused::new("DependencyViolation", why));
    }
    dry_run(form)?;
    aws.acls.remove(id);
    Ok(Xml::default().text("return", true))
}
