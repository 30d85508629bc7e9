//! What a request's query says, and which form of the answer it asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::{Answer, table};
use crate::lab::store::{Kind, Object, Refused};

/// The parameters of a request.
#[derive(Debug, Default, Clone)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn read(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes());
        Self(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect())
    }

    /// A parameter; empty without it.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|value| matches!(value.as_str(), "" | "1" | "t" | "T" | "true" | "True" | "TRUE"))
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>, Refused> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(None);
        }
        let wrong = |_| Refused::bad_request(&format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
        Ok(Some(text.parse().map_err(wrong)?))
    }

    /// Whether the write is only rehearsed.
    ///
    /// # Errors
    ///
    /// When it asks for a rehearsal of another kind.
    pub(super) fn dry_run(&self) -> Result<bool, Refused> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => Err(unsupported("dryRun", other, &["All"])),
        }
    }

    /// Whether a field that the kind does not have is an error.
    ///
    /// # Errors
    ///
    /// When it asks for something else.
    pub(super) fn strict(&self) -> Result<bool, Refused> {
        match self.text("fieldValidation") {
            "" | "Ignore" | "Warn" => Ok(false),
            "Strict" => Ok(true),
            other => Err(unsupported("fieldValidation", other, &["Ignore", "Warn", "Strict"])),
        }
    }
}

fn unsupported(field: &str, value: &str, known: &[&str]) -> Refused {
    let known: Vec<String> = known.iter().map(|known| format!("{known:?}")).collect();
    let why = format!("Unsupported value: {value:?}: supported values: {}", known.join(", "));
    Refused::new(422, "Invalid", format!("Options.meta.k8s.io \"\" is invalid: {field}: {why}"))
}

/// Which form of an object is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// Only its metadata.
    Metadata,
    /// A row of columns.
    Table {
        include: Include,
        /// When it is looked at: rows tell ages.
        now: Timestamp,
        /// With the columns' names.
        header: bool,
    },
}

/// What of the object itself comes with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    Nothing,
    Metadata,
    Object,
}

impl Include {
    fn read(query: &Query) -> Result<Self, Refused> {
        match query.text("includeObject") {
            "" | "Metadata" => Ok(Self::Metadata),
            "None" => Ok(Self::Nothing),
            "Object" => Ok(Self::Object),
            other => Err(Refused::bad_request(&format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', \
                 or empty"
            ))),
        }
    }
}

impl Form {
    /// What the header `Accept` asks for: the first that there is. `now` is the wall clock.
    ///
    /// # Errors
    ///
    /// When nothing of it can be had.
    pub(super) fn of(headers: &HeaderMap, query: &Query, now: Timestamp) -> Result<Self, Refused> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.is_empty() {
            return Ok(Self::Whole);
        }
        for one in accept.split(',') {
            let is_json =
                matches!(one.split(';').next().map(str::trim), Some("application/json" | "application/*" | "*/*"));
            let parameter = |key: &str| {
                one.split(';')
                    .filter_map(|part| part.trim().split_once('='))
                    .find(|(name, _)| *name == key)
                    .map(|(_, value)| value)
            };
            let known = matches!(parameter("v"), None | Some("v1" | "v1beta1"));
            match parameter("as") {
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_json && known => {
                    return Ok(Self::Metadata);
                }
                Some("Table") if is_json && known => {
                    return Ok(Self::Table { include: Include::read(query)?, now, header: true });
                }
                None if is_json => return Ok(Self::Whole),
                _ => {}
            }
        }
        Err(Refused::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
    }

    /// An object in this form.
    pub(super) fn shape(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
            Self::Table { include, now, header } => table::of_one(object, include, now, header),
        }
    }

    /// The same at another time.
    pub(super) const fn at(self, now: Timestamp) -> Self {
        match self {
            Self::Table { include, header, .. } => Self::Table { include, now, header },
            other => other,
        }
    }

    /// The same for what follows: what is told only once is left out.
    pub(super) const fn headless(self) -> Self {
        match self {
            Self::Table { include, now, .. } => Self::Table { include, now, header: false },
            other => other,
        }
    }

    /// An object that is kept, as it is written in this form.
    pub(super) fn written(self, object: &Object) -> Bytes {
        match self {
            Self::Whole => object.written().clone(),
            Self::Metadata => {
                let shown = json!({
                    "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object.meta(),
                });
                shown.to_string().into()
            }
            Self::Table { .. } => self.shape(&object.json()).to_string().into(),
        }
    }

    /// An object that is kept, as an answer.
    pub(super) fn answer(self, code: u16, object: &Object) -> Answer {
        Answer::Written(code, self.written(object))
    }

    /// A list of objects of a kind, which then stands once for all.
    pub(super) fn list(self, kind: &Kind, metadata: &Value, objects: &[&Arc<Object>]) -> Answer {
        let (name, version) = match self {
            Self::Whole => (format!("{}List", kind.kind), kind.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Self::Table { include, now, .. } => {
                return Answer::Json(200, table::of_list(kind, objects, metadata, include, now));
            }
        };
        let head = json!({"kind": name, "apiVersion": version, "metadata": metadata}).to_string();
        let mut list = Vec::with_capacity(head.len() + 12);
        list.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
        list.extend_from_slice(b",\"items\":[");
        for (number, object) in objects.iter().enumerate() {
            if number > 0 {
                list.push(b',');
            }
            if self == Self::Metadata {
                list.extend_from_slice(json!({"metadata": object.meta()}).to_string().as_bytes());
            } else {
                list.push(b'{');
                list.extend_from_slice(&object.fields());
            }
        }
        list.extend_from_slice(b"]}");
        Answer::Written(200, list.into())
    }
}
