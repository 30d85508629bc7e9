//! A zone that is cut off from the network, and one that loses its power while its runner is killed.
//!
//! As those of `aws`, these tests take nodes away, and run alone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::aws::{Cloud, experiment, killed, names};
use crate::support::{Place, Ran};

const ZONE: &str = "us-east-1c";
const LIMITS: &str = "  limits: {nodes: 2, groups: 2}\n";
/// Two groups that launch in the zone, its subnet, and its two nodes.
const TARGETS: usize = 5;

fn isolate(seconds: u32, more: &str) -> String {
    format!("for: {seconds}s\n      zoneOutage: {{zone: {ZONE}, mode: isolate{more}}}")
}

/// The zone's subnet, and the network ACL that it is under.
fn under(cloud: &Cloud) -> (String, String) {
    let of_zone = json!({"Filters": [{"Name": "tag:Name", "Values": [format!("squall-testbed-{ZONE}")]}]});
    let subnet = cloud.call("ec2", "describe_subnets", &of_zone, "Subnets[0].SubnetId");
    let of_subnet = json!({"Filters": [{"Name": "association.subnet-id", "Values": [subnet]}]});
    let acl = cloud.call("ec2", "describe_network_acls", &of_subnet, "NetworkAcls[0].NetworkAclId");
    (subnet.as_str().unwrap().to_owned(), acl.as_str().unwrap().to_owned())
}

/// Puts the zone's subnet under another network ACL, as a person would.
fn put_under(cloud: &Cloud, acl: &Value) {
    let (subnet, _) = under(cloud);
    let of_subnet = json!({"Filters": [{"Name": "association.subnet-id", "Values": [subnet]}]});
    let path = format!("NetworkAcls[0].Associations[?SubnetId=='{subnet}'].NetworkAclAssociationId | [0]");
    let association = cloud.call("ec2", "describe_network_acls", &of_subnet, &path);
    let arguments = json!({"AssociationId": association, "NetworkAclId": acl});
    cloud.call("ec2", "replace_network_acl_association", &arguments, "`0`");
}

/// A network ACL of somebody else, which lets everything through.
fn theirs(cloud: &Cloud) -> Value {
    let vpc = cloud.call(
        "ec2",
        "describe_vpcs",
        &json!({"Filters": [{"Name": "tag:Name", "Values": ["squall-testbed"]}]}),
        "Vpcs[0].VpcId",
    );
    let acl = cloud.call("ec2", "create_network_acl", &json!({"VpcId": vpc}), "NetworkAcl.NetworkAclId");
    for egress in [true, false] {
        let rule = json!({"NetworkAclId": acl, "RuleNumber": 100, "Protocol": "-1", "RuleAction": "allow", "Egress": egress, "CidrBlock": "0.0.0.0/0"});
        cloud.call("ec2", "create_network_acl_entry", &rule, "`0`");
    }
    acl
}

/// Nothing of ours is left: no ACL, no note on a group, no process suspended.
fn assert_given_back(cloud: &Cloud) {
    let acls = cloud.call("ec2", "describe_network_acls", &json!({}), "NetworkAcls[].Tags[].Key").to_string();
    assert!(!acls.contains("squall.dev/"), "a network ACL of ours is left: {acls}");
    cloud.assert_unmarked();
    for group in ["workers-c", "workers-multi"] {
        assert_eq!(cloud.suspended(group), names(&[]), "{group}");
    }
    assert_eq!(cloud.subnets("workers-multi").len(), 3);
}

fn instances(cloud: &Cloud) -> BTreeSet<String> {
    running(cloud, &json!({"Name": "tag:kubernetes.io/cluster/squall-testbed", "Values": ["owned"]}))
}

