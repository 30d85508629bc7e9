//! The decisions of holding a group, and the merge of giving it back, against a small Auto Scaling service.

use std::collections::BTreeMap;

use super::*;
#[cfg(feature = "aws")]
use crate::fault::contract::Ending;

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

fn group(zones: &[&str]) -> Group {
    Group {
        name: "workers".into(),
        arn: "arn:1".into(),
        desired: 3,
        max: 6,
        zones: names(zones),
        subnets: zones.iter().map(|zone| format!("subnet-{zone}")).collect(),
        ..Group::default()
    }
}

fn subnets(zones: &[&str]) -> Vec<Subnet> {
    zones
        .iter()
        .map(|zone| Subnet { id: format!("subnet-{zone}"), zone: (*zone).to_owned(), zone_id: format!("use1-{zone}") })
        .collect()
}

#[test]
fn a_group_of_one_zone_is_suspended() {
    let strategy = decide(&group(&["a"]), &[Process::Launch, Process::HealthCheck], Some("a"), &[]).unwrap();
    assert_eq!((strategy.note.suspend, strategy.note.remove), (names(&["HealthCheck", "Launch"]), names(&[])));
    assert!(strategy.why.contains("only zone"), "{}", strategy.why);
}

#[test]
fn what_was_suspended_before_is_not_ours() {
    let mut before = group(&["a"]);
    before.suspended = names(&["Launch", "AZRebalance"]);
    let note = decide(&before, &[Process::Launch, Process::Terminate], None, &[]).unwrap().note;
    assert_eq!((note.suspend, note.held), (names(&["Terminate"]), names(&["Launch", "Terminate"])));
}

#[test]
fn a_group_of_several_zones_loses_the_zones_subnets() {
    let zones = ["a", "b", "c"];
    let note = decide(&group(&zones), &[Process::Launch], Some("b"), &subnets(&zones)).unwrap().note;
    assert_eq!((note.suspend, note.remove), (names(&["AZRebalance"]), names(&["subnet-b"])));
}

#[test]
fn what_would_end_the_cut_off_is_suspended_beside_the_hold_of_the_zone() {
    let mut before = group(&["a", "b"]);
    before.suspended = names(&["HealthCheck"]);
    let strategy = decide(&before, &[Process::Launch], Some("b"), &subnets(&["a", "b"])).unwrap();
    let note = strategy.and(&before, &[Process::HealthCheck, Process::ReplaceUnhealthy]).note;
    assert_eq!(note.held, names(&["AZRebalance", "HealthCheck", "ReplaceUnhealthy"]));
    assert_eq!(note.suspend, names(&["AZRebalance", "ReplaceUnhealthy"]), "one was suspended by somebody else");
    assert_eq!(note.remove, names(&["subnet-b"]));
}

#[test]
fn what_can_not_be_held_in_one_zone_is_refused() {
    let zones = ["a", "b"];
    let refused = |processes: &[Process], zone: &str, subnets: &[Subnet]| {
        decide(&group(&zones), processes, Some(zone), subnets).unwrap_err().message
    };
    assert!(refused(&[Process::Terminate], "a", &subnets(&zones)).contains("never for one zone"));
    assert!(refused(&[Process::Launch], "z", &subnets(&zones)).contains("does not launch in zone `z`"));
    assert!(refused(&[Process::Launch], "a", &[]).contains("can't be told"));
}

#[test]
fn zones_are_uneven_when_two_differ_by_more_than_one() {
    let of = |zones: &[&str]| {
        let member =
            |zone: &&str| Member { zone: (*zone).to_owned(), lifecycle: "InService".into(), ..Member::default() };
        uneven(&Group { members: zones.iter().map(member).collect(), ..group(&["a", "b"]) })
    };
    assert_eq!(of(&["a", "b", "b"]), None);
    assert_eq!(of(&["b", "b"]), Some("0 in a, 2 in b".into()));
    assert_eq!(of(&[]), None);
}

#[test]
fn the_note_survives_its_tags() {
    let mark = Mark {
        whose: Whose {
            run: "20260131-142501-web-3f9c".into(),
            state: "squall".into(),
            step: "hold".into(),
            fault: "asgSuspend".into(),
        },
        processes: names(&["AZRebalance", "Launch"]),
        subnets: names(&["subnet-1", "subnet-2"]),
    };
    let tags = mark.tags();
    assert!(tags.values().all(|value| value.chars().all(|c| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c))));
    assert_eq!(Mark::of(&tags), Some(mark));
    assert_eq!(Mark::of(&BTreeMap::new()), None);
}

#[test]
fn the_effect_is_what_the_group_says() {
    let zones = ["a", "b"];
    let note = decide(&group(&zones), &[Process::Launch], Some("b"), &subnets(&zones)).unwrap().note;
    let mut now = group(&zones);
    assert!(matches!(held(&now, &note), Effect::NotYet(_)));
    now.suspended = names(&["AZRebalance"]);
    assert_eq!(held(&now, &note), Effect::NotYet("it still launches in subnet-b".into()));
    now.subnets = names(&["subnet-a"]);
    assert!(matches!(held(&now, &note), Effect::Seen(_)));
}

