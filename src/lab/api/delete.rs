//! Deletion: of one object, of all that are selected, and of a namespace with what is in it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::select::Filter;
use super::{Answer, Asked, list, verbs};
use crate::lab::model::objects::{self, Deleted};
use crate::lab::store::{KINDS, Kind, Object, ObjectKey, Refused, number_of};
use crate::lab::world::{Shared, World};

/// Namespaces that can't be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Kinds whose deletion answers with the object, also when it is gone at once.
const ANSWERED_WHOLE: [&str; 6] =
    ["Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "StorageClass"];
/// How long the namespaces' controller lets a deletion come to everybody's knowledge before it empties a namespace.
const NAMESPACE_GRACE: Duration = Duration::from_secs(5);

/// How something is to be deleted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Options {
    pub grace_period_seconds: Option<i64>,
    pub preconditions: Option<Preconditions>,
    pub propagation_policy: Option<String>,
    pub orphan_dependents: Option<bool>,
    dry_run: Option<Vec<String>>,
}

/// What must hold of what is deleted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl Options {
    /// From the body, or from the query where there is none.
    fn read(asked: &Asked) -> Result<Self, Refused> {
        let mut options = if asked.body.is_empty() { Self::default() } else { Self::of(asked.object()?)? };
        if asked.body.is_empty() {
            options.grace_period_seconds = asked.query.number("gracePeriodSeconds")?;
            let policy = asked.query.text("propagationPolicy");
            options.propagation_policy = Some(policy.to_owned()).filter(|policy| !policy.is_empty());
            let orphan = Some(asked.query.text("orphanDependents")).filter(|text| !text.is_empty());
            options.orphan_dependents = orphan.map(|_| asked.query.flag("orphanDependents"));
        }
        if asked.query.dry_run()? {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        options.check()?;
        Ok(options)
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// When they are none.
    pub(super) fn of(json: Value) -> Result<Self, Refused> {
        let of = |why: &str| Refused::bad_request(&format!("DeleteOptions cannot be handled: {why}"));
        serde_json::from_value(json).map_err(|e| of(&e.to_string()))
    }

    fn check(&self) -> Result<(), Refused> {
        let invalid = |why: String| {
            Err(Refused::new(422, "Invalid", format!("DeleteOptions.meta.k8s.io \"\" is invalid: {why}")))
        };
        match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (Some(_), Some(_)) => invalid(
                "propagationPolicy: Invalid value: \"\": orphanDependents and deletionPropagation cannot be both set"
                    .to_owned(),
            ),
            (Some("Background" | "Foreground" | "Orphan") | None, _) => Ok(()),
            (Some(other), None) => invalid(format!(
                "propagationPolicy: Unsupported value: {other:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            )),
        }
    }

    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run.as_ref().is_some_and(|run| run.iter().any(|of| of == "All"))
    }

    fn orphans(&self) -> bool {
        self.propagation_policy.as_deref() == Some("Orphan") || self.orphan_dependents == Some(true)
    }

    /// Refuses to delete another object than was meant.
    ///
    /// # Errors
    ///
    /// Conflict.
    pub(super) fn check_object(&self, object: &Object) -> Result<(), Refused> {
        let Some(preconditions) = &self.preconditions else { return Ok(()) };
        let kind = &KINDS[object.kind];
        // The real server names the kind here, not the resource.
        let name = if kind.group.is_empty() { kind.kind.to_owned() } else { format!("{}.{}", kind.kind, kind.group) };
        let conflict = |why: String| {
            let message = format!("Operation cannot be fulfilled on {name} \"{}\": {why}", object.key.name);
            let details = json!({"name": object.key.name, "group": kind.group, "kind": kind.kind});
            Err(Refused { details, ..Refused::new(409, "Conflict", message) })
        };
        if let Some(uid) = preconditions.uid.as_deref().filter(|uid| *uid != object.uid()) {
            return conflict(format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then \
                 recreated",
                object.uid()
            ));
        }
        let now = object.text("/metadata/resourceVersion");
        if let Some(version) = preconditions.resource_version.as_deref().filter(|version| *version != now) {
            return conflict(format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({now}). The object \
                 might have been modified"
            ));
        }
        Ok(())
    }
}

