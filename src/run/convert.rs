//! From a probe as written to a probe that can be run: the only place where the values of secret headers are read.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::probe::{Ask, Expectation, HttpAsk, HttpVersion, ProbeConfig, Request, StreamKind};
use crate::spec::{self, Connection, Http, Method, Probe, Protocol};

/// Makes a probe ready to be run.
///
/// # Errors
///
/// When a header can't be sent, or the environment lacks a variable that one comes from.
pub(super) fn probe(probe: &Probe) -> Result<ProbeConfig, String> {
    let Protocol::Http(http) = &probe.protocol;
    let streams = match http.connection {
        Connection::Paired => vec![StreamKind::Fresh, StreamKind::KeptAlive],
        Connection::Fresh => vec![StreamKind::Fresh],
        Connection::KeepAlive => vec![StreamKind::KeptAlive],
    };
    Ok(ProbeConfig {
        name: probe.name.to_string(),
        rate: probe.rate,
        timeout: probe.timeout.get(),
        streams,
        ask: Ask::Http(Box::new(http_ask(http).map_err(|why| format!("probe `{}`: {why}", probe.name))?)),
        in_flight_max: None,
    })
}

fn http_ask(http: &Http) -> Result<HttpAsk, String> {
    Ok(HttpAsk {
        version: HttpVersion::One,
        request: request(http)?,
        expect: expectation(http)?,
        ca_file: http.ca_file.clone().map(Into::into),
    })
}

fn request(http: &Http) -> Result<Request, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &http.headers {
        let (text, secret) = match value {
            spec::HeaderValue::Text(text) => (text.clone(), false),
            spec::HeaderValue::Env(variable) => {
                let text = std::env::var(variable).map_err(|_| {
                    format!("header `{name}` comes from the environment variable `{variable}`, which is not set")
                })?;
                (text, true)
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| format!("the value of header `{name}` has characters that can't be sent"))?;
        value.set_sensitive(secret);
        headers.insert(header_name(name)?, value);
    }
    Ok(Request {
        uri: http.url.0.clone(),
        method: method(http.method),
        headers,
        body: http.body.clone().map_or_else(Bytes::new, Bytes::from),
    })
}

fn expectation(http: &Http) -> Result<Expectation, String> {
    let mut headers = Vec::new();
    for (name, value) in &http.expect.headers {
        let value =
            HeaderValue::from_str(value).map_err(|_| format!("the expected value of header `{name}` can't be one"))?;
        headers.push((header_name(name)?, value));
    }
    Ok(Expectation {
        statuses: http.expect.status.clone().map(|set| set.0).unwrap_or_default(),
        headers,
        body_contains: http.expect.body_contains.clone().map(Bytes::from),
    })
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    name.parse().map_err(|_| format!("`{name}` is not a header's name"))
}

const fn method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
        Method::Options => http::Method::OPTIONS,
    }
}
