//! Choosing Auto Scaling groups: what `groups:` in a step means, and the seeded choice among those that match.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::Choice;
use super::{CloudPermission, CloudScope, Complaint, Planning, Refusal};
use crate::cluster::{Cloud, Cluster, Group};
use crate::record::Target;
use crate::scalar::Percent;

/// Which Auto Scaling groups of the cluster, and how many of them. At least one of `names`, `zone` or `all` must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GroupTargets {
    /// Exactly these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Only groups that launch in this zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// That many of those that match, chosen by the run's seed. One when neither `percent` nor `all` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// That share of those that match, rounded down but at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Every group that matches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// What [`GroupTargets::choose`] calls.
pub(super) const CHOOSES: CloudPermission = CloudPermission {
    action: "autoscaling:DescribeAutoScalingGroups",
    on: CloudScope::All,
    why: "choose the groups, and see what they are",
};

/// The open cloud, or why the step can't be planned.
pub(super) fn cloud(cluster: &Cluster) -> Result<&Cloud, Refusal> {
    cluster
        .cloud()
        .ok_or_else(|| Refusal::new("no AWS account is open for this cluster").hint("add `spec.aws` to the experiment"))
}

impl GroupTargets {
    /// What contradicts itself in the arguments, for the faults that have them under `groups`.
    pub(super) fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        if self.names.is_empty() && self.zone.is_none() && !self.all {
            complaints.push(Complaint::new(
                &["groups"],
                "nothing says which groups: this would be every group of the cluster",
                "add `names` or a `zone`; write `all: true` if every group is meant",
            ));
        }
        complaints.extend(self.choice().check());
        complaints
    }

    /// Chooses among the groups that carry the cluster's tag, by the seed; also how many matched.
    pub(super) async fn choose(&self, cx: &Planning<'_>) -> Result<(Vec<Group>, usize), Refusal> {
        let cloud = cloud(cx.cluster)?;
        let all = cloud.groups().await.map_err(|e| Refusal::new(format!("can't list the Auto Scaling groups: {e}")))?;
        let known: Vec<String> = all.iter().map(|group| group.name.clone()).collect();
        let seen = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let tagged = format!("groups in {} with the tag `{}`: {seen}", cloud.id().region, cloud.id().tag());
        if let Some(missing) = self.names.iter().find(|name| !known.contains(name)) {
            return Err(Refusal::new(format!("there is no group `{missing}` of this cluster")).hint(tagged));
        }
        let matching: Vec<Group> = all
            .into_iter()
            .filter(|group| self.names.is_empty() || self.names.contains(&group.name))
            .filter(|group| self.zone.as_ref().is_none_or(|zone| group.zones.contains(zone)))
            .collect();
        let of = matching.len();
        if of == 0 {
            return Err(Refusal::new("no Auto Scaling group of this cluster matches").hint(tagged));
        }
        let mut chosen = self.choice().take(cx, matching, |group| &group.arn)?;
        chosen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((chosen, of))
    }

    fn choice(&self) -> Choice<'_> {
        Choice { key: "groups", names: &self.names, count: self.count, percent: self.percent, all: self.all }
    }
}

/// A group as a target. Its ARN stands for the UID: a later group of the same name has another.
pub(super) fn target(group: &Group) -> Target {
    let zone = if group.zones.len() == 1 { group.zones.first().cloned() } else { None };
    Target {
        kind: "group".to_owned(),
        namespace: String::new(),
        name: group.name.clone(),
        uid: group.arn.clone(),
        node: None,
        zone,
        owner: None,
        instance: None,
    }
}
