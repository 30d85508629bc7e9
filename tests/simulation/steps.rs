//! What must be true after each call of a runner, not only at its end.

use serde_json::Value;
use squall::lab::Deed;
use squall::run::undo_log;

/// Where the lease and the undo logs lie.
pub(crate) const STATE: &str = "squall";

/// Holds the calls of a run, in their order, to what a run promises:
///
/// - nothing of anybody else's is changed before the cluster's copy of the undo log announces it;
/// - that copy only ever grows;
/// - nothing is changed that the run does not keep a lease for.
pub(crate) fn check(deeds: &[Deed]) -> Result<(), String> {
    let mut log = String::new();
    let mut leased = false;
    for (number, deed) in (1..).zip(deeds).filter(|(_, deed)| deed.arrived) {
        let (verb, path) = deed.call.split_once(' ').unwrap_or_default();
        if !matches!(verb, "POST" | "PUT" | "PATCH" | "DELETE") || only_asks(deed, path) {
            continue;
        }
        let wrong = |what: &str| Err(format!("call {number}, {}: {what}", deed.call));
        if path.contains(&format!("/namespaces/{STATE}/leases")) {
            leased = true;
        } else if path.contains(&format!("/namespaces/{STATE}/configmaps")) {
            match written(deed) {
                Some(text) if !text.starts_with(&log) => return wrong("the copy of the undo log lost a line"),
                Some(text) => log = text,
                // It is taken away once nothing is left, by whoever holds the log on disk.
                None if verb == "DELETE" => log.clear(),
                None => return wrong("a copy of the undo log without a log"),
            }
        } else if !leased {
            return wrong("changed without a lease");
        } else {
            match undo_log::read(&log) {
                Err(e) => return wrong(&format!("the copy of the undo log can't be read: {e}")),
                Ok(acts) if acts.pending().is_empty() => return wrong("changed, and no undo log says so"),
                Ok(_) => {}
            }
        }
    }
    Ok(())
}

/// Whether a call changes something, be it the undo log; to keep a lease changes nothing.
pub(crate) fn changes(deed: &Deed) -> bool {
    let (verb, path) = deed.call.split_once(' ').unwrap_or_default();
    matches!(verb, "POST" | "PUT" | "PATCH" | "DELETE") && !path.contains("/leases") && !only_asks(deed, path)
}

/// Whether a call only asks what would become of it.
fn only_asks(deed: &Deed, path: &str) -> bool {
    let dry = |body: &Value| body.pointer("/deleteOptions/dryRun").is_some() || body.get("dryRun").is_some();
    path.contains("accessreviews")
        || deed.query.contains("dryRun=All")
        || serde_json::from_slice::<Value>(&deed.body).is_ok_and(|body| dry(&body))
}

fn written(deed: &Deed) -> Option<String> {
    let body: Value = serde_json::from_slice(&deed.body).ok()?;
    Some(body.pointer("/data/undo.jsonl")?.as_str()?.to_owned())
}
