//! One request before the run, so that a probe that can't work from here is refused in words instead of measured as an outage.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::config::{Ask, HttpVersion, ProbeConfig, SetupError};
use super::engine::on_own_thread;
use super::sample::{Class, Step};
use super::stream::StreamKind;
use super::transport::progress::Progress;
use super::transport::real::Prepared;
use super::transport::{Answer, Trouble};

/// Why a probe's first request did not get the expected answer.
#[derive(Debug, thiserror::Error)]
#[error("probe `{probe}`: {detail}")]
pub struct Preflight {
    /// The probe's name.
    pub probe: String,
    /// In which step the request failed; `None` when it could not be tried at all.
    pub step: Option<Step>,
    /// As what class it would have been counted; `None` when this machine is at fault.
    pub class: Option<Class>,
    /// What happened, as a lower-case sentence fragment.
    pub detail: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Sends one request over a fresh connection, as this stream would, and expects the expected answer.
///
/// Takes up to the probe's timeout. Runs on a thread of its own, so it may be awaited from any runtime; dropping the future leaves
/// that one request to end by itself.
pub async fn preflight(config: &ProbeConfig, stream: StreamKind) -> Result<(), Preflight> {
    let failed = |error| Preflight::not_tried(config, error);
    let prepared = Prepared::of(config).map_err(failed)?;
    let deadline = config.timeout;
    let (result_in, result) = oneshot::channel();
    on_own_thread("preflight", move || async move {
        let transport = prepared.transport(stream);
        let begun = Instant::now();
        let progress = Progress::new(begun);
        let result = match timeout(deadline, transport.once(&progress)).await {
            Err(_) => {
                let after = begun.elapsed().as_millis();
                Err((transport.timed_out(&progress, Instant::now()), format!("no answer after {after} ms")))
            }
            Ok(Err(failed)) => Err((failed.answer, failed.cause.to_string())),
            Ok(Ok(Answer::Good)) => Ok(()),
            Ok(Ok(answer)) => Err((answer, String::new())),
        };
        drop(result_in.send((result, progress.remote.get())));
    })
    .map_err(failed)?;
    let broke_off = |_| failed(SetupError::new(Some(&config.name), "the first request broke off"));
    let (result, remote) = result.await.map_err(broke_off)?;
    let at = remote.map_or(String::new(), |remote| format!(" at {remote}"));
    result.map_err(|(answer, cause)| explain(config, stream, answer, &cause, &at))
}

impl Preflight {
    /// A probe that can't be sent at all.
    pub(crate) fn not_tried(config: &ProbeConfig, error: SetupError) -> Self {
        let source = error.source.map_or(String::new(), |source| format!(": {source}"));
        let detail = format!("{}{source}", error.message);
        Self { probe: config.name.clone(), step: None, class: None, detail, hint: error.hint }
    }

    /// A request that had another answer than the expected one. `cause` says why, and `at` where, with a space before it.
    pub(crate) fn of_answer(config: &ProbeConfig, stream: StreamKind, answer: Answer, cause: &str, at: &str) -> Self {
        explain(config, stream, answer, cause, at)
    }
}

fn explain(config: &ProbeConfig, stream: StreamKind, answer: Answer, cause: &str, at: &str) -> Preflight {
    let host = match &config.ask {
        Ask::Dns(dns) => &dns.name,
        other => other.host().unwrap_or_default(),
    };
    let (class, status) = match answer {
        Answer::Bad { class, status } => (Some(class), status),
        Answer::Good | Answer::Local(_) => (None, 0),
    };
    let (detail, hint) = match answer {
        Answer::Local(trouble) => local(trouble),
        Answer::Good => (String::new(), None),
        Answer::Bad { class, .. } => match class.step() {
            Step::Dns if matches!(config.ask, Ask::Dns(_)) => unresolved(class, host, cause, at),
            Step::Dns => (format!("`{host}` can't be looked up from here: {cause}"), dns_hint(class, host)),
            Step::Connect if stream.is_endpoint() => {
                (format!("no connection to any endpoint of `{host}`, as{at}: {cause}"), Some(ENDPOINT_HINT))
            }
            Step::Connect => (format!("no connection to `{host}`{at}: {cause}"), connect_hint(class)),
            Step::Tls => (format!("no TLS with `{host}`{at}: {cause}"), tls_hint(class, &config.ask)),
            Step::Send | Step::Response | Step::Body => unexpected(class, status, cause, at, &config.ask),
        },
    };
    Preflight { probe: config.name.clone(), step: class.map(Class::step), class, detail, hint: hint.map(str::to_owned) }
}

fn local(trouble: Trouble) -> (String, Option<&'static str>) {
    let (what, hint) = match trouble {
        Trouble::Files => ("file descriptor", "raise the limit: `ulimit -n`"),
        Trouble::Ports => ("local port", "something else on this machine holds them; `ss -s` counts them"),
        Trouble::Memory => ("socket buffer", "something else on this machine holds the memory"),
    };
    (format!("this machine has no {what} left"), Some(hint))
}

/// Whether a name is one that only the DNS inside a cluster knows.
fn cluster_internal(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let mut labels = host.split('.').skip(1);
    labels.any(|label| label == "svc") || host.ends_with(".cluster.local")
}

fn dns_hint(class: Class, host: &str) -> Option<&'static str> {
    match class {
        Class::DnsNxdomain | Class::DnsNodata | Class::DnsTimeout if cluster_internal(host) => Some(
            "this name is known inside the cluster only: run Squall in the cluster as a Job, \
             forward a port (`kubectl port-forward`) and probe `127.0.0.1`, or probe an address that is reachable from here",
        ),
        Class::DnsNxdomain | Class::DnsNodata => Some("check the host in the probe's URL"),
        Class::DnsTimeout | Class::DnsUnreachable | Class::DnsServfail | Class::DnsRefused => {
            Some("the resolvers in `/etc/resolv.conf` do not serve this machine")
        }
        _ => None,
    }
}

