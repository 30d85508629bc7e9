//! Selectors of labels and of fields.

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::{label_value, qualified};
use super::path::Place;
use super::query::Query;
use crate::lab::store::{Kind, Object, Refused};

/// Which objects of a kind are meant.
#[derive(Debug)]
pub(super) struct Filter {
    kind: usize,
    namespace: String,
    labels: Vec<(String, Rule)>,
    fields: Vec<Field>,
}

/// What a label must be.
#[derive(Debug, PartialEq)]
enum Rule {
    There,
    Missing,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    Above(i64),
    Below(i64),
}

/// What a field must be, or must not be.
#[derive(Debug, PartialEq)]
struct Field {
    path: String,
    value: String,
    equal: bool,
}

impl Filter {
    /// What a request for a collection selects.
    ///
    /// # Errors
    ///
    /// When a selector can't be read, or the kind has no such field to select by.
    pub(super) fn read(place: &Place, query: &Query) -> Result<Self, Refused> {
        let labels = parts(query.text("labelSelector"));
        let labels = labels.iter().map(|part| requirement(part)).collect::<Result<_, _>>()?;
        let fields = query.text("fieldSelector").split(',').filter(|part| !part.is_empty());
        let mut fields = fields.map(|part| field(place.kind(), part)).collect::<Result<Vec<_>, _>>()?;
        if !place.name.is_empty() {
            // An old way to watch one object: by its path.
            fields.push(Field { path: "metadata.name".to_owned(), value: place.name.clone(), equal: true });
        }
        Ok(Self { kind: place.kind, namespace: place.namespace.clone(), labels, fields })
    }

    /// Whether it leaves out nothing of the collection.
    pub(super) fn takes_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn takes(&self, object: &Object) -> bool {
        object.kind == self.kind
            && (self.namespace.is_empty() || object.key.namespace == self.namespace)
            && self.labels.iter().all(|(key, rule)| rule.holds(label(object, key)))
            && self.fields.iter().all(|field| (value_of(object, &field.path) == field.value) == field.equal)
    }
}

fn label<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.meta().labels.as_ref()?.get(key).map(String::as_str)
}

impl Rule {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::There => value.is_some(),
            Self::Missing => value.is_none(),
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Self::Above(limit) => number().is_some_and(|number| number > *limit),
            Self::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// The requirements of a selector: commas within parentheses part none.
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    if parts.len() == 1 { parts.into_iter().filter(|part| !part.trim().is_empty()).collect() } else { parts }
}

fn requirement(part: &str) -> Result<(String, Rule), Refused> {
    let part = part.trim();
    let one = |value: &str| BTreeSet::from([value.trim().to_owned()]);
    let (key, rule) = if let Some(key) = part.strip_prefix('!') {
        (key, Rule::Missing)
    } else if let Some((head, rest)) = part.split_once('(') {
        let values = rest.strip_suffix(')').ok_or_else(|| unparsed("found '', expected: ',' or ')'"))?;
        let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        match head.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => (key, Rule::In(values)),
            Some((key, "notin")) => (key, Rule::NotIn(values)),
            _ => return Err(unparsed(&format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", head.trim()))),
        }
    } else if let Some((key, value)) = part.split_once("!=") {
        (key, Rule::NotIn(one(value)))
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (key, Rule::In(one(value)))
    } else if let Some((key, value)) = part.split_once('>') {
        (key, Rule::Above(number(value)?))
    } else if let Some((key, value)) = part.split_once('<') {
        (key, Rule::Below(number(value)?))
    } else {
        (part, Rule::There)
    };
    let key = key.trim();
    if let Some(why) = qualified(key) {
        return Err(unparsed(&format!("key: Invalid value: {key:?}: {why}")));
    }
    if let Rule::In(values) | Rule::NotIn(values) = &rule
        && let Some((value, why)) = values.iter().find_map(|value| Some((value, label_value(value)?)))
    {
        return Err(unparsed(&format!("values[0][{key}]: Invalid value: {value:?}: {why}")));
    }
    Ok((key.to_owned(), rule))
}

fn number(text: &str) -> Result<i64, Refused> {
    let wrong = |_| {
        unparsed(&format!(
            "values[0]: Invalid value: {:?}: for 'Gt', 'Lt' operators, the value must be an integer",
            text.trim()
        ))
    };
    text.trim().parse().map_err(wrong)
}

fn unparsed(why: &str) -> Refused {
    Refused::bad_request(&format!("unable to parse requirement: {why}"))
}

fn field(kind: &Kind, part: &str) -> Result<Field, Refused> {
    let (path, value, equal) = if let Some((path, value)) = part.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        (path, value, true)
    } else {
        let why = format!("invalid selector: '{part}'; can't understand '{part}'");
        return Err(Refused::bad_request(&why));
    };
    let own = own_fields(kind);
    if !["metadata.name", "metadata.namespace"].contains(&path) && !own.contains(&path) {
        return Err(Refused::bad_request(&if own.is_empty() {
            format!("{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {path}")
        }));
    }
    Ok(Field { path: path.to_owned(), value: value.to_owned(), equal })
}

/// The fields by which objects of a kind can be selected, beside those that every kind has.
fn own_fields(kind: &Kind) -> &'static [&'static str] {
    match kind.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Node" => &["spec.unschedulable"],
        "Namespace" => &["status.phase"],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Secret" => &["type"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "ReplicaSet" => &["status.replicas"],
        "Job" => &["status.successful"],
        _ => &[],
    }
}

/// A field as text; what is not set is what it counts as.
fn value_of(object: &Object, path: &str) -> String {
    match path {
        "metadata.name" => return object.key.name.clone(),
        "metadata.namespace" => return object.key.namespace.clone(),
        "spec.nodeName" => return object.node().unwrap_or_default().to_owned(),
        _ => {}
    }
    let pointer = match path {
        "source" => "/source/component".to_owned(),
        "status.successful" => "/status/succeeded".to_owned(),
        _ => format!("/{}", path.replace('.', "/")),
    };
    match object.json().pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => match path {
            "spec.unschedulable" | "spec.hostNetwork" => "false".to_owned(),
            "status.replicas" | "status.successful" => "0".to_owned(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(selector: &str, value: Option<&str>) -> bool {
        parts(selector).iter().all(|part| requirement(part).unwrap().1.holds(value))
    }

    #[test]
    fn every_operator_means_what_it_means_to_the_api() {
        for (selector, web, db, none) in [
            ("", true, true, true),
            ("app", true, true, false),
            ("!app", false, false, true),
            ("app=web", true, false, false),
            ("app == web", true, false, false),
            ("app!=web", false, true, true),
            ("app in (web, api)", true, false, false),
            ("app notin (web,api)", false, true, true),
            ("app,app!=db", true, false, false),
        ] {
            let got = (holds(selector, Some("web")), holds(selector, Some("db")), holds(selector, None));
            assert_eq!(got, (web, db, none), "{selector}");
        }
        assert!(holds("size>3", Some("4")) && !holds("size>3", Some("3")) && !holds("size<3", Some("x")));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for wrong in ["a b", "app in (web", "app of (web)", "size>x", "=web", "app=a b", "a,,b"] {
            let refused = parts(wrong).iter().map(|part| requirement(part)).find_map(Result::err);
            assert_eq!(refused.map(|refused| refused.code), Some(400), "{wrong}");
        }
    }
}
