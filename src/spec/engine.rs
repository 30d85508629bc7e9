//! Which probes an engine can measure.

use super::diagnostic::{Code, Diagnostic, Diagnostics};
use super::node::Node;
use super::source::Span;
use super::{Connection, Experiment, Http, HttpVersion, Loaded, Probe, Protocol};
use crate::scalar::EngineKind;

/// Why an engine can't measure a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// The probe's number in the experiment, from 0.
    pub probe: usize,
    /// What is wrong, as a lower-case sentence fragment.
    pub message: String,
    /// What to type instead.
    pub hint: String,
    /// Whether it is about how the probe uses connections.
    of_connection: bool,
}

/// Where a probe says what it sends, and how it uses connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    protocol: Span,
    connection: Span,
}

/// The places of all probes, in order.
pub(super) fn places(root: &Node) -> Vec<Place> {
    let probes = root.get("spec").and_then(|spec| spec.get("probes")).map(Node::items).unwrap_or_default();
    let place = |probe: &Node| {
        let entry = ["http", "grpc", "tcp", "dns"].into_iter().find_map(|key| probe.entry(key));
        let protocol = entry.map_or_else(|| probe.place(), |entry| entry.span);
        let connection = entry.and_then(|entry| entry.value.get("connection"));
        Place { protocol, connection: connection.map_or(protocol, Node::place) }
    };
    probes.iter().map(place).collect()
}

/// The probes of an experiment that an engine can't measure as they are written.
#[must_use]
pub fn unfit(experiment: &Experiment, engine: EngineKind) -> Vec<Unfit> {
    match engine {
        EngineKind::Native | EngineKind::Lab => Vec::new(),
        EngineKind::Reqwest => {
            experiment.spec.probes.iter().enumerate().filter_map(|(number, probe)| of_reqwest(number, probe)).collect()
        }
    }
}

fn of_reqwest(number: usize, Probe { name, protocol, .. }: &Probe) -> Option<Unfit> {
    let (message, instead, of_connection) = match protocol {
        Protocol::Http(Http { connection: Connection::Reuse(_), .. }) => {
            (format!("can't leave a connection after some requests, as probe `{name}` wants it"), "paired", true)
        }
        Protocol::Http(Http { connection: Connection::PerEndpoint, .. }) => {
            (format!("can't ask each endpoint by itself, as probe `{name}` wants it"), "fresh", true)
        }
        Protocol::Http(Http { version: HttpVersion::Two, connection, .. }) if *connection != Connection::Fresh => {
            let why = "opens one connection for all requests that wait: those of probe `";
            (format!("{why}{name}` would fail with the first that gives up"), "fresh", true)
        }
        Protocol::Http(_) => return None,
        Protocol::Grpc(_) => (format!("sends HTTP only; probe `{name}` is gRPC"), "", false),
        Protocol::Tcp(_) => (format!("sends HTTP only; probe `{name}` is TCP"), "", false),
        Protocol::Dns(_) => (format!("sends HTTP only; probe `{name}` is DNS"), "", false),
    };
    let hint = if of_connection {
        format!("write `connection: {instead}`, or run without `--engine reqwest`")
    } else {
        "run without `--engine reqwest`".to_owned()
    };
    Some(Unfit { probe: number, message: format!("the engine `reqwest` {message}"), hint, of_connection })
}

impl Loaded {
    /// Whether an engine can measure every probe.
    ///
    /// # Errors
    ///
    /// Each that it can't, with its place in the file.
    pub fn fits(&self, engine: EngineKind) -> Result<(), Diagnostics> {
        let at = |unfit: Unfit| {
            let place = self.places.get(unfit.probe).copied().unwrap_or_default();
            let span = if unfit.of_connection { place.connection } else { place.protocol };
            Diagnostic::error(Code::Engine, span, unfit.message).hint(unfit.hint)
        };
        let found: Vec<_> = unfit(&self.experiment, engine).into_iter().map(at).collect();
        if found.is_empty() { Ok(()) } else { Err(Diagnostics::new(self.warnings.source.clone(), found)) }
    }
}