/// Why an endpoint may be out of reach where its Service is not.
const ENDPOINT_HINT: &str = "pods' addresses are reachable from inside the cluster, or from its nodes: run Squall there, or write \
    `connection: fresh`; where it runs there, check that the workload listens, and the network policies";

fn connect_hint(class: Class) -> Option<&'static str> {
    match class {
        Class::ConnectRefused => Some("nothing listens there: check the port, and that the workload is ready"),
        Class::ConnectTimeout => {
            Some("packets vanish: a firewall or network policy, or an address that is not reachable from here")
        }
        Class::ConnectUnreachable => {
            Some("there is no route: cluster addresses are reachable from inside the cluster only")
        }
        _ => None,
    }
}

fn tls_hint(class: Class, ask: &Ask) -> Option<&'static str> {
    match class {
        Class::TlsCertificate => {
            Some("name the authority that signed it with `caFile`, or use the host that it was made out to")
        }
        Class::TlsExpiresSoon => Some("renew it, or lower `expect.certificateValidFor`"),
        Class::TlsAlpn if matches!(ask, Ask::Grpc(_)) => Some("check that this port speaks gRPC, which needs HTTP/2"),
        Class::TlsAlpn if matches!(ask, Ask::Http(http) if http.version == HttpVersion::One) => {
            Some("the server picks a protocol that it was not offered: look at what ends TLS there")
        }
        Class::TlsAlpn => Some("switch HTTP/2 on in the server, or remove `version: 2`"),
        Class::TlsOther | Class::TlsClosed | Class::TlsAlert if matches!(ask, Ask::Grpc(_)) => {
            Some("check that this port speaks TLS; else remove `tls: true`")
        }
        Class::TlsOther | Class::TlsClosed | Class::TlsAlert => {
            Some("check that this port speaks TLS; else write `http://`")
        }
        _ => None,
    }
}

/// A DNS probe's query that was not answered as expected.
fn unresolved(class: Class, name: &str, cause: &str, at: &str) -> (String, Option<&'static str>) {
    let hint = match class {
        Class::DnsMismatch => {
            let detail = format!("`{name}`, asked for{at}, has an answer, but not the expected one");
            return (detail, Some("check `expect.rcode` and `expect.addresses`"));
        }
        Class::DnsTimeout | Class::DnsUnreachable => {
            "check the `server`: a cluster's DNS is reachable from inside the cluster only"
        }
        Class::DnsNxdomain | Class::DnsNodata => {
            "check the name and the `type`; a name of the cluster is known to the cluster's DNS only; \
             where a failure is what you expect, write `expect: {rcode: NXDOMAIN}`"
        }
        Class::DnsTruncated => "the answer needs more than a datagram: write `over: tcp`",
        _ => "check that this server answers for this name",
    };
    (format!("`{name}` asked for{at}: {cause}"), Some(hint))
}

