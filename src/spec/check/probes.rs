//! Probes: what they send, and how much of it.

use std::collections::BTreeMap;

use super::{Part, Parts};
use crate::scalar::quoted;
use crate::spec::diagnostic::{Code, Diagnostic, Severity};
use crate::spec::node::Node;
use crate::spec::source::Span;
use crate::spec::{Dns, Grpc, HeaderValue, Http, HttpVersion, Method, Probe, Protocol, Rcode, RecordType, service_of};

/// Headers of HTTP/1.1 that are about the connection (RFC 9113, 8.2.2).
const CONNECTION_HEADERS: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
/// Headers that carry nothing but credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// Words in a header's name that let a secret be expected.
const TELLING: [&str; 5] = ["token", "secret", "password", "api-key", "apikey"];

pub(super) fn check(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    for probe in &parts.probes {
        if probe.value.timeout.is_zero() {
            found.push(
                Diagnostic::error(Code::Request, probe.place("timeout"), "with `timeout: 0s` every request fails")
                    .hint("write `timeout: 500ms`"),
            );
        }
        per_endpoint(probe, found);
        let node = |key: &str| probe.node.get(key);
        match &probe.value.protocol {
            Protocol::Http(http) => {
                if let Some(node) = node("http") {
                    let reserved = if http.version == HttpVersion::Two { Reserved::Http2 } else { Reserved::Nothing };
                    headers(&Part { value: &http.headers, node }, reserved, found);
                    request(&Part { value: http, node }, found);
                }
            }
            Protocol::Grpc(grpc) => {
                if let Some(node) = node("grpc") {
                    headers(&Part { value: &grpc.headers, node }, Reserved::Grpc, found);
                    health(&Part { value: grpc, node }, found);
                }
            }
            Protocol::Dns(dns) => {
                if let Some(node) = node("dns") {
                    query(&Part { value: dns, node }, found);
                }
            }
            Protocol::Tcp(_) => {}
        }
    }
    rates(parts, found);
}

/// The endpoints are those of a Service, and the host is what names it.
fn per_endpoint(probe: &Part<'_, Probe>, found: &mut Vec<Diagnostic>) {
    let Some((host, _)) = probe.value.protocol.per_endpoint() else { return };
    if service_of(host).is_some() {
        return;
    }
    let (protocol, field, example) = match &probe.value.protocol {
        Protocol::Http(_) => ("http", "url", "url: http://web.shop.svc"),
        Protocol::Grpc(_) => ("grpc", "address", "address: web.shop.svc:9090"),
        Protocol::Tcp(_) | Protocol::Dns(_) => ("tcp", "address", "address: web.shop.svc:5432"),
    };
    let place =
        probe.node.get(protocol).and_then(|node| node.get(field)).map_or_else(|| probe.node.place(), Node::place);
    let message = format!("`connection: perEndpoint` follows a Service, and {} does not name one", quoted(host));
    let hint = format!("write the Service with its namespace: `{example}`");
    found.push(Diagnostic::error(Code::Request, place, message).hint(hint));
}

