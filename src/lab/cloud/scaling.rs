//! What Auto Scaling does by itself: health checks, replacement, scaling, evening out of zones; each as far as its process is not suspended.
//!
//! It looks when something has changed, and does what is due then. What takes time is seen to be over at a later look.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::parts::{Activity, Group, Lifecycle, Member, State};
use super::{Aws, life};
use crate::lab::model::{Controller, Task};
use crate::lab::store::ObjectKey;
use crate::lab::world::World;

/// By which the agenda knows the groups: no instance has this id.
pub(super) const GROUPS: &str = "/groups";
/// Activities that are kept of all groups: those of six weeks, on AWS.
const KEPT: usize = 500;

/// Has the groups looked at after settings of one were changed.
pub(super) fn touched(world: &mut World) {
    let after = world.settings.cloud.scaling;
    world.later(after, Task::Reconcile(Controller::Cloud, ObjectKey::new("", GROUPS)));
}

/// Looks at all groups.
pub(super) fn reconcile(world: &mut World) {
    let names: Vec<String> = world.aws.iter().flat_map(|aws| aws.groups.keys().cloned()).collect();
    for name in &names {
        finish(world, name);
        check_health(world, name);
        replace(world, name);
        scale_in(world, name);
        scale_out(world, name);
        even_out(world, name);
    }
    // The next who is to be replaced.
    let health = world.settings.cloud.health;
    let all = world.aws.iter().flat_map(|aws| aws.groups.values()).flat_map(|group| &group.members);
    let next = all.filter_map(|member| member.sick).map(|sick| sick + health).filter(|due| *due > Instant::now()).min();
    if let Some(next) = next {
        let after = next.saturating_duration_since(Instant::now());
        world.later(after, Task::Reconcile(Controller::Cloud, ObjectKey::new("", GROUPS)));
    }
}

fn find<'a>(world: &'a mut World, name: &str) -> Option<&'a mut Group> {
    world.aws.as_mut()?.groups.get_mut(name)
}

/// Has a group end one of its instances: it leaves the group when it is gone. The activity's place among all.
pub(super) fn remove(world: &mut World, name: &str, id: &str, why: &str) -> Option<Activity> {
    let now = world.wall();
    let aws = world.aws.as_mut()?;
    let member = aws.groups.get_mut(name)?.member(id)?;
    (member.lifecycle, member.sick) = (Lifecycle::Terminating, None);
    let zone = member.zone.clone();
    for launch in aws.activities.iter_mut().filter(|it| it.instance == id && it.ended.is_none()) {
        launch.ended = Some((now, "Cancelled"));
    }
    let cause = format!("At {} {why}", stamp(now));
    let activity = aws.note(name, id, format!("Terminating EC2 instance: {id}"), cause, &zone, now);
    life::terminate(world, id, false);
    touched(world);
    Some(activity)
}

impl Aws {
    /// Lists an activity that begins.
    fn note(
        &mut self,
        group: &str,
        instance: &str,
        description: String,
        cause: String,
        zone: &str,
        now: Timestamp,
    ) -> Activity {
        let mut of = self.groups.get(group).into_iter().flat_map(|group| &group.subnets);
        let subnet = of.find(|subnet| self.zone_of(subnet) == zone).cloned().unwrap_or_default();
        let activity = Activity {
            id: self.id("activity"),
            group: group.to_owned(),
            instance: instance.to_owned(),
            description,
            cause,
            zone: zone.to_owned(),
            subnet,
            started: now,
            ended: None,
        };
        self.activities.push(activity.clone());
        if self.activities.len() > KEPT {
            self.activities.remove(0);
        }
        activity
    }

    fn end(&mut self, instance: &str, now: Timestamp) {
        for activity in self.activities.iter_mut().filter(|it| it.instance == instance && it.ended.is_none()) {
            activity.ended = Some((now, "Successful"));
        }
    }

    fn state(&self, instance: &str) -> State {
        self.instances.get(instance).map_or(State::Terminated, |instance| instance.state)
    }

