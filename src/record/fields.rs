//! The few fields of a watched object that matter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Fields of an object as text, by their names. Cheap to clone, and small: of a large cluster thousands are kept for as long as a run
/// lasts, and as maps they would be three times the size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields(Arc<[(Cow<'static, str>, Box<str>)]>);

impl Fields {
    /// A field by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// All of them, by their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<Box<str>>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let by_name: BTreeMap<_, _> = fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self(by_name.into_iter().collect())
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_by_their_names_and_read_back() {
        let fields: Fields = [("ready", "true"), ("node", "node1")].into_iter().collect();
        let json = serde_json::to_string(&fields).unwrap();
        assert_eq!(json, r#"{"node":"node1","ready":"true"}"#);
        assert_eq!(serde_json::from_str::<Fields>(&json).unwrap(), fields);
        let twice: Fields = [("ready", "true"), ("ready", "false")].into_iter().collect();
        assert_eq!(twice.get("ready"), Some("false"), "the last one counts");
        assert_eq!(
            (fields.get("ready"), fields.get("zone"), Fields::default().get("ready")),
            (Some("true"), None, None)
        );
    }
}
