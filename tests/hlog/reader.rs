//! Runs the reader beside this file on a log.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

/// One interval as the Go implementation read it. Times are in milliseconds since the epoch, values in nanoseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Interval {
    pub(crate) tag: String,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

/// Every interval of a log, which has to be readable to its end.
pub(crate) fn read(log: &Path) -> Vec<Interval> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hlog");
    let output = Command::new("go").args(["run", "."]).arg(log).current_dir(folder).output().expect("Go is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
