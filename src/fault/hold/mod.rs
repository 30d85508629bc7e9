//! Holding an Auto Scaling group: processes suspended, or a zone taken out of it, and given back.
//!
//! Suspending has no zone argument. What "hold this zone" means depends on the group: one that launches in a single zone has its
//! processes suspended; one of several zones loses the zone's subnets, with AZRebalance suspended first, so that it does not move the
//! zone's instances away by itself. Undo is a merge: resumed is what we suspended, given back is what we removed, and whatever others
//! did meanwhile stays.

mod tags;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::tags::{Mark, UNDO_KEYS};
use super::contract::{Acting, Effect, FaultError, Heal, Left, Refusal, Undo};
use super::groups::target;
use crate::cluster::{Cloud, CloudError, Cluster, Group, Member, Subnet};
use crate::record::Target;

pub(super) use self::tags::{TAG, Whose};

/// Tags hold 256 characters, and a subnet's id 24 with what separates it.
const MOST_SUBNETS: usize = 10;
/// Reads that must agree before a missing tag of ours is believed: the service may answer with an older state.
pub(super) const READS: u32 = 3;
pub(super) const READ_PAUSE: Duration = Duration::from_secs(1);

/// A process of an Auto Scaling group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Process {
    /// Adds instances.
    Launch,
    /// Removes instances.
    Terminate,
    /// Registers new instances with target groups.
    AddToLoadBalancer,
    /// Follows alarms' scaling policies.
    AlarmNotification,
    /// Evens out the zones.
    #[serde(rename = "AZRebalance")]
    AzRebalance,
    /// Marks broken instances unhealthy.
    HealthCheck,
    /// Replaces instances by newer ones.
    InstanceRefresh,
    /// Replaces unhealthy instances.
    ReplaceUnhealthy,
    /// Does what is scheduled.
    ScheduledActions,
}

impl Process {
    /// As the service writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Launch => "Launch",
            Self::Terminate => "Terminate",
            Self::AddToLoadBalancer => "AddToLoadBalancer",
            Self::AlarmNotification => "AlarmNotification",
            Self::AzRebalance => "AZRebalance",
            Self::HealthCheck => "HealthCheck",
            Self::InstanceRefresh => "InstanceRefresh",
            Self::ReplaceUnhealthy => "ReplaceUnhealthy",
            Self::ScheduledActions => "ScheduledActions",
        }
    }
}

/// What is held, and what giving it back needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HoldNote {
    /// Processes that are suspended while it is held: ours, and those that somebody else had suspended.
    pub(super) held: BTreeSet<String>,
    /// Of them, those that we suspend: nobody had before.
    pub(super) suspend: BTreeSet<String>,
    /// Subnets that we remove.
    pub(super) remove: BTreeSet<String>,
    /// All its subnets before.
    pub(super) subnets: BTreeSet<String>,
    /// Its wanted size before.
    pub(super) desired: i64,
    /// Whether its instances were spread evenly over its zones before, so that they will be again.
    #[serde(default)]
    pub(super) even: bool,
}

/// What holding a group comes to, and why it is done so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strategy {
    pub(super) note: HoldNote,
    pub(super) why: String,
}

