//! Sets of fields, as server-side apply writes down who manages what.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// One step from an object to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Into a field, or an entry of a map.
    Field(String),
    /// To the element of a list that these fields tell apart: JSON, its keys in order.
    Key(String),
    /// To a word of a set: JSON.
    Word(String),
}

/// The way to a part of an object.
pub(super) type Path = Vec<Step>;
pub(super) type Set = BTreeSet<Path>;

impl Step {
    fn written(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(key) => format!("k:{key}"),
            Self::Word(word) => format!("v:{word}"),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => Some(Self::Key(rest.to_owned())),
            "v" => Some(Self::Word(rest.to_owned())),
            _ => None,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(key) => {
                let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let parts: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", parts.join(","))
            }
            Self::Word(word) => format!("[={word}]"),
        }
    }
}

/// A path as errors name it: `.spec.template.spec.containers[name="web"].image`.
pub(super) fn shown(path: &[Step]) -> String {
    path.iter().map(Step::shown).collect()
}

/// A set as the API writes it (`FieldsV1`).
pub(super) fn written(set: &Set) -> Value {
    let mut root = Value::Object(Map::new());
    for path in set {
        let mut place = &mut root;
        for (depth, step) in path.iter().enumerate() {
            if depth > 0 && set.contains(&path[..depth]) {
                place["."] = Value::Object(Map::new());
            }
            let Value::Object(fields) = place else { break };
            place = fields.entry(step.written()).or_insert_with(|| Value::Object(Map::new()));
        }
    }
    root
}

/// A set as it was written.
pub(super) fn read(written: &Value) -> Set {
    let mut set = Set::new();
    collect(written, &mut Vec::new(), &mut set);
    set
}

fn collect(written: &Value, path: &mut Path, set: &mut Set) {
    for (key, inner) in written.as_object().into_iter().flatten() {
        if key == "." {
            set.insert(path.clone());
            continue;
        }
        let Some(step) = Step::read(key) else { continue };
        path.push(step);
        if inner.as_object().is_none_or(Map::is_empty) {
            set.insert(path.clone());
        } else {
            collect(inner, path, set);
        }
        path.pop();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_set_is_written_as_the_api_has_it_and_read_again() {
        let fields = json!({
            "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}}}, "f:replicas": {}},
        });
        let set = read(&fields);
        assert_eq!(set.len(), 5);
        assert_eq!(written(&set), fields);
        let shown: Vec<String> = set.iter().map(|path| shown(path)).collect();
        assert_eq!(
            shown,
            [
                ".metadata.finalizers[=\"a/b\"]",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
                ".spec.containers[name=\"c\"].name",
                ".spec.replicas",
            ]
        );
    }
}
