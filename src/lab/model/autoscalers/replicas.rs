//! How many replicas a metric asks for: the arithmetic of the controller's replica calculator.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::jiff::SignedDuration;

use super::metrics::{Used, request};
use super::{Target, pods_of};
use crate::lab::api::quantity::millionths;
use crate::lab::model::objects::{condition, phase};
use crate::lab::world::World;

/// `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;
/// `--horizontal-pod-autoscaler-cpu-initialization-period`.
const WARMING_UP: Duration = Duration::from_mins(5);
/// `--horizontal-pod-autoscaler-initial-readiness-delay`.
const FIRST_READY: Duration = Duration::from_secs(30);

/// What is said of a metric without a goal.
const NO_GOAL: &str = "invalid resource metric source: neither an average utilization target nor an average value (usage) \
                       target was set";

type Failed = (&'static str, String);

/// The target's pods, by what is known of them.
#[derive(Debug, Default)]
struct Groups {
    /// Used and requested, in thousandths of a core.
    ready: Vec<(f64, f64)>,
    /// What those request whose usage is not known.
    missing: Vec<f64>,
    /// What those request that are not ready yet.
    unready: Vec<f64>,
}

/// How many replicas a metric asks for, its name, and what it was.
pub(super) fn of_metric(
    world: &World,
    namespace: &str,
    target: &Target,
    metric: &MetricSpec,
) -> Result<(i32, String, MetricStatus), Failed> {
    let (name, container, wanted) = match (&metric.resource, &metric.container_resource) {
        (Some(resource), _) => (&resource.name, None, &resource.target),
        (None, Some(resource)) => (&resource.name, Some(resource.container.as_str()), &resource.target),
        (None, None) => {
            let (reason, kind) = match metric.type_.as_str() {
                "Pods" => ("FailedGetPodsMetric", "custom metrics"),
                "Object" => ("FailedGetObjectMetric", "custom metrics"),
                "External" => ("FailedGetExternalMetric", "external metrics"),
                _ => ("InvalidMetricSourceType", "metrics"),
            };
            return Err((reason, format!("unable to get metrics: no {kind} API server runs in the lab")));
        }
    };
    let reason = if container.is_some() { "FailedGetContainerResourceMetric" } else { "FailedGetResourceMetric" };
    let none = || {
        (
            reason,
            format!(
                "failed to get {name} utilization: unable to get metrics for resource {name}: no metrics returned from resource metrics API"
            ),
        )
    };
    if name != "cpu" {
        return Err(none());
    }
    let pods = pods_of(world, namespace, target);
    let groups = group(world, &pods, container).map_err(|why| (reason, why))?;
    if groups.ready.is_empty() && groups.unready.is_empty() {
        return Err(none());
    }
    if groups.ready.is_empty() {
        let why = "did not receive metrics for targeted pods (pods might be unready)";
        return Err((reason, format!("failed to get cpu utilization: {why}")));
    }
    let goal = Goal::of(wanted).ok_or_else(|| (reason, NO_GOAL.to_owned()))?;
    let replicas = replicas(&groups, goal, target.replicas);
    let status = status(&groups, goal, name, container);
    let what = match goal {
        Goal::Utilization(_) => "utilization (percentage of request)",
        Goal::Value(_) => "",
    };
    let kind = if container.is_some() { "container resource" } else { "resource" };
    Ok((replicas, format!("{name} {kind} {what}").trim_end().to_owned(), status))
}

/// What a metric was, as the autoscaler's status has it.
fn status(groups: &Groups, goal: Goal, name: &str, container: Option<&str>) -> MetricStatus {
    let (used, requested) = sums(&groups.ready);
    let current = MetricValueStatus {
        average_utilization: matches!(goal, Goal::Utilization(_)).then(|| whole(used * 100.0 / requested.max(1.0))),
        average_value: Some(Quantity(format!("{}m", whole(used / count(groups.ready.len()))))),
        ..MetricValueStatus::default()
    };
    let name = name.to_owned();
    match container {
        None => MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus { current, name }),
            ..MetricStatus::default()
        },
        Some(container) => MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus { container: container.to_owned(), current, name }),
            ..MetricStatus::default()
        },
    }
}

/// What the metric is to be.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// Percent of what is requested.
    Utilization(f64),
    /// Thousandths of a core.
    Value(f64),
}

impl Goal {
    fn of(target: &MetricTarget) -> Option<Self> {
        if let Some(percent) = target.average_utilization {
            return Some(Self::Utilization(percent.into()));
        }
        let value = millionths(&target.average_value.as_ref()?.0)? / 1000;
        i32::try_from(value).ok().map(|value| Self::Value(value.into()))
    }

    /// How much more is used than is to be.
    fn ratio(self, pods: &[(f64, f64)]) -> f64 {
        let (used, requested) = sums(pods);
        match self {
            // The controller reckons in whole percents.
            Self::Utilization(percent) => (used * 100.0 / requested.max(1.0)).floor() / percent,
            Self::Value(value) => used / count(pods.len()) / value,
        }
    }

    /// What a pod is taken to use of which nothing is known, where less is used than is to be.
    fn at_worst(self, requested: f64) -> f64 {
        match self {
            Self::Utilization(percent) => requested * percent.max(100.0) / 100.0,
            Self::Value(value) => value,
        }
    }
}

fn sums(pods: &[(f64, f64)]) -> (f64, f64) {
    pods.iter().fold((0.0, 0.0), |(used, requested), (one, other)| (used + one, requested + other))
}

