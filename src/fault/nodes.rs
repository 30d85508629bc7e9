//! Choosing nodes: what `nodes:` in a step means, and what no choice may take unless it says so: the last that serves.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::choice::{Choice, is_word};
use super::kube::{list, list_all, refused};
use super::{Complaint, Permission, Planning, Refusal};
use crate::record::Target;
use crate::scalar::{Percent, Selector};
use crate::scheduling::label;

/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// The label that names the EKS managed node group of a node.
const NODE_GROUP: &str = "eks.amazonaws.com/nodegroup";
/// Where the cluster's DNS runs.
const DNS_NAMESPACE: &str = "kube-system";
/// What its pods are labelled with, whoever installed them: `CoreDNS` has taken the label over from its predecessor.
const DNS_LABEL: &str = "k8s-app=kube-dns";

/// Which nodes, and how many of them. At least one of `selector`, `zone`, `nodeGroup`, `names` or `all` must be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NodeTargets {
    /// Label selector, as `kubectl -l` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// Only nodes of this zone (`topology.kubernetes.io/zone`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Only nodes of this EKS managed node group (`eks.amazonaws.com/nodegroup`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_group: Option<String>,
    /// Exactly these nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// That many of those that match, chosen by the run's seed. One when neither `percent` nor `all` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// That share of those that match, rounded down but at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<Percent>,
    /// Every node that matches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Needed to take the last node of the cluster that can run pods, or the last that its DNS runs on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_last: bool,
}

/// A chosen node with what the faults need to know of it.
#[derive(Debug, Clone)]
pub(super) struct ChosenNode {
    pub target: Target,
    pub node: Node,
}

