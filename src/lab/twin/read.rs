//! Reading a cluster: lists and nothing else, page by page, each object cut down to what is kept before the next is looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::keep::{self, Fields};
use super::{API_VERSION, KIND, Missing, Origin, Twin, TwinError, controller, observe, text};
use crate::cluster::{Cluster, explain, is_transient, status_of};

/// Objects in one answer.
const PAGE: u32 = 500;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a list that broke is tried again, and after how long.
const AGAIN: (usize, Duration) = (3, Duration::from_secs(1));

/// Which namespaces are read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// These alone; all where there is none.
    pub namespaces: Vec<String>,
    /// These, where reading all is refused: those of the experiment.
    pub fallback: BTreeSet<String>,
}

/// How a kind is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Whole,
    /// Labels and names say all.
    Metadata,
    /// One object of it, by namespace and name.
    One(&'static str, &'static str),
}

/// A kind that a twin holds.
#[derive(Debug)]
struct Source {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    how: How,
    /// Without it there is no twin.
    needed: bool,
    /// What the rehearsal lacks without it.
    effect: &'static str,
    /// The fields that are kept, in the language of [`keep`].
    fields: &'static str,
}

/// Makes the table's rows.
macro_rules! sources {
    ($($kind:ident $plural:literal $group:literal $scope:ident $how:expr, $need:ident $effect:literal, $fields:literal;)+) => {
        &[$(Source {
            group: $group,
            version: sources!(@ version $kind),
            kind: stringify!($kind),
            plural: $plural,
            namespaced: sources!(@ $scope),
            how: $how,
            needed: sources!(@ $need),
            effect: $effect,
            fields: $fields,
        },)+]
    };
    (@ version HorizontalPodAutoscaler) => { "v2" };
    (@ version $kind:ident) => { "v1" };
    (@ namespaced) => { true };
    (@ global) => { false };
    (@ needed) => { true };
    (@ without) => { false };
}

/// All of them, in the order in which a lab takes them in. Secrets are not among them, and no ConfigMap but the DNS's.
const SOURCES: &[Source] = sources! {
    Namespace "namespaces" "" global How::Metadata, without "namespaces are known by what lies in them, and none is protected", "";
    Node "nodes" "" global How::Whole, needed "", "spec{taints{key value effect} unschedulable providerID} \
        status{capacity* allocatable* conditions{type status reason} images{names} \
        nodeInfo{architecture operatingSystem kubeletVersion containerRuntimeVersion osImage}}";
    PriorityClass "priorityclasses" "scheduling.k8s.io" global How::Whole, without "new pods may have another place in the scheduler's queue",
        "value globalDefault preemptionPolicy";
    StorageClass "storageclasses" "storage.k8s.io" global How::Whole, without "claims without a volume wait", "provisioner reclaimPolicy volumeBindingMode";
    PersistentVolume "persistentvolumes" "" global How::Whole, without "pods with volumes can't be placed anew",
        "spec{capacity* accessModes storageClassName claimRef{namespace name} nodeAffinity* persistentVolumeReclaimPolicy volumeMode} status{phase}";
    PersistentVolumeClaim "persistentvolumeclaims" "" namespaced How::Whole, without "pods with volumes can't be placed anew",
        "spec{volumeName storageClassName accessModes resources{requests*} volumeMode} status{phase accessModes capacity*}";
    ConfigMap "configmaps" "" namespaced How::One("kube-system", "coredns"), without "the DNS has no Corefile", "data{Corefile}";
    Service "services" "" namespaced How::Whole, without "no name of a Service leads anywhere",
        "spec{selector* ports{name port targetPort nodePort protocol appProtocol} clusterIP clusterIPs type ipFamilies ipFamilyPolicy \
        publishNotReadyAddresses sessionAffinity internalTrafficPolicy externalTrafficPolicy externalName trafficDistribution}";
    EndpointSlice "endpointslices" "discovery.k8s.io" namespaced How::Whole, without "Services without a selector have no endpoints",
        "addressType endpoints{addresses conditions{ready serving terminating} nodeName zone hostname} ports{name port protocol appProtocol}";
    Deployment "deployments" "apps" namespaced How::Whole, without "Deployments replace nothing",
        "spec{replicas selector* minReadySeconds revisionHistoryLimit progressDeadlineSeconds paused strategy* template{$T}} \
        status{replicas readyReplicas availableReplicas updatedReplicas unavailableReplicas observedGeneration collisionCount $Z}";
    ReplicaSet "replicasets" "apps" namespaced How::Whole, without "pods of Deployments are placed anew",
        "spec{replicas selector* minReadySeconds template{$T}} status{replicas readyReplicas availableReplicas fullyLabeledReplicas observedGeneration}";
    StatefulSet "statefulsets" "apps" namespaced How::Whole, without "pods of StatefulSets are not replaced",
        "spec{replicas selector* serviceName minReadySeconds revisionHistoryLimit podManagementPolicy updateStrategy* ordinals{start} template{$T} \
        volumeClaimTemplates{metadata{name labels*} spec{storageClassName accessModes resources{requests*} volumeMode}}} \
        status{replicas readyReplicas availableReplicas updatedReplicas currentReplicas currentRevision updateRevision observedGeneration}";
    DaemonSet "daemonsets" "apps" namespaced How::Whole, without "pods of DaemonSets are not replaced",
        "spec{selector* minReadySeconds revisionHistoryLimit updateStrategy* template{$T}} status{currentNumberScheduled desiredNumberScheduled \
        numberAvailable numberMisscheduled numberReady numberUnavailable updatedNumberScheduled observedGeneration}";
    Job "jobs" "batch" namespaced How::Whole, without "pods of Jobs are not replaced",
        "spec{parallelism completions backoffLimit activeDeadlineSeconds completionMode suspend podReplacementPolicy template{$T}} \
        status{active succeeded failed ready startTime completionTime $Z}";
    PodDisruptionBudget "poddisruptionbudgets" "policy" namespaced How::Whole, without "no eviction is refused",
        "spec{minAvailable maxUnavailable selector* unhealthyPodEvictionPolicy} \
        status{currentHealthy desiredHealthy disruptionsAllowed expectedPods observedGeneration}";
    HorizontalPodAutoscaler "horizontalpodautoscalers" "autoscaling" namespaced How::Whole, without "nothing is scaled by load",
        "spec{scaleTargetRef{apiVersion kind name} minReplicas maxReplicas behavior* metrics{type resource* containerResource*}} \
        status{currentReplicas desiredReplicas}";
    Pod "pods" "" namespaced How::Whole, needed "", "spec{$S} status{phase startTime $Z containerStatuses{$Q} initContainerStatuses{$Q}}";
};

