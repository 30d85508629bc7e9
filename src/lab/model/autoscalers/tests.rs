use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Memory;
use super::limits::settle;
use crate::lab::api::defaults;
use crate::lab::model::tests::{edit, field};
use crate::lab::store::named;
use crate::lab::testing::{deployment, lab, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn spec(least: i32, most: i32, behavior: &Value) -> HorizontalPodAutoscalerSpec {
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    serde_json::from_value(
        json!({"minReplicas": least, "maxReplicas": most, "scaleTargetRef": target, "behavior": behavior}),
    )
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn without_behavior_it_at_most_doubles_and_falls_after_five_minutes() {
    let (mut memory, spec, zero) = (Memory::default(), spec(2, 9, &Value::Null), Instant::now());
    let mut ask = |current: i32, wanted: i32, after: u64| {
        let settled = settle(&mut memory, &spec, current, wanted, zero + SECOND * u32::try_from(after).unwrap());
        (settled.replicas, settled.able.0, settled.limited.0)
    };
    assert_eq!(ask(1, 20, 0), (4, "ReadyForNewScale", "ScaleUpLimit"));
    assert_eq!(ask(4, 20, 15), (8, "ReadyForNewScale", "ScaleUpLimit"));
    assert_eq!(ask(8, 20, 30), (9, "ReadyForNewScale", "TooManyReplicas"));
    assert_eq!(ask(9, 5, 300), (9, "ScaleDownStabilized", "TooManyReplicas"));
    assert_eq!(ask(9, 5, 329), (9, "ScaleDownStabilized", "TooManyReplicas"));
    assert_eq!(
        ask(9, 4, 331),
        (5, "ScaleDownStabilized", "DesiredWithinRange"),
        "the highest of the last five minutes"
    );
    assert_eq!(ask(5, 0, 700), (2, "ReadyForNewScale", "TooFewReplicas"));
}

#[tokio::test(start_paused = true)]
async fn a_behavior_says_how_fast_and_how_calm() {
    let policies = json!({
        "scaleUp": {
            "stabilizationWindowSeconds": 60, "selectPolicy": "Min",
            "policies": [{"type": "Pods", "value": 3, "periodSeconds": 60}, {"type": "Percent", "value": 50, "periodSeconds": 60}],
        },
        "scaleDown": {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
    });
    let (mut memory, spec, zero) = (Memory::default(), spec(1, 100, &policies), Instant::now());
    let at = |seconds: u32| zero + SECOND * seconds;
    // What was wanted a minute ago holds it back; then the smaller of 3 and of a half more.
    assert_eq!(settle(&mut memory, &spec, 10, 10, at(0)).replicas, 10);
    let held = settle(&mut memory, &spec, 10, 30, at(30));
    assert_eq!((held.replicas, held.able.0), (10, "ScaleUpStabilized"));
    assert_eq!(settle(&mut memory, &spec, 10, 30, at(61)).replicas, 13);
    memory.changes.push_back((at(61), 3));
    assert_eq!(settle(&mut memory, &spec, 13, 30, at(90)).replicas, 13, "the minute began with ten");
    assert_eq!(settle(&mut memory, &spec, 13, 30, at(122)).replicas, 16);
    // Down by one a minute, at once.
    memory.changes.clear();
    assert_eq!(settle(&mut memory, &spec, 16, 2, at(200)).replicas, 15);
    memory.changes.push_back((at(200), -1));
    let down = settle(&mut memory, &spec, 15, 2, at(230));
    assert_eq!((down.replicas, down.limited.0), (15, "ScaleDownLimit"));
    assert_eq!(settle(&mut memory, &spec, 15, 2, at(261)).replicas, 14);
}

#[tokio::test(start_paused = true)]
async fn a_direction_can_be_switched_off_and_the_defaults_hold_for_the_other() {
    let (mut memory, now) = (Memory::default(), Instant::now());
    let spec = spec(1, 100, &json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}}));
    assert_eq!(settle(&mut memory, &spec, 10, 2, now).replicas, 10);
    assert_eq!(settle(&mut memory, &spec, 10, 50, now + SECOND).replicas, 20, "all again in 15 s");
    assert_eq!(settle(&mut memory, &spec, 2, 50, now + SECOND).replicas, 6, "or four");
}