impl NodeTargets {
    /// What contradicts itself in the arguments, for the faults that have them under `nodes`.
    pub(super) fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let chooses = self.selector.is_some() || self.zone.is_some() || self.node_group.is_some();
        if !chooses && self.names.is_empty() && !self.all {
            complaints.push(Complaint::new(
                &["nodes"],
                "nothing says which nodes: this would be every node of the cluster",
                "add a `selector`, `zone`, `nodeGroup` or `names`; write `all: true` if every node is meant",
            ));
        }
        complaints.extend(self.choice().check());
        let names = self.names.iter().map(|name| ("names", "node", name));
        for (key, what, value) in names.chain(self.zone.iter().map(|zone| ("zone", "zone", zone))) {
            if !is_word(value) {
                complaints.push(Complaint::new(
                    &["nodes", key],
                    format!("`{value}` can't be the name of a {what}"),
                    "names have lower-case letters, digits, `-` and `.`",
                ));
            }
        }
        complaints
    }

    /// What [`NodeTargets::choose`] calls.
    pub(super) fn permissions(&self) -> Vec<Permission> {
        let rule = |resource, why| Permission { group: "", resource, verb: "list", namespace: None, why, kind: None };
        let mut rules = vec![rule("nodes", "choose the targets")];
        if !self.allow_last {
            let namespace = Some(DNS_NAMESPACE.to_owned());
            rules.push(Permission { namespace, ..rule("pods", "see on which nodes the cluster's DNS runs") });
        }
        rules
    }

    /// Chooses among the nodes that match, by the seed; also how many matched. Refuses to take the last that serves, unless that is
    /// allowed.
    pub(super) async fn choose(&self, cx: &Planning<'_>) -> Result<(Vec<ChosenNode>, usize), Refusal> {
        let all = list::<Node>(cx.cluster.all(), "nodes", "", None).await?;
        let selected = match &self.selector {
            Some(selector) => list::<Node>(cx.cluster.all(), "nodes", "", Some(selector)).await?,
            None => all.clone(),
        };
        let mut matching: Vec<ChosenNode> =
            selected.into_iter().filter(|node| self.accepts(node)).filter_map(to_choose).collect();
        let of = matching.len();
        self.missing(&all, &matching)?;
        // The API lists by name today, but does not promise it; the seeded choice must start from one order.
        matching.sort_by(|a, b| a.target.cmp(&b.target));
        let chosen = self.choice().take(cx, matching, |chosen| &chosen.target.uid)?;
        if !self.allow_last {
            let params = ListParams::default().labels(DNS_LABEL);
            let dns = list_all(&cx.cluster.api::<Pod>(DNS_NAMESPACE), params).await;
            let dns = dns.map_err(|e| refused(&e, "list", "pods", DNS_NAMESPACE))?;
            refuse_last(&all, &chosen, cx.gone, &dns)?;
        }
        Ok((chosen, of))
    }

    fn choice(&self) -> Choice<'_> {
        Choice { key: "nodes", names: &self.names, count: self.count, percent: self.percent, all: self.all }
    }

    fn accepts(&self, node: &Node) -> bool {
        let name = node.metadata.name.as_ref();
        self.zone.as_ref().is_none_or(|zone| zone_of(node).as_ref() == Some(zone))
            && self.node_group.as_deref().is_none_or(|group| label(node, NODE_GROUP) == Some(group))
            && (self.names.is_empty() || name.is_some_and(|name| self.names.contains(name)))
    }

    /// Refuses when nothing matches, or when one of the names does not; says what is there.
    fn missing(&self, all: &[Node], matching: &[ChosenNode]) -> Result<(), Refusal> {
        let seen = |what: &str, values: BTreeSet<&str>| {
            let values: Vec<&str> = values.into_iter().take(8).collect();
            if values.is_empty() {
                format!("no node has {what}")
            } else {
                format!("{what} seen: {}", values.join(", "))
            }
        };
        if let Some(name) = self.names.iter().find(|name| !matching.iter().any(|chosen| chosen.target.name == **name)) {
            let there = all.iter().any(|node| node.metadata.name.as_ref() == Some(name));
            let refusal =
                if there { format!("node `{name}` does not match") } else { format!("there is no node `{name}`") };
            let names = all.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
            return Err(Refusal::new(refusal).hint(seen("names", names)));
        }
        if !matching.is_empty() {
            return Ok(());
        }
        let values = |key| all.iter().filter_map(|node| label(node, key)).collect::<BTreeSet<&str>>();
        let hint = match (&self.zone, &self.node_group) {
            (Some(zone), _) if !values(ZONE).contains(zone.as_str()) => seen("zones", values(ZONE)),
            (_, Some(group)) if !values(NODE_GROUP).contains(group.as_str()) => seen("node groups", values(NODE_GROUP)),
            _ => "`kubectl get nodes --show-labels` lists what is there".to_owned(),
        };
        Err(Refusal::new(format!("{} matches none of the {} nodes", self.describe(), all.len())).hint(hint))
    }

    fn describe(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.selector.as_ref().map(|s| format!("selector `{s}`")));
        parts.extend(self.zone.as_ref().map(|z| format!("zone `{z}`")));
        parts.extend(self.node_group.as_ref().map(|g| format!("node group `{g}`")));
        if parts.is_empty() { "`all: true`".to_owned() } else { parts.join(" and ") }
    }
}

/// The zone that a node is in.
pub(super) fn zone_of(node: &Node) -> Option<String> {
    label(node, ZONE).map(ToOwned::to_owned)
}

/// Whether the node's kubelet says that it can run pods, and was heard of lately.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Whether the scheduler may put new pods on it.
pub(super) fn is_schedulable(node: &Node) -> bool {
    !node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false)
}

fn to_choose(node: Node) -> Option<ChosenNode> {
    let target = Target {
        kind: "node".to_owned(),
        namespace: String::new(),
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone()?,
        node: None,
        zone: zone_of(&node),
        owner: None,
        instance: None,
    };
    Some(ChosenNode { target, node })
}

