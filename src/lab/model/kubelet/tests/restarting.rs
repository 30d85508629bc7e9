//! What happens when containers end by themselves.

use super::*;

fn code(shared: &Shared) -> Option<i32> {
    container(&web(shared)).state?.terminated.map(|terminated| terminated.exit_code)
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_followed_by_a_restart_at_once_and_then_by_ever_later_ones() {
    let shared = still();
    create(&shared, pod(json!({"crashes-after": "1s"}), json!({})));
    // It ends at 1.71, which is seen at 2.01; at 2.02 it starts again; that is seen at 3.01.
    assert_near(until(&shared, 5, |world| is_in(world, "terminated")).await, 2.02, "end");
    assert_eq!(code(&shared), Some(1));
    assert!(!shared.read(is_ready));
    assert_near(until(&shared, 5, |world| restarts(world) == 1).await, 1.0, "restart");
    let last = container(&web(&shared)).last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
    // It ends at 3.02, which is seen at 4.01. The kubelet looks again 10 to 15 s after 4.02, at its next tick: from 15.01 to 20.01, when its 10 s
    // of waiting are over. The start shows a second and 0.01 later.
    let second = until(&shared, 60, |world| restarts(world) == 2).await;
    assert!((12.99..=18.01).contains(&second), "{second}");
    // Started at a tick it ends at the next one, which sees that. It waits for 20 s from there: the kubelet looks after 11 to 16 s, in vain, and
    // after 10 to 15 s more. Both starts show as long after they happened.
    let third = until(&shared, 60, |world| restarts(world) == 3).await;
    assert!((20.99..=32.01).contains(&third), "{third}");
    seconds(20.0).await;
    assert_eq!(waits(&shared), "CrashLoopBackOff");
    let process = at(&shared, address(&shared), 8080).unwrap();
    assert!(matches!(process.ended, Some((_, false))));
    assert_eq!(phase(&shared), "Running");
}

#[tokio::test(start_paused = true)]
async fn a_restart_after_a_long_run_does_not_wait() {
    let shared = still();
    create(&shared, pod(json!({"crashes-after": "11m"}), json!({})));
    for restart in 1..=4 {
        let took = until(&shared, 900, |world| restarts(world) == restart).await;
        // From 0.71 to 660.71, seen at 661.01; it starts at 661.02, seen at 662.01. From then on each takes 660 s and what is left of a second.
        assert_near(took, if restart == 1 { 662.02 } else { 661.0 }, "restart");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_process_has_a_new_life_at_the_same_address() {
    let shared = still();
    create(&shared, pod(json!({"crashes-after": "5s"}), json!({})));
    seconds(3.0).await;
    let here = address(&shared);
    let first = at(&shared, here, 8080).unwrap();
    seconds(4.0).await;
    let second = at(&shared, here, 8080).unwrap();
    assert_ne!(first.life, second.life);
    assert!(second.ended.is_none() && address(&shared) == here);
    let ended = shared.read(|world| world.kubelets.life(first.life).and_then(|process| process.ended));
    assert!(matches!(ended, Some((_, false))));
}

#[tokio::test(start_paused = true)]
async fn the_restart_policy_says_what_an_end_means() {
    let cases = [
        ("Never", "ends-after", "Succeeded", 0),
        ("Never", "crashes-after", "Failed", 0),
        ("OnFailure", "ends-after", "Succeeded", 0),
        ("OnFailure", "crashes-after", "Running", 1),
        ("Always", "ends-after", "Running", 1),
    ];
    for (policy, what, expected, least) in cases {
        let shared = still();
        create(&shared, pod_with(json!({what: "2s"}), json!({}), json!({"restartPolicy": policy})));
        seconds(2.5).await;
        assert_eq!(phase(&shared), "Running", "{policy} {what}");
        // It ends at 2.71, seen at 3.01; if it starts again that is seen at 4.01.
        seconds(1.6).await;
        assert_eq!(phase(&shared), expected, "{policy} {what}");
        assert_eq!(shared.read(restarts), least, "{policy} {what}");
        if expected != "Running" {
            let reason = objects::condition(&web(&shared), "Ready").and_then(|condition| condition.reason.clone());
            assert_eq!(reason.as_deref(), Some(if expected == "Failed" { "PodFailed" } else { "PodCompleted" }));
            assert!(shared.read(|world| world.kubelets.workers.is_empty()));
            delete(&shared, None);
            assert!(shared.read(get).is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_done_when_its_sidecars_have_ended_after_it() {
    let shared = still();
    let sidecar = json!([{"name": "mesh", "image": "m:1", "restartPolicy": "Always"}]);
    let spec = json!({"restartPolicy": "Never", "initContainers": sidecar});
    create(&shared, pod_with(json!({"ends-after": "2s", "mesh.stops-in": "3s"}), json!({}), spec));
    // The sidecar starts at 0.71, the container at 1.02; its end is seen at 4.01, and the kubelet ends the sidecar from 4.02 to 7.02.
    seconds(4.1).await;
    assert_eq!((phase(&shared).as_str(), code(&shared)), ("Running", Some(0)));
    assert_near(
        until(&shared, 20, |world| get(world).is_some_and(|pod| objects::is_finished(&pod))).await,
        7.03 - 4.1,
        "done",
    );
    assert_eq!(phase(&shared), "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let shared = still();
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "first", "image": "i:1"}]});
    create(&shared, pod_with(json!({"first.crashes-after": "1s", "first.init": "2s"}), json!({}), spec));
    assert_near(
        until(&shared, 20, |world| get(world).is_some_and(|pod| objects::phase(&pod) == "Failed")).await,
        2.02,
        "failed",
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_runs_no_longer_than_its_deadline() {
    let shared = still();
    create(&shared, pod_with(json!({"stops-in": "1s"}), json!({}), json!({"activeDeadlineSeconds": 5})));
    seconds(5.5).await;
    assert_eq!(phase(&shared), "Running");
    assert_near(
        until(&shared, 20, |world| get(world).is_some_and(|pod| objects::is_finished(&pod))).await,
        0.52,
        "over",
    );
    let status = web(&shared).status.clone().unwrap();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("DeadlineExceeded")));
}
