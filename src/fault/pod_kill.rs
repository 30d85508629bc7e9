//! `podKill`: pods deleted, as `kubectl delete pod` does.

use std::time::Duration as Time;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::contract::{
    About, Acting, Complaint, Effect, Fault, FaultError, Heal, Injected, Permission, Planning, Refusal, Resolution,
    Undo,
};
use super::kube::{get, retried, workload_permissions, workload_ready};
use super::pods::PodTargets;
use crate::cluster::status_of;
use crate::record::Target;
use crate::scalar::Duration;

/// How long beyond its grace a pod may take to go: the kubelet's SIGKILL, the runtime, and the status that travels back.
const BEYOND_GRACE: Time = Time::from_secs(30);
/// The API's own default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Deletes pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PodKill {
    /// Which pods.
    pub pods: PodTargets,
    /// Whole seconds between SIGTERM and SIGKILL; the pod's own `terminationGracePeriodSeconds` when left out. `0s` removes the
    /// pod from the API without waiting for the kubelet, as a forced deletion does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
    /// Needed for `gracePeriod: 0s` on a StatefulSet's pod: its successor may start while it still runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// What healing needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodKillNote {
    grace_seconds: i64,
    owner: Option<String>,
}

impl Fault for PodKill {
    const ABOUT: About = About {
        key: "podKill",
        summary: "deletes pods, as `kubectl delete pod` does",
        details: "Each target is deleted with a precondition on its UID, so that a successor of the same name is never hit. The kubelet \
                  sends SIGTERM, waits for the grace period and sends SIGKILL; meanwhile the endpoint is `terminating`. \
                  A deletion asks nobody: **it bypasses PodDisruptionBudgets**. To ask them, use `podEvict`.",
        effect: "the pod is gone from the API, or all its containers have terminated",
        ending: "heals by itself: the workload that owns the pod has all its replicas ready again. A pod without an owner does not come back",
        undoable: false,
        undoable_where: "",
        refusable: false,
        cannot: "break a process in a pod that stays: let it crash, hang, or run out of memory",
        unrehearsable: "",
        examples: &[("a pod of a Deployment", "{pods: {namespace: shop, selector: \"app=web\", count: 1}}")],
    };

