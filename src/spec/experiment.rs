//! The experiment as written. Nothing here has seen a cluster; see [`crate::plan`] for what it resolves to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aws, Connection, Dns, Grpc, HttpVersion, Socket, Tcp};
use crate::fault::AnyFault;
use crate::record::Phase;
use crate::scalar::{Duration, FalseAlarms, Name, Percent, Predicate, Rate, Tolerance, Validity};

/// The document: `apiVersion: squall.dev/v1alpha1`, `kind: Experiment`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Experiment {
    /// Always `squall.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// Always `Experiment`.
    pub kind: Kind,
    /// Name and labels.
    pub metadata: Metadata,
    /// What is probed, injected and judged.
    pub spec: Spec,
}

/// The format's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The only version there is.
    #[serde(rename = "squall.dev/v1alpha1")]
    V1Alpha1,
}

/// The document's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// An experiment.
    Experiment,
}

/// Name and labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metadata {
    /// A DNS label (RFC 1123): at most 63 lower-case letters, digits and `-`.
    pub name: Name,
    /// Labels, for `run --select`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and tools; Squall does not read them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What is probed, injected and judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// Values that `"${name}"` stands for in quoted scalars; `--set name=value` replaces a default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Variable>,
    /// The loops that send requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
    /// The hypotheses, judged before, during and after.
    pub steady_state: Vec<Hypothesis>,
    /// The timeline of faults.
    pub method: Vec<Step>,
    /// How long the phases last.
    #[serde(default)]
    pub timing: Timing,
    /// Rules that end the run early and undo.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_when: Vec<StopCondition>,
    /// What the run may touch at most.
    #[serde(default)]
    pub limits: Limits,
    /// The AWS account behind the cluster, for the faults that act on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<Aws>,
}

/// A variable's declaration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Variable {
    /// The value when `--set` gives none; without it, `--set` must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A loop that sends requests on a schedule and classifies each outcome.
///
/// Its protocol is the key beside `name` (`http`, `grpc`, `tcp`, `dns`); deserialised by hand so that the key chooses the type.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Name, by which hypotheses refer to it.
    pub name: Name,
    /// Requests per stream.
    pub rate: Rate,
    /// Deadline of one request, from its planned instant.
    pub timeout: Duration,
    /// What is asked.
    pub protocol: Protocol,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Protocol {
    /// HTTP, plain or over TLS.
    Http(Http),
    /// A health check over gRPC.
    Grpc(Grpc),
    /// A TCP connection.
    Tcp(Tcp),
    /// A DNS query.
    Dns(Dns),
}

impl Protocol {
    /// How many streams a probe of it has, each with the whole rate; of a probe per endpoint, how many each endpoint has.
    #[must_use]
    pub fn streams(&self) -> u32 {
        match self {
            Self::Http(Http { connection: Connection::Paired, .. })
            | Self::Grpc(Grpc { connection: Connection::Paired, .. })
            | Self::Dns(Dns { socket: Socket::Paired, .. }) => 2,
            Self::Http(_) | Self::Grpc(_) | Self::Tcp(_) | Self::Dns(_) => 1,
        }
    }
}

/// An HTTP request and what is expected of its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Http {
    /// `http://` or `https://`; a user or password in it is refused.
    pub url: HttpUrl,
    /// Version of HTTP: `1` or `2`. Version 2 is agreed on in the TLS handshake (ALPN), and on an `http://` URL spoken without an
    /// upgrade; no other version is fallen back to.
    #[serde(default)]
    pub version: HttpVersion,
    /// How connections are used.
    #[serde(default)]
    pub connection: Connection,
    /// Method.
    #[serde(default)]
    pub method: Method,
    /// Headers; values from the environment are redacted everywhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderValue>,
    /// Body, sent as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What a good answer looks like.
    #[serde(default)]
    pub expect: Expect,
    /// PEM file with the authorities that sign the server's certificate, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// An absolute `http` or `https` URL without user info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(pub http::Uri);

/// HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET
    #[default]
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
}

/// A header's value: a text, or `valueFrom: {env: NAME}`. Deserialised by hand.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// As written.
    Text(String),
    /// From the environment of the runner; never written anywhere.
    Env(String),
}

