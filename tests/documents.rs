//! Documents that are wrong, and what is said of them: each `tests/documents/*.yaml` with a snapshot beside it.
//!
//! Numbers up to 62 are the rows of the list of bad inputs that the reader was built against; those from 70 on came later.

use std::path::PathBuf;

use squall::spec::{self, Severity};

/// Values for the variables of a document, from comments `# --set name=value` in it.
fn sets(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# --set "))
        .filter_map(|set| set.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_mistake_is_found_with_its_place() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    insta::with_settings!({ snapshot_path => folder.clone(), prepend_module_to_snapshot => false, omit_expression => true }, {
        let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ext| ext == "yaml" || ext == "json"));
        files.sort();
        assert!(files.len() >= 35, "{} documents", files.len());
        for path in files {
            let name = path.file_name().unwrap().to_str().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let said = match spec::load(name, &bytes, &sets(&String::from_utf8_lossy(&bytes))) {
                Ok(loaded) => {
                    assert_eq!(loaded.warnings.count(Severity::Error), 0);
                    format!("can be used\n\n{}", loaded.warnings)
                }
                Err(diagnostics) => {
                    assert!(diagnostics.count(Severity::Error) > 0, "{name}: refused without a reason");
                    diagnostics.to_string()
                }
            };
            insta::assert_snapshot!(name.replace('.', "-"), said);
        }
    });
}

#[test]
fn the_experiments_that_we_ship_can_be_used() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("experiments");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
        let loaded = spec::read(path.to_str().unwrap(), &[]).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}
