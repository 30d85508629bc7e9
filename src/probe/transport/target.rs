//! A probe's target, made ready once: parsed host, TLS configuration, request template.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hickory_resolver::proto::rr::Name;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::ports::TimedOut;
use super::resolve::Resolver;
use crate::probe::config::{Expectation, ProbeConfig, SetupError};
use crate::probe::sample::StreamKind;

/// Where requests go and what they are.
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) tls: Option<Tls>,
    pub(crate) expect: Expectation,
    /// Connections that did not open in time, of all streams.
    pub(crate) timed_out: TimedOut,
    method: Method,
    path: Uri,
    headers: HeaderMap,
    body: Bytes,
}

/// The host as written.
pub(crate) enum Host {
    /// An address: nothing to look up.
    Address(IpAddr),
    /// A name, looked up for every new connection.
    Name(Name, Resolver),
}

/// How a connection is secured.
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

impl Target {
    /// Checks and prepares; reads `/etc/resolv.conf`, `/etc/hosts` and the authorities, and sends nothing.
    pub(crate) fn prepare(config: &ProbeConfig) -> Result<Self, SetupError> {
        let fail = |message: String| SetupError::new(Some(&config.name), message);
        let uri = &config.request.uri;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(fail(format!("the URL has to begin with `http://` or `https://`: `{uri}`"))),
        };
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let authority = uri.authority().map_or("", http::uri::Authority::as_str);
        if host.is_empty() || authority.contains('@') {
            // Not repeated in the message: there may be a password in it.
            return Err(fail("the URL needs a host, and must not have a user".to_owned()));
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let tls = if secure { Some(tls(config, host)?) } else { None };
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => named(config, host)?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path =
            path.parse().map_err(|error| fail(format!("the URL's path can't be sent: `{path}`")).source(error))?;
        let mut headers = config.request.headers.clone();
        let authority = HeaderValue::from_str(authority)
            .map_err(|error| fail(format!("the URL's host can't be sent: `{authority}`")).source(error))?;
        headers.entry(header::HOST).or_insert(authority);
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("squall/", env!("CARGO_PKG_VERSION"))));
        Ok(Self {
            host,
            port,
            tls,
            expect: config.expect.clone(),
            timed_out: TimedOut::default(),
            method: config.request.method.clone(),
            path,
            headers,
            body: config.request.body.clone(),
        })
    }

    /// A request for one slot. A fresh stream tells the server that its connection has no second one.
    pub(crate) fn request(&self, stream: StreamKind) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.path);
        request.headers_mut().clone_from(&self.headers);
        if stream == StreamKind::Fresh {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }
}

fn named(config: &ProbeConfig, host: &str) -> Result<Host, SetupError> {
    let name = Name::from_str_relaxed(host)
        .map_err(|error| SetupError::new(Some(&config.name), format!("not a host name: `{host}`")).source(error))?;
    let resolver = Resolver::from_system().map_err(|error| {
        SetupError::new(Some(&config.name), format!("`/etc/resolv.conf` can't be used to look up `{host}`"))
            .hint("write a numeric address, or mend the file")
            .source(error)
    })?;
    Ok(Host::Name(name, resolver))
}

fn tls(config: &ProbeConfig, host: &str) -> Result<Tls, SetupError> {
    let fail = |message: String| SetupError::new(Some(&config.name), message);
    let server_name = ServerName::try_from(host.to_owned())
        .map_err(|error| fail(format!("not a name that a certificate can carry: `{host}`")).source(error))?;
    let roots = match &config.ca_file {
        Some(path) => roots_from(path).map_err(|error| {
            fail(format!("`caFile` can't be read: `{}`", path.display()))
                .hint("it has to hold PEM certificates")
                .source(error)
        })?,
        None => system_roots(&config.name)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| fail("TLS can't be set up".to_owned()).source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session would leave out the certificate: a handshake is measured whole, or not at all.
    client.resumption = rustls::client::Resumption::disabled();
    Ok(Tls { connector: TlsConnector::from(Arc::new(client)), server_name })
}

fn roots_from(path: &Path) -> Result<RootCertStore, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() { Err("no certificate in it".into()) } else { Ok(roots) }
}

fn system_roots(probe: &str) -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if !roots.is_empty() {
        return Ok(roots);
    }
    let error = SetupError::new(Some(probe), "this machine has no certificate authorities")
        .hint("install `ca-certificates`, or name the authority with `caFile`");
    Err(match found.errors.into_iter().next() {
        Some(cause) => error.source(cause),
        None => error,
    })
}