/// Refuses to take nodes when without them nothing serves: no node that can run the pods that leave, or no DNS. `gone` are those that
/// the steps before have away, `dns` the pods of the cluster's DNS; a cluster without any has its DNS elsewhere.
fn refuse_last(all: &[Node], chosen: &[ChosenNode], gone: &BTreeSet<String>, dns: &[Pod]) -> Result<(), Refusal> {
    let is_gone = |node: &&Node| node.metadata.uid.as_ref().is_some_and(|uid| gone.contains(uid));
    let mut lost: BTreeSet<&str> =
        all.iter().filter(is_gone).filter_map(|node| node.metadata.name.as_deref()).collect();
    let before = lost.len();
    lost.extend(chosen.iter().map(|chosen| chosen.target.name.as_str()));
    let what = if before == 0 { "this" } else { "this and the steps before it" };
    let is_lost = |name: Option<&String>| name.is_some_and(|name| lost.contains(name.as_str()));
    let refuse = |message: String| {
        Err(Refusal::new(message).hint("choose fewer nodes; write `allowLast: true` under `nodes` if that is meant"))
    };
    if !all.iter().any(|node| !is_lost(node.metadata.name.as_ref()) && is_ready(node) && is_schedulable(node)) {
        return refuse(format!(
            "{what} would take {} of the {} nodes, and no other is Ready and schedulable: no pod could start anywhere",
            lost.len(),
            all.len()
        ));
    }
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let serving: Vec<&Pod> = dns.iter().filter(|pod| pod_is_ready(pod)).collect();
    if !serving.is_empty() && serving.iter().all(|pod| is_lost(node_of(pod).as_ref())) {
        let nodes: BTreeSet<String> = serving.iter().filter_map(|pod| node_of(pod)).collect();
        let nodes: Vec<String> = nodes.into_iter().collect();
        return refuse(format!(
            "every ready pod of the cluster's DNS (`{DNS_LABEL}` in `{DNS_NAMESPACE}`) is on what {what} would take: {}",
            nodes.join(", ")
        ));
    }
    Ok(())
}

