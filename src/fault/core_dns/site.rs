//! Where CoreDNS is on this cluster, read while planning: its objects, and who else has a say in them.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::system_conf::read_system_conf;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde_json::Value;

use super::CoreDns;
use crate::cluster::Cluster;
use crate::fault::contract::{Planning, Refusal};
use crate::fault::held::{Found, path, read};
use crate::fault::kube::{list, refused};
use crate::record::Target;

/// The DaemonSet of NodeLocal DNSCache.
const NODE_LOCAL: &str = "node-local-dns";

/// Reads an object that must be there.
pub(super) async fn must(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<Found, Refusal> {
    let hint = match kind {
        "deployment" => {
            "name it with `deployment` and `namespace`; EKS Auto Mode runs CoreDNS on its nodes, where nothing can reach it"
        }
        "configmap" => "name it with `configMap`",
        _ => "name it with `service`",
    };
    maybe(cluster, kind, namespace, name)
        .await?
        .ok_or_else(|| Refusal::new(format!("there is no {kind}/{name} in namespace `{namespace}`")).hint(hint))
}

async fn maybe(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Result<Option<Found>, Refusal> {
    let found = read(cluster, &path(kind, namespace, name)).await;
    found.map_err(|e| refused(&e, "get", &format!("{kind}s"), namespace))
}

/// A target of a kind and name; the ConfigMap's owner is the Deployment that reads it, so that its protection counts too.
pub(super) fn target(kind: &str, namespace: &str, name: &str, found: &Found, owner: Option<String>) -> Target {
    Target {
        kind: kind.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: found.uid().to_owned(),
        node: None,
        zone: None,
        owner,
        instance: None,
    }
}

/// The first image of a Deployment that is CoreDNS's.
fn image(deployment: &Found) -> Option<&str> {
    let containers = deployment.0.pointer("/spec/template/spec/containers")?.as_array()?;
    let mut images = containers.iter().filter_map(|c| c.pointer("/image")?.as_str());
    images.find(|image| image.rsplit('/').next().is_some_and(|last| last.contains("coredns")))
}

/// The release of CoreDNS that an image's tag names: `coredns:v1.11.3-eksbuild.1` is 1.11.3.
fn version(image: &str) -> Option<(u32, u32, u32)> {
    let tag = image.split('@').next()?.rsplit('/').next()?.split_once(':')?.1;
    let mut numbers = tag.trim_start_matches('v').split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Refuses a Deployment that is not CoreDNS: the exception from the protection of `kube-system` is for CoreDNS alone.
pub(super) fn refuse_other(deployment: &Found, name: &str) -> Result<(), Refusal> {
    let label = deployment.0.pointer("/spec/template/metadata/labels/k8s-app").and_then(Value::as_str);
    if image(deployment).is_some() || label == Some("kube-dns") {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "deployment/{name} is not CoreDNS: no image of that name, and no label `k8s-app: kube-dns`"
    ))
    .hint("name CoreDNS's own with `deployment`; for any other workload there is `scale` and `podKill`"))
}

/// Refuses a release that lacks a plugin that the block needs; warns where the image does not tell its release.
pub(super) fn old(deployment: &Found, needed: (u32, u32, u32), warnings: &mut Vec<String>) -> Result<(), Refusal> {
    let words = format!("CoreDNS {}.{}.{}", needed.0, needed.1, needed.2);
    match image(deployment).and_then(version) {
        Some(found) if found < needed => Err(Refusal::new(format!(
            "this needs {words} or later, and {} runs",
            image(deployment).unwrap_or_default()
        ))
        .hint("`kill` and `scaleToZero` need none of its plugins")),
        Some(_) => Ok(()),
        None => {
            warnings.push(format!("it needs {words} or later; the image does not tell which it is"));
            Ok(())
        }
    }
}

/// Whether a Deployment's pods mount the ConfigMap.
pub(super) fn mounts(deployment: &Found, config_map: &str) -> bool {
    let volumes = deployment.0.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
    let named = |volume: &Value| volume.pointer("/configMap/name").and_then(Value::as_str) == Some(config_map);
    volumes.is_some_and(|volumes| volumes.iter().any(named))
}

/// The labels by which a Deployment knows its pods, as a selector.
pub(super) fn selector(deployment: &Found) -> String {
    let labels = deployment.0.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
    let pairs = labels.into_iter().flatten().filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)));
    pairs.collect::<Vec<_>>().join(",")
}

