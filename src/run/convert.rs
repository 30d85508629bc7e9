//! From a probe as written to a probe that can be run: the only place where the values of secret headers are read.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::probe::{
    Ask, DnsAsk, DnsExpectation, DnsOver, Expectation, GrpcAsk, HealthState, HttpAsk, HttpVersion, ProbeConfig,
    RecordType, Request, ResponseCode, StreamKind, TcpAsk,
};
use crate::scalar::{EngineKind, Validity};
use crate::spec::{self, Connection, Grpc, HostPort, Http, Method, Probe, Protocol, Rcode, Socket, Tcp, TcpConnection};

/// Makes a probe ready to be run by an engine.
///
/// # Errors
///
/// When a header can't be sent, or the environment lacks a variable that one comes from.
pub(super) fn probe(probe: &Probe, engine: EngineKind) -> Result<ProbeConfig, String> {
    let (streams, ask) = match &probe.protocol {
        Protocol::Http(http) => {
            let ask = http_ask(http).map_err(|why| format!("probe `{}`: {why}", probe.name))?;
            (connections(http.connection), Ask::Http(Box::new(ask)))
        }
        Protocol::Grpc(grpc) => {
            let ask = grpc_ask(grpc).map_err(|why| format!("probe `{}`: {why}", probe.name))?;
            (connections(grpc.connection), Ask::Grpc(Box::new(ask)))
        }
        Protocol::Tcp(Tcp { address: HostPort { host, port }, connection }) => {
            let stream = match connection {
                TcpConnection::Fresh => StreamKind::Fresh,
                TcpConnection::PerEndpoint => StreamKind::PerEndpoint,
            };
            (vec![stream], Ask::Tcp(TcpAsk { host: host.clone(), port: *port }))
        }
        Protocol::Dns(dns) => (sockets(dns.socket), Ask::Dns(dns_ask(dns))),
    };
    let (name, rate, timeout) = (probe.name.to_string(), probe.rate, probe.timeout.get());
    Ok(ProbeConfig { name, rate, timeout, streams, engine, ask, in_flight_max: None, late_after: None })
}

fn connections(connection: Connection) -> Vec<StreamKind> {
    match connection {
        Connection::Paired => vec![StreamKind::Fresh, StreamKind::KeptAlive],
        Connection::Fresh => vec![StreamKind::Fresh],
        Connection::KeepAlive => vec![StreamKind::KeptAlive],
        Connection::Reuse(requests) => vec![StreamKind::Reuse(requests.get())],
        Connection::PerEndpoint => vec![StreamKind::PerEndpoint],
    }
}

fn sockets(socket: Socket) -> Vec<StreamKind> {
    match socket {
        Socket::Paired => vec![StreamKind::PerQuery, StreamKind::Pinned],
        Socket::PerQuery => vec![StreamKind::PerQuery],
        Socket::Pinned => vec![StreamKind::Pinned],
    }
}

fn dns_ask(dns: &spec::Dns) -> DnsAsk {
    DnsAsk {
        name: dns.name.to_string(),
        record: match dns.record {
            spec::RecordType::A => RecordType::A,
            spec::RecordType::Aaaa => RecordType::AAAA,
            spec::RecordType::Cname => RecordType::CNAME,
            spec::RecordType::Mx => RecordType::MX,
            spec::RecordType::Ns => RecordType::NS,
            spec::RecordType::Ptr => RecordType::PTR,
            spec::RecordType::Srv => RecordType::SRV,
            spec::RecordType::Txt => RecordType::TXT,
        },
        server: dns.server.map(|server| server.0),
        over: match dns.over {
            spec::DnsOver::Udp => DnsOver::Udp,
            spec::DnsOver::Tcp => DnsOver::Tcp,
        },
        expect: DnsExpectation {
            rcode: match dns.expect.rcode {
                Rcode::NoError => ResponseCode::NoError,
                Rcode::NxDomain => ResponseCode::NXDomain,
                Rcode::ServFail => ResponseCode::ServFail,
                Rcode::Refused => ResponseCode::Refused,
                Rcode::FormErr => ResponseCode::FormErr,
                Rcode::NotImp => ResponseCode::NotImp,
            },
            addresses: dns.expect.addresses.clone(),
        },
    }
}

fn http_ask(http: &Http) -> Result<HttpAsk, String> {
    Ok(HttpAsk {
        version: match http.version {
            spec::HttpVersion::One => HttpVersion::One,
            spec::HttpVersion::Two => HttpVersion::Two,
        },
        request: request(http)?,
        expect: expectation(http)?,
        ca_file: http.ca_file.clone().map(Into::into),
        certificate_valid_for: http.expect.certificate_valid_for.map(Validity::get),
    })
}

fn grpc_ask(grpc: &Grpc) -> Result<GrpcAsk, String> {
    let HostPort { host, port } = &grpc.address;
    Ok(GrpcAsk {
        host: host.clone(),
        port: *port,
        service: grpc.service.clone(),
        tls: grpc.tls,
        ca_file: grpc.ca_file.clone().map(Into::into),
        certificate_valid_for: grpc.expect.certificate_valid_for.map(Validity::get),
        headers: headers(&grpc.headers)?,
        expect: match grpc.expect.status {
            spec::HealthState::Serving => HealthState::Serving,
            spec::HealthState::NotServing => HealthState::NotServing,
            spec::HealthState::Unknown => HealthState::Unknown,
            spec::HealthState::ServiceUnknown => HealthState::ServiceUnknown,
        },
    })
}

fn headers(written: &BTreeMap<String, spec::HeaderValue>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
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
    Ok(headers)
}

fn request(http: &Http) -> Result<Request, String> {
    Ok(Request {
        uri: http.url.0.clone(),
        method: method(http.method),
        headers: headers(&http.headers)?,
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
