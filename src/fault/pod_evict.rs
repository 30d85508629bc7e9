//! `podEvict`: pods evicted through the Eviction API, which asks their disruption budgets.

use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::core::Status;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use super::contract::{
    About, Acting, Effect, Fault, FaultError, Heal, Injected, Permission, Planning, Refusal, Resolution, Undo,
};
use super::kube::{covers, get, refused, retried, workload_permissions, write};
use super::pod_kill::{PodKill, PodKillNote, grace_seconds, pod_gone};
use super::pods::PodTargets;
use crate::cluster::{Cluster, explain, is_transient, status_of};
use crate::record::Target;
use crate::scalar::Duration;

/// How long the API may go on answering that it is busy before that is the answer.
const BUSY_DEADLINE: Time = Time::from_secs(30);
/// Pause after the first busy answer; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Time = Time::from_millis(250);
/// The server suggests ten seconds for a budget's status that is usually settled within some milliseconds.
const LONGEST_PAUSE: Time = Time::from_secs(4);

/// Evicts pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodEvict {
    /// Which pods.
    pub pods: PodTargets,
    /// Whole seconds between SIGTERM and SIGKILL; the pod's own `terminationGracePeriodSeconds` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
}

impl Fault for PodEvict {
    const ABOUT: About = About {
        key: "podEvict",
        summary: "evicts pods through the Eviction API, which asks their disruption budgets",
        details: "Each target is evicted as `kubectl drain` does it, with a precondition on its UID, so that a successor of the same name \
                  is never hit. A PodDisruptionBudget may refuse: `expect: refused` makes that the wanted result, `expect: evicted` is \
                  the default. A pod that two budgets cover can't be evicted at all (the API answers 500), which counts as refused and \
                  names them both. Answers that the API is busy, or that a budget is still being processed, are tried again for 30 s.\n\n\
                  The plan asks the API by dry run what it would answer now. A dry run takes nothing from a budget: three of them may \
                  pass where one disruption is allowed, so that the plan also counts the room under each budget.",
        effect: "the pod is gone from the API, or all its containers have terminated",
        ending: "heals by itself: the workload that owns the pod has all its replicas ready again. A pod without an owner does not come back",
        undoable: false,
        refusable: true,
    };

    type Note = PodKillNote;

    fn namespaces(&self) -> Vec<String> {
        vec![self.pods.namespace.to_string()]
    }

    fn permissions(&self) -> Vec<Permission> {
        let rule = |group, resource, verb, why| Permission {
            group,
            resource,
            verb,
            namespace: Some(self.pods.namespace.to_string()),
            why,
            kind: None,
        };
        let mut rules = self.pods.permissions();
        rules.push(rule("", "pods", "get", "see whether a target is still there"));
        rules.push(rule("", "pods/eviction", "create", "evict the targets"));
        rules.push(rule("policy", "poddisruptionbudgets", "list", "name the budget that refuses an eviction"));
        rules.extend(workload_permissions(self.pods.namespace.as_str()));
        rules
    }

