//! Machines that are containers of a Docker Engine, as kind makes them.
//!
//! A container is found by the label of the cluster that the node's `spec.providerID` names and the node's name together: one engine
//! may carry several clusters, and a name alone says nothing. From then on its id is used, which no other container ever has.

use k8s_openapi::api::core::v1::Node;
use serde::{Deserialize, Serialize};

use super::super::contract::{Acting, FaultError, Heal, Injected, Planning, Refusal, Resolution, Undo};
use super::super::nodes::NodeTargets;
use super::TerminateMode;
use super::power::{self, Before};
use crate::cluster::{Container, Engine, EngineError};
use crate::record::Target;

/// The label with which kind marks the containers of a cluster.
const CLUSTER: &str = "io.x-k8s.kind.cluster";

/// What undo and healing need to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerNote {
    /// The engine, as `DOCKER_HOST` named it: for a person who is told where to look. Nobody connects to an address from a log.
    engine: String,
    /// The cluster that the container's label names.
    cluster: String,
    container: String,
    before: Before,
}

/// The place of a node's container: `kind://docker/CLUSTER/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place<'a> {
    cluster: &'a str,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(node: &'a Node) -> Option<Self> {
        let provider = node.spec.as_ref()?.provider_id.as_ref()?;
        let (cluster, name) = provider.strip_prefix("kind://docker/")?.split_once('/')?;
        let is_name = node.metadata.name.as_deref() == Some(name);
        (is_name && !cluster.is_empty() && !name.is_empty()).then_some(Self { cluster, name })
    }

    /// The container of the cluster that has the node's name.
    async fn container(&self, engine: &Engine) -> Result<Option<Container>, EngineError> {
        let of_cluster = engine.labelled(CLUSTER, self.cluster).await?;
        Ok(of_cluster.into_iter().find(|container| container.names.iter().any(|name| name == self.name)))
    }
}

pub(super) async fn resolve(
    nodes: &NodeTargets,
    mode: TerminateMode,
    cx: &Planning<'_>,
) -> Result<Resolution, Refusal> {
    let (chosen, mut resolution) = power::choose(nodes, cx).await?;
    let out_of_reach = |e: EngineError| {
        Refusal::new(e.to_string())
            .hint("Squall has to run where the containers are: set `DOCKER_HOST` if their engine listens elsewhere")
    };
    let engine = Engine::of_environment().await.map_err(out_of_reach)?;
    for chosen in chosen {
        let target = chosen.target;
        let Some(place) = Place::of(&chosen.node) else {
            let provider = chosen.node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
            return Err(Refusal::new(format!(
                "{target} is no container of kind: its `spec.providerID` is `{provider}`"
            ))
            .hint("`provider: docker` is for nodes whose id is `kind://docker/CLUSTER/NODE`"));
        };
        let Some(found) = place.container(&engine).await.map_err(out_of_reach)? else {
            let (name, cluster) = (place.name, place.cluster);
            return Err(Refusal::new(format!(
                "the Docker Engine at {engine} has no container `{name}` with the label `{CLUSTER}={cluster}`"
            ))
            .hint("is it the engine that this cluster runs on? `DOCKER_HOST` names another"));
        };
        let (id, verb) = (short(&found.id), verb(mode));
        resolution.calls.push(format!("{verb} container {id} ({target}) of cluster {} at {engine}", place.cluster));
        resolution.undo.push(format!("start container {id} again, and wait until {target} is Ready"));
        resolution.targets.push(Target { instance: Some(found.id), ..target });
    }
    Ok(resolution)
}

pub(super) async fn prepare(cx: &Acting<'_>, target: &Target) -> Result<Option<DockerNote>, FaultError> {
    let Some((node, before)) = power::before(cx, target).await? else { return Ok(None) };
    let engine = Engine::of_environment().await?;
    let Some(place) = Place::of(&node) else { return Ok(None) };
    let found = place.container(&engine).await?.filter(|found| target.instance.as_ref() == Some(&found.id));
    let cluster = place.cluster.to_owned();
    Ok(found.map(|found| DockerNote { engine: engine.to_string(), cluster, container: found.id, before }))
}

