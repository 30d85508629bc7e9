//! What several faults ask the API in the same way.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ListParams, PartialObjectMeta};
use kube::core::{ObjectList, ObjectMeta, Selector as Labels, SelectorExt as _};
use serde::de::DeserializeOwned;

use super::contract::{Acting, FaultError, Heal, Permission, Refusal};
use crate::cluster::{Cluster, explain, is_transient, status_of};
use crate::record::Target;
use crate::scalar::Selector;

/// Tries of one call.
const ATTEMPTS: u32 = 4;
/// Pause after the first failed try; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Time limit of one try.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The annotation that puts an object, or everything in a namespace, out of reach when its value is `true`.
pub const PROTECTED: &str = "squall.dev/protected";

/// Who we are in an object's managed fields.
const MANAGER: &str = "squall";

/// Objects per page of a list.
const PAGE: u32 = 500;

/// Lists everything that matches, page by page.
pub(crate) async fn list<K>(
    api: Api<K>,
    resource: &str,
    namespace: &str,
    selector: Option<&Selector>,
) -> Result<Vec<K>, Refusal>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let params = selector.map_or_else(ListParams::default, |selector| ListParams::default().labels(selector.as_str()));
    list_all(&api, params).await.map_err(|e| refused(&e, "list", resource, namespace))
}

/// Lists everything that matches, page by page.
pub(super) async fn list_all<K>(api: &Api<K>, params: ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    paged(params, async |params| api.list(params).await, |page| all.extend(page)).await?;
    Ok(all)
}

/// Lists the metadata of everything, page by page: of thousands of objects the rest would be megabytes.
pub(crate) async fn list_metadata<K>(
    api: Api<K>,
    resource: &str,
    namespace: &str,
) -> Result<Vec<PartialObjectMeta<K>>, Refusal>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut all = Vec::new();
    let listed = metadata_by_page(&api, |page| all.extend(page)).await;
    listed.map_err(|e| refused(&e, "list", resource, namespace))?;
    Ok(all)
}

/// The same, a page at a time.
pub(super) async fn metadata_by_page<K>(
    api: &Api<K>,
    take: impl FnMut(Vec<PartialObjectMeta<K>>),
) -> Result<(), kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    paged(ListParams::default(), async |params| api.list_metadata(params).await, take).await
}

