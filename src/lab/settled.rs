//! Whether everything that was applied runs.

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use tokio::time::{Instant, sleep};

use super::Lab;
use super::network::load_of;
use super::world::World;

/// How long a workload may take until all of it is available, in the lab's time.
const PATIENCE: Duration = Duration::from_mins(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long everything must have been there before the cluster counts as quiet: the last endpoints reach kube-proxy by then.
const QUIET: Duration = Duration::from_secs(5);

/// How long a workload is waited for that was not all there before the lab began.
const TOLERANCE: Duration = Duration::from_mins(1);

/// Workloads that do not come up: a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Unsettled(pub Vec<String>);

impl Lab {
    /// Waits until every workload has all its replicas available, and a little more.
    ///
    /// # Errors
    ///
    /// When one does not within ten minutes of the lab's time: which, and what its pods wait for.
    pub async fn settled(&self) -> Result<(), Unsettled> {
        let began = Instant::now();
        let deadline = began + PATIENCE;
        loop {
            let mut waiting = self.shared.read(waiting);
            if began.elapsed() >= TOLERANCE {
                waiting.retain(|waiting| !self.tolerated.contains(name_in(&waiting.line)));
            }
            if waiting.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return Err(Unsettled(self.shared.read(|world| reasons(world, waiting))));
            }
            sleep(LOOK).await;
        }
        sleep(QUIET).await;
        Ok(())
    }
}

/// The workloads that are not all there, by their names: `deployment/web in shop`.
pub(in crate::lab) fn waiting_in(world: &World) -> Vec<String> {
    waiting(world).iter().map(|waiting| name_in(&waiting.line).to_owned()).collect()
}

fn name_in(line: &str) -> &str {
    line.split_once(" has ").map_or(line, |(name, _)| name)
}

/// A workload that is not all there, or what can't be read.
struct Waiting {
    /// The namespace of its pods, and what their names begin with; `None`: it has none.
    pods: Option<(String, String)>,
    line: String,
}

/// What each of them waits for: the reason of its first pod that says one. To look for it costs a look at all pods.
fn reasons(world: &World, waiting: Vec<Waiting>) -> Vec<String> {
    let told = waiting.into_iter().map(|Waiting { pods, mut line }| {
        if let Some(why) = pods.and_then(|(namespace, prefix)| reason(world, &namespace, &prefix)) {
            write!(line, ": {why}").unwrap_or_default();
        }
        line
    });
    told.collect()
}

/// Workloads that are not all there.
fn waiting(world: &World) -> Vec<Waiting> {
    let (mut found, mut misread) = (Vec::new(), Vec::new());
    let mut look = |kind: &str, namespace: &str, name: &str, current: bool, wanted: i32, available: i32| {
        if current && available >= wanted {
            return;
        }
        let line = format!("{kind}/{name} in {namespace} has {available} of {wanted} replicas available");
        found.push(Waiting { pods: Some((namespace.to_owned(), format!("{name}-"))), line });
    };
    let services: Vec<_> = world.store.list::<Service>(None).collect();
    for service in services {
        if let Err(why) = load_of(&service) {
            let (name, namespace) = (&service.metadata.name, &service.metadata.namespace);
            let (name, namespace) = (name.as_deref().unwrap_or_default(), namespace.as_deref().unwrap_or_default());
            misread.push(Waiting { pods: None, line: format!("service/{name} in {namespace}: {why}") });
        }
    }
    for object in world.store.list::<Deployment>(None) {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let wanted = spec.replicas.unwrap_or(1);
        let current = status.observed_generation == object.metadata.generation;
        let available = status.available_replicas.unwrap_or(0).min(status.updated_replicas.unwrap_or(0));
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        look("deployment", &namespace, &name, current, wanted, available);
    }
    for object in world.store.list::<StatefulSet>(None) {
        let (spec, status) = (object.spec.clone().unwrap_or_default(), object.status.clone().unwrap_or_default());
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let current = status.observed_generation == object.metadata.generation;
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        look(
            "statefulset",
            &namespace,
            &name,
            current,
            spec.replicas.unwrap_or(1),
            status.available_replicas.unwrap_or(0),
        );
    }
    for object in world.store.list::<DaemonSet>(None) {
        let status = object.status.clone().unwrap_or_default();
        let (namespace, name) = (object.metadata.namespace.clone(), object.metadata.name.clone());
        let current = status.observed_generation == object.metadata.generation;
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let available = status.number_available.unwrap_or(0);
        look("daemonset", &namespace, &name, current, status.desired_number_scheduled, available);
    }
    found.extend(misread);
    found
}

/// Why a pod of a workload is not ready: what the scheduler or a container says.
fn reason(world: &World, namespace: &str, prefix: &str) -> Option<String> {
    let ours = |pod: &Pod| pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix));
    world.store.list::<Pod>(Some(namespace)).filter(|pod| ours(pod)).find_map(|pod| {
        let status = pod.status.as_ref()?;
        let scheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let container = status.container_statuses.iter().flatten().find_map(|c| {
            let waiting = c.state.as_ref()?.waiting.as_ref()?;
            let why = waiting.message.clone().or_else(|| waiting.reason.clone())?;
            Some(format!("container {}: {why}", c.name))
        });
        scheduled.and_then(|c| c.message.clone()).or(container)
    })
}
