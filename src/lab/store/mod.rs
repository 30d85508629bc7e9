//! What etcd is to a cluster: every object with its version, and what changed, in order.
//!
//! Nothing here knows what a kind means. Objects are kept in their Rust type and as the API writes them; a change is seen by watches and
//! controllers alike, and only after it happened.

mod kinds;
mod labels;
mod names;
mod refused;
mod restored;
#[cfg(test)]
mod tests;
mod told;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

pub(in crate::lab) use self::kinds::{KINDS, Kind, at, named, number_of};
pub(in crate::lab) use self::names::Names;
pub(in crate::lab) use self::refused::Refused;
pub(in crate::lab) use self::told::Listener;
use self::told::Teller;

/// Changes kept for watches that are behind; a watch from before them is told that it is too old, as etcd's compaction does.
const KEPT: usize = 4_000;

/// Namespace (empty where the kind has none) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lab) struct ObjectKey {
    pub namespace: String,
    pub name: String,
}

impl ObjectKey {
    pub(in crate::lab) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// An object as it was at one version.
#[derive(Debug)]
pub(in crate::lab) struct Object {
    /// Its kind's number in [`KINDS`].
    pub kind: usize,
    pub key: ObjectKey,
    /// As the API writes it, `apiVersion` and `kind` included.
    pub json: Value,
    typed: Arc<dyn Any + Send + Sync>,
}

impl Object {
    /// In its Rust type. `None`: it is of another kind.
    pub(in crate::lab) fn typed<K: Any + Send + Sync>(&self) -> Option<Arc<K>> {
        Arc::clone(&self.typed).downcast::<K>().ok()
    }

    /// Text of a field, by JSON pointer.
    pub(in crate::lab) fn text(&self, pointer: &str) -> &str {
        self.json.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(in crate::lab) fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }

    /// The version at which it became so.
    #[cfg(test)]
    pub(in crate::lab) fn version(&self) -> u64 {
        self.text("/metadata/resourceVersion").parse().unwrap()
    }

    /// Whether somebody asked for its deletion.
    pub(in crate::lab) fn is_leaving(&self) -> bool {
        self.json.pointer("/metadata/deletionTimestamp").is_some()
    }

    fn owners(&self) -> impl Iterator<Item = &str> {
        let owners = self.json.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        owners.into_iter().flatten().filter_map(|owner| owner.get("uid")?.as_str())
    }
}

/// Something that changed.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Change {
    /// The version that it made.
    pub version: u64,
    /// What was; `None`: it was created.
    pub before: Option<Arc<Object>>,
    /// What is; `None`: it is gone.
    pub after: Option<Arc<Object>>,
}

impl Change {
    /// The object as it is, or as it last was.
    pub(in crate::lab) fn object(&self) -> &Arc<Object> {
        match (&self.after, &self.before) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change is of something"),
        }
    }

    /// What is, in its Rust type.
    pub(in crate::lab) fn now<K: Any + Send + Sync>(&self) -> Option<Arc<K>> {
        self.after.as_ref()?.typed()
    }

    /// What was, in its Rust type.
    pub(in crate::lab) fn was<K: Any + Send + Sync>(&self) -> Option<Arc<K>> {
        self.before.as_ref()?.typed()
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lab) struct Store {
    objects: Vec<BTreeMap<ObjectKey, Arc<Object>>>,
    owned: BTreeMap<String, BTreeSet<(usize, ObjectKey)>>,
    on_node: BTreeMap<String, BTreeSet<ObjectKey>>,
    labelled: labels::Labels,
    version: u64,
    history: VecDeque<Change>,
    unseen: VecDeque<Change>,
    told: Teller,
    names: Names,
}

impl Store {
    pub(in crate::lab) fn new(seed: u64) -> Self {
        Self {
            objects: KINDS.iter().map(|_| BTreeMap::new()).collect(),
            owned: BTreeMap::new(),
            on_node: BTreeMap::new(),
            labelled: labels::Labels::default(),
            version: 1,
            history: VecDeque::new(),
            unseen: VecDeque::new(),
            told: Teller::new(1),
            names: Names::new(seed),
        }
    }

    /// The version of the last change.
    pub(in crate::lab) const fn version(&self) -> u64 {
        self.version
    }

    /// Tells the version of every change as it happens.
    pub(in crate::lab) fn told(&self) -> Listener {
        self.told.listener()
    }

    /// A random suffix as `generateName` gives it, and uids.
    pub(in crate::lab) const fn names(&mut self) -> &mut Names {
        &mut self.names
    }

    /// An object of a kind by its number.
    pub(in crate::lab) fn object(&self, kind: usize, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(kind)?.get(key)
    }

