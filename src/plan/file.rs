//! The plan as a file: written by `squall plan --out`, reviewed by people, followed by `squall run --plan`, which refuses one that
//! was edited, or that no longer says what the cluster would be asked to do now.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{Plan, PlannedStep, VERSION};
use crate::record::Target;

/// The field beside the plan's own that seals them.
const HASH: &str = "hash";

/// Why a plan file can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// It can't be read or written.
    #[error("{doing} the plan `{path}`: {source}")]
    Io {
        /// `can't read` or `can't write`.
        doing: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no plan.
    #[error("`{path}` is not a plan: {reason}")]
    NotAPlan {
        /// Where.
        path: String,
        /// Why.
        reason: String,
    },
    /// It was changed after it was written.
    #[error("the plan `{path}` was changed after it was written: its hash is {found}, and it says {written}")]
    Edited {
        /// Where.
        path: String,
        /// The hash of what stands there.
        found: String,
        /// The hash that it carries.
        written: String,
    },
}

impl PlanFileError {
    /// What to type.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Io { .. } => None,
            Self::NotAPlan { .. } => Some("`squall plan FILE --out PLAN` writes one"),
            Self::Edited { .. } => {
                Some("change the experiment, and draw the plan again with `squall plan FILE --out PLAN`")
            }
        }
    }
}

impl Plan {
    /// SHA-256 over the plan as compact JSON with its keys sorted, in lower-case hexadecimal digits.
    ///
    /// # Errors
    ///
    /// When the plan can't be written as JSON.
    pub fn hash(&self) -> Result<String, serde_json::Error> {
        hash(&mut serde_json::to_value(self)?)
    }

    /// Writes the plan as a sealed JSON document.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> Result<(), PlanFileError> {
        let io = |source| PlanFileError::Io { doing: "can't write", path: path.display().to_string(), source };
        let sealed = || -> Result<String, serde_json::Error> {
            let mut document = serde_json::to_value(self)?;
            document[HASH] = Value::String(hash(&mut document)?);
            serde_json::to_string_pretty(&document)
        };
        let mut text = sealed().map_err(|e| io(e.into()))?;
        text.push('\n');
        std::fs::write(path, text).map_err(io)
    }

    /// Reads a plan that [`Plan::write`] wrote.
    ///
    /// # Errors
    ///
    /// When the file can't be read, is no plan of this version, or was changed since.
    pub fn read(path: &Path) -> Result<Self, PlanFileError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| PlanFileError::Io {
            doing: "can't read",
            path: shown.clone(),
            source,
        })?;
        let not = |reason: String| PlanFileError::NotAPlan { path: shown.clone(), reason };
        let mut document: Value = serde_json::from_str(&text).map_err(|e| not(e.to_string()))?;
        let Some(Value::String(written)) = document.as_object_mut().and_then(|fields| fields.remove(HASH)) else {
            return Err(not(format!("it has no `{HASH}`")));
        };
        let found = hash(&mut document).map_err(|e| not(e.to_string()))?;
        if found != written {
            return Err(PlanFileError::Edited { path: shown.clone(), found, written });
        }
        let version = document.get("version").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let version = version.map_or_else(|| "none".to_owned(), |v| v.to_string());
            return Err(not(format!("its `version` is not {VERSION}, the one that this binary reads: {version}")));
        }
        serde_json::from_value(document).map_err(|e| not(e.to_string()))
    }
}

