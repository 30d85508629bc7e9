//! Which container of a pod is to start next, and when one may start again.

use std::time::Duration;

use tokio::time::Instant;

use super::containers::{Backoff, Role, State};
use super::ending::Why;
use super::power::next_relist;
use super::status::{self, Phase};
use super::worker::{Stage, Worker};
use crate::lab::world::World;

/// Between two containers that start one after the other.
const BETWEEN: Duration = Duration::from_millis(1);
/// What the first restart that is held back waits.
const FIRST: Duration = Duration::from_secs(10);
/// What a restart waits at most.
const LONGEST: Duration = Duration::from_mins(5);
/// A container that ran for longer than this starts anew.
const STABLE: Duration = Duration::from_mins(10);
/// When the kubelet looks again at a pod that it could not bring to what it should be: so long, and up to half as long again, at the next
/// of its ticks, a second apart.
const AGAIN: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn policy(&self) -> &str {
        let given = self.pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        given.unwrap_or("Always")
    }

    /// Whether a main container that ended with this code starts again.
    pub(super) fn restarts(&self, code: i32) -> bool {
        match self.policy() {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => true,
        }
    }

    /// Brings the containers closer to what they should be.
    pub(super) fn decide(&mut self, world: &mut World) {
        if self.ending.is_some() || !matches!(self.stage, Stage::Up) {
            return;
        }
        if !self.start_init(world) {
            return self.conclude(world);
        }
        self.initialized = true;
        let mut at = Instant::now();
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            if container.role != Role::Main {
                continue;
            }
            match &container.state {
                State::Waiting { .. } => at = self.schedule(world, index, at) + BETWEEN,
                State::Ended(exit) if self.restarts(exit.code) => {
                    let ended = exit.at;
                    self.restart(world, index, Some(ended));
                }
                _ => {}
            }
        }
        self.conclude(world);
    }

    /// Whether the init containers are through; starts the next one where they are not.
    fn start_init(&mut self, world: &mut World) -> bool {
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            let through = match (container.role, &container.state) {
                (Role::Main, _) => true,
                (_, State::Waiting { .. }) => {
                    self.schedule(world, index, Instant::now());
                    false
                }
                (Role::Init, State::Ended(exit)) if exit.code == 0 => true,
                (role, State::Ended(exit)) => {
                    let ended = exit.at;
                    if role == Role::Sidecar || self.policy() != "Never" {
                        self.restart(world, index, Some(ended));
                    }
                    false
                }
                (Role::Sidecar, State::Running(_)) => container.is_started(),
                _ => false,
            };
            // Once the others run, a sidecar is its own matter.
            if !through && !self.initialized {
                return false;
            }
        }
        true
    }

    /// A pod that has nothing more to do comes to its end.
    fn conclude(&mut self, world: &mut World) {
        if matches!(status::phase(self), Phase::Succeeded | Phase::Failed) {
            self.end(world, Why::Done);
        }
    }

    /// Has a container start as soon as its image is there. When that is.
    fn schedule(&mut self, world: &mut World, index: usize, from: Instant) -> Instant {
        let container = &mut self.containers[index];
        let before = match &container.state {
            State::Waiting { error } => error.clone(),
            _ => None,
        };
        let pull = match &container.app {
            Ok(app) => app.pull,
            Err(error) => {
                let error = Some(error.clone());
                if before != error {
                    container.state = State::Waiting { error };
                    self.touch(&world.settings);
                }
                return from;
            }
        };
        let at = pull.map_or(from, |pull| world.kubelets.image(&self.node, &container.image, pull, from));
        if let State::Ended(exit) = &container.state {
            container.last = Some(exit.clone());
        }
        container.state = State::Starting { at };
        at
    }

    /// Starts a container again, unless it is held back. `known` is when the kubelet last knew it to have ended.
    pub(super) fn restart(&mut self, world: &mut World, index: usize, known: Option<Instant>) {
        let now = Instant::now();
        let container = &mut self.containers[index];
        if let Some(known) = known {
            let backoff = container.backoff.filter(|it| known.saturating_duration_since(it.at) <= STABLE);
            if let Some(Backoff { wait, .. }) = backoff.filter(|it| now < known + it.wait) {
                container.held_back = Some(wait);
                let again = now + AGAIN + world.up_to(AGAIN / 2);
                let again = next_relist(world, &self.node, again);
                self.containers[index].retry = Some(again);
                return;
            }
            let wait = backoff.map_or(FIRST, |it| (it.wait * 2).min(LONGEST));
            container.backoff = Some(Backoff { wait, at: now });
        }
        container.retry = None;
        self.schedule(world, index, now);
    }
}