fn rates(parts: &Parts<'_>, found: &mut Vec<Diagnostic>) {
    let Some(limits) = &parts.limits else { return };
    if limits.value.requests_per_second == Some(0) {
        found.push(
            Diagnostic::error(Code::TooFast, limits.place("requestsPerSecond"), "this allows no request")
                .hint("leave it out, or write `requestsPerSecond: 1000`"),
        );
        return;
    }
    let cap = limits.value.most_requests_per_second();
    let sum: f64 = parts
        .probes
        .iter()
        .map(|probe| probe.value.rate.per_second() * f64::from(probe.value.protocol.streams()))
        .sum();
    let fastest = parts.probes.iter().max_by(|a, b| a.value.rate.per_second().total_cmp(&b.value.rate.per_second()));
    let (true, Some(fastest)) = (sum > f64::from(cap), fastest) else { return };
    let terms: Vec<String> = parts
        .probes
        .iter()
        .map(|probe| match probe.value.protocol.streams() {
            1 => probe.value.rate.to_string(),
            n => format!("{} × {n} streams", probe.value.rate),
        })
        .collect();
    let total = (sum * 10.0).round() / 10.0;
    let shown = if terms.len() > 5 { format!("{} probes", terms.len()) } else { terms.join(" + ") };
    let (limit, hint) = match limits.value.requests_per_second {
        Some(_) => {
            (format!("`limits.requestsPerSecond` allows {cap}"), "lower the rates, or raise the limit".to_owned())
        }
        None => (
            format!("{cap} are allowed unless `limits.requestsPerSecond` says otherwise"),
            format!("lower the rates, or write `limits: {{requestsPerSecond: {}}}`", sum.ceil()),
        ),
    };
    let message = format!("the probes send {total} requests per second ({shown}), {limit}");
    found.push(Diagnostic::error(Code::TooFast, fastest.place("rate"), message).hint(hint));
}

/// Headers that a request can't have.
#[derive(Clone, Copy)]
enum Reserved {
    Nothing,
    /// Those about the connection.
    Http2,
    /// Those, and the ones that gRPC sets itself.
    Grpc,
}

impl Reserved {
    /// Why a header can't be sent.
    fn why(self, name: &str) -> Option<&'static str> {
        let name = name.to_ascii_lowercase();
        match self {
            Self::Http2 | Self::Grpc if CONNECTION_HEADERS.contains(&name.as_str()) => {
                Some("is about the connection, which HTTP/2 has no headers for")
            }
            Self::Grpc if matches!(name.as_str(), "content-type" | "te" | "host") || name.starts_with("grpc-") => {
                Some("is set by gRPC itself")
            }
            _ => None,
        }
    }
}

fn headers(http: &Part<'_, &BTreeMap<String, HeaderValue>>, reserved: Reserved, found: &mut Vec<Diagnostic>) {
    for entry in http.node.get("headers").map(Node::entries).unwrap_or_default() {
        let Some(value) = http.value.get(&entry.key) else { continue };
        if let Some(why) = reserved.why(&entry.key) {
            let message = format!("the header {} {why}", quoted(&entry.key));
            found.push(Diagnostic::error(Code::Request, entry.span, message).hint("remove it"));
        }
        if http::HeaderName::try_from(&entry.key).is_err() {
            let message = format!("{} is not the name of a header", quoted(&entry.key));
            found
                .push(Diagnostic::error(Code::Request, entry.span, message).hint("names have letters, digits and `-`"));
        }
        match value {
            HeaderValue::Text(text) if http::HeaderValue::try_from(text).is_err() => found.push(
                Diagnostic::error(
                    Code::Request,
                    entry.value.place(),
                    "a header's value can't contain control characters",
                )
                .hint("remove line breaks"),
            ),
            HeaderValue::Text(text) if !text.is_empty() => secret(&entry.key, &entry.value, found),
            HeaderValue::Env(name) if name.is_empty() || name.contains(['=', '\0', '$', ' ']) => {
                let span =
                    entry.value.get("valueFrom").and_then(|from| from.get("env")).map_or(entry.span, Node::place);
                let message = format!("{} is not the name of an environment variable", quoted(name));
                found.push(Diagnostic::error(Code::Request, span, message).hint("write `env: API_TOKEN`"));
            }
            _ => {}
        }
    }
}

/// A secret in the file would end in version control; the run record does not show headers, but holds the document.
fn secret(name: &str, value: &Node, found: &mut Vec<Diagnostic>) {
    let lower = name.to_ascii_lowercase();
    let (severity, code, what) = if CREDENTIALS.contains(&lower.as_str()) {
        (Severity::Error, Code::Secret, "a credential stands in clear text")
    } else if TELLING.iter().any(|word| lower.contains(word)) {
        (Severity::Warning, Code::LikelySecret, "a value that looks like a secret stands in clear text")
    } else {
        return;
    };
    let variable = lower.to_ascii_uppercase().replace('-', "_");
    let error = Diagnostic::error(code, value.place(), format!("{what}: the header {}", quoted(name)))
        .hint(format!("write `{name}: {{valueFrom: {{env: {variable}}}}}` and set it where squall runs"));
    found.push(Diagnostic { severity, ..error });
}

