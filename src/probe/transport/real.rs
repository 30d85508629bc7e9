//! The real transports: one for each protocol.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::{Attempt, exchange};
use super::classify::Failed;
use super::dns::{DnsTarget, DnsTransport};
use super::endpoint::Endpoint;
use super::grpc::GrpcTarget;
use super::http::HttpTransport;
use super::http2::{Asked, Http2Transport};
use super::progress::Progress;
use super::reqwest::{self, ReqwestTransport};
use super::target::Target;
use super::tcp::TcpTransport;
use super::{Answer, Exchange, Slot, Transport};
use crate::probe::config::{Ask, HttpVersion, ProbeConfig, SetupError};
use crate::probe::stream::StreamKind;
use crate::scalar::EngineKind;

/// What the streams of one probe share, made ready once.
pub(crate) enum Prepared {
    Http(Arc<Target>),
    Tcp(Arc<Endpoint>),
    Dns(Arc<DnsTarget>),
    Grpc(Arc<GrpcTarget>),
    Reqwest(Arc<reqwest::Prepared>),
}

impl Prepared {
    /// Checks and prepares; reads the system's DNS configuration and authorities, and sends nothing.
    pub(crate) fn of(config: &ProbeConfig) -> Result<Self, SetupError> {
        if config.engine == EngineKind::Reqwest {
            return Ok(Self::Reqwest(reqwest::Prepared::of(config)?.into()));
        }
        Ok(match &config.ask {
            Ask::Http(ask) => Self::Http(Target::prepare(&config.name, ask)?.into()),
            Ask::Tcp(ask) => Self::Tcp(Endpoint::prepare(&config.name, &ask.host, ask.port)?.into()),
            Ask::Dns(ask) => Self::Dns(DnsTarget::prepare(&config.name, ask)?.into()),
            Ask::Grpc(ask) => Self::Grpc(GrpcTarget::prepare(&config.name, ask, config.timeout)?.into()),
        })
    }

    /// The transport of one stream. Needs a `LocalSet` around it.
    pub(crate) fn transport(&self, stream: StreamKind) -> RealTransport {
        match self {
            Self::Http(target) if target.version == HttpVersion::Two => {
                RealTransport::Http2(Http2Transport::new(Asked::Http(Arc::clone(target)), stream))
            }
            Self::Http(target) => RealTransport::Http(HttpTransport::new(Arc::clone(target), stream)),
            Self::Tcp(endpoint) => RealTransport::Tcp(TcpTransport::new(Arc::clone(endpoint), stream)),
            Self::Grpc(target) => RealTransport::Http2(Http2Transport::new(Asked::Grpc(Arc::clone(target)), stream)),
            Self::Dns(target) => RealTransport::Dns(DnsTransport::new(Arc::clone(target), stream)),
            Self::Reqwest(prepared) => RealTransport::Reqwest(prepared.transport(stream)),
        }
    }
}

/// The transport of one stream.
#[derive(Clone)]
pub(crate) enum RealTransport {
    Http(HttpTransport),
    Http2(Http2Transport),
    Tcp(TcpTransport),
    Dns(DnsTransport),
    Reqwest(ReqwestTransport),
}

impl RealTransport {
    /// One request without a deadline, whose connection is thrown away.
    pub(crate) async fn once(&self, progress: &Progress) -> Result<Answer, Failed> {
        match self {
            Self::Http(to) => to.attempt(progress).await.map(|(answer, _)| answer),
            Self::Http2(to) => to.attempt(progress).await.map(|(answer, _)| answer),
            Self::Tcp(to) => to.attempt(progress).await.map(|(answer, ())| answer),
            Self::Dns(to) => to.attempt(progress).await.map(|(answer, ())| answer),
            Self::Reqwest(to) => to.attempt(progress).await.map(|(answer, ())| answer),
        }
    }

    /// What a request came to whose deadline fell where `progress` stands.
    pub(crate) fn timed_out(&self, progress: &Progress, now: Instant) -> Answer {
        match self {
            Self::Http(to) => to.timed_out(progress, now),
            Self::Http2(to) => to.timed_out(progress, now),
            Self::Tcp(to) => to.timed_out(progress, now),
            Self::Dns(to) => to.timed_out(progress, now),
            Self::Reqwest(to) => to.timed_out(progress, now),
        }
    }
}

impl Transport for RealTransport {
    async fn send(self, slot: Slot) -> Exchange {
        match self {
            Self::Http(to) => exchange(to, slot).await,
            Self::Http2(to) => Box::pin(exchange(to, slot)).await,
            Self::Tcp(to) => exchange(to, slot).await,
            Self::Dns(to) => Box::pin(exchange(to, slot)).await,
            Self::Reqwest(to) => Box::pin(exchange(to, slot)).await,
        }
    }
}
