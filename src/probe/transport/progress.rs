//! How far a request has come: what its deadline reads when it falls.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::stamped::Times;
use crate::probe::sample::Step;
use crate::probe::steps::Steps;

/// How far a request has come, and when it began each step.
#[derive(Debug)]
pub(crate) struct Progress {
    sent: Instant,
    step: Cell<Step>,
    steps: Cell<Steps>,
    pub(crate) reused: Cell<bool>,
    pub(crate) status: Cell<u16>,
    pub(crate) remote: Cell<Option<SocketAddr>>,
    /// Source port of the connection that was opened for it, 0 before.
    pub(crate) port: Cell<u16>,
    /// When the response's head was complete.
    pub(crate) head: Cell<Option<Instant>>,
    /// When this end had done its part, and when the whole answer had arrived, by the kernel's stamp.
    pub(crate) stamped: Cell<Option<(Instant, Instant)>>,
}

impl Progress {
    /// A request of which the first thing is done at `sent`.
    pub(crate) fn new(sent: Instant) -> Self {
        Self {
            sent,
            step: Cell::new(Step::Dns),
            steps: Cell::default(),
            reused: Cell::new(false),
            status: Cell::new(0),
            remote: Cell::new(None),
            port: Cell::new(0),
            head: Cell::new(None),
            stamped: Cell::new(None),
        }
    }

    /// A step begins now.
    pub(crate) fn begin(&self, step: Step) {
        self.begin_at(step, Instant::now());
    }

    /// A step began at `at`.
    pub(crate) fn begin_at(&self, step: Step, at: Instant) {
        let mut steps = self.steps.get();
        steps.begin(step, at.saturating_duration_since(self.sent));
        self.steps.set(steps);
        self.step.set(step);
    }

    /// An open connection to `remote` carries it: nothing to look up or to connect, and choosing it belongs to the send.
    pub(crate) fn over_open(&self, remote: SocketAddr) {
        self.reused.set(true);
        self.remote.set(Some(remote));
        self.begin_first(Step::Send);
    }

    /// The request has no step before this one: whatever time is gone belongs to it.
    pub(crate) fn begin_first(&self, step: Step) {
        self.begin_at(step, self.sent);
    }

    /// The request is in a step, but nobody saw when that or any other began.
    pub(crate) fn reached_unseen(&self, step: Step) {
        self.steps.set(Steps::UNSEEN);
        self.step.set(step);
    }

    /// The answer is complete: the connection's times tell when.
    pub(crate) fn complete(&self, times: &Times) {
        self.complete_at(times.written(), times.arrived());
    }

    /// The answer is complete: when this end had asked, and when the answer had arrived, where that is known.
    pub(crate) fn complete_at(&self, written: Option<Instant>, arrived: Option<Instant>) {
        self.stamped.set(written.zip(arrived));
    }

    /// How long ago the request began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.sent.elapsed()
    }

    /// The step that is under way.
    pub(crate) fn step(&self) -> Step {
        self.step.get()
    }

    /// When each step began.
    pub(crate) fn steps(&self) -> Steps {
        self.steps.get()
    }
}
