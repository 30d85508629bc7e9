//! Pods that run already when the lab begins: their kubelets take them over as they are, as a kubelet does that was only restarted.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::containers::Role;
use super::probes::Prober;
use super::process::Process;
use super::status;
use super::worker::Worker;
use crate::lab::dns;
use crate::lab::model::objects;
use crate::lab::world::World;

/// Has the kubelets of all nodes that are ready take over what their pods' statuses say runs. Must come before anybody sees these objects. A
/// pod that was not ready is left to its kubelet, which starts it anew. How many were taken over.
pub(in crate::lab) fn adopt(world: &mut World) -> usize {
    let nodes: Vec<Arc<Node>> = world.store.list::<Node>(None).collect();
    let mut adopted = 0;
    for node in nodes.iter().filter(|node| is_ready(node)) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let pods = world.store.pods_on(name);
        let listed = node.status.iter().flat_map(|status| status.images.iter().flatten());
        let listed = listed.flat_map(|image| image.names.iter().flatten().cloned());
        let run = pods.iter().filter(|pod| objects::phase(pod) == "Running").filter_map(|pod| pod.spec.as_ref());
        let run = run.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
        world.kubelets.run_on(name, listed.chain(run.filter_map(|of| of.image.clone())));
        for pod in pods {
            adopted += usize::from(take_over(world, &pod, name).is_some());
        }
    }
    adopted
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// `None`: it is not to be taken over.
fn take_over(world: &mut World, pod: &Arc<Pod>, node: &str) -> Option<()> {
    if !objects::is_active(pod) || !objects::is_ready(pod) || objects::phase(pod) != "Running" {
        return None;
    }
    let status = pod.status.as_ref()?;
    let all = || status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let of = |name: &str| all().find(|status| status.name == name);
    let uid = pod.metadata.uid.clone()?;
    let mut worker = Worker::new(world, &objects::key_of(&pod.metadata), node, Arc::clone(pod));
    let ready = |role: Role, status: Option<&ContainerStatus>| role == Role::Init || status.and_then(began).is_some();
    if worker.containers.iter().any(|container| container.app.is_err() || !ready(container.role, of(&container.name))) {
        return None;
    }
    let (now, wall) = (world.time(), world.wall());
    for container in &mut worker.containers {
        let (life, status) = (world.kubelets.processes.number(), of(&container.name));
        let began = status.and_then(began).cloned().unwrap_or_else(|| now.clone());
        if container.role == Role::Init {
            container.is_through(life, began);
            continue;
        }
        // Their tickers began at all sorts of times.
        if let Some(of) = spec_of(pod, &container.name) {
            container.probers = Prober::all(of, |period| world.up_to(period));
        }
        let age = Duration::try_from(wall.duration_since(began.0)).unwrap_or_default();
        container.runs_on(life, began, age, status.map_or(0, |status| status.restart_count));
    }
    worker.sandbox_is_up(world);
    // Without an address it can't go on as it was.
    let address = worker.address?;
    for container in &worker.containers {
        let (Some(run), Ok(app)) = (container.run(), &container.app) else { continue };
        // It runs, whatever its Corefile says by now.
        dns::starts(world, &worker.pod, &container.image, run.life);
        let process = Process {
            listens: Some(Instant::now()),
            ..Process::new(&worker.key, &uid, run.life, &container.ports, app)
        };
        world.kubelets.processes.start(address, process, None);
    }
    status::write(world, &worker);
    worker.pod = world.store.get::<Pod>(&worker.key.namespace, &worker.key.name)?;
    worker.advance(world);
    world.kubelets.workers.insert(uid, worker);
    Some(())
}

/// Since when a container runs, if it does.
fn began(status: &ContainerStatus) -> Option<&Time> {
    status.state.as_ref()?.running.as_ref()?.started_at.as_ref()
}

fn spec_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a k8s_openapi::api::core::v1::Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}