fn unexpected(class: Class, status: u16, cause: &str, at: &str, ask: &Ask) -> (String, Option<&'static str>) {
    match class {
        Class::Status if matches!(ask, Ask::Grpc(_)) => (
            format!("answered{at} with the HTTP status {status}, where gRPC always answers 200"),
            Some("check that this port, and what stands in front of it, speaks gRPC"),
        ),
        Class::GrpcStatus => (format!("answered{at} with the gRPC status {status}"), grpc_hint(status)),
        Class::GrpcHealth => (
            format!("answered{at}, but its health is not the expected one"),
            Some("wait until it serves, or write the state that you expect: `expect: {status: …}`"),
        ),
        Class::GrpcMalformed => (
            format!("answered{at} with what is not an answer of gRPC's health service"),
            Some("check that this port speaks gRPC"),
        ),
        Class::Status => (
            format!("answered{at} with an unexpected status: {status}"),
            Some("check the path, or write the status that you expect: `expect: {status: …}`"),
        ),
        Class::HeaderMismatch => (format!("answered{at} without the expected headers"), Some("check `expect.headers`")),
        Class::BodyMismatch => (format!("answered{at} without the expected text"), Some("check `expect.bodyContains`")),
        Class::ResponseTimeout | Class::BodyTimeout => {
            (format!("connected{at}, but the answer was not complete: {cause}"), Some("raise the probe's `timeout`"))
        }
        _ => (format!("connected{at}, but got no usable answer: {cause}"), Some(speaks(ask))),
    }
}

/// What a port has to speak that gives no usable answer.
fn speaks(ask: &Ask) -> &'static str {
    match ask {
        Ask::Grpc(grpc) if grpc.tls => "check that this port speaks gRPC",
        Ask::Grpc(_) => "check that this port speaks gRPC in clear text; else write `tls: true`",
        Ask::Http(http) if http.version == HttpVersion::Two && http.request.uri.scheme_str() == Some("http") => {
            "check that this port speaks HTTP/2 in clear text without an upgrade; else remove `version: 2`, or write `https://`"
        }
        _ => "check that this port speaks HTTP",
    }
}

fn grpc_hint(status: u16) -> Option<&'static str> {
    match status {
        5 => Some("the server does not know this `service`: leave it out to ask for the server as a whole"),
        7 | 16 => Some("it wants credentials: write `headers: {authorization: {valueFrom: {env: …}}}`"),
        12 => {
            Some("this server has no health service: add `grpc.health.v1.Health` to it, or probe its port with `tcp`")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::transport::classify::bad;
    use crate::probe::{Expectation, HttpAsk, HttpVersion, Request};

    fn explained(url: &str, class: Class) -> Preflight {
        let request = Request {
            uri: url.parse().unwrap(),
            method: http::Method::GET,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let config = ProbeConfig {
            name: "web".to_owned(),
            rate: "1/s".parse().unwrap(),
            timeout: Duration::from_secs(1),
            streams: vec![StreamKind::Fresh],
            engine: crate::scalar::EngineKind::Native,
            ask: Ask::Http(Box::new(HttpAsk {
                version: HttpVersion::One,
                request,
                expect: Expectation::default(),
                ca_file: None,
                certificate_valid_for: None,
            })),
            in_flight_max: None,
            late_after: None,
        };
        explain(&config, StreamKind::Fresh, bad(class), "the name does not exist", "")
    }

    #[test]
    fn a_cluster_name_that_nobody_knows_here_is_told_from_a_typing_error() {
        let inside =
            ["http://web.shop.svc/healthz", "https://web.shop.svc.cluster.local.", "http://WEB.SHOP.SVC:8080/"];
        for url in inside {
            let said = explained(url, Class::DnsNxdomain);
            assert_eq!((said.step, said.class), (Some(Step::Dns), Some(Class::DnsNxdomain)));
            assert!(said.hint.unwrap().contains("kubectl port-forward"), "{url}");
        }
        for url in ["http://svc.example.com/", "http://web.example.com/svc", "http://websvc/"] {
            assert_eq!(explained(url, Class::DnsNxdomain).hint.unwrap(), "check the host in the probe's URL", "{url}");
        }
        let said = explained("http://web.shop.svc/", Class::DnsNxdomain);
        assert_eq!(
            said.to_string(),
            "probe `web`: `web.shop.svc` can't be looked up from here: the name does not exist"
        );
    }
}
