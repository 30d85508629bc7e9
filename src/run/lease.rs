//! One run at a time per cluster: the lease, its renewal, and the abort that another machine asks for through it.
//!
//! A lease that is held is believed to be alive only if it is *seen* to be renewed: clocks of two machines are never compared. While the
//! API server can't be reached, nobody else can take the lease either (that needs the same server to show it unrenewed for its
//! whole duration); so a run that can't renew stops injecting, and goes on once the server shows that the lease is still its own.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::state::{MANAGED, StateError, attempt, own};
use crate::cluster::Cluster;

/// Name of the lease.
pub const LEASE: &str = "squall";
/// API group of leases.
const GROUP: &str = "coordination.k8s.io";
/// Annotation through which another machine asks the run to end.
pub const ABORT: &str = "squall.dev/abort";
/// A lease that is not renewed for this long is dead.
pub const DURATION: Duration = Duration::from_secs(15);
/// Pause between renewals.
const RENEW: Duration = Duration::from_secs(3);
/// How often a foreign lease is looked at while it must show whether it lives.
const LOOK: Duration = Duration::from_millis(500);
/// A run that could not confirm its lease for this long gives up.
pub const GIVE_UP: Duration = Duration::from_mins(1);

/// Why the lease can't be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another run holds it, and renews it.
    #[error("run `{holder}` is going on in this cluster")]
    Held {
        /// The holder: run id and host.
        holder: String,
    },
    /// The state namespace is not there.
    #[error("namespace `{namespace}`, where Squall keeps its state, does not exist")]
    NoNamespace {
        /// The namespace.
        namespace: String,
    },
    /// The API refuses, or does not answer.
    #[error(transparent)]
    Api(#[from] StateError),
}

/// What the keeper has to say to the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseNews {
    /// Another machine asks the run to end.
    AbortAsked {
        /// Who.
        by: String,
    },
    /// Somebody else holds the lease now.
    Lost {
        /// Who.
        holder: String,
    },
    /// The lease could not be renewed: nothing may be injected until it is confirmed.
    Unconfirmed {
        /// The last time that the API server answered.
        since: Instant,
    },
    /// The lease is ours, seen on the API server.
    Confirmed,
}

/// Where the lease is, and who wants it.
#[derive(Debug, Clone)]
pub struct Place {
    /// The cluster.
    pub cluster: Cluster,
    /// State namespace.
    pub namespace: String,
    /// Who wants it: run id and host.
    pub holder: String,
}

impl Place {
    fn api(&self) -> kube::Api<Lease> {
        self.cluster.api(&self.namespace)
    }

