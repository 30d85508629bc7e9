//! Reading, creating and changing objects.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::path::Place;
use super::{Answer, Asked, apply, defaults, fields, patch, scale, validate, wire};
use crate::lab::model::objects;
use crate::lab::store::{KINDS, Kind, Object, ObjectKey, Refused, number_of, seconds};
use crate::lab::world::World;

/// Kinds that nobody may write over without having read them.
const READ_FIRST: [&str; 3] = ["PodDisruptionBudget", "Lease", "ServiceAccount"];

/// An object.
///
/// # Errors
///
/// Not found.
pub(super) fn get(world: &World, asked: &Asked) -> Result<Answer, Refused> {
    let place = &asked.place;
    if place.subresource == "scale" {
        return scale::get(world, asked);
    }
    Ok(asked.form.answer(200, &*found(world, place)?))
}

/// Creates an object.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn create(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let kind = asked.place.kind();
    let written = of_kind(asked.object()?, kind)?;
    let mut json = read(kind, &written, asked.query.strict()?)?;
    remove(&mut json["metadata"], "managedFields");
    add(world, asked, json)
}

/// Creates an object of what was applied, with those who manage its fields.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn create_applied(
    world: &mut World,
    asked: &Asked,
    config: &Value,
    managed: Value,
) -> Result<Answer, Refused> {
    let mut json = read(asked.place.kind(), config, false)?;
    json["metadata"]["managedFields"] = managed;
    add(world, asked, json)
}

fn add(world: &mut World, asked: &Asked, mut json: Value) -> Result<Answer, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    let dry_run = asked.query.dry_run()?;
    let text =
        |json: &Value, pointer: &str| json.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let within = text(&json, "/metadata/namespace");
    if !within.is_empty() && within != place.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Refused::bad_request(message));
    }
    let name = text(&json, "/metadata/name");
    admit(world, place, &name)?;
    if !text(&json, "/metadata/resourceVersion").is_empty() {
        return Err(Refused::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        remove(&mut json["metadata"], field);
    }
    if kind.namespaced {
        json["metadata"]["namespace"] = place.namespace.clone().into();
    }
    if kind.status {
        remove(&mut json, "status");
    }
    defaults::apply(world, place.kind, &mut json);
    validate::created(world, kind, &json)?;
    if dry_run {
        return Ok(Answer::Json(201, asked.form.shape(&rehearsed(world, place, json)?)));
    }
    let wall = world.wall();
    Ok(asked.form.answer(201, &*world.store.create(place.kind, json, wall)?))
}

/// Replaces an object, or its status.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn update(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    let written = of_kind(asked.object()?, kind)?;
    let json = read(kind, &written, asked.query.strict()?)?;
    check_name(&json, place)?;
    let before = found(world, place)?;
    write(world, asked, &before, json)
}

/// Changes a part of an object.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn patch(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    if asked.content == apply::MEDIA_TYPE {
        return apply::apply(world, asked);
    }
    if !asked.query.text("force").is_empty() {
        let why = "Forbidden: may not be specified for non-apply patch";
        return Err(unfit_option("force", "FieldValueForbidden", why));
    }
    let (place, kind) = (&asked.place, asked.place.kind());
    let before = found(world, place)?;
    let mut patched = patch::apply(&asked.content, &asked.body, &before.json())?;
    let text = |patched: &Value, key: &str| patched[key].as_str().unwrap_or_default().to_owned();
    if text(&patched, "kind") != kind.kind || text(&patched, "apiVersion") != kind.api_version() {
        patched["kind"] = kind.kind.into();
        patched["apiVersion"] = kind.api_version().into();
    }
    let mut json = normal(kind, patched.clone()).map_err(|e| patch::unfit(&patched, &e.to_string()))?;
    let unknown = fields::unknown(&patched, &json);
    if asked.query.strict()? && !unknown.is_empty() {
        return Err(patch::unfit(&patched, &fields::in_words(&unknown)));
    }
    fields::tidy(&mut json);
    check_name(&json, place)?;
    write(world, asked, &before, json)
}

