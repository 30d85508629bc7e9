//! The plugin `kubernetes`: names of the cluster, by the rules of CoreDNS's own (handler.go, parse.go).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::message::{Data, Query, Record, Reply, address_of, is_under};
use super::plugins::{Kubernetes, Pods};
use crate::lab::world::World;
use crate::probe::{RecordType, ResponseCode};

/// The label by which a slice says whose endpoints it has.
const SERVICE: &str = "kubernetes.io/service-name";
/// The Service by whose address the zone's name server goes.
const DNS: (&str, &str) = ("kube-system", "kube-dns");
/// The version of the naming scheme.
const SCHEMA: &str = "1.1.0";
/// For how long the answer about it holds, in seconds.
const SCHEMA_TTL: u32 = 28_800;

/// What a name is asked for, below `svc` or `pod`.
#[derive(Debug, Default)]
struct Asked<'a> {
    of_pods: bool,
    namespace: &'a str,
    service: &'a str,
    endpoint: &'a str,
    port: &'a str,
    protocol: &'a str,
}

/// Something that a name leads to.
struct Found {
    host: Data,
    port: u16,
    /// The name below the zone that has the address.
    name: String,
}

/// No such name.
struct NameError;

/// The answer to a query; `None`: the next plugin is asked.
pub(super) fn answer(world: &World, options: &Kubernetes, query: Query<'_>) -> Option<Reply> {
    let zone = options.zones.iter().filter(|zone| is_under(query.name, zone)).max_by_key(|zone| zone.len())?;
    match records(world, options, zone, query) {
        Ok((answers, _)) if answers.is_empty() => Some(denied(ResponseCode::NoError, zone, options.ttl)),
        Ok((answers, extra)) => Some(Reply { extra, ..Reply::with(answers) }),
        Err(NameError) => {
            let through = options.through.as_ref();
            let passes = through.is_some_and(|zones| zones.iter().any(|zone| is_under(query.name, zone)));
            (!passes).then(|| denied(ResponseCode::NXDomain, zone, options.ttl))
        }
    }
}

fn denied(code: ResponseCode, zone: &str, ttl: u32) -> Reply {
    let authority = Record { name: zone.to_owned(), ttl, data: Data::Authority { minimum: ttl } };
    Reply { authority: Some(authority), ..Reply::of(code) }
}

fn records(
    world: &World,
    options: &Kubernetes,
    zone: &str,
    query: Query<'_>,
) -> Result<(Vec<Record>, Vec<Record>), NameError> {
    let record = |data, ttl| Record { name: query.name.to_owned(), ttl, data };
    let base = query.name.strip_suffix(zone).unwrap_or_default().trim_end_matches('.');
    match query.kind {
        RecordType::PTR => {
            let names = pointers(world, options, query.name)?;
            return Ok((names.into_iter().map(|name| record(Data::Pointer(name), options.ttl)).collect(), Vec::new()));
        }
        RecordType::TXT if base == "dns-version" => {
            return Ok((vec![record(Data::Text(SCHEMA.to_owned()), SCHEMA_TTL)], Vec::new()));
        }
        RecordType::NS if base.is_empty() => {
            let name = format!("ns.dns.{zone}");
            let extra = name_server(world).map(|address| Record {
                name: name.clone(),
                ttl: options.ttl,
                data: Data::Address(address),
            });
            return Ok((vec![record(Data::Server(name), options.ttl)], extra.into_iter().collect()));
        }
        RecordType::SOA if base.is_empty() => {
            return Ok((vec![record(Data::Authority { minimum: options.ttl }, options.ttl)], Vec::new()));
        }
        _ => {}
    }
    if base == "ns.dns" {
        let address = name_server(world).filter(|address| fits(query.kind, *address));
        return Ok((
            address.map(|address| record(Data::Address(address), options.ttl)).into_iter().collect(),
            Vec::new(),
        ));
    }
    let found = lookup(world, options, zone, base)?;
    let (mut answers, mut extra): (Vec<Record>, Vec<Record>) = (Vec::new(), Vec::new());
    let add = |to: &mut Vec<Record>, record: Record| {
        if !to.contains(&record) {
            to.push(record);
        }
    };
    for Found { host, port, name } in found {
        match (query.kind, &host) {
            (RecordType::A | RecordType::AAAA, Data::Address(address)) if fits(query.kind, *address) => {
                add(&mut answers, record(host, options.ttl));
            }
            (RecordType::A | RecordType::AAAA | RecordType::CNAME, Data::Alias(_)) => {
                add(&mut answers, record(host, options.ttl));
            }
            (RecordType::SRV, Data::Address(_)) => {
                let target = format!("{name}.{zone}");
                add(&mut extra, Record { name: target.clone(), ttl: options.ttl, data: host });
                add(&mut answers, record(Data::Service { port, target }, options.ttl));
            }
            (RecordType::SRV, Data::Alias(target)) => {
                let target = target.clone();
                add(&mut answers, record(Data::Service { port, target }, options.ttl));
            }
            _ => {}
        }
    }
    Ok((answers, extra))
}

