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
    // A ReplicaSet is named after what owns it, a Deployment or another: only those that may be one's are asked for theirs.
    let bare = |(namespace, workload): &Workload| {
        (namespace.clone(), workload.split_once('/').map_or_else(String::new, |(_, name)| name.to_owned()))
    };
    let names: BTreeSet<(String, String)> = workloads.iter().map(bare).collect();
    let may_be = |found: &&NodePod| {
        let own = workload(found);
        let set = own.1.strip_prefix("replicaset/").and_then(|set| set.rsplit_once('-'));
        set.is_some_and(|(owner, _)| names.contains(&(own.0.clone(), owner.to_owned()))) || workloads.contains(&own)
    };
    let mut kin: Vec<NodePod> = pods.filter(may_be).cloned().collect();
    top_owners(cluster, &mut kin).await?;
    kin.retain(|found| workloads.contains(&workload(found)));
    Ok(kin)
}

/// The pods of each workload.
fn grouped(pods: &[NodePod]) -> BTreeMap<Workload, Vec<&NodePod>> {
    let mut groups: BTreeMap<Workload, Vec<&NodePod>> = BTreeMap::new();
    for found in pods {
        groups.entry(workload(found)).or_default().push(found);
    }
    groups
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
    let kin = grouped(kin);
    let of = |(workload_of, pods): (Workload, Vec<&NodePod>)| {
        let mine = kin.get(&workload_of).map_or(&[][..], Vec::as_slice);
        let waiting = mine.iter().filter(|found| found.target.node.as_deref() == Some("")).count();
        let (pods, others) = (pods.len(), mine.len() - waiting);
        let reasons = reasons.remove(&workload_of).unwrap_or_default();
        let reason = |(why, pods): (Why, usize)| Stranded { pods, why: why.to_string(), bound: why == Why::Held };
        let (namespace, workload) = workload_of;
        Displaced { namespace, workload, pods, others, waiting, stranded: reasons.into_iter().map(reason).collect() }
    };
    grouped(displaced).into_iter().map(of).collect()
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
    let kin = grouped(&kin);
    let of = |one: &Displaced| kin.get(&(one.namespace.clone(), one.workload.clone())).map_or(&[][..], Vec::as_slice);
    Ok(displaced.iter().map(|one| compare(cx.step, one, of(one), lost)).collect())
}

