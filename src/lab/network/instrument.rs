//! What a rehearsal measures with: the real probe loop on tokio's clock, over the lab's network.

use std::rc::Rc;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use tokio::time::Instant;

use super::resolve::Host;
use super::transport::{Ask, LabTransport};
use crate::lab::world::Shared;
use crate::probe::{
    self, Answer, Engine, Instrument, Plan, Preflight, ProbeConfig, SetupError, Slot, StreamKind, Transport as _,
};

/// See the module's documentation. Needs a `LocalSet` around it.
#[derive(Debug, Clone)]
pub(in crate::lab) struct LabInstrument(pub(in crate::lab) Shared);

impl LabInstrument {
    fn transport(&self, ask: &Rc<Ask>, stream: StreamKind) -> LabTransport {
        LabTransport::new(self.0.clone(), Rc::clone(ask), stream)
    }

    /// What the streams of a probe share; refuses what the lab has no model of.
    fn prepare(&self, config: &ProbeConfig) -> Result<Rc<Ask>, SetupError> {
        let fail = |message: String, hint: &str| SetupError::new(Some(&config.name), message).hint(hint.to_owned());
        let (host, port, tls, statuses) = match &config.ask {
            probe::Ask::Http(ask) => {
                let uri = &ask.request.uri;
                let tls = uri.scheme_str() == Some("https");
                let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
                (uri.host().unwrap_or_default(), port, tls, Some(ask.expect.statuses.clone()))
            }
            probe::Ask::Tcp(ask) => (ask.host.as_str(), ask.port, false, None),
            probe::Ask::Grpc(_) | probe::Ask::Dns(_) => {
                let message = "the lab models HTTP/1.1 and TCP only".to_owned();
                return Err(fail(message, "rehearse with an HTTP probe of the same Service"));
            }
        };
        let Some(host) = Host::read(host, |name| self.is_namespace(name)) else {
            let hint =
                "write the Service's name in the cluster, `http://NAME.NAMESPACE.svc/`, or pass it as a variable";
            return Err(fail(
                format!("the lab has no host `{host}`: it knows Services, and addresses of the cluster"),
                hint,
            ));
        };
        Ok(Rc::new(Ask { host, port, tls, statuses }))
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
            let exchange = self.transport(&ask, stream).send(slot).await;
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
        let lab = self.clone();
        let (engine, driver) = Engine::inline(probes, plan, move |probe, stream| lab.transport(&asks[probe], stream));
        tokio::task::spawn_local(driver);
        Ok(engine)
    }
}
