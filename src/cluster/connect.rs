//! Finding and opening the cluster that was meant, and no other.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Namespace;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::ServiceExt as _;

use super::{Cluster, Commands, Datagrams, Leash, Ledger, credentials, explain};
use crate::record::{ClusterId, IN_CLUSTER};

/// How long a connection may take to open. Reads have no limit of their own, because watches are long; every other call is bounded
/// by its caller.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The namespace of a client that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// How long the cluster may take to say who it is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Which cluster is meant.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// Context of the kubeconfig (`--context`, `SQUALL_CONTEXT`).
    pub context: Option<String>,
    /// Path of the kubeconfig (`--kubeconfig`); `KUBECONFIG` and then `~/.kube/config` without it.
    pub kubeconfig: Option<PathBuf>,
    /// Whether the current context may be used when none is named: read-only verbs say yes, `run` says no.
    pub allow_current: bool,
    /// The wall clock now.
    pub wall: jiff::Timestamp,
}

/// Why no cluster could be opened; always exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// What stands in the way, with the path, context or server.
    pub message: String,
    /// What to type.
    pub hint: Option<String>,
    /// The kubeconfig's current context, when the only obstacle is that no context was named.
    pub implicit: Option<String>,
}

impl ConnectError {
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, implicit: None }
    }

    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..Self::plain(message) }
    }
}

/// Opens the cluster, and asks who it is.
///
/// # Errors
///
/// When no context was named where one must be, when the kubeconfig can't be used, or when the API server does not answer.
pub async fn connect(meant: &Connection) -> Result<Cluster, ConnectError> {
    let (config, context) = configure(meant).await?;
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let (ledger, leash) = (Ledger::default(), Leash::default());
    let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
    let client = build(&config, &ledger, &leash).map_err(|e| match plugin {
        Some(command) => ConnectError::new(
            format!("the credential plugin `{command}` of context `{context}` failed: {}", explain(&e)),
            "is it installed, and on the PATH of this process?",
        ),
        None => ConnectError::plain(format!("can't build a client for context `{context}`: {}", explain(&e))),
    })?;
    let expiry = credentials::expiry(&config.auth_info);
    let refused = |e: &kube::Error| {
        let ended = expiry.as_ref().filter(|expiry| expiry.at <= meant.wall).map(|expiry| expiry.in_words(meant.wall));
        unreachable_server(&context, &server, e, ended.as_deref())
    };
    let namespaces: kube::Api<Namespace> = kube::Api::all(client.clone());
    let ask = async { Ok((client.apiserver_version().await?, namespaces.get("kube-system").await?)) };
    let Ok(answer) = tokio::time::timeout(ANSWER_TIMEOUT, ask).await else {
        let seconds = ANSWER_TIMEOUT.as_secs();
        return Err(ConnectError::plain(format!(
            "the API server {server} (context `{context}`) does not answer: nothing came within {seconds} s"
        )));
    };
    let (version, system) = answer.map_err(|e: kube::Error| refused(&e))?;
    let id = ClusterId {
        context,
        server,
        uid: system.metadata.uid.unwrap_or_default(),
        version: version.git_version,
        aws: None,
    };
    Ok(Cluster {
        client,
        id,
        ledger,
        leash,
        commands: Commands::default(),
        expiry,
        cloud: None,
        endpoint: None,
        datagrams: Datagrams::default(),
    })
}

impl Cluster {
    /// A cluster behind a service that stands in the place of the network, under the same ledger and leash as any other. No
    /// credentials end, and no cloud lies behind it.
    #[must_use]
    pub fn over<S>(service: S, id: ClusterId) -> Self
    where
        S: tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = tower::BoxError>,
        S: Send + Sync + Clone + 'static,
        S::Future: Send + 'static,
    {
        let (ledger, leash) = (Ledger::default(), Leash::default());
        let service = tower::ServiceBuilder::new().layer(leash.clone()).layer(ledger.clone()).service(service);
        let client = ClientBuilder::new(service.boxed(), DEFAULT_NAMESPACE.to_owned()).build();
        Self {
            client,
            id,
            ledger,
            leash,
            commands: Commands::default(),
            expiry: None,
            cloud: None,
            endpoint: None,
            datagrams: Datagrams::default(),
        }
    }
}

