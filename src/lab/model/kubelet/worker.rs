//! What a kubelet keeps of a pod, and how that goes on: at each instant at which something is due, everything that is.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{self as core, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::Errand;
use super::app::App;
use super::containers::{Container, Role};
use super::ending::{Ending, Why};
use super::power::next_relist;
use super::probes::{Effect, Kind, Prober, Shot, Target};
use super::process::Process;
use super::status;
use crate::lab::model::Task;
use crate::lab::settings::Settings;
use crate::lab::store::ObjectKey;
use crate::lab::world::World;

/// How far a pod's sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is there then.
    Creating {
        until: Instant,
    },
    Up,
    /// It is not needed any more.
    Down,
}

/// See the module's documentation.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the pod")]
pub(super) struct Worker {
    pub key: ObjectKey,
    pub uid: String,
    pub node: String,
    /// As the kubelet last saw it.
    pub pod: Arc<Pod>,
    /// Init containers, then the others, each in the order of the spec.
    pub containers: Vec<Container>,
    pub stage: Stage,
    /// The life of its sandbox.
    pub sandbox: Option<u64>,
    pub address: Option<IpAddr>,
    /// When the kubelet took it up.
    pub began: Time,
    pub deadline: Option<Instant>,
    pub ending: Option<Ending>,
    /// Seconds that its containers have to end; 0: nobody has asked yet.
    pub grace: u64,
    /// Whether its init containers are through.
    pub initialized: bool,
    /// When its status is written and what should be is compared with what is.
    pub sync_at: Option<Instant>,
    /// When its kubelet sees what became of its containers by themselves, or that they run.
    pub relist_at: Option<Instant>,
    /// It has seen that since its status was written.
    pub listed: bool,
    /// It is in the API no more.
    pub gone: bool,
    /// Its node has no power.
    pub frozen: bool,
    /// Its node has no network: nothing is heard of the pod.
    pub cut_off: bool,
    /// There is nothing more to be done for it.
    pub over: bool,
    /// When an errand will come for it.
    pub planned: Option<Instant>,
}

impl Worker {
    /// Takes a pod up.
    pub(super) fn new(world: &mut World, key: &ObjectKey, node: &str, pod: Arc<Pod>) -> Self {
        let now = Instant::now();
        let spec = pod.spec.as_ref();
        let started = pod.status.as_ref().and_then(|status| status.start_time.clone()).unwrap_or_else(|| world.time());
        let ran = Duration::try_from(world.time().0.duration_since(started.0)).unwrap_or_default();
        let deadline = spec.and_then(|spec| u64::try_from(spec.active_deadline_seconds?).ok());
        let deadline = deadline.map(|seconds| now + Duration::from_secs(seconds).saturating_sub(ran));
        let mut worker = Self {
            key: key.clone(),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            node: node.to_owned(),
            containers: spec.map(|spec| containers(world, &pod, spec, node)).unwrap_or_default(),
            stage: Stage::Creating { until: now },
            sandbox: None,
            address: None,
            began: started,
            deadline,
            ending: None,
            grace: 0,
            initialized: false,
            sync_at: None,
            relist_at: None,
            listed: false,
            gone: false,
            frozen: false,
            cut_off: false,
            over: false,
            planned: None,
            pod,
        };
        next_relist(world, node, now);
        worker.create_sandbox(world);
        worker
    }

    /// Has a sandbox made.
    pub(super) fn create_sandbox(&mut self, world: &mut World) {
        let takes = world.settings.start + world.up_to(world.settings.start_spread);
        self.stage = Stage::Creating { until: Instant::now() + takes };
        self.initialized = false;
        self.touch(&world.settings);
    }

    /// Has the pod synced as soon as the kubelet notices.
    pub(super) fn touch(&mut self, settings: &Settings) {
        let at = Instant::now() + settings.status;
        self.sync_at = Some(self.sync_at.map_or(at, |before| before.min(at)));
    }

    /// Has the pod synced once its kubelet has asked the runtime what runs.
    pub(super) fn await_relist(&mut self, world: &mut World) {
        // What happens at the very instant of one is not in its answer.
        let at = next_relist(world, &self.node, Instant::now() + Duration::from_nanos(1));
        self.relist_at = Some(self.relist_at.map_or(at, |before| before.min(at)));
    }