/// What a good answer looks like.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expect {
    /// Status; any of 200 to 299 when left out. A number, or a list of numbers. Redirects are never followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusSet>,
    /// Text that the body must contain (the first 64 KiB are looked at).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_contains: Option<String>,
    /// Headers that must be there with this value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// How long the server's certificate has to be valid yet, at every handshake: `14d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_valid_for: Option<Validity>,
}

/// One status or several. Deserialised by hand: `200` or `[200, 204]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(pub Vec<u16>);

/// A hypothesis: about a probe, or about an object. Deserialised by hand: the key `probe` or `object` chooses.
#[derive(Debug, Clone, PartialEq)]
pub enum Hypothesis {
    /// Judged on a probe's samples.
    Probe {
        /// Name of the probe.
        probe: Name,
        /// The tolerance.
        tolerance: Tolerance,
        /// Phases; all of them when left out.
        when: Vec<Phase>,
    },
    /// Judged on every state that the watch shows.
    Object {
        /// `kind/name`, such as `deployment/web`.
        object: ObjectRef,
        /// Namespace.
        namespace: Name,
        /// The predicate.
        tolerance: Predicate,
        /// Phases; all of them when left out.
        when: Vec<Phase>,
    },
}

/// `kind/name`, such as `deployment/web`; the kind is one of `deployment`, `statefulset`, `daemonset`, `pod`, `node`,
/// `poddisruptionbudget`, `replicaset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    /// Kind in lower case.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// One step of the method: when, how long, and exactly one fault.
///
/// Deserialised by hand, so that the fault's key chooses its type and every error has the right place.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Name.
    pub name: Name,
    /// Offset from the start of *during*.
    pub at: Duration,
    /// Held this long, then undone; only for faults that have an undo.
    pub hold: Option<Duration>,
    /// What the step counts as success, where a refusal can be wanted.
    pub expect: Option<Expected>,
    /// The fault.
    pub fault: AnyFault,
}

/// The wanted result of a step whose fault can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Expected {
    /// The fault is accepted.
    Evicted,
    /// A disruption budget refuses it.
    Refused,
}

/// How long the phases last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Timing {
    /// The steady state must hold this long before anything is injected.
    pub before: Duration,
    /// From the first step; covers the last `at` + `for`. Left out, it lasts until undone and healed, at most 15 min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub during: Option<Duration>,
    /// The steady state must hold this long afterwards.
    pub after: Duration,
    /// How long the system may take to heal after the last undo.
    pub heal: Duration,
}

/// A rule that ends the run early: a condition on a probe, with how long it must hold (`for`) or how seldom it may be wrong
/// (`falseAlarms`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(transform = one_rule)]
pub struct StopCondition {
    /// Name of the probe.
    pub probe: Name,
    /// The condition that ends the run, such as `success < 50%`.
    pub tolerance: Tolerance,
    /// For how long it must have held, at every instant; no data counts as met.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Duration>,
    /// How often it may stop a run whose probe does not meet the condition: `1 in 1000h`. Only for `success` and quantiles. It fires
    /// as soon as the evidence is strong enough, over blocks of `over`, or of 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_alarms: Option<FalseAlarms>,
}

/// Exactly one of `for` and `falseAlarms`.
fn one_rule(schema: &mut schemars::Schema) {
    schema.insert("oneOf".to_owned(), serde_json::json!([{ "required": ["for"] }, { "required": ["falseAlarms"] }]));
}

/// What the run may touch at most. Left out: one pod, no node, no group, and the namespaces that the steps name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Pods that the whole run may take away: a number, or a percentage of those the step's selection matches, rounded down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<CountOrPercent>,
    /// Nodes: a number, or a percentage of those the steps' selections match, rounded down. Pods that leave with a node don't count
    /// as pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<CountOrPercent>,
    /// Auto Scaling groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<CountOrPercent>,
    /// The only namespaces in which anything may be touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<Name>>,
    /// Most requests per second over all probes and streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

/// Most requests per second over all probes unless `limits.requestsPerSecond` says otherwise: what one machine sends on time without
/// being the outage that it looks for.
const DEFAULT_CAP: u32 = 10_000;

impl Limits {
    /// Most requests per second over all probes and streams, also where the document does not say.
    #[must_use]
    pub fn most_requests_per_second(&self) -> u32 {
        self.requests_per_second.unwrap_or(DEFAULT_CAP)
    }
}

/// `3` or `"25%"`. Deserialised by hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CountOrPercent {
    /// That many.
    Count(u32),
    /// That share.
    Percent(Percent),
}
