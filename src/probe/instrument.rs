//! What a run measures with: this machine's sockets, or what stands in their place in a rehearsal.

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;

use super::config::{ProbeConfig, SetupError};
use super::engine::{Engine, Plan};
use super::preflight::{Preflight, preflight};
use super::stream::StreamKind;

/// Tries and starts probes. One is made for each run.
pub trait Instrument {
    /// Sends one request, as this stream would, and expects the expected answer; see [`preflight`].
    fn preflight<'a>(
        &'a self,
        config: &'a ProbeConfig,
        stream: StreamKind,
    ) -> LocalBoxFuture<'a, Result<(), Preflight>>;

    /// Starts the probes; see [`Engine::start`].
    ///
    /// # Errors
    ///
    /// When a probe can't be sent from here, whatever the other side does.
    fn start(&self, probes: &[ProbeConfig], plan: Plan) -> Result<Engine, SetupError>;
}

/// This machine's sockets, in real time.
#[derive(Debug, Clone, Copy, Default)]
pub struct ThisMachine;

impl Instrument for ThisMachine {
    fn preflight<'a>(
        &'a self,
        config: &'a ProbeConfig,
        stream: StreamKind,
    ) -> LocalBoxFuture<'a, Result<(), Preflight>> {
        preflight(config, stream).boxed_local()
    }

    fn start(&self, probes: &[ProbeConfig], plan: Plan) -> Result<Engine, SetupError> {
        Engine::start(probes, plan)
    }
}
