//! A lab that begins as the twin's cluster was: objects go past the API server and its controllers, with the status that they had.
//!
//! What makes it settled from the first instant: owners are found again under new uids; a workload's revisions are those that its pods carry;
//! kubelets take their running pods over (`kubelet::adopt`). Pods that were not ready are started anew; nodes that were not ready have no
//! power. Addresses are the lab's own.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::read::order;
use super::{Twin, TwinError, text};
use crate::lab::model::{self, objects};
use crate::lab::store::{KINDS, named};
use crate::lab::world::{Shared, World};
use crate::lab::{Lab, api};

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];
/// The label of a pod's revision.
const HASH: &str = "controller-revision-hash";

/// What came of a twin in a lab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Objects that are there now.
    pub objects: usize,
    /// Kinds that the lab has no model of, left out.
    pub skipped: BTreeSet<String>,
    /// Pods that run on as they did.
    pub adopted: usize,
    /// Pods that were bound and not ready: they are started anew.
    pub anew: usize,
    /// Nodes that were not ready: they have no power.
    pub dark: Vec<String>,
    /// Workloads of which not all was available: nobody waits long for them.
    pub unsettled: Vec<String>,
}

impl Lab {
    /// Makes a lab that begins as a twin's cluster was. Needs a tokio runtime around it, as [`new`](Self::new) does. `wall` is its wall clock,
    /// and not before the twin was taken; by `name` records call it.
    ///
    /// # Errors
    ///
    /// When an object of the twin can't be read, or is there twice: which.
    pub fn of_twin(twin: &Twin, seed: u64, wall: Timestamp, name: &str) -> Result<(Self, Loaded), TwinError> {
        let shared = Shared::new(seed, wall.max(twin.taken));
        // Nobody sees a part of it: what follows from an object follows when all are there.
        let mut loaded = shared.with(|world| {
            world.store.be_silent();
            let mut loaded = Loading::of(world, twin)?;
            loaded.adopted = model::adopt(world);
            world.store.announce();
            loaded.unsettled = crate::lab::settled::waiting_in(world);
            Ok::<_, TwinError>(loaded)
        })?;
        shared.with(|world| {
            for node in &loaded.dark {
                model::cut_power(world, node);
            }
        });
        loaded.anew = shared.read(bound).saturating_sub(loaded.adopted);
        let mut lab = Self::started(shared, name);
        lab.tolerated = loaded.unsettled.iter().cloned().collect();
        Ok((lab, loaded))
    }
}

/// Pods that are bound to a node.
fn bound(world: &World) -> usize {
    let is_bound =
        |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty());
    world.store.list::<Pod>(None).filter(|pod| is_bound(pod)).count()
}

/// Kind, namespace, name.
type Place = (String, String, String);

/// What an object of a twin is, without the rest of it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Name,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Name {
    namespace: String,
    name: String,
}

impl Head {
    fn place(&self) -> Place {
        (self.kind.clone(), self.metadata.namespace.clone(), self.metadata.name.clone())
    }
}

/// An object of a twin, or what stands in it, by its place among the others.
fn read<T: serde::de::DeserializeOwned>(line: &str, index: usize) -> Result<T, TwinError> {
    serde_json::from_str(line).map_err(|e| {
        // Each is a line of its own in here, but not in the file.
        let why = e.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        TwinError::new(format!("object {} of the twin is none that Kubernetes knows: {why}: {line:.200}", index + 1))
            .hint("`squall twin save` writes it again")
    })
}

/// Namespaces that every cluster has, and those that something lies in, as far as they could not be read.
fn unread_namespaces(all: &[(Place, Option<usize>)]) -> Vec<String> {
    let is_there = |namespace: &str| all.iter().any(|((kind, _, name), _)| kind == "Namespace" && name == namespace);
    let within = all.iter().map(|((_, namespace, _), _)| namespace.as_str()).filter(|namespace| !namespace.is_empty());
    let needed: BTreeSet<&str> = within.chain(NAMESPACES).collect();
    needed.into_iter().filter(|namespace| !is_there(namespace)).map(ToOwned::to_owned).collect()
}

/// The way of a twin's objects into a lab.
struct Loading<'w> {
    world: &'w mut World,
    uids: BTreeMap<Place, String>,
    loaded: Loaded,
}

