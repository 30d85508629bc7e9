//! What keeps an autoscaler from following every whim of its metric: stabilisation windows, and how much may change at a time.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
};
use tokio::time::Instant;

use super::Memory;

/// `--horizontal-pod-autoscaler-downscale-stabilization`.
const CALM: i32 = 300;
/// What is remembered at most: no window or period may be longer.
const REMEMBERED: Duration = Duration::from_hours(1);

/// How many replicas there are to be, and what the conditions say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settled {
    pub replicas: i32,
    pub able: (&'static str, &'static str),
    pub limited: (&'static str, String),
}

/// What becomes of a recommendation.
pub(super) fn settle(
    memory: &mut Memory,
    spec: &HorizontalPodAutoscalerSpec,
    current: i32,
    wanted: i32,
    now: Instant,
) -> Settled {
    memory.wanted.push_back((now, wanted));
    memory.wanted.retain(|(at, _)| now.duration_since(*at) < REMEMBERED);
    memory.changes.retain(|(at, _)| now.duration_since(*at) < REMEMBERED);
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    let calm = calmed(memory, spec.behavior.as_ref(), current, wanted, now);
    let able = match () {
        () if calm > wanted => (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        ),
        () if calm < wanted => (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        ),
        () => ("ReadyForNewScale", "recommended size matches current size"),
    };
    let (lowest, highest) = allowed(memory, spec.behavior.as_ref(), current, now);
    let limited = match () {
        () if calm > highest.min(most) && most <= highest => {
            ("TooManyReplicas", "the desired replica count is more than the maximum replica count".to_owned())
        }
        () if calm > highest => {
            ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate".to_owned())
        }
        () if calm < lowest.max(least) && least >= lowest => {
            ("TooFewReplicas", "the desired replica count is less than the minimum replica count".to_owned())
        }
        () if calm < lowest => {
            ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate".to_owned())
        }
        () => ("DesiredWithinRange", "the desired count is within the acceptable range".to_owned()),
    };
    let replicas = calm.clamp(lowest.min(highest), highest).clamp(least.min(most), most);
    Settled { replicas, able, limited }
}

/// A recommendation that does not fall, or rise, before all have for a while.
fn calmed(
    memory: &Memory,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    current: i32,
    wanted: i32,
    now: Instant,
) -> i32 {
    let window = |rules: Option<&HPAScalingRules>, default: i32| {
        let seconds = rules.and_then(|rules| rules.stabilization_window_seconds).unwrap_or(default);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    };
    let within = |window: Duration| {
        let recent = memory.wanted.iter().filter(move |(at, _)| now.duration_since(*at) < window);
        recent.map(|(_, wanted)| *wanted)
    };
    let down = within(window(behavior.and_then(|of| of.scale_down.as_ref()), CALM)).fold(wanted, i32::max);
    let Some(behavior) = behavior else { return down };
    let up = within(window(behavior.scale_up.as_ref(), 0)).fold(wanted, i32::min);
    current.max(up).min(down)
}

/// The least and the most that there may be now.
fn allowed(
    memory: &Memory,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    current: i32,
    now: Instant,
) -> (i32, i32) {
    let Some(behavior) = behavior else { return (0, current.saturating_mul(2).max(4)) };
    let policy = |type_: &str, value| HPAScalingPolicy { period_seconds: 15, type_: type_.to_owned(), value };
    let up = [policy("Pods", 4), policy("Percent", 100)];
    let down = [policy("Percent", 100)];
    let select = |rules: Option<&HPAScalingRules>| rules.and_then(|rules| rules.select_policy.clone());
    let policies = |rules: Option<&HPAScalingRules>, default: &[HPAScalingPolicy]| {
        rules.and_then(|rules| rules.policies.clone()).unwrap_or_else(|| default.to_vec())
    };
    let changed = |seconds: i32, up: bool| -> i32 {
        let period = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let recent = memory.changes.iter().filter(|(at, by)| now.duration_since(*at) < period && (*by > 0) == up);
        recent.map(|(_, by)| by.abs()).sum()
    };
    // As many as there were when the period began.
    let began = |policy: &HPAScalingPolicy| {
        current - changed(policy.period_seconds, true) + changed(policy.period_seconds, false)
    };
    let more = |policy: &HPAScalingPolicy| match policy.type_.as_str() {
        "Pods" => began(policy) + policy.value,
        _ => percent(began(policy), 100 + policy.value, 99),
    };
    let fewer = |policy: &HPAScalingPolicy| match policy.type_.as_str() {
        "Pods" => began(policy) - policy.value,
        _ => percent(began(policy), 100 - policy.value, 0),
    };
    let (ups, downs) = (policies(behavior.scale_up.as_ref(), &up), policies(behavior.scale_down.as_ref(), &down));
    let highest = match select(behavior.scale_up.as_ref()).as_deref() {
        Some("Disabled") => Some(current),
        Some("Min") => ups.iter().map(more).min(),
        _ => ups.iter().map(more).max(),
    };
    let lowest = match select(behavior.scale_down.as_ref()).as_deref() {
        Some("Disabled") => Some(current),
        Some("Min") => downs.iter().map(fewer).max(),
        _ => downs.iter().map(fewer).min(),
    };
    (lowest.unwrap_or(0).min(current), highest.unwrap_or(i32::MAX).max(current))
}

fn percent(of: i32, percent: i32, rounding: i64) -> i32 {
    let hundredths = i64::from(of) * i64::from(percent) + rounding;
    i32::try_from(hundredths.div_euclid(100)).unwrap_or(i32::MAX)
}
