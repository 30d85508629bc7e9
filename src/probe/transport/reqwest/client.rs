//! The library's client, with everything off that would send more than was asked for, or something else.

use std::error::Error;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Url, redirect, retry};

use super::failed::LookUp;
use super::opening::{Opened, looking_up};
use super::{Inner, ReqwestTransport};
use crate::probe::config::{Ask, HttpVersion, ProbeConfig, SetupError};
use crate::probe::stream::StreamKind;
use crate::probe::transport::target::Target;
use crate::probe::transport::tls::nobody;

/// What the streams of one probe share.
pub(crate) struct Prepared {
    pub(super) target: Arc<Target>,
    /// As it was written: the library takes the connection's end from it.
    uri: http::Uri,
    fresh: (Client, Opened),
    kept: (Client, Opened),
}

impl Prepared {
    /// Checks and prepares; sends nothing.
    pub(crate) fn of(config: &ProbeConfig) -> Result<Self, SetupError> {
        let fail = |message: &str| SetupError::new(Some(&config.name), message);
        let Ask::Http(ask) = &config.ask else {
            let error = fail("the engine `reqwest` sends HTTP only");
            return Err(error.hint("run without `--engine reqwest`"));
        };
        if let Some(other) = config.streams.iter().find(|s| !matches!(s, StreamKind::Fresh | StreamKind::KeptAlive)) {
            let error = fail(&format!("the engine `reqwest` has no `{}` stream", other.label()));
            return Err(error.hint("write `connection: paired`, or run without `--engine reqwest`"));
        }
        if ask.version == HttpVersion::Two && config.streams.contains(&StreamKind::KeptAlive) {
            // Of the requests that wait for it, those that came later would fail with the first one that gives up.
            let error =
                fail("the engine `reqwest` opens one connection for all requests of a kept-alive HTTP/2 stream");
            return Err(error.hint("write `connection: fresh`, or run without `--engine reqwest`"));
        }
        let uri = ask.request.uri.clone();
        if ask.version == HttpVersion::Two && ask.request.headers.contains_key(header::HOST) {
            let error = fail("the engine `reqwest` can't send the header `host` over HTTP/2");
            return Err(error.hint("remove it, or run without `--engine reqwest`"));
        }
        let target = Arc::new(Target::prepare(&config.name, ask)?);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let parsed = Url::parse(&uri.to_string()).map_err(|error| fail("not a URL").source(error))?;
        let sent_as = parsed.query().map_or(parsed.path().to_owned(), |query| format!("{}?{query}", parsed.path()));
        if sent_as != path {
            let error = fail(&format!("the engine `reqwest` would ask for `{sent_as}` instead of `{path}`"));
            return Err(error.hint("write the path so, or run without `--engine reqwest`"));
        }
        let failed = |error: Box<dyn Error + Send + Sync>| fail("the engine `reqwest` can't be set up").source(error);
        let tls = match &target.tls {
            Some(tls) => rustls::ClientConfig::clone(tls.connector.config()),
            None => nobody().map_err(|error| failed(error.into()))?,
        };
        let client = |stream| client(&target, tls.clone(), stream).map_err(|error| failed(error.without_url().into()));
        Ok(Self { fresh: client(StreamKind::Fresh)?, kept: client(StreamKind::KeptAlive)?, target, uri })
    }

    /// The transport of one stream.
    pub(crate) fn transport(self: &Arc<Self>, stream: StreamKind) -> ReqwestTransport {
        let (client, opened) = if stream == StreamKind::Fresh { &self.fresh } else { &self.kept };
        let (client, opened) = (client.clone(), opened.clone());
        ReqwestTransport(Arc::new(Inner { prepared: Arc::clone(self), stream, client, opened }))
    }

    /// A request for one slot.
    pub(super) fn request(&self, stream: StreamKind) -> http::Request<reqwest::Body> {
        let request = match self.target.version {
            HttpVersion::One => self.target.request(stream).map(reqwest::Body::wrap),
            HttpVersion::Two => {
                let (request, body) = self.target.request2();
                request.map(|()| reqwest::Body::from(body))
            }
        };
        let (mut parts, body) = request.into_parts();
        parts.uri.clone_from(&self.uri);
        http::Request::from_parts(parts, body)
    }
}

fn client(
    target: &Arc<Target>,
    tls: rustls::ClientConfig,
    stream: StreamKind,
) -> Result<(Client, Opened), reqwest::Error> {
    let opened = Opened::default();
    let builder = Client::builder()
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(retry::never())
        .no_proxy()
        .pool_idle_timeout(None)
        .tls_backend_preconfigured(tls)
        .dns_resolver(LookUps { target: Arc::clone(target), turn: Arc::default() })
        .connector_layer(opened.clone());
    let builder = match target.version {
        HttpVersion::One => builder.http1_only(),
        HttpVersion::Two => builder.http2_prior_knowledge(),
    };
    let builder = if stream.requests_per_connection() == 1 { builder.pool_max_idle_per_host(0) } else { builder };
    Ok((builder.build()?, opened))
}

/// Our resolver, which gives one address at a time: the library would try the next one by itself.
struct LookUps {
    target: Arc<Target>,
    turn: Arc<AtomicUsize>,
}

impl Resolve for LookUps {
    fn resolve(&self, _: Name) -> Resolving {
        let (target, turn) = (Arc::clone(&self.target), Arc::clone(&self.turn));
        Box::pin(looking_up(async move {
            let address =
                target.endpoint.next_address(|| turn.fetch_add(1, Ordering::Relaxed)).await.map_err(LookUp)?;
            // Port 0 stands for that of the URL.
            let one: Addrs = Box::new(iter::once(SocketAddr::new(address, 0)));
            Ok(one)
        }))
    }
}
