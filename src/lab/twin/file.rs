//! The document: YAML whose objects stand one to a line, so that two twins can be compared line by line and a large one is read fast.

use std::fmt::Write as _;

use serde_json::Value;

use super::{API_VERSION, KIND, Objects, Twin, TwinError};

/// What stands before the objects.
const OBJECTS: &str = "objects:\n";
/// What stands before each of them.
const ITEM: &str = "- ";

impl Twin {
    /// The document.
    ///
    /// # Errors
    ///
    /// When it can't be written: a mistake of our own.
    pub fn write(&self) -> Result<String, TwinError> {
        let failed = |e: &dyn std::fmt::Display| TwinError::new(format!("the twin can't be written: {e}"));
        let head = Self { objects: Objects::default(), ..self.clone() };
        let mut head = serde_json::to_value(&head).map_err(|e| failed(&e))?;
        let mut document = String::from(
            "# A model of a cluster for `squall rehearse FILE --twin`; docs/twin.md says what is in it.\n",
        );
        if let Some(head) = head.as_object_mut() {
            head.remove("objects");
            // What it is comes first.
            for field in ["apiVersion", "kind", "squall", "taken"] {
                if let Some(value) = head.remove(field) {
                    writeln!(document, "{field}: {value}").map_err(|e| failed(&e))?;
                }
            }
            document.push_str(&serde_yaml::to_string(head).map_err(|e| failed(&e))?);
        }
        if !document.ends_with('\n') {
            document.push('\n');
        }
        document.push_str(OBJECTS);
        for line in self.objects.lines() {
            document.push_str(ITEM);
            document.push_str(line);
            document.push('\n');
        }
        Ok(document)
    }

    /// Reads the document.
    ///
    /// # Errors
    ///
    /// When it is no YAML, no twin, of a version that is not known, or cut off.
    pub fn parse(text: &str) -> Result<Self, TwinError> {
        let (document, objects) = if let Some((head, objects)) = by_lines(text) {
            (head, Some(objects))
        } else {
            let document = serde_yaml::from_str_with_options(text, options());
            (document.map_err(|e| TwinError::new(e.to_string()))?, None)
        };
        let said = |field: &str| document.get(field).and_then(Value::as_str).unwrap_or_default();
        let again = "`squall twin save --out FILE` writes one";
        if said("kind") != KIND {
            let what = match said("kind") {
                "" => "it does not say `kind: Twin`".to_owned(),
                kind => format!("it is a `{kind}`"),
            };
            return Err(TwinError::new(format!("this is no twin: {what}")).hint(again));
        }
        if said("apiVersion") != API_VERSION {
            let why = format!("this twin is of version `{}`; this Squall reads `{API_VERSION}`", said("apiVersion"));
            return Err(TwinError::new(why).hint(again));
        }
        let mut twin: Self =
            serde_json::from_value(document).map_err(|e| TwinError::new(format!("this is no twin: {e}")))?;
        if let Some(objects) = objects {
            twin.objects = objects;
        }
        let (count, found) = (twin.count, twin.objects.len());
        if count == found {
            Ok(twin)
        } else {
            let why = format!("it has {found} of the {count} objects that it says it has: it was cut off, or changed");
            Err(TwinError::new(why).hint("save it again; whoever edits one sets `count` too"))
        }
    }
}

/// The way in which [`Twin::write`] writes it. `None`: another, or with a mistake, which the YAML parser can tell better.
fn by_lines(text: &str) -> Option<(Value, Objects)> {
    let (head, lines) = text.split_once(&format!("\n{OBJECTS}"))?;
    let mut document: Value = serde_yaml::from_str(head).ok()?;
    let mut objects = Objects::default();
    lines.lines().try_for_each(|line| objects.read(line.strip_prefix(ITEM)?))?;
    document.as_object_mut()?.insert("objects".to_owned(), Value::Array(Vec::new()));
    Some((document, objects))
}

/// A twin of a large cluster is larger than what YAML from strangers may be.
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_nodes: 20_000_000,
            max_events: 40_000_000,
            max_total_scalar_bytes: 512 * 1024 * 1024,
        },
        with_snippet: false,
    }
}
