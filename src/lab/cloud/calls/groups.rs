//! Auto Scaling: groups, their processes, sizes and tags.

use std::collections::BTreeSet;

use super::Refused;
use super::form::{Filter, Form};
use super::xml::Xml;
use crate::lab::cloud::Aws;
use crate::lab::cloud::parts::{Group, Lifecycle, Member, PROCESSES, Tag};
use crate::lab::cloud::scaling::{self, stamp};
use crate::lab::world::World;

/// Groups in a page of those that ask for no number; nobody gets more than twice as many.
const PAGE: usize = 50;

/// The group that a request names.
pub(super) fn group<'a>(aws: &'a mut Aws, name: &str) -> Result<&'a mut Group, Refused> {
    let missing = || Refused::invalid(format!("AutoScalingGroup name not found - AutoScalingGroup '{name}' not found"));
    aws.groups.get_mut(name).ok_or_else(missing)
}

/// The same by the usual field.
pub(super) fn named<'a>(world: &'a mut World, form: &Form) -> Result<&'a mut Group, Refused> {
    let aws = world.aws.as_mut().ok_or_else(|| Refused::invalid("there is no account"))?;
    group(aws, form.text("AutoScalingGroupName"))
}

pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refused> {
    let Some(aws) = &world.aws else { return Ok(Xml::default()) };
    if form.number("MaxRecords")?.is_some_and(|most| most > PAGE * 2) {
        let why =
            "Value at 'maxRecords' failed to satisfy constraint: Member must have value less than or equal to 100";
        return Err(Refused::invalid(format!("1 validation error detected: {why}")));
    }
    let (names, filters) = (form.list("AutoScalingGroupNames"), form.filters());
    let mut found = Vec::new();
    for group in aws.groups.values() {
        let meets = filters.iter().map(|filter| meets(group, filter)).collect::<Result<Vec<_>, _>>()?;
        // A name of none is no error: it is not in the answer.
        if (names.is_empty() || names.contains(&group.name)) && !meets.contains(&false) {
            found.push(described(aws, group));
        }
    }
    let (page, next) = form.page("MaxRecords", PAGE)?.of(found);
    Ok(Xml::default().list("AutoScalingGroups", "member", page).maybe("NextToken", next))
}

fn meets(group: &Group, filter: &Filter) -> Result<bool, Refused> {
    let tags = group.tags.iter().map(|(key, tag)| (key.as_str(), tag.value.as_str()));
    let unknown = || Refused::invalid(format!("Filter type {} is not correct.", filter.name));
    filter.meets_tags(tags).ok_or_else(unknown)
}

fn described(aws: &Aws, group: &Group) -> Xml {
    let zones: BTreeSet<&str> = group.subnets.iter().map(|subnet| aws.zone_of(subnet)).collect();
    let zones = zones.into_iter().fold(Xml::default(), |list, zone| list.text("member", zone));
    let subnets: Vec<&str> = group.subnets.iter().map(String::as_str).collect();
    let suspended = group
        .suspended
        .iter()
        .map(|(process, why)| Xml::default().text("ProcessName", process).text("SuspensionReason", why));
    let tags = group.tags.iter().map(|(key, tag)| {
        Xml::default()
            .text("ResourceId", &group.name)
            .text("ResourceType", "auto-scaling-group")
            .text("Key", key)
            .text("Value", &tag.value)
            .text("PropagateAtLaunch", tag.propagates)
    });
    Xml::default()
        .text("AutoScalingGroupName", &group.name)
        .text("AutoScalingGroupARN", &group.arn)
        .text("MinSize", group.min)
        .text("MaxSize", group.max)
        .text("DesiredCapacity", group.desired)
        .text("DefaultCooldown", 300)
        .node("AvailabilityZones", zones)
        .text("VPCZoneIdentifier", subnets.join(","))
        .text("HealthCheckType", "EC2")
        .text("HealthCheckGracePeriod", 0)
        .text("NewInstancesProtectedFromScaleIn", false)
        .text("CreatedTime", stamp(group.created))
        .list("Instances", "member", group.members.iter().map(member))
        .list("SuspendedProcesses", "member", suspended)
        .list("Tags", "member", tags)
        .list("TerminationPolicies", "member", [])
}

fn member(member: &Member) -> Xml {
    Xml::default()
        .text("InstanceId", &member.id)
        .text("InstanceType", crate::lab::shape::INSTANCE_TYPE)
        .text("AvailabilityZone", &member.zone)
        .text("LifecycleState", member.lifecycle.name())
        .text("HealthStatus", if member.healthy { "Healthy" } else { "Unhealthy" })
        .text("ProtectedFromScaleIn", member.protected)
}

/// The processes that a request names: all, where it names none.
fn processes(form: &Form) -> Result<Vec<String>, Refused> {
    let names = form.list("ScalingProcesses");
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !PROCESSES.contains(name)).collect();
    if !unknown.is_empty() {
        return Err(Refused::invalid(format!("Invalid scaling process name(s): {}", unknown.join(", "))));
    }
    Ok(if names.is_empty() { PROCESSES.map(ToOwned::to_owned).to_vec() } else { names })
}

