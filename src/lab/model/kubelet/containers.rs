//! The containers of a pod: what is known of each, how it starts and how it ends.

use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::app::App;
use super::ending::{self, Kill};
use super::probes::{Kind, Prober, View};
use super::process::Process;
use super::worker::Worker;
use crate::lab::dns;
use crate::lab::settings::Settings;
use crate::lab::world::World;

/// The code of a process that was killed.
pub(super) const KILLED: i32 = 137;
/// The code of a process that ended because it was asked to, and took no care.
const TERMINATED: i32 = 143;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the others start.
    Init,
    /// An init container that runs on.
    Sidecar,
    Main,
}

/// A container that runs.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub life: u64,
    /// When it started, in whole seconds of the wall clock, as the status has it.
    pub whole: Instant,
    pub began: Time,
    /// When it will listen.
    listens: Option<Instant>,
    /// When it will hang.
    hangs: Option<Instant>,
    /// When it will end by itself, and with what code.
    exits: Option<(Instant, i32)>,
    /// It has ended by itself, and its kubelet has not seen that yet.
    pub dead: Option<Dead>,
}

/// An end that nobody has seen.
#[derive(Debug, Clone)]
pub(super) struct Dead {
    at: Instant,
    code: i32,
    finished: Time,
}

/// A container that ended.
#[derive(Debug, Clone)]
pub(super) struct Exit {
    pub life: u64,
    pub at: Instant,
    pub code: i32,
    pub reason: &'static str,
    pub began: Time,
    pub finished: Time,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// It is not its turn; or something is wrong with what is said of it.
    Waiting {
        error: Option<String>,
    },
    /// It starts then: its image is pulled, or those before it start.
    Starting {
        at: Instant,
    },
    Running(Run),
    Ended(Exit),
}

/// How long the next restart waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub wait: Duration,
    /// When it became so long.
    pub at: Instant,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Container {
    pub name: String,
    pub image: String,
    pub role: Role,
    pub app: Result<App, String>,
    /// What is done before SIGTERM, and how long it takes.
    pub hook: Option<Duration>,
    pub ports: Vec<u16>,
    pub probers: Vec<Prober>,
    pub state: State,
    /// How the run before the one of the state ended.
    pub last: Option<Exit>,
    pub restarts: i32,
    pub backoff: Option<Backoff>,
    /// Since the kubelet last looked it is held back from a restart.
    pub held_back: Option<Duration>,
    /// When the kubelet looks at it again.
    pub retry: Option<Instant>,
    pub kill: Option<Kill>,
    /// The container that the pod's status shows, and since when that runs.
    pub shown: Option<(u64, Option<Instant>)>,
    ran: bool,
}

impl Container {
    pub(super) fn new(of: &core::Container, role: Role, app: Result<App, String>, probers: Vec<Prober>) -> Self {
        let ports = of.ports.iter().flatten().filter_map(|port| u16::try_from(port.container_port).ok());
        Self {
            name: of.name.clone(),
            image: of.image.clone().unwrap_or_default(),
            role,
            app,
            hook: ending::hook(of),
            ports: ports.collect(),
            probers,
            state: State::Waiting { error: None },
            last: None,
            restarts: 0,
            backoff: None,
            held_back: None,
            retry: None,
            kill: None,
            shown: None,
            ran: false,
        }
    }

    pub(super) const fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    pub(super) const fn runs(&self) -> bool {
        self.run().is_some()
    }

    /// How it ended, if it has and is not about to start again.
    pub(super) const fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    /// Its process, or the last one that it had.
    pub(super) fn life(&self) -> Option<u64> {
        match &self.state {
            State::Running(run) => Some(run.life),
            State::Ended(exit) => Some(exit.life),
            State::Waiting { .. } | State::Starting { .. } => self.last.as_ref().map(|exit| exit.life),
        }
    }

    fn prober(&self, kind: Kind) -> Option<&Prober> {
        self.probers.iter().find(|prober| prober.kind == kind)
    }

    /// Whether it has started as far as the status shows it: its startup probe has succeeded.
    pub(super) fn is_started(&self) -> bool {
        let Some((life, Some(_))) = self.shown else { return false };
        self.prober(Kind::Startup).is_none_or(|prober| prober.is_stopped() || prober.succeeded(life))
    }

    pub(super) fn is_ready(&self) -> bool {
        let Some((life, Some(_))) = self.shown else { return false };
        self.is_started() && self.prober(Kind::Readiness).is_none_or(|prober| prober.succeeded(life))
    }

