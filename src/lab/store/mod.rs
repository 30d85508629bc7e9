//! What etcd is to a cluster: every object with its version, and what changed, in order.
//!
//! Nothing here knows what a kind means. Objects are kept in their Rust type and as the API writes them; a change is seen by watches and
//! controllers alike, and only after it happened.

mod key;
mod kinds;
mod labels;
mod names;
mod object;
mod refused;
mod restored;
#[cfg(test)]
mod tests;
mod told;

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use self::key::Keyed;
pub(in crate::lab) use self::key::ObjectKey;
pub(in crate::lab) use self::kinds::{KINDS, Kind, Stored, at, named, number_of};
pub(in crate::lab) use self::names::Names;
pub(in crate::lab) use self::object::Object;
pub(in crate::lab) use self::refused::Refused;
pub(in crate::lab) use self::told::Listener;
use self::told::Teller;

/// Changes kept for watches that are behind; a watch from before them is told that it is too old, as etcd's compaction does.
const KEPT: usize = 4_000;

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
    /// By the uids of their owners.
    owned: BTreeMap<String, BTreeMap<(usize, ObjectKey), Arc<Object>>>,
    /// Pods by their nodes.
    on_node: BTreeMap<String, BTreeMap<ObjectKey, Arc<Object>>>,
    labelled: labels::Labels,
    version: u64,
    history: VecDeque<Change>,
    unseen: VecDeque<Change>,
    told: Teller,
    names: Names,
    /// Whether nobody is told of changes yet.
    silent: bool,
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
            silent: false,
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
        self.objects.get(number_of::<K>())?.get(&(namespace, name) as &dyn Keyed)?.typed()
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
        let owned = self.owned.get(uid).into_iter().flatten().filter(|((of, _), _)| *of == kind);
        owned.filter_map(|(_, object)| object.typed()).collect()
    }

    /// All objects that name the object of this uid as an owner.
    pub(in crate::lab) fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.owned.get(uid).into_iter().flatten().map(|(_, object)| Arc::clone(object)).collect()
    }

    /// The pods that are bound to a node, also those that are over.
    pub(in crate::lab) fn pods_on(&self, node: &str) -> Vec<Arc<k8s_openapi::api::core::v1::Pod>> {
        self.on_node.get(node).into_iter().flatten().filter_map(|(_, object)| object.typed()).collect()
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
        (json["apiVersion"], json["kind"]) = (of.api_version().into(), of.kind.into());
        let typed = (of.read)(json).map_err(|e| Refused::bad_request(&e.to_string()))?;
        Ok(self.begin(kind, key, typed, now))
    }

    /// Puts a new object in.
    fn begin(&mut self, kind: usize, key: ObjectKey, mut typed: Box<dyn Stored>, now: Timestamp) -> Arc<Object> {
        let has_spec = (KINDS[kind].has_spec)(&*typed);
        let meta = typed.meta_mut();
        meta.uid = Some(self.names.uid());
        meta.creation_timestamp = Some(Time(seconds(now)));
        (meta.deletion_timestamp, meta.deletion_grace_period_seconds) = (None, None);
        if has_spec {
            meta.generation = Some(1);
        }
        self.put(kind, key, typed)
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
        (json["apiVersion"], json["kind"]) = (of.api_version().into(), of.kind.into());
        let typed = (of.read)(json).map_err(|e| Refused::bad_request(&e.to_string()))?;
        Ok(self.supersede(&before, typed))
    }

    fn supersede(&mut self, before: &Arc<Object>, mut typed: Box<dyn Stored>) -> Arc<Object> {
        let (was, meta) = (before.meta(), typed.meta_mut());
        (meta.uid, meta.creation_timestamp) = (was.uid.clone(), was.creation_timestamp.clone());
        (meta.name, meta.namespace) = (was.name.clone(), was.namespace.clone());
        (meta.resource_version, meta.generation) = (was.resource_version.clone(), was.generation);
        let leaves = meta.deletion_timestamp.is_some() && was.deletion_timestamp.is_none();
        if typed.is_same(&*before.typed) {
            return Arc::clone(before);
        }
        if leaves || !(KINDS[before.kind].same_spec)(&*typed, &*before.typed) {
            typed.meta_mut().generation = was.generation.map(|generation| generation + 1);
        }
        self.put(before.kind, before.key.clone(), typed)
    }

    /// Changes an object in its Rust type; nothing happens when it is not there. What `change` leaves as it was makes no version.
    pub(in crate::lab) fn update<K>(
        &mut self,
        namespace: &str,
        name: &str,
        change: impl FnOnce(&mut K),
    ) -> Option<Arc<K>>
    where
        K: k8s_openapi::Resource + Stored + Clone,
    {
        let before = self.object(number_of::<K>(), &ObjectKey::new(namespace, name)).cloned()?;
        let mut object = Box::new(before.seen::<K>()?.clone());
        change(&mut object);
        self.supersede(&before, object).typed()
    }

    /// Changes the metadata of an object of any kind, if it is still there.
    pub(in crate::lab) fn update_meta(
        &mut self,
        object: &Object,
        change: impl FnOnce(&mut ObjectMeta),
    ) -> Option<Arc<Object>> {
        let before = self.object(object.kind, &object.key).cloned()?;
        let mut typed = before.typed.copied();
        change(typed.meta_mut());
        Some(self.supersede(&before, typed))
    }

    /// Creates an object of a Rust type, which names itself.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub(in crate::lab) fn add<K>(&mut self, object: &K, now: Timestamp) -> Result<Arc<K>, Refused>
    where
        K: k8s_openapi::Resource + Stored + Serialize,
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
        let mut typed = before.typed.copied();
        typed.meta_mut().resource_version = Some(self.version.to_string());
        let last = Arc::new(Object::new(kind, key.clone(), typed));
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

    fn put(&mut self, kind: usize, key: ObjectKey, mut typed: Box<dyn Stored>) -> Arc<Object> {
        typed.meta_mut().resource_version = Some((self.version + 1).to_string());
        let object = Object::new(kind, key.clone(), typed);
        #[cfg(test)]
        tests::assert_keeps_what_it_writes(&object);
        self.version += 1;
        let object = Arc::new(object);
        let before = self.objects[kind].insert(key.clone(), Arc::clone(&object));
        // Where it stands in the indexes as it did, it takes the place of what it was.
        if let Some(before) = before.as_ref().filter(|was| was.node() != object.node() || labels::moved(was, &object)) {
            self.forget(before);
        }
        for owner in object.owners() {
            self.owned.entry(owner.uid.clone()).or_default().insert((kind, key.clone()), Arc::clone(&object));
        }
        if kind == number_of::<Pod>() {
            self.labelled.add(&object);
        }
        if let Some(node) = object.node() {
            self.on_node.entry(node.to_owned()).or_default().insert(key, Arc::clone(&object));
        }
        self.tell(Change { version: self.version, before, after: Some(Arc::clone(&object)) });
        object
    }

    /// Takes an object out of the indexes.
    fn forget(&mut self, object: &Object) {
        if object.kind == number_of::<Pod>() {
            self.labelled.forget(object);
        }
        for owner in object.owners() {
            if let Some(all) = self.owned.get_mut(&owner.uid) {
                all.remove(&(object.kind, object.key.clone()));
                if all.is_empty() {
                    self.owned.remove(&owner.uid);
                }
            }
        }
        if let Some(all) = object.node().and_then(|node| self.on_node.get_mut(node)) {
            all.remove(&object.key);
        }
    }

    fn tell(&mut self, change: Change) {
        if self.silent {
            return;
        }
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
