//! Objects as they were elsewhere: with their own times and generations, under new uids.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{KINDS, Object, ObjectKey, Refused, Store};

impl Store {
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
        self.put(kind, key, typed)
    }
}
