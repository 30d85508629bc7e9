//! Machines whose power comes back: what is the same whoever cuts it and gives it again.
//!
//! A node without power says Ready until the cluster misses it, some 40 s later. So Ready alone never proves that a machine is back: it
//! has to have been something else in between, or to have booted since.

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

use super::super::contract::{Acting, Effect, FaultError, Heal, Permission, Planning, Refusal, Resolution};
use super::super::instances::node_now;
use super::super::leaving::{loss_permissions, lost_with};
use super::super::nodes::{ChosenNode, NodeTargets, is_ready};
use super::SEES_NODES;
use crate::record::Target;

/// What a node said of itself before its power was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Before {
    /// The boot that it was in.
    boot: String,
    /// Since when it was Ready.
    ready_since: String,
}

impl Before {
    fn of(node: &Node) -> Self {
        let status = node.status.as_ref();
        let ready = status
            .and_then(|status| status.conditions.as_ref())
            .and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
        Self {
            boot: status
                .and_then(|status| status.node_info.as_ref())
                .map(|info| info.boot_id.clone())
                .unwrap_or_default(),
            ready_since: ready
                .and_then(|ready| ready.last_transition_time.as_ref())
                .map(|time| time.0.to_string())
                .unwrap_or_default(),
        }
    }
}

/// What choosing the nodes and looking at them calls.
pub(super) fn permissions(nodes: &NodeTargets) -> Vec<Permission> {
    let mut rules = nodes.permissions();
    rules.extend(loss_permissions());
    rules.push(SEES_NODES);
    rules
}

/// The chosen nodes, with what leaves with each. One that is not Ready is refused: that it is gone could not be seen.
pub(super) async fn choose(nodes: &NodeTargets, cx: &Planning<'_>) -> Result<(Vec<ChosenNode>, Resolution), Refusal> {
    let (chosen, of) = nodes.choose(cx).await?;
    let mut resolution = Resolution { of, ..Resolution::default() };
    for ChosenNode { target, node } in &chosen {
        if !is_ready(node) {
            return Err(Refusal::new(format!("{target} is not Ready: that it loses its power would show nothing"))
                .hint("choose other nodes, or mend this one first"));
        }
        resolution.leaving.extend(lost_with(cx.cluster, &target.name).await?);
    }
    Ok((chosen, resolution))
}

/// The target's node, and what it says before the cut; `None` when it is gone.
pub(super) async fn before(cx: &Acting<'_>, target: &Target) -> Result<Option<(Node, Before)>, FaultError> {
    let Some(node) = node_now(cx.cluster, target).await? else { return Ok(None) };
    if !is_ready(&node) {
        return Err(FaultError::State(format!(
            "{target} is not Ready any more: that it loses its power would show nothing"
        )));
    }
    let before = Before::of(&node);
    Ok(Some((node, before)))
}

/// Whether the cluster misses the node.
pub(super) async fn effect(cx: &Acting<'_>, target: &Target) -> Result<Effect, FaultError> {
    Ok(match node_now(cx.cluster, target).await? {
        None => Effect::Seen(format!("{target} is gone from the API")),
        Some(node) if !is_ready(&node) => Effect::Seen(format!("{target} is not Ready")),
        Some(_) => Effect::NotYet(format!("{target} still says Ready")),
    })
}

/// Whether the same node is Ready again, and was not all the time.
pub(super) async fn healed(cx: &Acting<'_>, target: &Target, before: &Before) -> Result<Heal, FaultError> {
    Ok(match node_now(cx.cluster, target).await? {
        None => Heal::NotYet(format!("{target} is gone from the API, or another node has its name")),
        Some(node) => back(&node, target, before),
    })
}

fn back(node: &Node, target: &Target, before: &Before) -> Heal {
    if !is_ready(node) {
        return Heal::NotYet(format!("{target} is not Ready"));
    }
    let now = Before::of(node);
    if now.boot != before.boot {
        return Heal::Healed(format!("{target} has booted, and is Ready"));
    }
    if now.ready_since != before.ready_since {
        return Heal::Healed(format!("{target} is Ready again"));
    }
    Heal::NotYet(format!("{target} says Ready as it did before: nothing shows that it was away and is back"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(ready: &str, since: &str, boot: &str) -> Node {
        let info = json!({
            "bootID": boot, "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "", "kubeProxyVersion": "",
            "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "",
        });
        let ready = json!({"type": "Ready", "status": ready, "lastTransitionTime": since});
        serde_json::from_value(json!({"status": {"nodeInfo": info, "conditions": [ready]}})).unwrap()
    }

    #[test]
    fn ready_as_before_is_no_proof_that_it_is_back() {
        const EARLY: &str = "2026-01-01T00:00:00Z";
        const LATE: &str = "2026-01-01T00:01:00Z";
        let target: Target =
            serde_json::from_value(json!({"kind": "node", "namespace": "", "name": "n1", "uid": "u"})).unwrap();
        let before = Before::of(&node("True", EARLY, "one"));
        let is_back = |now: Node| matches!(back(&now, &target, &before), Heal::Healed(_));
        assert!(!is_back(node("True", EARLY, "one")), "it may be without power, and not missed yet");
        assert!(!is_back(node("Unknown", LATE, "one")));
        assert!(is_back(node("True", LATE, "one")));
        assert!(is_back(node("True", EARLY, "two")), "it booted before anybody missed it");
        assert!(!is_back(node("Unknown", LATE, "two")));
    }
}