/// What is suspended already keeps its reason.
pub(super) fn suspend(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let reason = format!("User suspended at {}", stamp(world.wall()));
    let group = named(world, form)?;
    for process in processes(form)? {
        group.suspended.entry(process).or_insert_with(|| reason.clone());
    }
    Ok(Xml::default())
}

/// What is not suspended is no error.
pub(super) fn resume(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let group = named(world, form)?;
    for process in processes(form)? {
        group.suspended.remove(&process);
    }
    scaling::touched(world);
    Ok(Xml::default())
}

pub(super) fn process_types() -> Xml {
    let all = PROCESSES.map(|process| Xml::default().text("ProcessName", process));
    Xml::default().list("Processes", "member", all)
}

/// Sizes fit each other, and what is left out follows; every subnet is there.
pub(super) fn update(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let known: BTreeSet<String> = world.aws.iter().flat_map(|aws| aws.subnets.keys().cloned()).collect();
    let group = named(world, form)?;
    let min = form.number("MinSize")?.unwrap_or(group.min);
    let max = form.number("MaxSize")?.unwrap_or(group.max);
    if min > max {
        return Err(Refused::invalid(format!("Max bound, {max}, must be greater than or equal to min bound, {min}")));
    }
    let desired = form.number("DesiredCapacity")?.unwrap_or_else(|| group.desired.clamp(min, max));
    if !(min..=max).contains(&desired) {
        let why = format!("Desired capacity:{desired} must be between the specified min size:{min} and max size:{max}");
        return Err(Refused::invalid(why));
    }
    let subnets = form.get("VPCZoneIdentifier").map(|list| {
        list.split(',').map(str::trim).filter(|id| !id.is_empty()).map(ToOwned::to_owned).collect::<BTreeSet<_>>()
    });
    if let Some(subnets) = &subnets {
        if let Some(missing) = subnets.difference(&known).next() {
            return Err(Refused::invalid(format!("The subnet ID '{missing}' does not exist")));
        }
        if subnets.is_empty() {
            return Err(Refused::invalid("At least one Availability Zone or VPC Subnet is required."));
        }
    }
    (group.min, group.desired, group.max) = (min, desired, max);
    group.subnets = subnets.unwrap_or_else(|| group.subnets.clone());
    scaling::touched(world);
    Ok(Xml::default())
}

pub(super) fn set_desired(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let group = named(world, form)?;
    let Some(wanted) = form.number("DesiredCapacity")? else {
        return Err(Refused::invalid("1 validation error detected: Value at 'desiredCapacity' must not be null"));
    };
    let bound = match (wanted < group.min, wanted > group.max) {
        (true, _) => Some(("below min", group.min)),
        (_, true) => Some(("above max", group.max)),
        _ => None,
    };
    if let Some((side, bound)) = bound {
        let why = format!("New SetDesiredCapacity value {wanted} is {side} value {bound} for the AutoScalingGroup.");
        return Err(Refused::invalid(why));
    }
    group.desired = wanted;
    scaling::touched(world);
    Ok(Xml::default())
}

/// Every group that is named is there, before any of them is touched.
pub(super) fn tag(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    change_tags(world, form, |group, key, tag| drop(group.tags.insert(key, tag)))
}

pub(super) fn untag(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    change_tags(world, form, |group, key, _| drop(group.tags.remove(&key)))
}

fn change_tags(world: &mut World, form: &Form, change: impl Fn(&mut Group, String, Tag)) -> Result<Xml, Refused> {
    let Some(aws) = &mut world.aws else { return Ok(Xml::default()) };
    let entries = form.entries("Tags");
    for entry in &entries {
        group(aws, form.text(&format!("{entry}.ResourceId")))?;
        let (key, value) = (form.text(&format!("{entry}.Key")), form.text(&format!("{entry}.Value")));
        if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(Refused::invalid(format!(
                "The tag '{key}' has a key or a value of a length that is not allowed"
            )));
        }
        if key.starts_with("aws:") {
            return Err(Refused::invalid("Tag keys must not start with 'aws:'"));
        }
    }
    for entry in &entries {
        let text = |field: &str| form.text(&format!("{entry}.{field}")).to_owned();
        let tag = Tag { value: text("Value"), propagates: form.flag(&format!("{entry}.PropagateAtLaunch")) };
        change(group(aws, &text("ResourceId"))?, text("Key"), tag);
    }
    Ok(Xml::default())
}

/// Wants so many fewer, but never below the minimum.
pub(super) fn shrink(group: &mut Group) -> Result<(), Refused> {
    if group.desired <= group.min {
        let min = group.min;
        return Err(Refused::invalid(format!(
            "Currently, desiredSize equals minSize ({min}). Terminating instance without replacement will violate group's min size \
             constraint. Either set shouldDecrementDesiredCapacity flag to false or lower group's min size."
        )));
    }
    group.desired -= 1;
    Ok(())
}

/// Whether a member is there to be chosen.
pub(super) fn stays(member: &Member) -> bool {
    member.lifecycle != Lifecycle::Terminating
}
