//! The Eviction API, which asks the disruption budgets of a pod: one call, and what its answers mean.

use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::Status;
use serde_json::json;

use super::contract::{Acting, FaultError, Refusal};
use super::kube::{covers, refused, retried, write};
use crate::cluster::{Cluster, explain, is_transient, status_of};
use crate::record::Target;
use crate::scalar::Duration;

/// What the API answers to a dry run.
pub(super) enum Rehearsed {
    Accepted,
    Refused(String),
}

/// Sends one eviction, with a precondition on the pod's UID.
pub(super) async fn evict(
    cluster: &Cluster,
    target: &Target,
    grace: Option<Duration>,
    dry_run: bool,
) -> Result<(), kube::Error> {
    let (json, body) = ("application/json", body(target, grace));
    let status: Status = write(cluster, http::Method::POST, &path(target), dry_run, json, &body).await?;
    // The API hands out its answer as the created object: a failure may stand there as well.
    if status.is_failure() { Err(kube::Error::Api(status.boxed())) } else { Ok(()) }
}

/// The client's own type is not used: it writes the delete options under a key that the server drops, and with them the UID.
pub(super) fn body(target: &Target, grace: Option<Duration>) -> serde_json::Value {
    let mut options = json!({"preconditions": {"uid": target.uid}});
    if let Some(grace) = grace {
        options["gracePeriodSeconds"] = json!(grace.get().as_secs());
    }
    json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": target.name, "namespace": target.namespace},
        "deleteOptions": options,
    })
}

/// Asks by dry run what the API would answer now.
pub(super) async fn rehearse(
    cluster: &Cluster,
    target: &Target,
    grace: Option<Duration>,
) -> Result<Rehearsed, Refusal> {
    let Err(error) = evict(cluster, target, grace, true).await else { return Ok(Rehearsed::Accepted) };
    let code = status_of(&error).map_or(0, |status| status.code);
    match Answer::of(&error) {
        Answer::Budget(words) => Ok(Rehearsed::Refused(format!("{code}, {words}"))),
        Answer::Error if matches!(code, 0 | 403) => Err(refused(&error, "create", "pods/eviction", &target.namespace)),
        _ => Ok(Rehearsed::Refused(explain(&error))),
    }
}

impl std::fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepts it"),
            Self::Refused(why) => write!(f, "refuses it ({why})"),
        }
    }
}

/// Where a pod's evictions are sent.
pub(super) fn path(target: &Target) -> String {
    format!("/api/v1/namespaces/{}/pods/{}/eviction", target.namespace, target.name)
}

/// What an error of the Eviction API means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A disruption budget refuses, in these words.
    Budget(String),
    /// More than one budget covers the pod, which the API does not support.
    ManyBudgets,
    /// Throttled, or a budget's status is not settled: worth another try.
    Busy,
    /// The pod is gone.
    Gone,
    /// Another pod has its name.
    Replaced,
    /// Anything else.
    Error,
}

