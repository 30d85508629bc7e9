//! The API's types, as far as JSON does not tell them: where their fields lie in protocol buffers, and how server-side apply merges them.
//!
//! The table in `schema/fields.txt` is made by `tests/testbed/wire` of Kubernetes' own types; how it is read is said there.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// All messages, by their names.
static MESSAGES: LazyLock<BTreeMap<&'static str, Message>> = LazyLock::new(|| {
    let message = |line: &'static str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default();
        let (name, whole) = name.strip_suffix("=!").map_or((name, false), |name| (name, true));
        (name, Message { whole, fields: words.filter_map(Field::read).collect() })
    };
    include_str!("schema/fields.txt").lines().map(message).collect()
});

/// A type that has fields.
#[derive(Debug)]
pub(super) struct Message {
    /// Whether it is merged as a whole.
    pub whole: bool,
    /// By their numbers.
    fields: BTreeMap<u64, Field>,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Empty: its own fields are those of the message that it is in.
    pub name: &'static str,
    /// Whether JSON leaves it out when it is zero.
    pub optional: bool,
    pub list: bool,
    pub map: bool,
    /// `s`, `b`, `i`, `t`, `d`, or a message's name.
    pub of: &'static str,
    pub merged: Merged,
}

/// How a field is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged {
    /// A list as a whole, all else by its parts.
    Plainly,
    Whole,
    /// A list of words as a set.
    Set,
    /// A list by these fields of its elements, parted by commas.
    By(&'static str),
}

impl Field {
    fn read(word: &'static str) -> Option<(u64, Self)> {
        let (word, how) = word.split_once('=').unwrap_or((word, ""));
        let merged = match how {
            "" => Merged::Plainly,
            "!" => Merged::Whole,
            "#" => Merged::Set,
            keys => Merged::By(keys),
        };
        let mut parts = word.splitn(3, ':');
        let (name, number, of) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        let (optional, of) = strip(of, "?");
        let (list, of) = strip(of, "[]");
        let (map, of) = strip(of, "{}");
        Some((number, Self { name, optional, list, map, of, merged }))
    }
}

fn strip(of: &'static str, prefix: &str) -> (bool, &'static str) {
    of.strip_prefix(prefix).map_or((false, of), |rest| (true, rest))
}

/// A message by its name. Times, amounts and their like are none: JSON writes them as texts.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    MESSAGES.get(name)
}

/// The name of a kind's message.
pub(super) fn of_kind(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
    let group = match group.split('.').next().unwrap_or_default() {
        _ if kind == "DeleteOptions" => "meta".to_owned(),
        "autoscaling" => format!("autoscaling{version}"),
        group => group.to_owned(),
    };
    format!("{group}.{kind}")
}

impl Message {
    /// A field by its number in protocol buffers.
    pub(super) fn numbered(&self, number: u64) -> Option<Field> {
        self.fields.get(&number).copied()
    }

    /// A field by its name in JSON.
    pub(super) fn named(&self, name: &str) -> Option<Field> {
        let inlined = || {
            let inner = self.fields.values().filter(|field| field.name.is_empty());
            inner.filter_map(|field| message(field.of)).find_map(|message| message.named(name))
        };
        self.fields.values().find(|field| field.name == name).copied().or_else(inlined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::store::KINDS;

    #[test]
    fn every_kind_has_its_fields_and_every_field_its_message() {
        for kind in KINDS {
            let name = of_kind(&kind.api_version(), kind.kind);
            assert!(message(&name).is_some(), "{name}");
        }
        let written_as_text = [
            "s",
            "b",
            "i",
            "t",
            "d",
            "meta.Time",
            "meta.MicroTime",
            "meta.FieldsV1",
            "resource.Quantity",
            "intstr.IntOrString",
            "runtime.RawExtension",
        ];
        for (name, of) in &*MESSAGES {
            for field in of.fields.values() {
                let known = written_as_text.contains(&field.of) || message(field.of).is_some();
                assert!(known, "{name}.{}: {}", field.name, field.of);
                if let (Merged::By(keys), Some(element)) = (field.merged, message(field.of)) {
                    assert!(keys.split(',').all(|key| element.named(key).is_some()), "{name}.{}: {keys}", field.name);
                }
            }
        }
    }

    #[test]
    fn what_is_merged_how_is_known() {
        let spec = message("core.PodSpec").unwrap();
        assert_eq!(spec.named("containers").unwrap().merged, Merged::By("name"));
        assert_eq!(spec.named("tolerations").unwrap().merged, Merged::Plainly);
        assert_eq!(spec.named("nodeSelector").unwrap().merged, Merged::Whole);
        assert_eq!(message("meta.ObjectMeta").unwrap().named("finalizers").unwrap().merged, Merged::Set);
        assert!(message("meta.LabelSelector").unwrap().whole);
        assert_eq!(message("core.Probe").unwrap().named("httpGet").unwrap().of, "core.HTTPGetAction", "inlined");
    }
}