    /// The runtime says what runs: containers that ended by themselves have ended as far as the kubelet knows.
    fn relist(&mut self, world: &mut World) {
        (self.relist_at, self.listed) = (None, true);
        for index in 0..self.containers.len() {
            if self.containers[index].run().is_some_and(|run| run.dead.is_some()) {
                self.exited(world, index, 0);
            }
        }
        self.touch(&world.settings);
    }

    pub(super) fn in_host_network(&self) -> bool {
        self.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
    }

    /// The pod as the store has it, unless another has its name by now.
    pub(super) fn stored(&self, world: &World) -> Option<Arc<Pod>> {
        let stored = world.store.get::<Pod>(&self.key.namespace, &self.key.name);
        stored.filter(|pod| pod.metadata.uid.as_deref() == Some(&self.uid))
    }

    /// Does everything that is due.
    pub(super) fn advance(&mut self, world: &mut World) {
        while !self.over && self.step(world) {}
        if self.over {
            return self.release(world);
        }
        if let Some(due) = self.due()
            && self.planned.is_none_or(|planned| due < planned)
        {
            self.planned = Some(due);
            let after = due.saturating_duration_since(Instant::now());
            world.later(after, Task::Kubelet(Errand::Go { uid: self.uid.clone() }));
        }
    }

    /// Does one thing that is due. Whether there was one.
    fn step(&mut self, world: &mut World) -> bool {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Stage::Creating { until } = self.stage
            && until <= now
            && self.ending.is_none()
        {
            self.sandbox_is_up(world);
            return true;
        }
        if due(self.deadline) && self.ending.is_none() {
            self.end(world, Why::Deadline);
            return true;
        }
        let all = 0..self.containers.len();
        if all.clone().any(|index| self.step_container(world, index)) {
            return true;
        }
        if all.clone().any(|index| self.step_probes(world, index)) {
            return true;
        }
        if due(self.relist_at) {
            self.relist(world);
            return true;
        }
        if due(self.sync_at) {
            self.sync(world);
            return true;
        }
        if due(self.leaves()) {
            self.leave(world);
            return true;
        }
        false
    }

    fn due(&self) -> Option<Instant> {
        let sandbox = match self.stage {
            Stage::Creating { until } if self.ending.is_none() => Some(until),
            _ => None,
        };
        let deadline = self.deadline.filter(|_| self.ending.is_none());
        let own = [sandbox, deadline, self.sync_at, self.relist_at, self.leaves()];
        own.into_iter().flatten().chain(self.containers.iter().filter_map(Container::due)).min()
    }

    /// When it goes from the API, which a kubelet without a network can't reach.
    fn leaves(&self) -> Option<Instant> {
        self.ending.as_ref().and_then(|ending| ending.leaves).filter(|_| !self.cut_off)
    }

    pub(super) fn sandbox_is_up(&mut self, world: &mut World) {
        let Some(address) = world.kubelets.address(&world.store, &self.node, self.in_host_network()) else {
            // No address is free: the kubelet tries again.
            self.stage = Stage::Creating { until: Instant::now() + Duration::from_secs(10) };
            return;
        };
        let life = world.kubelets.processes.number();
        world.kubelets.processes.take(address, Process::sandbox(&self.key, &self.uid, life));
        (self.address, self.sandbox, self.stage) = (Some(address), Some(life), Stage::Up);
        self.await_relist(world);
        self.decide(world);
    }

    /// Gives the address up.
    pub(super) fn release(&mut self, world: &mut World) {
        if let Some(sandbox) = self.sandbox.take() {
            world.kubelets.processes.end(sandbox, false);
        }
        if let Some(address) = self.address.take() {
            world.kubelets.processes.leave(address, &self.uid);
        }
    }

    /// Compares what should be with what is: the status is written, and containers are started or ended.
    pub(super) fn sync(&mut self, world: &mut World) {
        self.sync_at = None;
        // Whoever ends a pod asks the runtime itself.
        if std::mem::take(&mut self.listed) || self.ending.is_some() {
            for container in &mut self.containers {
                container.show();
            }
        }
        let ended = self.ending.is_some() && !self.containers.iter().any(Container::runs);
        if ended {
            self.stage = Stage::Down;
        }
        if !self.gone && !self.cut_off {
            status::write(world, self);
        }
        self.wake_probes(world);
        for index in 0..self.containers.len() {
            self.probe_out_of_turn(world, index);
        }
        self.decide(world);
        // Whoever deletes it later finds it finished.
        self.over |= ended && self.ending.as_ref().is_some_and(|ending| ending.why != Why::Deleted);
    }