impl Loading<'_> {
    fn of(world: &mut World, twin: &Twin) -> Result<Loaded, TwinError> {
        let mut loading = Loading { world, uids: BTreeMap::new(), loaded: Loaded::default() };
        let mut all: Vec<(Place, Option<usize>)> = Vec::with_capacity(twin.objects.len());
        for (index, line) in twin.objects.lines().enumerate() {
            let head: Head = read(line, index)?;
            if loading.is_known(&head) {
                all.push((head.place(), Some(index)));
            }
        }
        let unread = unread_namespaces(&all).into_iter();
        all.extend(unread.map(|name| (("Namespace".to_owned(), String::new(), name), None)));
        all.sort_by_key(|((kind, ..), _)| order(kind));
        for (place, _) in &all {
            let uid = loading.world.store.names().uid();
            loading.uids.insert(place.clone(), uid);
        }
        for (place, index) in all {
            let made = || json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.2}});
            let object = match index {
                Some(index) => read(twin.objects.line(index), index)?,
                None => made(),
            };
            loading.put(&place, object)?;
        }
        loading.restore_revisions();
        let nodes: Vec<_> = loading.world.store.list::<Node>(None).collect();
        let dark = nodes.iter().filter(|node| !is_ready(node)).filter_map(|node| node.metadata.name.clone());
        loading.loaded.dark = dark.collect();
        Ok(loading.loaded)
    }

    fn is_known(&mut self, Head { api_version: version, kind, .. }: &Head) -> bool {
        let known = named(version, kind).is_some();
        if !known {
            self.loaded.skipped.insert(format!("{kind} ({version})"));
        }
        known
    }

    fn put(&mut self, place: &Place, mut object: Value) -> Result<(), TwinError> {
        let Some(kind) = named(text(&object, "/apiVersion"), &place.0) else { return Ok(()) };
        let uid = self.uids.get(place).cloned().unwrap_or_default();
        self.reown(&mut object);
        if KINDS[kind].kind == "Service" {
            no_foreign_family(&mut object);
        }
        api::defaults::apply(self.world, kind, &mut object);
        let time = self.world.time();
        let meta = &mut object["metadata"];
        if meta["creationTimestamp"].is_null() {
            meta["creationTimestamp"] = serde_json::to_value(time).unwrap_or_default();
        }
        let (kind_of, namespace, name) = place;
        let failed =
            |why: &str| TwinError::new(format!("{} {namespace}/{name} of the twin: {why}", kind_of.to_lowercase()));
        self.world.store.restore(kind, object, &uid).map_err(|refused| failed(&refused.message))?;
        self.loaded.objects += 1;
        Ok(())
    }

    /// Owners have other uids here. One that is not there, or that the lab does not keep, owns nothing: nobody would ever put it back.
    fn reown(&self, object: &mut Value) {
        let namespace = text(object, "/metadata/namespace").to_owned();
        let Some(owners) = object.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) else {
            return;
        };
        owners.retain_mut(|owner| {
            let of = |namespace: &str| {
                (text(owner, "/kind").to_owned(), namespace.to_owned(), text(owner, "/name").to_owned())
            };
            let found = self.uids.get(&of(&namespace)).or_else(|| self.uids.get(&of(""))).cloned();
            let is_there = found.is_some();
            if let Some(uid) = found {
                owner["uid"] = uid.into();
            }
            is_there
        });
        let none = owners.is_empty();
        if none && let Some(meta) = object["metadata"].as_object_mut() {
            meta.remove("ownerReferences");
        }
    }

    /// The revisions that the pods of `StatefulSets` and `DaemonSets` carry: a set whose revision nobody knows would replace all its pods.
    fn restore_revisions(&mut self) {
        for set in self.world.store.list::<StatefulSet>(None).collect::<Vec<_>>() {
            let (Some(spec), Some(status)) = (&set.spec, &set.status) else { continue };
            let prefix = format!("{}-", set.metadata.name.as_deref().unwrap_or_default());
            let hash = |name: &Option<String>| name.as_deref()?.strip_prefix(&prefix).map(ToOwned::to_owned);
            let label = "controller.kubernetes.io/hash";
            let (current, update) = (hash(&status.current_revision), hash(&status.update_revision));
            if let Some(old) = current.filter(|old| Some(old) != update.as_ref()) {
                objects::restore_revision(self.world, &*set, &marked(&spec.template), (label, &old), 1);
            }
            if let Some(new) = update {
                objects::restore_revision(self.world, &*set, &spec.template, (label, &new), 2);
            }
        }
        for set in self.world.store.list::<DaemonSet>(None).collect::<Vec<_>>() {
            let Some(spec) = &set.spec else { continue };
            let mut pods = self.world.store.owned::<Pod>(set.metadata.uid.as_deref().unwrap_or_default());
            // The newest pod is of the newest revision; which the status does not name.
            pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
            let hash = |pod: &Pod| pod.metadata.labels.as_ref()?.get(HASH).cloned();
            let Some(newest) = pods.last().and_then(|pod| hash(pod)) else { continue };
            let others: BTreeSet<String> =
                pods.iter().filter_map(|pod| hash(pod)).filter(|one| *one != newest).collect();
            for old in others {
                objects::restore_revision(self.world, &*set, &marked(&spec.template), (HASH, &old), 1);
            }
            objects::restore_revision(self.world, &*set, &spec.template, (HASH, &newest), 2);
        }
    }
}

/// An earlier template, of which only that it was another is known.
fn marked(template: &k8s_openapi::api::core::v1::PodTemplateSpec) -> k8s_openapi::api::core::v1::PodTemplateSpec {
    let mut template = template.clone();
    let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert("twin.squall.dev/revision".to_owned(), "earlier".to_owned());
    template
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The lab's pods have IPv4 addresses: so have its Services.
fn no_foreign_family(service: &mut Value) {
    let Some(spec) = service["spec"].as_object_mut() else { return };
    let foreign = |value: &Value| value.as_str().is_some_and(|address| address.contains(':'));
    if spec.get("clusterIP").is_some_and(foreign) {
        spec.remove("clusterIP");
    }
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        spec.remove(field);
    }
}
