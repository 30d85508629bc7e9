//! Objects seen with their kind's schema: which fields they have, what two come to together, what is taken out of one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::paths::{Path, Set, Step, shown};
use crate::lab::api::schema::{self, Field, Merged, Message};

/// What a part of an object is.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Message(&'static Message),
    /// A map whose values are of this type.
    Map(&'static str),
    /// A list of this type whose elements are told apart by these fields.
    List(&'static str, &'static str),
    /// A list of different words.
    Words,
    /// What is owned and changed as a whole.
    Leaf,
}

impl Of {
    /// A type by its name.
    pub(super) fn named(name: &str) -> Self {
        match schema::message(name) {
            Some(message) if !message.whole => Self::Message(message),
            _ => Self::Leaf,
        }
    }

    fn field(field: Field) -> Self {
        match (field.list, field.map, field.merged) {
            (_, _, Merged::Whole) | (true, _, Merged::Plainly) => Self::Leaf,
            (true, _, Merged::By(keys)) => Self::List(field.of, keys),
            (true, _, Merged::Set) => Self::Words,
            (false, true, _) => Self::Map(field.of),
            (false, false, _) => Self::named(field.of),
        }
    }

    /// What lies in a field of it.
    fn inner(self, name: &str) -> Option<Self> {
        match self {
            Self::Message(message) => message.named(name).map(Self::field),
            Self::Map(of) => Some(Self::named(of)),
            _ => None,
        }
    }

    /// What lies a step away, and whether that is a field that its type has.
    fn step(self, step: &Step) -> (Self, bool) {
        match (self, step) {
            (Self::List(of, _), Step::Key(_)) => (Self::named(of), false),
            (_, Step::Field(name)) => (self.inner(name).unwrap_or(Self::Leaf), matches!(self, Self::Message(_))),
            _ => (Self::Leaf, false),
        }
    }

    /// By what the element of a list of this kind is told apart. A key that it lacks counts as its default.
    fn key(self, element: &Value) -> Step {
        let Self::List(of, keys) = self else { return Step::Word(element.to_string()) };
        let mut all: Vec<&str> = keys.split(',').collect();
        all.sort_unstable();
        let parts: Vec<String> = all
            .into_iter()
            .map(|key| {
                let zero = || match (key, schema::message(of).and_then(|of| of.named(key)).map(|field| field.of)) {
                    ("protocol", _) => Value::from("TCP"),
                    (_, Some("i")) => Value::from(0),
                    _ => Value::from(""),
                };
                let value = element.get(key).filter(|value| !value.is_null()).cloned().unwrap_or_else(zero);
                format!("{}:{value}", Value::from(key))
            })
            .collect();
        Step::Key(format!("{{{}}}", parts.join(",")))
    }
}

