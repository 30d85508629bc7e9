use super::{Place, code, names, pass, secs, zones};
use crate::lab::Groups;

const WHOLE: [(&str, usize); 3] = [("us-east-1a", 1), ("us-east-1b", 1), ("us-east-1c", 1)];

#[tokio::test(start_paused = true)]
async fn a_group_for_each_zone_or_one_over_all_or_both() {
    let across = Place::new(3, Groups::Across);
    let groups = across.cloud().groups().await.unwrap();
    assert_eq!((groups.len(), groups[0].zones.len(), groups[0].desired, groups[0].max), (1, 3, 3, 6));
    let apart = Place::new(4, Groups::PerZone);
    let groups = apart.cloud().groups().await.unwrap();
    let shown: Vec<_> = groups.iter().map(|group| (group.name.as_str(), group.desired, group.zones.len())).collect();
    assert_eq!(shown, [("workers-a", 2, 1), ("workers-b", 1, 1), ("workers-c", 1, 1)]);
    let both = Place::new(6, Groups::Both).cloud().groups().await.unwrap();
    let shown: Vec<_> = both.iter().map(|group| (group.name.as_str(), group.desired, group.zones.len())).collect();
    assert_eq!(shown, [("workers", 3, 3), ("workers-a", 1, 1), ("workers-b", 1, 1), ("workers-c", 1, 1)]);
    let (_, page) = apart.scaling("Action=DescribeAutoScalingGroups&MaxRecords=2");
    assert!(page.contains("<NextToken>from-2</NextToken>"), "{page}");
    assert_eq!(code(&apart.scaling("Action=DescribeAutoScalingGroups&MaxRecords=101")), "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn without_launch_nothing_comes_back_until_it_is_resumed() {
    let place = Place::new(3, Groups::PerZone);
    place.cloud().suspend("workers-a", &names(&["Launch"])).await.unwrap();
    place.cloud().terminate(&place.id_of("node1"), true, false).await.unwrap();
    pass(secs(600)).await;
    assert_eq!(place.ready(), zones(&WHOLE[1..]));
    assert_eq!(place.group("workers-a").await.members, [], "the dead one was taken out all the same");
    place.cloud().resume("workers-a", &names(&["Launch"])).await.unwrap();
    pass(secs(60)).await;
    assert_eq!(place.ready(), zones(&WHOLE));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_checked_or_not_replaced_stays_in_the_group() {
    for process in ["HealthCheck", "ReplaceUnhealthy", "Terminate"] {
        let place = Place::new(3, Groups::PerZone);
        place.cloud().suspend("workers-a", &names(&[process])).await.unwrap();
        let id = place.id_of("node1");
        place.cloud().terminate(&id, true, false).await.unwrap();
        pass(secs(600)).await;
        assert_eq!(place.ready(), zones(&WHOLE[1..]), "{process}");
        let members = place.group("workers-a").await.members;
        assert_eq!((members[0].id.as_str(), members[0].lifecycle.as_str()), (id.as_str(), "InService"), "{process}");
        place.cloud().resume("workers-a", &names(&[process])).await.unwrap();
        pass(secs(120)).await;
        assert_eq!(place.ready(), zones(&WHOLE), "{process}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_taken_out_is_not_launched_in_and_comes_back() {
    let place = Place::new(6, Groups::Across);
    let two = [("us-east-1a", 2), ("us-east-1b", 2), ("us-east-1c", 2)];
    let all = place.group("workers").await.subnets;
    let left = all.difference(&place.subnets_of("us-east-1a")).cloned().collect();
    place.cloud().suspend("workers", &names(&["AZRebalance"])).await.unwrap();
    place.cloud().set_subnets("workers", &left).await.unwrap();
    pass(secs(300)).await;
    assert_eq!(place.ready(), zones(&two), "nothing is moved away");
    assert_eq!(place.group("workers").await.zones, names(&["us-east-1b", "us-east-1c"]));
    for node in ["node1", "node4"] {
        place.cloud().terminate(&place.id_of(node), true, false).await.unwrap();
    }
    pass(secs(300)).await;
    assert_eq!(place.ready(), zones(&[("us-east-1b", 3), ("us-east-1c", 3)]), "the group goes on elsewhere");
    place.cloud().set_subnets("workers", &all).await.unwrap();
    pass(secs(300)).await;
    assert_eq!(place.ready(), zones(&[("us-east-1b", 3), ("us-east-1c", 3)]));
    place.cloud().resume("workers", &names(&["AZRebalance"])).await.unwrap();
    pass(secs(600)).await;
    assert_eq!(place.ready(), zones(&two), "evened out, the new one first");
}

#[tokio::test(start_paused = true)]
async fn without_suspending_azrebalance_a_zone_that_is_taken_out_is_evacuated() {
    let place = Place::new(3, Groups::Across);
    let all = place.group("workers").await.subnets;
    let left = all.difference(&place.subnets_of("us-east-1a")).cloned().collect();
    place.cloud().set_subnets("workers", &left).await.unwrap();
    pass(secs(300)).await;
    let ready = place.ready();
    assert!(!ready.contains_key("us-east-1a") && ready.values().sum::<usize>() == 3, "{ready:?}");
}

#[tokio::test(start_paused = true)]
async fn no_process_named_means_all_of_them() {
    let place = Place::new(3, Groups::Across);
    place.cloud().suspend("workers", &names(&["AZRebalance"])).await.unwrap();
    assert_eq!(place.scaling("Action=SuspendProcesses&AutoScalingGroupName=workers").0, 200);
    assert_eq!(place.group("workers").await.suspended.len(), 9);
    let wrong = "Action=ResumeProcesses&AutoScalingGroupName=workers&ScalingProcesses.member.1=Lunch";
    assert_eq!(code(&place.scaling(wrong)), "ValidationError");
    assert_eq!(place.scaling("Action=ResumeProcesses&AutoScalingGroupName=workers").0, 200);
    assert_eq!(place.group("workers").await.suspended, names(&[]));
    assert_eq!(code(&place.scaling("Action=SuspendProcesses&AutoScalingGroupName=others")), "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn sizes_have_bounds_and_are_followed() {
    let place = Place::new(3, Groups::Across);
    let set =
        |wanted: usize| format!("Action=SetDesiredCapacity&AutoScalingGroupName=workers&DesiredCapacity={wanted}");
    assert_eq!(code(&place.scaling(&set(7))), "ValidationError");
    assert_eq!(place.scaling(&set(5)).0, 200);
    pass(secs(60)).await;
    assert_eq!(place.ready().values().sum::<usize>(), 5);
    let update = |more: &str| format!("Action=UpdateAutoScalingGroup&AutoScalingGroupName=workers&{more}");
    for wrong in ["MinSize=7", "DesiredCapacity=9", "VPCZoneIdentifier=subnet-1", "VPCZoneIdentifier=,"] {
        assert_eq!(code(&place.scaling(&update(wrong))), "ValidationError", "{wrong}");
    }
    assert_eq!(place.scaling(&update("MaxSize=3")).0, 200);
    pass(secs(120)).await;
    assert_eq!(place.ready(), zones(&WHOLE), "what is too many goes, from the fullest zones");
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_taken_out_by_hand_is_replaced_or_not() {
    let place = Place::new(3, Groups::Across);
    let id = place.id_of("node3");
    place.cloud().scale_in(&id).await.unwrap();
    let group = place.group("workers").await;
    assert!(group.members.iter().any(|member| member.id == id && member.lifecycle == "Terminating"));
    pass(secs(120)).await;
    assert_eq!(place.ready(), zones(&WHOLE));
    let gone = place.cloud().scale_in(&id).await.unwrap_err();
    assert_eq!(gone.code.as_deref(), Some("ValidationError"));
    let id = place.id_of("node2");
    let form =
        format!("Action=TerminateInstanceInAutoScalingGroup&InstanceId={id}&ShouldDecrementDesiredCapacity=true");
    assert_eq!(place.scaling(&form).0, 200);
    pass(secs(300)).await;
    assert_eq!(place.ready().values().sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn tags_come_and_go_and_are_seen_in_the_group() {
    let place = Place::new(3, Groups::Across);
    let cloud = place.cloud();
    cloud.tag("workers", &[("squall.dev/undo".to_owned(), "r <s> & t".to_owned())].into()).await.unwrap();
    assert_eq!(place.group("workers").await.tags["squall.dev/undo"], "r <s> & t");
    cloud.untag("workers", &names(&["squall.dev/undo", "other"])).await.unwrap();
    assert_eq!(place.group("workers").await.tags.len(), 1);
    assert!(cloud.tag("others", &[("a".to_owned(), "b".to_owned())].into()).await.is_err());
}
