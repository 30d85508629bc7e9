//! The tree's text files, and what is wrong with them.

use std::fmt;
use std::path::Path;

/// Folders that hold nothing of ours, or nothing that is kept.
const SKIPPED: [&str; 4] = [".git", "target", "reports", "node_modules"];

/// Every text file of the tree, by its path from the root.
pub(crate) struct Tree {
    /// In the order of their paths.
    pub(crate) files: Vec<File>,
}

/// A text file.
pub(crate) struct File {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// The whole content.
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl Violation {
    /// A violation at a line, counted from 1.
    pub(crate) fn at_line(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl Tree {
    /// The tree that this test belongs to.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = Vec::new();
        walk(root, root, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        assert!(files.iter().any(|f| f.path == "src/lib.rs"), "the walk of {} found no sources", root.display());
        Self { files }
    }

    /// A small tree, to try a rule on.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| File { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }

    /// The file of this path.
    pub(crate) fn get(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|f| f.path == path)
    }

    /// Whether there is a file, or a folder with a file, of this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.iter().any(|f| f.path == path || f.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The Rust sources below a folder, given with its trailing `/`.
    pub(crate) fn rust<'a>(&'a self, below: &'a str) -> impl Iterator<Item = &'a File> {
        self.files.iter().filter(move |f| f.path.starts_with(below) && f.extension() == "rs")
    }
}

impl File {
    /// What follows the last `.` of the name; empty where there is none.
    pub(crate) fn extension(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// A violation at a byte of this file.
    pub(crate) fn violation(&self, offset: usize, message: impl Into<String>) -> Violation {
        Violation::at_line(&self.path, line_of(&self.text, offset), message)
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].split(|b| *b == b'\n').skip(1).count()
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = std::fs::read_dir(folder).expect("a folder of the tree can be read");
    for entry in entries {
        let path = entry.expect("an entry of the tree can be read").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                walk(root, &path, files);
            }
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("the walk stays below the root");
            files.push(File { path: relative.to_string_lossy().replace('\\', "/"), text });
        }
    }
}
