use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::lab::model::objects::{delete, key_of, phase};
use crate::lab::model::tests::{active, bind, field, pod_spec, pods, quiet, run, say_phase};
use crate::lab::store::{ObjectKey, number_of};
use crate::lab::testing::{create, pass};
use crate::lab::world::Shared;

const SECOND: Duration = Duration::from_secs(1);

fn job(lab: &Shared, completions: i32, parallelism: i32, limit: i32) {
    let mut spec = pod_spec("job:1");
    spec["restartPolicy"] = "Never".into();
    create(
        lab,
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "import", "namespace": "shop"},
            "spec": {
                "completions": completions, "parallelism": parallelism, "backoffLimit": limit, "template": {"spec": spec},
            },
        }),
    );
}

fn of(lab: &Shared, pointer: &str) -> Value {
    field::<Job>(lab, "import", pointer)
}

/// Has every pod that is not over run, and end so.
fn end(lab: &Shared, with: &str) {
    for name in active(lab) {
        let key = ObjectKey::new("shop", name);
        lab.with(|world| {
            bind(world, &key, "node1");
            run(world, &key);
            say_phase(world, &key, with);
        });
    }
}

fn conditions(lab: &Shared) -> Vec<String> {
    let all = of(lab, "/status/conditions");
    all.as_array().into_iter().flatten().map(|one| one["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn so_many_pods_run_at_once_until_enough_have_succeeded() {
    let lab = quiet();
    job(&lab, 3, 2, 6);
    pass(SECOND).await;
    assert_eq!((active(&lab).len(), of(&lab, "/status/active")), (2, json!(2)));
    end(&lab, "Succeeded");
    pass(SECOND).await;
    assert_eq!((active(&lab).len(), of(&lab, "/status/succeeded")), (1, json!(2)));
    end(&lab, "Succeeded");
    pass(SECOND).await;
    assert_eq!((active(&lab).len(), pods(&lab).len()), (0, 3));
    assert_eq!(conditions(&lab), ["SuccessCriteriaMet", "Complete"]);
    assert!(of(&lab, "/status/completionTime").is_string());
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_the_next_waits_and_after_too_many_there_is_none() {
    let lab = quiet();
    job(&lab, 1, 1, 1);
    pass(SECOND).await;
    end(&lab, "Failed");
    pass(SECOND * 5).await;
    assert_eq!((active(&lab).len(), of(&lab, "/status/failed")), (0, json!(1)));
    pass(SECOND * 10).await;
    assert_eq!(active(&lab).len(), 1);
    end(&lab, "Failed");
    pass(SECOND * 60).await;
    assert_eq!((active(&lab).len(), conditions(&lab)), (0, vec!["FailureTarget".to_owned(), "Failed".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_has_failed_and_the_pods_of_a_job_that_is_gone_go() {
    let lab = quiet();
    job(&lab, 1, 1, 6);
    pass(SECOND).await;
    let key = key_of(&pods(&lab)[0].metadata);
    lab.with(|world| {
        bind(world, &key, "node1");
        delete(world, number_of::<Pod>(), &key, None);
    });
    pass(SECOND).await;
    assert_eq!(of(&lab, "/status/failed"), 1);
    lab.with(|world| delete(world, number_of::<Pod>(), &key, Some(0)));
    pass(SECOND * 15).await;
    assert_eq!(pods(&lab).iter().map(|pod| phase(pod).to_owned()).collect::<Vec<_>>(), ["Pending"]);
    lab.with(|world| delete(world, number_of::<Job>(), &ObjectKey::new("shop", "import"), None));
    pass(SECOND).await;
    assert!(pods(&lab).is_empty(), "held by the finalizer that nobody takes away");
}
