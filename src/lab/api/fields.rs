//! Fields that an object's kind does not have: what strict validation refuses, and what is dropped without it.

use serde_json::Value;

/// The paths of what was written and not read, in order.
pub(super) fn unknown(written: &Value, read: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(written, read, "", &mut found);
    found
}

/// The API server's words for them.
pub(super) fn in_words(unknown: &[String]) -> String {
    let each: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    format!("strict decoding error: {}", each.join(", "))
}

fn compare(written: &Value, read: &Value, path: &str, found: &mut Vec<String>) {
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            for (key, value) in written {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match read.get(key) {
                    Some(read) => compare(value, read, &path, found),
                    // A field without a value is written as if it were not there, whether the kind has it or not.
                    None if value.is_null() => {}
                    None => found.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(read)) => {
            for (number, (written, read)) in written.iter().zip(read).enumerate() {
                compare(written, read, &format!("{path}[{number}]"), found);
            }
        }
        _ => {}
    }
}

/// Takes out what the API does not write when it is empty: lists, the maps that are no structures, and flags that are down.
pub(super) fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(tidy);
            fields.retain(|key, value| !is_left_out(key, value));
        }
        Value::Array(elements) => elements.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_left_out(key: &str, value: &Value) -> bool {
    const MAPS: [&str; 7] =
        ["labels", "annotations", "nodeSelector", "matchLabels", "data", "binaryData", "disruptedPods"];
    const FLAGS: [&str; 5] = ["unschedulable", "paused", "hostNetwork", "hostPID", "hostIPC"];
    match value {
        Value::Bool(false) => FLAGS.contains(&key),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(fields) => fields.is_empty() && MAPS.contains(&key),
        Value::Null => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_kind_does_not_have_is_named_by_its_path() {
        let written = json!({"spec": {"foo": 1, "containers": [{"name": "a"}, {"nme": "b", "tty": null}]}});
        let read = json!({"spec": {"containers": [{"name": "a"}, {}]}});
        let unknown = unknown(&written, &read);
        assert_eq!(
            in_words(&unknown),
            r#"strict decoding error: unknown field "spec.containers[1].nme", unknown field "spec.foo""#
        );
    }

    #[test]
    fn what_is_empty_is_not_written_unless_it_says_something() {
        let mut value = json!({
            "metadata": {"annotations": {}, "finalizers": []},
            "spec": {"podSelector": {}, "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": []},
        });
        tidy(&mut value);
        let wanted = json!({
            "metadata": {}, "spec": {"podSelector": {}, "volumes": [{"name": "v", "emptyDir": {}}]},
        });
        assert_eq!(value, wanted);
    }
}
