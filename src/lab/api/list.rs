//! Lists: all of a kind, page by page, each list of one version.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::query::Query;
use super::select::Filter;
use super::{Answer, Asked};
use crate::lab::store::{Object, ObjectKey, Refused, Store};
use crate::lab::world::World;

/// Where a list goes on: its version, and the last key that was told.
type Place = (u64, ObjectKey);

/// A list, or a page of it.
///
/// # Errors
///
/// When the selectors, the version or the token can't be had.
pub(super) fn list(world: &World, asked: &Asked) -> Result<Answer, Refused> {
    let (place, query) = (&asked.place, &asked.query);
    let filter = Filter::read(place, query)?;
    let from = Some(query.text("continue")).filter(|token| !token.is_empty()).map(place_of).transpose()?;
    let version = match &from {
        Some(_) if !matches!(query.text("resourceVersion"), "" | "0") => {
            return Err(Refused::bad_request("specifying resource version is not allowed when using continue"));
        }
        Some((version, _)) => *version,
        None => version_of(&world.store, query)?,
    };
    let objects =
        at(&world.store, place.kind, version).ok_or_else(|| expired(from.is_some(), version, &world.store))?;
    let after = from.map(|(_, key)| key);
    let mut rest = objects
        .values()
        .filter(|object| filter.takes(object))
        .filter(|object| after.as_ref().is_none_or(|key| object.key > *key));
    let limit = query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    // What comes from the server's cache comes whole.
    let limit = limit.filter(|_| query.text("resourceVersion") != "0").unwrap_or(usize::MAX);
    let items: Vec<&Arc<Object>> = rest.by_ref().take(limit).collect();
    let remaining = rest.count();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if let (Some(last), true) = (items.last(), remaining > 0) {
        metadata["continue"] = token(&(version, last.key.clone())).into();
        if filter.takes_all() {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    Ok(asked.form.list(place.kind(), &metadata, &items))
}

/// The version that a list is of: the latest, unless it must be another.
fn version_of(store: &Store, query: &Query) -> Result<u64, Refused> {
    let (text, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    let refused = |why: &str| {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: {why}");
        Err(Refused::new(422, "Invalid", message))
    };
    match matching {
        "" | "NotOlderThan" | "Exact" if text.is_empty() && !matching.is_empty() => {
            refused("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        "Exact" if text == "0" => {
            refused("Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"")
        }
        "" | "NotOlderThan" => {
            not_newer(store, parse(text)?)?;
            Ok(store.version())
        }
        "Exact" => {
            let version = parse(text)?;
            not_newer(store, version)?;
            Ok(version)
        }
        other => refused(&format!("Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\"")),
    }
}

/// A version as text; none is 0.
///
/// # Errors
///
/// When it is none.
pub(super) fn parse(text: &str) -> Result<u64, Refused> {
    let wrong = |_| {
        Refused::bad_request(&format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"))
    };
    if text.is_empty() { Ok(0) } else { text.parse().map_err(wrong) }
}

fn not_newer(store: &Store, version: u64) -> Result<(), Refused> {
    if version <= store.version() {
        return Ok(());
    }
    let message = format!("Too large resource version: {version}, current: {}", store.version());
    let causes = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
    let details = json!({"causes": causes, "retryAfterSeconds": 1});
    Err(Refused { details, ..Refused::new(504, "Timeout", message) })
}

/// All objects of a kind as they were at a version: what changed since then, taken back. `None`: that is not known any more.
fn at(store: &Store, kind: usize, version: u64) -> Option<BTreeMap<ObjectKey, Arc<Object>>> {
    let mut objects: BTreeMap<_, _> =
        store.objects(kind, None).map(|object| (object.key.clone(), Arc::clone(object))).collect();
    if version == store.version() {
        return Some(objects);
    }
    let changes: Vec<_> = store.since(version)?.filter(|change| change.object().kind == kind).collect();
    for change in changes.into_iter().rev() {
        let key = &change.object().key;
        match &change.before {
            Some(before) => drop(objects.insert(key.clone(), Arc::clone(before))),
            None => drop(objects.remove(key)),
        }
    }
    Some(objects)
}

fn expired(continued: bool, version: u64, store: &Store) -> Refused {
    let message = if continued {
        "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue \
         parameter."
            .to_owned()
    } else {
        format!("The resourceVersion for the provided list is too old: {version} (current {})", store.version())
    };
    Refused::new(410, "Expired", message)
}

fn token((version, key): &Place) -> String {
    let start = format!("{}/{}", key.namespace, key.name);
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": version, "start": start}).to_string())
}

fn place_of(token: &str) -> Result<Place, Refused> {
    let read = || {
        let token: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (namespace, name) = token["start"].as_str()?.split_once('/')?;
        Some((token["rv"].as_u64()?, ObjectKey::new(namespace, name)))
    };
    read().ok_or_else(|| Refused::bad_request("continue key is not valid: it was not given by this server"))
}