/// Decides how a group is held. `subnets` are the group's own, with their zones.
pub(super) fn decide(
    group: &Group,
    processes: &[Process],
    zone: Option<&str>,
    subnets: &[Subnet],
) -> Result<Strategy, Refusal> {
    let all_zones = || group.zones.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let note = |held: BTreeSet<String>, remove: BTreeSet<String>| HoldNote {
        suspend: held.difference(&group.suspended).cloned().collect(),
        held,
        remove,
        subnets: group.subnets.clone(),
        desired: group.desired,
        even: uneven(group).is_none(),
    };
    let wanted = || processes.iter().map(|process| process.name().to_owned()).collect::<BTreeSet<_>>();
    let Some(zone) = zone else {
        return Ok(Strategy {
            note: note(wanted(), BTreeSet::new()),
            why: "no zone is named: suspended in all its zones".to_owned(),
        });
    };
    if !group.zones.contains(zone) {
        return Err(Refusal::new(format!("group `{}` does not launch in zone `{zone}`", group.name))
            .hint(format!("it launches in {}", all_zones())));
    }
    if group.zones.len() == 1 {
        let why = format!("{zone} is its only zone: its processes are suspended");
        return Ok(Strategy { note: note(wanted(), BTreeSet::new()), why });
    }
    if processes != [Process::Launch] {
        return Err(Refusal::new(format!(
            "group `{}` has several zones ({}), and processes are suspended for a whole group, never for one zone",
            group.name,
            all_zones()
        ))
        .hint("only `processes: [Launch]` can be held in one zone, by taking its subnets out of the group; or leave `zone` out"));
    }
    let remove: BTreeSet<String> =
        subnets.iter().filter(|subnet| subnet.zone == zone).map(|subnet| subnet.id.clone()).collect();
    if remove.is_empty() || remove.len() == group.subnets.len() {
        return Err(Refusal::new(format!(
            "the subnets of group `{}` in zone `{zone}` can't be told from its others: {}",
            group.name,
            group.subnets.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        )));
    }
    if remove.len() > MOST_SUBNETS {
        return Err(Refusal::new(format!(
            "group `{}` has {} subnets in zone `{zone}`, more than its undo note holds: {MOST_SUBNETS}",
            group.name,
            remove.len()
        )));
    }
    let rebalance = BTreeSet::from([Process::AzRebalance.name().to_owned()]);
    let why = format!(
        "it has other zones too ({}): AZRebalance is suspended, then the zone's subnets are taken out, so that it launches nothing there and moves nothing away",
        all_zones()
    );
    Ok(Strategy { note: note(rebalance, remove), why })
}

impl Strategy {
    /// Has these processes suspended too, wherever the group launches: suspending knows no zone.
    pub(super) fn and(mut self, group: &Group, processes: &[Process]) -> Self {
        if processes.is_empty() {
            return self;
        }
        let names: BTreeSet<String> = processes.iter().map(|process| process.name().to_owned()).collect();
        self.why = format!(
            "{}; {} is suspended in all its zones, so that it ends nothing that is cut off",
            self.why,
            list(&names)
        );
        self.note.held.extend(names);
        self.note.suspend = self.note.held.difference(&group.suspended).cloned().collect();
        self
    }
}

/// The run whose undo note the group carries, if any.
pub(super) fn marked_by(group: &Group) -> Option<String> {
    Whose::of(&group.tags).map(|whose| whose.run)
}

/// Holds a group: the note on the group first, then the harm.
pub(super) async fn hold(
    cx: &Acting<'_>,
    cloud: &Cloud,
    fault: &str,
    group: &Group,
    note: &HoldNote,
) -> Result<String, CloudError> {
    let mark = Mark::new(cx, fault, note);
    cloud.tag(&group.name, &mark.tags()).await?;
    cloud.suspend(&group.name, &note.suspend).await?;
    if !note.remove.is_empty() {
        let left = group.subnets.difference(&note.remove).cloned().collect();
        cloud.set_subnets(&group.name, &left).await?;
    }
    let mut done = Vec::new();
    if !note.suspend.is_empty() {
        done.push(format!("suspended {}", list(&note.suspend)));
    }
    let theirs: BTreeSet<String> = note.held.difference(&note.suspend).cloned().collect();
    if !theirs.is_empty() {
        done.push(format!("{} had been suspended before", list(&theirs)));
    }
    if !note.remove.is_empty() {
        done.push(format!("took out {}", list(&note.remove)));
    }
    Ok(done.join("; "))
}

/// Whether the group is held as the note says.
pub(super) fn held(group: &Group, note: &HoldNote) -> Effect {
    let running: BTreeSet<String> = note.held.difference(&group.suspended).cloned().collect();
    if !running.is_empty() {
        return Effect::NotYet(format!("not suspended: {}", list(&running)));
    }
    let there: BTreeSet<String> = note.remove.intersection(&group.subnets).cloned().collect();
    if !there.is_empty() {
        return Effect::NotYet(format!("it still launches in {}", list(&there)));
    }
    let subnets = if note.remove.is_empty() {
        String::new()
    } else {
        format!(", and it launches in {} only", list(&group.subnets))
    };
    Effect::Seen(format!("the group says that {} is suspended{subnets}", list(&note.held)))
}

