//! The whole of a lab as one value, to compare what is with what was.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use serde_json::{Map, Value, json};

use super::store::{KINDS, Object};
use super::world::World;
use super::{Lab, model};

/// Kinds of which nothing is compared: what only says that something happened or when.
const PASSING: [&str; 3] = ["Event", "Lease", "ControllerRevision"];
/// Fields of an object's metadata that differ each time it is made or written.
const VOLATILE: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "generateName",
    "ownerReferences",
    "selfLink",
];
/// Numbers of a status that say how much of the object works.
const NUMBERS: [&str; 6] =
    ["replicas", "readyReplicas", "availableReplicas", "currentHealthy", "desiredHealthy", "disruptionsAllowed"];

impl Lab {
    /// Everything that is in the cluster and that an experiment must leave as it was: of each object its labels, annotations, finalizers and
    /// spec, and of its status how much of it works. Pods and endpoints, which workloads replace, are counted.
    #[must_use]
    pub fn everything(&self) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        self.shared.read(|world| {
            all.extend(world.aws.iter().flat_map(super::cloud::Aws::everything));
            for (number, kind) in KINDS.iter().enumerate().filter(|(_, kind)| !PASSING.contains(&kind.kind)) {
                for object in world.store.objects(number, None).filter(|object| !is_scheduled(world, object)) {
                    let counted = match kind.kind {
                        "Pod" => Some((format!("pods of {}", owner(object)), is_ready(object))),
                        "EndpointSlice" => {
                            let slice = object.seen::<EndpointSlice>();
                            let ready = slice.map_or(0, |slice| slice.endpoints.iter().filter(|e| serves(e)).count());
                            let service = label(object, "kubernetes.io/service-name");
                            Some((format!("endpoints of {}/{service}", object.key.namespace), ready))
                        }
                        _ => None,
                    };
                    if let Some((key, ready)) = counted {
                        let entry = all.entry(key).or_insert_with(|| json!({"objects": 0, "ready": 0}));
                        entry["objects"] = (entry["objects"].as_u64().unwrap_or(0) + 1).into();
                        entry["ready"] =
                            (entry["ready"].as_u64().unwrap_or(0) + u64::try_from(ready).unwrap_or(0)).into();
                    } else if let Some(place) = machines(object) {
                        // Another instance is another node.
                        if let Some(nodes) = all.entry(place).or_insert_with(|| json!([])).as_array_mut() {
                            nodes.push(machine(object));
                        }
                    } else {
                        let name = format!("{} {}/{}", kind.resource(), object.key.namespace, object.key.name);
                        all.insert(name, lasting(object));
                    }
                }
            }
        });
        for nodes in all.values_mut().filter_map(Value::as_array_mut) {
            nodes.sort_by_key(Value::to_string);
        }
        all
    }
}

fn serves(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true))
}

fn label<'a>(object: &'a Object, label: &str) -> &'a str {
    object.meta().labels.as_ref().and_then(|labels| labels.get(label)).map_or("", String::as_str)
}

/// Where the nodes are counted of which this is one: those whose machines a cloud replaces by others.
fn machines(object: &Object) -> Option<String> {
    let id = object.seen::<Node>()?.spec.as_ref()?.provider_id.as_deref()?;
    (!id.is_empty()).then(|| format!("nodes in {}", label(object, "topology.kubernetes.io/zone")))
}

/// What of such a node has nothing to do with which machine it is.
fn machine(object: &Object) -> Value {
    let mut json = lasting(object);
    for (place, field) in
        [("/metadata", "name"), ("/metadata/labels", "kubernetes.io/hostname"), ("/spec", "providerID")]
    {
        if let Some(fields) = json.pointer_mut(place).and_then(Value::as_object_mut) {
            fields.remove(field);
        }
    }
    json
}

/// Whether an object is a `CronJob`'s, and comes and goes with the time.
fn is_scheduled(world: &World, object: &Object) -> bool {
    if let Some(job) = object.typed::<Job>() {
        return model::is_scheduled(&job);
    }
    let job = object.owners().first().filter(|owner| object.seen::<Pod>().is_some() && owner.kind == "Job");
    let job = job.and_then(|owner| world.store.get::<Job>(&object.key.namespace, &owner.name));
    job.is_some_and(|job| model::is_scheduled(&job))
}

fn owner(object: &Object) -> String {
    match object.owners().first() {
        None => format!("nobody: {}/{}", object.key.namespace, object.key.name),
        Some(owner) => format!("{} {}/{}", owner.kind, object.key.namespace, owner.name),
    }
}

fn is_ready(object: &Object) -> usize {
    let ready = object.seen::<Pod>().is_some_and(model::objects::is_ready);
    usize::from(ready && !object.is_leaving())
}

fn lasting(object: &Object) -> Value {
    let mut json = object.json();
    let status = json.as_object_mut().and_then(|object| object.remove("status")).unwrap_or_default();
    if let Some(meta) = json["metadata"].as_object_mut() {
        meta.retain(|field, _| !VOLATILE.contains(&field.as_str()));
    }
    let numbers: Map<String, Value> = NUMBERS
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), status.get(*field)?.clone())))
        .filter(|(_, value)| *value != 0)
        .collect();
    json["status"] = numbers.into();
    json
}