/// Refuses what the type does not have, and elements that are there twice.
///
/// # Errors
///
/// Where, and why.
pub(super) fn check(value: &Value, of: Of, path: &mut Path) -> Result<(), String> {
    match (of, value) {
        (Of::Message(_) | Of::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                let inner = of.inner(name).ok_or_else(|| format!("{}: field not declared in schema", shown(path)))?;
                check(value, inner, path)?;
                path.pop();
            }
        }
        (Of::List(..) | Of::Words, Value::Array(elements)) => {
            let mut seen = Set::new();
            for element in elements {
                let key = of.key(element);
                if !seen.insert(vec![key.clone()]) {
                    return Err(format!("{}: duplicate entries for key {}", shown(path), shown(&[key])));
                }
                path.push(key.clone());
                check(element, of.step(&key).0, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

/// Every field of an object that can be owned; of those that are owned as a whole, with what stands in it.
pub(super) fn fields(value: &Value, of: Of) -> BTreeMap<Path, Option<Value>> {
    let mut all = BTreeMap::new();
    walk(value, of, &mut Vec::new(), &mut all);
    all
}

fn walk(value: &Value, of: Of, path: &mut Path, all: &mut BTreeMap<Path, Option<Value>>) {
    match (of, value) {
        (Of::Message(_) | Of::Map(_), Value::Object(fields)) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                let is_empty = value.as_object().is_some_and(Map::is_empty);
                if is_empty || value.is_null() || matches!(of, Of::Map(_)) {
                    all.insert(path.clone(), None);
                }
                walk(value, of.inner(name).unwrap_or(Of::Leaf), path, all);
                path.pop();
            }
        }
        (Of::List(..) | Of::Words, Value::Array(elements)) => {
            for element in elements {
                let key = of.key(element);
                path.push(key.clone());
                all.insert(path.clone(), None);
                if matches!(of, Of::List(..)) {
                    walk(element, of.step(&key).0, path, all);
                }
                path.pop();
            }
        }
        _ => drop(all.insert(path.clone(), Some(value.clone()))),
    }
}

/// What an object comes to with a configuration laid over it.
pub(super) fn merge(live: Option<&Value>, over: &Value, of: Of) -> Value {
    match (of, live, over) {
        (Of::Message(_) | Of::Map(_), Some(Value::Object(live)), Value::Object(over)) => {
            let mut merged = live.clone();
            for (name, value) in over {
                let value = merge(live.get(name), value, of.inner(name).unwrap_or(Of::Leaf));
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Of::List(..) | Of::Words, Some(Value::Array(live)), Value::Array(over)) => elements(live, over, of),
        _ => over.clone(),
    }
}

/// Two lists as one: in the order of the second, with what only the first has where it stood between its neighbours.
fn elements(live: &[Value], over: &[Value], of: Of) -> Value {
    let keyed = |all: &[Value]| -> Vec<(Step, Value)> {
        all.iter().map(|element| (of.key(element), element.clone())).collect()
    };
    let (live, over) = (keyed(live), keyed(over));
    let has = |all: &[(Step, Value)], key: &Step| all.iter().any(|(other, _)| other == key);
    let mut merged = Vec::new();
    let (mut l, mut o) = (0, 0);
    loop {
        if let Some((key, element)) = live.get(l) {
            if !has(&over, key) {
                merged.push(element.clone());
                l += 1;
                continue;
            }
            let next = over[o..].iter().find(|(other, _)| has(&live, other)).map(|(other, _)| other);
            if next != Some(key) {
                // It stands elsewhere now.
                l += 1;
                continue;
            }
        }
        let Some((key, element)) = over.get(o) else { break };
        let before = live.iter().find(|(other, _)| other == key);
        let inner = of.step(key).0;
        merged.push(merge(before.map(|(_, element)| element), element, inner));
        if live.get(l).is_some_and(|(other, _)| other == key) {
            l += 1;
        }
        o += 1;
    }
    Value::Array(merged)
}

/// The fields of a set, and those of their types that lie on the way to them.
pub(super) fn with_parents(set: &Set, of: Of) -> Set {
    let mut all = set.clone();
    for path in set {
        let mut here = of;
        for (depth, step) in path.iter().enumerate() {
            let (inner, declared) = here.step(step);
            if declared {
                all.insert(path[..=depth].to_vec());
            }
            here = inner;
        }
    }
    all
}

/// Takes a part out of an object.
pub(super) fn remove(value: &mut Value, of: Of, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    let inner = of.step(step).0;
    match (step, value) {
        (Step::Field(name), Value::Object(fields)) if rest.is_empty() => drop(fields.remove(name)),
        (Step::Field(name), Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(name) {
                remove(value, inner, rest);
            }
        }
        (_, Value::Array(elements)) if rest.is_empty() => {
            elements.retain(|element| of.key(element) != *step);
        }
        (_, Value::Array(elements)) => {
            for element in elements.iter_mut().filter(|element| of.key(element) == *step) {
                remove(element, inner, rest);
            }
        }
        _ => {}
    }
}

/// A configuration without what has no value.
pub(super) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Of {
        Of::named("core.PodSpec")
    }

    #[test]
    fn elements_are_merged_by_their_keys_and_keep_their_places() {
        let live = json!({"containers": [
            {"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}, {"name": "mesh"}, {"name": "b"},
        ], "tolerations": [{"key": "x"}], "nodeSelector": {"disk": "ssd"}});
        let over = json!({"containers": [
            {"name": "new"}, {"name": "b", "image": "b:2"}, {"name": "a", "ports": [{"containerPort": 80, "name": "http"}]},
        ], "tolerations": [{"key": "y"}], "nodeSelector": {"arch": "arm64"}});
        let wanted = json!({"containers": [
            {"name": "mesh"}, {"name": "new"}, {"name": "b", "image": "b:2"},
            {"name": "a", "image": "a:1", "ports": [{"containerPort": 80, "protocol": "TCP", "name": "http"}]},
        ], "tolerations": [{"key": "y"}], "nodeSelector": {"arch": "arm64"}});
        assert_eq!(merge(Some(&live), &over, pod()), wanted);
    }

    #[test]
    fn what_the_type_does_not_have_or_can_not_tell_apart_is_refused() {
        let why = |value: Value| check(&value, pod(), &mut Vec::new()).unwrap_err();
        assert_eq!(why(json!({"foo": 1})), ".foo: field not declared in schema");
        assert_eq!(
            why(json!({"containers": [{"name": "x"}, {"name": "x"}]})),
            ".containers: duplicate entries for key [name=\"x\"]"
        );
        assert_eq!(why(json!({"containers": [{}, {}]})), ".containers: duplicate entries for key [name=\"\"]");
        assert_eq!(
            why(json!({"containers": [{"name": "x", "imag": 1}]})),
            ".containers[name=\"x\"].imag: field not declared in schema"
        );
    }

    #[test]
    fn a_part_is_taken_out_by_its_path() {
        let mut spec = json!({"containers": [{"name": "a", "image": "a"}, {"name": "b"}], "hostname": "x"});
        let paths: Vec<Path> = fields(&spec, pod()).into_keys().collect();
        let shown: Vec<String> = paths.iter().map(|path| shown(path)).collect();
        assert_eq!(
            shown,
            [
                ".containers[name=\"a\"]",
                ".containers[name=\"a\"].image",
                ".containers[name=\"a\"].name",
                ".containers[name=\"b\"]",
                ".containers[name=\"b\"].name",
                ".hostname",
            ]
        );
        remove(&mut spec, pod(), &paths[1]);
        remove(&mut spec, pod(), &paths[3]);
        remove(&mut spec, pod(), &paths[5]);
        assert_eq!(spec, json!({"containers": [{"name": "a"}]}));
    }
}
