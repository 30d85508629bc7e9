use tokio::time::Instant;

use super::{Place, TAG, code, pass, secs};
use crate::cluster::Wanted;
use crate::lab::Groups;

#[tokio::test(start_paused = true)]
async fn every_node_is_an_instance_of_the_cluster() {
    let place = Place::new(4, Groups::Across);
    let began = Instant::now();
    let id = place.id_of("node4");
    let instance = place.instance(&id).await.unwrap();
    assert_eq!((instance.state.as_str(), instance.zone.as_str()), ("running", "us-east-1a"), "the zones take turns");
    assert_eq!(instance.tags.get(TAG).map(String::as_str), Some("owned"));
    assert_eq!((instance.group(), &instance.subnets), (Some("workers"), &place.subnets_of("us-east-1a")));
    assert_eq!(began.elapsed().as_millis() / 10, 6, "an answer takes its time, of the lab's");
    assert!(place.cluster.ledger().has_been_allowed("ec2.amazonaws.com", "DescribeInstances"));
    let all: Vec<String> = ["node1", "node2", "node3", "node4"].map(|node| place.id_of(node)).to_vec();
    assert_eq!(place.cloud().instances(&all).await.unwrap().len(), 4);
    let (_, page) =
        place.ec2("Action=DescribeInstances&MaxResults=3&Filter.1.Name=tag-key&Filter.1.Value.1=kubernetes.io/*");
    assert!(page.matches("<instanceId>").count() == 3 && page.contains("<nextToken>from-3</nextToken>"), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_power_loss_takes_the_node_and_its_group_starts_another_in_its_zone() {
    let place = Place::new(3, Groups::Across);
    let id = place.id_of("node2");
    let dry = place.cloud().terminate(&id, true, true).await.unwrap_err();
    assert!(dry.would_succeed(), "{dry}");
    assert_eq!(place.instance(&id).await.unwrap().state, "running");
    place.cloud().terminate(&id, true, false).await.unwrap();
    assert!(!place.lab.shared.read(|world| world.nodes.is_up("node2")), "its power is off at once");
    assert_eq!(place.instance(&id).await.unwrap().state, "shutting-down");
    assert!(place.is_ready("node2"), "nobody has missed it yet");
    pass(secs(27)).await;
    assert_eq!(place.instance(&id).await.unwrap().state, "terminated");
    let group = place.group("workers").await;
    assert_eq!(group.members.len(), 3, "the group has not looked yet");
    pass(secs(5)).await;
    let group = place.group("workers").await;
    let pending: Vec<_> = group.members.iter().filter(|member| member.lifecycle == "Pending").collect();
    assert!(pending.len() == 1 && pending[0].zone == "us-east-1b", "{:?}", group.members);
    assert_eq!(place.cloud().activities("workers").await.unwrap()[0].status, "InProgress");
    pass(secs(60)).await;
    assert!(place.node("node2").is_none(), "the cloud's controller has removed it");
    assert!(place.is_ready("node4"), "another instance is another node");
    let group = place.group("workers").await;
    assert!(group.in_service() == 3 && group.members.len() == 3);
    let activities = place.cloud().activities("workers").await.unwrap();
    assert!(activities.iter().all(|activity| activity.status == "Successful"), "{activities:?}");
    assert!(activities.iter().any(|activity| activity.description.starts_with("Terminating EC2 instance: i-")));
    pass(secs(3700)).await;
    assert_eq!(place.instance(&id).await, None, "it is not described for ever");
}

#[tokio::test(start_paused = true)]
async fn an_operating_system_that_shuts_down_takes_a_while() {
    let place = Place::new(3, Groups::Across);
    place.cloud().terminate(&place.id_of("node1"), false, false).await.unwrap();
    pass(secs(1)).await;
    assert!(place.lab.shared.read(|world| world.nodes.is_up("node1")));
    pass(secs(5)).await;
    assert!(!place.lab.shared.read(|world| world.nodes.is_up("node1")));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_protected_keeps_those_of_its_zone_and_a_bad_id_keeps_all() {
    let place = Place::new(4, Groups::Across);
    let [guarded, beside, other] = ["node1", "node4", "node2"].map(|node| place.id_of(node));
    let form = format!("Action=ModifyInstanceAttribute&InstanceId={guarded}&DisableApiTermination.Value=true");
    assert_eq!(place.ec2(&form).0, 200);
    assert!(place.cloud().is_protected(&guarded).await.unwrap());
    let ids = format!("Action=TerminateInstances&InstanceId.1={guarded}&InstanceId.2={beside}&InstanceId.3={other}");
    let unknown = place.ec2(&format!("{ids}&InstanceId.4=i-0123456789abcdef0"));
    assert_eq!(code(&unknown), "InvalidInstanceID.NotFound");
    assert_eq!(place.instance(&other).await.unwrap().state, "running");
    assert_eq!(code(&place.ec2(&ids)), "OperationNotPermitted");
    assert_eq!(place.instance(&beside).await.unwrap().state, "running");
    assert_eq!(place.instance(&other).await.unwrap().state, "shutting-down");
    assert_eq!(code(&place.ec2("Action=TerminateInstances&InstanceId.1=node1")), "InvalidInstanceID.Malformed");
    assert_eq!(code(&place.ec2("Action=TerminateInstances")), "MissingParameter");
    assert_eq!(code(&place.ec2("Action=RebootInstances&InstanceId.1=i-1")), "InvalidAction");
}

#[tokio::test(start_paused = true)]
async fn the_account_is_known_by_its_number_and_only_in_its_region() {
    let place = Place::new(1, Groups::Across);
    let wanted =
        Wanted { account: "123456789012".to_owned(), region: "us-east-1".to_owned(), cluster: "lab".to_owned() };
    let opened = place.cluster.with_cloud(&wanted).await.unwrap();
    let caller = &opened.cloud().unwrap().id().caller;
    assert_eq!(caller, "arn:aws:sts::123456789012:assumed-role/squall/lab");
    let other = Wanted { account: "999999999999".to_owned(), ..wanted.clone() };
    let refused = place.cluster.with_cloud(&other).await.unwrap_err();
    assert!(refused.message.contains("belong to account 123456789012"), "{refused}");
    let elsewhere = Wanted { region: "us-east-2".to_owned(), ..wanted };
    let opened = place.cluster.with_cloud(&elsewhere).await.unwrap();
    let refused = opened.cloud().unwrap().groups().await.unwrap_err();
    assert_eq!(refused.code.as_deref(), Some("AuthFailure"));
    let (resources, context) = (super::names(&["arn:a"]), std::collections::BTreeMap::new());
    let may = place.cloud().simulate("autoscaling:SuspendProcesses", &resources, &context).await.unwrap().unwrap();
    assert!(may.allowed, "{may:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_nobody_let_through() {
    let place = Place::new(1, Groups::Across);
    let cluster = place.lab.cluster();
    let id = place.id_of("node1");
    let refused = cluster.cloud().unwrap().terminate(&id, true, false).await.unwrap_err();
    assert!(refused.unsent, "{refused}");
    assert_eq!(place.instance(&id).await.unwrap().state, "running");
}
