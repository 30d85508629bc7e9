//! Cutting a subnet off and putting it back, against a small EC2.

use super::*;
use crate::cluster::{Cluster, FakeAcls};
use crate::fault::contract::Ending;
use crate::record::ClusterId;

const SUBNET: &str = "subnet-1";

/// Two ACLs: the network's default, and the one that the subnet is under.
fn network() -> FakeAcls {
    FakeAcls::new(&[("acl-default", &["subnet-2"]), ("acl-own", &[SUBNET])])
}

fn cluster(service: &FakeAcls) -> Cluster {
    let kube = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::empty()))
    });
    Cluster::new(kube::Client::new(kube, "default"), ClusterId::default()).behind(service.cloud())
}

/// A run that cuts the subnet off; what `meanwhile` does to the network; what the undo comes to, the first time and the second.
async fn cut_and_restored(service: &FakeAcls, meanwhile: impl FnOnce(&FakeAcls)) -> (Undo, Undo) {
    let cluster = cluster(service);
    let cloud = cluster.cloud().unwrap();
    let cx = Acting { cluster: &cluster, run: "r1", state: "squall", step: "cut", ending: Ending::default() };
    let target = note::target(SUBNET, "vpc-1", None);
    let note = prepare(cloud, &target).await.unwrap().unwrap();
    let done = cut(&cx, cloud, "zoneOutage", &target, &note).await.unwrap();
    assert!(matches!(done, Injected::Done(_)), "{done:?}");
    assert!(matches!(effect(&cx, cloud, &target).await.unwrap(), Effect::Seen(_)));
    assert_eq!(open(&cx, cloud, &[SUBNET.into(), "subnet-2".into()]).await.unwrap(), ["subnet-2"]);
    meanwhile(service);
    let first = restore(&cx, cloud, &target, &note).await.unwrap();
    (first, restore(&cx, cloud, &target, &note).await.unwrap())
}

/// Ids of all ACLs.
fn ids(service: &FakeAcls) -> Vec<String> {
    service.acls.lock().unwrap().keys().cloned().collect()
}

/// The one that the run made.
fn ours(service: &FakeAcls) -> String {
    let acls = service.acls.lock().unwrap();
    acls.values().find(|acl| Mark::of(&acl.tags).is_some()).unwrap().id.clone()
}

#[tokio::test(start_paused = true)]
async fn a_subnet_goes_back_under_its_own_acl_and_ours_is_deleted() {
    let service = network();
    let (first, second) = cut_and_restored(&service, |service| *service.lags.lock().unwrap() = READS - 1).await;
    assert!(matches!(&first, Undo::Undone(words) if words.starts_with("it is under acl-own again; acl-")), "{first:?}");
    assert!(matches!(second, Undo::Nothing(_)), "twice is once: {second:?}");
    assert_eq!(
        (service.under(SUBNET), ids(&service)),
        ("acl-own".to_owned(), vec!["acl-default".into(), "acl-own".into()])
    );
    assert_eq!(service.under("subnet-2"), "acl-default");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_change_stays_and_is_told() {
    let service = network();
    let (undo, _) = cut_and_restored(&service, |service| service.put(SUBNET, "acl-default")).await;
    assert!(matches!(&undo, Undo::Conflict(words) if words.contains("somebody put it under acl-default")), "{undo:?}");
    assert_eq!((service.under(SUBNET), ids(&service).len()), ("acl-default".to_owned(), 2));

    let service = network();
    let (undo, _) = cut_and_restored(&service, |service| service.put(SUBNET, "acl-own")).await;
    assert!(matches!(&undo, Undo::Conflict(words) if words.contains("already")), "the cut ended too soon: {undo:?}");
}

#[tokio::test(start_paused = true)]
async fn the_default_takes_the_place_of_an_acl_that_is_gone_and_says_so() {
    let service = network();
    let (undo, _) = cut_and_restored(&service, |service| drop(service.acls.lock().unwrap().remove("acl-own"))).await;
    assert!(
        matches!(&undo, Undo::Conflict(words) if words.contains("acl-own, its own network ACL, was deleted")),
        "{undo:?}"
    );
    assert_eq!((service.under(SUBNET), ids(&service)), ("acl-default".to_owned(), vec!["acl-default".into()]));
}

#[tokio::test(start_paused = true)]
async fn what_a_repeated_call_made_twice_is_deleted_twice() {
    let service = network();
    let (undo, _) = cut_and_restored(&service, |service| {
        let made = ours(service);
        let twin = service.acls.lock().unwrap()[&made].clone();
        let twin = NetworkAcl { id: "acl-twin".into(), associations: std::collections::BTreeMap::new(), ..twin };
        service.acls.lock().unwrap().insert("acl-twin".into(), twin);
    })
    .await;
    assert!(matches!(undo, Undo::Undone(_)), "{undo:?}");
    assert_eq!(ids(&service), ["acl-default", "acl-own"]);
}

#[tokio::test(start_paused = true)]
async fn another_runs_cut_is_not_cut_again_and_not_taken_back() {
    let service = network();
    let cluster = cluster(&service);
    let cloud = cluster.cloud().unwrap();
    let run = |run| Acting { cluster: &cluster, run, state: "squall", step: "cut", ending: Ending::default() };
    let target = note::target(SUBNET, "vpc-1", None);
    let note = prepare(cloud, &target).await.unwrap().unwrap();
    cut(&run("r1"), cloud, "zoneOutage", &target, &note).await.unwrap();
    assert!(prepare(cloud, &target).await.unwrap_err().to_string().contains("run `r1` made already"));
    let undo = restore(&run("r2"), cloud, &target, &note).await.unwrap();
    assert!(matches!(undo, Undo::Conflict(_)), "{undo:?}");
    assert_eq!(service.under(SUBNET), ours(&service));

    // What lies on the object alone is enough to take it back.
    let found = left(&cluster, "zoneOutage", |note| note).await.unwrap();
    assert_eq!((found.len(), found[0].run.as_str(), found[0].target.name.as_str()), (1, "r1", SUBNET));
    assert_eq!(found[0].note, serde_json::to_value(&note).unwrap());
    let made = ours(&service);
    let tags = service.acls.lock().unwrap()[&made].tags.clone();
    assert!(tags.values().all(|value| value.chars().all(|c| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c))));
}