/// A run that holds zone b of a group of two zones; what `meanwhile` does to the group; what its undo comes to.
#[cfg(feature = "aws")]
async fn held_and_released(
    before: Group,
    meanwhile: impl Fn(&crate::cluster::FakeScaling),
) -> (Undo, Group, Vec<String>) {
    use crate::record::ClusterId;

    let zones: Vec<String> = before.zones.iter().cloned().collect();
    let zones: Vec<&str> = zones.iter().map(String::as_str).collect();
    let strategy = decide(&before, &[Process::Launch], Some("b"), &subnets(&zones)).unwrap();
    let service = crate::cluster::FakeScaling::new(before.clone());
    let kube = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
    });
    let cluster = Cluster::new(kube::Client::new(kube, "default"), ClusterId::default()).behind(service.cloud());
    let cloud = cluster.cloud().unwrap();
    let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "hold", ending: Ending::default() };
    hold(&cx, cloud, "asgSuspend", &before, &strategy.note).await.unwrap();
    meanwhile(&service);
    let undo = release(&cx, cloud, &target(&before), &strategy.note).await.unwrap();
    let again = release(&cx, cloud, &target(&before), &strategy.note).await.unwrap();
    assert!(!matches!(again, Undo::Undone(_)), "twice is once: {again:?}");
    let after = service.group.lock().unwrap().clone();
    let calls = service.calls.lock().unwrap().clone();
    (undo, after, calls)
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn what_was_taken_is_given_back_and_the_note_comes_first_and_goes_last() {
    let mut before = group(&["a", "b"]);
    before.suspended = names(&["HealthCheck"]);
    before.tags.insert("team".into(), "shop".into());
    let (undo, after, calls) = held_and_released(before.clone(), |_| ()).await;
    assert_eq!(undo, Undo::Undone("gave back subnet-b; resumed AZRebalance".into()));
    assert_eq!(after, before, "byte for byte");
    let changes: Vec<&str> = calls.iter().map(String::as_str).filter(|call| !call.starts_with("Describe")).collect();
    assert_eq!(
        changes,
        [
            "CreateOrUpdateTags",
            "SuspendProcesses",
            "UpdateAutoScalingGroup", // the harm
            "UpdateAutoScalingGroup",
            "ResumeProcesses",
            "DeleteTags", // and back
        ]
    );
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn what_others_did_meanwhile_stays_and_is_told() {
    let (undo, after, _) = held_and_released(group(&["a", "b"]), |service| {
        let mut group = service.group.lock().unwrap();
        group.subnets.insert("subnet-c".into());
        group.suspended.insert("Terminate".into());
        group.desired = 5;
    })
    .await;
    let Undo::Conflict(words) = undo else { panic!("{undo:?}") };
    assert!(words.contains("subnet-c was added by somebody meanwhile, and stays"), "{words}");
    assert!(words.contains("its wanted size stays 5; it was 3 before"), "{words}");
    assert_eq!(after.subnets, names(&["subnet-a", "subnet-b", "subnet-c"]));
    assert_eq!(after.suspended, names(&["Terminate"]));
    assert_eq!(after.tags, BTreeMap::new());
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn a_subnet_that_is_deleted_meanwhile_does_not_keep_the_rest_from_going_back() {
    let (undo, after, _) = held_and_released(group(&["a", "b"]), |service| {
        service.subnets.lock().unwrap().remove("subnet-b");
        service.throttled.lock().unwrap().insert("ResumeProcesses".into());
    })
    .await;
    assert!(matches!(&undo, Undo::Conflict(words) if words.contains("subnet-b does not exist any more")), "{undo:?}");
    assert_eq!((after.subnets, after.suspended), (names(&["subnet-a"]), names(&[])));
}

#[cfg(feature = "aws")]
#[tokio::test(start_paused = true)]
async fn without_our_note_nothing_is_changed_and_a_stale_answer_is_not_believed_at_once() {
    let (undo, after, calls) = held_and_released(group(&["a", "b"]), |service| {
        service.group.lock().unwrap().tags.clear();
    })
    .await;
    assert!(matches!(&undo, Undo::Conflict(words) if words.contains("no undo note of ours")), "{undo:?}");
    assert_eq!((after.subnets, after.suspended), (names(&["subnet-a"]), names(&["AZRebalance"])));
    let reads = calls.iter().filter(|call| *call == "DescribeAutoScalingGroups").count();
    assert_eq!(reads, 2 * READS as usize);
    let (undo, after, _) = held_and_released(group(&["a", "b"]), |service| {
        service.group.lock().unwrap().tags.insert(TAG.into(), "r2 squall other asgSuspend".into());
    })
    .await;
    assert!(matches!(&undo, Undo::Conflict(words) if words.contains("run `r2`, which stays")), "{undo:?}");
    assert_eq!(after.suspended, names(&["AZRebalance"]));
}
