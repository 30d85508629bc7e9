//! How pods start: sandboxes, addresses, init containers, images, and what annotations say.

use super::*;
use crate::lab::testing::node;

fn named(name: &str, node: &str, spec: Value) -> Value {
    let mut pod = pod_with(json!({}), json!({}), spec);
    pod["metadata"]["name"] = name.into();
    pod["spec"]["nodeName"] = node.into();
    pod
}

fn ip(shared: &Shared, name: &str) -> String {
    let pod = shared.read(|world| world.store.get::<Pod>("shop", name)).unwrap();
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_start_shows_in_the_status_step_by_step() {
    let shared = still();
    create(&shared, pod(json!({"starts-in": "2s"}), json!({"readinessProbe": http(json!({"periodSeconds": 1}))})));
    seconds(0.1).await;
    assert_eq!((phase(&shared).as_str(), waits(&shared).as_str()), ("Pending", "ContainerCreating"));
    let status = web(&shared).status.clone().unwrap();
    assert!(status.start_time.is_some() && status.pod_ip.is_none());
    assert_eq!(status.host_ip.as_deref(), Some("192.168.0.1"));
    let holds = |name: &str| objects::condition(&web(&shared), name).map(|condition| condition.status.clone());
    assert_eq!(holds("PodReadyToStartContainers").as_deref(), Some("False"));
    assert_eq!(holds("Initialized").as_deref(), Some("True"));
    seconds(0.85).await;
    assert_eq!(phase(&shared), "Pending", "it runs, and its kubelet has not seen that");
    seconds(0.15).await;
    assert_eq!(phase(&shared), "Running");
    let web_container = container(&web(&shared));
    assert!(web_container.state.unwrap().running.is_some());
    assert_eq!((web_container.ready, web_container.started, web_container.restart_count), (false, Some(true), 0));
    assert_eq!(holds("PodReadyToStartContainers").as_deref(), Some("True"));
    let unready = objects::condition(&web(&shared), "ContainersReady").cloned().unwrap();
    assert_eq!(unready.message.as_deref(), Some("containers with unready status: [web]"));
    // It listens at 2.71, and is probed at 1.02, 2.02 and 3.02.
    assert_near(until(&shared, 5, is_ready).await, 3.031 - 1.1, "ready");
    assert!(shared.read(is_ready) && container(&web(&shared)).ready);
    let process = at(&shared, address(&shared), 8080).unwrap();
    assert_eq!((process.pod.name.as_str(), process.status), ("web", 200));
    assert!(process.listens.is_some() && process.ended.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_application_listens_when_it_has_started() {
    let shared = still();
    create(&shared, pod(json!({"starts-in": "5s"}), json!({})));
    seconds(5.7).await;
    assert!(at(&shared, address(&shared), 8080).unwrap().listens.is_none());
    seconds(0.02).await;
    assert!(at(&shared, address(&shared), 8080).unwrap().listens.is_some());
}

#[tokio::test(start_paused = true)]
async fn addresses_say_the_node_and_are_nobody_else_s() {
    let shared = still();
    for (name, node) in [("one", "node1"), ("two", "node1"), ("three", "node2")] {
        create(&shared, named(name, node, json!({})));
    }
    create(&shared, named("host", "node2", json!({"hostNetwork": true})));
    seconds(2.0).await;
    let all: Vec<String> = ["one", "two", "three", "host"].iter().map(|name| ip(&shared, name)).collect();
    assert_eq!(all, ["10.244.1.2", "10.244.1.3", "10.244.2.2", "192.168.0.2"]);
    assert!(shared.read(|world| world.kubelets.at("10.244.3.2".parse().unwrap(), 8080).is_none()));
}

#[tokio::test(start_paused = true)]
async fn a_port_belongs_to_the_container_that_names_it() {
    let shared = still();
    let second = json!({"name": "metrics", "image": "m:1", "ports": [{"containerPort": 9100}]});
    let mut two = pod(json!({"metrics.starts-in": "2s", "metrics.status": "404"}), json!({}));
    two["spec"]["containers"].as_array_mut().unwrap().push(second);
    create(&shared, two);
    seconds(1.5).await;
    let here = address(&shared);
    let process = |port| at(&shared, here, port).unwrap();
    assert!(process(8080).listens.is_some());
    assert!(process(9100).listens.is_none());
    assert_eq!(process(9100).status, 404);
    // A port of neither is refused by whoever has the address.
    assert!(process(7).listens.is_none() && process(7).ended.is_none());
    assert_ne!(process(7).life, process(9100).life);
    seconds(1.3).await;
    let listening = process(9100);
    assert!(listening.listens.is_some());
    let known = shared.read(|world| world.kubelets.life(listening.life).map(|process| process.ports.clone()));
    assert_eq!(known, Some(vec![9100]));
}

#[tokio::test(start_paused = true)]
async fn a_container_without_ports_listens_at_any() {
    let shared = still();
    create(&shared, pod(json!({}), json!({"ports": []})));
    seconds(2.0).await;
    assert!(at(&shared, address(&shared), 4711).unwrap().listens.is_some());
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_the_other_before_the_rest() {
    let shared = still();
    let init = json!([{"name": "first", "image": "i:1"}, {"name": "second", "image": "i:1"}]);
    create(&shared, pod_with(json!({"init": "2s", "second.init": "1s"}), json!({}), json!({"initContainers": init})));
    seconds(1.0).await;
    assert_eq!((phase(&shared).as_str(), waits(&shared).as_str()), ("Pending", "PodInitializing"));
    let why = objects::condition(&web(&shared), "Initialized").cloned().unwrap();
    assert_eq!(why.message.as_deref(), Some("containers with incomplete status: [first second]"));
    // 0.71 to 2.71, seen at 3.01; 3.02 to 4.02, seen at 5.01; the container starts at 5.02, which is seen at 6.01.
    assert_near(until(&shared, 20, is_ready).await, 6.02 - 1.0, "ready");
    let status = web(&shared).status.clone().unwrap();
    let codes: Vec<_> = status
        .init_container_statuses
        .unwrap()
        .iter()
        .map(|c| c.state.clone().unwrap().terminated.unwrap().exit_code)
        .collect();
    assert_eq!(codes, [0, 0]);
    assert_eq!(objects::condition(&web(&shared), "Initialized").unwrap().status, "True");
}

#[tokio::test(start_paused = true)]
async fn an_init_container_that_fails_is_tried_again_and_holds_the_others_up() {
    let shared = still();
    let init = json!([{"name": "first", "image": "i:1"}]);
    create(&shared, pod_with(json!({"first.crashes-after": "100ms"}), json!({}), json!({"initContainers": init})));
    seconds(60.0).await;
    let status = web(&shared).status.clone().unwrap();
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert!(status.init_container_statuses.unwrap()[0].restart_count >= 2);
    assert_eq!(waits(&shared), "PodInitializing");
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_must_have_started_before_the_rest_and_goes_on() {
    let shared = still();
    let startup = json!({"tcpSocket": {"port": 15001}, "periodSeconds": 1, "failureThreshold": 9});
    let sidecar = json!([{"name": "mesh", "image": "m:1", "restartPolicy": "Always", "ports": [{"containerPort": 15001}], "startupProbe": startup}]);
    create(&shared, pod_with(json!({"mesh.starts-in": "3s"}), json!({}), json!({"initContainers": sidecar})));
    // It listens at 3.71; its startup probe runs at 4.01 and lets the container start at 4.02, which is seen at 5.01.
    assert_near(until(&shared, 20, is_ready).await, 5.02, "ready");
    assert!(at(&shared, address(&shared), 15001).unwrap().listens.is_some());
    assert_eq!(phase(&shared), "Running");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_pulled_once_per_node() {
    let shared = still();
    create(&shared, pod(json!({"pull": "4s"}), json!({})));
    // It starts at 4.71, seen at 5.01. The second of the node starts at 5.73, seen at 6.01; the other node's kubelet takes its first pod up
    // at 6.03, which starts at 9.73, seen at 10.03.
    assert_near(until(&shared, 20, is_ready).await, 5.02, "the first");
    for (name, node, expected) in [("here", "node1", 1.0), ("there", "node2", 4.02)] {
        let mut next = named(name, node, json!({}));
        next["metadata"]["annotations"] = json!({"lab.squall.dev/pull": "true"});
        create(&shared, next);
        let ready = |world: &World| world.store.get::<Pod>("shop", name).is_some_and(|pod| objects::is_ready(&pod));
        assert_near(until(&shared, 20, ready).await, expected, name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_annotation_is_named_and_may_be_mended() {
    let cases = [
        ("starts-in", "5", "annotation lab.squall.dev/starts-in: a duration needs a unit, `5` has none"),
        ("drains", "yes", "annotation lab.squall.dev/drains: `yes` is neither true nor false"),
        ("web.status", "99", "annotation lab.squall.dev/web.status: `99` is no HTTP status"),
        ("other.init", "1s", "annotation lab.squall.dev/other.init: the pod has no container other"),
        ("start-in", "5s", "annotation lab.squall.dev/start-in: there is no start-in, only starts-in, "),
    ];
    for (name, value, expected) in cases {
        let shared = still();
        create(&shared, pod(json!({name: value}), json!({})));
        seconds(2.0).await;
        let waiting = container(&web(&shared)).state.unwrap().waiting.unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("CreateContainerConfigError"), "{name}");
        let message = waiting.message.unwrap();
        assert!(message.starts_with(expected), "{message}");
        assert_eq!(phase(&shared), "Pending");
        shared.with(|world| world.store.update::<Pod>("shop", "web", |pod| pod.metadata.annotations = None));
        // Seen at 2.01, it starts at 2.02, which is seen at 3.01.
        assert_near(until(&shared, 5, is_ready).await, 1.02, name);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_its_node_to_be_there() {
    let shared = still();
    create(&shared, named("web", "node9", json!({})));
    seconds(10.0).await;
    assert!(web(&shared).status.is_none());
    create(&shared, node("node9", "a"));
    assert_near(until(&shared, 5, is_ready).await, 1.01, "ready");
}
