//! When probes find what.

use super::*;

/// Seconds from a pod's creation until it is ready.
async fn ready_after(annotations: Value, container: Value, limit: u64) -> f64 {
    let shared = still();
    create(&shared, pod(annotations, container));
    until(&shared, limit, is_ready).await
}

#[tokio::test(start_paused = true)]
async fn a_pod_becomes_ready_when_arithmetic_says() {
    let inf = f64::INFINITY;
    let every = |seconds: u32| json!({"readinessProbe": http(json!({"periodSeconds": seconds}))});
    // Its container starts at 0.71 and listens 0.3 s after that; the kubelet sees it run at 1.01, and at 1.02 a readiness probe runs out of
    // turn. The workers of the other probes tick from 0.01. A result is in the status 0.01 later.
    let cases = [
        ("no probe", json!({}), json!({}), 1.02),
        ("the next period", json!({"starts-in": "1s"}), every(1), 2.031),
        ("the default period", json!({"starts-in": "1s"}), json!({"readinessProbe": http(json!({}))}), 11.031),
        ("at once", json!({"starts-in": "0s"}), json!({"readinessProbe": http(json!({}))}), 1.031),
        (
            "a delay, counted from the whole second",
            json!({}),
            json!({"readinessProbe": http(json!({"periodSeconds": 1, "initialDelaySeconds": 5}))}),
            5.031,
        ),
        (
            "three in a row",
            json!({"starts-in": "0s"}),
            json!({"readinessProbe": http(json!({"periodSeconds": 2, "successThreshold": 3}))}),
            5.031,
        ),
        (
            "a startup probe, and the readiness probe after it",
            json!({"starts-in": "12s"}),
            json!({
                "startupProbe": http(json!({"periodSeconds": 5, "failureThreshold": 30})),
                "readinessProbe": http(json!({"periodSeconds": 60})),
            }),
            15.031,
        ),
        ("a startup probe alone", json!({}), json!({"startupProbe": http(json!({"periodSeconds": 5}))}), 5.021),
        ("a slow start", json!({"starts-in": "12s"}), every(5), 16.031),
        ("slow answers", json!({"answers-in": "2s"}), every(1), inf),
        (
            "slow answers and patience",
            json!({"answers-in": "2s", "starts-in": "0s"}),
            json!({"readinessProbe": http(json!({"periodSeconds": 1, "timeoutSeconds": 3}))}),
            3.03,
        ),
        ("errors", json!({"status": "503"}), every(1), inf),
        ("another port", json!({}), json!({"readinessProbe": {"httpGet": {"port": 9090}, "periodSeconds": 1}}), inf),
        (
            "a port by its name",
            json!({}),
            json!({"readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1}}),
            1.031,
        ),
        (
            "a connection, though answers are slow",
            json!({"answers-in": "2s"}),
            json!({"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}),
            1.03,
        ),
        ("a command", json!({}), json!({"readinessProbe": {"exec": {"command": ["ok"]}, "periodSeconds": 1}}), 1.031),
        ("gRPC", json!({}), json!({"readinessProbe": {"grpc": {"port": 8080}, "periodSeconds": 1}}), 1.031),
    ];
    for (what, annotations, container, expected) in cases {
        assert_near(ready_after(annotations, container, 40).await, expected, what);
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_goes_and_comes_with_the_application() {
    let shared = still();
    let probes = json!({
        "readinessProbe": http(json!({"periodSeconds": 5, "failureThreshold": 2})),
        "livenessProbe": http(json!({"periodSeconds": 20, "failureThreshold": 1})),
    });
    create(&shared, pod(json!({"starts-in": "0s", "hangs-after": "20s"}), probes));
    assert_near(until(&shared, 5, is_ready).await, 1.031, "ready");
    // It hangs at 20.71; runs at 21.02 and 26.02 time out after a second each.
    assert_near(until(&shared, 60, |world| !is_ready(world)).await, 27.03 - 1.031, "not ready");
    // Its liveness is asked at 20.01 and 40.01; the last run times out at 41.01, and the container restarts at once, which is seen at 42.01.
    assert_near(until(&shared, 60, is_ready).await, 42.031 - 27.03, "ready again");
    assert_eq!(shared.read(restarts), 1);
    // The same again: it hangs at 61.01; runs at 62.02 and 67.02 time out.
    assert_near(until(&shared, 60, |world| !is_ready(world)).await, 68.03 - 42.031, "not ready again");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_when_the_application_hangs_is_not_answered() {
    let shared = still();
    // Runs at 1.02, 2.02, …, of half a second each; it hangs at 3.21, in the middle of one, which times out at 4.02.
    let probe = json!({"readinessProbe": http(json!({"periodSeconds": 1, "failureThreshold": 1}))});
    create(&shared, pod(json!({"starts-in": "0s", "answers-in": "500ms", "hangs-after": "2500ms"}), probe));
    assert_near(until(&shared, 5, is_ready).await, 1.53, "ready");
    assert_near(until(&shared, 5, |world| !is_ready(world)).await, 4.03 - 1.53, "not ready");
}

#[tokio::test(start_paused = true)]
async fn a_hung_application_is_still_connected_to() {
    let shared = still();
    let probe = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    create(&shared, pod(json!({"hangs-after": "2s"}), json!({"readinessProbe": probe})));
    seconds(10.0).await;
    assert!(shared.read(is_ready));
    assert!(at(&shared, address(&shared), 8080).unwrap().hangs.is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_for_a_pod_whose_probes_can_find_nothing_new() {
    let shared = still();
    let every = |period: u32| http(json!({"periodSeconds": period}));
    let probes = json!({"readinessProbe": every(1), "livenessProbe": every(2), "startupProbe": every(1)});
    create(&shared, pod(json!({}), probes));
    seconds(30.0).await;
    assert!(shared.read(is_ready));
    let planned = |world: &World| {
        let now = Instant::now();
        world.kubelets.workers.values().any(|worker| worker.planned.is_some_and(|at| at > now))
    };
    assert!(!shared.read(planned));
}

#[tokio::test(start_paused = true)]
async fn a_readiness_gate_is_another_s_to_open() {
    let shared = still();
    create(&shared, pod_with(json!({}), json!({}), json!({"readinessGates": [{"conditionType": "example.com/in"}]})));
    seconds(5.0).await;
    let condition = objects::condition(&web(&shared), "Ready").cloned().unwrap();
    assert_eq!((condition.status.as_str(), condition.reason.as_deref()), ("False", Some("ReadinessGatesNotReady")));
    assert_eq!(objects::condition(&web(&shared), "ContainersReady").unwrap().status, "True");
    shared.with(|world| {
        let now = world.time();
        world.store.update::<Pod>("shop", "web", |pod| {
            let open = serde_json::from_value(json!({"type": "example.com/in", "status": "True"})).unwrap();
            objects::set_condition(pod, open, &now);
        })
    });
    assert_near(until(&shared, 5, is_ready).await, 0.02, "ready");
}

#[tokio::test(start_paused = true)]
async fn liveness_that_cannot_wait_kills_again_and_again_and_is_held_back() {
    let shared = still();
    let probe = json!({"livenessProbe": http(json!({"periodSeconds": 10}))});
    create(&shared, pod(json!({"starts-in": "1m"}), probe));
    // It ticks from 0.01: three failures in a row at 30.01, 60.01, …; the restarts follow at once, as the one before each is long ago, and are seen
    // a second later.
    for restart in 1..=4 {
        let took = until(&shared, 60, |world| restarts(world) == restart).await;
        assert_near(took, if restart == 1 { 31.02 } else { 30.0 }, "restart");
    }
    // By then a restart waits 40 s for the end before it, at 120.01: the one at 150.01 does, and from then on.
    let held = until(&shared, 60, |world| is_in(world, "waiting"));
    assert_near(held.await, 30.0, "held back");
    assert_eq!(waits(&shared), "CrashLoopBackOff");
    let message = container(&web(&shared)).state.unwrap().waiting.unwrap().message.unwrap();
    assert!(message.starts_with("back-off 40s restarting failed container=web pod=web_shop("), "{message}");
    let again = until(&shared, 120, |world| restarts(world) == 5).await;
    // The kubelet looks every 10 to 15 s, at its ticks: from 190.01 on, when the 40 s are over, to 204.01; it was held back at 151.02.
    assert!((39.99..=54.01).contains(&again), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_may_give_less_time_to_end() {
    let shared = still();
    let probe = json!({"livenessProbe": http(json!({"periodSeconds": 10, "terminationGracePeriodSeconds": 5}))});
    create(&shared, pod(json!({"starts-in": "1m", "ignores-sigterm": "true"}), probe));
    assert_near(until(&shared, 60, |world| restarts(world) == 1).await, 36.02, "restart");
}