/// The address at which pods ask.
pub(super) fn address(service: &Found) -> Option<SocketAddr> {
    let ip: IpAddr = service.0.pointer("/spec/clusterIP")?.as_str()?.parse().ok()?;
    Some(SocketAddr::new(ip, 53))
}

/// Whether NodeLocal DNSCache answers on the nodes instead; says so.
pub(super) async fn node_local(
    cluster: &Cluster,
    namespace: &str,
    warnings: &mut Vec<String>,
) -> Result<bool, Refusal> {
    let found = maybe(cluster, "daemonset", namespace, NODE_LOCAL).await?.is_some();
    if found {
        warnings.push(format!(
            "daemonset/{NODE_LOCAL} answers the pods from its cache on each node: they notice as its entries end, at most 30 s later \
             by default; its own Corefile is not touched, and only CoreDNS's pods are asked for the effect"
        ));
    }
    Ok(found)
}

/// Says when the EKS add-on owns the object: it may put back what it finds changed.
pub(super) fn add_on(found: &Found, target: &str, warnings: &mut Vec<String>) {
    let labelled = found.0.pointer("/metadata/labels/eks.amazonaws.com~1component").is_some();
    let managers = found.0.pointer("/metadata/managedFields").and_then(Value::as_array);
    let managed =
        managers.is_some_and(|all| all.iter().any(|m| m.pointer("/manager").is_some_and(|name| name == "eks")));
    if labelled || managed {
        warnings.push(format!(
            "the EKS add-on manages {target} and may put its own back meanwhile: that stays, the undo reports it, and the run is \
             inconclusive"
        ));
    }
}

/// Says which autoscaler would scale the Deployment back.
pub(super) async fn autoscalers(
    fault: &CoreDns,
    cx: &Planning<'_>,
    deployment: &Found,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let (namespace, name) = (fault.namespace.as_str(), fault.deployment.as_str());
    let hpas: Vec<HorizontalPodAutoscaler> =
        list(cx.cluster.api(namespace), "horizontalpodautoscalers", namespace, None).await?;
    let is_target = |hpa: &HorizontalPodAutoscaler| {
        hpa.spec.as_ref().is_some_and(|s| s.scale_target_ref.kind == "Deployment" && s.scale_target_ref.name == name)
    };
    let mut owners: Vec<String> = hpas
        .iter()
        .filter(|hpa| is_target(hpa))
        .filter_map(|hpa| Some(format!("horizontalpodautoscaler/{}", hpa.metadata.name.as_ref()?)))
        .collect();
    let deployments: Vec<Deployment> = list(cx.cluster.api(namespace), "deployments", namespace, None).await?;
    owners.extend(
        deployments
            .iter()
            .filter(|d| is_proportional(d))
            .filter_map(|d| Some(format!("deployment/{}", d.metadata.name.as_ref()?))),
    );
    let managers = deployment.0.pointer("/metadata/managedFields").and_then(Value::as_array);
    let by_eks = |m: &Value| {
        m.pointer("/manager").is_some_and(|name| name == "eks") && m.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    };
    owners
        .extend(managers.is_some_and(|all| all.iter().any(by_eks)).then(|| "EKS's autoscaling of CoreDNS".to_owned()));
    warnings.extend(owners.into_iter().map(|owner| {
        format!("{owner} owns the replicas of deployment/{name} and may change them meanwhile: what it writes stays, and the effect is what is then seen")
    }));
    Ok(())
}

/// Whether a Deployment is a cluster-proportional-autoscaler: it writes replicas every ten seconds.
fn is_proportional(deployment: &Deployment) -> bool {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut images = template.into_iter().flat_map(|spec| &spec.containers).filter_map(|c| c.image.as_deref());
    let named = matches!(
        deployment.metadata.name.as_deref(),
        Some("dns-autoscaler" | "coredns-autoscaler" | "kube-dns-autoscaler")
    );
    named || images.any(|image| image.contains("cluster-proportional-autoscaler"))
}

