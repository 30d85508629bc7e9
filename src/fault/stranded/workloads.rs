//! The workloads behind displaced pods, before and after: how many of their pods have a place elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::super::contract::{Acting, FaultError};
use super::super::kube::list_all;
use super::super::leaving::{NodePod, top_owners};
use super::Why;
use crate::cluster::Cluster;
use crate::record::{Displaced, Replaced, Stranded};

/// A workload: its namespace, and `kind/name`; a pod that nobody owns is one of its own.
type Workload = (String, String);

fn workload(found: &NodePod) -> Workload {
    let pod = || format!("pod/{}", found.target.name);
    (found.target.namespace.clone(), found.target.owner.clone().unwrap_or_else(pod))
}

/// Of these pods those that belong to one of the workloads.
pub(super) async fn kin<'a>(
    cluster: &Cluster,
    pods: impl Iterator<Item = &'a NodePod>,
    workloads: &BTreeSet<Workload>,
) -> Result<Vec<NodePod>, kube::Error> {
    // A ReplicaSet is named after its Deployment: only those that may be one's are asked for theirs.
    let may_be = |found: &&NodePod| {
        let (namespace, own) = workload(found);
        let set = own.strip_prefix("replicaset/").and_then(|set| set.rsplit_once('-'));
        let of_deployment = set.map(|(deployment, _)| (namespace.clone(), format!("deployment/{deployment}")));
        workloads.contains(&(namespace, own)) || of_deployment.is_some_and(|it| workloads.contains(&it))
    };
    let mut kin: Vec<NodePod> = pods.filter(may_be).cloned().collect();
    top_owners(cluster, &mut kin).await?;
    kin.retain(|found| workloads.contains(&workload(found)));
    Ok(kin)
}

pub(super) fn workloads_of(pods: &[NodePod]) -> BTreeSet<Workload> {
    pods.iter().map(workload).collect()
}

/// What is predicted, workload by workload.
pub(super) fn predicted(displaced: &[NodePod], kin: &[NodePod], stranded: Vec<(&NodePod, Why)>) -> Vec<Displaced> {
    let mut reasons: BTreeMap<Workload, BTreeMap<Why, usize>> = BTreeMap::new();
    for (found, why) in stranded {
        *reasons.entry(workload(found)).or_default().entry(why).or_default() += 1;
    }
    let of = |workload_of: Workload| {
        let count = |pods: &[NodePod]| pods.iter().filter(|found| workload(found) == workload_of).count();
        let (pods, others) = (count(displaced), count(kin));
        let reasons = reasons.remove(&workload_of).unwrap_or_default();
        let reason = |(why, pods): (Why, usize)| Stranded { pods, why: why.to_string(), bound: why == Why::Held };
        let (namespace, workload) = workload_of;
        Displaced { namespace, workload, pods, others, stranded: reasons.into_iter().map(reason).collect() }
    };
    workloads_of(displaced).into_iter().map(of).collect()
}

/// What came of the displaced pods: how many of each workload's have a node that is not one of the lost ones.
pub(in super::super) async fn replaced(
    cx: &Acting<'_>,
    lost: &BTreeSet<String>,
    displaced: &[Displaced],
) -> Result<Vec<Replaced>, FaultError> {
    let pods = list_all::<Pod>(&cx.cluster.all(), ListParams::default()).await.map_err(FaultError::api("list pods"))?;
    // A pod without a node is one that waits.
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let pods: Vec<NodePod> = pods.into_iter().filter_map(|pod| NodePod::on(&node(&pod), pod)).collect();
    let workloads = displaced.iter().map(|one| (one.namespace.clone(), one.workload.clone())).collect();
    let live = pods.iter().filter(|found| !found.is_finished());
    let kin = kin(cx.cluster, live, &workloads).await.map_err(FaultError::api("find the workloads of pods"))?;
    Ok(displaced.iter().map(|one| compare(cx.step, one, &kin, lost)).collect())
}