fn compare(step: &str, displaced: &Displaced, mine: &[&NodePod], lost: &BTreeSet<String>) -> Replaced {
    let node = |found: &NodePod| found.target.node.clone().unwrap_or_default();
    // A StatefulSet makes a pod again only when it is gone; for any other controller one that is ending is none already.
    let waits_for_its_end = displaced.workload.starts_with("statefulset/");
    let counts = |found: &&&NodePod| !found.is_ending();
    let is_bound = |found: &&&NodePod| lost.contains(&node(found)) && (waits_for_its_end || !found.is_ending());
    let bound = mine.iter().filter(is_bound).count();
    let placed = |found: &&&NodePod| !node(found).is_empty() && !lost.contains(&node(found));
    let elsewhere: Vec<&&NodePod> = mine.iter().filter(counts).filter(placed).collect();
    let waiting: Vec<&&NodePod> = mine.iter().filter(counts).filter(|found| node(found).is_empty()).collect();
    let mut details = Vec::new();
    // Nobody makes a pod again that nobody owns; every other number that is not the one of before is somebody's decision.
    let before = displaced.pods + displaced.others + displaced.waiting;
    let now = elsewhere.len() + waiting.len() + bound;
    let resized = now != before && !displaced.workload.starts_with("pod/");
    if resized {
        details.push(format!("it has {now} pods now, and had {before}"));
    }
    if let Some(first) = waiting.first() {
        let said = condition(&first.pod, "PodScheduled").and_then(|(_, said)| said);
        let said = said.unwrap_or_else(|| "the scheduler has not answered yet".to_owned());
        details.push(format!("{} waiting for a node: {}", waiting.len(), said.trim_end_matches('.')));
    }
    let unready = elsewhere.iter().filter(|found| !condition(&found.pod, "Ready").is_some_and(|(is, _)| is)).count();
    if unready > 0 {
        details.push(format!("{unready} of its {} pods on other nodes not Ready", elsewhere.len()));
    }
    let placed = elsewhere.len().saturating_sub(displaced.others);
    Replaced::of(step, displaced.clone(), placed, bound, resized).saying(details.join("; "))
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
            waiting: 0,
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
        let came = compare("zone", &prediction(1), &kin.iter().collect::<Vec<_>>(), &lost);
        assert_eq!((came.placed, came.bound, came.standing), (1, 0, Foretold::AsPredicted));
        let detail = "1 waiting for a node: 0/4 nodes are available: no room; 2 of its 2 pods on other nodes not Ready";
        assert_eq!(came.detail, detail);
        let kin = [found("db-0", "n3"), found("db-1", "n1"), found("db-2", "n2")];
        let came = compare("zone", &prediction(1), &kin.iter().collect::<Vec<_>>(), &lost);
        assert_eq!((came.placed, came.bound, came.standing), (0, 2, Foretold::Open));
    }

    #[test]
    fn what_waited_before_is_no_change_of_size() {
        let lost = BTreeSet::from(["n1".to_owned()]);
        let at = |name: &str, node: &str| NodePod::on(node, pod(name, node, "ReplicaSet/w", "1", &json!({}))).unwrap();
        let before = predicted(&[at("a", "n1")], &[at("b", "n2"), at("c", "")], Vec::new());
        assert_eq!((before[0].pods, before[0].others, before[0].waiting), (1, 1, 1));
        let after = [at("d", "n2"), at("b", "n2"), at("c", "")];
        let came = compare("zone", &before[0], &after.iter().collect::<Vec<_>>(), &lost);
        assert_eq!((came.placed, came.standing), (1, Foretold::AsPredicted), "{}", came.detail);
    }

    #[test]
    fn what_was_scaled_meanwhile_says_nothing_of_the_prediction() {
        let lost = BTreeSet::from(["n1".to_owned()]);
        let kin = [found("db-0", "n3"), found("db-1", "n4")];
        let came = compare("zone", &prediction(0), &kin.iter().collect::<Vec<_>>(), &lost);
        assert_eq!((came.placed, came.standing), (1, Foretold::Open));
        assert!(came.detail.starts_with("it has 2 pods now, and had 3"), "{}", came.detail);
    }

    #[test]
    fn a_pod_that_ends_on_a_lost_node_holds_only_a_stateful_set_back() {
        let lost = BTreeSet::from(["n1".to_owned()]);
        let mut ending = found("db-1", "n1");
        ending.pod.metadata = serde_json::from_value(json!({"deletionTimestamp": "2026-01-01T00:00:00Z"})).unwrap();
        let kin = [found("db-0", "n3"), ending, found("db-2", "n4")];
        let kin: Vec<&NodePod> = kin.iter().collect();
        let came = compare("zone", &prediction(0), &kin, &lost);
        assert_eq!((came.placed, came.bound, came.standing), (1, 1, Foretold::Open));
        let deployment = Displaced { workload: "deployment/db".to_owned(), pods: 1, ..prediction(0) };
        let came = compare("zone", &deployment, &kin, &lost);
        assert_eq!((came.placed, came.bound, came.standing), (1, 0, Foretold::AsPredicted));
    }

    #[tokio::test]
    async fn pods_are_known_by_what_owns_their_replica_sets_whatever_that_is() {
        let service = tower::service_fn(|request: http::Request<kube::client::Body>| async move {
            let owner = if request.uri().path().ends_with("web-7c9f") { "Rollout" } else { "Deployment" };
            let set = json!({"metadata": {"name": "s", "ownerReferences": [
                {"apiVersion": "x/v1", "kind": owner, "name": "web", "uid": "u", "controller": true},
            ]}});
            let body = kube::client::Body::from(set.to_string().into_bytes());
            Ok::<_, std::io::Error>(http::Response::new(body))
        });
        let cluster = Cluster::new(kube::Client::new(service, "shop"), crate::record::ClusterId::default());
        let of = |name: &str, owner: &str| NodePod::on("n1", pod(name, "n1", owner, "1", &json!({}))).unwrap();
        let pods = [
            of("a", "ReplicaSet/web-7c9f"),
            of("b", "ReplicaSet/web-1"),
            of("c", "ReplicaSet/api-7c9f"),
            of("d", "Job/web"),
        ];
        let wanted = BTreeSet::from([("shop".to_owned(), "rollout/web".to_owned())]);
        let found = kin(&cluster, pods.iter(), &wanted).await.unwrap();
        assert_eq!(found.iter().map(|found| found.target.name.as_str()).collect::<Vec<_>>(), ["a"]);
    }
}
