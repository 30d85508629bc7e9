//! Choosing pods: what `pods:` in a step means, and the seeded choice among those that match.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::{Choice, is_word};
use super::kube::{list, owner_of, top_owner};
use super::nodes::zone_of;
use super::{Complaint, Permission, Planning, Refusal};
use crate::record::Target;
use crate::scalar::{Name, Percent, Selector};

/// Which pods, and how many of them. At least one of `selector`, `owner`, `node`, `zone`, `names` or `all` must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodTargets {
    /// Namespace.
    pub namespace: Name,
    /// Label selector, as `kubectl -l` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Controlling owner as `kind/name`, such as `deployment/web` or `statefulset/db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Only pods on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only pods on nodes of this zone (`topology.kubernetes.io/zone`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Exactly these pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// That many of those that match, chosen by the run's seed. One when neither `percent` nor `all` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// That share of those that match, rounded down but at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Every pod that matches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// A chosen pod with what the faults need to know of it.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    pub target: Target,
    pub pod: Pod,
}

impl PodTargets {
    /// What contradicts itself in the arguments, for the faults that have them under `pods`.
    pub(super) fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let chooses = self.selector.is_some() || self.owner.is_some() || self.node.is_some() || self.zone.is_some();
        if !chooses && self.names.is_empty() && !self.all {
            complaints.push(Complaint::new(
                &["pods"],
                "nothing says which pods: this would be every pod of the namespace",
                "add a `selector`, `owner`, `node`, `zone` or `names`; write `all: true` if every pod is meant",
            ));
        }
        complaints.extend(self.choice().check());
        let mut complain =
            |key, message: &str, hint: &str| complaints.push(Complaint::new(&["pods", key], message, hint));
        if let Some(owner) = &self.owner
            && !owner.split_once('/').is_some_and(|(kind, name)| is_word(kind) && is_word(name))
        {
            complain(
                "owner",
                &format!("`owner: {owner}` is not `kind/name`"),
                "write `deployment/web` or `statefulset/db`, in lower case",
            );
        }
        for (key, value) in [("node", &self.node), ("zone", &self.zone)] {
            if value.as_ref().is_some_and(|value| !is_word(value)) {
                complain(
                    key,
                    &format!("this can't be the name of a {key}"),
                    "names have lower-case letters, digits, `-` and `.`",
                );
            }
        }
        complaints
    }

    /// What [`PodTargets::choose`] calls.
    pub(super) fn permissions(&self) -> Vec<Permission> {
        let rule = |group, resource, verb, namespace: Option<&Name>, why| Permission {
            group,
            resource,
            verb,
            namespace: namespace.map(ToString::to_string),
            why,
            kind: None,
        };
        let mut rules = vec![
            rule("", "pods", "list", Some(&self.namespace), "choose the targets"),
            rule("apps", "replicasets", "list", Some(&self.namespace), "find the workload that owns a pod"),
        ];
        if self.zone.is_some() {
            rules.push(rule("", "nodes", "list", None, "find the nodes of a zone"));
        }
        rules
    }

    /// Chooses among the running pods that match, by the seed; also how many matched.
    pub(super) async fn choose(&self, cx: &Planning<'_>) -> Result<(Vec<Chosen>, usize), Refusal> {
        let matching = self.matching(cx).await?;
        let of = matching.len();
        if of == 0 {
            return Err(self.nothing(cx).await);
        }
        let chosen = self.choice().take(cx, matching, |chosen| &chosen.target.uid)?;
        Ok((chosen, of))
    }

    fn choice(&self) -> Choice<'_> {
        Choice { key: "pods", names: &self.names, count: self.count, percent: self.percent, all: self.all }
    }

    async fn matching(&self, cx: &Planning<'_>) -> Result<Vec<Chosen>, Refusal> {
        let namespace = self.namespace.as_str();
        let pods = list::<Pod>(cx.cluster.api(namespace), "pods", namespace, self.selector.as_ref()).await?;
        let sets = list(cx.cluster.api(namespace), "replicasets", namespace, None).await?;
        let zones = self.zones(cx).await?;
        let mut chosen: Vec<Chosen> = pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none() && is_live(pod))
            .filter_map(|pod| {
                let node = pod.spec.as_ref().and_then(|s| s.node_name.clone());
                let zone = node.as_ref().and_then(|n| zones.get(n).cloned());
                let target = Target {
                    kind: "pod".to_owned(),
                    namespace: namespace.to_owned(),
                    name: pod.metadata.name.clone()?,
                    uid: pod.metadata.uid.clone()?,
                    node,
                    zone,
                    owner: top_owner(&pod.metadata, &sets),
                    instance: None,
                };
                Some(Chosen { target, pod })
            })
            .filter(|c| self.accepts(c))
            .collect();
        // The API lists by name today, but does not promise it; the seeded choice must start from one order.
        chosen.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(chosen)
    }

    fn accepts(&self, chosen: &Chosen) -> bool {
        let target = &chosen.target;
        let direct = owner_of(&chosen.pod.metadata);
        self.node.as_ref().is_none_or(|n| target.node.as_ref() == Some(n))
            && self.zone.as_ref().is_none_or(|z| target.zone.as_ref() == Some(z))
            && self.owner.as_ref().is_none_or(|o| target.owner.as_ref() == Some(o) || direct.as_ref() == Some(o))
            && (self.names.is_empty() || self.names.contains(&target.name))
    }

    async fn zones(&self, cx: &Planning<'_>) -> Result<BTreeMap<String, String>, Refusal> {
        if self.zone.is_none() {
            return Ok(BTreeMap::new());
        }
        let nodes = list::<Node>(cx.cluster.all(), "nodes", "", None).await?;
        let zones: BTreeMap<String, String> = nodes
            .into_iter()
            .filter_map(|node| {
                let zone = zone_of(&node)?;
                Some((node.metadata.name?, zone))
            })
            .collect();
        if let Some(wanted) = &self.zone
            && !zones.values().any(|z| z == wanted)
        {
            let mut seen: Vec<&str> = zones.values().map(String::as_str).collect();
            seen.sort_unstable();
            seen.dedup();
            return Err(
                Refusal::new(format!("no node is in zone `{wanted}`")).hint(format!("zones seen: {}", seen.join(", ")))
            );
        }
        Ok(zones)
    }

    /// Why nothing matched: a wrong namespace, or labels that no pod has.
    async fn nothing(&self, cx: &Planning<'_>) -> Refusal {
        let namespace = self.namespace.as_str();
        let what = self.describe();
        match list::<Pod>(cx.cluster.api(namespace), "pods", namespace, None).await {
            Ok(pods) if pods.is_empty() => {
                Refusal::new(format!("{what} matches nothing: namespace `{namespace}` has no pods"))
                    .hint("is the namespace right?")
            }
            Ok(pods) => {
                let mut labels: Vec<String> = pods
                    .iter()
                    .flat_map(|p| p.metadata.labels.iter().flatten())
                    .filter(|(key, _)| !key.contains("hash"))
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                labels.sort();
                labels.dedup();
                labels.truncate(8);
                Refusal::new(format!("{what} matches none of the {} pods in namespace `{namespace}`", pods.len()))
                    .hint(format!("labels seen there: {}", labels.join(", ")))
            }
            Err(refusal) => refusal,
        }
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.selector.as_ref().map(|s| format!("selector `{s}`")));
        parts.extend(self.owner.as_ref().map(|o| format!("owner `{o}`")));
        parts.extend(self.node.as_ref().map(|n| format!("node `{n}`")));
        parts.extend(self.zone.as_ref().map(|z| format!("zone `{z}`")));
        if !self.names.is_empty() {
            parts.push(format!("names {}", self.names.join(", ")));
        }
        if parts.is_empty() { "`all: true`".to_owned() } else { parts.join(" and ") }
    }
}

/// Whether the pod has not ended by itself: a finished Job's pod can't be killed.
fn is_live(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}
