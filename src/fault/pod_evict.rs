//! `podEvict`: pods evicted through the Eviction API, which asks their disruption budgets.

use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Pod;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::contract::{
    About, Acting, Complaint, Effect, Fault, FaultError, Heal, Injected, Permission, Planning, Refusal, Resolution,
    Undo,
};
use super::eviction::{Answer, Rehearsed, evict, explain_budget, name_budgets, path, rehearse};
use super::kube::{get, workload_permissions};
use super::pod_kill::{PodKill, PodKillNote, grace_seconds, pod_gone, whole_seconds};
use super::pods::PodTargets;
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
        undoable_where: "",
        refusable: true,
        cannot: "take a pod past its budget; drain a node, which `nodeDrain` does with its cordon",
        unrehearsable: "",
        examples: &[("a pod of a Deployment", "{pods: {namespace: shop, selector: \"app=web\", count: 1}}")],
    };

    type Note = PodKillNote;

    fn check(&self) -> Vec<Complaint> {
        self.pods.check().into_iter().chain(whole_seconds(self.grace_period)).collect()
    }

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
        rules.extend(workload_permissions(Some(self.pods.namespace.as_str())));
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
            let now = rehearse(cx.cluster, &target, self.grace_period).await?;
            if let Rehearsed::Refused(why) = &now {
                resolution.warnings.push(format!("{target} can't be evicted now: {why}"));
            }
            if target.owner.is_none() {
                resolution.warnings.push(format!("{target} has no owner: nothing will bring it back"));
            }
            resolution.calls.push(format!(
                "POST {} (uid {}, grace {} s); by dry run the API {now} now",
                path(&target),
                target.uid,
                grace_seconds(self.grace_period, &pod.pod),
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
            let error = match evict(cx.cluster, target, self.grace_period, false).await {
                Ok(()) => return Ok(Injected::Done("eviction accepted".to_owned())),
                Err(error) => error,
            };
            match Answer::of(&error) {
                Answer::Gone => return Ok(Injected::Gone("it was already gone".to_owned())),
                Answer::Replaced => return Ok(Injected::Gone("another pod has its name now".to_owned())),
                Answer::Budget(words) => {
                    // The refusal stands, whether or not the numbers can be read.
                    let why = match get::<Pod>(cx, target).await {
                        Ok(Some(pod)) => explain_budget(cx, target, &pod, &words).await,
                        Ok(None) | Err(_) => words,
                    };
                    return Ok(Injected::Refused(why));
                }
                Answer::ManyBudgets => {
                    let pod = get::<Pod>(cx, target).await?.unwrap_or_default();
                    return Ok(Injected::Refused(name_budgets(cx, target, &pod).await));
                }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::json;

    use super::*;
    use crate::cluster::Cluster;
    use crate::fault::Ending;
    use crate::record::ClusterId;

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
            instance: None,
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
        let cx = Acting { cluster: &cluster, run: "r", state: "squall", step: "evict", ending: Ending::default() };
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
}
