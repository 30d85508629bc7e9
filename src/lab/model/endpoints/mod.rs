//! The EndpointSlice controller: which pods are behind a Service.
//!
//! What is left out: hints by zone, which `trafficDistribution` asks for, and the annotation of when the last change was triggered.

mod slices;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use self::slices::{Plan, Ports, Wanted};
use super::Controller;
use super::objects::{delete, is_finished, is_ready, key_of, owner_reference};
use crate::lab::store::{Change, ObjectKey, number_of};
use crate::lab::world::World;

/// The label of a slice that names its Service.
const SERVICE: &str = "kubernetes.io/service-name";
/// The label of who writes a slice, and what it says.
const MANAGED: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
/// The label of slices of a Service without an address of its own.
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn observe(world: &mut World, change: &Change) {
    if change.now::<Service>().is_some() {
        world.notice(Controller::Endpoints, change.object().key.clone());
    }
    if let (Some(slice), None) = (change.was::<EndpointSlice>(), &change.after)
        && let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE))
    {
        world.notice(Controller::Endpoints, ObjectKey::new(change.object().key.namespace.clone(), service.clone()));
    }
    let (was, now) = (change.was::<Pod>(), change.now::<Pod>());
    if was.as_deref().map(seen) == now.as_deref().map(seen) {
        return;
    }
    let none = BTreeMap::new();
    let labels: Vec<_> = was.iter().chain(&now).map(|pod| pod.metadata.labels.as_ref().unwrap_or(&none)).collect();
    let takes = |service: &Arc<Service>| {
        let selector = service.spec.as_ref().and_then(selector);
        let has = |labels: &BTreeMap<String, String>| {
            selector.is_some_and(|selector| selector.iter().all(|(name, value)| labels.get(name) == Some(value)))
        };
        labels.iter().copied().any(has)
    };
    let namespace = change.object().key.namespace.as_str();
    let keys: Vec<_> =
        world.store.list::<Service>(Some(namespace)).filter(takes).map(|service| key_of(&service.metadata)).collect();
    for key in keys {
        world.notice(Controller::Endpoints, key);
    }
}

/// What of a pod endpoints depend on.
fn seen(pod: &Pod) -> impl PartialEq {
    let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
    (
        (&meta.uid, &meta.labels, meta.deletion_timestamp.is_some()),
        spec.and_then(|spec| spec.node_name.as_ref()),
        status.map(|status| (&status.pod_ip, &status.pod_ips)),
        (is_ready(pod), is_finished(pod)),
    )
}

/// The labels that a Service takes pods by; `None`: its endpoints are not this controller's.
fn selector(spec: &ServiceSpec) -> Option<&BTreeMap<String, String>> {
    let named = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !named && !selector.is_empty())
}

pub(super) fn reconcile(world: &mut World, key: &ObjectKey) {
    let Some(service) = world.store.get::<Service>(&key.namespace, &key.name) else { return };
    let Some(spec) = &service.spec else { return };
    let (Some(selector), None) = (selector(spec), &service.metadata.deletion_timestamp) else { return };
    let pods = world.store.pods_with(&key.namespace, selector);
    let mut slices = world.store.owned::<EndpointSlice>(service.metadata.uid.as_deref().unwrap_or_default());
    slices.retain(|slice| {
        let by = slice.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED.0));
        by.is_some_and(|by| by == MANAGED.1) && slice.metadata.deletion_timestamp.is_none()
    });
    let families = match &spec.ip_families {
        Some(families) if !families.is_empty() => families.clone(),
        _ => vec!["IPv4".to_owned()],
    };
    for family in &families {
        let wanted = wanted(world, &service, spec, &pods, family);
        let (own, others) = slices.into_iter().partition(|slice| slice.address_type == *family);
        slices = others;
        let plan = slices::plan(own, wanted);
        carry_out(world, &service, family, plan);
    }
    for slice in slices {
        delete(world, number_of::<EndpointSlice>(), &key_of(&slice.metadata), None);
    }
}

