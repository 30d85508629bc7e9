//! What a kubelet writes of a pod into its status.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    Pod, PodCondition, PodIP,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::containers::{Container, Exit, Role, State};
use super::ending::Why;
use super::worker::{Stage, Worker};
use crate::lab::model::objects;
use crate::lab::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    const fn is_last(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// How many containers there are of each sort.
#[derive(Debug, Default)]
struct Tally {
    to_init: usize,
    failed_init: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

impl Tally {
    fn add(&mut self, container: &Container) {
        let exit = match &container.state {
            State::Running(_) => None,
            State::Ended(exit) => Some(exit),
            State::Waiting { .. } | State::Starting { .. } => container.last.as_ref(),
        };
        let code = exit.map(|exit| exit.code);
        let ended = container.exit().is_some() && container.held_back.is_none();
        match (container.role, container.runs(), code) {
            (Role::Init, _, Some(code)) => self.failed_init += usize::from(code != 0),
            (Role::Sidecar, true, _) => self.to_init += usize::from(!container.is_started()),
            (Role::Sidecar, false, Some(_)) => {}
            (Role::Init | Role::Sidecar, _, None) => self.to_init += 1,
            (Role::Main, true, _) => self.running += 1,
            (Role::Main, false, Some(code)) => {
                self.stopped += 1;
                self.succeeded += usize::from(ended && code == 0);
            }
            (Role::Main, false, None) => self.waiting += 1,
        }
    }
}

/// The phase that a pod's containers make.
pub(super) fn phase(worker: &Worker) -> Phase {
    let mut tally = Tally::default();
    worker.containers.iter().for_each(|container| tally.add(container));
    let ending = worker.ending.as_ref().map(|ending| ending.why);
    let over = ending.is_some() && !worker.containers.iter().any(Container::runs);
    let begun = tally.running + tally.stopped > 0;
    let all_well = tally.stopped > 0 && tally.stopped == tally.succeeded;
    match worker.policy() {
        _ if ending == Some(Why::Deadline) => Phase::Failed,
        "Never" if tally.failed_init > 0 => Phase::Failed,
        _ if (tally.to_init > 0 && !begun) || tally.waiting > 0 => {
            if over {
                Phase::Failed
            } else {
                Phase::Pending
            }
        }
        _ if tally.running > 0 => Phase::Running,
        _ if over => {
            if all_well {
                Phase::Succeeded
            } else {
                Phase::Failed
            }
        }
        "Always" => Phase::Running,
        _ if all_well => Phase::Succeeded,
        "Never" => Phase::Failed,
        _ => Phase::Running,
    }
}

/// Writes a pod's status as its containers now are.
pub(super) fn write(world: &mut World, worker: &Worker) {
    if worker.stored(world).is_none() {
        return;
    }
    let host = world.kubelets.host(&world.store, &worker.node).to_string();
    let now = world.time();
    world.store.update::<Pod>(&worker.key.namespace, &worker.key.name, |pod| {
        fill(pod, worker, host);
        conditions(pod, worker, &now);
    });
}

fn fill(pod: &mut Pod, worker: &Worker, host: String) {
    let status = pod.status.get_or_insert_default();
    let phase = phase(worker);
    // A pod is not over before its last container is.
    if !phase.is_last() || !worker.containers.iter().any(Container::runs) {
        status.phase = Some(phase.name().to_owned());
        if worker.ending.as_ref().is_some_and(|ending| ending.why == Why::Deadline) {
            status.reason = Some("DeadlineExceeded".to_owned());
            status.message = Some("Pod was active on the node longer than the specified deadline".to_owned());
        }
    }
    status.start_time.get_or_insert_with(|| worker.began.clone());
    status.host_ips = Some(vec![HostIP { ip: host.clone() }]);
    status.host_ip = Some(host);
    if let Some(address) = worker.address {
        status.pod_ips = Some(vec![PodIP { ip: address.to_string() }]);
        status.pod_ip = Some(address.to_string());
    }
    let of = |init: bool| {
        let all = worker.containers.iter().filter(move |container| (container.role != Role::Main) == init);
        let mut all: Vec<ContainerStatus> = all.map(|container| container_status(worker, container)).collect();
        // Most have one: the room for three more would be kilobytes, in thousands of pods.
        all.shrink_to_fit();
        (!all.is_empty()).then_some(all)
    };
    status.init_container_statuses = of(true);
    status.container_statuses = of(false);
    if let Some(all) = &mut status.container_statuses {
        all.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

fn container_status(worker: &Worker, container: &Container) -> ContainerStatus {
    let ready = match (container.role, &container.state) {
        (Role::Init, State::Ended(exit)) => exit.code == 0,
        _ => container.is_ready(),
    };
    let (state, last) = states(worker, container);
    ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        image_id: if container.life().is_some() { container.image.clone() } else { String::new() },
        container_id: container.life().map(id),
        ready,
        started: Some(container.role != Role::Init && container.is_started()),
        restart_count: container.restarts,
        state: Some(state),
        last_state: Some(last),
        ..ContainerStatus::default()
    }
}

fn id(life: u64) -> String {
    format!("containerd://{life:064x}")
}

/// What a container is in, and what it was in before.
fn states(worker: &Worker, container: &Container) -> (ContainerState, ContainerState) {
    let waiting = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    };
    let ended = |exit: &Exit| ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(id(exit.life)),
            exit_code: exit.code,
            reason: Some(exit.reason.to_owned()),
            started_at: Some(exit.began.clone()),
            finished_at: Some(exit.finished.clone()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    };
    let last = container.last.as_ref().map(ended).unwrap_or_default();
    match &container.state {
        State::Running(run) => {
            let running = ContainerStateRunning { started_at: Some(run.began.clone()) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, last)
        }
        State::Ended(exit) => match container.held_back {
            Some(wait) if worker.ending.is_none() => {
                let (key, name) = (&worker.key, &container.name);
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}_{}({})",
                    in_words(wait.as_secs()),
                    key.name,
                    key.namespace,
                    worker.uid
                );
                (waiting("CrashLoopBackOff", Some(message)), ended(exit))
            }
            _ => (ended(exit), last),
        },
        State::Waiting { error: Some(error) } => (waiting("CreateContainerConfigError", Some(error.clone())), last),
        State::Waiting { error: None } | State::Starting { .. } => {
            let init = worker.containers.iter().any(|other| other.role != Role::Main);
            (waiting(if init { "PodInitializing" } else { "ContainerCreating" }, None), last)
        }
    }
}