/// Those of them that a filter leaves.
fn running(cloud: &Cloud, filter: &Value) -> BTreeSet<String> {
    let running = json!({"Filters": [{"Name": "instance-state-name", "Values": ["running"]}, filter]});
    let ids = cloud.call("ec2", "describe_instances", &running, "Reservations[].Instances[].InstanceId");
    ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn ready_nodes(place: &Place) -> usize {
    let path = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    place.kubectl(&["get", "nodes", "-o", path]).split_whitespace().filter(|status| *status == "True").count()
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn an_isolated_zone_is_silent_and_comes_back_with_the_machines_it_had() {
    let (cloud, place) = (Cloud::new(), Place::new("isolate"));
    place.deploy("web", 6, &["--drain=2s"], "/readyz");
    let (before, (_, original)) = (instances(&cloud), under(&cloud));
    let child = place.start(&experiment(&place, &isolate(30, ""), LIMITS), "\"type\":\"effect\"");
    place.wait_for("all effects", || place.events("effect").len() == TARGETS);
    assert_ne!(under(&cloud).1, original);
    assert_eq!(ready_nodes(&place), before.len() - 2);
    assert_eq!(cloud.suspended("workers-multi"), names(&["AZRebalance", "HealthCheck", "ReplaceUnhealthy"]));
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(0);
    // Nothing moves before the cluster gives a silent node's pods up, which takes it five minutes.
    ran.says("which lets nothing through")
        .says(&format!("deployment/web in `{}`: 0 of", place.namespace))
        .says("nothing can be said yet");
    let replaced = place.events("replaced");
    let web = replaced.iter().find(|one| one["displaced"]["namespace"] == place.namespace.as_str()).unwrap();
    assert_eq!((&web["standing"], &web["bound"]), (&json!("open"), &web["displaced"]["pods"]), "{web}");

    assert!(place.events("effect").iter().all(|effect| effect["seen"] == true));
    let healed = place.events("healed");
    assert!(healed.len() == TARGETS && healed.iter().all(|one| one["healed"] == true), "{healed:?}");
    assert_eq!((under(&cloud).1, instances(&cloud)), (original, before.clone()));
    assert_eq!(ready_nodes(&place), before.len());
    let ended = cloud.calls().iter().filter(|call| call["action"] == "TerminateInstances").count();
    assert_eq!(ended, 0);
    assert_given_back(&cloud);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn another_machine_reconnects_a_zone_whose_runner_was_killed_with_its_log_and_without() {
    let (cloud, place) = (Cloud::new(), Place::new("isolated"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let (_, original) = under(&cloud);
    let text = experiment(&place, &isolate(90, ""), LIMITS);
    let cut = || {
        let child = place.start_with(&["--no-guard"], &text, "\"type\":\"effect\"");
        place.wait_for("the whole injection", || place.events("injected").len() == TARGETS);
        killed(child);
        assert_ne!(under(&cloud).1, original);
    };
    cut();
    place.squall(&["recover", "--reports", "elsewhere"]).exits(0).says("clean");
    assert_eq!(under(&cloud).1, original);
    assert_given_back(&cloud);
    place.wait_for("all nodes", || ready_nodes(&place) == instances(&cloud).len());

    // Nothing but the objects on AWS knows of the second run.
    std::fs::remove_dir_all(place.reports()).unwrap();
    cut();
    std::fs::remove_dir_all(place.reports()).unwrap();
    place.kubectl(&["-n", &place.state, "delete", "configmaps", "-l", "squall.dev/run"]);
    place.squall(&["run", "experiment.yaml", "--reports", "third"]).exits(3).says("that run left something behind");
    let scan = ["recover", "--reports", "fourth", "--scan", "--aws", "123456789012/us-east-1/squall-testbed"];
    place.squall(&scan).exits(0).says("clean");
    assert_eq!(under(&cloud).1, original);
    assert_given_back(&cloud);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn what_somebody_else_put_a_subnet_under_stays_and_a_deleted_acl_is_replaced_by_the_default() {
    let (cloud, place) = (Cloud::new(), Place::new("theirs"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let (_, default) = under(&cloud);
    let theirs = theirs(&cloud);
    let text = experiment(&place, &isolate(12, ""), LIMITS);
    let child = place.start(&text, "\"type\":\"effect\"");
    place.wait_for("the whole injection", || place.events("injected").len() == TARGETS);
    put_under(&cloud, &theirs);
    let theirs = theirs.as_str().unwrap().to_owned();
    let said = format!("somebody put it under {theirs} meanwhile, which stays; it was under {default} before");
    Ran::of(&child.wait_with_output().unwrap()).exits(8).says(&said);
    assert_eq!(under(&cloud).1, theirs);
    assert_given_back(&cloud);

    // Theirs is the subnet's own now; it is deleted while the zone is cut off. The newest record is the next run's only when there is no other.
    std::fs::remove_dir_all(place.reports()).unwrap();
    let child = place.start(&text, "\"type\":\"effect\"");
    place.wait_for("the whole injection", || place.events("injected").len() == TARGETS);
    cloud.call("ec2", "delete_network_acl", &json!({"NetworkAclId": theirs}), "`0`");
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(8);
    ran.says(&format!("{theirs}, its own network ACL, was deleted by somebody"));
    assert_eq!(under(&cloud).1, default);
    assert_given_back(&cloud);
    place.assert_clean();
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn the_control_plane_is_cut_off_only_where_that_is_allowed() {
    let (cloud, place) = (Cloud::new(), Place::new("plane"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let (subnet, original) = under(&cloud);
    let interface = json!({"SubnetId": subnet, "Description": "Amazon EKS squall-testbed"});
    let interface = cloud.call("ec2", "create_network_interface", &interface, "NetworkInterface.NetworkInterfaceId");
    place.write("refused.yaml", &experiment(&place, &isolate(5, ""), LIMITS));
    let refused = place.squall(&["run", "refused.yaml"]);
    place.write("allowed.yaml", &experiment(&place, &isolate(5, ", allowControlPlane: true"), LIMITS));
    let allowed = place.squall(&["plan", "allowed.yaml"]);
    let iam = place.squall(&["plan", "allowed.yaml", "--iam"]);
    cloud.call("ec2", "delete_network_interface", &json!({"NetworkInterfaceId": interface}), "`0`");
    refused.exits(3).says("the cluster's control plane has interfaces in the subnets of zone `us-east-1c`");
    let plan = allowed.exits(0).stdout;
    assert!(plan.contains("cut off, it can lose nodes of every zone"), "{plan}");
    let calls = plan.contains(&format!("ec2:ReplaceNetworkAclAssociation {subnet} ({original} → the new one"));
    assert!(calls && plan.contains("by dry run EC2 accepts it now"), "{plan}");
    let policy = iam.exits(0).stdout;
    assert!(
        policy.contains(&format!("subnet/{subnet}")) && policy.contains("aws:RequestTag/squall.dev/undo"),
        "{policy}"
    );
    assert_eq!(under(&cloud).1, original, "a plan changes nothing");
    let changed =
        cloud.calls().iter().filter(|call| call["action"] == "CreateNetworkAcl" && call["dry_run"] != true).count();
    assert_eq!(changed, 0);
}

#[test]
#[ignore = "needs a cluster (make e2e)"]
fn another_machine_gives_back_the_groups_of_a_zone_that_lost_its_power_with_its_runner() {
    let (cloud, place) = (Cloud::new(), Place::new("powerless"));
    place.deploy("web", 2, &["--drain=2s"], "/readyz");
    let in_zone = || running(&cloud, &json!({"Name": "availability-zone", "Values": [ZONE]}));
    let (before, lost) = (instances(&cloud), in_zone());
    let step = format!("for: 90s\n      zoneOutage: {{zone: {ZONE}}}");
    let child = place.start_with(&["--no-guard"], &experiment(&place, &step, LIMITS), "\"type\":\"effect\"");
    place.wait_for("the whole injection", || place.events("injected").len() == TARGETS - 1);
    killed(child);
    assert_eq!(cloud.suspended("workers-c"), names(&["Launch"]));
    assert_eq!(cloud.subnets("workers-multi").len(), 2);
    place.squall(&["recover", "--reports", "elsewhere"]).exits(0).says("clean");
    assert_given_back(&cloud);
    cloud.control(&["wait", "90"]);
    // The group of three zones may have moved others since, to be even again.
    assert_eq!((instances(&cloud).len(), in_zone().len()), (before.len(), 2));
    assert!(in_zone().is_disjoint(&lost), "{lost:?} had lost their power");
    place.assert_clean();
}