/// The endpoints that there are to be, by the ports that they have.
fn wanted(world: &World, service: &Service, spec: &ServiceSpec, pods: &[Arc<Pod>], family: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for pod in pods.iter().filter(|pod| !is_finished(pod)) {
        let Some(address) = address(pod, family) else { continue };
        let ports: Ports = spec.ports.iter().flatten().filter_map(|port| endpoint_port(pod, port)).collect();
        wanted.entry(ports).or_default().push(endpoint(world, service, spec, pod, address));
    }
    wanted
}

fn address(pod: &Pod, family: &str) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut all = status.pod_ips.iter().flatten().map(|ip| &ip.ip).chain(&status.pod_ip);
    all.find(|ip| !ip.is_empty() && ip.contains(':') == (family == "IPv6")).cloned()
}

fn endpoint(world: &World, service: &Service, spec: &ServiceSpec, pod: &Pod, address: String) -> Endpoint {
    let (serving, terminating) = (is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    let ready = spec.publish_not_ready_addresses == Some(true) || (serving && !terminating);
    let of = pod.spec.as_ref();
    let node_name = of.and_then(|spec| spec.node_name.clone()).filter(|node| !node.is_empty());
    let node = node_name.as_ref().and_then(|node| world.store.get::<Node>("", node));
    // Its own name is resolved where the Service is the domain that it asks for.
    let hostname = of.filter(|spec| spec.subdomain == service.metadata.name).and_then(|spec| spec.hostname.clone());
    Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname.filter(|name| !name.is_empty()),
        zone: node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned()),
        node_name,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        deprecated_topology: None,
        hints: None,
    }
}

/// A Service's port on a pod. `None`: the pod has no port of that name.
fn endpoint_port(pod: &Pod, port: &ServicePort) -> Option<slices::Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
        Some(IntOrString::Int(number)) if *number != 0 => *number,
        _ => port.port,
    };
    Some((port.name.clone().unwrap_or_default(), protocol, number, port.app_protocol.clone()))
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let mut fitting = ports.filter(|port| port.protocol.as_deref().unwrap_or("TCP") == protocol);
    fitting.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

fn carry_out(world: &mut World, service: &Service, family: &str, plan: Plan) {
    let (namespace, now) = (service.metadata.namespace.clone().unwrap_or_default(), world.wall());
    let labels = labels(service);
    for (name, content) in plan.keep {
        let current = world.store.get::<EndpointSlice>(&namespace, &name);
        let labelled = current.is_some_and(|slice| slice.metadata.labels.as_ref() == Some(&labels));
        if content.is_none() && labelled {
            continue;
        }
        world.store.update::<EndpointSlice>(&namespace, &name, |slice| {
            slice.metadata.labels = Some(labels.clone());
            if let Some((ports, endpoints)) = content {
                slice.ports = Some(written(&ports));
                slice.endpoints = endpoints;
            }
        });
    }
    for (ports, endpoints) in plan.create {
        let metadata = ObjectMeta {
            generate_name: service.metadata.name.as_ref().map(|name| format!("{name}-")),
            namespace: Some(namespace.clone()),
            labels: Some(labels.clone()),
            owner_references: Some(vec![owner_reference(service)]),
            ..ObjectMeta::default()
        };
        let (address_type, ports) = (family.to_owned(), Some(written(&ports)));
        // A namespace that ends takes none any more; nothing is lost by that.
        drop(world.store.add(&EndpointSlice { address_type, endpoints, metadata, ports }, now));
    }
    for name in plan.delete {
        delete(world, number_of::<EndpointSlice>(), &ObjectKey::new(namespace.clone(), name), None);
    }
}

/// A slice's labels: its Service's, and its own.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE.to_owned(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED.0.to_owned(), MANAGED.1.to_owned());
    labels
}

fn written(ports: &Ports) -> Vec<EndpointPort> {
    let port = |(name, protocol, port, app_protocol): &slices::Port| EndpointPort {
        name: Some(name.clone()),
        protocol: Some(protocol.clone()),
        port: Some(*port),
        app_protocol: app_protocol.clone(),
    };
    ports.iter().map(port).collect()
}