fn count(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::MAX, f64::from)
}

/// A number without what is left of one; the lab has no negative ones here.
fn whole(of: f64) -> i32 {
    format!("{:.0}", of.floor()).parse().unwrap_or(i32::MAX)
}

fn replicas(groups: &Groups, goal: Goal, current: i32) -> i32 {
    let ratio = goal.ratio(&groups.ready);
    let within = |ratio: f64| (1.0 - ratio).abs() <= TOLERANCE;
    let raised = |ratio: f64, pods: usize| whole((ratio * count(pods) - 1e-9).ceil());
    let with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !with_unready && groups.missing.is_empty() {
        return if within(ratio) { current } else { raised(ratio, groups.ready.len()) };
    }
    let mut all = groups.ready.clone();
    let missing = groups.missing.iter().map(|requested| match () {
        () if ratio < 1.0 => (goal.at_worst(*requested), *requested),
        () => (0.0, *requested),
    });
    all.extend(missing);
    if with_unready {
        all.extend(groups.unready.iter().map(|requested| (0.0, *requested)));
    }
    let anew = goal.ratio(&all);
    if within(anew) || (ratio < 1.0 && anew > 1.0) || (ratio > 1.0 && anew < 1.0) {
        return current;
    }
    let wanted = raised(anew, all.len());
    if (anew < 1.0 && wanted > current) || (anew > 1.0 && wanted < current) { current } else { wanted }
}

fn group(world: &World, pods: &[Arc<Pod>], container: Option<&str>) -> Result<Groups, String> {
    let mut groups = Groups::default();
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && phase(pod) != "Failed") {
        let requested = requested(pod, container)?;
        let sample = world.autoscalers.samples.get(pod.metadata.uid.as_deref().unwrap_or_default());
        match sample.and_then(|sample| sample.used.as_ref()) {
            _ if phase(pod) == "Pending" => groups.unready.push(requested),
            None => groups.missing.push(requested),
            Some(used) if is_unready(world, pod, used) => groups.unready.push(requested),
            Some(used) => {
                let of = used.cpu.iter().filter(|(name, _)| container.is_none_or(|wanted| wanted == *name));
                groups.ready.push((of.map(|(_, cpu)| cpu).sum(), requested));
            }
        }
    }
    // Where nothing is known of any, there are no metrics.
    if groups.ready.is_empty() && pods.iter().all(|pod| !is_known(world, pod)) {
        groups.unready.clear();
    }
    Ok(groups)
}

fn is_known(world: &World, pod: &Pod) -> bool {
    let sample = world.autoscalers.samples.get(pod.metadata.uid.as_deref().unwrap_or_default());
    sample.is_some_and(|sample| sample.used.is_some())
}

/// What a pod requests, or one container of it.
fn requested(pod: &Pod, container: Option<&str>) -> Result<f64, String> {
    let all = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut sum = 0.0;
    for of in all.filter(|of| container.is_none_or(|wanted| wanted == of.name)) {
        sum += request(pod, &of.name).ok_or_else(|| {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            format!("failed to get cpu utilization: missing request for cpu in container {} of Pod {pod}", of.name)
        })?;
    }
    Ok(sum)
}

/// Whether what is known of a pod is from before it was ready.
fn is_unready(world: &World, pod: &Pod, used: &Used) -> bool {
    let after = |time: k8s_openapi::jiff::Timestamp, long: Duration| {
        time.checked_add(SignedDuration::try_from(long).unwrap_or_default()).unwrap_or(time)
    };
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else { return true };
    let since = ready.last_transition_time.as_ref().map_or(started.0, |time| time.0);
    if after(started.0, WARMING_UP) > world.wall() {
        ready.status == "False" || used.until < after(since, used.window)
    } else {
        ready.status == "False" && after(started.0, FIRST_READY) > since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(ready: &[f64], missing: usize, unready: usize, current: i32) -> i32 {
        let groups = Groups {
            ready: ready.iter().map(|used| (*used, 100.0)).collect(),
            missing: vec![100.0; missing],
            unready: vec![100.0; unready],
        };
        replicas(&groups, Goal::Utilization(60.0), current)
    }

    #[test]
    fn replicas_follow_what_is_used_unless_it_is_near_enough() {
        assert_eq!(asked(&[90.0; 3], 0, 0, 3), 5, "4.5");
        assert_eq!((asked(&[65.0; 3], 0, 0, 3), asked(&[55.0; 3], 0, 0, 3)), (3, 3));
        assert_eq!(asked(&[30.0; 4], 0, 0, 4), 2);
        let value =
            |used: f64| replicas(&Groups { ready: vec![(used, 100.0); 2], ..Groups::default() }, Goal::Value(50.0), 2);
        assert_eq!((value(100.0), value(52.0)), (4, 2));
    }

    #[test]
    fn what_is_not_known_is_taken_to_be_what_changes_least() {
        // (30 + 30 + 100) / 3 = 53 %, which is too little, and asks for 2.65.
        assert_eq!(asked(&[30.0; 2], 1, 0, 3), 3);
        // 240 % of three are 80 %: four.
        assert_eq!(asked(&[120.0; 2], 1, 0, 3), 4);
        assert_eq!(asked(&[120.0; 2], 0, 1, 3), 4);
        // Those that are not ready yet do not hold back a scale down.
        assert_eq!(asked(&[15.0; 4], 0, 1, 5), 1);
        // It would be too little then: no change.
        assert_eq!(asked(&[70.0; 2], 0, 1, 3), 3);
    }
}