impl DockerNote {
    pub(super) async fn inject(&self, mode: TerminateMode) -> Result<Injected, FaultError> {
        let engine = Engine::of_environment().await?;
        let there = match mode {
            TerminateMode::Shutdown => engine.stop(&self.container).await?,
            TerminateMode::PowerLoss | TerminateMode::ScaleIn => engine.kill(&self.container).await?,
        };
        let id = short(&self.container);
        Ok(if there {
            Injected::Done(format!("{} container {id}: done", verb(mode)))
        } else {
            Injected::Gone(format!("there is no container {id} any more"))
        })
    }

    pub(super) async fn undo(&self, cx: &Acting<'_>, target: &Target) -> Result<Undo, FaultError> {
        let id = short(&self.container);
        match self.start().await {
            Ok(Started::Now) => Ok(Undo::Undone(format!("container {id} started"))),
            Ok(Started::Before) => Ok(Undo::Nothing(format!("container {id} runs"))),
            // Another machine has another engine, or none; the node says whether somebody has been there.
            other => match (power::healed(cx, target, &self.before).await?, other) {
                (Heal::Healed(words), _) => Ok(Undo::Undone(words)),
                (_, Err(EngineError::Unreachable { engine, why })) => {
                    let why = format!("{why}; {}", self.by_hand());
                    Err(EngineError::Unreachable { engine, why }.into())
                }
                (_, Err(e)) => Err(e.into()),
                (_, Ok(_)) => Ok(Undo::ByHand(format!(
                    "the Docker Engine of this machine has no container {id} of cluster {}; {}",
                    self.cluster,
                    self.by_hand()
                ))),
            },
        }
    }

    /// What a person can do who is where the container is.
    fn by_hand(&self) -> String {
        format!(
            "it was at {}: `squall recover` there, or by hand: docker start {}",
            self.engine,
            short(&self.container)
        )
    }

    /// Starts the container, where it still is one of the cluster: a log may come from anybody.
    async fn start(&self) -> Result<Started, EngineError> {
        let engine = Engine::of_environment().await?;
        let of_cluster = engine.labelled(CLUSTER, &self.cluster).await?;
        if !of_cluster.iter().any(|container| container.id == self.container) {
            return Ok(Started::Never);
        }
        if engine.runs(&self.container).await? == Some(true) {
            return Ok(Started::Before);
        }
        Ok(if engine.start(&self.container).await? { Started::Now } else { Started::Never })
    }

    pub(super) async fn healed(&self, cx: &Acting<'_>, target: &Target) -> Result<Heal, FaultError> {
        power::healed(cx, target, &self.before).await
    }
}

/// When a container was started.
enum Started {
    /// By us.
    Now,
    /// It ran when we came.
    Before,
    /// There is none of the cluster.
    Never,
}

const fn verb(mode: TerminateMode) -> &'static str {
    match mode {
        TerminateMode::Shutdown => "stop",
        TerminateMode::PowerLoss | TerminateMode::ScaleIn => "kill",
    }
}

/// As Docker prints an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_node_of_kind_has_a_place_and_only_under_its_own_name() {
        let place = |provider: &str| {
            let node = json!({"metadata": {"name": "n1"}, "spec": {"providerID": provider}});
            let node: Node = serde_json::from_value(node).unwrap();
            Place::of(&node).map(|place| (place.cluster.to_owned(), place.name.to_owned()))
        };
        assert_eq!(place("kind://docker/a/n1"), Some(("a".to_owned(), "n1".to_owned())));
        for other in
            ["kind://docker/a/n2", "kind://docker//n1", "kind://podman/a/n1", "aws:///us-east-1a/i-1", "", "n1"]
        {
            assert_eq!(place(other), None, "{other}");
        }
        assert_eq!(Place::of(&Node::default()), None);
    }
}
