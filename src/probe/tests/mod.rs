//! Tests of the engine as a whole: outcomes over real sockets, counts against a server's own, the loop in virtual time.

mod endpoints;
mod grpc;
mod http2;
mod outcomes;
mod real_time;
mod second;
mod server;
mod tls;
mod virtual_time;

use std::time::Duration;

use http::{HeaderMap, Method};

use super::{Ask, Expectation, HttpAsk, HttpVersion, ProbeConfig, Request, StreamKind};

/// What is asked, of an HTTP probe.
fn http(config: &mut ProbeConfig) -> &mut HttpAsk {
    match &mut config.ask {
        Ask::Http(ask) => ask,
        other => panic!("{other:?} is not HTTP"),
    }
}

/// A probe of a URL with the ways of the most common one.
fn probe(url: &str, rate: &str, timeout: Duration, streams: &[StreamKind]) -> ProbeConfig {
    let request = Request {
        uri: url.parse().unwrap(),
        method: Method::GET,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    ProbeConfig {
        name: "web".to_owned(),
        rate: rate.parse().unwrap(),
        timeout,
        streams: streams.to_vec(),
        engine: crate::scalar::EngineKind::Native,
        ask: Ask::Http(Box::new(HttpAsk {
            version: HttpVersion::One,
            request,
            expect: Expectation::default(),
            ca_file: None,
            certificate_valid_for: None,
        })),
        in_flight_max: None,
        late_after: Some(timeout / 10),
    }
}