impl Answer {
    pub(super) fn of(error: &kube::Error) -> Self {
        let Some(status) = status_of(error) else {
            return if is_transient(error) { Self::Busy } else { Self::Error };
        };
        let details = status.details.as_ref();
        let cause = details.and_then(|d| d.causes.iter().find(|cause| cause.reason == "DisruptionBudget"));
        match (status.code, cause) {
            (404, _) => Self::Gone,
            (409, _) => Self::Replaced,
            // A budget that is still being processed has the same cause, but asks to come again.
            (429, Some(cause)) if details.is_some_and(|d| d.retry_after_seconds == 0) => {
                Self::Budget(cause.message.clone())
            }
            (500, _) if status.message.contains("more than one PodDisruptionBudget") => Self::ManyBudgets,
            // Its namespace is going, and will take the pod along.
            (403, _)
                if details.is_some_and(|d| d.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")) =>
            {
                Self::Busy
            }
            _ if is_transient(error) => Self::Busy,
            _ => Self::Error,
        }
    }
}

/// How long the server asks to wait before another try, where it does.
pub(super) fn retry_after(error: &kube::Error) -> Time {
    let seconds = status_of(error).and_then(|status| status.details.as_ref()).map_or(0, |d| d.retry_after_seconds);
    Time::from_secs(seconds.into())
}

/// The API's words, with the numbers of the budgets that cover the pod.
pub(super) async fn explain_budget(cx: &Acting<'_>, target: &Target, pod: &Pod, words: &str) -> String {
    match covering(cx, target, pod).await {
        Ok(budgets) if !budgets.is_empty() => {
            format!("{words} ({})", budgets.iter().map(numbers).collect::<Vec<_>>().join("; "))
        }
        // The refusal stands, whether or not the numbers can be read.
        Ok(_) | Err(_) => words.to_owned(),
    }
}

/// The names of the budgets that cover the pod, which the API does not tell where there are several.
pub(super) async fn name_budgets(cx: &Acting<'_>, target: &Target, pod: &Pod) -> String {
    let names = match covering(cx, target, pod).await {
        Ok(budgets) if budgets.len() > 1 => budgets.iter().map(name).collect::<Vec<_>>().join(", "),
        Ok(_) => "they have changed meanwhile".to_owned(),
        Err(e) => format!("their names can't be read: {e}"),
    };
    format!("more than one budget covers {target}, and the API evicts no such pod: {names}")
}

/// The budgets that cover the target, in the API's order.
async fn covering(cx: &Acting<'_>, target: &Target, pod: &Pod) -> Result<Vec<PodDisruptionBudget>, FaultError> {
    let api = cx.cluster.api::<PodDisruptionBudget>(&target.namespace);
    let params = ListParams::default();
    let all = retried(|| api.list(&params)).await.map_err(FaultError::api("list poddisruptionbudgets"))?;
    Ok(all.items.into_iter().filter(|budget| covers(budget, pod.metadata.labels.as_ref())).collect())
}

fn name(budget: &PodDisruptionBudget) -> String {
    format!("poddisruptionbudget/{}", budget.metadata.name.as_deref().unwrap_or_default())
}

fn numbers(budget: &PodDisruptionBudget) -> String {
    let status = budget.status.clone().unwrap_or_default();
    format!(
        "{}: {} disruptions allowed, {} pods healthy, {} wanted",
        name(budget),
        status.disruptions_allowed,
        status.current_healthy,
        status.desired_healthy
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: serde_json::Value) -> Answer {
        Answer::of(&kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    }

    #[test]
    fn tells_a_budgets_refusal_from_a_busy_server() {
        let cause = json!([{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}]);
        assert_eq!(
            answer(json!({"code": 429, "reason": "TooManyRequests", "details": {"causes": cause}})),
            Answer::Budget("The disruption budget web needs 2 healthy pods and has 2 currently".into())
        );
        let cause = json!([{"reason": "DisruptionBudget", "message": "The disruption budget web is still being processed by the server."}]);
        assert_eq!(answer(json!({"code": 429, "details": {"retryAfterSeconds": 10, "causes": cause}})), Answer::Busy);
        assert_eq!(answer(json!({"code": 429, "message": "too many requests"})), Answer::Busy);
        assert_eq!(answer(json!({"code": 503})), Answer::Busy);
    }

    #[test]
    fn tells_what_a_retry_would_not_change() {
        let two = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        assert_eq!(answer(json!({"code": 500, "message": two})), Answer::ManyBudgets);
        assert_eq!(answer(json!({"code": 500, "message": "internal error"})), Answer::Busy);
        assert_eq!(answer(json!({"code": 404})), Answer::Gone);
        assert_eq!(answer(json!({"code": 409})), Answer::Replaced);
        assert_eq!(answer(json!({"code": 403})), Answer::Error);
        assert_eq!(answer(json!({"code": 400})), Answer::Error);
    }

    #[test]
    fn a_going_namespace_and_a_busy_server_are_worth_another_try() {
        let cause = json!([{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}]);
        assert_eq!(answer(json!({"code": 403, "details": {"causes": cause}})), Answer::Busy);
        let busy: Status = serde_json::from_value(json!({"code": 429, "details": {"retryAfterSeconds": 10}})).unwrap();
        assert_eq!(retry_after(&kube::Error::Api(busy.boxed())), Time::from_secs(10));
    }

    #[test]
    fn the_body_carries_the_uid_where_the_server_reads_it() {
        let target = Target {
            kind: "pod".into(),
            namespace: "shop".into(),
            name: "web-1".into(),
            uid: "u".into(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        };
        assert_eq!(
            body(&target, Some(Duration::seconds(5))),
            json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-1", "namespace": "shop"},
                "deleteOptions": {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 5},
            })
        );
    }
}