    /// What its probes know of it.
    pub(super) fn view(&self, leaving: bool) -> View {
        View {
            life: self.shown.map(|(life, _)| life),
            since: self.shown.and_then(|(_, since)| since),
            started: self.is_started(),
            leaving,
        }
    }

    /// The pod's status shows it as it now is.
    pub(super) fn show(&mut self) {
        self.shown = self.life().map(|life| (life, self.run().map(|run| run.whole)));
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> Option<Instant> {
        let own = match &self.state {
            State::Starting { at } => Some(*at),
            State::Running(run) => {
                let kill = self.kill.as_ref().map(Kill::due);
                let exits = run.exits.map(|(at, _)| at);
                [run.listens, run.hangs, exits, kill].into_iter().flatten().min()
            }
            State::Waiting { .. } => None,
            State::Ended(_) => self.retry,
        };
        own.into_iter().chain(self.probers.iter().filter_map(Prober::due)).min()
    }

    /// It has run since `began`, and its status shows it; its probes found it working.
    pub(super) fn runs_on(&mut self, life: u64, began: Time, age: Duration, restarts: i32) {
        let now = Instant::now();
        let whole = now.checked_sub(age).unwrap_or(now);
        // What its application does after a while, it does from now on.
        let hangs = self.app.as_ref().ok().and_then(|app| Some(now + app.hangs_after?));
        let exits = self.app.as_ref().ok().and_then(|app| own_end(app, self.role));
        let exits = exits.map(|(after, code)| (now + after, code));
        self.state = State::Running(Run { life, whole, began, listens: None, hangs, exits, dead: None });
        (self.shown, self.restarts, self.ran) = (Some((life, Some(whole))), restarts, true);
        for prober in &mut self.probers {
            prober.has_found(life);
        }
    }

    /// It has ended well before.
    pub(super) fn is_through(&mut self, life: u64, began: Time) {
        let exit = Exit { life, at: Instant::now(), code: 0, reason: "Completed", finished: began.clone(), began };
        (self.state, self.shown, self.ran) = (State::Ended(exit), Some((life, None)), true);
    }

    /// Its next start begins with a clean slate, as in a new sandbox.
    pub(super) fn forget(&mut self) {
        if let State::Ended(exit) = &self.state {
            self.last = Some(exit.clone());
        }
        (self.backoff, self.held_back, self.retry, self.kill) = (None, None, None, None);
        self.state = State::Waiting { error: None };
    }
}

/// When the process of a container ends by itself, and with what code.
fn own_end(app: &App, role: Role) -> Option<(Duration, i32)> {
    let init = (role == Role::Init).then_some((app.init, 0));
    let crash = app.crashes_after.map(|after| (after, 1));
    let end = app.ends_after.map(|after| (after, 0));
    [init, crash, end].into_iter().flatten().min()
}

impl Worker {
    /// Does what is due about a container, apart from its probes. Whether there was anything.
    pub(super) fn step_container(&mut self, world: &mut World, index: usize) -> bool {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let container = &mut self.containers[index];
        match &mut container.state {
            State::Starting { at } if *at <= now => self.start(world, index),
            State::Ended(_) if due(container.retry) => {
                container.retry = None;
                self.sync_at = Some(now);
            }
            State::Running(run) => {
                let process = world.kubelets.processes.life_mut(run.life);
                if let Some((_, code)) = run.exits.filter(|(at, _)| *at <= now) {
                    self.died(world, index, code);
                } else if due(run.listens) {
                    run.listens = None;
                    if let Some(process) = process {
                        process.listens = Some(now);
                    }
                    self.wake_probes(world);
                } else if due(run.hangs) {
                    run.hangs = None;
                    if let Some(process) = process {
                        process.hangs = Some(now);
                    }
                    self.wake_probes(world);
                } else {
                    return self.step_kill(world, index);
                }
            }
            _ => return false,
        }
        true
    }

    fn start(&mut self, world: &mut World, index: usize) {
        let now = Instant::now();
        let life = world.kubelets.processes.number();
        let container = &mut self.containers[index];
        let app = match &container.app {
            Ok(app) => app,
            Err(error) => {
                // It was changed meanwhile.
                container.state = State::Waiting { error: Some(error.clone()) };
                return self.touch(&world.settings);
            }
        };
        let fraction = u64::try_from(world.wall().subsec_nanosecond()).map(Duration::from_nanos).unwrap_or_default();
        let stays = container.role == Role::Init || dns::starts(world, &self.pod, &container.image, life);
        let ends = if stays { own_end(app, container.role) } else { Some((Duration::ZERO, 1)) };
        let run = Run {
            life,
            whole: now.checked_sub(fraction).unwrap_or(now),
            began: world.time(),
            listens: (container.role != Role::Init).then_some(now + app.starts_in),
            hangs: app.hangs_after.map(|after| now + after),
            exits: ends.map(|(after, code)| (now + after, code)),
            dead: None,
        };
        let process = Process::new(&self.key, &self.uid, life, &container.ports, app);
        let before = container.last.as_ref().map(|exit| exit.life);
        container.restarts += i32::from(std::mem::replace(&mut container.ran, true));
        container.state = State::Running(run);
        container.held_back = None;
        if container.role != Role::Init
            && let Some(address) = self.address
        {
            world.kubelets.processes.start(address, process, before);
        }
        self.await_relist(world);
    }

