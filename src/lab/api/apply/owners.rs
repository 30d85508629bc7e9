//! Who manages which fields of an object: `metadata.managedFields`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::paths::{self, Path, Set, Step};
use super::typed::{self, Of};
use crate::lab::api::schema;

/// Who owned what an object had before it was first applied.
const BEFORE: &str = "before-first-apply";
/// Fields of every object's metadata that nobody owns.
const NOBODYS: [&str; 8] =
    ["name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"];

/// One who manages fields, in one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// `Apply` comes before `Update`.
    pub operation: String,
    pub manager: String,
    /// `status`, `scale`; empty without one.
    pub subresource: String,
    pub version: String,
}

impl Owner {
    pub(super) fn applying(manager: &str, version: &str) -> Self {
        let [operation, manager, version] = ["Apply", manager, version].map(ToOwned::to_owned);
        Self { operation, manager, subresource: String::new(), version }
    }

    fn updating(manager: &str, subresource: &str, version: &str) -> Self {
        let [operation, manager, subresource, version] =
            ["Update", manager, subresource, version].map(ToOwned::to_owned);
        Self { operation, manager, subresource, version }
    }

    /// As a conflict names it.
    pub(super) fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {:?}", self.subresource);
        }
        if self.operation == "Update" {
            shown = format!("{shown} using {}", self.version);
        }
        shown
    }
}

/// All of them, with their fields, and the time of their last change.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Owners(pub BTreeMap<Owner, (Set, Value)>);

/// The fields of an object that somebody can own, with what stands in them.
pub(super) fn owned(object: &Value, of: Of) -> BTreeMap<Path, Option<Value>> {
    let mut all = typed::fields(object, of);
    all.retain(|path, _| match path.as_slice() {
        [Step::Field(field)] => !matches!(field.as_str(), "apiVersion" | "kind" | "metadata"),
        [Step::Field(meta), Step::Field(field), ..] if meta == "metadata" => !NOBODYS.contains(&field.as_str()),
        _ => true,
    });
    all
}

/// The paths whose content is not the same, or is not there in the first.
pub(super) fn changed(before: &Value, after: &Value, of: Of) -> (Set, Set) {
    let (before, after) = (owned(before, of), owned(after, of));
    let changed = after.iter().filter(|(path, value)| before.get(*path) != Some(*value)).map(|(path, _)| path.clone());
    let removed = before.keys().filter(|path| !after.contains_key(*path)).cloned().collect();
    (changed.collect(), removed)
}

impl Owners {
    /// Those that an object names.
    pub(super) fn read(managed: &Value) -> Self {
        let entry = |entry: &Value| {
            let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
            let owner = Owner {
                operation: text("operation"),
                manager: text("manager"),
                subresource: text("subresource"),
                version: text("apiVersion"),
            };
            let set = paths::read(&entry["fieldsV1"]);
            (!set.is_empty()).then(|| (owner, (set, entry["time"].clone())))
        };
        Self(managed.as_array().into_iter().flatten().filter_map(entry).collect())
    }

    /// Those of an object that nobody ever applied.
    pub(super) fn before_first(object: &Value, of: Of, version: &str, now: &Value) -> Self {
        let set: Set = owned(object, of).into_keys().collect();
        Self(BTreeMap::from([(Owner::updating(BEFORE, "", version), (set, now.clone()))]))
    }

    /// Everything that anybody owns.
    pub(super) fn all(&self) -> Set {
        self.0.values().flat_map(|(set, _)| set.iter().cloned()).collect()
    }

    /// Gives one the fields that it has from now on.
    pub(super) fn set(&mut self, owner: Owner, set: Set, now: &Value) {
        if set.is_empty() {
            self.0.remove(&owner);
        } else if self.0.get(&owner).is_none_or(|(before, _)| *before != set) {
            self.0.insert(owner, (set, now.clone()));
        }
    }

    /// Takes fields from all but one.
    pub(super) fn take(&mut self, fields: &Set, but: Option<&Owner>, now: &Value) {
        for (owner, (set, time)) in &mut self.0 {
            let before = set.len();
            if Some(owner) != but {
                set.retain(|path| !fields.contains(path));
            }
            if set.len() != before {
                *time = now.clone();
            }
        }
        self.0.retain(|_, (set, _)| !set.is_empty());
    }

    /// As an object has them.
    pub(super) fn written(&self) -> Value {
        let entry = |(owner, (set, time)): (&Owner, &(Set, Value))| {
            let mut entry = json!({
                "manager": owner.manager, "operation": owner.operation, "apiVersion": owner.version, "time": time,
                "fieldsType": "FieldsV1", "fieldsV1": paths::written(set),
            });
            if !owner.subresource.is_empty() {
                entry["subresource"] = owner.subresource.clone().into();
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }
}

/// Who manages what after an object was written otherwise than by an apply. Objects that nobody applied are not kept account of: what they
/// have is taken to be from before the first apply, when that comes. `sent`: what the writer says itself, where that is anything.
pub(in crate::lab::api) fn after_update(
    before: &Value,
    after: &Value,
    sent: Option<&Value>,
    by: (&str, &str),
    now: &Value,
) -> Option<Value> {
    let text = |field: &str| before[field].as_str().unwrap_or_default();
    let known = sent.filter(|sent| sent.is_array()).or_else(|| before["metadata"].get("managedFields"))?;
    let mut owners = Owners::read(known);
    if owners.0.is_empty() {
        return None;
    }
    let of = Of::named(&schema::of_kind(text("apiVersion"), text("kind")));
    let (changed, removed) = changed(before, after, of);
    let owner = Owner::updating(by.0, by.1, text("apiVersion"));
    let mut own = owners.0.get(&owner).map(|(set, _)| set.clone()).unwrap_or_default();
    own.extend(changed.iter().cloned());
    owners.set(owner.clone(), own, now);
    owners.take(&changed, Some(&owner), now);
    owners.take(&removed, None, now);
    Some(owners.written())
}