    /// Something happened in the pod that may change what its probes find.
    pub(super) fn wake_probes(&mut self, world: &World) {
        for index in 0..self.containers.len() {
            for at in 0..self.containers[index].probers.len() {
                let target = self.target(index, at);
                let process = target.and_then(|life| world.kubelets.processes.life(life));
                self.containers[index].probers[at].wake(process);
            }
        }
    }

    fn step_probes(&mut self, world: &mut World, index: usize) -> bool {
        let now = Instant::now();
        let probers = &self.containers[index].probers;
        let Some(at) = probers.iter().position(|prober| prober.due().is_some_and(|due| due <= now)) else {
            return false;
        };
        let shot = self.shot(world, index, at);
        let view = self.containers[index].view(self.is_leaving());
        let effect = self.containers[index].probers[at].step(view, shot);
        self.follow(world, index, at, effect);
        true
    }

    /// A container that has started and is not ready is probed whenever its pod is synced.
    fn probe_out_of_turn(&mut self, world: &mut World, index: usize) {
        let container = &self.containers[index];
        let readiness = container.probers.iter().position(|prober| prober.kind == Kind::Readiness);
        let Some(at) = readiness.filter(|_| container.is_started() && !container.is_ready()) else { return };
        let shot = self.shot(world, index, at);
        let view = self.containers[index].view(self.is_leaving());
        let effect = self.containers[index].probers[at].out_of_turn(view, shot);
        self.follow(world, index, at, effect);
    }

    fn follow(&mut self, world: &mut World, index: usize, at: usize, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Changed => self.touch(&world.settings),
            Effect::Fatal => {
                let grace = self.containers[index].probers[at].grace;
                self.kill_for_probe(world, index, grace);
            }
        }
    }

    fn is_leaving(&self) -> bool {
        self.gone || self.pod.metadata.deletion_timestamp.is_some()
    }

    fn shot(&self, world: &World, index: usize, at: usize) -> Shot {
        let process = self.target(index, at).and_then(|life| world.kubelets.processes.life(life));
        self.containers[index].probers[at].shot(process)
    }

    /// The process that a probe asks: by its port any container's of the pod.
    fn target(&self, index: usize, at: usize) -> Option<u64> {
        let port = match self.containers[index].probers[at].target {
            Target::Exec => return self.containers[index].life(),
            Target::Http(port) | Target::Tcp(port) | Target::Grpc(port) => port?,
        };
        let serving = || self.containers.iter().filter(|container| container.role != Role::Init);
        let declared = serving().find(|container| container.ports.contains(&port));
        declared.or_else(|| serving().find(|container| container.ports.is_empty()))?.life()
    }
}

/// The containers of a pod, of which none runs yet.
fn containers(world: &mut World, pod: &Pod, spec: &PodSpec, node: &str) -> Vec<Container> {
    let init = spec.init_containers.iter().flatten().map(|of| match of.restart_policy.as_deref() {
        Some("Always") => (Role::Sidecar, of),
        _ => (Role::Init, of),
    });
    let all = init.chain(spec.containers.iter().map(|of| (Role::Main, of)));
    let one = |(role, of): (Role, &core::Container)| {
        let app = App::of(pod, &of.name, role, &world.settings);
        Container::new(of, role, app, probers(world, of, role, node))
    };
    let mut all: Vec<Container> = all.map(one).collect();
    all.shrink_to_fit();
    all
}

/// The probes of a container. A kubelet that has just started lets each wait for a random part of its period.
pub(super) fn probers(world: &mut World, of: &core::Container, role: Role, node: &str) -> Vec<Prober> {
    if role == Role::Init {
        return Vec::new();
    }
    let up = world.kubelets.booted(node).map(|at| at.elapsed());
    Prober::all(of, |period| if up.is_some_and(|up| up < period) { world.up_to(period) } else { Duration::ZERO })
}
