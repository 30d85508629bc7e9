//! EC2: instances.

use std::collections::BTreeSet;

use super::form::{Filter, Form};
use super::xml::Xml;
use super::{Refused, dry_run};
use crate::lab::cloud::Aws;
use crate::lab::cloud::life;
use crate::lab::cloud::parts::{Instance, State};
use crate::lab::cloud::scaling::stamp;
use crate::lab::shape::INSTANCE_TYPE;
use crate::lab::world::World;

/// Instances in a page of those that ask for none.
const ALL: usize = 1000;

pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let named = known(aws, &form.list("InstanceId"))?;
    let filters = form.filters();
    let mut found = Vec::new();
    for instance in aws.instances.values() {
        let meets = filters.iter().map(|filter| meets(aws, instance, filter)).collect::<Result<Vec<_>, _>>()?;
        if (named.is_empty() || named.contains(&instance.id)) && !meets.contains(&false) {
            found.push(instance);
        }
    }
    let (page, next) = form.page("MaxResults", ALL)?.of(found);
    let reservation = |instance: &Instance| {
        Xml::default().text("reservationId", instance.id.replacen('i', "r", 1)).text("ownerId", &aws.site.account).list(
            "instancesSet",
            "item",
            [described(aws, instance)],
        )
    };
    Ok(Xml::default().list("reservationSet", "item", page.into_iter().map(reservation)).maybe("nextToken", next))
}

fn meets(aws: &Aws, instance: &Instance, filter: &Filter) -> Result<bool, Refused> {
    let tags = instance.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    if let Some(meets) = filter.meets_tags(tags) {
        return Ok(meets);
    }
    Ok(match filter.name.as_str() {
        "instance-id" => filter.meets(&instance.id),
        "instance-state-name" => filter.meets(instance.state.name()),
        "instance-state-code" => filter.meets(&instance.state.code().to_string()),
        "instance-type" => filter.meets(INSTANCE_TYPE),
        "availability-zone" => filter.meets(&instance.zone),
        "subnet-id" => filter.meets(&instance.subnet),
        "vpc-id" => filter.meets(&aws.vpc),
        "private-ip-address" => filter.meets(&instance.address),
        "private-dns-name" => filter.meets(&dns_name(aws, instance)),
        _ => return Err(filter.unknown()),
    })
}

fn dns_name(aws: &Aws, instance: &Instance) -> String {
    format!("ip-{}.{}.compute.internal", instance.address.replace('.', "-"), aws.site.region)
}

/// An instance that is gone has given its address and interface back.
fn described(aws: &Aws, instance: &Instance) -> Xml {
    let tags = instance.tags.iter().map(|(key, value)| Xml::default().text("key", key).text("value", value));
    let there = Some(instance).filter(|instance| !instance.state.is_over());
    let interfaces = there.map(|instance| {
        let attachment = Xml::default().text("deviceIndex", 0).text("status", "attached");
        Xml::default()
            .text("networkInterfaceId", &instance.interface)
            .text("subnetId", &instance.subnet)
            .text("vpcId", &aws.vpc)
            .text("status", "in-use")
            .node("attachment", attachment)
    });
    Xml::default()
        .text("instanceId", &instance.id)
        .node("instanceState", state(instance.state))
        .text("instanceType", INSTANCE_TYPE)
        .text("launchTime", stamp(instance.launched))
        .node("placement", Xml::default().text("availabilityZone", &instance.zone).text("tenancy", "default"))
        .maybe("privateDnsName", there.map(|instance| dns_name(aws, instance)))
        .maybe("privateIpAddress", there.map(|instance| &instance.address))
        .maybe("subnetId", there.map(|instance| &instance.subnet))
        .maybe("vpcId", there.map(|_| &aws.vpc))
        .list("networkInterfaceSet", "item", interfaces)
        .list("tagSet", "item", tags)
}

fn state(state: State) -> Xml {
    Xml::default().text("code", state.code()).text("name", state.name())
}

/// These ids, all of which have to be known.
fn known(aws: &Aws, ids: &[String]) -> Result<BTreeSet<String>, Refused> {
    for id in ids {
        let hex = id.strip_prefix("i-").unwrap_or_default();
        if ![8, 17].contains(&hex.len()) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Refused::new("InvalidInstanceID.Malformed", format!("Invalid id: \"{id}\"")));
        }
        if !aws.instances.contains_key(id) {
            return Err(Refused::new("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist")));
        }
    }
    Ok(ids.iter().cloned().collect())
}

pub(super) fn attribute(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let id = form.text("InstanceId").to_owned();
    known(aws, std::slice::from_ref(&id))?;
    let attribute = form.text("Attribute");
    if attribute != "disableApiTermination" {
        let why = format!("The lab keeps only the attribute disableApiTermination, and not {attribute}");
        return Err(Refused::new("InvalidParameterValue", why));
    }
    let value = Xml::default().text("value", aws.instances[&id].protected);
    Ok(Xml::default().text("instanceId", &id).node(attribute, value))
}

pub(super) fn modify(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &mut world.aws else { return Ok(Xml::default()) };
    let id = form.text("InstanceId").to_owned();
    known(aws, std::slice::from_ref(&id))?;
    if form.get("DisableApiTermination.Value").is_none() {
        return Err(Refused::missing("DisableApiTermination"));
    }
    dry_run(form)?;
    if let Some(instance) = aws.instances.get_mut(&id) {
        instance.protected = form.flag("DisableApiTermination.Value");
    }
    Ok(Xml::default().text("return", true))
}

/// A bad id keeps all from going, a protected instance those of its own zone; the others go, and the caller gets the error.
pub(super) fn terminate(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    let ids = form.list("InstanceId");
    if ids.is_empty() {
        return Err(Refused::missing("InstanceId"));
    }
    let ids = known(aws, &ids)?;
    let guarded: Vec<Instance> = ids.iter().map(|id| &aws.instances[id]).filter(|one| one.protected).cloned().collect();
    let refused = guarded.first().map(|instance| {
        let why = format!(
            "The instance '{}' may not be terminated. Modify its 'disableApiTermination' instance attribute and try again.",
            instance.id
        );
        Refused::new("OperationNotPermitted", why)
    });
    if form.flag("DryRun") {
        return refused.map_or_else(|| dry_run(form), Err).map(|()| Xml::default());
    }
    let spared: BTreeSet<String> = guarded.into_iter().map(|instance| instance.zone).collect();
    let of = |world: &World, id: &String| world.aws.as_ref().map_or(State::Terminated, |aws| aws.instances[id].state);
    let zone = |world: &World, id: &String| world.aws.as_ref().map(|aws| aws.instances[id].zone.clone());
    let mut changes = Vec::new();
    for id in &ids {
        if zone(world, id).is_some_and(|zone| spared.contains(&zone)) {
            continue;
        }
        let before = of(world, id);
        life::terminate(world, id, form.flag("SkipOsShutdown"));
        let change = Xml::default().text("instanceId", id).node("currentState", state(of(world, id)));
        changes.push(change.node("previousState", state(before)));
    }
    match refused {
        Some(refused) => Err(refused),
        None => Ok(Xml::default().list("instancesSet", "item", changes)),
    }
}
