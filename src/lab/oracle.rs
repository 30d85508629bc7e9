//! The truth, for tests: what the lab's processes and kube-proxy's rules would have answered at every instant, whoever asked.
//!
//! It looks at the model once a millisecond, which is the grain of tokio's paused clock, and knows nothing of probes, slots or reports:
//! whoever claims to have measured the lab can be held to it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::Lab;
use super::model::Process;
use super::world::{Shared, World};

/// How often it looks.
pub(crate) const GRAIN: Duration = Duration::from_millis(1);
/// What else is due at an instant is done first.
const TURNS: usize = 16;

/// Looks at one Service until it is dropped.
pub(crate) struct Oracle {
    truth: Rc<RefCell<Truth>>,
    looking: AbortHandle,
}

/// What it saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Truth {
    /// From each instant on, the share of new requests to the Service that would have failed.
    pub bad: Vec<(Instant, f64)>,
    /// When each pod began to leave.
    pub deleted: BTreeMap<String, Instant>,
    /// When each pod's endpoint was first seen as not ready, or was gone.
    pub out_of_service: BTreeMap<String, Instant>,
    /// The pods that served and then did not.
    pub harmed: BTreeSet<String>,
    serving: BTreeSet<String>,
    ready: BTreeSet<String>,
}

impl Lab {
    /// Begins to look at a Service, at its first port. Needs a `LocalSet` around it.
    pub(crate) fn oracle(&self, namespace: &'static str, service: &'static str) -> Oracle {
        let (shared, truth) = (self.shared.clone(), Rc::new(RefCell::new(Truth::default())));
        let kept = Rc::clone(&truth);
        let looking = spawn_local(async move {
            loop {
                for _ in 0..TURNS {
                    yield_now().await;
                }
                shared.read(|world| kept.borrow_mut().look(world, namespace, service));
                sleep(GRAIN).await;
            }
        });
        Oracle { truth, looking: looking.abort_handle() }
    }

    /// Has every process behind a Service answer with this status from now on.
    pub(crate) fn answer_with(&self, namespace: &str, service: &str, status: u16) {
        answer_with(&self.shared, namespace, service, status);
    }

    /// Has every controller and kubelet notice a change only after so long.
    pub(crate) fn notice_after(&self, time: Duration) {
        self.shared.with(|world| world.settings.notice = time);
    }
}

fn answer_with(shared: &Shared, namespace: &str, service: &str, status: u16) {
    shared.with(|world| {
        let backends = backends(world, namespace, service);
        let at = |to: &SocketAddr| world.kubelets.at(to.ip(), to.port()).map(|process| process.life);
        for life in backends.iter().filter_map(at).collect::<Vec<_>>() {
            world.kubelets.answer_with(life, status);
        }
    });
}

impl Oracle {
    /// What it has seen so far.
    pub(crate) fn truth(&self) -> Truth {
        self.truth.borrow().clone()
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Truth {
    fn look(&mut self, world: &World, namespace: &str, service: &str) {
        let now = Instant::now();
        let backends = backends(world, namespace, service);
        let bad = backends.iter().filter(|to| !serves(world, to.ip(), to.port())).count();
        let share = if backends.is_empty() { 1.0 } else { float(bad) / float(backends.len()) };
        if self.bad.last().is_none_or(|(_, last)| (last - share).abs() > f64::EPSILON) {
            self.bad.push((now, share));
        }
        self.pods(world, namespace, now);
        self.endpoints(world, namespace, service, now);
    }

    fn pods(&mut self, world: &World, namespace: &str, now: Instant) {
        let mut serving = BTreeSet::new();
        for pod in world.store.list::<Pod>(Some(namespace)) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if pod.metadata.deletion_timestamp.is_some() {
                self.deleted.entry(name.clone()).or_insert(now);
            }
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()?.parse().ok());
            let mut ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|c| c.ports.iter().flatten());
            let port = ports.find_map(|port| u16::try_from(port.container_port).ok());
            if address.zip(port).is_some_and(|(address, port)| serves(world, address, port)) {
                serving.insert(name);
            }
        }
        self.harmed.extend(self.serving.difference(&serving).cloned());
        self.serving = serving;
    }

    fn endpoints(&mut self, world: &World, namespace: &str, service: &str, now: Instant) {
        let mut ready = BTreeSet::new();
        for slice in world.store.list::<EndpointSlice>(Some(namespace)) {
            let of = slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name"));
            for endpoint in slice.endpoints.iter().filter(|_| of.is_some_and(|of| of == service)) {
                if endpoint.conditions.as_ref().is_none_or(|c| c.ready != Some(false)) {
                    ready.extend(endpoint.target_ref.as_ref().and_then(|target| target.name.clone()));
                }
            }
        }
        for gone in self.ready.difference(&ready) {
            self.out_of_service.entry(gone.clone()).or_insert(now);
        }
        self.ready = ready;
    }

    /// From when to when requests could fail: the first instant at which one could, and the first after which none could any more.
    pub(crate) fn harm(&self) -> Option<(Instant, Option<Instant>)> {
        let from = self.bad.iter().find(|(_, share)| *share > 0.0)?.0;
        let (last, share) = self.bad.last()?;
        Some((from, (*share <= 0.0).then_some(*last)))
    }

    /// The full outage that would have failed as many requests: the share that failed, over the time.
    pub(crate) fn downtime(&self, until: Instant) -> Duration {
        let ends = self.bad.iter().skip(1).map(|(at, _)| *at).chain([until]);
        let parts = self.bad.iter().zip(ends);
        parts.map(|((from, share), to)| to.saturating_duration_since(*from).mul_f64(*share)).sum()
    }
}

fn backends(world: &World, namespace: &str, service: &str) -> Vec<SocketAddr> {
    let service = world.store.get::<Service>(namespace, service);
    let spec = service.and_then(|service| service.spec.clone()).unwrap_or_default();
    let address = spec.cluster_ip.and_then(|ip| ip.parse::<IpAddr>().ok());
    let port = spec.ports.iter().flatten().next().and_then(|port| u16::try_from(port.port).ok());
    let rule = address.zip(port).map(|(address, port)| SocketAddr::new(address, port));
    rule.and_then(|rule| world.network.behind(rule)).map(<[SocketAddr]>::to_vec).unwrap_or_default()
}

/// Whether what is at an address answers what it is asked now, and well.
fn serves(world: &World, address: IpAddr, port: u16) -> bool {
    world.kubelets.at(address, port).is_some_and(|process: &Process| {
        process.ended.is_none()
            && process.listens.is_some()
            && !process.drains
            && process.hangs.is_none_or(|at| at > Instant::now())
            && process.status == 200
    })
}

fn float(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
