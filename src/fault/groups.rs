//! Choosing Auto Scaling groups: what `groups:` in a step means, and the seeded choice among those that match.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// That many of those that match, chosen by the run's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// That share of those that match, rounded down but at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Every group that matches: what a `zone` alone means too.
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
        let mut complain =
            |key, message: &str, hint: &str| complaints.push(Complaint::new(&["groups", key], message, hint));
        if self.count.is_some() && self.percent.is_some() {
            complain("percent", "`count` and `percent` both say how many groups", "keep one of them");
        }
        if self.all && (self.count.is_some() || self.percent.is_some()) {
            complain(
                "all",
                "`all: true` and a number of groups contradict each other",
                "keep `all`, or `count` or `percent`",
            );
        }
        if !self.names.is_empty() && (self.count.is_some() || self.percent.is_some()) {
            complain("names", "`names` already says how many groups", "remove `count` and `percent`");
        }
        if self.count == Some(0) {
            complain("count", "`count: 0` chooses no group", "write `count: 1`, or leave it out");
        }
        if self.percent.is_some_and(Percent::is_zero) {
            complain(
                "percent",
                "`0%` chooses no group",
                "write a percentage above zero; it rounds down, but to at least one group",
            );
        }
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
        let mut matching: Vec<Group> = all
            .into_iter()
            .filter(|group| self.names.is_empty() || self.names.contains(&group.name))
            .filter(|group| self.zone.as_ref().is_none_or(|zone| group.zones.contains(zone)))
            .collect();
        let of = matching.len();
        if of == 0 {
            return Err(Refusal::new("no Auto Scaling group of this cluster matches").hint(tagged));
        }
        let count = self.how_many(of)?;
        matching.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(cx.seed));
        matching.sort_by_key(|group| cx.taken.contains(&group.arn));
        matching.truncate(count);
        matching.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((matching, of))
    }

    fn how_many(&self, of: usize) -> Result<usize, Refusal> {
        match (self.percent, self.count) {
            (Some(percent), _) => Ok(percent.of_rounded_down(of).max(1)),
            (None, Some(count)) if count as usize > of => {
                Err(Refusal::new(format!("`count: {count}` asks for more groups than the {of} that match"))
                    .hint("lower `count`, or write `all: true`"))
            }
            (None, Some(count)) => Ok(count as usize),
            (None, None) => Ok(of),
        }
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
