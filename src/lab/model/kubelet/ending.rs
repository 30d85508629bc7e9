//! How containers are made to end: what is done before, SIGTERM, and SIGKILL when their time is over.
//!
//! The grace period counts what happens before SIGTERM too, in whole seconds, but leaves at least two for the process. Sidecars end after the
//! main containers, the last one first. Whoever shortens the period has all of it done again with the shorter one.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tokio::time::Instant;

use super::containers::{KILLED, Role, State};
use super::worker::Worker;
use crate::lab::model::objects;
use crate::lab::store::number_of;
use crate::lab::world::World;

/// How long a pod's containers have to end where the pod does not say, in seconds.
const GRACE: u64 = 30;
/// What is left for a process after SIGTERM, however long what came before took.
const LEAST: u64 = 2;

/// Why a whole pod ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody deleted it.
    Deleted,
    /// It ran for as long as it may.
    Deadline,
    /// Its main containers are done.
    Done,
}

/// The end of a pod.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub why: Why,
    /// When it is taken from the API.
    pub leaves: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// What the pod wants done before runs.
    Hook { from: Instant, until: Instant },
    /// Others have to end before.
    Turn { from: Instant, until: Instant },
    /// It got SIGTERM.
    Term { until: Instant },
}

/// The end of a container.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kill {
    /// Whether it is to start again.
    pub restarts: bool,
    /// Seconds left.
    grace: u64,
    ordered: bool,
    stage: Stage,
}

impl Kill {
    pub(super) const fn due(&self) -> Instant {
        match self.stage {
            Stage::Hook { until, .. } | Stage::Turn { until, .. } | Stage::Term { until } => until,
        }
    }
}

impl Worker {
    /// The pod was deleted, or its grace period is another.
    pub(super) fn deleted(&mut self, world: &mut World) {
        let asked = self.pod.metadata.deletion_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
        let shorter = asked.filter(|asked| self.grace == 0 || *asked < self.grace).unwrap_or(self.grace);
        let grace = if shorter == 0 { self.own_grace() } else { shorter }.max(1);
        let news = self.ending.is_none() || grace != self.grace;
        let over = self.ending.as_ref().is_some_and(|ending| ending.why != Why::Deleted);
        self.grace = grace;
        if over && let Some(ending) = &mut self.ending {
            ending.why = Why::Deleted;
        }
        if news {
            self.end(world, Why::Deleted);
        } else if over {
            self.look_for_end(world);
        }
    }

    /// Ends all containers.
    pub(super) fn end(&mut self, world: &mut World, why: Why) {
        let leaves = self.ending.as_ref().and_then(|ending| ending.leaves);
        self.ending = Some(Ending { why, leaves });
        if self.grace == 0 {
            self.grace = self.own_grace().max(1);
        }
        let ordered = self.containers.iter().any(|container| container.role == Role::Sidecar);
        for index in 0..self.containers.len() {
            let container = &mut self.containers[index];
            container.retry = None;
            if let State::Starting { .. } = container.state {
                container.state = State::Waiting { error: None };
            }
            for prober in &mut container.probers {
                if prober.kind != super::probes::Kind::Readiness {
                    prober.stop();
                }
            }
            self.kill(world, index, Kill { restarts: false, grace: self.grace, ordered, stage: begun() });
        }
        self.look_for_end(world);
    }

    /// A probe found that a container must be restarted.
    pub(super) fn kill_for_probe(&mut self, world: &mut World, index: usize, grace: Option<u64>) {
        let container = &self.containers[index];
        if self.ending.is_some() || container.kill.is_some() {
            return;
        }
        let restarts = container.role == Role::Sidecar || self.policy() != "Never";
        let grace = grace.unwrap_or_else(|| self.own_grace());
        self.kill(world, index, Kill { restarts, grace, ordered: false, stage: begun() });
    }

    fn own_grace(&self) -> u64 {
        let own = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        own.and_then(|own| u64::try_from(own).ok()).unwrap_or(GRACE)
    }

    fn kill(&mut self, world: &mut World, index: usize, kill: Kill) {
        let container = &mut self.containers[index];
        if !container.runs() {
            return;
        }
        let (now, grace) = (Instant::now(), Duration::from_secs(kill.grace));
        let takes = container.hook.unwrap_or_default().min(grace);
        let stage = Stage::Hook { from: now, until: now + takes };
        container.kill = Some(Kill { stage, ..kill });
        // One that has ended already needs no signal.
        if container.run().is_some_and(|run| run.dead.is_some()) {
            return self.exited(world, index, 0);
        }
        self.step_kill(world, index);
    }

