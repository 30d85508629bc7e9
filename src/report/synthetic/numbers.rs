//! The numbers of a run that never was: how available its streams were, and how they compare.

use std::collections::BTreeMap;

use super::script::{SECOND, Script};
use crate::probe::{Class, Reach, StreamKind};
use crate::record::{
    Availability, BadSeconds, BudgetBurn, Comparison, FailureRun, GrayFailure, Micros, Shift, Standing, Target, What,
    WorstWindow,
};

/// What the fresh stream of `web` came to: 1.2 s of failure.
pub(super) fn availability(script: &mut Script) {
    let worst = |seconds: Micros, success: f64| WorstWindow {
        window_us: seconds * SECOND,
        success,
        from: 20 * SECOND + 350_000,
    };
    let burn = |objective: f64, budget_us: Micros, share: f64| BudgetBurn { objective, days: 30, budget_us, share };
    script.add(
        script.end + 150_000,
        What::Availability(Availability {
            probe: "web".to_owned(),
            stream: StreamKind::Fresh,
            phase: None,
            downtime_us: 1_140_000,
            longest_failure: Some(FailureRun {
                from: 20 * SECOND + 350_000,
                to: Some(20 * SECOND + 930_000),
                length_us: 580_000,
                least_us: 575_000,
                most_us: Some(585_000),
                bad: 116,
            }),
            seconds: BadSeconds {
                measured: 80,
                errored: 2,
                severe: 2,
                unavailable: 0,
                severe_ratio: 0.3,
                enter: 3,
                leave: 3,
            },
            worst: vec![
                worst(1, 0.03),
                worst(5, 0.772),
                worst(10, 0.886),
                worst(30, 0.962),
                worst(60, 0.981),
                worst(80, 0.985_7),
            ],
            budgets: vec![burn(0.999, 2_592 * SECOND, 0.00044)],
            gray: Some(GrayFailure {
                service: "shop/web".to_owned(),
                endpoints: 3,
                bad_while_ready_us: 0,
                good_while_not_ready_us: 4_800_000,
                blind_us: 0,
            }),
        }),
    );
}

/// *After* against *before* of the fresh stream: slower at p90, and a p99 that the samples can't tell of.
pub(super) fn comparison(script: &mut Script) {
    let shift = |measure: &str, before: f64, after: f64, interval, margin, standing| Shift {
        measure: measure.to_owned(),
        before,
        after,
        interval: Some(interval),
        margin,
        standing,
        reason: String::new(),
    };
    let too_few = "too few seconds hold its slowest requests".to_owned();
    script.add(
        script.end + 160_000,
        What::Compared(Comparison {
            probe: "web".to_owned(),
            stream: StreamKind::Fresh,
            measures: vec![
                shift("success", 1.0, 1.0, (-0.000_96, 0.000_96), 0.001, Standing::NotWorse),
                shift("p50", 0.002_24, 0.002_26, (-0.000_03, 0.000_07), 0.001, Standing::NotWorse),
                shift("p90", 0.004_1, 0.005_7, (0.001_1, 0.002_2), 0.001, Standing::Worse),
                Shift {
                    interval: None,
                    reason: too_few,
                    ..shift("p99", 0.006_8, 0.008_3, (0.0, 0.0), 0.001, Standing::CantTell)
                },
            ],
            standing: Standing::Worse,
            block_seconds: 1,
            resamples: 1_000,
        }),
    );
}

/// How far the requests came that failed like this.
pub(super) fn reach(classes: &BTreeMap<String, u64>) -> BTreeMap<Reach, u64> {
    let mut reach = BTreeMap::new();
    for (name, n) in classes {
        // A status is the only class that is told by more than its name.
        let class = serde_json::from_value(name.as_str().into()).unwrap_or(Class::Status);
        *reach.entry(class.reach()).or_default() += n;
    }
    reach
}

/// A pod that a run may touch.
pub(super) fn pod(name: &str) -> Target {
    Target {
        kind: "pod".to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        node: Some("worker-1".to_owned()),
        zone: Some("eu-central-1a".to_owned()),
        owner: Some("deployment/web".to_owned()),
        instance: None,
    }
}
