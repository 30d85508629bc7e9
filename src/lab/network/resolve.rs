//! What a host name means inside the cluster.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;

use super::rules::endpoints;
use super::transport::is_cut_off;
use crate::lab::store::ObjectKey;
use crate::lab::world::World;
use crate::probe::Class;

/// Where the cluster's DNS listens: Service `kube-dns`.
const DNS: (&str, &str) = ("kube-system", "kube-dns");
/// Its port.
const DNS_PORT: u16 = 53;

/// Where the requests of a probe go, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// An address: a Service's, or a pod's.
    Address(IpAddr),
    /// A Service by its name.
    Service(ObjectKey),
}

impl Host {
    /// Reads a host. `None`: none that the lab knows. A name of two labels is a Service's where `is_namespace` knows the second.
    pub(super) fn read(host: &str, is_namespace: impl Fn(&str) -> bool) -> Option<Self> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = host.parse::<IpAddr>() {
            return (!address.is_loopback()).then_some(Self::Address(address));
        }
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let inside = host.strip_suffix(".cluster.local").unwrap_or(&host);
        let full = inside.strip_suffix(".svc");
        let mut labels = full.unwrap_or(inside).split('.');
        let (name, namespace) = (labels.next()?, labels.next()?);
        let known = full.is_some() || is_namespace(namespace);
        (known && labels.next().is_none() && !name.is_empty()).then(|| Self::Service(ObjectKey::new(namespace, name)))
    }

    /// Looks the host up as a client without a cache does, once for each connection: its addresses, of a headless Service the ready
    /// pods'.
    pub(super) fn look_up(&self, world: &mut World, port: u16) -> Result<Vec<IpAddr>, Class> {
        let key = match self {
            Self::Address(address) => return Ok(vec![*address]),
            Self::Service(key) => key,
        };
        ask_dns(world)?;
        let Some(service) = world.store.get::<Service>(&key.namespace, &key.name) else {
            return Err(Class::DnsNxdomain);
        };
        let spec = service.spec.clone().unwrap_or_default();
        if let Some(Ok(address)) = spec.cluster_ip.as_deref().map(str::parse) {
            return Ok(vec![address]);
        }
        let wanted = spec.ports.iter().flatten().find(|p| p.port == i32::from(port));
        let first = wanted.or(spec.ports.iter().flatten().next()).and_then(|p| p.name.clone());
        let all = endpoints(world, key, first.as_deref());
        // A headless name without ready endpoints does not exist for CoreDNS.
        if all.is_empty() { Err(Class::DnsNxdomain) } else { Ok(all.iter().map(SocketAddr::ip).collect()) }
    }
}

/// Whether the cluster's DNS answers: one query to one of its endpoints. A cluster without the Service is taken to have a DNS elsewhere.
fn ask_dns(world: &mut World) -> Result<(), Class> {
    let Some(service) = world.store.get::<Service>(DNS.0, DNS.1) else { return Ok(()) };
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref()).and_then(|ip| ip.parse().ok());
    let Some(address) = address else { return Ok(()) };
    let backends = world.network.behind(SocketAddr::new(address, DNS_PORT)).map(<[SocketAddr]>::to_vec);
    let Some(backends) = backends.filter(|all| !all.is_empty()) else { return Err(Class::DnsUnreachable) };
    let chosen = backends[world.pick(backends.len())];
    match world.kubelets.at(chosen.ip(), chosen.port()) {
        Some(process) if is_cut_off(world, process) => Err(Class::DnsTimeout),
        Some(process) if process.ended.is_none() && process.listens.is_some() && process.hangs.is_none() => Ok(()),
        // Nobody listens there any more, which the kernel of that pod says; gone altogether, nothing answers.
        Some(process) if process.ended.is_none_or(|(_, cut)| !cut) && process.hangs.is_none() => {
            Err(Class::DnsUnreachable)
        }
        _ => Err(Class::DnsTimeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_the_cluster_are_told_from_others() {
        let read = |host: &str| Host::read(host, |namespace| namespace == "shop");
        let web = Some(Host::Service(ObjectKey::new("shop", "web")));
        for host in ["web.shop", "web.shop.svc", "WEB.shop.svc.", "web.shop.svc.cluster.local"] {
            assert_eq!(read(host), web, "{host}");
        }
        assert_eq!(read("10.96.0.7"), Some(Host::Address("10.96.0.7".parse().unwrap())));
        for host in ["127.0.0.1", "localhost", "web", "web.bank", "example.com", "a.web.shop.svc", ".shop.svc"] {
            assert_eq!(read(host), None, "{host}");
        }
    }
}