/// Asks for page after page, each as often as it takes.
async fn paged<T: Clone>(
    params: ListParams,
    ask: impl AsyncFn(&ListParams) -> Result<ObjectList<T>, kube::Error>,
    mut take: impl FnMut(Vec<T>),
) -> Result<(), kube::Error> {
    let mut params = params.limit(PAGE);
    loop {
        let page = retried(|| ask(&params)).await?;
        take(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// A failed read while planning, as a refusal that names verb, resource and namespace.
pub(crate) fn refused(error: &kube::Error, verb: &str, resource: &str, namespace: &str) -> Refusal {
    let place = if namespace.is_empty() { String::new() } else { format!(" in namespace `{namespace}`") };
    match status_of(error).map(|s| s.code) {
        Some(403) => Refusal::new(format!("not allowed to `{verb}` `{resource}`{place}"))
            .hint("`squall plan FILE --rbac` prints the role that the run needs"),
        _ => Refusal::new(format!("can't {verb} {resource}{place}: {}", explain(error))),
    }
}

/// Whether the budget covers a pod with these labels: an empty selector covers every pod of its namespace, a missing one none.
pub(crate) fn covers(budget: &PodDisruptionBudget, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(selector) = budget.spec.as_ref().and_then(|spec| spec.selector.clone()) else { return false };
    // The API validates selectors; one that can't be read covers nothing, as the API itself decides for an eviction.
    Labels::try_from(selector).is_ok_and(|selector| selector.matches(labels.unwrap_or(&BTreeMap::new())))
}

/// Whether the annotation [`PROTECTED`] is there and says so.
pub(crate) fn is_protected(meta: &ObjectMeta) -> bool {
    meta.annotations.as_ref().and_then(|all| all.get(PROTECTED)).is_some_and(|value| value == "true")
}

/// The controlling owner as `kind/name` in lower case.
pub(crate) fn owner_of(meta: &ObjectMeta) -> Option<String> {
    let owner = meta.owner_references.as_ref()?.iter().find(|o| o.controller == Some(true))?;
    Some(format!("{}/{}", owner.kind.to_lowercase(), owner.name))
}

/// The top controlling owner that is known: the Deployment behind a ReplicaSet.
pub(super) fn top_owner(meta: &ObjectMeta, sets: &[ReplicaSet]) -> Option<String> {
    let direct = owner_of(meta)?;
    let behind = direct
        .strip_prefix("replicaset/")
        .and_then(|name| sets.iter().find(|set| set.metadata.name.as_deref() == Some(name)))
        .and_then(|set| owner_of(&set.metadata));
    Some(behind.unwrap_or(direct))
}

/// Reads the target; `None` when it is gone or when another object has its name.
pub(super) async fn get<K>(cx: &Acting<'_>, target: &Target) -> Result<Option<K>, FaultError>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = cx.cluster.api::<K>(&target.namespace);
    let found = retried(|| api.get_opt(&target.name)).await.map_err(FaultError::api(format!("get {target}")))?;
    Ok(found.filter(|object| object.meta().uid.as_deref() == Some(&target.uid)))
}

/// Calls up to [`ATTEMPTS`] times while the answer is a transient error, with a growing pause between. Each call has a time limit,
/// so that a silent API server can't hold up an undo of something else.
pub(crate) async fn retried<T, F>(mut call: impl FnMut() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        let answer = match tokio::time::timeout(CALL_TIMEOUT, call()).await {
            Ok(answer) => answer,
            Err(_) => Err(unanswered()),
        };
        match answer {
            Err(e) if is_transient(&e) && attempt < ATTEMPTS => {
                tokio::time::sleep(pause).await;
                pause *= 2;
                attempt += 1;
            }
            answer => return answer,
        }
    }
}

/// Sends one write that the client's own types can't express: a JSON patch (with tests), or an eviction whose delete options reach
/// the server. Unknown fields are an error of the server (`fieldValidation=Strict`), never dropped in silence.
pub(super) async fn write<T: DeserializeOwned>(
    cluster: &Cluster,
    method: http::Method,
    path: &str,
    dry_run: bool,
    content: &str,
    body: &serde_json::Value,
) -> Result<T, kube::Error> {
    let dry = if dry_run { "&dryRun=All" } else { "" };
    let request = http::Request::builder()
        .method(method)
        .uri(format!("{path}?fieldValidation=Strict&fieldManager={MANAGER}{dry}"))
        .header(http::header::CONTENT_TYPE, content)
        .body(as_go_writes(body).map_err(kube::Error::SerdeError)?)
        .map_err(kube::Error::HttpError)?;
    match tokio::time::timeout(CALL_TIMEOUT, cluster.client().request(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(unanswered()),
    }
}

/// JSON with the characters escaped that Go escapes: the API server compares the texts of a patch's `test` as they are written, and
/// would find `<` to differ from its own `\u003c`. They stand in strings alone, and mean the same there.
fn as_go_writes(body: &serde_json::Value) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_string(body)?;
    for c in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        text = text.replace(c, &format!("\\u{:04x}", u32::from(c)));
    }
    Ok(text.into_bytes())
}

fn unanswered() -> kube::Error {
    kube::Error::Service(format!("no answer within {} s", CALL_TIMEOUT.as_secs()).into())
}

/// What [`workload_ready`] may call, in one namespace or in all.
pub(super) fn workload_permissions(namespace: Option<&str>) -> Vec<Permission> {
    [
        ("deployments", "deployment"),
        ("statefulsets", "statefulset"),
        ("daemonsets", "daemonset"),
        ("replicasets", "replicaset"),
    ]
    .into_iter()
    .map(|(resource, kind)| Permission {
        group: "apps",
        resource,
        verb: "get",
        namespace: namespace.map(ToOwned::to_owned),
        why: "see whether the workload is whole again",
        kind: Some(kind),
    })
    .collect()
}

/// Whether the workload `kind/name` has every replica that it wants ready.
pub(super) async fn workload_ready(cx: &Acting<'_>, namespace: &str, owner: &str) -> Result<Heal, FaultError> {
    let Some((kind, name)) = owner.split_once('/') else {
        return Err(FaultError::State(format!("`{owner}` is not a workload")));
    };
    let (wanted, ready) = match kind {
        "deployment" => counts::<Deployment>(cx, namespace, name).await?,
        "statefulset" => counts::<StatefulSet>(cx, namespace, name).await?,
        "replicaset" => counts::<ReplicaSet>(cx, namespace, name).await?,
        "daemonset" => counts::<DaemonSet>(cx, namespace, name).await?,
        _ => return Ok(Heal::Healed(format!("{owner} is not a kind whose readiness is known"))),
    };
    Ok(if ready >= wanted {
        Heal::Healed(format!("{owner} has {ready} of {wanted} replicas ready"))
    } else {
        Heal::NotYet(format!("{owner} has {ready} of {wanted} replicas ready"))
    })
}

/// Wanted and ready replicas, of any of the four workload kinds.
async fn counts<K>(cx: &Acting<'_>, namespace: &str, name: &str) -> Result<(i64, i64), FaultError>
where
    K: kube::Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
    K::DynamicType: Default,
{
    let api = cx.cluster.api::<K>(namespace);
    let object = retried(|| api.get(name)).await.map_err(FaultError::api(format!("get {name}")))?;
    let json = serde_json::to_value(object).map_err(|e| FaultError::State(e.to_string()))?;
    let number = |path: &str| json.pointer(path).and_then(serde_json::Value::as_i64);
    let wanted = number("/status/desiredNumberScheduled").or_else(|| number("/spec/replicas")).unwrap_or(1);
    let ready = number("/status/numberReady").or_else(|| number("/status/readyReplicas")).unwrap_or(0);
    // A controller that has not yet seen the newest spec reports on an older one.
    let seen = number("/status/observedGeneration") >= number("/metadata/generation");
    Ok((wanted, if seen { ready } else { ready.min(wanted - 1) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_texts_as_the_api_server_keeps_them() {
        let body = serde_json::json!([{"value": "a < b && c > \"d\"\u{2028}\u{e9}"}]);
        let written = as_go_writes(&body).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).unwrap(), body);
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text, r#"[{"value":"a \u003c b \u0026\u0026 c \u003e \"d\"\u2028é"}]"#);
    }
}
