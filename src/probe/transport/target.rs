//! An HTTP probe's target, made ready once: parsed host, TLS configuration, request template.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::Full;

use super::endpoint::Endpoint;
use super::tls::Tls;
use crate::probe::config::{Expectation, HttpAsk, HttpVersion, SetupError};
use crate::probe::stream::StreamKind;

/// Headers of HTTP/1.1 that are about the connection (RFC 9113, 8.2.2).
pub(crate) const CONNECTION_HEADERS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// Where requests go and what they are.
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Tls>,
    pub(crate) expect: Expectation,
    pub(crate) version: HttpVersion,
    method: Method,
    /// As it is sent: the path alone over HTTP/1.1.
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Target {
    /// Checks and prepares; reads `/etc/resolv.conf`, `/etc/hosts` and the authorities, and sends nothing.
    pub(crate) fn prepare(probe: &str, ask: &HttpAsk) -> Result<Self, SetupError> {
        let fail = |message: String| SetupError::new(Some(probe), message);
        let uri = &ask.request.uri;
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
        let alpn: &[u8] = match ask.version {
            HttpVersion::One => b"http/1.1",
            HttpVersion::Two => b"h2",
        };
        let tls = if secure {
            Some(Tls::prepare(probe, host, ask.ca_file.as_deref(), alpn, ask.certificate_valid_for)?)
        } else {
            None
        };
        let mut headers = ask.request.headers.clone();
        headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
        let sent_as = match ask.version {
            HttpVersion::One => origin_form(probe, uri, authority, &mut headers)?,
            HttpVersion::Two => absolute_form(probe, uri, &mut headers)?,
        };
        Ok(Self {
            endpoint: Endpoint::prepare(probe, host, port)?,
            tls,
            expect: ask.expect.clone(),
            version: ask.version,
            method: ask.request.method.clone(),
            uri: sent_as,
            headers,
            body: ask.request.body.clone(),
        })
    }

    /// A request for one slot over HTTP/1.1. A fresh stream tells the server that its connection has no second one.
    pub(crate) fn request(&self, stream: StreamKind) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        if stream.requests_per_connection() == 1 {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }

    /// A request for one slot over HTTP/2.
    pub(crate) fn request2(&self) -> (http::Request<()>, Bytes) {
        let mut request = http::Request::new(());
        *request.version_mut() = http::Version::HTTP_2;
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.uri);
        request.headers_mut().clone_from(&self.headers);
        (request, self.body.clone())
    }
}

/// What a request says that it comes from, unless the experiment says otherwise.
pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("squall/", env!("CARGO_PKG_VERSION")));

fn origin_form(probe: &str, uri: &Uri, authority: &str, headers: &mut HeaderMap) -> Result<Uri, SetupError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let sent_as = path.parse().map_err(|error| {
        SetupError::new(Some(probe), format!("the URL's path can't be sent: `{path}`")).source(error)
    })?;
    let host = HeaderValue::from_str(authority).map_err(|error| {
        SetupError::new(Some(probe), format!("the URL's host can't be sent: `{authority}`")).source(error)
    })?;
    headers.entry(header::HOST).or_insert(host);
    Ok(sent_as)
}

/// The URL, with the `host` header's authority where there is one. Headers about the connection are not HTTP/2's.
fn absolute_form(probe: &str, uri: &Uri, headers: &mut HeaderMap) -> Result<Uri, SetupError> {
    if let Some(name) = CONNECTION_HEADERS.iter().find(|name| headers.contains_key(**name)) {
        return Err(SetupError::new(Some(probe), format!("HTTP/2 has no header `{name}`")).hint("remove it"));
    }
    let mut parts = uri.clone().into_parts();
    if let Some(host) = headers.remove(header::HOST) {
        let authority = http::uri::Authority::try_from(host.as_bytes()).map_err(|error| {
            SetupError::new(Some(probe), "the header `host` can't be sent as HTTP/2's `:authority`").source(error)
        })?;
        parts.authority = Some(authority);
    }
    Uri::from_parts(parts)
        .map_err(|error| SetupError::new(Some(probe), format!("the URL can't be sent: `{uri}`")).source(error))
}
