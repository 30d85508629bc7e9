//! Nodes that lose their power, and get it back before anybody misses them.

use super::*;
use crate::lab::model::kubelet::power_changed;
use crate::lab::model::nodes::{cut_power, restore_power};
use crate::lab::testing::node;
use k8s_openapi::api::core::v1::Node;

fn cut(shared: &Shared) {
    shared.with(|world| cut_power(world, "node1"));
}

fn restore(shared: &Shared) {
    shared.with(|world| restore_power(world, "node1"));
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_ends_all_without_a_word() {
    let shared = still();
    create(&shared, pod(json!({"crashes-after": "20s"}), json!({})));
    seconds(5.0).await;
    let before = web(&shared);
    let here = address(&shared);
    cut(&shared);
    assert!(matches!(at(&shared, here, 8080).unwrap().ended, Some((_, true))));
    assert!(matches!(at(&shared, here, 1).unwrap().ended, Some((_, true))));
    seconds(20.0).await;
    assert_eq!(web(&shared).metadata.resource_version, before.metadata.resource_version);
    delete(&shared, None);
    seconds(20.0).await;
    assert!(shared.read(get).is_some());
    assert!(at(&shared, here, 8080).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_gone_with_its_node() {
    let shared = still();
    create(&shared, pod(json!({}), json!({})));
    seconds(5.0).await;
    let here = address(&shared);
    shared.with(|world| world.store.remove(number_of::<Node>(), &ObjectKey::new("", "node1")));
    assert!(matches!(at(&shared, here, 8080).unwrap().ended, Some((_, true))));
    create(&shared, node("node1", "a"));
    assert_near(until(&shared, 10, |world| restarts(world) == 1).await, 1.01, "again");
}

#[tokio::test(start_paused = true)]
async fn what_ran_starts_again_when_the_power_is_back() {
    let shared = still();
    create(&shared, pod(json!({}), json!({})));
    seconds(5.0).await;
    let here = address(&shared);
    let life = at(&shared, here, 8080).unwrap().life;
    cut(&shared);
    seconds(30.0).await;
    restore(&shared);
    assert_near(until(&shared, 10, |world| !is_ready(world)).await, 0.01, "not ready");
    // It starts 0.7 s after the power is back, seen a second after that.
    assert_near(until(&shared, 10, is_ready).await, 1.0, "ready");
    let status = container(&web(&shared));
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((status.restart_count, last.exit_code, last.reason.as_deref()), (1, 255, Some("Unknown")));
    let process = at(&shared, address(&shared), 8080).unwrap();
    assert!(process.ended.is_none() && process.life != life);
    assert!(address(&shared) != here && at(&shared, here, 8080).is_none());
    assert!(matches!(shared.read(|world| world.kubelets.life(life).unwrap().ended), Some((_, true))));
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_meanwhile_goes_when_the_power_is_back() {
    let shared = still();
    create(&shared, pod(json!({"ignores-sigterm": "true"}), json!({})));
    seconds(5.0).await;
    cut(&shared);
    seconds(10.0).await;
    delete(&shared, None);
    seconds(10.0).await;
    restore(&shared);
    assert_near(until(&shared, 10, |world| get(world).is_none()).await, 0.2, "gone");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_ending_at_the_cut_goes_when_the_power_is_back() {
    let shared = still();
    create(&shared, pod(json!({"ignores-sigterm": "true"}), json!({})));
    seconds(5.0).await;
    delete(&shared, None);
    seconds(5.0).await;
    cut(&shared);
    seconds(30.0).await;
    assert!(shared.read(get).is_some());
    restore(&shared);
    assert_near(until(&shared, 10, |world| get(world).is_none()).await, 0.2, "gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_api_no_more_does_not_come_back() {
    let shared = still();
    create(&shared, pod(json!({}), json!({})));
    seconds(5.0).await;
    let here = address(&shared);
    cut(&shared);
    delete(&shared, Some(0));
    seconds(30.0).await;
    // Whoever asks there gets no answer, not even a refusal.
    assert!(matches!(at(&shared, here, 8080).unwrap().ended, Some((_, true))));
    restore(&shared);
    seconds(5.0).await;
    assert!(at(&shared, here, 8080).is_none());
    assert!(shared.read(|world| world.kubelets.workers.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_restarts_has_failed_after_a_cut() {
    let shared = still();
    create(&shared, pod_with(json!({}), json!({}), json!({"restartPolicy": "Never"})));
    seconds(5.0).await;
    cut(&shared);
    seconds(5.0).await;
    assert_eq!(phase(&shared), "Running");
    restore(&shared);
    seconds(0.1).await;
    assert_eq!(phase(&shared), "Failed");
}

#[tokio::test(start_paused = true)]
async fn probes_of_a_kubelet_that_just_started_are_spread_over_their_period() {
    let shared = still();
    for number in 0..8 {
        let mut next = pod(json!({"starts-in": "0s"}), json!({"readinessProbe": http(json!({"periodSeconds": 30}))}));
        next["metadata"]["name"] = format!("web-{number}").into();
        create(&shared, next);
    }
    let ready = |world: &World| world.store.list::<Pod>(Some("shop")).filter(|pod| objects::is_ready(pod)).count();
    assert_near(until(&shared, 10, |world| ready(world) == 8).await, 1.031, "ready");
    cut(&shared);
    restore(&shared);
    seconds(0.1).await;
    assert_eq!(shared.read(ready), 0);
    // Without the spread all would be found ready as soon as they run.
    seconds(14.9).await;
    let half = shared.read(ready);
    assert!((1..8).contains(&half), "{half}");
    seconds(16.0).await;
    assert_eq!(shared.read(ready), 8);
    // A power that did not change is no restart.
    shared.with(|world| power_changed(world, "node1"));
    seconds(1.0).await;
    assert_eq!(shared.read(ready), 8);
}
