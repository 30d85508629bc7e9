//! An HTTP probe's target, made ready once: parsed host, TLS configuration, request template.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::Full;

use super::endpoint::Endpoint;
use super::tls::Tls;
use crate::probe::config::{Expectation, HttpAsk, SetupError};
use crate::probe::stream::StreamKind;

/// Where requests go and what they are.
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) tls: Option<Tls>,
    pub(crate) expect: Expectation,
    method: Method,
    path: Uri,
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
        let tls = if secure { Some(Tls::prepare(probe, host, ask.ca_file.as_deref(), b"http/1.1")?) } else { None };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path =
            path.parse().map_err(|error| fail(format!("the URL's path can't be sent: `{path}`")).source(error))?;
        let mut headers = ask.request.headers.clone();
        let authority = HeaderValue::from_str(authority)
            .map_err(|error| fail(format!("the URL's host can't be sent: `{authority}`")).source(error))?;
        headers.entry(header::HOST).or_insert(authority);
        headers
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("squall/", env!("CARGO_PKG_VERSION"))));
        Ok(Self {
            endpoint: Endpoint::prepare(probe, host, port)?,
            tls,
            expect: ask.expect.clone(),
            method: ask.request.method.clone(),
            path,
            headers,
            body: ask.request.body.clone(),
        })
    }

    /// A request for one slot. A fresh stream tells the server that its connection has no second one.
    pub(crate) fn request(&self, stream: StreamKind) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        request.method_mut().clone_from(&self.method);
        request.uri_mut().clone_from(&self.path);
        request.headers_mut().clone_from(&self.headers);
        if stream.requests_per_connection() == 1 {
            request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }
}