/// Deletes an object.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn one(shared: &Shared, asked: &Asked) -> Result<Answer, Refused> {
    let options = Options::read(asked)?;
    let place = &asked.place;
    let (answer, empty) = shared.with(|world| {
        let object = verbs::found(world, place)?;
        if place.kind().kind == "Namespace" && IMMORTAL.contains(&place.name.as_str()) {
            return Err(Refused::forbidden(place.kind(), &place.name, "this namespace may not be deleted"));
        }
        options.check_object(&object)?;
        if options.is_dry_run() {
            return Ok((told(asked, place.kind(), &object, false), false));
        }
        let goes = place.kind().kind == "Namespace" && !object.is_leaving();
        Ok(match take(world, place.kind, &place.key(), &options) {
            Deleted::Gone(last) => (told(asked, place.kind(), &last, true), false),
            Deleted::Leaving(object) => (asked.form.shape(&object.json), goes),
            Deleted::NotFound => return Err(Refused::not_found(place.kind(), &place.name)),
        })
    })?;
    if empty {
        tokio::spawn(empty_namespace(shared.clone(), place.name.clone()));
    }
    Ok(Answer::Json(200, answer))
}

/// Deletes all objects of a kind that are selected.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn all(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let options = Options::read(asked)?;
    let filter = Filter::read(&asked.place, &asked.query)?;
    let objects: Vec<_> = world.store.objects(asked.place.kind, None).filter(|o| filter.takes(o)).cloned().collect();
    let metadata = json!({"resourceVersion": world.store.version().to_string()});
    let items = objects.iter().map(|object| asked.form.item(object)).collect();
    for object in &objects {
        options.check_object(object)?;
        if !options.is_dry_run() {
            take(world, object.kind, &object.key, &options);
        }
    }
    Ok(Answer::Json(200, list::of_items(asked, &metadata, items)))
}

/// Deletes an object; its dependents are left to the garbage collector, or let go of first.
fn take(world: &mut World, kind: usize, key: &ObjectKey, options: &Options) -> Deleted {
    if options.orphans() {
        let uid = world.store.object(kind, key).map(|object| object.uid().to_owned()).unwrap_or_default();
        for dependent in world.store.dependents(&uid) {
            let mut json = dependent.json.clone();
            if let Some(owners) = json["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != uid.as_str());
            }
            // It was there a moment ago, and is its own kind still.
            drop(world.store.replace(dependent.kind, &dependent.key, json));
        }
    }
    objects::delete(world, kind, key, options.grace_period_seconds)
}

/// What a deletion answers once nothing is left.
fn told(asked: &Asked, kind: &Kind, object: &Object, gone: bool) -> Value {
    if ANSWERED_WHOLE.contains(&kind.kind) || (!gone && object.is_leaving()) {
        return asked.form.shape(&object.json);
    }
    let mut details = json!({"name": object.key.name, "kind": kind.plural, "uid": object.uid()});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Deletes what is in a namespace that leaves, and then the namespace: as its controller does.
async fn empty_namespace(shared: Shared, name: String) {
    let namespaces = number_of::<k8s_openapi::api::core::v1::Namespace>();
    let key = ObjectKey::new("", name.clone());
    tokio::time::sleep(NAMESPACE_GRACE).await;
    let mut told = shared.read(|world| world.store.told());
    loop {
        told.borrow_and_update();
        let going = shared.with(|world| {
            for number in (0..KINDS.len()).filter(|number| KINDS[*number].namespaced) {
                let inside: Vec<_> =
                    world.store.objects(number, Some(&name)).map(|object| object.key.clone()).collect();
                for key in inside {
                    objects::delete(world, number, &key, None);
                }
            }
            objects::finalize(world, namespaces, &key);
            world.store.object(namespaces, &key).is_some()
        });
        if !going || told.changed().await.is_err() {
            return;
        }
    }
}