    /// Takes the lease. A foreign one is watched for its whole duration: seen renewed, it is refused; else it is taken over.
    /// `force` takes it at once. `wait` is called once when that watching begins, with the holder.
    ///
    /// # Errors
    ///
    /// When it is held, or the API refuses.
    pub async fn acquire(
        &self,
        wall: jiff::Timestamp,
        force: bool,
        mut wait: impl FnMut(&str),
    ) -> Result<(), LeaseError> {
        let api = self.api();
        self.cluster.leash().let_through(own(&self.namespace, GROUP, "leases", LEASE));
        let mut seen: Option<(String, Option<MicroTime>, Instant)> = None;
        loop {
            let Some(found) = attempt("get the lease", || api.get_opt(LEASE)).await? else {
                match self.create(wall).await {
                    Err(e) if e.code == 409 => continue,
                    Err(e) if e.code == 404 => {
                        return Err(LeaseError::NoNamespace { namespace: self.namespace.clone() });
                    }
                    answer => return Ok(answer?),
                }
            };
            let spec = found.spec.clone().unwrap_or_default();
            let holder = spec.holder_identity.clone().unwrap_or_default();
            let dead = match &seen {
                _ if holder.is_empty() || holder == self.holder || force => true,
                Some((who, renewed, _)) if *who != holder || *renewed != spec.renew_time => {
                    return Err(LeaseError::Held { holder });
                }
                Some((.., since)) => since.elapsed() > DURATION,
                None => {
                    wait(&holder);
                    seen = Some((holder.clone(), spec.renew_time.clone(), Instant::now()));
                    false
                }
            };
            if !dead {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            match self.take(found, wall).await {
                Err(e) if e.code == 409 => seen = None,
                answer => return Ok(answer?),
            }
        }
    }

    async fn create(&self, wall: jiff::Timestamp) -> Result<(), StateError> {
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                labels: Some([(MANAGED.0.to_owned(), MANAGED.1.to_owned())].into()),
                ..ObjectMeta::default()
            },
            spec: Some(self.spec(wall, 0)),
        };
        let api = self.api();
        let params = PostParams::default();
        attempt("create the lease", || api.create(&params, &lease)).await.map(drop)
    }

    /// Replaces the whole object, with its resourceVersion as precondition: of two that try, one gets 409.
    async fn take(&self, mut lease: Lease, wall: jiff::Timestamp) -> Result<(), StateError> {
        let transitions = lease.spec.as_ref().and_then(|s| s.lease_transitions).unwrap_or(0);
        lease.spec = Some(self.spec(wall, transitions.saturating_add(1)));
        if let Some(annotations) = &mut lease.metadata.annotations {
            annotations.remove(ABORT);
        }
        lease.metadata.managed_fields = None;
        let api = self.api();
        let params = PostParams::default();
        attempt("take the lease", || api.replace(LEASE, &params, &lease)).await.map(drop)
    }

    fn spec(&self, wall: jiff::Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(wall)),
            renew_time: Some(MicroTime(wall)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Gives the lease back, if it is still ours.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer: the lease then dies by itself after [`DURATION`].
    pub async fn release(&self) -> Result<(), StateError> {
        let api = self.api();
        let patch: json_patch::Patch = serde_json::from_value(serde_json::json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": self.holder },
            { "op": "replace", "path": "/spec/holderIdentity", "value": "" },
        ]))
        .map_err(|e| StateError::bug(&e))?;
        let (params, patch) = (PatchParams::default().validation_strict(), Patch::<()>::Json(patch));
        match attempt("release the lease", || api.patch(LEASE, &params, &patch)).await {
            // 422: the test failed, so it is somebody else's by now.
            Err(e) if !matches!(e.code, 404 | 422) => Err(e),
            _ => Ok(()),
        }
    }

    /// Renews the lease and listens to it until the receiver is dropped. `wall_now` gives the wall clock for `renewTime`.
    pub async fn keep(self, wall_now: impl Fn() -> jiff::Timestamp, news: mpsc::UnboundedSender<LeaseNews>) {
        tokio::select! {
            biased;
            () = self.renew(wall_now, &news) => {}
            () = self.listen(&news) => {}
            () = news.closed() => {}
        }
    }

    async fn renew(&self, wall_now: impl Fn() -> jiff::Timestamp, news: &mpsc::UnboundedSender<LeaseNews>) {
        let mut confirmed = Instant::now();
        let mut sure = true;
        loop {
            // While unsure, look often: the pause of injections ends with the first answer.
            tokio::time::sleep(if sure { RENEW } else { LOOK }).await;
            match self.renew_once(wall_now()).await {
                Ok(None) => {
                    confirmed = Instant::now();
                    if !sure {
                        sure = true;
                        let _closed = news.send(LeaseNews::Confirmed);
                    }
                }
                Ok(Some(holder)) => {
                    let _closed = news.send(LeaseNews::Lost { holder });
                    return;
                }
                Err(_) if sure => {
                    sure = false;
                    let _closed = news.send(LeaseNews::Unconfirmed { since: confirmed });
                }
                Err(_) => {}
            }
        }
    }

    /// `Ok(Some(holder))`: it is somebody else's.
    async fn renew_once(&self, wall: jiff::Timestamp) -> Result<Option<String>, StateError> {
        let api = self.api();
        let patch: json_patch::Patch = serde_json::from_value(serde_json::json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": self.holder },
            { "op": "replace", "path": "/spec/renewTime", "value": MicroTime(wall) },
        ]))
        .map_err(|e| StateError::bug(&e))?;
        let (params, patch) = (PatchParams::default().validation_strict(), Patch::<()>::Json(patch));
        match attempt("renew the lease", || api.patch(LEASE, &params, &patch)).await {
            Ok(_) => Ok(None),
            Err(e) if matches!(e.code, 404 | 422) => {
                let found = attempt("get the lease", || api.get_opt(LEASE)).await?;
                let holder = found.and_then(|l| l.spec?.holder_identity).unwrap_or_default();
                Ok((holder != self.holder).then_some(holder))
            }
            Err(e) => Err(e),
        }
    }

    async fn listen(&self, news: &mpsc::UnboundedSender<LeaseNews>) {
        let config = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        let mut stream = std::pin::pin!(watcher(self.api(), config).default_backoff().applied_objects());
        let mut told = false;
        while let Some(seen) = stream.next().await {
            let Ok(lease) = seen else { continue };
            let asked = lease.metadata.annotations.as_ref().and_then(|a| a.get(ABORT));
            if let Some(by) = asked
                && !told
            {
                told = true;
                let _closed = news.send(LeaseNews::AbortAsked { by: by.clone() });
            }
        }
    }
}

/// Who holds the lease of a cluster now; empty when nobody does.
///
/// # Errors
///
/// When the API refuses, or does not answer.
pub async fn holder(cluster: &Cluster, namespace: &str) -> Result<String, StateError> {
    let api: kube::Api<Lease> = cluster.api(namespace);
    let lease = attempt("get the lease", || api.get_opt(LEASE)).await?;
    Ok(lease.and_then(|l| l.spec?.holder_identity).unwrap_or_default())
}

/// Asks the run that holds the lease to end. It is told within a second, by its watch.
///
/// # Errors
///
/// When the holder is another by now (code 422), when the API refuses, or does not answer.
pub async fn ask_to_abort(cluster: &Cluster, namespace: &str, holder: &str, by: &str) -> Result<(), StateError> {
    let api: kube::Api<Lease> = cluster.api(namespace);
    cluster.leash().let_through(own(namespace, GROUP, "leases", LEASE));
    let found = attempt("get the lease", || api.get(LEASE)).await?;
    let mut operations = vec![serde_json::json!({ "op": "test", "path": "/spec/holderIdentity", "value": holder })];
    if found.metadata.annotations.is_none() {
        operations.push(serde_json::json!({ "op": "add", "path": "/metadata/annotations", "value": {} }));
    }
    let annotation = format!("/metadata/annotations/{}", ABORT.replace('/', "~1"));
    operations.push(serde_json::json!({ "op": "add", "path": annotation, "value": by }));
    let patch: json_patch::Patch =
        serde_json::from_value(serde_json::Value::Array(operations)).map_err(|e| StateError::bug(&e))?;
    let (strict, patch) = (PatchParams::default().validation_strict(), Patch::<()>::Json(patch));
    attempt("mark the lease", || api.patch(LEASE, &strict, &patch)).await.map(drop)
}