/// Fields of a request that have no effect together.
fn request(http: &Part<'_, &Http>, found: &mut Vec<Diagnostic>) {
    let value = http.value;
    if value.method == Method::Head && value.expect.body_contains.is_some() {
        let place = http
            .node
            .get("expect")
            .and_then(|expect| expect.entry("bodyContains"))
            .map_or(http.node.place(), |e| e.span);
        found.push(
            Diagnostic::error(Code::Request, place, "the answer to HEAD has no body, so every request would be bad")
                .hint("write `method: GET`"),
        );
    }
    if value.body.is_some() && matches!(value.method, Method::Get | Method::Head) {
        found.push(
            Diagnostic::warning(Code::NoEffect, http.key("body"), "servers ignore the body of a GET or HEAD")
                .hint("write `method: POST`"),
        );
    }
    if value.ca_file.is_some() && value.url.0.scheme_str() == Some("http") {
        found.push(
            Diagnostic::warning(Code::NoEffect, http.key("caFile"), "`caFile` has no effect on an `http://` URL")
                .hint("write `https://`"),
        );
    }
    if value.expect.certificate_valid_for.is_some() && value.url.0.scheme_str() == Some("http") {
        let message = "an `http://` URL has no certificate";
        found.push(Diagnostic::error(Code::Request, certificate_place(http.node), message).hint("write `https://`"));
    }
}

fn certificate_place(node: &Node) -> Span {
    let entry = node.get("expect").and_then(|expect| expect.entry("certificateValidFor"));
    entry.map_or(node.place(), |entry| entry.span)
}

/// Fields of a health check that have no effect together.
fn health(grpc: &Part<'_, &Grpc>, found: &mut Vec<Diagnostic>) {
    let value = grpc.value;
    if value.tls {
        return;
    }
    if value.ca_file.is_some() {
        found.push(
            Diagnostic::warning(Code::NoEffect, grpc.key("caFile"), "`caFile` has no effect without TLS")
                .hint("write `tls: true`"),
        );
    }
    if value.expect.certificate_valid_for.is_some() {
        let message = "without TLS there is no certificate";
        found.push(Diagnostic::error(Code::Request, certificate_place(grpc.node), message).hint("write `tls: true`"));
    }
}

/// Expectations of a DNS answer that no answer can meet.
fn query(dns: &Part<'_, &Dns>, found: &mut Vec<Diagnostic>) {
    let expect = &dns.value.expect;
    let Some(first) = expect.addresses.first() else { return };
    let entry = dns.node.get("expect").and_then(|expect| expect.entry("addresses"));
    let place = entry.map_or(dns.node.place(), |entry| entry.span);
    if expect.rcode != Rcode::NoError {
        found.push(
            Diagnostic::error(
                Code::Request,
                place,
                "an answer with this `rcode` has no addresses, so every query would be bad",
            )
            .hint("leave out `addresses`"),
        );
        return;
    }
    let (fits, other) = match dns.value.record {
        RecordType::A => (expect.addresses.iter().all(std::net::IpAddr::is_ipv4), "AAAA"),
        RecordType::Aaaa => (expect.addresses.iter().all(std::net::IpAddr::is_ipv6), "A"),
        _ => (false, if first.is_ipv4() { "A" } else { "AAAA" }),
    };
    if !fits {
        found.push(
            Diagnostic::error(
                Code::Request,
                place,
                "records of this `type` never hold these addresses, so every query would be bad",
            )
            .hint(format!("write `type: {other}`, or leave out `addresses`")),
        );
    }
}
