use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::{Value, json};

use crate::lab::model::objects::delete;
use crate::lab::model::tests::{bind, edit, pod_spec, quiet, run, say_phase, say_ready};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, pass};
use crate::lab::world::Shared;

const NOTICED: Duration = Duration::from_millis(50);

fn service(lab: &Shared, change: impl FnOnce(&mut Value)) {
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"team": "shop"}},
        "spec": {
            "clusterIP": "10.0.0.1", "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
        },
    });
    change(&mut service);
    create(lab, service);
}

fn pod(lab: &Shared, name: &str, change: impl FnOnce(&mut Value)) -> ObjectKey {
    let metadata = json!({"name": name, "namespace": "shop", "labels": {"app": "web"}});
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec("web:1")});
    change(&mut pod);
    create(lab, pod).key.clone()
}

/// One that serves.
fn serving(lab: &Shared, name: &str) -> ObjectKey {
    let key = pod(lab, name, |_| ());
    lab.with(|world| {
        bind(world, &key, "node1");
        run(world, &key);
        say_ready(world, &key, true);
    });
    key
}

fn slices(lab: &Shared) -> Vec<Arc<EndpointSlice>> {
    lab.read(|world| world.store.list::<EndpointSlice>(Some("shop")).collect())
}

fn only(lab: &Shared) -> Arc<EndpointSlice> {
    let mut slices = slices(lab);
    assert_eq!(slices.len(), 1);
    slices.remove(0)
}