fn compare(step: &str, displaced: &Displaced, kin: &[NodePod], lost: &BTreeSet<String>) -> Replaced {
    let is_its = |found: &&NodePod| {
        let (namespace, workload) = workload(found);
        namespace == displaced.namespace && workload == displaced.workload
    };
    let mine: Vec<&NodePod> = kin.iter().filter(is_its).collect();
    let node = |found: &NodePod| found.target.node.clone().unwrap_or_default();
    let bound = mine.iter().filter(|found| lost.contains(&node(found))).count();
    let elsewhere: Vec<&&NodePod> = mine
        .iter()
        .filter(|found| !found.is_ending() && !node(found).is_empty() && !lost.contains(&node(found)))
        .collect();
    let waiting: Vec<&&NodePod> = mine.iter().filter(|found| !found.is_ending() && node(found).is_empty()).collect();
    let mut details = Vec::new();
    if let Some(first) = waiting.first() {
        let said = condition(&first.pod, "PodScheduled").and_then(|(_, said)| said);
        let said = said.unwrap_or_else(|| "the scheduler has not answered yet".to_owned());
        details.push(format!("{} waiting: {}", waiting.len(), said.trim_end_matches('.')));
    }
    let unready = elsewhere.iter().filter(|found| !condition(&found.pod, "Ready").is_some_and(|(is, _)| is)).count();
    if unready > 0 {
        details.push(format!("{unready} on a node and not Ready"));
    }
    let placed = elsewhere.len().saturating_sub(displaced.others);
    Replaced::of(step, displaced.clone(), placed, bound, details.join("; "))
}

/// A condition of a pod: whether it is true, and what it says.
fn condition(pod: &Pod, kind: &str) -> Option<(bool, Option<String>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((found.status == "True", found.message.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::pod;
    use super::*;
    use crate::record::Foretold;

    fn found(name: &str, node: &str) -> NodePod {
        NodePod::on(node, pod(name, node, "StatefulSet/db", "1", &json!({}))).unwrap()
    }

    fn prediction(stranded: usize) -> Displaced {
        let stranded = Stranded { pods: stranded, why: "a volume".to_owned(), bound: false };
        Displaced {
            namespace: "shop".to_owned(),
            workload: "statefulset/db".to_owned(),
            pods: 2,
            others: 1,
            stranded: vec![stranded],
        }
    }

    #[test]
    fn what_has_a_node_elsewhere_is_placed_and_what_waits_says_why() {
        let lost = BTreeSet::from(["n1".to_owned(), "n2".to_owned()]);
        let mut waits = found("db-2", "");
        let said = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/4 nodes are available: no room."},
        ]});
        waits.pod.status = serde_json::from_value(said).unwrap();
        let kin = [found("db-0", "n3"), found("db-1", "n4"), waits];
        let came = compare("zone", &prediction(1), &kin, &lost);
        assert_eq!((came.placed, came.bound, came.standing), (1, 0, Foretold::AsPredicted));
        let detail = "1 waiting: 0/4 nodes are available: no room; 2 on a node and not Ready";
        assert_eq!(came.detail, detail);
        let kin = [found("db-0", "n3"), found("db-1", "n1"), found("db-2", "n2")];
        let came = compare("zone", &prediction(1), &kin, &lost);
        assert_eq!((came.placed, came.bound, came.standing), (0, 2, Foretold::Open));
    }

    #[test]
    fn a_pod_that_ends_on_a_lost_node_is_still_bound_and_one_that_ends_elsewhere_has_no_place() {
        let lost = BTreeSet::from(["n1".to_owned()]);
        let ending = |mut found: NodePod| {
            found.pod.metadata = serde_json::from_value(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).unwrap();
            found
        };
        let kin = [found("db-0", "n3"), ending(found("db-1", "n1")), ending(found("db-2", "n4"))];
        let came = compare("zone", &prediction(0), &kin, &lost);
        assert_eq!((came.placed, came.bound, came.standing), (0, 1, Foretold::Open));
    }
}
