//! Objects as they were elsewhere: with their own times and generations, under new uids; and a cluster that begins with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Change, KINDS, Object, ObjectKey, Refused, Store};

impl Store {
    /// Tells nobody of what changes, until it is [announced](Self::announce).
    pub(in crate::lab) const fn be_silent(&mut self) {
        self.silent = true;
    }

    /// Tells controllers of every object as of one that was made just now, in the order in which they became what they are. Nothing is known
    /// of what was before: a cluster begins here.
    pub(in crate::lab) fn announce(&mut self) {
        self.silent = false;
        let number = |object: &Object| object.version().parse().unwrap_or(0);
        let all = self.objects.iter().flat_map(BTreeMap::values);
        let mut all: Vec<_> = all.map(|object| (number(object), Arc::clone(object))).collect();
        all.sort_by_key(|(version, _)| *version);
        let made = all.into_iter().map(|(version, object)| Change { version, before: None, after: Some(object) });
        self.unseen.extend(made);
        self.told.tell(self.version);
    }

    /// Puts an object in as it says it is: its creation time, its generation and its status are its own. Its uid is `uid`.
    ///
    /// # Errors
    ///
    /// When its name is taken, or a field can't be read.
    pub(in crate::lab) fn restore(&mut self, kind: usize, mut json: Value, uid: &str) -> Result<Arc<Object>, Refused> {
        let of = &KINDS[kind];
        (json["apiVersion"], json["kind"]) = (of.api_version().into(), of.kind.into());
        if !json["metadata"].is_object() {
            json["metadata"] = json!({});
        }
        json["metadata"]["uid"] = uid.into();
        let text = |field: &str| json["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        if self.object(kind, &key).is_some() {
            return Err(Refused::already_exists(of, &key.name));
        }
        let typed = (of.read)(json).map_err(|e| Refused::bad_request(&e.to_string()))?;
        Ok(self.put(kind, key, typed))
    }
}
