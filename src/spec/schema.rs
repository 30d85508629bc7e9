//! The JSON Schema of the document, for editors and for `squall schema`.

use schemars::generate::SchemaSettings;

use super::Experiment;

/// The schema of an experiment file, JSON Schema draft 2020-12, from the same types that read it.
///
/// It describes the shape and the scalars. What depends on several fields at once, such as a hypothesis about a probe that does not exist,
/// is found by [`super::load()`] only.
#[must_use]
pub fn schema() -> serde_json::Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Experiment>();
    schema.to_value()
}

#[cfg(test)]
mod tests {
    #[test]
    fn committed_schema_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/experiment.json");
        let committed: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let current = super::schema();
        assert!(
            committed == current,
            "schema/experiment.json is out of date: squall schema > schema/experiment.json\n{current:#}"
        );
    }
}
