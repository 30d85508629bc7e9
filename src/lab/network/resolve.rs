//! What a host name means inside the cluster: what a pod's resolver asks for, and what it makes of the answers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use tokio::time::{Instant, sleep_until};

use super::queries::{CLIENT, Delivered, deliver};
use super::transport::Way;
use crate::lab::dns::{self, Query, Reply};
use crate::lab::world::{Shared, World};
use crate::probe::{Class, RecordType, ResponseCode, Step};

/// Where the cluster's DNS listens: Service `kube-dns`.
const DNS: (&str, &str) = ("kube-system", "kube-dns");
/// Its port.
const DNS_PORT: u16 = 53;
/// The search list of a pod in namespace `squall`, where the runner has its place, and how many dots spare a name the way through it.
const SEARCH: [&str; 3] = ["squall.svc.cluster.local", "svc.cluster.local", "cluster.local"];
const NDOTS: usize = 5;
/// How long a resolver waits for its server.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a DNS takes that is not in the cluster.
const ELSEWHERE: Duration = Duration::from_micros(200);
/// What tokio's clock can't tell apart: so much is not slept.
const TICK: Duration = Duration::from_millis(1);

/// Where the requests of a probe go, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// An address: a Service's, or a pod's.
    Address(IpAddr),
    /// A Service by its name: the names that are asked for in turn.
    Names(Vec<String>),
}

/// The full names that a name may stand for in a pod, in the order in which they are asked for.
pub(super) fn candidates(name: &str) -> Vec<String> {
    let lower = name.to_ascii_lowercase();
    if let Some(full) = lower.strip_suffix('.') {
        return vec![full.to_owned()];
    }
    let mut names: Vec<String> = SEARCH.iter().map(|domain| format!("{lower}.{domain}")).collect();
    let dots = lower.matches('.').count();
    let position = if dots >= NDOTS { 0 } else { names.len() };
    names.insert(position, lower);
    names
}

/// The address of the cluster's DNS.
pub(super) fn name_server(world: &World) -> Option<SocketAddr> {
    let service = world.store.get::<Service>(DNS.0, DNS.1)?;
    let address = service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()?;
    Some(SocketAddr::new(address, DNS_PORT))
}

/// What a response code other than NOERROR stands for.
pub(super) const fn miss_of(code: ResponseCode) -> Option<Class> {
    Some(match code {
        ResponseCode::NoError => return None,
        ResponseCode::NXDomain => Class::DnsNxdomain,
        ResponseCode::ServFail => Class::DnsServfail,
        ResponseCode::Refused => Class::DnsRefused,
        ResponseCode::FormErr => Class::DnsFormerr,
        ResponseCode::NotImp => Class::DnsNotimp,
        _ => Class::DnsOther,
    })
}

/// Of two failures of a search list the one that matters.
pub(super) fn worse(one: Class, other: Class) -> Class {
    const ORDER: [Class; 11] = [
        Class::DnsNxdomain,
        Class::DnsNodata,
        Class::DnsOther,
        Class::DnsFormerr,
        Class::DnsNotimp,
        Class::DnsMalformed,
        Class::DnsTruncated,
        Class::DnsUnreachable,
        Class::DnsRefused,
        Class::DnsServfail,
        Class::DnsTimeout,
    ];
    let rank = |class: Class| ORDER.iter().position(|known| *known == class);
    if rank(one) >= rank(other) { one } else { other }
}

impl Host {
    /// Reads a host. `None`: none that the lab knows. A name of two labels is a Service's where `is_namespace` knows the second.
    pub(super) fn read(host: &str, is_namespace: impl Fn(&str) -> bool) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return (!address.is_loopback()).then_some(Self::Address(address));
        }
        let plain = host.trim_end_matches('.').to_ascii_lowercase();
        let inside = plain.strip_suffix(".cluster.local").unwrap_or(&plain);
        let full = inside.strip_suffix(".svc");
        let mut labels = full.unwrap_or(inside).rsplit('.');
        let (namespace, name) = (labels.next()?, labels.next()?);
        let known = full.is_some() || is_namespace(namespace);
        // A pod behind a headless Service has a name of its own below the Service's.
        let whole = !name.is_empty() && labels.all(|label| !label.is_empty());
        (known && whole).then(|| Self::Names(candidates(host)))
    }

    /// Looks the host up as a client without a cache does, once for each connection: its addresses, in ascending order.
    pub(super) async fn look_up(&self, shared: &Shared, way: &mut Way) -> Result<Vec<IpAddr>, Class> {
        let names = match self {
            Self::Address(address) => return Ok(vec![*address]),
            Self::Names(names) => names,
        };
        way.step(Step::Dns, Duration::ZERO);
        let mut miss = Class::DnsNxdomain;
        for name in names {
            match addresses(shared, way, name).await {
                Ok(mut found) => {
                    found.sort_unstable();
                    return Ok(found);
                }
                Err(class) => miss = worse(miss, class),
            }
            // The names behind it would wait for the same silent server.
            if miss == Class::DnsTimeout {
                break;
            }
        }
        Err(miss)
    }
}

