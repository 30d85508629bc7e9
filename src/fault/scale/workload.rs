//! The workload as a step writes it: `deployment/web`.

use std::fmt;

use crate::scalar::ScalarError;

/// `deployment/NAME` or `statefulset/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub(super) kind: Kind,
    pub(super) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    StatefulSet,
}

impl Kind {
    /// As targets have it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::StatefulSet => "statefulset",
        }
    }

    /// As the API has it.
    pub(super) const fn api(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// As RBAC has it.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::StatefulSet => "statefulsets",
        }
    }
}

impl std::str::FromStr for Workload {
    type Err = ScalarError;

    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let (kind, name) = match text.split_once('/') {
            Some(("deployment", name)) => (Kind::Deployment, name),
            Some(("statefulset", name)) => (Kind::StatefulSet, name),
            _ => {
                return Err(ScalarError::new(format!("`{text}` is not a workload that can be scaled"))
                    .hint("write `deployment/NAME` or `statefulset/NAME`"));
            }
        };
        // Names of workloads are DNS subdomains (RFC 1123): they stand in a URL as they are.
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
            return Err(ScalarError::new(format!("`{name}` is not the name of a workload")).at(kind.label().len() + 1));
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.label(), self.name)
    }
}

crate::scalar::text_serde!(
    Workload,
    deserialize_string,
    "a workload such as `deployment/web`",
    "`deployment/NAME` or `statefulset/NAME`.",
    r"^(deployment|statefulset)/[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
    ["deployment/web", "statefulset/db"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_workload_as_it_is_written() {
        assert_eq!("statefulset/db".parse::<Workload>().unwrap().to_string(), "statefulset/db");
        for wrong in ["daemonset/x", "web", "deployment/", "deployment/../secrets", "deployment/Web"] {
            assert!(wrong.parse::<Workload>().is_err(), "{wrong}");
        }
    }
}
