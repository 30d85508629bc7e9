//! The number of replicas of a workload, as an object of its own.

use serde_json::{Value, json};

use super::{Answer, Asked, apply, fields, patch, validate, verbs};
use crate::lab::store::{Object, Refused};
use crate::lab::world::World;

/// The scale of a workload.
///
/// # Errors
///
/// Not found.
pub(super) fn get(world: &World, asked: &Asked) -> Result<Answer, Refused> {
    let place = &asked.place;
    let object = verbs::found(world, place).map_err(|mut refused| {
        // The real server names the subresource here, and only here.
        let what = format!("{}/scale.{}", place.kind().plural, place.kind().group);
        refused.message = format!("{what} \"{}\" not found", place.name);
        refused.details["kind"] = format!("{}/scale", place.kind().plural).into();
        refused
    })?;
    Ok(Answer::Json(200, of(&object)))
}

/// Sets it.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn update(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let scale = asked.object()?;
    let object = verbs::found(world, &asked.place)?;
    write(world, asked, &object, &scale)
}

/// Changes a part of it.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn patch(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let object = verbs::found(world, &asked.place)?;
    let scale = patch::apply(&asked.content, &asked.body, &of(&object))?;
    write(world, asked, &object, &scale)
}

/// A workload's scale.
fn of(object: &Object) -> Value {
    let json = object.json();
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata[field] = json["metadata"][field].clone();
    }
    let mut status = json!({"replicas": json["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = serde_json::from_value(json["spec"]["selector"].clone()).unwrap_or_default();
    if let Some(selector) = in_words(selector) {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": json["spec"]["replicas"].as_i64().unwrap_or(0)}, "status": status,
    })
}

/// A selector as `kubectl -l` takes it.
pub(super) fn in_words(selector: k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector) -> Option<String> {
    kube::core::Selector::try_from(selector).ok().map(|selector| selector.to_string())
}

fn write(world: &mut World, asked: &Asked, object: &Object, scale: &Value) -> Result<Answer, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    let read: k8s_openapi::api::autoscaling::v1::Scale = serde_json::from_value(scale.clone())
        .map_err(|e| Refused::bad_request(&format!("Scale in version \"v1\" cannot be handled as a Scale: {e}")))?;
    let unknown = fields::unknown(scale, &serde_json::to_value(&read).unwrap_or_default());
    if asked.query.strict()? && !unknown.is_empty() {
        let why = fields::in_words(&unknown);
        return Err(Refused::bad_request(&format!("Scale in version \"v1\" cannot be handled as a Scale: {why}")));
    }
    let replicas = read.spec.and_then(|spec| spec.replicas).unwrap_or(0);
    let name = read.metadata.name.unwrap_or_default();
    if name != place.name {
        let message = format!("the name of the object ({name}) does not match the name on the URL ({})", place.name);
        return Err(Refused::bad_request(&message));
    }
    validate::scale(&name, replicas)?;
    let version = read.metadata.resource_version.unwrap_or_default();
    if !version.is_empty() && version != object.version() {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Refused::conflict(kind, &place.name, why));
    }
    let before = object.json();
    let mut json = before.clone();
    json["spec"]["replicas"] = replicas.into();
    if asked.query.dry_run()? {
        let mut scale = of(object);
        scale["spec"]["replicas"] = replicas.into();
        return Ok(Answer::Json(200, scale));
    }
    let now = serde_json::to_value(world.time()).unwrap_or_default();
    let managed = apply::after_update(&before, &json, None, (asked.manager.as_str(), "scale"), &now);
    verbs::put(&mut json["metadata"], "managedFields", managed.as_ref());
    let object = world.store.replace(place.kind, &place.key(), json)?;
    Ok(Answer::Json(200, of(&object)))
}