/// Gives back what the note says that we took, and nothing else.
pub(super) async fn release(
    cx: &Acting<'_>,
    cloud: &Cloud,
    target: &Target,
    note: &HoldNote,
) -> Result<Undo, FaultError> {
    let Some(group) = marked(cloud, target, note).await? else {
        return Ok(Undo::Nothing("the group is gone".to_owned()));
    };
    let Some(mark) = Mark::of(&group.tags) else {
        return Ok(match held_of(&group, note) {
            None => Undo::Nothing("it carries no undo note, and nothing of ours is held".to_owned()),
            Some(held) => Undo::Conflict(format!("{held}, but it carries no undo note of ours: that stays as it is")),
        });
    };
    if mark.whose.run != cx.run || mark.whose.step != cx.step {
        return Ok(Undo::Conflict(format!("it carries the undo note of run `{}`, which stays", mark.whose.run)));
    }
    let back = Back::of(cloud, &group, note).await?;
    if !back.subnets.is_empty() {
        cloud.set_subnets(&group.name, &group.subnets.union(&back.subnets).cloned().collect()).await?;
    }
    cloud.resume(&group.name, &back.resume).await?;
    cloud.untag(&group.name, &UNDO_KEYS.iter().map(|key| (*key).to_owned()).collect()).await?;
    Ok(back.words(&group, note))
}

