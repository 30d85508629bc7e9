//! The undo note on a network ACL of ours: tags that it has from its first instant.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::CutNote;
use crate::cluster::{Cluster, NetworkAcl};
use crate::fault::contract::{Acting, FaultError, Left};
use crate::fault::hold::{TAG, Whose};
use crate::record::Target;

/// Which subnet it cuts off.
pub(super) const SUBNET: &str = "squall.dev/undo-subnet";
/// Which network ACL the subnet was under.
const ORIGINAL: &str = "squall.dev/undo-acl";
/// Of which cluster, by its name in the tags of its instances: another in the same account has notes of its own.
const CLUSTER: &str = "squall.dev/cluster";

/// The note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) whose: Whose,
    pub(super) subnet: String,
    pub(super) original: String,
}

impl Mark {
    pub(super) fn new(cx: &Acting<'_>, fault: &str, subnet: &str, note: &CutNote) -> Self {
        Self { whose: Whose::new(cx, fault), subnet: subnet.to_owned(), original: note.original.clone() }
    }

    pub(super) fn tags(&self, cluster: &str) -> BTreeMap<String, String> {
        let tags =
            [(TAG, self.whose.text().as_str()), (SUBNET, &self.subnet), (ORIGINAL, &self.original), (CLUSTER, cluster)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()));
        BTreeMap::from(tags)
    }

    /// The note among an ACL's tags; `None` without one.
    pub(super) fn of(tags: &BTreeMap<String, String>) -> Option<Self> {
        let text = |key: &str| tags.get(key).cloned().unwrap_or_default();
        Some(Self { whose: Whose::of(tags)?, subnet: text(SUBNET), original: text(ORIGINAL) })
    }

    /// By which the service knows the same request when it comes again.
    pub(super) fn token(&self) -> String {
        let digest = Sha256::digest(format!("{} {}", self.whose.text(), self.subnet));
        digest.iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

/// A subnet as a target.
pub(super) fn target(subnet: &str, vpc: &str, zone: Option<String>) -> Target {
    Target {
        kind: "subnet".to_owned(),
        namespace: String::new(),
        name: subnet.to_owned(),
        uid: subnet.to_owned(),
        node: None,
        zone,
        owner: Some(format!("vpc/{vpc}")),
        instance: None,
    }
}

/// Undo notes on the cluster's network ACLs, of any run; `note` makes the fault's own of each.
pub(in crate::fault) async fn left<N: serde::Serialize>(
    cluster: &Cluster,
    fault: &str,
    note: impl Fn(CutNote) -> N,
) -> Result<Vec<Left>, FaultError> {
    let Some(cloud) = cluster.cloud() else { return Ok(Vec::new()) };
    let ours = cloud.acls("tag-key", &[SUBNET.to_owned()], SUBNET).await?;
    let of = |acl: &NetworkAcl| {
        let mark = Mark::of(&acl.tags).filter(|mark| mark.whose.fault == fault)?;
        let Whose { run, state, step, fault } = mark.whose;
        let note = note(CutNote { original: mark.original, vpc: acl.vpc.clone() });
        let (target, note) = (target(&mark.subnet, &acl.vpc, None), serde_json::to_value(note).ok()?);
        Some(Left { run, state, step, fault, target, note })
    };
    let here = |acl: &&NetworkAcl| acl.tags.get(CLUSTER) == Some(&cloud.id().cluster);
    Ok(ours.iter().filter(here).filter_map(of).collect())
}
