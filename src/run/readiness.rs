//! What the watch tells of the endpoints behind each probe: which Service a probe asks, and whether Kubernetes calls it ready.

use std::collections::BTreeMap;

use crate::measure::{Readiness, Series};
use crate::probe::{Nanos, ProbeConfig};
use crate::record::{Change, GrayFailure, What};
use crate::spec::service_of;

/// A Service: namespace and name.
type Service = (String, String);

/// The endpoints of every Service that was seen, and the Service that each probe asks.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    services: BTreeMap<Service, Readiness>,
    probes: BTreeMap<String, Service>,
}

impl Endpoints {
    /// A probe that asks a Service by its name in the cluster is compared with that Service's endpoints; any other (an
    /// Ingress, an address) with nothing.
    pub(super) fn probe(&mut self, config: &ProbeConfig) {
        if let Some(service) = config.ask.host().and_then(service_of) {
            self.probes.insert(config.name.clone(), service);
        }
    }

    /// Takes in what a watch saw.
    pub(super) fn seen(&mut self, at: Nanos, what: &What) {
        let What::Object { change, kind, namespace, name, state, .. } = what else { return };
        let Some(service) = state.get("service").filter(|_| kind == "endpoint") else { return };
        let readiness = self.services.entry((namespace.clone(), service.to_owned())).or_default();
        match change {
            Change::Deleted => readiness.gone(at, name),
            // Absent means unknown, which the API asks consumers to take for ready.
            _ => readiness.shown(at, name, state.get("ready").is_none_or(|ready| ready == "true")),
        }
    }

    /// A watch could not see; only that of a Service's own namespace matters to it.
    pub(super) fn blind(&mut self, watch: &str, from: Nanos, to: Nanos) {
        for ((namespace, _), readiness) in &mut self.services {
            if watch == format!("endpoints in {namespace}") {
                readiness.blind(from, to);
            }
        }
    }

    /// Where the stream and Kubernetes disagreed; `None` where its Service is not known or was not watched.
    pub(super) fn gray(&self, series: &Series) -> Option<GrayFailure> {
        let service = self.probes.get(series.probe())?;
        let (namespace, name) = service;
        self.services.get(service)?.gray(&format!("{namespace}/{name}"), series)
    }
}
