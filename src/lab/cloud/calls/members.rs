//! Auto Scaling: the instances of a group, and what it did with them.

use super::Refused;
use super::form::Form;
use super::groups::{group, named, shrink, stays};
use super::xml::Xml;
use crate::lab::cloud::look;
use crate::lab::cloud::parts::Activity;
use crate::lab::cloud::scaling::{self, GROUPS, stamp};
use crate::lab::world::World;

/// Activities in a page of those that ask for no number.
const PAGE: usize = 100;

/// The newest first.
pub(super) fn activities(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let name = form.get("AutoScalingGroupName");
    if name.is_some() {
        named(world, form)?;
    }
    let wanted = form.list("ActivityIds");
    let all = world.aws.iter().flat_map(|aws| aws.activities.iter().rev());
    let of = |activity: &&Activity| {
        name.is_none_or(|name| activity.group == name) && (wanted.is_empty() || wanted.contains(&activity.id))
    };
    let (page, next) = form.page("MaxRecords", PAGE)?.of(all.filter(of).map(shown).collect());
    Ok(Xml::default().list("Activities", "member", page).maybe("NextToken", next))
}

fn shown(activity: &Activity) -> Xml {
    let status = activity.ended.map_or("InProgress", |(_, status)| status);
    let details = format!(r#"{{"Subnet ID":"{}","Availability Zone":"{}"}}"#, activity.subnet, activity.zone);
    Xml::default()
        .text("ActivityId", &activity.id)
        .text("AutoScalingGroupName", &activity.group)
        .text("Description", &activity.description)
        .text("Cause", &activity.cause)
        .text("StartTime", stamp(activity.started))
        .maybe("EndTime", activity.ended.map(|(at, _)| stamp(at)))
        .text("StatusCode", status)
        .text("Progress", if activity.ended.is_some() { 100 } else { 50 })
        .text("Details", details)
}

/// There never is one.
pub(super) fn refreshes(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    named(world, form)?;
    Ok(Xml::default().list("InstanceRefreshes", "member", []))
}

/// The group of an instance.
fn group_of(world: &World, id: &str) -> Result<String, Refused> {
    let mut all = world.aws.iter().flat_map(|aws| aws.groups.values());
    let found = all.find(|group| group.members.iter().any(|member| member.id == id));
    let missing =
        || Refused::invalid(format!("Instance Id not found - No managed instance found for instance ID {id}"));
    found.map(|group| group.name.clone()).ok_or_else(missing)
}

/// Neither protection nor health matter.
pub(super) fn terminate(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let id = form.text("InstanceId");
    let name = group_of(world, id)?;
    let Some(aws) = &mut world.aws else { return Ok(Xml::default()) };
    let group = group(aws, &name)?;
    if !group.members.iter().any(|member| member.id == id && stays(member)) {
        return Ok(Xml::default());
    }
    let mut shrunk = String::new();
    if form.flag("ShouldDecrementDesiredCapacity") {
        let before = group.desired;
        shrink(group)?;
        shrunk = format!(", shrinking the capacity from {before} to {}", group.desired);
    }
    let why = format!("instance {id} was taken out of service in response to a user request{shrunk}.");
    let activity = scaling::remove(world, &name, id, &why);
    Ok(activity.iter().fold(Xml::default(), |xml, activity| xml.node("Activity", shown(activity))))
}

pub(super) fn set_health(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let id = form.text("InstanceId");
    let name = group_of(world, id)?;
    let healthy = match form.text("HealthStatus") {
        "Healthy" => true,
        "Unhealthy" => false,
        _ => return Err(Refused::invalid("Valid instance health states are: [Healthy, Unhealthy].")),
    };
    if let Some(member) = world.aws.as_mut().and_then(|aws| aws.groups.get_mut(&name)?.member(id)) {
        member.healthy = healthy;
    }
    look(world, GROUPS);
    Ok(Xml::default())
}

pub(super) fn protect(world: &mut World, form: &Form) -> Result<Xml, Refused> {
    let ids = form.list("InstanceIds");
    let protected = form.flag("ProtectedFromScaleIn");
    let group = named(world, form)?;
    for id in &ids {
        if group.member(id).is_none() {
            let why = format!("The instance {id} is not part of Auto Scaling group {}.", group.name);
            return Err(Refused::invalid(why));
        }
    }
    for member in group.members.iter_mut().filter(|member| ids.contains(&member.id)) {
        member.protected = protected;
    }
    Ok(Xml::default())
}
