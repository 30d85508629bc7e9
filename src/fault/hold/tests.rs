//! The decisions of holding a group, and the merge of giving it back, against a small Auto Scaling service.

use std::collections::BTreeMap;

use super::*;

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
fn the_note_survives_its_tags() {
    let mark = Mark {
        run: "20260131-142501-web-3f9c".into(),
        state: "squall".into(),
        step: "hold".into(),
        fault: "asgSuspend".into(),
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
