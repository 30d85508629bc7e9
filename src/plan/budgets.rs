//! Room under the disruption budgets that cover the targets, and what is wrong with a budget as far as it shows without acting.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PartialObjectMeta;

use super::{BudgetRoom, PlannedStep};
use crate::cluster::Cluster;
use crate::fault::{Refusal, covers, list, list_metadata, owner_of};
use crate::record::Target;

/// Labels, uid and owner of a pod: no more is asked for, where there may be thousands.
type PodMeta = PartialObjectMeta<Pod>;

/// The budgets and pods of one namespace.
pub(super) struct Namespace {
    pub name: String,
    pub budgets: Vec<PodDisruptionBudget>,
    pub pods: Vec<PodMeta>,
}

/// Reads the budgets and pods of a namespace.
pub(super) async fn read(cluster: &Cluster, namespace: &str) -> Result<Namespace, Refusal> {
    let budgets = list(cluster.api(namespace), "poddisruptionbudgets", namespace, None).await?;
    let pods = list_metadata(cluster.api(namespace), "pods", namespace).await?;
    Ok(Namespace { name: namespace.to_owned(), budgets, pods })
}

/// The room under each budget that covers a target, and warnings where the steps take more than there is.
pub(super) fn room(namespaces: &[Namespace], steps: &[PlannedStep]) -> (Vec<BudgetRoom>, Vec<String>) {
    let mut rooms = Vec::new();
    let mut warnings = Vec::new();
    for namespace in namespaces {
        let targets: Vec<(&PlannedStep, &Target)> = steps
            .iter()
            .flat_map(|step| step.touched().map(move |target| (step, target)))
            .filter(|(_, target)| target.namespace == namespace.name)
            .collect();
        let is_touched = |pod: &&PodMeta| targets.iter().any(|(_, target)| is_or_owns(target, pod));
        let touched: Vec<&PodMeta> = namespace.pods.iter().filter(is_touched).collect();
        for budget in &namespace.budgets {
            let covered = touched.iter().filter(|pod| covers(budget, pod.metadata.labels.as_ref()));
            let covered: Vec<&PodMeta> = covered.copied().collect();
            let taken = taken(&targets, &covered);
            if taken == 0 {
                continue;
            }
            let room = describe(budget, &namespace.name, taken, &shared(namespace, budget, &covered));
            warnings.extend(warning(&room));
            rooms.push(room);
        }
    }
    (rooms, warnings)
}

/// Whether the pod is the target, or one of the target's own.
fn is_or_owns(target: &Target, pod: &PodMeta) -> bool {
    match target.kind.as_str() {
        "pod" => pod.metadata.uid.as_ref() == Some(&target.uid),
        "deployment" => {
            // A Deployment's ReplicaSet is named after it and after the hash that its pods are labelled with.
            let hash = pod.metadata.labels.as_ref().and_then(|labels| labels.get("pod-template-hash"));
            hash.is_some_and(|hash| owner_of(&pod.metadata) == Some(format!("replicaset/{}-{hash}", target.name)))
        }
        _ => owner_of(&pod.metadata) == Some(target.to_string()),
    }
}

/// Other budgets on the same pods: the API refuses to evict a pod that has more than one.
fn shared(namespace: &Namespace, budget: &PodDisruptionBudget, covered: &[&PodMeta]) -> Vec<String> {
    namespace
        .budgets
        .iter()
        .filter(|other| other.metadata.name != budget.metadata.name)
        .filter(|other| covered.iter().any(|pod| covers(other, pod.metadata.labels.as_ref())))
        .filter_map(|other| other.metadata.name.clone())
        .collect()
}

fn describe(budget: &PodDisruptionBudget, namespace: &str, targets: usize, shared: &[String]) -> BudgetRoom {
    let status = budget.status.clone().unwrap_or_default();
    BudgetRoom {
        namespace: namespace.to_owned(),
        name: budget.metadata.name.clone().unwrap_or_default(),
        allowed: status.disruptions_allowed,
        healthy: status.current_healthy,
        desired: status.desired_healthy,
        targets,
        problem: problem(budget, shared),
    }
}