async fn configure(meant: &Connection) -> Result<(kube::Config, String), ConnectError> {
    if meant.context.is_none()
        && meant.kubeconfig.is_none()
        && let Ok(mut config) = kube::Config::incluster()
    {
        settle(&mut config);
        return Ok((config, IN_CLUSTER.to_owned()));
    }
    let (kubeconfig, path) = read_kubeconfig(meant)?;
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|c| c.name.as_str()).collect();
    let context = match (&meant.context, &kubeconfig.current_context) {
        (Some(named), _) => named.clone(),
        (None, Some(current)) if meant.allow_current => current.clone(),
        (None, current) => {
            let example = current.as_deref().or(known.first().copied()).unwrap_or("NAME");
            let hint =
                format!("pass `--context {example}` or set SQUALL_CONTEXT (contexts in {path}: {})", known.join(", "));
            let refused = ConnectError::new("no cluster was named, and Squall never acts on an implicit one", hint);
            return Err(ConnectError { implicit: current.clone(), ..refused });
        }
    };
    if !known.contains(&context.as_str()) {
        return Err(ConnectError::new(
            format!("there is no context `{context}` in {path}"),
            format!("it has: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }),
        ));
    }
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| ConnectError::plain(format!("can't use context `{context}` of {path}: {e}")))?;
    settle(&mut config);
    Ok((config, context))
}

/// Our own retries and time limits, never hidden ones.
fn settle(config: &mut kube::Config) {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    config.write_timeout = None;
}

fn read_kubeconfig(meant: &Connection) -> Result<(Kubeconfig, String), ConnectError> {
    let hint = "pass `--kubeconfig PATH` or set KUBECONFIG";
    if let Some(path) = &meant.kubeconfig {
        let shown = format!("`{}`", path.display());
        return Kubeconfig::read_from(path)
            .map(|k| (k, shown.clone()))
            .map_err(|e| ConnectError::new(format!("can't read the kubeconfig {shown}: {}", innermost(&e)), hint));
    }
    let shown = match std::env::var("KUBECONFIG") {
        Ok(paths) if !paths.is_empty() => format!("`{paths}` (KUBECONFIG)"),
        _ => "`~/.kube/config`".to_owned(),
    };
    Kubeconfig::read()
        .map(|k| (k, shown.clone()))
        .map_err(|e| ConnectError::new(format!("can't read the kubeconfig {shown}: {}", innermost(&e)), hint))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

fn build(config: &kube::Config, ledger: &Ledger, leash: &Leash) -> Result<kube::Client, kube::Error> {
    let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
    connector.enforce_http(false);
    // A request's head and body are two writes: with Nagle's algorithm the second waits for the server's delayed ACK, some 40 ms.
    connector.set_nodelay(true);
    connector.set_connect_timeout(config.connect_timeout);
    let connector = config.rustls_https_connector_with_connector(connector)?;
    let http: hyper_util::client::legacy::Client<_, Body> =
        hyper_util::client::legacy::Builder::new(TokioExecutor::new()).retry_canceled_requests(false).build(connector);
    let service = tower::ServiceBuilder::new()
        .layer(leash.clone())
        .layer(ledger.clone())
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(tower::BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service.boxed(), config.default_namespace.clone()).build())
}

fn unreachable_server(context: &str, server: &str, error: &kube::Error, ended: Option<&str>) -> ConnectError {
    let why = explain(error);
    match super::status_of(error).map(|s| s.code) {
        Some(401) => ConnectError::new(
            format!("the API server {server} (context `{context}`) does not accept the credentials: {why}"),
            match ended {
                Some(ended) => format!("{ended}: log in again"),
                None => "log in again; a token or client certificate may have expired".to_owned(),
            },
        ),
        Some(403) => ConnectError::new(
            format!("the API server {server} (context `{context}`) refuses: {why}"),
            "the runner needs `get` on namespace `kube-system` to know which cluster it is; `squall plan FILE --rbac` prints the role",
        ),
        _ => ConnectError::new(
            format!("the API server {server} (context `{context}`) can't be reached: {why}"),
            "is the cluster up, and the kubeconfig's server address right from here?",
        ),
    }
}