async fn addresses(shared: &Shared, way: &mut Way, name: &str) -> Result<Vec<IpAddr>, Class> {
    match ask(shared, way, name, RecordType::A).await {
        Err(Class::DnsNodata) => ask(shared, way, name, RecordType::AAAA).await,
        other => other,
    }
}

async fn ask(shared: &Shared, way: &mut Way, name: &str, kind: RecordType) -> Result<Vec<IpAddr>, Class> {
    let query = Query { name, kind, client: CLIENT, tcp: false };
    let mut reply = shared.act(|world| once(world, way, query))?;
    if reply.truncated {
        // The connection takes a round trip of its own.
        way.at += shared.read(|world| world.settings.round_trip);
        reply = shared.act(|world| once(world, way, Query { tcp: true, ..query }))?;
    }
    if way.at > Instant::now() + TICK {
        sleep_until(way.at.min(way.slot.deadline)).await;
    }
    if let Some(miss) = miss_of(reply.code) {
        return Err(miss);
    }
    let found: Vec<IpAddr> = reply.addresses().collect();
    if found.is_empty() { Err(Class::DnsNodata) } else { Ok(found) }
}

/// One question to the cluster's DNS; the way learns how long it took. A cluster without one is taken to have it elsewhere.
fn once(world: &mut World, way: &mut Way, query: Query<'_>) -> Result<Arc<Reply>, Class> {
    let round_trip = world.settings.round_trip;
    let Some(server) = name_server(world) else {
        way.at += round_trip + ELSEWHERE;
        return Ok(dns::elsewhere(world, query));
    };
    match deliver(world, server, query, None) {
        Delivered::Answered { reply, takes, .. } if takes < PATIENCE => {
            way.at += round_trip + takes;
            Ok(reply)
        }
        Delivered::Refused => {
            way.at += round_trip;
            Err(Class::DnsUnreachable)
        }
        Delivered::Stranger { takes, .. } => {
            way.at += round_trip + takes;
            Ok(dns::elsewhere(world, query))
        }
        Delivered::Answered { .. } | Delivered::Silent { .. } => {
            way.at += PATIENCE;
            Err(Class::DnsTimeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_cluster_are_told_from_others() {
        let read = |host: &str| Host::read(host, |namespace| namespace == "shop");
        for host in ["web.shop", "web.shop.svc", "WEB.shop.svc.", "web.shop.svc.cluster.local", "a.web.shop.svc"] {
            assert!(matches!(read(host), Some(Host::Names(_))), "{host}");
        }
        assert_eq!(read("10.96.0.7"), Some(Host::Address("10.96.0.7".parse().unwrap())));
        for host in ["127.0.0.1", "localhost", "web", "web.bank", "example.com", ".shop.svc", "a..shop.svc"] {
            assert_eq!(read(host), None, "{host}");
        }
    }

    #[test]
    fn a_name_goes_through_the_search_list_unless_it_is_full() {
        let asked = candidates("Web.shop.svc");
        assert_eq!(asked[0], "web.shop.svc.squall.svc.cluster.local");
        assert_eq!((asked[2].as_str(), asked[3].as_str()), ("web.shop.svc.cluster.local", "web.shop.svc"));
        assert_eq!(candidates("web.shop."), ["web.shop"]);
        assert_eq!(candidates("a.web.shop.svc.cluster.local")[0], "a.web.shop.svc.cluster.local");
    }

    #[test]
    fn of_two_failures_the_one_that_says_more_counts() {
        assert_eq!(worse(Class::DnsNxdomain, Class::DnsServfail), Class::DnsServfail);
        assert_eq!(worse(Class::DnsTimeout, Class::DnsRefused), Class::DnsTimeout);
    }
}
