//! The objects of a twin. They are kept as text: as trees of values those of a large cluster would take ten times the memory, for as long as
//! its rehearsals run.

use serde::de::Error as _;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Objects, each as JSON in one line, which was read before it was taken in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objects(Vec<Box<str>>);

impl Objects {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, made as it is asked for.
    pub fn iter(&self) -> impl Iterator<Item = Value> {
        self.lines().map(|line| serde_json::from_str(line).unwrap_or_default())
    }

    /// Each of them as text.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// One by its number.
    pub(super) fn line(&self, index: usize) -> &str {
        &self.0[index]
    }

    /// Takes one in by its text. `None`: that is no object.
    pub(super) fn read(&mut self, line: &str) -> Option<()> {
        let object: Value = serde_json::from_str(line).ok()?;
        object.is_object().then(|| self.0.push(line.into()))
    }
}

impl FromIterator<Value> for Objects {
    fn from_iter<I: IntoIterator<Item = Value>>(objects: I) -> Self {
        Self(objects.into_iter().map(|object| object.to_string().into()).collect())
    }
}

impl Serialize for Objects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.len()))?;
        for line in self.lines() {
            all.serialize_element(&serde_json::from_str::<Value>(line).map_err(S::Error::custom)?)?;
        }
        all.end()
    }
}

impl<'de> Deserialize<'de> for Objects {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let objects = Vec::<Value>::deserialize(deserializer)?;
        if let Some(other) = objects.iter().find(|object| !object.is_object()) {
            return Err(D::Error::custom(format!("`{other}` is no object")));
        }
        Ok(objects.into_iter().collect())
    }
}
