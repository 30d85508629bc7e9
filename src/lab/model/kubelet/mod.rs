//! The kubelets, one per node: they run the pods that are bound to it, probe them, and write down what becomes of them.
//!
//! A kubelet learns of a change a moment after it happened. From then on it keeps a [worker](worker::Worker) for the pod, which goes on by
//! itself: it knows when something is due next, and has one errand come for it then. What the applications in the containers do is said by
//! annotations of the pods, which [`app`] lists.

mod adopt;
mod app;
mod containers;
mod ending;
mod power;
mod probes;
mod process;
mod starting;
mod status;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use tokio::time::Instant;

pub(in crate::lab) use self::adopt::adopt;
pub(in crate::lab) use self::ending::hook;
pub(super) use self::power::{network_changed, power_changed};
pub(in crate::lab) use self::process::Process;
use self::process::Processes;
use self::worker::Worker;
use super::{Task, objects};
use crate::lab::store::{Change, KINDS, Object, ObjectKey, number_of};
use crate::lab::world::World;

/// What runs on the nodes.
#[derive(Debug, Default)]
pub(in crate::lab) struct Kubelets {
    processes: Processes,
    /// By the uids of their pods.
    workers: BTreeMap<String, Worker>,
    machines: BTreeMap<String, power::Machine>,
    /// When an image came to a node.
    images: BTreeMap<(String, String), Instant>,
}

/// What a kubelet is to do.
#[derive(Debug, Clone)]
pub(in crate::lab) enum Errand {
    /// Look at a pod that has changed.
    Look { key: ObjectKey, uid: String, node: String },
    /// Go on with a pod for which something is due.
    Go { uid: String },
}

impl Kubelets {
    /// What runs, or ran last, at an address and port; what holds the address where nobody has the port, which never listens. `None`: the
    /// address is nobody's.
    pub(in crate::lab) fn at(&self, address: IpAddr, port: u16) -> Option<&Process> {
        self.processes.at(address, port)
    }

    /// The processes that run in a pod, by their containers.
    pub(in crate::lab) fn lives_of(&self, uid: &str) -> Vec<(String, u64)> {
        let containers = self.workers.get(uid).into_iter().flat_map(|worker| &worker.containers);
        containers.filter_map(|container| Some((container.name.clone(), container.run()?.life))).collect()
    }

    /// The process of a life, also one that ended, for as long as a request may be in flight.
    pub(in crate::lab) fn life(&self, life: u64) -> Option<&Process> {
        self.processes.life(life)
    }

    /// Has a process answer with another status from now on.
    #[cfg(test)]
    pub(in crate::lab) fn answer_with(&mut self, life: u64, status: u16) {
        if let Some(process) = self.processes.life_mut(life) {
            process.status = status;
        }
    }

    /// The node on which a process runs; `None`: its pod is over.
    pub(in crate::lab) fn node_of(&self, process: &Process) -> Option<&str> {
        self.workers.get(&process.uid).map(|worker| worker.node.as_str())
    }
}

pub(super) fn observe(world: &mut World, change: &Change) {
    let object = change.object();
    match KINDS[object.kind].kind {
        "Node" if change.before.is_none() || change.after.is_none() => power_changed(world, &object.key.name),
        "Pod" => {
            let node = object.node().unwrap_or_default();
            let (before, after) = (change.before.as_deref(), change.after.as_deref());
            if !node.is_empty() && concerns(before, after) {
                let (key, uid, node) = (object.key.clone(), object.uid().to_owned(), node.to_owned());
                world.later(world.settings.notice, Task::Kubelet(Errand::Look { key, uid, node }));
            }
        }
        _ => {}
    }
}

/// Whether a change of a pod is one that its kubelet did not make.
fn concerns(before: Option<&Object>, after: Option<&Object>) -> bool {
    let (Some(before), Some(after)) = (before.and_then(Object::seen::<Pod>), after.and_then(Object::seen::<Pod>))
    else {
        return true;
    };
    let gates = after.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let (was, is) = (&before.metadata, &after.metadata);
    before.spec != after.spec
        || was.deletion_timestamp != is.deletion_timestamp
        || was.deletion_grace_period_seconds != is.deletion_grace_period_seconds
        || was.annotations != is.annotations
        || (gates.is_some_and(|gates| !gates.is_empty()) && conditions(before) != conditions(after))
}

fn conditions(pod: &Pod) -> Option<&Vec<PodCondition>> {
    pod.status.as_ref()?.conditions.as_ref()
}

pub(super) fn perform(world: &mut World, errand: Errand) {
    match errand {
        Errand::Look { key, uid, node } => {
            if world.kubelets.works(&node) && !world.nodes.is_cut_off(&node) {
                take_up(world, &key, &uid, &node);
            }
        }
        Errand::Go { uid } => with(world, &uid, |_, worker| {
            // Others may have been sent since, for something that comes later.
            worker.planned = worker.planned.filter(|planned| *planned > Instant::now());
        }),
    }
}

/// Has a pod's kubelet see it as it is.
fn take_up(world: &mut World, key: &ObjectKey, uid: &str, node: &str) {
    let stored = world.store.get::<Pod>(&key.namespace, &key.name);
    let stored = stored.filter(|pod| pod.metadata.uid.as_deref() == Some(uid));
    if world.kubelets.workers.contains_key(uid) {
        return with(world, uid, |world, worker| match stored {
            Some(pod) => worker.changed(world, pod),
            None => worker.vanished(world),
        });
    }
    let Some(pod) = stored else { return };
    let leaves = pod.metadata.deletion_timestamp.is_some();
    if !objects::is_finished(&pod) {
        let worker = Worker::new(world, key, node, Arc::clone(&pod));
        world.kubelets.workers.insert(uid.to_owned(), worker);
        with(world, uid, |world, worker| {
            if leaves {
                worker.deleted(world);
            }
        });
    } else if leaves {
        objects::delete(world, number_of::<Pod>(), key, Some(0));
    }
}

/// Does something with a pod's worker, and lets it go on.
fn with(world: &mut World, uid: &str, act: impl FnOnce(&mut World, &mut Worker)) {
    let Some(mut worker) = world.kubelets.workers.remove(uid) else { return };
    if !worker.frozen {
        act(world, &mut worker);
        worker.advance(world);
    }
    if !worker.over {
        world.kubelets.workers.insert(uid.to_owned(), worker);
    }
}

impl Worker {
    /// The pod is another than the kubelet last saw.
    fn changed(&mut self, world: &mut World, pod: Arc<Pod>) {
        self.pod = pod;
        self.read_apps(&world.settings);
        if self.pod.metadata.deletion_timestamp.is_some() {
            self.deleted(world);
        }
        self.touch(&world.settings);
    }

    /// The pod is in the API no more: its containers end as they would have been made to end by then.
    fn vanished(&mut self, world: &mut World) {
        self.gone = true;
        self.deleted(world);
        self.look_for_end(world);
    }
}
