//! What is allowed, what is not, and in which words.

use super::*;
use crate::plan::tests::{plan, pod, step};

fn limited(limits: &str, selectable: usize) -> PlannedLimits {
    let limits: Limits = serde_json::from_str(limits).unwrap();
    let selectable = Selectable { pods: selectable, nodes: 4, groups: 2 };
    let mut planned = PlannedLimits::resolve(&limits, selectable, &["shop".to_owned()].into());
    planned.deny("squall", Some(&Runner { namespace: "ci".into(), pod: "runner".into(), node: "n1".into() }));
    planned
}

fn allowance(steps: Vec<PlannedStep>, limits: PlannedLimits) -> (Plan, Allowance) {
    let plan = Plan { limits, ..plan(steps) };
    let allowance = Allowance::of(&plan);
    (plan, allowance)
}

#[test]
fn limits_left_out_mean_one_pod_and_nothing_else() {
    let limits = limited("{}", 10);
    assert_eq!((limits.pods, limits.nodes, limits.groups), (1, 0, 0));
    assert_eq!(limits.namespaces, ["shop"]);
}

#[test]
fn a_percentage_rounds_down_to_nothing() {
    assert_eq!(limited(r#"{"pods": "30%"}"#, 3).pods, 0);
    assert_eq!(limited(r#"{"pods": "34%"}"#, 3).pods, 1);
    assert_eq!(limited(r#"{"pods": "100%"}"#, 3).pods, 3);
    assert_eq!(limited(r#"{"nodes": "50%"}"#, 3).nodes, 2);
    assert_eq!(limited(r#"{"nodes": "24%"}"#, 3).nodes, 0);
    assert_eq!(limited(r#"{"groups": "100%"}"#, 3).groups, 2);
    assert_eq!(limited(r#"{"groups": "49%"}"#, 3).groups, 0);
}

#[test]
fn counts_each_object_once() {
    let (plan, mut allowance) = allowance(
        vec![step("a", 0, vec![pod("shop", "web-1")]), step("b", 9, vec![pod("shop", "web-1"), pod("shop", "web-2")])],
        limited("{}", 3),
    );
    let (a, b) = (&plan.steps[0], &plan.steps[1]);
    allowance.allows(a, &a.targets[0]).unwrap();
    allowance.allows(a, &a.targets[0]).unwrap();
    allowance.allows(b, &b.targets[0]).unwrap();
    let refusal = allowance.allows(b, &b.targets[1]).unwrap_err();
    assert_eq!(refusal.message, "the run would take away 2 pods, more than `limits.pods` allows: 1");
}

#[test]
fn the_clusters_cap_is_the_lower_one() {
    let refusal = |of: [Target; 2], cap: fn(&mut ClusterLimits)| {
        let mut limits = limited(r#"{"pods": 5, "nodes": 5, "groups": 5}"#, 3);
        cap(&mut limits.cluster);
        let (plan, mut allowance) = allowance(vec![step("a", 0, of.to_vec())], limits);
        let a = &plan.steps[0];
        allowance.allows(a, &a.targets[0]).unwrap();
        allowance.allows(a, &a.targets[1]).unwrap_err().message
    };
    let two = |kind: &str| ["1", "2"].map(|name| Target { kind: kind.into(), ..pod("", name) });
    let pods = refusal([pod("shop", "web-1"), pod("shop", "web-2")], |cluster| cluster.max_pods = Some(1));
    assert!(pods.contains("`maxPods`"), "{pods}");
    let nodes = refusal(two("node"), |cluster| cluster.max_nodes = Some(1));
    assert!(nodes.contains("`maxNodes`"), "{nodes}");
    let groups = refusal(two("group"), |cluster| cluster.max_groups = Some(1));
    assert!(groups.contains("`maxGroups`"), "{groups}");
}

#[test]
fn a_scaled_workload_counts_the_pods_that_go() {
    let mut scale = step("a", 0, vec![Target { kind: "deployment".into(), ..pod("shop", "web") }]);
    scale.pods = 3;
    let (plan, mut allowance) = allowance(vec![scale], limited(r#"{"pods": 2}"#, 3));
    assert!(allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).is_err());
}

#[test]
fn nodes_and_groups_are_refused_by_default() {
    let node = Target { kind: "node".into(), ..pod("", "n2") };
    let (plan, mut allowance) = allowance(vec![step("a", 0, vec![node])], limited("{}", 3));
    let refusal = allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).unwrap_err();
    assert_eq!(refusal.message, "step `a` goes beyond `limits.nodes`: 0");
}

#[test]
fn nodes_are_counted_once_each_over_all_steps() {
    let node = |name: &str| Target { kind: "node".into(), ..pod("", name) };
    let mut steps = vec![step("a", 0, vec![node("n2")]), step("b", 9, vec![node("n2"), node("n3")])];
    for step in &mut steps {
        step.pods = 0;
    }
    let (plan, mut allowance) = allowance(steps, limited(r#"{"nodes": 1}"#, 3));
    let (a, b) = (&plan.steps[0], &plan.steps[1]);
    allowance.allows(a, &a.targets[0]).unwrap();
    allowance.allows(b, &b.targets[0]).unwrap();
    let refusal = allowance.allows(b, &b.targets[1]).unwrap_err();
    assert_eq!(refusal.message, "step `b` goes beyond `limits.nodes`: 1");
}

#[test]
fn protected_places_are_refused() {
    let everywhere = r#"{"pods": 9, "nodes": 9, "namespaces": ["kube-system", "squall", "ci", "shop", "bank"]}"#;
    let refusal = |target: Target, cluster: ClusterLimits| {
        let mut limits = limited(everywhere, 3);
        limits.cluster = cluster;
        let (plan, mut allowance) = allowance(vec![step("a", 0, vec![target])], limits);
        allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).map_err(|r| r.message)
    };
    let none = ClusterLimits::default;
    assert_eq!(refusal(pod("shop", "web-1"), none()), Ok(()));
    assert!(refusal(pod("kube-system", "coredns"), none()).unwrap_err().contains("the cluster itself"));
    assert!(refusal(pod("squall", "x"), none()).unwrap_err().contains("the undo log"));
    assert!(refusal(pod("ci", "x"), none()).unwrap_err().contains("the runner itself"));
    assert!(refusal(pod("ci", "runner"), none()).unwrap_err().contains("the runner's own"));
    assert!(refusal(Target { kind: "node".into(), ..pod("", "n1") }, none()).unwrap_err().contains("the runner's own"));
    assert!(refusal(pod("other", "x"), none()).unwrap_err().contains("outside `limits.namespaces`"));
    let protected = ClusterLimits { protected_namespaces: vec!["bank".into()], ..none() };
    assert!(refusal(pod("bank", "x"), protected).unwrap_err().contains("this cluster protects"));
    assert!(refusal(pod("shop", "x"), ClusterLimits { halt: true, ..none() }).unwrap_err().contains("halt"));
}

#[test]
fn a_node_takes_no_pod_of_a_protected_namespace_along() {
    let refusal = |namespace: &str, cluster: ClusterLimits| {
        let leaving = Target { node: Some("n2".into()), ..pod(namespace, "x") };
        let drain = step("a", 0, vec![Target { kind: "node".into(), ..pod("", "n2") }]);
        let mut limits = limited(r#"{"nodes": 1}"#, 3);
        limits.protect(["bank".to_owned()].into());
        limits.cluster = cluster;
        let steps = vec![PlannedStep { pods: 0, leaving: vec![leaving], ..drain }];
        let (plan, mut allowance) = allowance(steps, limits);
        allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).map_err(|r| r.message)
    };
    let none = ClusterLimits::default;
    assert_eq!(refusal("kube-system", none()), Ok(()), "denied to targets alone");
    assert_eq!(refusal("anywhere", none()), Ok(()));
    let refused = refusal("bank", none()).unwrap_err();
    assert!(refused.starts_with("node/n2 carries pod/x of namespace `bank`, which is protected"), "{refused}");
    let cluster = ClusterLimits { protected_namespaces: vec!["pay".into()], ..none() };
    assert!(refusal("pay", cluster).unwrap_err().contains("`protectedNamespaces`"));
}

#[test]
fn what_is_made_for_the_cluster_may_touch_it_unless_it_is_protected_for_another_reason() {
    let refusal = |fault: &str, protected: bool, cluster: ClusterLimits| {
        let mut limits = PlannedLimits { pods: 1, namespaces: vec!["kube-system".into()], ..Default::default() };
        if protected {
            limits.denied.insert("kube-system".into(), "it is annotated".into());
        }
        limits.deny("squall", None);
        limits.cluster = cluster;
        let step = PlannedStep { fault: fault.into(), ..step("a", 0, vec![pod("kube-system", "coredns-1")]) };
        let (plan, mut allowance) = allowance(vec![step], limits);
        allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).map_err(|r| r.message)
    };
    assert_eq!(refusal("coreDns", false, ClusterLimits::default()), Ok(()));
    assert!(refusal("podKill", false, ClusterLimits::default()).unwrap_err().contains("the cluster itself"));
    assert!(refusal("coreDns", true, ClusterLimits::default()).unwrap_err().contains("it is annotated"));
    let protected = ClusterLimits { protected_namespaces: vec!["kube-system".into()], ..Default::default() };
    assert!(refusal("coreDns", false, protected).unwrap_err().contains("this cluster protects"));
}

#[test]
fn a_target_that_the_plan_does_not_name_is_refused() {
    let (plan, mut allowance) = allowance(vec![step("a", 0, vec![pod("shop", "web-1")])], limited("{}", 3));
    let successor = Target { uid: "another".into(), ..plan.steps[0].targets[0].clone() };
    assert!(allowance.allows(&plan.steps[0], &successor).unwrap_err().message.contains("does not name"));
}

#[test]
fn halt_takes_effect_on_a_leash_in_use() {
    let (plan, mut allowance) = allowance(vec![step("a", 0, vec![pod("shop", "web-1")])], limited("{}", 3));
    allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).unwrap();
    allowance.renew(ClusterLimits { halt: true, ..ClusterLimits::default() });
    assert!(allowance.halted());
    assert!(allowance.allows(&plan.steps[0], &plan.steps[0].targets[0]).is_err());
}

#[test]
fn reads_the_clusters_config_map() {
    let read = |entries: &[(&str, &str)]| {
        ClusterLimits::read(&entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    };
    let limits = read(&[("protectedNamespaces", "pay, bank,"), ("maxPods", "3"), ("halt", "true\n")]).unwrap();
    assert_eq!(limits.protected_namespaces, ["bank", "pay"]);
    assert_eq!((limits.max_pods, limits.halt), (Some(3), true));
    assert!(read(&[("maxpods", "3")]).unwrap_err().message.contains("unknown key: `maxpods`"));
    let limits = read(&[("maxNodes", "2"), ("maxGroups", "0")]).unwrap();
    assert_eq!((limits.max_nodes, limits.max_groups, limits.max_pods), (Some(2), Some(0), None));
    assert!(read(&[("maxPods", "3 pods")]).unwrap_err().message.contains("a whole number: `3 pods`"));
    assert!(read(&[("halt", "yes")]).unwrap_err().message.contains("`true` or `false`"));
}