    /// The process of a container has ended by itself. A kubelet that waits for its end sees that at once, and any other when it next asks
    /// its runtime.
    fn died(&mut self, world: &mut World, index: usize, code: i32) {
        let finished = world.time();
        let container = &mut self.containers[index];
        let State::Running(run) = &mut container.state else { return };
        world.kubelets.processes.end(run.life, false);
        (run.exits, run.listens, run.hangs) = (None, None, None);
        run.dead = Some(Dead { at: Instant::now(), code, finished });
        if container.kill.is_some() {
            return self.exited(world, index, code);
        }
        self.await_relist(world);
        self.wake_probes(world);
    }

    /// The kubelet knows that the process of a container has ended: `code` is that of one it ended itself.
    pub(super) fn exited(&mut self, world: &mut World, index: usize, code: i32) {
        let container = &mut self.containers[index];
        let State::Running(run) = &container.state else { return };
        world.kubelets.processes.end(run.life, false);
        container.state = State::Ended(Exit::of(run, code, None, world));
        let kill = container.kill.take();
        if self.ending.is_some() {
            self.look_for_end(world);
        } else if let Some(kill) = kill {
            if kill.restarts {
                // The kubelet waited for the end and goes on at once. What it knew of earlier ends was from before.
                let known = self.containers[index].last.as_ref().map(|exit| exit.at);
                self.restart(world, index, known);
            }
            self.await_relist(world);
        }
        self.wake_probes(world);
    }

    /// A container went with its node's power: what the runtime finds of it later.
    pub(super) fn lost(&mut self, world: &mut World, index: usize) {
        let container = &mut self.containers[index];
        if let State::Running(run) = &container.state {
            world.kubelets.processes.end(run.life, true);
            container.state = State::Ended(Exit::of(run, 255, Some("Unknown"), world));
        }
        (container.kill, container.retry) = (None, None);
    }

    /// SIGTERM reaches a container's process.
    pub(super) fn signal(&mut self, world: &mut World, index: usize) {
        let now = Instant::now();
        let container = &mut self.containers[index];
        let (State::Running(run), Ok(app)) = (&mut container.state, &container.app) else { return };
        let lame = dns::lame_duck(world, run.life);
        let serves_on = app.serves_on.or(lame);
        let (after, code) = match container.role {
            Role::Init => (Duration::ZERO, TERMINATED),
            _ if app.ignores_sigterm => return,
            _ => (serves_on.unwrap_or(app.stops_in), 0),
        };
        let end = (now + after, code);
        run.exits = Some(run.exits.filter(|(at, _)| *at <= end.0).unwrap_or(end));
        if serves_on.is_some() {
            if let Some(process) = world.kubelets.processes.life_mut(run.life) {
                (process.closes, process.lame) = (app.says_close, lame.is_some());
            }
            return self.wake_probes(world);
        }
        run.listens = None;
        if let Some(process) = world.kubelets.processes.life_mut(run.life)
            && process.ended.is_none()
        {
            if app.drains {
                process.drains = true;
            } else {
                process.ended = Some((now, false));
            }
        }
        self.wake_probes(world);
    }

    /// Reads anew what the pod's annotations say of its containers; what runs stays as it is.
    pub(super) fn read_apps(&mut self, settings: &Settings) {
        for container in &mut self.containers {
            container.app = App::of(&self.pod, &container.name, container.role, settings);
        }
    }
}

impl Exit {
    /// An end that was seen; of one that came before by itself it is that.
    fn of(run: &Run, code: i32, reason: Option<&'static str>, world: &World) -> Self {
        let seen = || Dead { at: Instant::now(), code, finished: world.time() };
        let Dead { at, code, finished } = run.dead.clone().unwrap_or_else(seen);
        let reason = reason.filter(|_| run.dead.is_none());
        let reason = reason.unwrap_or(if code == 0 { "Completed" } else { "Error" });
        Self { life: run.life, at, code, reason, began: run.began.clone(), finished }
    }
}