/// Place of a kind in the order in which a lab takes them in.
pub(super) fn order(kind: &str) -> usize {
    SOURCES.iter().position(|source| source.kind == kind).unwrap_or(SOURCES.len())
}

/// What reading asks of the cluster: group, resource, verb. The version and the namespace `kube-system` tell which cluster it is.
#[must_use]
pub fn needed() -> Vec<(&'static str, &'static str, &'static str)> {
    let verb = |source: &Source| if matches!(source.how, How::One(..)) { "get" } else { "list" };
    SOURCES.iter().map(|source| (source.group, source.plural, verb(source))).collect()
}

/// Why a kind could not be read.
enum Failure {
    /// The API server says no.
    Forbidden(String),
    /// It has no such kind.
    Unknown,
    Other(String),
}

impl Source {
    /// `pods`, `deployments.apps`.
    fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }

    fn path(&self, namespace: Option<&str>) -> String {
        let api = if self.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", self.group) };
        let place = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
        format!("{api}/{}{place}/{}", self.version, self.plural)
    }

    fn params(&self) -> ListParams {
        let params = ListParams::default().limit(PAGE);
        match self.kind {
            "Pod" => params.fields("status.phase!=Succeeded,status.phase!=Failed"),
            // Those of Services with a selector follow from the pods.
            "EndpointSlice" => params.labels("endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"),
            _ => params,
        }
    }

    /// An object as it gets into the twin.
    fn taken(&self, fields: &Fields, object: &mut Value) -> Value {
        object["kind"] = self.kind.into();
        object["apiVersion"] =
            if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version).into() };
        keep::prune(fields, object)
    }

    /// All objects of a namespace, or of all.
    async fn list(&self, cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Value>, Failure> {
        let fields = Fields::of(self.fields);
        if let How::One(within, name) = self.how {
            let path = format!("{}/{name}", self.path(Some(within)));
            return match ask(cluster, || http::Request::get(&path).body(Vec::new()).ok()).await {
                Ok(mut found) => Ok(vec![self.taken(&fields, &mut found)]),
                Err(Failure::Unknown) => Ok(Vec::new()),
                Err(e) => Err(e),
            };
        }
        let request = kube::core::Request::new(self.path(namespace));
        let (mut all, mut from, mut restarts) = (Vec::new(), String::new(), 0);
        loop {
            let params = if from.is_empty() { self.params() } else { self.params().continue_token(&from) };
            let build = || match self.how {
                How::Metadata => request.list_metadata(&params).ok(),
                _ => request.list(&params).ok(),
            };
            let mut page = match ask(cluster, build).await {
                Ok(page) => page,
                // The pages were too old to go on: from the start.
                Err(Failure::Other(why)) if why.ends_with("(410)") && restarts < AGAIN.0 => {
                    restarts += 1;
                    all.clear();
                    from.clear();
                    continue;
                }
                Err(e) => return Err(e),
            };
            let items = page.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten();
            all.extend(items.map(|object| self.taken(&fields, object)));
            text(&page, "/metadata/continue").clone_into(&mut from);
            if from.is_empty() {
                return Ok(all);
            }
        }
    }
}

