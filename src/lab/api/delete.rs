//! Deletion: of one object, and of all that are selected. What they own, or what lies in them, is left to controllers.

use serde::Deserialize;
use serde_json::{Value, json};

use super::select::Filter;
use super::{Answer, Asked, verbs};
use crate::lab::model::objects::{self, Deleted};
use crate::lab::store::{KINDS, Kind, Object, Refused};
use crate::lab::world::World;

/// Namespaces that can't be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Kinds whose deletion answers with the object, also when it is gone at once.
const ANSWERED_WHOLE: [&str; 6] =
    ["Pod", "Service", "ServiceAccount", "PersistentVolume", "PersistentVolumeClaim", "StorageClass"];
/// What holds an owner until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";
/// What holds an owner until what it owns is let go of.
const ORPHAN: &str = "orphan";

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

    /// The finalizers that an object has once it is deleted so: they tell the garbage collector what is to become of what it owns.
    fn finalizers(&self, object: &Object) -> Vec<String> {
        let own = object.finalizers();
        let held_by = |finalizer: &str| own.iter().any(|own| own == finalizer);
        let added = match (self.propagation_policy.as_deref(), self.orphan_dependents) {
            (Some("Orphan"), _) | (None, Some(true)) => Some(ORPHAN),
            (Some("Foreground"), _) => Some(FOREGROUND),
            (Some(_), _) | (None, Some(false)) => None,
            (None, None) if held_by(ORPHAN) => Some(ORPHAN),
            (None, None) if held_by(FOREGROUND) => Some(FOREGROUND),
            // Of old, and for ever: who deletes a Job and says nothing keeps its pods.
            (None, None) => (KINDS[object.kind].kind == "Job").then_some(ORPHAN),
        };
        let others = own.iter().filter(|own| *own != FOREGROUND && *own != ORPHAN).cloned();
        others.chain(added.map(str::to_owned)).collect()
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
        let now = object.version();
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
pub(super) fn one(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let options = Options::read(asked)?;
    let place = &asked.place;
    let object = verbs::found(world, place)?;
    if place.kind().kind == "Namespace" && IMMORTAL.contains(&place.name.as_str()) {
        return Err(Refused::forbidden(place.kind(), &place.name, "this namespace may not be deleted"));
    }
    options.check_object(&object)?;
    if options.is_dry_run() {
        return Ok(told(asked, place.kind(), &object, false));
    }
    match take(world, &object, &options) {
        Deleted::Gone(last) => Ok(told(asked, place.kind(), &last, true)),
        Deleted::Leaving(object) => Ok(asked.form.answer(200, &object)),
        Deleted::NotFound => Err(Refused::not_found(place.kind(), &place.name)),
    }
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
    let told = asked.form.list(asked.place.kind(), &metadata, &objects.iter().collect::<Vec<_>>());
    for object in &objects {
        options.check_object(object)?;
        if !options.is_dry_run() {
            take(world, object, &options);
        }
    }
    Ok(told)
}

/// Deletes an object; what it owns is left to the garbage collector.
fn take(world: &mut World, object: &Object, options: &Options) -> Deleted {
    let finalizers = options.finalizers(object);
    objects::delete_holding(world, object.kind, &object.key, options.grace_period_seconds, Some(&finalizers))
}

/// What a deletion answers once nothing is left.
fn told(asked: &Asked, kind: &Kind, object: &Object, gone: bool) -> Answer {
    if ANSWERED_WHOLE.contains(&kind.kind) || (!gone && object.is_leaving()) {
        return asked.form.answer(200, object);
    }
    let mut details = json!({"name": object.key.name, "kind": kind.plural, "uid": object.uid()});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
    Answer::Json(200, status)
}
