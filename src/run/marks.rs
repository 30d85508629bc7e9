//! Which events explain an outage: injections, and objects that go out of service.

use crate::measure::{Mark, MarkKind};
use crate::record::{Change, Injection, Micros, What};

/// The mark that an event makes on the timeline, if it can explain a failure.
pub(super) fn of(at: Micros, what: &What) -> Option<Mark> {
    match what {
        What::Injected { step, target, outcome: Injection::Injected, answered, .. } => {
            Some(Mark { at: *answered, kind: MarkKind::Injected, object: target.to_string(), step: step.clone() })
        }
        What::Object { change, kind, name, state, detail, .. } => {
            let is = |key: &str, value: &str| state.get(key).is_some_and(|v| v == value);
            let (kind, object) = match (kind.as_str(), change) {
                ("pod", Change::Deleted) => (MarkKind::Deleted, format!("pod/{name}")),
                ("pod", Change::Changed) if detail.contains("terminating false → true") => {
                    (MarkKind::Terminating, format!("pod/{name}"))
                }
                ("pod", Change::Changed) if detail.contains("restarts ") => {
                    (MarkKind::Restarted, format!("pod/{name}"))
                }
                ("pod", Change::Changed) if detail.contains("ready true → false") => {
                    (MarkKind::PodNotReady, format!("pod/{name}"))
                }
                ("endpoint", Change::Deleted) => (MarkKind::EndpointNotReady, format!("pod/{name}")),
                ("endpoint", Change::Changed) if is("ready", "false") => {
                    (MarkKind::EndpointNotReady, format!("pod/{name}"))
                }
                ("node", Change::Changed) if !is("ready", "True") => (MarkKind::NodeNotReady, format!("node/{name}")),
                _ => return None,
            };
            Some(Mark { at, kind, object, step: String::new() })
        }
        _ => None,
    }
}

/// The object that an event shows to be out of service, and where that was seen.
pub(super) fn out_of_service(what: &What) -> Option<(&str, String)> {
    let What::Object { change, kind, name, state, .. } = what else { return None };
    let not_ready = state.get("ready").is_some_and(|ready| ready == "false");
    match (kind.as_str(), change) {
        ("endpoint", Change::Deleted) => Some((name, "its endpoint was removed".to_owned())),
        ("endpoint", Change::Changed) if not_ready => Some((name, "its endpoint was no longer ready".to_owned())),
        ("pod", Change::Deleted) => Some((name, "the pod was gone".to_owned())),
        ("pod", Change::Changed) if not_ready => Some((name, "the pod was not ready".to_owned())),
        _ => None,
    }
}