/// One request, tried again where that gives hope.
async fn ask(cluster: &Cluster, build: impl Fn() -> Option<http::Request<Vec<u8>>>) -> Result<Value, Failure> {
    let mut tries = 0;
    loop {
        let request = build().ok_or_else(|| Failure::Other("the request can't be built".to_owned()))?;
        let client = cluster.client();
        let answer = timeout(PATIENCE, client.request::<Value>(request)).await;
        tries += 1;
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(e)) if is_transient(&e) && tries < AGAIN.0 => sleep(AGAIN.1).await,
            Ok(Err(e)) => {
                return Err(match status_of(&e).map(|status| status.code) {
                    Some(401 | 403) => Failure::Forbidden(explain(&e)),
                    Some(404) => Failure::Unknown,
                    _ => Failure::Other(explain(&e)),
                });
            }
            Err(_) => return Err(Failure::Other(format!("nothing came within {} s", PATIENCE.as_secs()))),
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    objects: Vec<Value>,
    missing: Vec<Missing>,
    /// What refuses the twin.
    refused: Vec<String>,
}

impl Reading {
    async fn read(&mut self, cluster: &Cluster, source: &Source, scope: &Scope) {
        let single = matches!(source.how, How::One(..));
        if source.namespaced && !single && !scope.namespaces.is_empty() {
            return self.read_in(cluster, source, scope.namespaces.iter()).await;
        }
        match source.list(cluster, None).await {
            Ok(objects) => self.objects.extend(objects),
            Err(Failure::Forbidden(why)) if source.namespaced && !single && !scope.fallback.is_empty() => {
                self.read_in(cluster, source, scope.fallback.iter()).await;
                let within: Vec<&str> = scope.fallback.iter().map(String::as_str).collect();
                let effect = "what else is on the nodes is not known: there may be less room than the rehearsal has";
                let effect = if source.kind == "Pod" { effect } else { "what lies elsewhere is not there" };
                self.lacks(format!("{} outside {}", source.resource(), within.join(", ")), why, effect);
            }
            Err(failure) => self.failed(source, "", failure),
        }
    }

    async fn read_in(&mut self, cluster: &Cluster, source: &Source, namespaces: impl Iterator<Item = &String>) {
        for namespace in namespaces {
            match source.list(cluster, Some(namespace)).await {
                Ok(objects) => self.objects.extend(objects),
                Err(failure) => self.failed(source, namespace, failure),
            }
        }
    }

    fn failed(&mut self, source: &Source, namespace: &str, failure: Failure) {
        let what = match namespace {
            "" => source.resource(),
            namespace => format!("{} in {namespace}", source.resource()),
        };
        let why = match failure {
            Failure::Forbidden(why) | Failure::Other(why) => why,
            Failure::Unknown => "the API server has no such resource".to_owned(),
        };
        if source.needed {
            self.refused.push(format!("{what}: {why}"));
        } else {
            self.lacks(what, why, source.effect);
        }
    }

    fn lacks(&mut self, what: String, why: String, effect: &str) {
        self.missing.push(Missing { what, why, effect: effect.to_owned() });
    }
}

