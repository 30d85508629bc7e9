//! Rows of volumes, claims and their classes.

use serde_json::{Value, json};

use super::{Shown, UNSET};

/// What marks the class that a claim gets which names none.
const DEFAULT: [&str; 2] = [
    "/metadata/annotations/storageclass.kubernetes.io~1is-default-class",
    "/metadata/annotations/storageclass.beta.kubernetes.io~1is-default-class",
];
/// Where a class stood before it had a field.
const OLD_CLASS: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";

pub(super) fn volume(shown: &Shown<'_>) -> Value {
    let claim = shown.at("/spec/claimRef");
    let claim = match claim["name"].as_str() {
        Some(name) => format!("{}/{name}", claim["namespace"].as_str().unwrap_or_default()),
        None => String::new(),
    };
    json!([
        shown.name(),
        shown.text_or("/spec/capacity/storage", "0"),
        modes(shown.list("/spec/accessModes")),
        shown.text("/spec/persistentVolumeReclaimPolicy"),
        phase(shown),
        claim,
        shown.text_or(OLD_CLASS, shown.text("/spec/storageClassName")),
        shown.text_or("/spec/volumeAttributesClassName", UNSET),
        shown.text("/status/reason"),
        shown.age(),
        shown.text_or("/spec/volumeMode", UNSET),
    ])
}

pub(super) fn claim(shown: &Shown<'_>) -> Value {
    let volume = shown.text("/spec/volumeName");
    let bound = !volume.is_empty();
    json!([
        shown.name(),
        phase(shown),
        volume,
        if bound { shown.text_or("/status/capacity/storage", "0") } else { "" },
        if bound { modes(shown.list("/status/accessModes")) } else { String::new() },
        shown.text_or(OLD_CLASS, shown.text("/spec/storageClassName")),
        shown.text_or("/spec/volumeAttributesClassName", UNSET),
        shown.age(),
        shown.text_or("/spec/volumeMode", UNSET),
    ])
}

pub(super) fn class(shown: &Shown<'_>) -> Value {
    let is_default = DEFAULT.iter().any(|annotation| shown.text(annotation) == "true");
    let name = if is_default { format!("{} (default)", shown.name()) } else { shown.name().to_owned() };
    json!([
        name,
        shown.text("/provisioner"),
        shown.text_or("/reclaimPolicy", "Delete"),
        shown.text_or("/volumeBindingMode", "Immediate"),
        shown.flag("/allowVolumeExpansion"),
        shown.age(),
    ])
}

fn phase<'a>(shown: &'a Shown<'_>) -> &'a str {
    if shown.is_leaving() { "Terminating" } else { shown.text("/status/phase") }
}

/// Access modes in short, in the server's own order.
fn modes(modes: &[Value]) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let short = SHORT.iter().filter(|(mode, _)| modes.iter().any(|has| has == mode));
    short.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}