const fn fits(kind: RecordType, address: IpAddr) -> bool {
    matches!((kind, address), (RecordType::A, IpAddr::V4(_)) | (RecordType::AAAA, IpAddr::V6(_)))
}

fn name_server(world: &World) -> Option<IpAddr> {
    let service = world.store.get::<Service>(DNS.0, DNS.1)?;
    service.spec.as_ref()?.cluster_ip.as_ref()?.parse().ok()
}

impl<'a> Asked<'a> {
    /// Reads what stands before the zone. `None`: an apex, which has nothing and exists.
    fn read(base: &'a str) -> Result<Option<Self>, NameError> {
        if matches!(base, "" | "svc" | "pod") {
            return Ok(None);
        }
        let mut labels = base.rsplit('.');
        let mut asked = Self { of_pods: labels.next() == Some("pod"), ..Self::default() };
        if !asked.of_pods && base.strip_suffix(".svc").is_none() {
            return Err(NameError);
        }
        asked.namespace = labels.next().unwrap_or_default();
        asked.service = labels.next().unwrap_or_default();
        match (labels.next(), labels.next(), labels.next()) {
            (None, ..) => {}
            (Some(endpoint), None, _) => asked.endpoint = endpoint,
            (Some(protocol), Some(port), None) => {
                asked.protocol = protocol.strip_prefix('_').unwrap_or(protocol);
                asked.port = port.strip_prefix('_').unwrap_or(port);
            }
            _ => return Err(NameError),
        }
        Ok(Some(asked))
    }

    fn takes(&self, port: Option<&str>, protocol: Option<&str>) -> bool {
        let same = |wanted: &str, is: &str| wanted.is_empty() || wanted.eq_ignore_ascii_case(is);
        same(self.port, port.unwrap_or_default()) && same(self.protocol, protocol.unwrap_or("TCP"))
    }
}

fn lookup(world: &World, options: &Kubernetes, zone: &str, base: &str) -> Result<Vec<Found>, NameError> {
    let Some(asked) = Asked::read(base)? else { return Ok(Vec::new()) };
    if zone.strip_suffix(".arpa").is_some() {
        return Err(NameError);
    }
    let exposed = options.namespaces.is_empty() || options.namespaces.iter().any(|name| name == asked.namespace);
    if !exposed || world.store.get::<Namespace>("", asked.namespace).is_none() {
        return Err(NameError);
    }
    if asked.of_pods {
        return pods(world, options, &asked);
    }
    if asked.service.is_empty() {
        return Ok(Vec::new());
    }
    services(world, options, &asked)
}

fn pods(world: &World, options: &Kubernetes, asked: &Asked<'_>) -> Result<Vec<Found>, NameError> {
    let name = asked.service;
    if options.pods == Pods::Disabled {
        return Err(NameError);
    }
    if name.is_empty() {
        return Ok(Vec::new());
    }
    let is_v4 = name.matches('-').count() == 3 && !name.contains("--");
    let address: IpAddr = name.replace('-', if is_v4 { "." } else { ":" }).parse().map_err(|_| NameError)?;
    if options.pods == Pods::Verified {
        let has = |pod: &Pod| pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()?.parse().ok()) == Some(address);
        if !world.store.list::<Pod>(Some(asked.namespace)).any(|pod| has(&pod)) {
            return Err(NameError);
        }
    }
    Ok(vec![Found { host: Data::Address(address), port: 0, name: format!("{name}.{}.pod", asked.namespace) }])
}