    /// Of a group: its zones, each with a subnet in it.
    fn zones(&self, group: &Group) -> BTreeMap<String, String> {
        group.subnets.iter().rev().map(|subnet| (self.zone_of(subnet).to_owned(), subnet.clone())).collect()
    }

    /// How many count in each of a group's zones, and in others where it still has some.
    fn crowd(&self, group: &Group) -> BTreeMap<String, usize> {
        let mut crowd: BTreeMap<String, usize> = self.zones(group).into_keys().map(|zone| (zone, 0)).collect();
        for member in group.counted() {
            *crowd.entry(member.zone.clone()).or_default() += 1;
        }
        crowd
    }
}

/// As AWS writes times into causes.
pub(super) fn stamp(now: Timestamp) -> String {
    crate::lab::store::seconds(now).to_string()
}

/// What was begun, and is over.
fn finish(world: &mut World, name: &str) {
    let now = world.wall();
    let Some(aws) = &mut world.aws else { return };
    let Some(group) = aws.groups.get(name) else { return };
    let (mut served, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for member in &group.members {
        match (member.lifecycle, aws.state(&member.id)) {
            (Lifecycle::Pending, State::Running) => drop(served.insert(member.id.clone())),
            (Lifecycle::Terminating, State::Terminated) => drop(gone.insert(member.id.clone())),
            _ => {}
        }
    }
    if let Some(group) = aws.groups.get_mut(name) {
        for member in group.members.iter_mut().filter(|member| served.contains(&member.id)) {
            member.lifecycle = Lifecycle::InService;
        }
        group.members.retain(|member| !gone.contains(&member.id));
    }
    for id in served.iter().chain(&gone) {
        aws.end(id, now);
    }
}

fn check_health(world: &mut World, name: &str) {
    let Some(aws) = &mut world.aws else { return };
    let up: BTreeSet<String> =
        aws.instances.values().filter(|instance| instance.state.is_up()).map(|instance| instance.id.clone()).collect();
    let Some(group) = aws.groups.get_mut(name) else { return };
    let checks = group.runs("HealthCheck");
    for member in group.members.iter_mut().filter(|member| member.lifecycle != Lifecycle::Terminating) {
        member.healthy &= !checks || up.contains(&member.id);
        member.sick = if member.healthy { None } else { member.sick.or_else(|| Some(Instant::now())) };
    }
}

fn replace(world: &mut World, name: &str) {
    let health = world.settings.cloud.health;
    let Some(aws) = &world.aws else { return };
    let Some(group) = aws.groups.get(name) else { return };
    if !group.runs("ReplaceUnhealthy") || !group.runs("Terminate") {
        return;
    }
    let due = |member: &&Member| member.sick.is_some_and(|sick| sick + health <= Instant::now());
    let ill: Vec<(String, &'static str)> = group
        .counted()
        .filter(due)
        .map(|member| {
            let dead = "an EC2 health check indicating it has been terminated or stopped.";
            let check = if aws.state(&member.id).is_up() { "a user health-check." } else { dead };
            (member.id.clone(), check)
        })
        .collect();
    for (id, check) in ill {
        remove(world, name, &id, &format!("an instance was taken out of service in response to {check}"));
    }
}

fn scale_in(world: &mut World, name: &str) {
    loop {
        let now = world.wall();
        let Some(aws) = &world.aws else { return };
        let Some(group) = aws.groups.get(name) else { return };
        let counted = group.counted().count();
        if !group.runs("Terminate") || group.moving.is_some() || counted <= group.desired {
            return;
        }
        // The fullest zone's oldest; what is outside the group's zones goes first.
        let (zones, crowd) = (aws.zones(group), aws.crowd(group));
        let free = group.counted().filter(|member| !member.protected);
        let order = |member: &&Member| {
            let others = usize::MAX - crowd.get(&member.zone).copied().unwrap_or(0);
            (zones.contains_key(&member.zone), others, member.zone.clone(), member.launched)
        };
        let Some(id) = free.min_by_key(order).map(|member| member.id.clone()) else { return };
        let why = format!(
            "an instance was taken out of service in response to a difference between desired and actual capacity, shrinking the capacity \
             from {counted} to {}.  At {} instance {id} was selected for termination.",
            counted - 1,
            stamp(now)
        );
        remove(world, name, &id, &why);
    }
}

fn scale_out(world: &mut World, name: &str) {
    loop {
        let Some(aws) = &world.aws else { return };
        let Some(group) = aws.groups.get(name) else { return };
        let counted = group.counted().count();
        if !group.runs("Launch") || counted >= group.desired {
            return;
        }
        let why = format!(
            "an instance was started in response to a difference between desired and actual capacity, increasing the capacity from \
             {counted} to {}.",
            counted + 1
        );
        if launch(world, name, &why).is_none() {
            return;
        }
    }
}

/// Launches in the emptiest of the group's zones.
fn launch(world: &mut World, name: &str, why: &str) -> Option<String> {
    let now = world.wall();
    let aws = world.aws.as_ref()?;
    let group = aws.groups.get(name)?;
    let (zones, crowd) = (aws.zones(group), aws.crowd(group));
    let (zone, subnet) = zones.into_iter().min_by_key(|(zone, _)| (crowd.get(zone).copied(), zone.clone()))?;
    let id = life::launch(world, name, &subnet)?;
    let cause = format!("At {} {why}", stamp(now));
    world.aws.as_mut()?.note(name, &id, format!("Launching a new EC2 instance: {id}"), cause, &zone, now);
    Some(id)
}

/// One at a time, first the new one and then the old one. What has begun ends even when the process was suspended since.
fn even_out(world: &mut World, name: &str) {
    let Some(aws) = &world.aws else { return };
    let Some(group) = aws.groups.get(name) else { return };
    if group.moving.is_some() {
        return end_move(world, name);
    }
    let settled = group.members.iter().all(|member| member.lifecycle == Lifecycle::InService && member.healthy);
    let whole = settled && group.members.len() == group.desired;
    if !group.runs("AZRebalance") || !group.runs("Launch") || !whole {
        return;
    }
    let (zones, crowd) = (aws.zones(group), aws.crowd(group));
    let of_zones = || zones.keys().map(|zone| (crowd.get(zone).copied().unwrap_or(0), zone));
    let outside = group.members.iter().filter(|member| !zones.contains_key(&member.zone));
    let mut leaving: Vec<&Member> = outside.collect();
    if leaving.is_empty()
        && let (Some((most, fullest)), Some((fewest, _))) = (of_zones().max(), of_zones().min())
        && most > fewest + 1
    {
        leaving = group.members.iter().filter(|member| member.zone == *fullest).collect();
    }
    leaving.retain(|member| !member.protected);
    let Some(old) = leaving.iter().min_by_key(|member| member.launched).map(|member| member.id.clone()) else { return };
    let counts = crowd.values().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let names = crowd.keys().cloned().collect::<Vec<_>>().join(" ");
    let why = format!(
        "availability zones {names} had {counts} instances respectively.  An instance was launched to aid in balancing the group's zones."
    );
    let new = launch(world, name, &why);
    if let (Some(new), Some(group)) = (new, find(world, name)) {
        group.moving = Some((new, old));
    }
}

fn end_move(world: &mut World, name: &str) {
    let Some(group) = find(world, name) else { return };
    let Some((new, old)) = group.moving.clone() else { return };
    let find = |id: &str| group.counted().find(|member| member.id == id);
    match (find(&new), find(&old)) {
        (Some(come), Some(_)) if come.healthy => {
            if come.lifecycle == Lifecycle::InService && group.runs("Terminate") {
                group.moving = None;
                let why = format!("instance {old} was taken out of service to aid in balancing the group's zones.");
                remove(world, name, &old, &why);
            }
        }
        // One of them went by itself; what is too many or too few now is scaling's.
        _ => {
            group.moving = None;
            touched(world);
        }
    }
}
