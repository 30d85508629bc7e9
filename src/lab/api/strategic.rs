//! Strategic merge patches: merges that know by which field the elements of a list are told apart.

use serde_json::{Map, Value};

use crate::lab::store::Refused;

/// Lists of words that are merged as sets.
const SETS: [&str; 2] = ["finalizers", "podCIDRs"];
const DIRECTIVE: &str = "$patch";
const KEEP: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// The field that tells the elements of a list apart; `None`: such a list is replaced as a whole.
fn key_of(list: &str, elements: &[Value]) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "schedulingGates" => "name",
        // Those of a container have no `port`, those of a Service no other.
        "ports" if elements.iter().any(|port| port.get("containerPort").is_some()) => "containerPort",
        "ports" => "port",
        "volumeMounts" => "mountPath",
        "volumeDevices" => "devicePath",
        "conditions" | "addresses" => "type",
        "taints" => "key",
        "ownerReferences" => "uid",
        "hostAliases" | "podIPs" | "hostIPs" => "ip",
        "topologySpreadConstraints" => "topologyKey",
        _ => return None,
    })
}

/// Merges a patch into an object.
///
/// # Errors
///
/// When the patch can't be read.
pub(super) fn merge(object: &mut Value, patch: &Value) -> Result<(), Refused> {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return Ok(());
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(fields) = object else { return Ok(()) };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *fields = patch.iter().filter(|(key, _)| *key != DIRECTIVE).map(|(k, v)| (k.clone(), v.clone())).collect();
            return Ok(());
        }
        Some("delete") => {
            fields.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(Refused::bad_request(&format!("unknown patch type found: {other}"))),
    }
    if let Some(kept) = patch.get(KEEP).and_then(Value::as_array) {
        fields.retain(|key, _| kept.iter().any(|kept| kept.as_str() == Some(key)));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            let gone = value.as_array().map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(words)) = fields.get_mut(list) {
                words.retain(|word| !gone.contains(word));
            }
        }
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == KEEP || key.starts_with(DELETE_FROM) || key.starts_with(ORDER) {
            continue;
        }
        field(fields, key, value)?;
    }
    Ok(())
}

fn field(fields: &mut Map<String, Value>, key: &str, value: &Value) -> Result<(), Refused> {
    match value {
        Value::Null => drop(fields.remove(key)),
        Value::Object(inner) => {
            if inner.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                fields.remove(key);
            } else {
                merge(fields.entry(key).or_insert_with(|| Value::Object(Map::new())), value)?;
            }
        }
        Value::Array(patch) => {
            let before = match fields.remove(key) {
                Some(Value::Array(before)) => before,
                _ => Vec::new(),
            };
            fields.insert(key.to_owned(), Value::Array(list(key, before, patch)?));
        }
        other => drop(fields.insert(key.to_owned(), other.clone())),
    }
    Ok(())
}

fn list(name: &str, before: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Refused> {
    if SETS.contains(&name) {
        let mut all = before;
        for word in patch {
            if !all.contains(word) {
                all.push(word.clone());
            }
        }
        return Ok(all);
    }
    let is = |element: &Value, directive: &str| element.get(DIRECTIVE).and_then(Value::as_str) == Some(directive);
    let key = key_of(name, &[patch, &before].concat());
    let replaced = patch.iter().any(|element| is(element, "replace"));
    let Some(key) = key.filter(|_| !replaced) else {
        return Ok(patch.iter().filter(|element| !is(element, "replace")).cloned().collect());
    };
    let mut all = before;
    for element in patch {
        let Some(id) = element.get(key) else {
            let message = format!("map: {element} does not contain declared merge key: {key}");
            return Err(Refused::new(500, "", message));
        };
        let place = all.iter().position(|known| known.get(key) == Some(id));
        match (place, is(element, "delete")) {
            (_, true) => all.retain(|known| known.get(key) != Some(id)),
            (Some(place), false) => merge(&mut all[place], element)?,
            (None, false) => {
                let mut new = Value::Object(Map::new());
                merge(&mut new, element)?;
                all.push(new);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut object: Value, patch: &Value) -> Value {
        merge(&mut object, patch).unwrap();
        object
    }

    #[test]
    fn elements_are_merged_by_their_key_added_and_deleted() {
        let pod =
            json!({"containers": [{"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "b"}]});
        let patch = json!({
            "$setElementOrder/containers": [{"name": "a"}, {"name": "c"}],
            "containers": [
                {"name": "a", "image": "a:2", "env": [{"name": "Y", "value": "2"}]},
                {"name": "b", "$patch": "delete"},
                {"name": "c", "image": "c:1"},
            ],
        });
        let env = json!([{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]);
        let wanted = json!({"containers": [{"name": "a", "image": "a:2", "env": env}, {"name": "c", "image": "c:1"}]});
        assert_eq!(merged(pod, &patch), wanted);
    }

    #[test]
    fn ports_of_containers_and_of_services_have_keys_of_their_own() {
        let ports = json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81}]});
        let patch = json!({"ports": [{"containerPort": 80, "$patch": "delete"}]});
        assert_eq!(merged(ports, &patch), json!({"ports": [{"containerPort": 81}]}));
        let ports = json!({"ports": [{"port": 80, "targetPort": 8080}]});
        let patch = json!({"ports": [{"port": 80, "targetPort": 9090}]});
        assert_eq!(merged(ports, &patch), json!({"ports": [{"port": 80, "targetPort": 9090}]}));
    }

    #[test]
    fn taints_go_by_key_tolerations_as_a_whole_and_finalizers_as_a_set() {
        let node = json!({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]});
        let patch = json!({"taints": [{"key": "b", "$patch": "delete"}, {"key": "c", "effect": "NoExecute"}]});
        let wanted = json!({"taints": [{"key": "a", "effect": "NoSchedule"}, {"key": "c", "effect": "NoExecute"}]});
        assert_eq!(merged(node, &patch), wanted);
        let pod = json!({"tolerations": [{"key": "a"}], "finalizers": ["x", "y"]});
        let patch = json!({
            "tolerations": [{"key": "b"}], "finalizers": ["z"], "$deleteFromPrimitiveList/finalizers": ["x"],
        });
        assert_eq!(merged(pod, &patch), json!({"tolerations": [{"key": "b"}], "finalizers": ["y", "z"]}));
    }

    #[test]
    fn directives_replace_delete_and_keep() {
        let object = json!({"labels": {"a": "1", "b": "2"}, "strategy": {"type": "X", "rollingUpdate": {}}, "c": 1});
        let patch = json!({
            "labels": {"$patch": "replace", "d": "4"}, "c": null,
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
        });
        assert_eq!(merged(object, &patch), json!({"labels": {"d": "4"}, "strategy": {"type": "Recreate"}}));
        let volumes = json!({"volumes": [{"name": "a"}], "gone": {"x": 1}});
        let patch = json!({"volumes": [{"$patch": "replace"}, {"name": "b"}], "gone": {"$patch": "delete"}});
        assert_eq!(merged(volumes, &patch), json!({"volumes": [{"name": "b"}]}));
    }

    #[test]
    fn an_element_without_its_key_is_refused() {
        let refused = merge(&mut json!({}), &json!({"containers": [{"image": "a"}]})).unwrap_err();
        assert!(refused.message.contains("does not contain declared merge key: name"), "{}", refused.message);
    }
}