    type Note = PodKillNote;

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = self.pods.check();
        complaints.extend(whole_seconds(self.grace_period));
        complaints
    }

    fn namespaces(&self) -> Vec<String> {
        vec![self.pods.namespace.to_string()]
    }

    fn permissions(&self) -> Vec<Permission> {
        let rule = |resource, verb, why| Permission {
            group: "",
            resource,
            verb,
            namespace: Some(self.pods.namespace.to_string()),
            why,
            kind: None,
        };
        let mut rules = self.pods.permissions();
        rules.push(rule("pods", "get", "see whether a target is still there"));
        rules.push(rule("pods", "delete", "kill the targets"));
        rules.extend(workload_permissions(Some(self.pods.namespace.as_str())));
        rules
    }

    fn effect_deadline(&self, note: &PodKillNote) -> Time {
        note.effect_deadline()
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        let (chosen, of) = self.pods.choose(cx).await?;
        let mut resolution = Resolution { of, pods: chosen.len(), ..Resolution::default() };
        resolution.warnings.push("a deletion bypasses PodDisruptionBudgets; `podEvict` asks them".to_owned());
        for pod in chosen {
            let target = pod.target;
            let owner = target.owner.clone();
            if self.grace_period.is_some_and(|g| g.get().is_zero())
                && !self.force
                && owner.as_deref().is_some_and(|o| o.starts_with("statefulset/"))
            {
                return Err(Refusal::new(format!("`gracePeriod: 0s` on {target} of {}", owner.unwrap_or_default())).hint(
                    "a StatefulSet's successor may start while the old pod still runs; add `force: true` if that is wanted",
                ));
            }
            if owner.is_none() {
                resolution.warnings.push(format!("{target} has no owner: nothing will bring it back"));
            }
            let grace = grace_seconds(self.grace_period, &pod.pod);
            resolution.calls.push(format!(
                "DELETE /api/v1/namespaces/{}/pods/{} (uid {}, grace {grace} s)",
                target.namespace, target.name, target.uid
            ));
            resolution.undo.push(match owner {
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
        let api = cx.cluster.api::<Pod>(&target.namespace);
        let params = DeleteParams {
            grace_period_seconds: self.grace_period.map(|g| u32::try_from(g.get().as_secs()).unwrap_or(u32::MAX)),
            preconditions: Some(Preconditions { uid: Some(target.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        // Sending it again is harmless: the UID precondition spares a successor, and a second deletion of the same pod changes nothing.
        let answer = retried(|| api.delete(&target.name, &params)).await;
        match answer {
            Ok(_) => Ok(Injected::Done("deletion accepted".to_owned())),
            Err(e) if status_of(&e).is_some_and(|s| s.code == 404) => {
                Ok(Injected::Gone("it was already gone".to_owned()))
            }
            Err(e) if status_of(&e).is_some_and(|s| s.code == 409) => {
                Ok(Injected::Gone("another pod has its name now".to_owned()))
            }
            Err(e) => Err(FaultError::api(format!("delete {target}"))(e)),
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, _: &PodKillNote) -> Result<Effect, FaultError> {
        pod_gone(cx, target).await
    }

    async fn undo(_: &Acting<'_>, _: &Target, _: &PodKillNote) -> Result<Undo, FaultError> {
        Ok(Undo::HealsItself)
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &PodKillNote) -> Result<Heal, FaultError> {
        match &note.owner {
            Some(owner) => workload_ready(cx, &target.namespace, owner).await,
            None => Ok(Heal::NotYet("it has no owner that would bring it back".to_owned())),
        }
    }
}

impl PodKillNote {
    pub(super) fn of(target: &Target, grace_seconds: i64) -> Self {
        Self { grace_seconds, owner: target.owner.clone() }
    }

    pub(super) fn effect_deadline(&self) -> Time {
        Time::from_secs(u64::try_from(self.grace_seconds).unwrap_or(0)) + BEYOND_GRACE
    }
}

/// A grace period has whole seconds in the API.
pub(super) fn whole_seconds(grace: Option<Duration>) -> Option<Complaint> {
    // Cut to whole seconds, half a second would become a forced deletion.
    grace.filter(|grace| grace.get().subsec_nanos() != 0).map(|_| {
        Complaint::new(
            &["gracePeriod"],
            "a grace period has whole seconds",
            "write `1s`, or `0s` to force the deletion",
        )
    })
}

/// The grace that the kubelet will give: the one asked for, or the pod's own.
pub(super) fn grace_seconds(asked: Option<Duration>, pod: &Pod) -> i64 {
    asked.map_or_else(
        || pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE_SECONDS),
        |g| i64::try_from(g.get().as_secs()).unwrap_or(i64::MAX),
    )
}

/// Whether the pod of this UID is gone, or none of its containers runs any more.
pub(super) async fn pod_gone(cx: &Acting<'_>, target: &Target) -> Result<Effect, FaultError> {
    let Some(pod) = get::<Pod>(cx, target).await? else {
        return Ok(Effect::Seen("gone from the API".to_owned()));
    };
    let statuses = pod.status.and_then(|s| s.container_statuses).unwrap_or_default();
    let running = statuses.iter().filter(|c| c.state.as_ref().is_some_and(|s| s.terminated.is_none())).count();
    if !statuses.is_empty() && running == 0 {
        return Ok(Effect::Seen("all containers have terminated".to_owned()));
    }
    Ok(Effect::NotYet(if pod.metadata.deletion_timestamp.is_some() {
        format!("terminating, {running} of {} containers still run", statuses.len())
    } else {
        "not being deleted".to_owned()
    }))
}
