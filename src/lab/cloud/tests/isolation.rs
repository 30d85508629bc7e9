use std::collections::BTreeMap;

use serde_json::json;

use super::{Place, code, pass, secs};
use crate::lab::Groups;
use crate::lab::testing::deployment;

/// A subnet with the ACL that it is under, and the id that says so.
async fn under(place: &Place, subnet: &str) -> (String, String) {
    let acls = place.cloud().acls("association.subnet-id", &[subnet.to_owned()], "of").await.unwrap();
    (acls[0].id.clone(), acls[0].associations[subnet].clone())
}

#[tokio::test(start_paused = true)]
async fn an_acl_is_made_once_replaced_by_association_and_deleted_when_free() {
    let place = Place::new(3, Groups::Across);
    let cloud = place.cloud();
    let subnet = place.subnets_of("us-east-1a").pop_first().unwrap();
    let (default, association) = under(&place, &subnet).await;
    let vpc = cloud.acls("association.subnet-id", std::slice::from_ref(&subnet), "of").await.unwrap()[0].vpc.clone();
    let tags = BTreeMap::from([("of".to_owned(), subnet.clone())]);
    assert!(cloud.create_acl(&vpc, &subnet, &tags, "t", true).await.unwrap_err().would_succeed());
    let made = cloud.create_acl(&vpc, &subnet, &tags, "t", false).await.unwrap();
    assert_eq!(cloud.create_acl(&vpc, &subnet, &tags, "t", false).await.unwrap(), made, "the same token");
    let found = cloud.acls("tag-key", &["of".to_owned()], "of").await.unwrap();
    assert!(found.len() == 1 && !found[0].allows && found[0].associations.is_empty());
    assert!(cloud.associate_acl(&association, &made, true).await.unwrap_err().would_succeed());
    cloud.associate_acl(&association, &made, false).await.unwrap();
    let (now, another) = under(&place, &subnet).await;
    assert!(now == made && another != association);
    let old = cloud.associate_acl(&association, &default, false).await.unwrap_err();
    assert_eq!(old.code.as_deref(), Some("InvalidAssociationID.NotFound"));
    assert!(cloud.delete_acl(&made).await.unwrap_err().is_in_use());
    cloud.associate_acl(&another, &default, false).await.unwrap();
    cloud.delete_acl(&made).await.unwrap();
    assert!(!cloud.has_acl(&made).await.unwrap() && cloud.has_acl(&default).await.unwrap());
    let form = format!("Action=DeleteNetworkAcl&NetworkAclId={default}");
    assert_eq!(code(&place.ec2(&form)), "InvalidParameterValue", "the network's own stays");
    let interfaces = cloud.interfaces(&[subnet]).await.unwrap();
    assert_eq!(interfaces.len(), 1);
    assert_eq!(interfaces[0].instance.as_deref(), Some(place.id_of("node1").as_str()));
}

/// The shop's pods: on which node, and whether they are ready.
fn pods(place: &Place) -> Vec<(String, bool)> {
    let pods = place
        .lab
        .shared
        .read(|world| world.store.list::<k8s_openapi::api::core::v1::Pod>(Some("shop")).collect::<Vec<_>>());
    let mut all: Vec<_> = pods
        .iter()
        .map(|pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            (node, crate::lab::model::objects::is_ready(pod))
        })
        .collect();
    all.sort();
    all
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_runs_on_unheard_and_is_whole_again_afterwards() {
    let place = Place::new(3, Groups::Across);
    let mut web = deployment(3);
    web["spec"]["template"]["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]);
    place.lab.apply(&web.to_string()).await.unwrap();
    place.lab.settled().await.unwrap();
    let all = [("node1", true), ("node2", true), ("node3", true)].map(|(node, ready)| (node.to_owned(), ready));
    assert_eq!(pods(&place), all);
    let subnet = place.subnets_of("us-east-1a").pop_first().unwrap();
    let (default, association) = under(&place, &subnet).await;
    let vpc = place.lab.shared.read(|world| world.aws.as_ref().unwrap().vpc.clone());
    let made = place.cloud().create_acl(&vpc, &subnet, &BTreeMap::new(), "t", false).await.unwrap();
    place.cloud().associate_acl(&association, &made, false).await.unwrap();
    assert!(place.lab.shared.read(|world| world.nodes.is_cut_off("node1") && world.nodes.is_up("node1")));
    pass(secs(65)).await;
    assert!(!place.is_ready("node1") && place.is_ready("node2"));
    assert_eq!(pods(&place)[0], ("node1".to_owned(), false), "its pods count as not ready");
    assert_eq!(place.instance(&place.id_of("node1")).await.unwrap().state, "running");
    let (_, association) = under(&place, &subnet).await;
    place.cloud().associate_acl(&association, &default, false).await.unwrap();
    pass(secs(12)).await;
    assert!(place.is_ready("node1"), "it is heard again");
    assert_eq!(pods(&place), all, "the same pods, ready as they were");
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_meanwhile_ends_when_its_node_hears_of_it() {
    let place = Place::new(3, Groups::Across);
    place.lab.apply(&deployment(3).to_string()).await.unwrap();
    place.lab.settled().await.unwrap();
    let subnet = place.subnets_of("us-east-1a").pop_first().unwrap();
    let (default, association) = under(&place, &subnet).await;
    let vpc = place.lab.shared.read(|world| world.aws.as_ref().unwrap().vpc.clone());
    let made = place.cloud().create_acl(&vpc, &subnet, &BTreeMap::new(), "t", false).await.unwrap();
    place.cloud().associate_acl(&association, &made, false).await.unwrap();
    // Five minutes after it is unreachable its pods are driven away, and replaced elsewhere; the old ones stay, as nobody ends them.
    pass(secs(420)).await;
    let here = pods(&place).into_iter().filter(|(node, _)| node == "node1").count();
    assert!(here > 0 && pods(&place).len() == 3 + here, "{:?}", pods(&place));
    let (_, association) = under(&place, &subnet).await;
    place.cloud().associate_acl(&association, &default, false).await.unwrap();
    pass(secs(60)).await;
    assert!(pods(&place).len() == 3 && pods(&place).iter().all(|(_, ready)| *ready), "{:?}", pods(&place));
}
