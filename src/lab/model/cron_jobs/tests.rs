use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::lab::model::tests::{edit, field};
use crate::lab::testing::{WALL, create, lab, pass};
use crate::lab::world::Shared;

const MINUTE: Duration = Duration::from_mins(1);

/// A `CronJob` of every minute whose pods run for so long, on the lab's own kubelets.
fn cron(lab: &Shared, runs: &str, more: Value) {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "c:1"}]});
    let metadata = json!({"annotations": {"lab.squall.dev/ends-after": runs}});
    let template = json!({"template": {"metadata": metadata, "spec": spec}, "completions": 1, "parallelism": 1});
    let mut spec =
        json!({"schedule": "* * * * *", "jobTemplate": {"metadata": {"labels": {"app": "tick"}}, "spec": template}});
    let Value::Object(more) = more else { panic!("{more}") };
    for (field, value) in more {
        spec[field] = value;
    }
    let metadata = json!({"name": "tick", "namespace": "shop"});
    create(lab, json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}));
}

fn of(lab: &Shared, pointer: &str) -> Value {
    field::<CronJob>(lab, "tick", pointer)
}

fn jobs(lab: &Shared) -> Vec<String> {
    lab.read(|world| world.store.list::<Job>(Some("shop")).map(|job| job.metadata.name.clone().unwrap()).collect())
}

fn active(lab: &Shared) -> usize {
    of(lab, "/status/active").as_array().map_or(0, Vec::len)
}

#[tokio::test(start_paused = true)]
async fn a_job_begins_whenever_its_time_comes_and_the_last_three_are_kept() {
    let lab = lab();
    cron(&lab, "5s", json!({}));
    pass(Duration::from_secs(59)).await;
    assert_eq!(jobs(&lab), [""; 0]);
    pass(Duration::from_secs(2)).await;
    let first = WALL / 60 + 1;
    assert_eq!((jobs(&lab), active(&lab)), (vec![format!("tick-{first}")], 1));
    let job = lab.read(|world| world.store.list::<Job>(Some("shop")).next().unwrap());
    assert_eq!(job.metadata.labels.as_ref().unwrap()["app"], "tick");
    let scheduled = Timestamp::from_second(first * 60).unwrap().to_string();
    assert_eq!(
        job.metadata.annotations.as_ref().unwrap()["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        scheduled
    );
    pass(Duration::from_secs(20)).await;
    assert_eq!(active(&lab), 0);
    assert!(of(&lab, "/status/lastSuccessfulTime").is_string());
    pass(5 * MINUTE).await;
    assert_eq!(jobs(&lab), [4, 5, 6].map(|later| format!("tick-{}", first - 1 + later)));
    edit::<CronJob>(&lab, "tick", |cron| cron["spec"]["suspend"] = true.into());
    pass(5 * MINUTE).await;
    assert_eq!(jobs(&lab).len(), 3, "none while it is suspended");
    edit::<CronJob>(&lab, "tick", |cron| cron["spec"]["suspend"] = false.into());
    pass(Duration::from_secs(1)).await;
    assert_eq!(jobs(&lab).last(), Some(&format!("tick-{}", first + 10)), "the last that was missed is made up for");
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_when_the_next_is_due_is_treated_as_the_policy_says() {
    for (policy, running, ever) in [("Allow", 3, 4), ("Forbid", 1, 2), ("Replace", 1, 4)] {
        let lab = lab();
        cron(&lab, "150s", json!({"concurrencyPolicy": policy, "successfulJobsHistoryLimit": 9}));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..25 {
            pass(Duration::from_secs(10)).await;
            seen.extend(jobs(&lab));
        }
        assert_eq!((active(&lab), seen.len()), (running, ever), "{policy} {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missed_for_too_long_is_left_out() {
    let lab = lab();
    cron(&lab, "5s", json!({"schedule": "1 * * * *", "startingDeadlineSeconds": 30, "suspend": true}));
    // WALL is at a full hour.
    assert_eq!(WALL % 3600, 0);
    pass(2 * MINUTE).await;
    edit::<CronJob>(&lab, "tick", |cron| cron["spec"]["suspend"] = false.into());
    pass(MINUTE).await;
    assert_eq!(jobs(&lab), [""; 0]);
    pass(59 * MINUTE).await;
    assert_eq!(jobs(&lab).len(), 1);
}
