//! Cutting subnets off: each is put under a network ACL of ours that denies everything, and back under its own.
//!
//! Every subnet gets an ACL for itself. So each note stands whole on one object, and subnets that are cut at the same time, or taken
//! back one by one, have nothing in common that one could delete under another. An association has another id after each change: it
//! is looked up by its subnet, and never kept.

mod note;
mod survey;
#[cfg(test)]
#[cfg(feature = "aws")]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::note::left;
use self::note::{Mark, SUBNET};
pub(super) use self::survey::{Leave, survey};
use super::contract::{Acting, Effect, FaultError, Heal, Injected, Undo};
use super::hold::{READ_PAUSE, READS};
use crate::cluster::{Cloud, CloudError, NetworkAcl};
use crate::record::Target;

/// The service answers with the new association at once, or after a few reads.
pub(super) const EFFECT_DEADLINE: Duration = Duration::from_secs(30);

/// What putting a subnet back under its own network ACL needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CutNote {
    /// The network ACL that it was under.
    original: String,
    /// Its network, whose default ACL takes the place of one that is gone.
    vpc: String,
}

/// The network ACL that the subnet is under now; `None` when there is no such subnet any more.
async fn current(cloud: &Cloud, subnet: &str) -> Result<Option<NetworkAcl>, CloudError> {
    let found = cloud.acls("association.subnet-id", &[subnet.to_owned()], SUBNET).await?;
    Ok(found.into_iter().find(|acl| acl.associations.contains_key(subnet)))
}

/// Reads what the undo will need. `None`: the subnet is gone.
pub(super) async fn prepare(cloud: &Cloud, target: &Target) -> Result<Option<CutNote>, FaultError> {
    let Some(acl) = current(cloud, &target.name).await? else { return Ok(None) };
    if let Some(mark) = Mark::of(&acl.tags) {
        return Err(FaultError::State(format!(
            "{target} is under network ACL {}, which run `{}` made already",
            acl.id, mark.whose.run
        )));
    }
    Ok(Some(CutNote { original: acl.id, vpc: acl.vpc }))
}

/// Cuts a subnet off: the ACL, which carries the note, is made first.
pub(super) async fn cut(
    cx: &Acting<'_>,
    cloud: &Cloud,
    fault: &str,
    target: &Target,
    note: &CutNote,
) -> Result<Injected, FaultError> {
    let subnet = &target.name;
    let Some(before) = current(cloud, subnet).await? else {
        return Ok(Injected::Gone("the subnet is gone".to_owned()));
    };
    if before.id != note.original {
        return Err(FaultError::State(format!(
            "{target} is under network ACL {} now, and was under {} a moment ago",
            before.id, note.original
        )));
    }
    let mark = Mark::new(cx, fault, subnet, note);
    let made = cloud.create_acl(&note.vpc, subnet, &mark.tags(&cloud.id().cluster), &mark.token(), false).await?;
    let mut tries = 1;
    loop {
        match cloud.associate_acl(&before.associations[subnet], &made, false).await {
            Ok(()) => break,
            // What has just been made is not known everywhere at once.
            Err(e) if e.is_unknown_acl() && tries < READS => {
                tries += 1;
                tokio::time::sleep(READ_PAUSE).await;
            }
            Err(e) => {
                // An answer that was lost, and its call repeated, is refused the second time.
                let now = current(cloud, subnet).await?;
                if now.is_some_and(|acl| acl.id == made) {
                    break;
                }
                return Err(e.into());
            }
        }
    }
    Ok(Injected::Done(format!("{made}, which denies everything, in the place of {}", note.original)))
}

/// Whether the subnet is cut off.
pub(super) async fn effect(cx: &Acting<'_>, cloud: &Cloud, target: &Target) -> Result<Effect, FaultError> {
    Ok(match current(cloud, &target.name).await? {
        Some(acl) if is_ours(cx, &acl) && !acl.allows => {
            Effect::Seen(format!("it is under {}, which lets nothing through", acl.id))
        }
        Some(acl) if is_ours(cx, &acl) => {
            Effect::NotYet(format!("it is under {}, to which somebody has added a rule that allows", acl.id))
        }
        Some(acl) => Effect::NotYet(format!("it is under {}, which is not ours", acl.id)),
        None => Effect::NotYet("the subnet is gone".to_owned()),
    })
}

/// Which of these subnets are not under an ACL of ours.
pub(super) async fn open(cx: &Acting<'_>, cloud: &Cloud, subnets: &[String]) -> Result<Vec<String>, FaultError> {
    let acls = cloud.acls("association.subnet-id", subnets, SUBNET).await?;
    let cut = |subnet: &&String| acls.iter().any(|acl| is_ours(cx, acl) && acl.associations.contains_key(*subnet));
    Ok(subnets.iter().filter(|subnet| !cut(subnet)).cloned().collect())
}

fn is_ours(cx: &Acting<'_>, acl: &NetworkAcl) -> bool {
    Mark::of(&acl.tags).is_some_and(|mark| mark.whose.run == cx.run && mark.whose.step == cx.step)
}