/// Writes what an apply made of an object, with those who manage its fields from then on.
///
/// # Errors
///
/// Whatever the server has against it.
pub(super) fn write_applied(
    world: &mut World,
    asked: &Asked,
    before: &Arc<Object>,
    merged: &Value,
) -> Result<Answer, Refused> {
    let json = read(asked.place.kind(), merged, false)?;
    write(world, asked, before, json)
}

/// An option of a patch is not as it must be.
pub(super) fn unfit_option(field: &str, reason: &str, why: &str) -> Refused {
    Refused {
        details: json!({"causes": [{"reason": reason, "message": why, "field": field}]}),
        ..Refused::new(422, "Invalid", format!("PatchOptions.meta.k8s.io \"\" is invalid: {field}: {why}"))
    }
}

impl Asked {
    /// The body, which must be an object.
    ///
    /// # Errors
    ///
    /// When it is none, or not in a form that is read.
    pub(super) fn object(&self) -> Result<Value, Refused> {
        let object = match self.content.as_str() {
            "" | "application/json" => parsed(&self.body)?,
            wire::MEDIA_TYPE => wire::read(&self.body)?,
            "application/yaml" => serde_yaml::from_str(&String::from_utf8_lossy(&self.body))
                .map_err(|e| Refused::bad_request(&format!("error converting YAML to JSON: {e}")))?,
            _ => {
                let message = "the body of the request was in an unknown format - accepted media types include: \
                               application/json, application/yaml, application/vnd.kubernetes.protobuf";
                return Err(Refused::new(415, "UnsupportedMediaType", message));
            }
        };
        if object.is_object() {
            Ok(object)
        } else {
            Err(unparsed("json: cannot unmarshal into Go value of type struct"))
        }
    }
}

/// Reads a body as JSON.
///
/// # Errors
///
/// When it is none.
pub(super) fn parsed(body: &[u8]) -> Result<Value, Refused> {
    serde_json::from_slice(body).map_err(|e| unparsed(&e.to_string()))
}

fn unparsed(why: &str) -> Refused {
    Refused::bad_request(&format!("couldn't get version/kind; json parse error: {why}"))
}

/// The object at a place.
///
/// # Errors
///
/// Not found.
pub(super) fn found(world: &World, place: &Place) -> Result<Arc<Object>, Refused> {
    let object = world.store.object(place.kind, &place.key()).cloned();
    object.ok_or_else(|| Refused::not_found(place.kind(), &place.name))
}

/// Has an object be of the kind that its path names, which it need not say.
fn of_kind(mut json: Value, kind: &Kind) -> Result<Value, Refused> {
    let text = |json: &Value, key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let (said, version, wanted) = (text(&json, "kind"), text(&json, "apiVersion"), kind.api_version());
    if !said.is_empty() && said != kind.kind {
        let short = version.rsplit('/').next().unwrap_or_default();
        return Err(Refused::bad_request(&format!(
            "{said} in version {short:?} cannot be handled as a {}: converting ({said}) to ({}): unknown conversion",
            kind.kind, kind.kind
        )));
    }
    if !version.is_empty() && version != wanted {
        return Err(Refused::bad_request(&format!(
            "the API version in the data ({version}) does not match the expected API version ({wanted})"
        )));
    }
    json["kind"] = kind.kind.into();
    json["apiVersion"] = wanted.into();
    Ok(json)
}

/// An object with those fields alone that its kind has.
fn normal(kind: &Kind, json: Value) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(&(kind.read)(json)?.write()?)
}

/// Reads an object as its kind has it.
fn read(kind: &Kind, written: &Value, strict: bool) -> Result<Value, Refused> {
    let unfit = |why: &str| {
        Refused::bad_request(&format!(
            "{0} in version {1:?} cannot be handled as a {0}: {why}",
            kind.kind, kind.version
        ))
    };
    let mut json = normal(kind, written.clone()).map_err(|e| unfit(&e.to_string()))?;
    let unknown = fields::unknown(written, &json);
    if strict && !unknown.is_empty() {
        return Err(unfit(&fields::in_words(&unknown)));
    }
    fields::tidy(&mut json);
    Ok(json)
}

