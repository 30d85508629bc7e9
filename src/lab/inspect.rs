//! The whole of a lab as one value, to compare what is with what was.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
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
                            let service = object.text("/metadata/labels/kubernetes.io~1service-name");
                            let endpoints = object.json["endpoints"].as_array().into_iter().flatten();
                            let ready = endpoints.filter(|e| e["conditions"]["ready"] == true).count();
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

/// Where the nodes are counted of which this is one: those whose machines a cloud replaces by others.
fn machines(object: &Object) -> Option<String> {
    let zone = object.text("/metadata/labels/topology.kubernetes.io~1zone");
    (KINDS[object.kind].kind == "Node" && !object.text("/spec/providerID").is_empty())
        .then(|| format!("nodes in {zone}"))
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
    let owner = object.json.pointer("/metadata/ownerReferences/0");
    let job = owner.filter(|owner| object.typed::<Pod>().is_some() && owner["kind"] == "Job");
    let job = job.and_then(|owner| world.store.get::<Job>(&object.key.namespace, owner["name"].as_str()?));
    job.is_some_and(|job| model::is_scheduled(&job))
}

fn owner(object: &Object) -> String {
    let owner = object.json.pointer("/metadata/ownerReferences/0");
    let text = |field: &str| owner.and_then(|owner| owner[field].as_str()).unwrap_or_default();
    match text("kind") {
        "" => format!("nobody: {}/{}", object.key.namespace, object.key.name),
        kind => format!("{kind} {}/{}", object.key.namespace, text("name")),
    }
}

fn is_ready(object: &Object) -> usize {
    let conditions = object.json.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
    usize::from(ready && !object.is_leaving())
}

fn lasting(object: &Object) -> Value {
    let mut json = object.json.clone();
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