/// Refuses a runner that finds the API server by a name that the fault breaks: the undo could not reach it.
pub(super) fn own_way_out(
    cluster: &Cluster,
    service: SocketAddr,
    broken: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let server = &cluster.id().server;
    let Some(host) = server.parse::<http::Uri>().ok().and_then(|uri| uri.host().map(ToOwned::to_owned)) else {
        return Ok(());
    };
    if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() || !broken(&host) {
        return Ok(());
    }
    let asks = read_system_conf().is_ok_and(|(config, _)| config.name_servers.iter().any(|s| s.ip == service.ip()));
    if !asks {
        return Ok(());
    }
    Err(Refusal::new(format!(
        "the API server `{host}` is found by name, through the DNS that this step breaks: the undo could not reach it"
    ))
    .hint("write the server's address into the kubeconfig, or run where another DNS is asked"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(image: &str, label: &str) -> Found {
        Found(json!({"spec": {
            "selector": {"matchLabels": {"k8s-app": "kube-dns", "tier": "x"}},
            "template": {"metadata": {"labels": {"k8s-app": label}}, "spec": {
                "containers": [{"image": image}],
                "volumes": [{"name": "tmp"}, {"name": "config", "configMap": {"name": "coredns"}}],
            }},
        }}))
    }

    #[test]
    fn knows_core_dns_by_its_image_or_its_label() {
        assert!(refuse_other(&deployment("registry.k8s.io/coredns/coredns:v1.12.0", ""), "x").is_ok());
        assert!(refuse_other(&deployment("mirror.corp/dns:7", "kube-dns"), "x").is_ok());
        assert!(
            refuse_other(&deployment("aws-node:1", "aws-node"), "aws-node")
                .unwrap_err()
                .message
                .contains("not CoreDNS")
        );
    }

    #[test]
    fn reads_the_release_from_the_image() {
        assert_eq!(
            version("602401143452.dkr.ecr.us-east-1.amazonaws.com/eks/coredns:v1.11.3-eksbuild.1"),
            Some((1, 11, 3))
        );
        assert_eq!(version("registry.k8s.io/coredns/coredns:v1.12.0@sha256:0"), Some((1, 12, 0)));
        assert_eq!((version("localhost:5000/coredns"), version("testbed.local/coredns:1")), (None, None));
        let mut warnings = Vec::new();
        assert!(
            old(&deployment("coredns:v1.9.3", ""), (1, 10, 0), &mut warnings)
                .unwrap_err()
                .message
                .contains("1.10.0 or later")
        );
        assert!(old(&deployment("coredns:v1.11.1", ""), (1, 11, 1), &mut warnings).is_ok() && warnings.is_empty());
        assert!(old(&deployment("coredns:1", ""), (1, 10, 0), &mut warnings).is_ok() && warnings.len() == 1);
    }

    #[test]
    fn reads_what_else_is_in_the_deployment() {
        let found = deployment("coredns:1", "kube-dns");
        assert_eq!(selector(&found), "k8s-app=kube-dns,tier=x");
        assert!(mounts(&found, "coredns") && !mounts(&found, "other"));
        assert_eq!(address(&Found(json!({"spec": {"clusterIP": "10.96.0.10"}}))), "10.96.0.10:53".parse().ok());
        assert_eq!(address(&Found(json!({"spec": {"clusterIP": "None"}}))), None);
    }

    #[test]
    fn sees_the_add_on_by_its_label_or_its_fields() {
        let warned = |metadata: Value| {
            let mut warnings = Vec::new();
            add_on(&Found(json!({ "metadata": metadata })), "configmap/coredns", &mut warnings);
            warnings.len()
        };
        assert_eq!(warned(json!({"labels": {"eks.amazonaws.com/component": "coredns"}})), 1);
        assert_eq!(warned(json!({"managedFields": [{"manager": "kubectl"}, {"manager": "eks"}]})), 1);
        assert_eq!(warned(json!({"managedFields": [{"manager": "kubectl"}]})), 0);
    }
}
