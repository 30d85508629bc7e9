//! What a rehearsal measures with: the real probe loop on tokio's clock, over the lab's network.

use std::rc::Rc;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use tokio::time::Instant;

use super::asking::{DnsTransport, Question};
use super::looks::Looks;
use super::multiplexed::MultiplexedTransport;
use super::resolve::{Host, candidates, name_server};
use super::transport::{Ask, LabTransport};
use crate::lab::world::Shared;
use crate::probe::{
    self, Answer, DnsAsk, Engine, Exchange, HealthState, HttpVersion, Instrument, Plan, Preflight, ProbeConfig,
    SetupError, Slot, StreamKind, TimedOut, Transport,
};

/// What the streams of one probe share.
enum Asked {
    /// HTTP/1.1 and TCP.
    Plain(Rc<Ask>),
    /// HTTP/2, and the state that a health check over gRPC expects.
    Multiplexed(Rc<Ask>, Option<HealthState>),
    Dns(Rc<Question>),
}

/// The transport of one stream.
#[derive(Debug, Clone)]
enum Carrier {
    Plain(LabTransport),
    Multiplexed(MultiplexedTransport),
    Dns(DnsTransport),
}

impl Transport for Carrier {
    async fn send(self, slot: Slot) -> Exchange {
        match self {
            Self::Plain(to) => to.send(slot).await,
            Self::Multiplexed(to) => to.send(slot).await,
            Self::Dns(to) => to.send(slot).await,
        }
    }
}

/// See the module's documentation. Needs a `LocalSet` around it.
#[derive(Debug, Clone)]
pub(in crate::lab) struct LabInstrument(pub(in crate::lab) Shared);

impl LabInstrument {
    fn transport(&self, asked: &Asked, stream: StreamKind, looks: &Looks) -> Carrier {
        let (shared, looks) = (self.0.clone(), looks.clone());
        match asked {
            Asked::Plain(ask) => Carrier::Plain(LabTransport::new(shared, Rc::clone(ask), stream, looks)),
            Asked::Multiplexed(ask, health) => {
                Carrier::Multiplexed(MultiplexedTransport::new(shared, Rc::clone(ask), *health, stream, looks))
            }
            Asked::Dns(question) => Carrier::Dns(DnsTransport::new(shared, Rc::clone(question), stream, looks)),
        }
    }

    /// What the streams of a probe share; refuses hosts that the lab does not know.
    fn prepare(&self, config: &ProbeConfig) -> Result<Asked, SetupError> {
        let (host, port, tls, statuses) = match &config.ask {
            probe::Ask::Http(ask) => {
                let uri = &ask.request.uri;
                let tls = uri.scheme_str() == Some("https");
                let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
                (uri.host().unwrap_or_default(), port, tls, Some(ask.expect.statuses.clone()))
            }
            probe::Ask::Tcp(ask) => (ask.host.as_str(), ask.port, false, None),
            probe::Ask::Grpc(ask) => (ask.host.as_str(), ask.port, ask.tls, Some(Vec::new())),
            probe::Ask::Dns(ask) => return self.question(config, ask),
        };
        let Some(host) = Host::read(host, |name| self.is_namespace(name)) else {
            let hint =
                "write the Service's name in the cluster, `http://NAME.NAMESPACE.svc/`, or pass it as a variable";
            let message = format!("the lab has no host `{host}`: it knows Services, and addresses of the cluster");
            return Err(SetupError::new(Some(&config.name), message).hint(hint));
        };
        let ask = Rc::new(Ask { host, port, tls, statuses, timed_out: TimedOut::default() });
        Ok(match &config.ask {
            probe::Ask::Grpc(grpc) => Asked::Multiplexed(ask, Some(grpc.expect)),
            probe::Ask::Http(http) if http.version == HttpVersion::Two => Asked::Multiplexed(ask, None),
            _ => Asked::Plain(ask),
        })
    }

    fn question(&self, config: &ProbeConfig, ask: &DnsAsk) -> Result<Asked, SetupError> {
        let server = ask.server.or_else(|| self.0.read(name_server)).ok_or_else(|| {
            SetupError::new(Some(&config.name), "the lab has no DNS: there is no Service `kube-dns` in `kube-system`")
                .hint("write the `server` that is to be asked")
        })?;
        let DnsAsk { name, record, over, expect, .. } = ask;
        let (names, expect) = (candidates(name), expect.clone());
        Ok(Asked::Dns(Rc::new(Question { server, names, kind: *record, over: *over, expect })))
    }

    fn is_namespace(&self, name: &str) -> bool {
        self.0.read(|world| world.store.get::<Namespace>("", name).is_some())
    }
}

impl Instrument for LabInstrument {
    fn preflight<'a>(
        &'a self,
        config: &'a ProbeConfig,
        stream: StreamKind,
    ) -> LocalBoxFuture<'a, Result<(), Preflight>> {
        async move {
            let ask = self.prepare(config).map_err(|e| Preflight::not_tried(config, e))?;
            let planned = Instant::now();
            let slot = Slot { number: 0, planned, deadline: planned + config.timeout };
            let exchange = self.transport(&ask, stream, &Looks::default()).send(slot).await;
            match exchange.answer {
                Answer::Good => Ok(()),
                answer => {
                    let at = exchange.remote.map_or(String::new(), |remote| format!(" at {remote}"));
                    Err(Preflight::of_answer(config, stream, answer, "as the lab models it", &at))
                }
            }
        }
        .boxed_local()
    }

    fn start(&self, probes: &[ProbeConfig], plan: Plan) -> Result<Engine, SetupError> {
        let asks = probes.iter().map(|config| self.prepare(config)).collect::<Result<Vec<_>, _>>()?;
        let (lab, looks) = (self.clone(), Looks::default());
        let transport = move |probe: usize, stream| lab.transport(&asks[probe], stream, &looks);
        let (engine, driver) = Engine::inline(probes, plan, transport);
        tokio::task::spawn_local(driver);
        Ok(engine)
    }
}
