//! What a request's query says, and which form of the answer it asks for.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};

use crate::lab::store::{Object, Refused};

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
}

impl Form {
    /// What the header `Accept` asks for: the first that there is. A table is not among it: what comes after it in the header is.
    ///
    /// # Errors
    ///
    /// When nothing of it can be had.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.is_empty() {
            return Ok(Self::Whole);
        }
        for one in accept.split(',') {
            let mut parts = one.split(';').map(str::trim);
            let is_json = matches!(parts.next(), Some("application/json" | "application/*" | "*/*"));
            match parts.find_map(|part| part.strip_prefix("as=")) {
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") if is_json => return Ok(Self::Metadata),
                // The ordinary object, which a client that asks for a table must be able to read.
                None | Some("Table") if is_json => return Ok(Self::Whole),
                _ => {}
            }
        }
        let message = "only the following media types are accepted: application/json, \
                       application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        Err(Refused::new(406, "NotAcceptable", message))
    }

    /// An object in this form.
    pub(super) fn shape(self, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            }),
        }
    }

    /// The same within a list, where the kind stands once for all.
    pub(super) fn item(self, object: &Object) -> Value {
        let mut item = self.shape(&object.json);
        if let Value::Object(fields) = &mut item {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        item
    }
}
