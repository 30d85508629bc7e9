//! Seeing what the fault does, and that it is over: by asking the resolver, at its pods and at its Service.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;

use super::ask::{Bite, Questions, ask};

use crate::cluster::Cluster;
use crate::fault::contract::{Acting, Effect, FaultError, Heal};
use crate::fault::held::{HeldNote, current};
use crate::fault::kube::retried;
use crate::fault::scale::reached;
use crate::record::Target;

/// How long silence has to last to count.
const SILENCE: Duration = Duration::from_secs(1);

/// Addresses of the pods of CoreDNS that are ready, in one order.
pub(super) async fn pods(
    cluster: &Cluster,
    namespace: &str,
    questions: &Questions,
) -> Result<Vec<SocketAddr>, FaultError> {
    let api = cluster.api::<Pod>(namespace);
    let params = ListParams::default().labels(&questions.selector);
    let list = retried(|| api.list(&params)).await.map_err(FaultError::api("list the pods of CoreDNS"))?;
    let mut ready: Vec<SocketAddr> = list
        .items
        .iter()
        .filter(|pod| is_ready(pod))
        .filter_map(|pod| Some(SocketAddr::new(address(pod)?, questions.port)))
        .collect();
    ready.sort_unstable();
    Ok(ready)
}

fn address(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

/// Whether the Deployment has the number of replicas, and the Service is silent where that is none.
pub(super) async fn scaled(
    cx: &Acting<'_>,
    target: &Target,
    change: &HeldNote,
    questions: &Questions,
) -> Result<Effect, FaultError> {
    let Some(found) = current(cx, target).await? else { return Ok(Effect::NotYet("it is gone".to_owned())) };
    let wanted = change.injected.as_i64().unwrap_or(0);
    let reported = match reached(&found, wanted) {
        Effect::Seen(reported) => reported,
        not_yet @ Effect::NotYet(_) => return Ok(not_yet),
    };
    let (Some(service), Some(name)) = (questions.service, questions.before.keys().next()) else {
        return Ok(Effect::Seen(format!("{reported}; the resolver can't be asked from here")));
    };
    if wanted > 0 {
        return Ok(Effect::Seen(reported));
    }
    let answered = ask(cx.cluster.datagrams(), service, name, SILENCE).await;
    Ok(if answered.is(&Bite::Silence) {
        Effect::Seen(format!("{reported}, and {service} gives no answer"))
    } else {
        Effect::NotYet(format!("{reported}, but {service} answers `{name}` with {answered}"))
    })
}

/// Whether every pod of CoreDNS, and its Service, give the broken answer.
pub(super) async fn broken(cx: &Acting<'_>, target: &Target, questions: &Questions) -> Result<Effect, FaultError> {
    if !questions.can_be_asked() {
        return Ok(Effect::NotYet("CoreDNS can't be asked from here: nothing proves what it answers".to_owned()));
    }
    let servers = servers(cx, target, questions).await?;
    let looks = join_all(servers.iter().map(|server| questions.bitten(cx.cluster.datagrams(), *server))).await;
    Ok(match looks.into_iter().find_map(Result::err) {
        Some(other) => Effect::NotYet(other),
        None if servers.is_empty() => Effect::NotYet("no pod of CoreDNS is ready".to_owned()),
        None => Effect::Seen(format!("{} by {}", words(questions), list(&servers))),
    })
}

/// What the resolver does to the names, in words.
fn words(questions: &Questions) -> String {
    let names: Vec<String> = questions.before.keys().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    match &questions.bite {
        Some(Bite::Code(code)) => format!("{names} answered with {code}"),
        Some(Bite::Late(late)) => format!("{names} answered {late} ms late"),
        Some(Bite::Silence) | None => format!("{names} not answered"),
    }
}

fn list(servers: &[SocketAddr]) -> String {
    servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

async fn servers(cx: &Acting<'_>, target: &Target, questions: &Questions) -> Result<Vec<SocketAddr>, FaultError> {
    let mut servers = pods(cx.cluster, &target.namespace, questions).await?;
    if !servers.is_empty() {
        servers.extend(questions.service);
    }
    Ok(servers)
}

/// Whether the resolver answers as it did before the fault. `ready` says what else is well again.
pub(super) async fn answers_again(
    cx: &Acting<'_>,
    target: &Target,
    questions: &Questions,
    ready: &str,
) -> Result<Heal, FaultError> {
    if !questions.can_be_asked() {
        return Ok(Heal::Healed(format!("{ready}; the resolver can't be asked from here")));
    }
    let servers = match (&questions.bite, questions.service) {
        (None, Some(service)) => vec![service],
        _ => servers(cx, target, questions).await?,
    };
    let looks = join_all(servers.iter().map(|server| questions.as_before(cx.cluster.datagrams(), *server))).await;
    Ok(match looks.into_iter().find_map(Result::err) {
        Some(other) => Heal::NotYet(format!("{ready}, but {other}")),
        None if servers.is_empty() => Heal::NotYet(format!("{ready}, but no pod of CoreDNS is ready")),
        None => Heal::Healed(format!("{ready}, and {} answer as before", list(&servers))),
    })
}
