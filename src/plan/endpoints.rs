//! Which endpoints a probe with `connection: perEndpoint` asks: the Service is read, so that a port that it does not have is refused
//! before anything is touched.

use k8s_openapi::api::core::v1::Service;
use serde::{Deserialize, Serialize};

use super::Refused;
use crate::cluster::Cluster;
use crate::fault::{Refusal, refused, retried};
use crate::spec::{Experiment, ServicePort};

/// The endpoints of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedEndpoints {
    /// Probe name.
    pub probe: String,
    /// Namespace of the Service.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// The name of the Service's port, by which `EndpointSlice`s call it; empty for a port without one.
    pub port: String,
}

/// The endpoints of every probe that asks for them, and what stands in the way.
pub(super) async fn find(cluster: &Cluster, experiment: &Experiment) -> (Vec<PlannedEndpoints>, Vec<Refused>) {
    let (mut found, mut refusals) = (Vec::new(), Vec::new());
    for probe in &experiment.spec.probes {
        let Some(wanted) = probe.protocol.followed() else { continue };
        let api = cluster.api::<Service>(&wanted.namespace);
        let port = match retried(|| api.get_opt(&wanted.name)).await {
            Ok(Some(service)) => port_of(&service, &wanted),
            Ok(None) => Err(Refusal::new(format!("there is no Service `{}`", called(&wanted)))
                .hint("is the name right, and the cluster?")),
            Err(e) => Err(refused(&e, "get", "services", &wanted.namespace)),
        };
        match port {
            Ok(port) => found.push(PlannedEndpoints {
                probe: probe.name.to_string(),
                namespace: wanted.namespace,
                service: wanted.name,
                port,
            }),
            Err(refusal) => refusals.push(Refused::from(Refusal {
                message: format!("probe `{}`: {}", probe.name, refusal.message),
                ..refusal
            })),
        }
    }
    (found, refusals)
}

/// A Service as people call it: `shop/web`.
fn called(port: &ServicePort) -> String {
    format!("{}/{}", port.namespace, port.name)
}

/// The name of the Service's port of this number.
fn port_of(service: &Service, wanted: &ServicePort) -> Result<String, Refusal> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        let message = format!("Service `{}` is an `ExternalName`: it has no endpoints", called(wanted));
        return Err(Refusal::new(message).hint("write `connection: fresh`, or probe the host that it stands for"));
    }
    let tcp: Vec<_> =
        spec.ports.into_iter().flatten().filter(|p| p.protocol.as_deref().is_none_or(|p| p == "TCP")).collect();
    if let Some(port) = tcp.iter().find(|p| p.port == i32::from(wanted.port)) {
        return Ok(port.name.clone().unwrap_or_default());
    }
    let message = format!("Service `{}` has no TCP port {}", called(wanted), wanted.port);
    let ports: Vec<String> = tcp.iter().map(|p| p.port.to_string()).collect();
    Err(Refusal::new(message).hint(match ports.as_slice() {
        [] => "it has none at all".to_owned(),
        [port] => format!("its port is {port}"),
        _ => format!("its ports are {}", ports.join(", ")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(spec: &serde_json::Value, port: u16) -> Result<String, (String, String)> {
        let service: Service =
            serde_json::from_value(serde_json::json!({ "metadata": { "name": "web" }, "spec": spec })).unwrap();
        let wanted = ServicePort { namespace: "shop".to_owned(), name: "web".to_owned(), port };
        port_of(&service, &wanted).map_err(|refusal| (refusal.message, refusal.hint.unwrap_or_default()))
    }

    #[test]
    fn a_port_is_found_by_its_number_and_called_by_its_name() {
        let two = || {
            serde_json::json!({ "clusterIP": "None", "ports": [
            { "port": 80, "name": "http" }, { "port": 9090, "name": "grpc", "protocol": "TCP" },
            { "port": 53, "name": "dns", "protocol": "UDP" },
        ] })
        };
        assert_eq!(chosen(&two(), 9090).unwrap(), "grpc");
        assert_eq!(chosen(&serde_json::json!({ "ports": [{ "port": 80 }] }), 80).unwrap(), "");
        let told = |message: &str, hint: &str| Err((message.to_owned(), hint.to_owned()));
        assert_eq!(chosen(&two(), 53), told("Service `shop/web` has no TCP port 53", "its ports are 80, 9090"));
        let one = serde_json::json!({ "ports": [{ "port": 80 }] });
        assert_eq!(chosen(&one, 8080), told("Service `shop/web` has no TCP port 8080", "its port is 80"));
        let external = serde_json::json!({ "type": "ExternalName", "externalName": "example.com" });
        assert!(chosen(&external, 80).unwrap_err().0.contains("has no endpoints"));
    }
}
