//! How long deleted pods take to go, and what can be reached meanwhile.

use super::*;

fn is_gone(world: &World) -> bool {
    get(world).is_none()
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_goes_when_its_containers_let_it() {
    let hook = |seconds: u32| json!({"lifecycle": {"preStop": {"sleep": {"seconds": seconds}}}});
    let exec = |command: Value| json!({"lifecycle": {"preStop": {"exec": {"command": command}}}});
    let deaf = json!({"ignores-sigterm": "true"});
    // The kubelet sees the deletion 0.01 s after it, and takes 0.2 s to clean up.
    let cases = [
        ("at once", json!({}), json!({}), 30, 0.21),
        ("a hook", json!({}), hook(5), 30, 5.21),
        ("a slow end", json!({"stops-in": "3s"}), json!({}), 30, 3.21),
        ("a drain", json!({"stops-in": "3s", "drains": "true"}), json!({}), 30, 3.21),
        ("a hook and a slow end", json!({"stops-in": "3s"}), hook(5), 30, 8.21),
        ("no end", deaf.clone(), json!({}), 4, 4.21),
        ("an end that takes too long", json!({"stops-in": "1m"}), json!({}), 5, 5.21),
        ("a hook beyond the grace", json!({}), hook(10), 3, 3.21),
        ("a hook beyond the grace, and no end", deaf.clone(), hook(10), 3, 5.21),
        ("a hook within the grace, and no end", deaf.clone(), hook(2), 5, 5.21),
        ("less than the least", deaf.clone(), json!({}), 1, 2.21),
        ("a command", json!({}), exec(json!(["/bin/sleep", "4"])), 30, 4.21),
        ("a shell's command", json!({}), exec(json!(["sh", "-c", "sleep 2s; kill 1 && sleep 0.5"])), 30, 2.71),
        ("another command", json!({}), exec(json!(["nginx", "-s", "quit", "5"])), 30, 0.21),
        // Of a hook's time whole seconds count: one of 1.5 s leaves three of four.
        ("a hook of a second and a half, and no end", deaf, exec(json!(["sleep", "1.5"])), 4, 4.71),
    ];
    for (what, annotations, container, grace, expected) in cases {
        let shared = still();
        create(&shared, pod_with(annotations, container, json!({"terminationGracePeriodSeconds": grace})));
        seconds(5.0).await;
        delete(&shared, None);
        assert_near(until(&shared, 60, is_gone).await, expected, what);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_deleted_pod_serves_follows_its_hook_and_its_signal() {
    let shared = still();
    let hook = json!({"lifecycle": {"preStop": {"sleep": {"seconds": 5}}}});
    create(&shared, pod(json!({"stops-in": "3s", "drains": "true"}), hook));
    seconds(5.0).await;
    let here = address(&shared);
    delete(&shared, None);
    seconds(4.9).await;
    let process = at(&shared, here, 8080).unwrap();
    assert!(!process.drains && process.ended.is_none());
    assert!(shared.read(is_ready));
    seconds(0.2).await;
    let process = at(&shared, here, 8080).unwrap();
    assert!(process.drains && process.ended.is_none());
    // It ends at 8.01; the status says so at 8.02, and the pod goes at 8.21.
    seconds(3.0).await;
    assert!(matches!(at(&shared, here, 8080).unwrap().ended, Some((_, false))));
    assert!(!shared.read(is_ready));
    assert_eq!(phase(&shared), "Succeeded");
    seconds(0.2).await;
    assert!(at(&shared, here, 8080).is_none());
    let life = process.life;
    assert!(shared.read(|world| world.kubelets.life(life).is_some()));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_does_not_drain_lets_go_at_the_signal() {
    let shared = still();
    create(&shared, pod(json!({"stops-in": "3s"}), json!({})));
    seconds(5.0).await;
    delete(&shared, None);
    seconds(0.1).await;
    assert!(matches!(at(&shared, address(&shared), 8080).unwrap().ended, Some((_, false))));
    assert!(container(&web(&shared)).state.unwrap().running.is_some());
}

#[tokio::test(start_paused = true)]
async fn readiness_is_probed_while_the_pod_ends_and_liveness_is_not() {
    let shared = still();
    let probes = json!({
        "readinessProbe": http(json!({"periodSeconds": 1, "failureThreshold": 2})),
        "livenessProbe": http(json!({"periodSeconds": 1, "failureThreshold": 1})),
    });
    create(&shared, pod(json!({"stops-in": "20s", "drains": "true"}), probes));
    seconds(5.0).await;
    delete(&shared, None);
    // It refuses from 5.01; the runs at 5.02 and 6.02 fail.
    assert_near(until(&shared, 10, |world| !is_ready(world)).await, 1.03, "not ready");
    assert_near(until(&shared, 60, is_gone).await, 20.21 - 1.03, "gone");
}

#[tokio::test(start_paused = true)]
async fn a_killed_container_says_so() {
    let shared = still();
    create(
        &shared,
        pod_with(json!({"ignores-sigterm": "true"}), json!({}), json!({"terminationGracePeriodSeconds": 4})),
    );
    seconds(5.0).await;
    delete(&shared, None);
    seconds(4.1).await;
    let ended = container(&web(&shared)).state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref(), phase(&shared).as_str()), (137, Some("Error"), "Failed"));
}

#[tokio::test(start_paused = true)]
async fn a_second_deletion_may_shorten_the_grace() {
    let shared = still();
    create(
        &shared,
        pod_with(json!({"ignores-sigterm": "true"}), json!({}), json!({"terminationGracePeriodSeconds": 60})),
    );
    seconds(5.0).await;
    delete(&shared, None);
    seconds(5.0).await;
    delete(&shared, Some(10));
    seconds(5.0).await;
    // A longer one is none.
    delete(&shared, Some(30));
    assert_near(until(&shared, 60, is_gone).await, 5.21, "gone");
    let shared = still();
    create(
        &shared,
        pod_with(json!({"ignores-sigterm": "true"}), json!({}), json!({"terminationGracePeriodSeconds": 60})),
    );
    seconds(5.0).await;
    delete(&shared, None);
    seconds(5.0).await;
    delete(&shared, Some(1));
    assert_near(until(&shared, 60, is_gone).await, 2.21, "gone, with what is left at least");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_was_deleted_by_force_runs_on_for_its_grace() {
    let shared = still();
    create(
        &shared,
        pod_with(json!({"ignores-sigterm": "true"}), json!({}), json!({"terminationGracePeriodSeconds": 10})),
    );
    seconds(5.0).await;
    let here = address(&shared);
    delete(&shared, Some(0));
    assert!(shared.read(is_gone));
    // Its name is free at once; the successor has another address.
    create(&shared, pod(json!({}), json!({})));
    seconds(9.9).await;
    assert!(at(&shared, here, 8080).unwrap().ended.is_none());
    assert_ne!(address(&shared), here);
    seconds(0.2).await;
    assert!(at(&shared, here, 8080).is_none());
    assert!(shared.read(is_ready));
}

#[tokio::test(start_paused = true)]
async fn a_pod_deleted_while_it_starts_never_runs() {
    let shared = still();
    create(&shared, pod(json!({}), json!({})));
    seconds(0.3).await;
    delete(&shared, None);
    assert_near(until(&shared, 60, is_gone).await, 0.21, "gone");
    assert!(shared.read(|world| world.kubelets.workers.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn sidecars_end_last() {
    let shared = still();
    let sidecars = json!([
        {"name": "mesh", "image": "m:1", "restartPolicy": "Always", "ports": [{"containerPort": 1}]},
        {"name": "logs", "image": "l:1", "restartPolicy": "Always", "ports": [{"containerPort": 2}]},
    ]);
    let stops = json!({"stops-in": "4s", "logs.stops-in": "1s", "mesh.ignores-sigterm": "true"});
    let spec = json!({"initContainers": sidecars, "terminationGracePeriodSeconds": 10});
    create(&shared, pod_with(stops, json!({}), spec));
    seconds(5.0).await;
    let here = address(&shared);
    delete(&shared, None);
    let ended =
        |port: u16| move |world: &World| world.kubelets.at(here, port).is_none_or(|process| process.ended.is_some());
    // The container lets go at 0.01 and is gone at 4.01; then the last sidecar at 4.01 to 5.01; the first is killed when all time is over.
    assert_near(until(&shared, 20, ended(8080)).await, 0.01, "web");
    assert_near(until(&shared, 20, ended(2)).await, 4.0, "logs");
    assert_near(until(&shared, 20, ended(1)).await, 6.0, "mesh");
    assert_near(until(&shared, 20, is_gone).await, 0.2, "gone");
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_holds_a_pod_whose_containers_have_ended() {
    let shared = still();
    let mut held = pod(json!({}), json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&shared, held);
    seconds(5.0).await;
    delete(&shared, None);
    seconds(60.0).await;
    assert_eq!(phase(&shared), "Succeeded");
    assert_eq!(web(&shared).metadata.deletion_grace_period_seconds, Some(0));
    assert!(shared.read(|world| world.kubelets.workers.is_empty()));
}
