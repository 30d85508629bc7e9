//! Files that are not experiments of this version, told apart before their fields are called unknown one by one.

use super::diagnostic::{Code, Diagnostic};
use super::node::{Body, Node};
use crate::scalar::{nearest, quoted};

const VERSION: &str = "squall.dev/v1alpha1";
const KIND: &str = "Experiment";
const BEGIN: &str = "an experiment begins with `apiVersion: squall.dev/v1alpha1` and `kind: Experiment`";

/// What the file is instead, if it is something else.
pub(super) fn recognise(root: &Node) -> Option<Diagnostic> {
    let Body::Map(_) = &root.body else {
        return Some(
            Diagnostic::error(
                Code::WrongType,
                root.place(),
                "an experiment is a mapping of fields, not a list or a value",
            )
            .hint(BEGIN),
        );
    };
    let version = root.get("apiVersion");
    let kind = root.get("kind").and_then(Node::text).unwrap_or_default();
    let Some((node, text)) = version.and_then(|node| node.text().map(|text| (node, text))) else {
        return is_chaos_toolkit(root).then(|| foreign(root, "a Chaos Toolkit experiment"));
    };
    let group = text.split('/').next().unwrap_or_default();
    match group {
        "squall.dev" => own(root, node, text),
        "chaos-mesh.org" => Some(foreign(node, &format!("a Chaos Mesh object ({})", quoted(kind)))),
        "litmuschaos.io" => Some(foreign(node, &format!("a Litmus object ({})", quoted(kind)))),
        _ if is_kubernetes(text) => {
            Some(foreign(node, &format!("an object of Kubernetes ({} of {})", quoted(kind), quoted(text))))
        }
        _ => {
            let error = Diagnostic::error(Code::Version, node.place(), format!("there is no version {}", quoted(text)));
            Some(match nearest(text, [VERSION]) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("the version is `{VERSION}`")),
            })
        }
    }
}

/// Version and kind of a document of ours.
fn own(root: &Node, node: &Node, version: &str) -> Option<Diagnostic> {
    if version != VERSION {
        return Some(
            Diagnostic::error(
                Code::Version,
                node.place(),
                format!("this binary does not know the version {}", quoted(version)),
            )
            .hint(format!("it reads `{VERSION}`; a newer version of the document needs a newer squall")),
        );
    }
    let kind = root.get("kind").filter(|kind| kind.text() != Some(KIND))?;
    let written = kind.text().filter(|text| !text.is_empty())?;
    let error = Diagnostic::error(Code::Version, kind.place(), format!("there is no kind {}", quoted(written)));
    Some(match nearest(written, [KIND]) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("the kind is `{KIND}`")),
    })
}

fn foreign(node: &Node, what: &str) -> Diagnostic {
    Diagnostic::error(Code::Foreign, node.place(), format!("this is {what}, not an experiment of Squall")).hint(BEGIN)
}

/// The fields that every experiment of the Chaos Toolkit has.
fn is_chaos_toolkit(root: &Node) -> bool {
    root.get("method").is_some() && (root.get("title").is_some() || root.get("steady-state-hypothesis").is_some())
}

/// The API groups that Kubernetes itself serves: `v1`, `apps/v1`, `policy/v1`, and those under `k8s.io`.
fn is_kubernetes(version: &str) -> bool {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let is_version = version.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    is_version
        && (matches!(group, "" | "apps" | "autoscaling" | "batch" | "policy" | "extensions")
            || group.ends_with(".k8s.io"))
}