/// Puts the subnet back under its own network ACL if it is under ours, and deletes ours.
pub(super) async fn restore(
    cx: &Acting<'_>,
    cloud: &Cloud,
    target: &Target,
    note: &CutNote,
) -> Result<Undo, FaultError> {
    let subnet = &target.name;
    let Seen { current, ours } = look(cx, cloud, subnet, note).await?;
    let undo = match &current {
        Some(acl) if is_ours(cx, acl) => {
            let (back, gone) = own(cloud, note).await?;
            cloud.associate_acl(&acl.associations[subnet], &back, false).await?;
            match gone {
                None => Undo::Undone(format!("it is under {back} again")),
                Some(gone) => Undo::Conflict(format!("{gone}: it is under the network's default, {back}, now")),
            }
        }
        None => Undo::Nothing("the subnet is gone".to_owned()),
        Some(acl) if acl.id == note.original && ours.is_empty() => {
            Undo::Nothing(format!("it is under {}, and nothing of ours is left", acl.id))
        }
        // Whether somebody was there before us, or our own call never arrived, nothing here can tell.
        Some(acl) if acl.id == note.original => Undo::Conflict(format!("it was under {} already", acl.id)),
        Some(acl) => Undo::Conflict(format!(
            "somebody put it under {} meanwhile, which stays; it was under {} before",
            acl.id, note.original
        )),
    };
    for acl in &ours {
        delete(cloud, acl).await?;
    }
    let deleted = |words: String| {
        if ours.is_empty() { words } else { format!("{words}; {} is deleted", ours.join(", ")) }
    };
    Ok(match undo {
        Undo::Undone(words) => Undo::Undone(deleted(words)),
        Undo::Nothing(words) => Undo::Nothing(deleted(words)),
        Undo::Conflict(words) => Undo::Conflict(deleted(words)),
        other @ (Undo::HealsItself | Undo::ByHand(_)) => other,
    })
}

/// The subnet's own ACL, or the default of its network and why.
async fn own(cloud: &Cloud, note: &CutNote) -> Result<(String, Option<String>), FaultError> {
    if cloud.has_acl(&note.original).await? {
        return Ok((note.original.clone(), None));
    }
    let all = cloud.acls("vpc-id", std::slice::from_ref(&note.vpc), SUBNET).await?;
    let default = all.into_iter().find(|acl| acl.is_default).ok_or_else(|| {
        FaultError::State(format!("{} is gone, and {} has no default network ACL", note.original, note.vpc))
    })?;
    Ok((default.id, Some(format!("{}, its own network ACL, was deleted by somebody", note.original))))
}

/// What is found of our work.
struct Seen {
    /// What the subnet is under.
    current: Option<NetworkAcl>,
    /// Our ACLs for it: one, or more where a call was repeated.
    ours: Vec<String>,
}

/// Reads again when nothing of ours is there: an older state may have been answered.
async fn look(cx: &Acting<'_>, cloud: &Cloud, subnet: &str, note: &CutNote) -> Result<Seen, FaultError> {
    let mut reads = 0;
    loop {
        let tagged = cloud.acls("tag-key", &[SUBNET.to_owned()], SUBNET).await?;
        let mine = |acl: &NetworkAcl| is_ours(cx, acl) && acl.tags.get(SUBNET).is_some_and(|of| of == subnet);
        let mut ours: Vec<NetworkAcl> = tagged.into_iter().filter(mine).collect();
        let current = current(cloud, subnet).await?;
        if let Some(acl) = current.iter().find(|acl| mine(acl) && ours.iter().all(|one| one.id != acl.id)) {
            ours.push(acl.clone());
        }
        reads += 1;
        let untouched = ours.is_empty() && current.as_ref().is_some_and(|acl| acl.id == note.original);
        if !untouched || reads >= READS {
            return Ok(Seen { current, ours: ours.into_iter().map(|acl| acl.id).collect() });
        }
        tokio::time::sleep(READ_PAUSE).await;
    }
}

/// Deletes an ACL of ours. What was put back a moment ago may still count as being under it.
async fn delete(cloud: &Cloud, acl: &str) -> Result<(), CloudError> {
    let mut tries = 1;
    loop {
        match cloud.delete_acl(acl).await {
            Err(e) if e.is_in_use() && tries < READS => {
                tries += 1;
                tokio::time::sleep(READ_PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Whether the subnet is under none of ours any more.
pub(super) async fn healed(cx: &Acting<'_>, cloud: &Cloud, target: &Target) -> Result<Heal, FaultError> {
    Ok(match current(cloud, &target.name).await? {
        Some(acl) if is_ours(cx, &acl) => Heal::NotYet(format!("it is still under {}", acl.id)),
        Some(acl) => Heal::Healed(format!("it is under {}", acl.id)),
        None => Heal::NotYet("the subnet is gone".to_owned()),
    })
}