impl Twin {
    /// Reads a cluster: lists alone, in pages of 500, Secrets never. What may not be read is named in the twin. Dropping the future ends it.
    ///
    /// # Errors
    ///
    /// When nodes or pods can't be read: all that is missing.
    pub async fn read(cluster: &Cluster, scope: &Scope, taken: Timestamp) -> Result<Self, TwinError> {
        let mut reading = Reading::default();
        for source in SOURCES {
            reading.read(cluster, source, scope).await;
        }
        let Reading { mut objects, missing, refused } = reading;
        if !refused.is_empty() {
            let others = missing.iter().map(|missing| format!("{}: {}", missing.what, missing.why));
            let all: Vec<String> = refused.into_iter().chain(others).collect();
            return Err(TwinError::new(format!("this can't be read of the cluster:\n  {}", all.join("\n  ")))
                .hint("docs/twin.md has the role that reading needs; `--namespace` reads less"));
        }
        let id = cluster.id();
        if !scope.namespaces.is_empty() {
            objects.retain(|object| {
                object["kind"] != "Namespace" || scope.namespaces.iter().any(|one| object["metadata"]["name"] == **one)
            });
        }
        let left_out = tidy(&mut objects);
        let assumptions = observe::conclude(&mut objects);
        objects.sort_by_key(|object| {
            let field = |pointer: &str| text(object, pointer).to_owned();
            (order(text(object, "/kind")), field("/metadata/namespace"), field("/metadata/name"))
        });
        Ok(Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            squall: env!("CARGO_PKG_VERSION").to_owned(),
            taken,
            cluster: Origin {
                context: id.context.clone(),
                server: id.server.clone(),
                uid: id.uid.clone(),
                version: id.version.clone(),
            },
            namespaces: scope.namespaces.clone(),
            redacted: false,
            missing,
            left_out,
            assumptions,
            count: objects.len(),
            objects: objects.into_iter().collect(),
        })
    }
}

/// Leaves out what is over, and puts what belongs together in step. What was left out, in words.
fn tidy(objects: &mut Vec<Value>) -> Vec<String> {
    let mut left: BTreeMap<&'static str, usize> = BTreeMap::new();
    let current: BTreeMap<(String, String), (Value, String)> = objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .map(|object| {
            let place = (text(object, "/metadata/namespace").to_owned(), text(object, "/metadata/name").to_owned());
            (place, (object["spec"]["template"].clone(), revision(object).to_owned()))
        })
        .collect();
    objects.retain_mut(|object| {
        let why = match object["kind"].as_str() {
            _ if object["metadata"].get("deletionTimestamp").is_some() => Some("objects that were being deleted"),
            Some("Pod") if matches!(text(object, "/status/phase"), "Succeeded" | "Failed") => {
                Some("pods that were over")
            }
            Some("Job") if super::holds(object, "Complete") || super::holds(object, "Failed") => {
                Some("Jobs that were over")
            }
            Some("ReplicaSet") => {
                let owner = controller(object).map(|owner| text(owner, "/name").to_owned()).unwrap_or_default();
                let place = (text(object, "/metadata/namespace").to_owned(), owner);
                let is_current = match current.get(&place) {
                    Some((template, number)) => step(object, template, number),
                    None => true,
                };
                let empty = object["spec"]["replicas"] == 0 && object["status"]["replicas"].as_u64().unwrap_or(0) == 0;
                (empty && !is_current).then_some("ReplicaSets of earlier revisions")
            }
            _ => None,
        };
        if let Some(why) = why {
            *left.entry(why).or_default() += 1;
        }
        why.is_none()
    });
    left.into_iter().map(|(what, count)| format!("{count} {what}")).collect()
}

fn revision(object: &Value) -> &str {
    text(object, "/metadata/annotations/deployment.kubernetes.io~1revision")
}

/// Has a ReplicaSet's template be its Deployment's, where it is the one of the present revision, and differ from it where it is not: what
/// told them apart may have been a field that is not kept. Whether it is the present one.
fn step(set: &mut Value, template: &Value, present: &str) -> bool {
    let number = revision(set).to_owned();
    if number == present {
        let hash = set["spec"]["template"]["metadata"]["labels"].get("pod-template-hash").cloned();
        set["spec"]["template"] = template.clone();
        if let Some(hash) = hash {
            set["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = hash;
        }
        return true;
    }
    let meta = &mut set["spec"]["template"]["metadata"];
    if meta["annotations"].is_null() {
        meta["annotations"] = json!({});
    }
    meta["annotations"]["twin.squall.dev/revision"] = number.into();
    false
}