fn services(world: &World, options: &Kubernetes, asked: &Asked<'_>) -> Result<Vec<Found>, NameError> {
    let service = world.store.get::<Service>(asked.namespace, asked.service).ok_or(NameError)?;
    let spec = service.spec.as_ref().ok_or(NameError)?;
    let name = format!("{}.{}.svc", asked.service, asked.namespace);
    if spec.type_.as_deref() == Some("ExternalName") {
        let target = spec
            .external_name
            .as_ref()
            .filter(|_| asked.endpoint.is_empty() && asked.port.is_empty() && asked.protocol.is_empty());
        let target = target.ok_or(NameError)?.trim_end_matches('.').to_ascii_lowercase();
        return Ok(vec![Found { host: Data::Alias(target), port: 0, name }]);
    }
    let headless = spec.cluster_ip.as_deref().is_none_or(|ip| ip == "None" || ip.is_empty());
    let found: Vec<Found> = if headless || !asked.endpoint.is_empty() {
        endpoints(world, options, asked, &name)
    } else {
        if options.ignores_empty
            && endpoints(world, options, &Asked { port: "", protocol: "", ..*asked }, &name).is_empty()
        {
            return Err(NameError);
        }
        let many = spec.cluster_ips.iter().flatten();
        let one = spec.cluster_ip.iter().filter(|_| spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
        let addresses: Vec<IpAddr> = many.chain(one).filter_map(|ip| ip.parse().ok()).collect();
        let ports = spec.ports.iter().flatten();
        let ports = ports.filter(|port| asked.takes(port.name.as_deref(), port.protocol.as_deref()));
        let of = |port: i32| u16::try_from(port).unwrap_or_default();
        ports
            .flat_map(|port| addresses.iter().map(move |address| (*address, of(port.port))))
            .map(|(address, port)| Found { host: Data::Address(address), port, name: name.clone() })
            .collect()
    };
    if found.is_empty() { Err(NameError) } else { Ok(found) }
}

/// The endpoints of a Service that are ready.
fn endpoints(world: &World, options: &Kubernetes, asked: &Asked<'_>, service: &str) -> Vec<Found> {
    let mut found = Vec::new();
    for slice in world.store.list::<EndpointSlice>(Some(asked.namespace)) {
        let labels = slice.metadata.labels.as_ref();
        if labels.and_then(|labels| labels.get(SERVICE)).is_none_or(|name| name != asked.service) {
            continue;
        }
        let is_ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        for endpoint in slice.endpoints.iter().filter(is_ready) {
            for address in endpoint.addresses.iter().filter_map(|address| address.parse::<IpAddr>().ok()) {
                let host = host_name(endpoint, address, options.pod_names);
                if !asked.endpoint.is_empty() && asked.endpoint != host {
                    continue;
                }
                let ports = slice.ports.iter().flatten();
                for port in ports.filter(|port| asked.takes(port.name.as_deref(), port.protocol.as_deref())) {
                    let number = port.port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
                    found.push(Found { host: Data::Address(address), port: number, name: format!("{host}.{service}") });
                }
            }
        }
    }
    found
}

/// The label under which an endpoint has a name of its own.
fn host_name(endpoint: &Endpoint, address: IpAddr, pod_names: bool) -> String {
    let pod = || endpoint.target_ref.as_ref().filter(|_| pod_names)?.name.clone();
    let own = endpoint.hostname.clone().filter(|name| !name.is_empty());
    own.or_else(pod).unwrap_or_else(|| {
        let name = address.to_string().replace(['.', ':'], "-");
        if name.ends_with('-') { name + "0" } else { name }
    })
}

/// The names of an address: a Service's, or an endpoint's of every Service that has it.
fn pointers(world: &World, options: &Kubernetes, name: &str) -> Result<Vec<String>, NameError> {
    let address = address_of(name).ok_or(NameError)?;
    let domain =
        options.zones.iter().find(|zone| zone.strip_suffix(".arpa").is_none()).map_or("cluster.local", String::as_str);
    let written = address.to_string();
    let has = |service: &Service| {
        service.spec.as_ref().is_some_and(|spec| {
            spec.cluster_ip.as_ref() == Some(&written) || spec.cluster_ips.iter().flatten().any(|ip| *ip == written)
        })
    };
    if let Some(service) = world.store.list::<Service>(None).find(|service| has(service)) {
        let (name, namespace) = (service.metadata.name.clone(), service.metadata.namespace.clone());
        return Ok(vec![format!("{}.{}.svc.{domain}", name.unwrap_or_default(), namespace.unwrap_or_default())]);
    }
    let mut names = Vec::new();
    for slice in world.store.list::<EndpointSlice>(None) {
        let service = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE));
        let (Some(service), Some(namespace)) = (service, &slice.metadata.namespace) else { continue };
        let ready = |endpoint: &&Endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
        for endpoint in slice.endpoints.iter().filter(ready).filter(|e| e.addresses.contains(&written)) {
            names.push(format!(
                "{}.{service}.{namespace}.svc.{domain}",
                host_name(endpoint, address, options.pod_names)
            ));
        }
    }
    names.sort();
    names.dedup();
    if names.is_empty() { Err(NameError) } else { Ok(names) }
}