    /// All objects of a kind by its number, in order of their keys: of one namespace, or of all.
    pub(in crate::lab) fn objects<'a>(
        &'a self,
        kind: usize,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let from = ObjectKey::new(namespace.unwrap_or_default(), "");
        let all = self.objects.get(kind).into_iter().flat_map(move |all| all.range(from.clone()..));
        all.map(|(_, object)| object).take_while(move |object| namespace.is_none_or(|n| object.key.namespace == n))
    }

    /// An object in its Rust type.
    pub(in crate::lab) fn get<K: k8s_openapi::Resource + Any + Send + Sync>(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<K>> {
        self.object(number_of::<K>(), &ObjectKey::new(namespace, name))?.typed()
    }

    /// All objects of a Rust type: of one namespace, or of all.
    pub(in crate::lab) fn list<'a, K: k8s_openapi::Resource + Any + Send + Sync>(
        &'a self,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = Arc<K>> + 'a {
        self.objects(number_of::<K>(), namespace).filter_map(|object| object.typed())
    }

    /// The objects of a Rust type that name the object of this uid as an owner, controller or not.
    pub(in crate::lab) fn owned<K: k8s_openapi::Resource + Any + Send + Sync>(&self, uid: &str) -> Vec<Arc<K>> {
        let kind = number_of::<K>();
        let keys = self.owned.get(uid).into_iter().flatten().filter(|(of, _)| *of == kind);
        keys.filter_map(|(_, key)| self.object(kind, key)?.typed()).collect()
    }

    /// All objects that name the object of this uid as an owner.
    pub(in crate::lab) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        let keys = self.owned.get(uid).into_iter().flatten();
        keys.filter_map(|(kind, key)| self.object(*kind, key).cloned()).collect()
    }

    /// The pods that are bound to a node, also those that are over.
    pub(in crate::lab) fn pods_on(&self, node: &str) -> Vec<Arc<k8s_openapi::api::core::v1::Pod>> {
        let keys = self.on_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.get(&key.namespace, &key.name)).collect()
    }

    /// Creates an object: gives it uid, time, version, generation, and a name where it asks for one.
    ///
    /// # Errors
    ///
    /// What the API server would answer: the name is taken, the namespace is not there, a field can't be read.
    pub(in crate::lab) fn create(
        &mut self,
        kind: usize,
        mut json: Value,
        now: Timestamp,
    ) -> Result<Arc<Object>, Refused> {
        let of = &KINDS[kind];
        let prefix = json.pointer("/metadata/generateName").and_then(Value::as_str).map(str::to_owned);
        if !json.is_object() {
            return Err(Refused::bad_request("the body is no object"));
        }
        let meta = json.as_object_mut().map(|object| object.entry("metadata").or_insert_with(|| json!({})));
        let Some(Value::Object(meta)) = meta else { return Err(Refused::bad_request("metadata is no object")) };
        if !of.namespaced {
            meta.remove("namespace");
        }
        if let (Some(prefix), None) = (prefix, meta.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()))
        {
            meta.insert("name".to_owned(), format!("{prefix}{}", self.names.suffix()).into());
        }
        let text = |field: &str| meta.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        if self.objects[kind].contains_key(&key) {
            return Err(Refused::already_exists(of, &key.name));
        }
        if of.namespaced {
            self.namespace_takes(of, &key)?;
        }
        meta.insert("uid".to_owned(), self.names.uid().into());
        meta.insert("creationTimestamp".to_owned(), serde_json::to_value(Time(seconds(now))).unwrap_or_default());
        meta.remove("deletionTimestamp");
        meta.remove("deletionGracePeriodSeconds");
        if json.get("spec").is_some() {
            json["metadata"]["generation"] = 1.into();
        }
        self.put(kind, key, json)
    }

    fn namespace_takes(&self, of: &Kind, key: &ObjectKey) -> Result<(), Refused> {
        let namespaces = number_of::<k8s_openapi::api::core::v1::Namespace>();
        match self.object(namespaces, &ObjectKey::new("", &key.namespace)) {
            None => Err(Refused::not_found(&KINDS[namespaces], &key.namespace)),
            Some(namespace) if namespace.is_leaving() => Err(Refused::forbidden(
                of,
                &key.name,
                &format!("unable to create new content in namespace {} because it is being terminated", key.namespace),
            )),
            Some(_) => Ok(()),
        }
    }

    /// Puts an object in the place of the one of its key, which must be there. What did not change makes no version; a changed spec
    /// makes a generation. Uid, creation time and version are the store's own, whatever `json` says.
    ///
    /// # Errors
    ///
    /// Not found; a field can't be read.
    pub(in crate::lab) fn replace(
        &mut self,
        kind: usize,
        key: &ObjectKey,
        mut json: Value,
    ) -> Result<Arc<Object>, Refused> {
        let of = &KINDS[kind];
        let before = self.object(kind, key).cloned().ok_or_else(|| Refused::not_found(of, &key.name))?;
        for field in ["uid", "creationTimestamp", "resourceVersion", "name", "namespace", "generation"] {
            let kept = before.json["metadata"].get(field).cloned();
            let meta = json["metadata"].as_object_mut().ok_or_else(|| Refused::bad_request("metadata is no object"))?;
            match kept {
                Some(kept) => drop(meta.insert(field.to_owned(), kept)),
                None => drop(meta.remove(field)),
            }
        }
        let (typed, written) = (of.read)(json).map_err(|e| Refused::bad_request(&e.to_string()))?;
        if written == before.json {
            return Ok(before);
        }
        let mut written = written;
        let spec = |object: &Value| object.get("spec").cloned();
        let leaves = written.pointer("/metadata/deletionTimestamp").is_some() && !before.is_leaving();
        if spec(&written) != spec(&before.json) || leaves {
            let generation = before.json["metadata"]["generation"].as_i64();
            if let Some(generation) = generation {
                written["metadata"]["generation"] = (generation + 1).into();
            }
        }
        drop(typed);
        self.put(kind, key.clone(), written)
    }

    /// Changes an object in its Rust type; nothing happens when it is not there. What `change` leaves as it was makes no version.
    pub(in crate::lab) fn update<K>(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut K),
    ) -> Option<Arc<K>>
    where
        K: k8s_openapi::Resource + Any + Send + Sync + Clone + Serialize,
    {
        let mut object = K::clone(&*self.get::<K>(namespace, name)?);
        change(&mut object);
        let json = serde_json::to_value(&object).ok()?;
        self.replace(number_of::<K>(), &ObjectKey::new(namespace, name), json).ok()?.typed()
    }

    /// Creates an object of a Rust type.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub(in crate::lab) fn add<K>(&mut self, object: &K, now: Timestamp) -> Result<Arc<K>, Refused>
    where
        K: k8s_openapi::Resource + Any + Send + Sync + Serialize,
    {
        let json = serde_json::to_value(object).map_err(|e| Refused::bad_request(&e.to_string()))?;
        let object = self.create(number_of::<K>(), json, now)?;
        object.typed().ok_or_else(|| Refused::bad_request("the type is another"))
    }

    /// Takes an object away at once, whatever its finalizers say.
    pub(in crate::lab) fn remove(&mut self, kind: usize, key: &ObjectKey) -> Option<Arc<Object>> {
        let before = self.objects.get_mut(kind)?.remove(key)?;
        self.forget(&before);
        self.version += 1;
        // A watch is told the object as it last was, with the version at which it went.
        let mut json = before.json.clone();
        json["metadata"]["resourceVersion"] = self.version.to_string().into();
        let last = Arc::new(Object { kind, key: key.clone(), json, typed: Arc::clone(&before.typed) });
        self.tell(Change { version: self.version, before: Some(Arc::clone(&last)), after: None });
        Some(last)
    }

    /// What changed after a version, in order. `None`: too long ago to be known.
    pub(in crate::lab) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        let oldest = self.history.front().map_or(self.version + 1, |change| change.version);
        let from = self.history.partition_point(|change| change.version <= version);
        (version + 1 >= oldest || version >= self.version).then(|| self.history.range(from..))
    }

    /// The next change that the controllers have not seen.
    pub(in crate::lab) fn unseen(&mut self) -> Option<Change> {
        self.unseen.pop_front()
    }

    /// Forgets all history, as compaction does: watches from before are too old.
    #[cfg(test)]
    pub(in crate::lab) fn compact(&mut self) {
        self.history.clear();
    }

    fn put(&mut self, kind: usize, key: ObjectKey, mut json: Value) -> Result<Arc<Object>, Refused> {
        let of = &KINDS[kind];
        json["apiVersion"] = of.api_version().into();
        json["kind"] = of.kind.into();
        json["metadata"]["resourceVersion"] = (self.version + 1).to_string().into();
        let (typed, json) = (of.read)(json).map_err(|e| Refused::bad_request(&e.to_string()))?;
        self.version += 1;
        let object = Arc::new(Object { kind, key: key.clone(), json, typed });
        let before = self.objects[kind].insert(key.clone(), Arc::clone(&object));
        if let Some(before) = &before {
            self.forget(before);
        }
        for owner in object.owners() {
            self.owned.entry(owner.to_owned()).or_default().insert((kind, key.clone()));
        }
        self.labelled.add(&object);
        let node = object.text("/spec/nodeName");
        if KINDS[kind].kind == "Pod" && !node.is_empty() {
            self.on_node.entry(node.to_owned()).or_default().insert(key);
        }
        self.tell(Change { version: self.version, before, after: Some(Arc::clone(&object)) });
        Ok(object)
    }

    /// Takes an object out of the indexes.
    fn forget(&mut self, object: &Object) {
        self.labelled.forget(object);
        for owner in object.owners() {
            if let Some(all) = self.owned.get_mut(owner) {
                all.remove(&(object.kind, object.key.clone()));
                if all.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
        if KINDS[object.kind].kind == "Pod"
            && let Some(all) = self.on_node.get_mut(object.text("/spec/nodeName"))
        {
            all.remove(&object.key);
        }
    }

    fn tell(&mut self, change: Change) {
        if self.history.len() == KEPT {
            self.history.pop_front();
        }
        self.history.push_back(change.clone());
        self.unseen.push_back(change);
        self.told.tell(self.version);
    }
}

/// The API keeps whole seconds.
pub(in crate::lab) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// The owner that controls an object, if one does.
pub(in crate::lab) fn controller_of(owners: Option<&Vec<OwnerReference>>) -> Option<&OwnerReference> {
    owners.into_iter().flatten().find(|owner| owner.controller == Some(true))
}
