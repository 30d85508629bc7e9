//! From bytes to an experiment, or to everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::diagnostic::{Code, Diagnostic, Diagnostics, Severity};
use super::engine::{Place, places};
use super::reader::Reader;
use super::source::{MAX_BYTES, Source};
use super::{Experiment, check, foreign, variables, yaml};

/// An experiment that was read, and what is to be known about its reading.
#[derive(Debug)]
pub struct Loaded {
    /// The experiment with its variables replaced; `spec.variables` is empty, so that it can be written and read again.
    pub experiment: Experiment,
    /// The variables with the values that were used.
    pub variables: BTreeMap<String, String>,
    /// What a person should look at, though it does not stand in the way.
    pub warnings: Diagnostics,
    /// SHA-256 of the bytes as they were read, in lower-case hexadecimal digits.
    pub sha256: String,
    /// Where the probes are written.
    pub(super) places: Vec<Place>,
}

/// Reads an experiment from the bytes of a file, YAML or JSON. `name` is how messages call the file, `sets` are values of variables.
///
/// # Errors
/// Everything that is wrong with the document, warnings included. Nothing was contacted.
pub fn load(name: &str, bytes: &[u8], sets: &[(String, String)]) -> Result<Loaded, Diagnostics> {
    let source = Source::decode(name, bytes).map_err(|(source, found)| Diagnostics::new(source, found))?;
    let mut found = Vec::new();
    let experiment = document(&source, sets, &mut found);
    let is_fatal = found.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    let diagnostics = Diagnostics::new(source, found);
    match experiment {
        Some((experiment, variables, places)) if !is_fatal => {
            let sha256 = hex(&Sha256::digest(bytes));
            Ok(Loaded { experiment, variables, warnings: diagnostics, sha256, places })
        }
        _ => Err(diagnostics),
    }
}

/// Reads an experiment from a file, or from standard input where `path` is `-`. No more is read than an experiment may have.
///
/// # Errors
/// As [`load`]; also when the file can't be read, with the reason.
pub fn read(path: &str, sets: &[(String, String)]) -> Result<Loaded, Diagnostics> {
    let name = if path == "-" { "<stdin>" } else { path };
    let limit = MAX_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let result = if path == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    match result {
        Ok(_) => load(name, &bytes, sets),
        Err(error) => {
            let source = Source::new(name, String::new());
            Err(Diagnostics::new(source, vec![unreadable(path, &error)]))
        }
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> Diagnostic {
    use std::io::ErrorKind;
    let (why, hint) = match error.kind() {
        ErrorKind::NotFound => (
            "there is no such file".to_owned(),
            "check the path, which is relative to the current directory".to_owned(),
        ),
        ErrorKind::IsADirectory => {
            ("it is a directory".to_owned(), format!("name a file in it: `{}/NAME.yaml`", path.trim_end_matches('/')))
        }
        ErrorKind::PermissionDenied => {
            ("permission denied".to_owned(), "make the file readable for this user".to_owned())
        }
        _ => (error.to_string(), "check the file".to_owned()),
    };
    Diagnostic::nowhere(Code::Unreadable, format!("can't read the file: {why}")).hint(hint)
}

/// The experiment, as far as it can be read, the values of its variables, and the places of its probes.
fn document(
    source: &Source,
    sets: &[(String, String)],
    found: &mut Vec<Diagnostic>,
) -> Option<(Experiment, BTreeMap<String, String>, Vec<Place>)> {
    let tree = yaml::parse(source, found);
    let is_nothing =
        tree.as_ref().is_none_or(|tree| tree.root.text() == Some("") && tree.root.span.start >= tree.root.span.end);
    if is_nothing && found.is_empty() {
        let error = Diagnostic::nowhere(Code::Empty, "the file holds no experiment");
        found.push(error.hint("an experiment begins with `apiVersion: squall.dev/v1alpha1` and `kind: Experiment`"));
    }
    let mut tree = tree.filter(|_| !is_nothing)?;
    if let Some(other) = foreign::recognise(&tree.root) {
        found.push(other);
        return None;
    }
    let values = variables::replace(&mut tree.root, sets, found, &mut tree.broken);
    let reader = Reader::new(&tree.root, &tree.broken);
    let experiment = reader.read::<Experiment>();
    found.extend(reader.into_found());
    check::check(source, &tree, found);
    experiment.map(|mut experiment| {
        experiment.spec.variables.clear();
        (experiment, values, places(&tree.root))
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