/// As Go writes whole seconds: `10s`, `2m40s`, `5m0s`.
fn in_words(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{}s", seconds / 60, seconds % 60) }
}

fn conditions(pod: &mut Pod, worker: &Worker, now: &Time) {
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let over = match phase.as_str() {
        "Succeeded" => Some("PodCompleted"),
        "Failed" => Some("PodFailed"),
        _ => None,
    };
    let unready = |main: bool, good: fn(&Container) -> bool| {
        let of = worker.containers.iter().filter(move |container| (container.role == Role::Main) == main);
        let names: Vec<&str> =
            of.filter(|container| !good(container)).map(|container| container.name.as_str()).collect();
        (!names.is_empty()).then(|| format!("[{}]", names.join(" ")))
    };
    let uninit = unready(false, is_through).filter(|_| !worker.initialized && over != Some("PodCompleted"));
    let uninit =
        uninit.map(|names| ("ContainersNotInitialized", format!("containers with incomplete status: {names}")));
    let unfit = match (over, unready(true, Container::is_ready)) {
        (Some(reason), _) => Some((reason, String::new())),
        (None, names) => names.map(|names| ("ContainersNotReady", format!("containers with unready status: {names}"))),
    };
    let unready = unfit.clone().or_else(|| closed_gate(pod).map(|why| ("ReadinessGatesNotReady", why)));
    let sandbox = worker.stage == Stage::Up && !worker.frozen;
    set(pod, now, "PodReadyToStartContainers", (!sandbox).then(|| ("", String::new())).as_ref());
    set(pod, now, "Initialized", uninit.as_ref());
    set(pod, now, "Ready", unready.as_ref());
    set(pod, now, "ContainersReady", unfit.as_ref());
    set(pod, now, "PodScheduled", None);
}

/// Whether an init container lets the next one start.
fn is_through(container: &Container) -> bool {
    match container.role {
        Role::Init => container.exit().is_some_and(|exit| exit.code == 0),
        _ => container.is_started(),
    }
}

/// Why a pod is not ready though its containers are: others have to agree.
fn closed_gate(pod: &Pod) -> Option<String> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    gates.iter().find_map(|gate| {
        let name = &gate.condition_type;
        match objects::condition(pod, name) {
            None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
            Some(condition) if condition.status != "True" => {
                Some(format!("the status of pod readiness gate \"{name}\" is not \"True\", but {}", condition.status))
            }
            Some(_) => None,
        }
    })
}

/// A condition that holds, or does not for a reason.
fn set(pod: &mut Pod, now: &Time, type_: &str, against: Option<&(&str, String)>) {
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (reason, message) = against.map_or((None, None), |(why, more)| (filled(why), filled(more)));
    let status = if against.is_some() { "False" } else { "True" }.to_owned();
    let condition = PodCondition { type_: type_.to_owned(), status, reason, message, ..PodCondition::default() };
    objects::set_condition(pod, condition, now);
}