/// Ready, serving, terminating.
fn conditions(endpoint: &Endpoint) -> [bool; 3] {
    let conditions = endpoint.conditions.as_ref().unwrap();
    [conditions.ready, conditions.serving, conditions.terminating].map(Option::unwrap)
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_follows_its_pods_life() {
    let lab = quiet();
    service(&lab, |_| ());
    let key = pod(&lab, "web-0", |_| ());
    pass(NOTICED).await;
    assert!(only(&lab).endpoints.is_empty(), "it has no address");
    lab.with(|world| {
        bind(world, &key, "node2");
        run(world, &key);
    });
    pass(NOTICED).await;
    let slice = only(&lab);
    let endpoint = &slice.endpoints[0];
    assert_eq!(conditions(endpoint), [false, false, false]);
    assert_eq!((endpoint.node_name.as_deref(), endpoint.zone.as_deref()), (Some("node2"), Some("b")));
    let target = endpoint.target_ref.as_ref().unwrap();
    assert_eq!((target.kind.as_deref(), target.name.as_deref()), (Some("Pod"), Some("web-0")));
    let port = &slice.ports.as_ref().unwrap()[0];
    assert_eq!((port.name.as_deref(), port.port, port.protocol.as_deref()), (Some(""), Some(8080), Some("TCP")));
    lab.with(|world| say_ready(world, &key, true));
    pass(NOTICED).await;
    assert_eq!(conditions(&only(&lab).endpoints[0]), [true, true, false]);
    lab.with(|world| delete(world, number_of::<Pod>(), &key, None));
    pass(NOTICED).await;
    assert_eq!(conditions(&only(&lab).endpoints[0]), [false, true, true], "it still serves, and gets nothing new");
    lab.with(|world| say_ready(world, &key, false));
    pass(NOTICED).await;
    assert_eq!(conditions(&only(&lab).endpoints[0]), [false, false, true]);
    lab.with(|world| world.store.remove(number_of::<Pod>(), &key));
    pass(NOTICED).await;
    let empty = only(&lab);
    assert!(empty.endpoints.is_empty());
    assert_eq!(empty.metadata.name, slice.metadata.name, "the slice stays");
}

#[tokio::test(start_paused = true)]
async fn a_slice_is_its_services_and_goes_with_it() {
    let lab = quiet();
    service(&lab, |service| service["spec"]["clusterIP"] = "None".into());
    pass(NOTICED).await;
    let slice = only(&lab);
    let labels = slice.metadata.labels.as_ref().unwrap();
    let expected = [
        ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io"),
        ("kubernetes.io/service-name", "web"),
        ("service.kubernetes.io/headless", ""),
        ("team", "shop"),
    ];
    assert_eq!(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    let name = slice.metadata.name.clone().unwrap();
    assert!(name.starts_with("web-") && name.len() == "web-".len() + 5);
    lab.with(|world| world.store.remove(number_of::<EndpointSlice>(), &ObjectKey::new("shop", name.clone())));
    pass(NOTICED).await;
    assert_ne!(only(&lab).metadata.name, Some(name), "a deleted one is made anew");
    lab.with(|world| delete(world, number_of::<Service>(), &ObjectKey::new("shop", "web"), None));
    pass(NOTICED).await;
    assert!(slices(&lab).is_empty());
}

#[tokio::test(start_paused = true)]
async fn services_without_pods_of_their_own_choice_have_no_slices() {
    let lab = quiet();
    service(&lab, |service| service["spec"]["type"] = "ExternalName".into());
    service(&lab, |service| {
        service["metadata"]["name"] = "by-hand".into();
        service["spec"]["selector"] = Value::Null;
    });
    serving(&lab, "web-0");
    pass(NOTICED).await;
    assert!(slices(&lab).is_empty());
}

#[tokio::test(start_paused = true)]
async fn finished_pods_are_not_in_it_and_not_ready_ones_are_ready_where_that_is_asked() {
    let lab = quiet();
    service(&lab, |service| service["spec"]["publishNotReadyAddresses"] = true.into());
    let (over, unready) = (serving(&lab, "over"), serving(&lab, "unready"));
    lab.with(|world| {
        say_phase(world, &over, "Failed");
        say_ready(world, &unready, false);
    });
    pass(NOTICED).await;
    let slice = only(&lab);
    assert_eq!(slice.endpoints.len(), 1);
    assert_eq!(conditions(&slice.endpoints[0]), [true, false, false]);
}

#[tokio::test(start_paused = true)]
async fn a_named_port_is_each_pods_own() {
    let lab = quiet();
    service(&lab, |_| ());
    for (name, port) in [("a", 8080), ("b", 9090), ("c", 0)] {
        let key = pod(&lab, name, |pod| {
            let ports = &mut pod["spec"]["containers"][0]["ports"];
            *ports = if port == 0 { json!([]) } else { json!([{"name": "http", "containerPort": port}]) };
        });
        lab.with(|world| run(world, &key));
    }
    pass(NOTICED).await;
    let mut found: Vec<(Vec<i32>, usize)> = slices(&lab)
        .iter()
        .map(|slice| (slice.ports.iter().flatten().filter_map(|p| p.port).collect(), slice.endpoints.len()))
        .collect();
    found.sort();
    assert_eq!(found, [(vec![], 1), (vec![8080], 1), (vec![9090], 1)]);
}

#[tokio::test(start_paused = true)]
async fn many_endpoints_are_in_slices_of_a_hundred_and_a_change_writes_one_of_them() {
    let lab = quiet();
    service(&lab, |_| ());
    let keys: Vec<ObjectKey> = (0..250).map(|number| serving(&lab, &format!("web-{number:03}"))).collect();
    pass(NOTICED).await;
    let all = slices(&lab);
    let mut sizes: Vec<usize> = all.iter().map(|slice| slice.endpoints.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [50, 100, 100]);
    let version = |slice: &EndpointSlice| slice.metadata.resource_version.clone();
    lab.with(|world| say_ready(world, &keys[7], false));
    pass(NOTICED).await;
    let changed: Vec<_> =
        slices(&lab).into_iter().zip(&all).filter(|(now, was)| version(now) != version(was)).collect();
    assert_eq!(changed.len(), 1);
    let names = |slice: &EndpointSlice| -> Vec<_> {
        slice.endpoints.iter().map(|one| one.target_ref.as_ref().unwrap().name.clone()).collect()
    };
    assert_eq!(names(&changed[0].0), names(changed[0].1), "their order stays");
    serving(&lab, "web-new");
    pass(NOTICED).await;
    assert_eq!(slices(&lab).len(), 3, "it goes where there is room");
    // A label that no selector reads changes nothing.
    let before = slices(&lab).iter().map(|slice| version(slice)).collect::<Vec<_>>();
    edit::<Pod>(&lab, "web-new", |pod| pod["metadata"]["labels"]["colour"] = "blue".into());
    pass(NOTICED).await;
    assert_eq!(slices(&lab).iter().map(|slice| version(slice)).collect::<Vec<_>>(), before);
}