/// The group as it is now. When our note is missing but our work is not, it is read again: an older state may have been answered.
async fn marked(cloud: &Cloud, target: &Target, note: &HoldNote) -> Result<Option<Group>, FaultError> {
    let mut reads = 0;
    loop {
        let group = current(cloud, target).await?;
        reads += 1;
        let odd = group.as_ref().is_some_and(|group| Mark::of(&group.tags).is_none() && held_of(group, note).is_some());
        if !odd || reads >= READS {
            return Ok(group);
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

/// The target's group; `None` when it is gone, or another of the same name is there.
pub(super) async fn current(cloud: &Cloud, target: &Target) -> Result<Option<Group>, CloudError> {
    Ok(cloud.group(&target.name).await?.filter(|group| group.arn == target.uid))
}

/// What of the note's work is in place, in words.
fn held_of(group: &Group, note: &HoldNote) -> Option<String> {
    let suspended: BTreeSet<String> = note.suspend.intersection(&group.suspended).cloned().collect();
    let missing: BTreeSet<String> = note.remove.difference(&group.subnets).cloned().collect();
    let mut parts = Vec::new();
    if !suspended.is_empty() {
        parts.push(format!("{} is suspended", list(&suspended)));
    }
    if !missing.is_empty() {
        parts.push(format!("{} is not among its subnets", list(&missing)));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// What goes back, and what others did.
struct Back {
    resume: BTreeSet<String>,
    subnets: BTreeSet<String>,
    others: Vec<String>,
}

impl Back {
    async fn of(cloud: &Cloud, group: &Group, note: &HoldNote) -> Result<Self, CloudError> {
        let mut others = Vec::new();
        let mut other = |what: &BTreeSet<String>, words: &str| {
            if !what.is_empty() {
                others.push(format!("{} {words}", list(what)));
            }
        };
        let resume: BTreeSet<String> = note.suspend.intersection(&group.suspended).cloned().collect();
        // Whether somebody was there before us, or our own call never arrived, nothing here can tell.
        other(&note.suspend.difference(&group.suspended).cloned().collect(), "was not suspended any more");
        other(&note.remove.intersection(&group.subnets).cloned().collect(), "was among its subnets again");
        let missing: BTreeSet<String> = note.remove.difference(&group.subnets).cloned().collect();
        let ids: Vec<String> = missing.iter().cloned().collect();
        let there: BTreeSet<String> = cloud.subnets(&ids).await?.into_iter().map(|subnet| subnet.id).collect();
        other(&missing.difference(&there).cloned().collect(), "does not exist any more, and can't be given back");
        other(
            &group.subnets.difference(&note.subnets).cloned().collect(),
            "was added by somebody meanwhile, and stays",
        );
        let kept: BTreeSet<String> = note.subnets.difference(&note.remove).cloned().collect();
        other(
            &kept.difference(&group.subnets).cloned().collect(),
            "was taken out by somebody meanwhile, and stays out",
        );
        Ok(Self { resume, subnets: missing.intersection(&there).cloned().collect(), others })
    }

    fn words(self, group: &Group, note: &HoldNote) -> Undo {
        let mut done = Vec::new();
        if !self.subnets.is_empty() {
            done.push(format!("gave back {}", list(&self.subnets)));
        }
        if !self.resume.is_empty() {
            done.push(format!("resumed {}", list(&self.resume)));
        }
        let theirs: BTreeSet<String> = note.held.difference(&note.suspend).cloned().collect();
        let stays: BTreeSet<String> = theirs.intersection(&group.suspended).cloned().collect();
        if !stays.is_empty() {
            done.push(format!("{} stays suspended, as it was before", list(&stays)));
        }
        if group.desired != note.desired {
            done.push(format!("its wanted size stays {}; it was {} before", group.desired, note.desired));
        }
        if done.is_empty() {
            done.push("only our note had to go".to_owned());
        }
        done.extend(self.others.iter().cloned());
        let words = done.join("; ");
        if self.others.is_empty() { Undo::Undone(words) } else { Undo::Conflict(words) }
    }
}

/// Whether the group has every instance that it wants in service, on nodes that are Ready; if not, what it says stands in the way.
/// `lost` is one that does not count any more, whatever the group still says of it.
pub(super) async fn whole(
    cx: &Acting<'_>,
    cloud: &Cloud,
    target: &Target,
    lost: Option<&String>,
) -> Result<Heal, FaultError> {
    let Some(group) = current(cloud, target).await? else {
        return Ok(Heal::NotYet("the group is gone".to_owned()));
    };
    let wanted = usize::try_from(group.desired).unwrap_or(0);
    let ready = super::instances::ready(cx.cluster).await?;
    let serves =
        |member: &&Member| member.lifecycle == "InService" && ready.contains(&member.id) && lost != Some(&member.id);
    let serving = group.members.iter().filter(serves).count();
    if serving >= wanted {
        return Ok(Heal::Healed(format!(
            "group {} has {serving} of {wanted} instances in service, on Ready nodes",
            group.name
        )));
    }
    let activities = cloud.activities(&group.name).await?;
    let stuck = activities.iter().find(|activity| activity.status != "Successful");
    let why = stuck.map(|a| format!("; {}: {} {}", a.status, a.description, a.message)).unwrap_or_default();
    Ok(Heal::NotYet(format!(
        "group {} has {} of {wanted} instances in service, {serving} of them on Ready nodes{why}",
        group.name,
        group.in_service()
    )))
}

/// The same of a group that was held. When AZRebalance is given back it may move instances between zones once more, which is the end
/// of the disturbance and not the time after it.
pub(super) async fn settled(
    cx: &Acting<'_>,
    cloud: &Cloud,
    target: &Target,
    note: &HoldNote,
) -> Result<Heal, FaultError> {
    let heal = whole(cx, cloud, target, None).await?;
    if !note.even || note.remove.is_empty() || !matches!(heal, Heal::Healed(_)) {
        return Ok(heal);
    }
    let group = current(cloud, target).await?.filter(|group| !group.suspended.contains(Process::AzRebalance.name()));
    Ok(match group.as_ref().and_then(uneven) {
        Some(zones) => Heal::NotYet(format!("group {} has its instances spread unevenly: {zones}", target.name)),
        None => heal,
    })
}

/// How many instances are in service in each zone, where two zones differ by more than one.
fn uneven(group: &Group) -> Option<String> {
    let of = |zone: &String| group.members.iter().filter(|m| m.zone == *zone && m.lifecycle == "InService").count();
    let counts: Vec<(&String, usize)> = group.zones.iter().map(|zone| (zone, of(zone))).collect();
    let (most, fewest) = (counts.iter().map(|c| c.1).max()?, counts.iter().map(|c| c.1).min()?);
    let words = || counts.iter().map(|(zone, count)| format!("{count} in {zone}")).collect::<Vec<_>>().join(", ");
    (most > fewest + 1).then(words)
}

/// Undo notes on the cluster's groups, of any run.
pub(super) async fn left(cluster: &Cluster, fault: &str) -> Result<Vec<Left>, FaultError> {
    let Some(cloud) = cluster.cloud() else { return Ok(Vec::new()) };
    let groups = cloud.groups().await?;
    let of = |group: &Group| {
        let mark = Mark::of(&group.tags).filter(|mark| mark.whose.fault == fault)?;
        let note = HoldNote {
            held: mark.processes.clone(),
            suspend: mark.processes,
            subnets: group.subnets.union(&mark.subnets).cloned().collect(),
            remove: mark.subnets,
            desired: group.desired,
            even: false,
        };
        Some(Left {
            run: mark.whose.run,
            state: mark.whose.state,
            step: mark.whose.step,
            fault: mark.whose.fault,
            target: target(group),
            note: serde_json::to_value(note).ok()?,
        })
    };
    Ok(groups.iter().filter_map(of).collect())
}

/// Names in one line.
pub(super) fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