fn make(lab: &Shared, mut object: Value) {
    let kind = named(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap()).unwrap();
    lab.with(|world| {
        defaults::apply(world, kind, &mut object);
        let wall = world.wall();
        world.store.create(kind, object, wall).unwrap();
    });
}

/// Two replicas whose one worker serves 100 a second each, a Service that is asked so much, and an autoscaler that wants half of it.
async fn shop(annotations: Value, load: &str, least: i32) -> Shared {
    let lab = lab();
    let mut web = deployment(2);
    web["spec"]["template"]["metadata"]["annotations"] = annotations;
    web["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    make(&lab, web);
    make(
        &lab,
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "shop", "annotations": {"lab.squall.dev/load": load}},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
        }),
    );
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    make(
        &lab,
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {
                "minReplicas": least, "maxReplicas": 10,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            },
        }),
    );
    pass(2 * 60 * SECOND).await;
    lab
}

fn replicas(lab: &Shared) -> Value {
    field::<Deployment>(lab, "web", "/spec/replicas")
}

fn condition(lab: &Shared, type_: &str) -> (String, String, String) {
    let all = field::<HorizontalPodAutoscaler>(lab, "web", "/status/conditions");
    let found = all.as_array().unwrap().iter().find(|known| known["type"] == type_).unwrap().clone();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}

fn serving() -> Value {
    json!({"lab.squall.dev/answers-in": "10ms", "lab.squall.dev/workers": "1"})
}

#[tokio::test(start_paused = true)]
async fn busy_workers_bring_more_replicas_and_idle_ones_fewer_much_later() {
    let lab = shop(serving(), "140/s", 2).await;
    // Two are busy for 70 % of the time: 1.4 times too much, so 2.8 are wanted. Three are for 47 %, near enough.
    assert_eq!(replicas(&lab), 3);
    pass(2 * 60 * SECOND).await;
    assert_eq!(replicas(&lab), 3);
    let active = condition(&lab, "ScalingActive");
    assert_eq!((active.0.as_str(), active.1.as_str()), ("True", "ValidMetricFound"));
    let used =
        field::<HorizontalPodAutoscaler>(&lab, "web", "/status/currentMetrics/0/resource/current/averageUtilization");
    assert!((40..=53).contains(&used.as_i64().unwrap()), "{used}");
    edit::<Service>(&lab, "web", |service| service["metadata"]["annotations"] = json!({}));
    pass(4 * 60 * SECOND).await;
    assert_eq!(replicas(&lab), 3, "it waits for five minutes");
    pass(90 * SECOND).await;
    assert_eq!(replicas(&lab), 2);
    assert_eq!(condition(&lab, "ScalingLimited").1, "TooFewReplicas");
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_followed_in_steps() {
    let lab = shop(serving(), "1000/s", 2).await;
    // Five times too much for two: all again every 15 s, as far as what is new counts already. In the end 10, which is the most.
    pass(5 * 60 * SECOND).await;
    assert_eq!(replicas(&lab), 10);
    assert_eq!(condition(&lab, "ScalingLimited").1, "TooManyReplicas");
}

#[tokio::test(start_paused = true)]
async fn without_metrics_nothing_is_scaled_but_the_bounds_hold() {
    let lab = shop(json!({}), "140/s", 2).await;
    assert_eq!(replicas(&lab), 2);
    let why = "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for \
               resource cpu: no metrics returned from resource metrics API";
    let expected = ("False".to_owned(), "FailedGetResourceMetric".to_owned(), why.to_owned());
    assert_eq!(condition(&lab, "ScalingActive"), expected);
    edit::<HorizontalPodAutoscaler>(&lab, "web", |scaler| scaler["spec"]["minReplicas"] = 4.into());
    pass(16 * SECOND).await;
    assert_eq!(replicas(&lab), 4);
    assert!(field::<HorizontalPodAutoscaler>(&lab, "web", "/status/lastScaleTime").is_string());
    edit::<Deployment>(&lab, "web", |web| web["spec"]["replicas"] = 0.into());
    pass(60 * SECOND).await;
    assert_eq!(replicas(&lab), 0, "it is switched off");
    assert_eq!(condition(&lab, "ScalingActive").1, "ScalingDisabled");
    let none = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"});
    edit::<HorizontalPodAutoscaler>(&lab, "web", |scaler| scaler["spec"]["scaleTargetRef"] = none);
    pass(16 * SECOND).await;
    assert_eq!(condition(&lab, "AbleToScale").1, "FailedGetScale");
}
