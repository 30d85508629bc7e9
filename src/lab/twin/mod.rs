//! A twin: what a real cluster looked like at one moment, as far as the lab needs it, in a document that can be kept and read again.
//!
//! ```text
//!  real cluster ──read (lists alone)──▶ keep (fields that are named, no others) ──▶ observe ──▶ Twin ──▶ file
//!                                                                                      │ redact        │
//!                                                                                      ▼               ▼
//!                                                                                    a lab that starts settled
//! ```
//! Whatever is not named in [`keep`] is not in it: a field that nobody thought of can't leak. What it can't say is listed in it.

mod file;
mod keep;
mod load;
mod objects;
mod observe;
mod ports;
mod read;
mod redact;
mod summary;
#[cfg(test)]
mod tests;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::load::Loaded;
pub use self::objects::Objects;
pub use self::read::{Scope, needed};
pub use self::redact::Pseudonyms;

/// What the document says it is.
const API_VERSION: &str = "twin.squall.dev/v1alpha1";
/// The same.
const KIND: &str = "Twin";

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Twin {
    /// `twin.squall.dev/v1alpha1`.
    pub api_version: String,
    /// `Twin`.
    pub kind: String,
    /// Version of Squall that took it.
    pub squall: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// Of which cluster.
    pub cluster: Origin,
    /// The namespaces that were read; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Whether its names are pseudonyms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// What was there and was left out on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What was concluded from the objects about the applications in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub assumptions: Vec<Assumption>,
    /// How many objects follow.
    pub count: usize,
    /// The objects, each with the fields that the lab needs.
    pub objects: Objects,
}

/// The cluster that a twin is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// Context of the kubeconfig; empty in a redacted twin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub context: String,
    /// Address of the API server; empty in a redacted twin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// UID of the namespace `kube-system`; empty in a redacted twin.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Version of Kubernetes.
    pub version: String,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Missing {
    /// Resource, and where: `poddisruptionbudgets.policy`, `pods outside shop`.
    pub what: String,
    /// Why, in the API server's words.
    pub why: String,
    /// What the rehearsal lacks by that.
    pub effect: String,
}

/// Something concluded from what was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assumption {
    /// `deployment/web in shop`.
    pub workload: String,
    /// Annotation that says it in the lab.
    pub annotation: String,
    /// Its value.
    pub value: String,
    /// What it was concluded from.
    pub source: String,
}

/// Why there is no twin.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TwinError {
    /// What stands in the way.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl TwinError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Text of a field of an object, by JSON pointer; empty where there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Elements of a list of an object, by JSON pointer.
fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The owner that controls an object, if one does.
fn controller(object: &Value) -> Option<&Value> {
    items(object, "/metadata/ownerReferences").find(|owner| owner["controller"] == true)
}

/// Whether a condition of an object's status holds.
fn holds(object: &Value, condition: &str) -> bool {
    items(object, "/status/conditions").any(|known| known["type"] == condition && known["status"] == "True")
}