    fn effect_deadline(&self, note: &PodKillNote) -> Time {
        note.effect_deadline()
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (chosen, of) = self.pods.choose(cx).await?;
        let mut resolution = Resolution { of, pods: chosen.len(), ..Resolution::default() };
        for pod in chosen {
            let target = pod.target;
            let now = self.rehearse(cx.cluster, &target).await?;
            if let Rehearsed::Refused(why) = &now {
                resolution.warnings.push(format!("{target} can't be evicted now: {why}"));
            }
            if target.owner.is_none() {
                resolution.warnings.push(format!("{target} has no owner: nothing will bring it back"));
            }
            resolution.calls.push(format!(
                "POST {} (uid {}, grace {} s); by dry run the API {} now",
                path(&target),
                target.uid,
                grace_seconds(self.grace_period, &pod.pod),
                match now {
                    Rehearsed::Accepted => "accepts it".to_owned(),
                    Rehearsed::Refused(why) => format!("refuses it ({why})"),
                }
            ));
            resolution.undo.push(match &target.owner {
                Some(owner) => format!("none: {owner} replaces {target}"),
                None => format!("none: {target} stays away"),
            });
            resolution.targets.push(target);
        }
        Ok(resolution)
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<PodKillNote>, FaultError> {
        let pod = get::<Pod>(cx, target).await?;
        Ok(pod.map(|pod| PodKillNote::of(target, grace_seconds(self.grace_period, &pod))))
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, _: &PodKillNote) -> Result<Injected, FaultError> {
        let deadline = Instant::now() + BUSY_DEADLINE;
        let mut pause = FIRST_PAUSE;
        loop {
            // Sending it again is harmless: the UID precondition spares a successor, and a pod that is already being deleted
            // costs no budget.
            let error = match self.evict(cx.cluster, target, false).await {
                Ok(()) => return Ok(Injected::Done("eviction accepted".to_owned())),
                Err(error) => error,
            };
            match Answer::of(&error) {
                Answer::Gone => return Ok(Injected::Gone("it was already gone".to_owned())),
                Answer::Replaced => return Ok(Injected::Gone("another pod has its name now".to_owned())),
                Answer::Budget(words) => return Ok(Injected::Refused(explain_budget(cx, target, &words).await)),
                Answer::ManyBudgets => return Ok(Injected::Refused(name_budgets(cx, target).await)),
                Answer::Busy if Instant::now() + pause < deadline => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Answer::Busy | Answer::Error => return Err(FaultError::api(format!("evict {target}"))(error)),
            }
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, _: &PodKillNote) -> Result<Effect, FaultError> {
        pod_gone(cx, target).await
    }

    async fn undo(_: &Acting<'_>, _: &Target, _: &PodKillNote) -> Result<Undo, FaultError> {
        Ok(Undo::HealsItself)
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &PodKillNote) -> Result<Heal, FaultError> {
        PodKill::healed(cx, target, note).await
    }
}

/// What the API answers to a dry run.
enum Rehearsed {
    Accepted,
    Refused(String),
}

impl PodEvict {
    /// Sends one eviction.
    async fn evict(&self, cluster: &Cluster, target: &Target, dry_run: bool) -> Result<(), kube::Error> {
        let body = self.body(target);
        let json = "application/json";
        let status: Status = write(cluster, http::Method::POST, &path(target), dry_run, json, &body).await?;
        // The API hands out its answer as the created object: a failure may stand there as well.
        if status.is_failure() { Err(kube::Error::Api(status.boxed())) } else { Ok(()) }
    }

    /// The client's own type is not used: it writes the delete options under a key that the server drops, and with them the UID.
    fn body(&self, target: &Target) -> serde_json::Value {
        let mut options = json!({"preconditions": {"uid": target.uid}});
        if let Some(grace) = self.grace_period {
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
    async fn rehearse(&self, cluster: &Cluster, target: &Target) -> Result<Rehearsed, Refusal> {
        let Err(error) = self.evict(cluster, target, true).await else { return Ok(Rehearsed::Accepted) };
        let code = status_of(&error).map_or(0, |status| status.code);
        match Answer::of(&error) {
            _ if code == 403 => Err(refused(&error, "create", "pods/eviction", &target.namespace)),
            Answer::Budget(words) => Ok(Rehearsed::Refused(format!("{code}, {words}"))),
            Answer::Error if code == 0 => Err(refused(&error, "create", "pods/eviction", &target.namespace)),
            _ => Ok(Rehearsed::Refused(explain(&error))),
        }
    }
}

fn path(target: &Target) -> String {
    format!("/api/v1/namespaces/{}/pods/{}/eviction", target.namespace, target.name)
}

/// What an error of the Eviction API means.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
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
    fn of(error: &kube::Error) -> Self {
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
            _ if is_transient(error) => Self::Busy,
            _ => Self::Error,
        }
    }
}

/// The API's words, with the numbers of the budgets that cover the pod.
async fn explain_budget(cx: &Acting<'_>, target: &Target, words: &str) -> String {
    match covering(cx, target).await {
        Ok(budgets) if !budgets.is_empty() => {
            format!("{words} ({})", budgets.iter().map(numbers).collect::<Vec<_>>().join("; "))
        }
        // The refusal stands, whether or not the numbers can be read.
        Ok(_) | Err(_) => words.to_owned(),
    }
}

async fn name_budgets(cx: &Acting<'_>, target: &Target) -> String {
    let names = match covering(cx, target).await {
        Ok(budgets) if budgets.len() > 1 => budgets.iter().map(name).collect::<Vec<_>>().join(", "),
        Ok(_) => "they have changed meanwhile".to_owned(),
        Err(e) => format!("their names can't be read: {e}"),
    };
    format!("more than one budget covers {target}, and the API evicts no such pod: {names}")
}

/// The budgets that cover the target, in the API's order.
async fn covering(cx: &Acting<'_>, target: &Target) -> Result<Vec<PodDisruptionBudget>, FaultError> {
    let Some(pod) = get::<Pod>(cx, target).await? else { return Ok(Vec::new()) };
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::record::ClusterId;

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

    fn fault() -> PodEvict {
        serde_json::from_value(json!({"pods": {"namespace": "shop", "all": true}, "gracePeriod": "5s"})).unwrap()
    }

    fn target() -> Target {
        Target {
            kind: "pod".into(),
            namespace: "shop".into(),
            name: "web-1".into(),
            uid: "u".into(),
            node: None,
            zone: None,
            owner: None,
        }
    }

    /// Injects against a server that is busy `busy` times before it accepts; answers the result and how long it took.
    async fn inject_into(busy: u32) -> (Result<Injected, FaultError>, Time) {
        let calls = Arc::new(AtomicU32::new(0));
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = "fieldValidation=Strict&fieldManager=squall";
            assert_eq!(request.uri().to_string(), format!("{}?{query}", path(&target())));
            let status = if calls.fetch_add(1, Ordering::Relaxed) < busy {
                json!({"status": "Failure", "code": 429, "details": {"retryAfterSeconds": 10, "causes": [{"reason": "DisruptionBudget"}]}})
            } else {
                json!({"status": "Success", "code": 201})
            };
            let code = u16::try_from(status["code"].as_u64().unwrap()).unwrap();
            let body = kube::client::Body::from(status.to_string().into_bytes());
            async move { http::Response::builder().status(code).body(body) }
        });
        let cluster = Cluster::new(kube::Client::new(service, "shop"), ClusterId::default());
        let cx = Acting { cluster: &cluster, run: "r", state: "squall", step: "evict" };
        let began = Instant::now();
        let injected = fault().inject(&cx, &target(), &PodKillNote::of(&target(), 5)).await;
        (injected, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again() {
        let (injected, took) = inject_into(3).await;
        assert_eq!(injected.unwrap(), Injected::Done("eviction accepted".into()));
        assert_eq!(took.as_millis() / 10, (250 + 500 + 1000) / 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stays_busy_is_an_error_in_the_end() {
        let (injected, took) = inject_into(u32::MAX).await;
        assert!(injected.unwrap_err().is_transient());
        assert!(took < BUSY_DEADLINE && took + 2 * LONGEST_PAUSE > BUSY_DEADLINE, "{took:?}");
    }

    #[test]
    fn the_body_carries_the_uid_where_the_server_reads_it() {
        assert_eq!(
            fault().body(&target()),
            json!({
                "apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-1", "namespace": "shop"},
                "deleteOptions": {"preconditions": {"uid": "u"}, "gracePeriodSeconds": 5},
            })
        );
    }
}