/// Refuses an object of another name than its path has.
///
/// # Errors
///
/// Bad request.
pub(super) fn check_name(json: &Value, place: &Place) -> Result<(), Refused> {
    let text = |field: &str| json["metadata"][field].as_str().unwrap_or_default();
    let (name, namespace) = (text("name"), text("namespace"));
    let message = if name.is_empty() {
        format!("the name of the object ({} based on URL) was undeterminable: name must be provided", place.name)
    } else if name != place.name {
        format!("the name of the object ({name}) does not match the name on the URL ({})", place.name)
    } else if !namespace.is_empty() && namespace != place.namespace {
        format!(
            "the namespace of the object ({namespace}) does not match the namespace on the request ({})",
            place.namespace
        )
    } else {
        return Ok(());
    };
    Err(Refused::bad_request(&message))
}

/// Lets something new into a namespace, which must be there and not be going.
///
/// # Errors
///
/// Not found; forbidden.
pub(super) fn admit(world: &World, place: &Place, name: &str) -> Result<(), Refused> {
    let kind = place.kind();
    if !kind.namespaced {
        return Ok(());
    }
    let (number, namespace) = (number_of::<Namespace>(), &place.namespace);
    let Some(object) = world.store.object(number, &ObjectKey::new("", namespace.clone())) else {
        return Err(Refused::not_found(&KINDS[number], namespace));
    };
    if !object.is_leaving() {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut refused = Refused::forbidden(kind, name, &why);
    refused.details["causes"] = json!([{
        "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(refused)
}

/// A new object as it would be, were this no rehearsal.
fn rehearsed(world: &mut World, place: &Place, mut json: Value) -> Result<Value, Refused> {
    let text = |json: &Value, field: &str| json["metadata"][field].as_str().unwrap_or_default().to_owned();
    if text(&json, "name").is_empty() {
        let name = format!("{}{}", text(&json, "generateName"), world.store.names().suffix());
        json["metadata"]["name"] = name.into();
    }
    let name = text(&json, "name");
    if world.store.object(place.kind, &ObjectKey::new(place.namespace.clone(), name.clone())).is_some() {
        return Err(Refused::already_exists(place.kind(), &name));
    }
    json["metadata"]["uid"] = world.store.names().uid().into();
    json["metadata"]["creationTimestamp"] = serde_json::to_value(Time(seconds(world.wall()))).unwrap_or_default();
    if json.get("spec").is_some() {
        json["metadata"]["generation"] = 1.into();
    }
    Ok(json)
}

/// Puts an object in the place of the one before, as far as the request may change that.
fn write(world: &mut World, asked: &Asked, before: &Arc<Object>, json: Value) -> Result<Answer, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    let dry_run = asked.query.dry_run()?;
    check_versions(kind, before, &json)?;
    let was = before.json();
    let sent = json["metadata"].get("managedFields").cloned();
    let mut json = if place.subresource == "status" {
        let mut kept = was.clone();
        put(&mut kept, "status", json.get("status"));
        kept
    } else {
        prepared(world, before, &was, json)?
    };
    let managed = if asked.content == apply::MEDIA_TYPE {
        sent
    } else {
        let now = serde_json::to_value(world.time()).unwrap_or_default();
        apply::after_update(&was, &json, sent.as_ref(), (asked.manager.as_str(), place.subresource.as_str()), &now)
    };
    put(&mut json["metadata"], "managedFields", managed.as_ref());
    if dry_run {
        return Ok(Answer::Json(200, asked.form.shape(&json)));
    }
    let object = world.store.replace(place.kind, &before.key, json)?;
    objects::finalize(world, place.kind, &before.key);
    Ok(asked.form.answer(200, &object))
}

/// Refuses to write over what the writer has not seen.
fn check_versions(kind: &Kind, before: &Object, json: &Value) -> Result<(), Refused> {
    let text = |json: &Value, field: &str| json["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (uid, version) = (text(json, "uid"), text(json, "resourceVersion"));
    if !uid.is_empty() && uid != before.uid() {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {}", before.uid());
        return Err(Refused::conflict(kind, &before.key.name, &why));
    }
    if version.is_empty() && READ_FIRST.contains(&kind.kind) {
        let why = "Invalid value: 0: must be specified for an update".to_owned();
        return Err(Refused::invalid(kind, &before.key.name, &[("metadata.resourceVersion".to_owned(), why)]));
    }
    if !version.is_empty() && version != before.version() {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Refused::conflict(kind, &before.key.name, why));
    }
    Ok(())
}

/// What is written in the place of an object: what is the server's own stays, what is left open gets its default, and all of it is valid.
fn prepared(world: &mut World, before: &Object, was: &Value, mut json: Value) -> Result<Value, Refused> {
    let kind = &KINDS[before.kind];
    for field in
        ["uid", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        put(&mut json["metadata"], field, was["metadata"].get(field));
    }
    for field in ["managedFields", "selfLink"] {
        remove(&mut json["metadata"], field);
    }
    if kind.namespaced {
        json["metadata"]["namespace"] = before.key.namespace.clone().into();
    }
    if kind.status {
        put(&mut json, "status", was.get("status"));
    }
    if kind.kind == "Service" {
        keep_addresses(&mut json["spec"], &was["spec"]);
    }
    defaults::apply(world, before.kind, &mut json);
    let mut whole = was.clone();
    defaults::apply(world, before.kind, &mut whole);
    validate::updated(kind, &json, &whole)?;
    let mut json = settled(Some(was), Some(&whole), Some(&json)).unwrap_or_default();
    if kind.status {
        put(&mut json, "status", was.get("status"));
    }
    Ok(json)
}

/// An address that a Service was given stays its own where the writer leaves it out.
fn keep_addresses(spec: &mut Value, before: &Value) {
    for field in ["clusterIP", "clusterIPs"] {
        let is_open = spec[field].as_str().is_none_or(str::is_empty) && !spec[field].is_array();
        if is_open && spec["type"] != "ExternalName" && before["type"] != "ExternalName" {
            put(spec, field, before.get(field));
        }
    }
    let ports = before["ports"].as_array().cloned().unwrap_or_default();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let same = ports.iter().find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
        if let (Some(node_port), None) = (same.and_then(|old| old.get("nodePort")), port.get("nodePort")) {
            port["nodePort"] = node_port.clone();
        }
    }
}

/// What is new in the new, and else what was. An object that the lab made itself may lack defaults: a write must not add them to what
/// it leaves alone, or a Deployment's template would change, and roll out.
fn settled(before: Option<&Value>, whole: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    match (before, whole, new) {
        _ if whole == new => before.cloned(),
        (Some(Value::Object(before)), Some(Value::Object(whole)), Some(Value::Object(new))) => {
            let keys = before.keys().chain(new.keys());
            let field = |key: &String| Some((key.clone(), settled(before.get(key), whole.get(key), new.get(key))?));
            Some(Value::Object(keys.filter_map(field).collect()))
        }
        _ => new.cloned(),
    }
}

/// Sets a field, or takes it out.
pub(super) fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => object[field] = value.clone(),
        None => remove(object, field),
    }
}

fn remove(object: &mut Value, field: &str) {
    if let Value::Object(fields) = object {
        fields.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_adds_no_defaults_to_what_it_leaves_alone() {
        let before = json!({"spec": {"replicas": 1, "template": {"a": 1}}});
        let whole = json!({"spec": {"replicas": 1, "template": {"a": 1, "added": 2}, "more": 3}});
        let new = json!({"spec": {"replicas": 5, "template": {"a": 1, "added": 2}, "more": 3}});
        let settled = settled(Some(&before), Some(&whole), Some(&new)).unwrap();
        assert_eq!(settled, json!({"spec": {"replicas": 5, "template": {"a": 1}}}));
    }
}
