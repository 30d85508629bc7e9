//! Server-side apply: who applies a configuration owns the fields that are in it, and takes back those that no longer are.
//!
//! Account is kept of an object's fields from its first apply on; what it had before belongs to `before-first-apply`. What the lab's own
//! controllers write is in nobody's account, nor is what lies in a status or a scale applied: those are refused.

mod owners;
mod paths;
mod typed;

use serde_json::{Value, json};

pub(super) use self::owners::after_update;
use self::owners::{Owner, Owners, changed, owned};
use self::paths::{Set, shown};
use self::typed::Of;
use super::{Answer, Asked, schema, verbs};
use crate::lab::store::{Object, Refused};
use crate::lab::world::World;

/// The media type that asks for it.
pub(super) const MEDIA_TYPE: &str = "application/apply-patch+yaml";
/// Where `kubectl apply` without a server's help keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Applies a configuration.
///
/// # Errors
///
/// Conflict, and whatever the server has against the configuration or what comes of it.
pub(super) fn apply(world: &mut World, asked: &Asked) -> Result<Answer, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    if !place.subresource.is_empty() {
        let message = "the lab applies whole objects only: send a JSON, merge or strategic merge patch";
        return Err(Refused::new(415, "UnsupportedMediaType", message));
    }
    let manager = asked.query.text("fieldManager");
    if manager.is_empty() {
        return Err(verbs::unfit_option(
            "fieldManager",
            "FieldValueRequired",
            "Required value: is required for apply patch",
        ));
    }
    let mut config = configuration(asked)?;
    typed::without_nulls(&mut config);
    if kind.status
        && let Some(fields) = config.as_object_mut()
    {
        fields.remove("status");
    }
    let of = Of::named(&schema::of_kind(&kind.api_version(), kind.kind));
    check(asked, &config, of)?;
    let now = serde_json::to_value(world.time()).unwrap_or_default();
    let owner = Owner::applying(manager, &kind.api_version());
    let own: Set = owned(&config, of).into_keys().collect();
    let Some(before) = world.store.object(place.kind, &place.key()).cloned() else {
        let mut owners = Owners::default();
        owners.set(owner, own, &now);
        return verbs::create_applied(world, asked, &config, owners.written());
    };
    let merged = merged(asked, &before, &config, of, (owner, own), &now)?;
    verbs::write_applied(world, asked, &before, &merged)
}

/// The object with a configuration applied to it, and with its owners as they are then.
fn merged(
    asked: &Asked,
    before: &Object,
    config: &Value,
    of: Of,
    (owner, own): (Owner, Set),
    now: &Value,
) -> Result<Value, Refused> {
    let live = &before.json();
    let mut owners = Owners::read(&live["metadata"]["managedFields"]);
    if owners.0.is_empty() {
        owners = Owners::before_first(live, of, &owner.version, now);
    }
    let last = owners.0.get(&owner).map(|(set, _)| set.clone()).unwrap_or_default();
    owners.set(owner.clone(), own, now);
    let mut merged = typed::merge(Some(live), config, of);
    let kept = typed::with_parents(&owners.all(), of);
    for path in typed::with_parents(&last, of).difference(&kept) {
        typed::remove(&mut merged, of, path);
    }
    let (changed, removed) = changed(live, &merged, of);
    let conflicts: Vec<(Owner, Set)> = owners
        .0
        .iter()
        .filter(|(other, _)| **other != owner)
        .map(|(other, (set, _))| (other.clone(), set.intersection(&changed).cloned().collect()))
        .filter(|(_, fields): &(Owner, Set)| !fields.is_empty())
        .collect();
    let conflicts = if asked.query.flag("force") { Vec::new() } else { not_its_own(conflicts, live, &owner, of) };
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    owners.take(&changed, Some(&owner), now);
    owners.take(&removed, Some(&owner), now);
    merged["metadata"]["managedFields"] = owners.written();
    Ok(merged)
}

/// The configuration that is sent.
fn configuration(asked: &Asked) -> Result<Value, Refused> {
    let (place, kind) = (&asked.place, asked.place.kind());
    let config: Value = serde_yaml::from_str(&String::from_utf8_lossy(&asked.body))
        .map_err(|e| Refused::bad_request(&format!("error decoding YAML: {e}")))?;
    let text = |field: &str| config[field].as_str().unwrap_or_default();
    let (version, said) = (text("apiVersion"), text("kind"));
    if version != kind.api_version() || said != kind.kind {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        return Err(Refused::bad_request(&format!("invalid object type: {group}/{version}, Kind={said}")));
    }
    if config["metadata"].get("managedFields").is_some_and(|managed| !managed.is_null()) {
        return Err(Refused::bad_request("metadata.managedFields must be nil"));
    }
    verbs::check_name(&config, place)?;
    Ok(config)
}

/// Refuses fields that the kind does not have.
fn check(asked: &Asked, config: &Value, of: Of) -> Result<(), Refused> {
    let mut fields = config.clone();
    if let Some(fields) = fields.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "apiVersion" | "kind"));
    }
    typed::check(&fields, of, &mut Vec::new()).map_err(|why| {
        let (kind, text) = (asked.place.kind(), |field: &str| config["metadata"][field].as_str().unwrap_or_default());
        let which = format!("{}/{}; {}, Kind={}", text("namespace"), text("name"), kind.api_version(), kind.kind);
        Refused::new(500, "", format!("failed to create typed patch object ({which}): {why}"))
    })
}

/// What is in the way, unless all of it was applied by kubectl itself before the server did: then it only changes its own.
fn not_its_own(conflicts: Vec<(Owner, Set)>, live: &Value, owner: &Owner, of: Of) -> Vec<(Owner, Set)> {
    let last = live["metadata"]["annotations"][LAST_APPLIED].as_str();
    let last: Option<Value> =
        last.filter(|_| owner.manager == "kubectl").and_then(|last| serde_json::from_str(last).ok());
    let Some(last) = last else { return conflicts };
    let mine = owned(&last, of);
    let rest = conflicts.into_iter().map(|(other, mut fields)| {
        fields.retain(|path| !mine.contains_key(path));
        (other, fields)
    });
    rest.filter(|(_, fields)| !fields.is_empty()).collect()
}

fn conflict(conflicts: &[(Owner, Set)]) -> Refused {
    let count: usize = conflicts.iter().map(|(_, fields)| fields.len()).sum();
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(owner, fields)| fields.iter().map(move |path| (owner, path)))
        .map(|(owner, path)| {
            let message = format!("conflict with {}", owner.shown());
            json!({"reason": "FieldManagerConflict", "message": message, "field": shown(path)})
        })
        .collect();
    let message = if let ([(owner, fields)], 1) = (conflicts, count) {
        let field = fields.iter().map(|path| shown(path)).collect::<String>();
        format!("Apply failed with 1 conflict: conflict with {}: {field}", owner.shown())
    } else {
        let each = conflicts.iter().map(|(owner, fields)| {
            let fields: Vec<_> = fields.iter().map(|path| shown(path)).collect();
            format!("conflicts with {}:\n- {}", owner.shown(), fields.join("\n- "))
        });
        format!("Apply failed with {count} conflicts: {}", each.collect::<Vec<_>>().join("\n"))
    };
    Refused { details: json!({"causes": causes}), ..Refused::new(409, "Conflict", message) }
}
