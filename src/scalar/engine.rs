//! What sends a run's probe requests.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What sends a run's probe requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum EngineKind {
    /// Squall's own transports: every protocol, every step timed, every failure with its exact class.
    #[default]
    Native,
    /// The HTTP client of that name, to cross-check the native engine: HTTP only, without steps, some classes coarser.
    Reqwest,
    /// The native engine's loop in the time of the lab, over its modelled network: what a rehearsal measures with.
    Lab,
}

impl EngineKind {
    /// The word that names it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Reqwest => "reqwest",
            Self::Lab => "lab",
        }
    }

    /// Whether it is the engine that measures unless somebody says otherwise.
    #[must_use]
    pub const fn is_native(&self) -> bool {
        matches!(self, Self::Native)
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