/// What is wrong with the budget; the first that applies, the gravest first.
fn problem(budget: &PodDisruptionBudget, shared: &[String]) -> String {
    if !shared.is_empty() {
        return format!(
            "a target is covered by {} too: the API answers 500 to every eviction of a pod with two budgets",
            shared.join(" and ")
        );
    }
    let status = budget.status.clone().unwrap_or_default();
    if status.observed_generation.unwrap_or(0) < budget.metadata.generation.unwrap_or(0) {
        return "its status is older than its spec: evictions are answered with 429 until its controller has caught up"
            .to_owned();
    }
    let failed =
        status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionAllowed" && c.reason == "SyncFailed");
    if let Some(failed) = failed {
        return format!("its controller can't work it out, and it blocks every eviction: {}", failed.message);
    }
    let spec = budget.spec.clone().unwrap_or_default();
    if spec.min_available.is_none() && spec.max_unavailable.is_none() {
        return "it sets neither `minAvailable` nor `maxUnavailable`: it blocks every eviction".to_owned();
    }
    if spec.max_unavailable.as_ref().is_some_and(|most| is(most, 0, "0%"))
        || spec.min_available.as_ref().is_some_and(|least| is(least, i32::MAX, "100%"))
        || (status.expected_pods > 0 && status.desired_healthy >= status.expected_pods)
    {
        return format!(
            "it wants {} of {} pods healthy: it blocks every eviction, even when all are",
            status.desired_healthy, status.expected_pods
        );
    }
    if status.expected_pods == 0 {
        return "it expects no pods (have they no controller?): it blocks every eviction".to_owned();
    }
    if status.desired_healthy == 0 {
        return "it wants no pod healthy: it protects nothing".to_owned();
    }
    String::new()
}

fn is(value: &IntOrString, number: i32, text: &str) -> bool {
    match value {
        IntOrString::Int(int) => *int == number,
        IntOrString::String(string) => string == text,
    }
}

/// How many of the covered pods the steps take away; an object that several steps touch counts once.
fn taken(targets: &[(&PlannedStep, &Target)], covered: &[&PodMeta]) -> usize {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for (step, target) in targets {
        let pods = covered.iter().filter(|pod| is_or_owns(target, pod)).count();
        let most = taken.entry(&target.uid).or_default();
        let at_most = if target.kind == "pod" { 1 } else { step.pods };
        *most = pods.min(at_most).max(*most);
    }
    taken.values().sum()
}

/// Says when the steps take more of a budget's pods than it allows now.
fn warning(room: &BudgetRoom) -> Option<String> {
    let allowed = usize::try_from(room.allowed).unwrap_or(0);
    (room.targets > allowed).then(|| {
        format!(
            "poddisruptionbudget/{} in namespace `{}` allows {} now ({} healthy, {} wanted), and the run takes away {} of its pods: \
             an eviction is refused, a deletion or a scale-down goes below it",
            room.name,
            room.namespace,
            disruptions(room.allowed),
            room.healthy,
            room.desired,
            room.targets
        )
    })
}