/// The hash does not depend on the order of keys, which another feature of the JSON library may change.
fn hash(document: &mut Value) -> Result<String, serde_json::Error> {
    document.sort_all_objects();
    Ok(hex(&Sha256::digest(serde_json::to_vec(document)?)))
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is different between a plan and the same experiment drawn again; empty when the old plan may be followed.
#[must_use]
pub fn drift(old: &Plan, new: &Plan) -> Vec<String> {
    let mut drift = Vec::new();
    let mut same = |what: &str, old: &str, new: &str| {
        if old != new {
            drift.push(format!("{what} was `{old}` when the plan was drawn, and is `{new}`"));
        }
    };
    same("the version of squall", &old.squall, &new.squall);
    same("the experiment", &old.experiment, &new.experiment);
    same("the context", &old.cluster.context, &new.cluster.context);
    same("the API server", &old.cluster.server, &new.cluster.server);
    same("the cluster (UID of `kube-system`)", &old.cluster.uid, &new.cluster.uid);
    let aws = |plan: &Plan| match &plan.cluster.aws {
        Some(aws) => format!("{} in {}, cluster {}, {}", aws.account, aws.region, aws.cluster, aws.endpoints.join(" ")),
        None => "none".to_owned(),
    };
    same("the AWS account", &aws(old), &aws(new));
    same("the state namespace", &old.state_namespace, &new.state_namespace);
    same("the seed", &old.seed.to_string(), &new.seed.to_string());
    if old.document != new.document {
        drift.push("the experiment is not the one that was planned".to_owned());
    }
    if old.limits != new.limits {
        drift.push("the limits are not those of the plan".to_owned());
    }
    let steps: BTreeMap<&str, &PlannedStep> = new.steps.iter().map(|step| (step.name.as_str(), step)).collect();
    for step in &old.steps {
        match steps.get(step.name.as_str()) {
            Some(now) => drift.extend(step_drift(step, now)),
            None => drift.push(format!("step `{}` is no longer there", step.name)),
        }
    }
    for step in new.steps.iter().filter(|step| !old.steps.iter().any(|known| known.name == step.name)) {
        drift.push(format!("step `{}` is new", step.name));
    }
    drift
}

fn step_drift(old: &PlannedStep, new: &PlannedStep) -> Vec<String> {
    let place = |target: &Target| (target.kind.clone(), target.namespace.clone(), target.name.clone());
    let find = |targets: &[Target], like: &Target| targets.iter().find(|t| place(t) == place(like)).cloned();
    let mut drift = Vec::new();
    for target in &old.targets {
        match find(&new.targets, target) {
            Some(now) if now.uid == target.uid => {}
            Some(_) => drift.push(format!("step `{}`: {target} was replaced by another of its name", old.name)),
            None => drift.push(format!("step `{}`: {target} is gone, or no longer chosen", old.name)),
        }
    }
    for target in new.targets.iter().filter(|target| find(&old.targets, target).is_none()) {
        drift.push(format!("step `{}`: {target} would be touched, and the plan does not name it", old.name));
    }
    let places = |step: &PlannedStep| step.leaving.iter().map(|pod| pod.namespace.clone()).collect::<BTreeSet<_>>();
    for namespace in places(new).difference(&places(old)) {
        drift.push(format!("step `{}`: a pod of namespace `{namespace}` would leave too", old.name));
    }
    if drift.is_empty() && (&old.commands, &old.undo_commands) != (&new.commands, &new.undo_commands) {
        drift.push(format!("step `{}` would run other commands", old.name));
    }
    if drift.is_empty()
        && (old.pods, old.at_ms, old.hold_ms, &old.fault) != (new.pods, new.at_ms, new.hold_ms, &new.fault)
    {
        drift.push(format!("step `{}` would take away {} pods, and the plan says {}", old.name, new.pods, old.pods));
    }
    drift
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{plan, pod, step};

    fn planned() -> Plan {
        plan(vec![step("kill", 0, vec![pod("shop", "web-1")])])
    }

    #[test]
    fn a_plan_comes_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        planned().write(&path).unwrap();
        assert_eq!(Plan::read(&path).unwrap(), planned());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&planned().hash().unwrap()));
    }

    #[test]
    fn an_edited_plan_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        planned().write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("web-1", "web-2")).unwrap();
        assert!(matches!(Plan::read(&path), Err(PlanFileError::Edited { .. })));
        // The order of the keys and the white space are not part of what is sealed.
        let reordered: serde_json::Map<String, Value> =
            serde_json::from_str::<serde_json::Map<String, Value>>(&text).unwrap().into_iter().rev().collect();
        std::fs::write(&path, serde_json::to_vec(&reordered).unwrap()).unwrap();
        assert_eq!(Plan::read(&path).unwrap(), planned());
        std::fs::write(&path, "{}").unwrap();
        assert!(Plan::read(&path).unwrap_err().to_string().contains("has no `hash`"));
    }

    #[test]
    fn a_plan_of_another_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        Plan { version: 9, ..planned() }.write(&path).unwrap();
        assert!(Plan::read(&path).unwrap_err().to_string().ends_with("the one that this binary reads: 9"));
    }

    #[test]
    fn names_everything_that_drifted() {
        assert_eq!(drift(&planned(), &planned()), Vec::<String>::new());
        let drifted = |change: &dyn Fn(&mut Plan)| {
            let mut new = planned();
            change(&mut new);
            drift(&planned(), &new).join("\n")
        };
        assert!(drifted(&|p| p.cluster.uid = "other".into()).contains("UID of `kube-system`"));
        let other = crate::record::AwsId { account: "210987654321".into(), ..crate::record::AwsId::default() };
        assert!(drifted(&|p| p.cluster.aws = Some(other.clone())).contains("the AWS account was `none`"));
        assert!(drifted(&|p| p.cluster.server = "https://other".into()).contains("the API server"));
        assert!(drifted(&|p| p.cluster.context = "prod".into()).contains("the context was `test`"));
        assert!(drifted(&|p| p.squall = "9".into()).contains("the version of squall"));
        assert!(drifted(&|p| p.limits.pods = 9).contains("the limits"));
        assert!(drifted(&|p| p.document = Value::Null).contains("not the one that was planned"));
        assert!(drifted(&|p| p.steps[0].targets[0].uid = "new".into()).contains("pod/web-1 was replaced"));
        assert!(drifted(&|p| p.steps[0].pods = 7).contains("take away 7 pods"));
        assert!(
            drifted(&|p| p.steps[0].name = "other".into())
                .contains("step `kill` is no longer there\nstep `other` is new")
        );
        let other = drifted(&|p| p.steps[0].targets = vec![pod("shop", "web-2")]);
        assert!(other.contains("pod/web-1 is gone") && other.contains("pod/web-2 would be touched"), "{other}");
        assert_eq!(drifted(&|p| p.warnings.push("a warning is no drift".into())), "");
    }
}
