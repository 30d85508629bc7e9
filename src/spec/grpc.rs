//! What a gRPC probe asks.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connection, HeaderValue, HostPort};
use crate::scalar::Validity;

/// A call of the standard health check, `grpc.health.v1.Health/Check`, and what is expected of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Grpc {
    /// `host:port`.
    pub address: HostPort,
    /// The service that is asked for; the server as a whole when left out.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Whether it goes over TLS, instead of HTTP/2 in clear text.
    #[serde(default)]
    pub tls: bool,
    /// How connections are used.
    #[serde(default)]
    pub connection: Connection,
    /// Metadata; values from the environment are redacted everywhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderValue>,
    /// What a good answer looks like.
    #[serde(default)]
    pub expect: GrpcExpect,
    /// PEM file with the authorities that sign the server's certificate, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// What a good answer to a health check looks like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct GrpcExpect {
    /// The state.
    #[serde(default)]
    pub status: HealthState,
    /// How long the server's certificate has to be valid yet, at every handshake: `14d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_valid_for: Option<Validity>,
}

/// The state that a health service reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HealthState {
    /// In service.
    #[default]
    Serving,
    /// Out of service.
    NotServing,
    /// Not known yet.
    Unknown,
    /// The server does not have this service; it may say so with the status `NOT_FOUND`.
    ServiceUnknown,
}