/// Whether the pod is ready to serve.
fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Cluster;
    use crate::record::ClusterId;

    fn node(name: &str, zone: &str, ready: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {ZONE: zone, NODE_GROUP: format!("group-{zone}")}},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn dns(node: &str, ready: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("coredns-{node}")}, "spec": {"nodeName": node, "containers": []},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn three() -> Vec<Node> {
        vec![node("n3", "c", "True"), node("n1", "a", "True"), node("n2", "b", "True")]
    }

    /// A cluster of these nodes, which knows no selectors.
    fn cluster(nodes: &[Node], dns: &[Pod]) -> Cluster {
        let (nodes, dns) = (json!({"metadata": {}, "items": nodes}), json!({"metadata": {}, "items": dns}));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let body = if request.uri().path().ends_with("/nodes") { nodes.to_string() } else { dns.to_string() };
            async move { Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::from(body.into_bytes()))) }
        });
        Cluster::new(kube::Client::new(service, "default"), ClusterId::default())
    }

    async fn choose(targets: serde_json::Value, nodes: &[Node], dns: &[Pod]) -> Result<Vec<String>, String> {
        choose_after(&[], targets, nodes, dns).await
    }

    /// The same while the steps before have these nodes away.
    async fn choose_after(
        gone: &[&str],
        targets: serde_json::Value,
        nodes: &[Node],
        dns: &[Pod],
    ) -> Result<Vec<String>, String> {
        let targets: NodeTargets = serde_json::from_value(targets).unwrap();
        assert_eq!(targets.check(), []);
        let (cluster, gone) = (cluster(nodes, dns), gone.iter().map(|name| format!("uid-{name}")).collect());
        let chosen = targets.choose(&Planning { cluster: &cluster, seed: 7, taken: &gone, gone: &gone }).await;
        chosen
            .map(|(nodes, _)| nodes.into_iter().map(|n| n.target.name).collect())
            .map_err(|r| format!("{} / {}", r.message, r.hint.unwrap_or_default()))
    }

    #[tokio::test]
    async fn chooses_by_zone_group_and_name_and_by_the_seed_whatever_the_order() {
        assert_eq!(choose(json!({"zone": "b"}), &three(), &[]).await, Ok(vec!["n2".to_owned()]));
        assert_eq!(choose(json!({"nodeGroup": "group-c"}), &three(), &[]).await, Ok(vec!["n3".to_owned()]));
        assert_eq!(choose(json!({"names": ["n1", "n3"]}), &three(), &[]).await.unwrap().len(), 2);
        let mut turned = three();
        turned.reverse();
        let any = json!({"selector": "a=b", "count": 2});
        assert_eq!(choose(any.clone(), &three(), &[]).await, choose(any, &turned, &[]).await);
    }

    #[tokio::test]
    async fn says_what_is_there_when_nothing_matches() {
        let refused = choose(json!({"zone": "d"}), &three(), &[]).await.unwrap_err();
        assert_eq!(refused, "zone `d` matches none of the 3 nodes / zones seen: a, b, c");
        let refused = choose(json!({"nodeGroup": "web"}), &three(), &[]).await.unwrap_err();
        assert!(refused.ends_with("node groups seen: group-a, group-b, group-c"), "{refused}");
        let refused = choose(json!({"names": ["n1", "n9"]}), &three(), &[]).await.unwrap_err();
        assert_eq!(refused, "there is no node `n9` / names seen: n1, n2, n3");
        let refused = choose(json!({"names": ["n1"], "zone": "b"}), &three(), &[]).await.unwrap_err();
        assert!(refused.starts_with("node `n1` does not match"), "{refused}");
    }

    #[tokio::test]
    async fn the_last_that_serves_is_taken_only_where_that_is_allowed() {
        let every = json!({"all": true});
        assert!(choose(every, &three(), &[]).await.unwrap_err().contains("3 of the 3 nodes"));
        assert_eq!(choose(json!({"all": true, "allowLast": true}), &three(), &[]).await.unwrap().len(), 3);
        let mut others_down = vec![node("n1", "a", "True"), node("n2", "b", "Unknown")];
        let first = json!({"names": ["n1"]});
        assert!(choose(first.clone(), &others_down, &[]).await.unwrap_err().contains("no other is Ready"));
        others_down[1] = node("n2", "b", "True");
        others_down[1].spec.get_or_insert_default().unschedulable = Some(true);
        assert!(choose(first.clone(), &others_down, &[]).await.unwrap_err().contains("no other is Ready"));

        let refused = choose(first.clone(), &three(), &[dns("n1", "True"), dns("n2", "False")]).await.unwrap_err();
        assert!(refused.contains("every ready pod of the cluster's DNS") && refused.contains("allowLast"), "{refused}");
        assert!(choose(first.clone(), &three(), &[dns("n1", "True"), dns("n2", "True")]).await.is_ok());
        assert!(choose(first, &three(), &[]).await.is_ok(), "its DNS is elsewhere");
    }

    #[tokio::test]
    async fn several_steps_together_may_not_take_what_one_may_not() {
        let last = json!({"names": ["n3"]});
        let refused = choose_after(&["n1", "n2"], last.clone(), &three(), &[]).await.unwrap_err();
        assert!(refused.starts_with("this and the steps before it would take 3 of the 3 nodes"), "{refused}");
        assert!(choose_after(&["n1"], last.clone(), &three(), &[]).await.is_ok());
        assert!(choose_after(&["n3", "n2"], last.clone(), &three(), &[]).await.is_ok(), "the same node again is one");
        let pods = [dns("n1", "True"), dns("n3", "True")];
        let refused = choose_after(&["n1"], last.clone(), &three(), &pods).await.unwrap_err();
        assert!(refused.contains("is on what this and the steps before it would take: n1, n3"), "{refused}");
        assert!(choose_after(&["n2"], last, &three(), &pods).await.is_ok());
    }

    #[test]
    fn every_node_has_to_be_asked_for_in_so_many_words() {
        let complaint = |json| serde_json::from_value::<NodeTargets>(json).unwrap().check().remove(0);
        assert!(complaint(json!({})).message.contains("every node of the cluster"));
        assert_eq!(complaint(json!({"names": ["../x"]})).path, ["nodes", "names"]);
        assert_eq!(complaint(json!({"zone": "a", "count": 0})).message, "`count: 0` chooses no node");
    }
}