    /// Does what is due about a container's end. Whether there was anything.
    pub(super) fn step_kill(&mut self, world: &mut World, index: usize) -> bool {
        let now = Instant::now();
        let Some(Kill { grace, ordered, stage, .. }) = self.containers[index].kill else { return false };
        let (grace, stage) = match stage {
            Stage::Hook { until, .. } if until > now => return false,
            Stage::Hook { from, .. } => {
                let left = grace.saturating_sub(now.duration_since(from).as_secs());
                if ordered && left > 0 {
                    (left, Stage::Turn { from: now, until: now + Duration::from_secs(left) })
                } else {
                    (left, self.term(world, index, left))
                }
            }
            Stage::Turn { until, .. } if until > now && !self.is_turn(index) => return false,
            Stage::Turn { from, .. } => {
                let left = grace.saturating_sub(now.duration_since(from).as_secs());
                (left, self.term(world, index, left))
            }
            Stage::Term { until } if until > now => return false,
            Stage::Term { .. } => {
                self.exited(world, index, KILLED);
                return true;
            }
        };
        if let Some(kill) = &mut self.containers[index].kill {
            (kill.grace, kill.stage) = (grace, stage);
        }
        true
    }

    fn term(&mut self, world: &mut World, index: usize, left: u64) -> Stage {
        self.signal(world, index);
        Stage::Term { until: Instant::now() + Duration::from_secs(left.max(LEAST)) }
    }

    /// Whether the containers that have to end before one have ended.
    fn is_turn(&self, index: usize) -> bool {
        let before = |(other, role): (usize, Role)| match role {
            Role::Main => true,
            Role::Sidecar => other > index,
            Role::Init => false,
        };
        let others = || self.containers.iter().enumerate().filter(|(_, container)| container.runs());
        self.containers[index].role != Role::Sidecar || !others().any(|(at, other)| before((at, other.role)))
    }

    /// Whether the pod has ended, and what follows from it.
    pub(super) fn look_for_end(&mut self, world: &mut World) {
        if self.containers.iter().any(super::containers::Container::runs) {
            return;
        }
        let Some(ending) = &mut self.ending else { return };
        if self.gone {
            self.over = true;
        } else if ending.why == Why::Deleted {
            ending.leaves.get_or_insert_with(|| Instant::now() + world.settings.clean_up);
        }
        self.touch(&world.settings);
    }

    /// Takes the pod from the API.
    pub(super) fn leave(&mut self, world: &mut World) {
        if self.sync_at.is_some() {
            self.sync(world);
        }
        self.over = true;
        if self.stored(world).is_some() {
            objects::delete(world, number_of::<k8s_openapi::api::core::v1::Pod>(), &self.key, Some(0));
        }
    }
}

/// Where each end begins; [`Worker::kill`] puts the time of the container's hook in its place.
fn begun() -> Stage {
    let now = Instant::now();
    Stage::Hook { from: now, until: now }
}

/// How long what a container wants done before its end takes. Of a command only its `sleep` is known; requests are answered at once.
pub(in crate::lab) fn hook(of: &Container) -> Option<Duration> {
    let hook = of.lifecycle.as_ref()?.pre_stop.as_ref()?;
    if let Some(sleep) = &hook.sleep {
        return Some(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)));
    }
    let command = hook.exec.as_ref().and_then(|exec| exec.command.as_deref()).unwrap_or_default();
    let words = command.iter().flat_map(|word| word.split(|c: char| c.is_whitespace() || ";&|()".contains(c)));
    let mut slept = Duration::ZERO;
    let mut sleeps = false;
    for word in words.filter(|word| !word.is_empty()) {
        match seconds(word).filter(|_| sleeps) {
            Some(time) => slept += time,
            None => sleeps = word == "sleep" || word.ends_with("/sleep"),
        }
    }
    Some(slept)
}

/// `5`, `0.5`, `5s` or `1m`, as `sleep` reads it.
fn seconds(word: &str) -> Option<Duration> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0)];
    let unit = units.iter().find_map(|(unit, each)| Some((word.strip_suffix(*unit)?, *each)));
    let (number, each) = unit.unwrap_or((word, 1.0));
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * each).ok()
}
