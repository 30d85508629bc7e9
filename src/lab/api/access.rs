//! Who may do what: everybody everything, unless a rule forbids it.

use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::USER;
use super::path::Place;
use crate::lab::store::Refused;

/// What is forbidden: verb, resource with its subresource, and the namespace (`None`: everywhere).
#[derive(Debug, Default)]
pub(super) struct Denied(Mutex<Vec<(String, String, Option<String>)>>);

impl Denied {
    #[cfg(test)]
    pub(super) fn add(&self, verb: &str, resource: &str, namespace: Option<&str>) {
        let rule = (verb.to_owned(), resource.to_owned(), namespace.map(ToOwned::to_owned));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rule);
    }

    /// Whether it is forbidden. No namespace: in all of them, which one that is forbidden is enough against.
    pub(super) fn forbids(&self, verb: &str, resource: &str, namespace: &str) -> bool {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().any(|(of, on, within)| {
            of == verb && on == resource && within.as_ref().is_none_or(|n| namespace.is_empty() || n == namespace)
        })
    }

    /// Lets a request through.
    ///
    /// # Errors
    ///
    /// Forbidden, in the authoriser's words.
    pub(super) fn permit(&self, verb: &str, place: &Place) -> Result<(), Refused> {
        let (resource, namespace) = (place.resource(), place.authorised_in());
        if !self.forbids(verb, &resource, namespace) {
            return Ok(());
        }
        let kind = place.kind();
        let what =
            if place.name.is_empty() { kind.resource() } else { format!("{} \"{}\"", kind.resource(), place.name) };
        let scope = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{namespace}\"")
        };
        let message = format!(
            "{what} is forbidden: User \"{USER}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {scope}",
            kind.group
        );
        let mut details = json!({"kind": kind.plural});
        if !place.name.is_empty() {
            details["name"] = place.name.clone().into();
        }
        if !kind.group.is_empty() {
            details["group"] = kind.group.into();
        }
        Err(Refused { details, ..Refused::new(403, "Forbidden", message) })
    }
}