fn disruptions(n: i32) -> String {
    if n == 1 { "1 disruption".to_owned() } else { format!("{n} disruptions") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::tests::{pod as target, step};

    fn budget(name: &str, selector: &serde_json::Value, allowed: i32) -> PodDisruptionBudget {
        serde_json::from_value(json!({
            "metadata": {"name": name, "generation": 1},
            "spec": {"minAvailable": 2, "selector": selector},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 3, "desiredHealthy": 2, "expectedPods": 3,
                       "observedGeneration": 1},
        }))
        .unwrap()
    }

    fn pod(name: &str, labels: &serde_json::Value) -> PodMeta {
        serde_json::from_value(json!({"metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4", "uid": "x", "controller": true}],
        }}))
        .unwrap()
    }

    fn shop(budgets: Vec<PodDisruptionBudget>) -> [Namespace; 1] {
        let labels = json!({"app": "web", "pod-template-hash": "5d4"});
        [Namespace { name: "shop".into(), budgets, pods: vec![pod("web-1", &labels), pod("web-2", &labels)] }]
    }

    fn rooms(selector: &serde_json::Value) -> usize {
        let steps = [step("a", 0, vec![target("shop", "web-1")])];
        room(&shop(vec![budget("web", selector, 1)]), &steps).0.len()
    }

    #[test]
    fn matches_as_the_api_does() {
        assert_eq!(rooms(&json!({})), 1, "the empty selector covers every pod");
        assert_eq!(rooms(&json!(null)), 0, "a missing one covers none");
        assert_eq!(rooms(&json!({"matchLabels": {"app": "web"}})), 1);
        assert_eq!(rooms(&json!({"matchLabels": {"app": "web", "tier": "front"}})), 0);
        assert_eq!(
            rooms(&json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]})),
            1
        );
        assert_eq!(rooms(&json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})), 0);
        assert_eq!(rooms(&json!({"matchExpressions": [{"key": "canary", "operator": "DoesNotExist"}]})), 1);
        assert_eq!(rooms(&json!({"matchExpressions": [{"key": "canary", "operator": "Exists"}]})), 0);
    }

    #[test]
    fn counts_targets_and_warns_beyond_the_room() {
        let steps = [step("a", 0, vec![target("shop", "web-1"), target("shop", "web-2")])];
        let (rooms, warnings) = room(&shop(vec![budget("web", &json!({}), 1)]), &steps);
        assert_eq!((rooms[0].allowed, rooms[0].healthy, rooms[0].desired, rooms[0].targets), (1, 3, 2, 2));
        assert!(
            warnings[0].contains("allows 1 disruption now") && warnings[0].contains("takes away 2"),
            "{warnings:?}"
        );
        let (_, warnings) = room(&shop(vec![budget("web", &json!({}), 2)]), &steps);
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_workloads_pods_are_its_own_only() {
        let web = Target { kind: "deployment".into(), ..target("shop", "web") };
        let mut scale = step("a", 0, vec![web.clone()]);
        scale.pods = 2;
        let (rooms, warnings) = room(&shop(vec![budget("web", &json!({}), 1)]), &[scale]);
        assert_eq!((rooms.len(), rooms[0].targets, warnings.len()), (1, 2, 1));
        let other = step("a", 0, vec![Target { name: "we".into(), ..web }]);
        assert!(room(&shop(vec![budget("web", &json!({}), 1)]), &[other]).0.is_empty());
    }

    #[test]
    fn pods_that_leave_with_a_node_need_room_too() {
        let mut drain = step("a", 0, vec![Target { kind: "node".into(), ..target("", "n1") }]);
        (drain.pods, drain.leaving) = (0, vec![target("shop", "web-1"), target("shop", "web-2")]);
        let (rooms, warnings) = room(&shop(vec![budget("web", &json!({}), 1)]), &[drain]);
        assert_eq!((rooms.len(), rooms[0].targets, warnings.len()), (1, 2, 1));
    }

    #[test]
    fn two_budgets_on_one_pod_are_named() {
        let steps = [step("a", 0, vec![target("shop", "web-1")])];
        let both = shop(vec![budget("web", &json!({}), 1), budget("all", &json!({}), 1)]);
        let (rooms, _) = room(&both, &steps);
        assert!(rooms[0].problem.contains("covered by all too"), "{}", rooms[0].problem);
        assert!(rooms[1].problem.contains("covered by web too"), "{}", rooms[1].problem);
    }

    #[test]
    fn names_the_ways_in_which_a_budget_blocks() {
        let problem_of = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut json = serde_json::to_value(budget("web", &json!({}), 1)).unwrap();
            change(&mut json);
            problem(&serde_json::from_value(json).unwrap(), &[])
        };
        assert_eq!(problem_of(&|_| {}), "");
        assert!(problem_of(&|b| b["metadata"]["generation"] = json!(2)).contains("older than its spec"));
        assert!(problem_of(&|b| b["spec"] = json!({"selector": {}})).contains("neither"));
        assert!(
            problem_of(&|b| b["spec"] = json!({"selector": {}, "maxUnavailable": 0})).contains("blocks every eviction")
        );
        assert!(problem_of(&|b| b["spec"] = json!({"selector": {}, "minAvailable": "100%"})).contains("blocks every"));
        assert!(problem_of(&|b| b["status"]["desiredHealthy"] = json!(3)).contains("wants 3 of 3"));
        assert!(problem_of(&|b| b["status"]["desiredHealthy"] = json!(0)).contains("protects nothing"));
        assert!(problem_of(&|b| b["status"]["expectedPods"] = json!(0)).contains("expects no pods"));
        let failed = json!([{"type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "no scale",
                             "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        assert!(problem_of(&|b| b["status"]["conditions"] = failed.clone()).contains("no scale"));
    }
}
