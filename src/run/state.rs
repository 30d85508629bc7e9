//! What a run keeps in the cluster: the lease that makes it the only one, and its copy of the undo log.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;

use crate::cluster::{Cluster, Let, explain, is_transient, status_of};

/// Label on everything that Squall keeps in the state namespace.
pub const MANAGED: (&str, &str) = ("app.kubernetes.io/managed-by", "squall");
/// Label that names the run.
pub const RUN_LABEL: &str = "squall.dev/run";
/// Key of the log in its ConfigMap.
const LOG_KEY: &str = "undo.jsonl";
/// Time limit of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Tries of one write.
const ATTEMPTS: u32 = 3;

/// Why the cluster's copy can't be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {why}")]
pub struct StateError {
    doing: String,
    why: String,
    /// The API's status code, 0 without one.
    pub code: u16,
}

impl StateError {
    /// A patch that can't be written down: our own mistake.
    pub(super) fn bug(error: &serde_json::Error) -> Self {
        Self { doing: "build a patch".to_owned(), why: error.to_string(), code: 0 }
    }
}

/// The cluster's copies of undo logs.
#[derive(Debug, Clone)]
pub struct StateStore {
    cluster: Cluster,
    namespace: String,
}

impl StateStore {
    /// The store in a namespace.
    #[must_use]
    pub fn new(cluster: Cluster, namespace: impl Into<String>) -> Self {
        Self { cluster, namespace: namespace.into() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The cluster.
    #[must_use]
    pub const fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Name of the ConfigMap of a run.
    #[must_use]
    pub fn object_name(run: &str) -> String {
        format!("squall-run-{run}")
    }

    /// The copy of this run may be made, written and removed.
    fn let_through(&self, run: &str) {
        self.cluster.leash().let_through(own(&self.namespace, "", "configmaps", &Self::object_name(run)));
    }

    fn api(&self) -> kube::Api<ConfigMap> {
        self.cluster.api(&self.namespace)
    }

    /// Makes the copy of a new run.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub async fn create(&self, run: &str, text: &str) -> Result<(), StateError> {
        self.let_through(run);
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(Self::object_name(run)),
                labels: Some(BTreeMap::from([
                    (MANAGED.0.to_owned(), MANAGED.1.to_owned()),
                    (RUN_LABEL.to_owned(), run.to_owned()),
                ])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([(LOG_KEY.to_owned(), text.to_owned())])),
            ..ConfigMap::default()
        };
        let api = self.api();
        let doing = format!("create ConfigMap {}/{}", self.namespace, Self::object_name(run));
        let params = PostParams::default();
        match attempt(&doing, || api.create(&params, &map)).await {
            // A first try whose answer was lost.
            Err(e) if e.code == 409 => self.write(run, text).await,
            answer => answer.map(drop),
        }
    }

    /// Writes the whole log. It is durable in the cluster when this returns.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub async fn write(&self, run: &str, text: &str) -> Result<(), StateError> {
        self.let_through(run);
        let patch = Patch::Merge(serde_json::json!({ "data": { LOG_KEY: text } }));
        let name = Self::object_name(run);
        let params = PatchParams::default().validation_strict();
        let api = self.api();
        let doing = format!("write ConfigMap {}/{name}", self.namespace);
        attempt(&doing, || api.patch(&name, &params, &patch)).await.map(drop)
    }

    /// The copy of a run; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub async fn read(&self, run: &str) -> Result<Option<String>, StateError> {
        let name = Self::object_name(run);
        let api = self.api();
        let found = attempt(&format!("get ConfigMap {}/{name}", self.namespace), || api.get_opt(&name)).await?;
        Ok(found.and_then(|map| map.data?.remove(LOG_KEY)))
    }

    /// Every run that has a copy, with its log.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub async fn all(&self) -> Result<Vec<(String, String)>, StateError> {
        let params = ListParams::default().labels(&format!("{}={},{RUN_LABEL}", MANAGED.0, MANAGED.1));
        let api = self.api();
        let list = attempt(&format!("list ConfigMaps in {}", self.namespace), || api.list(&params)).await?;
        let mut runs: Vec<(String, String)> = list
            .into_iter()
            .filter_map(|mut map| {
                let run = map.metadata.labels.as_ref()?.get(RUN_LABEL)?.clone();
                Some((run, map.data.as_mut()?.remove(LOG_KEY)?))
            })
            .collect();
        runs.sort();
        Ok(runs)
    }

    /// Removes the copy of a run that left nothing behind.
    ///
    /// # Errors
    ///
    /// When the API refuses, or does not answer.
    pub async fn delete(&self, run: &str) -> Result<(), StateError> {
        self.let_through(run);
        let name = Self::object_name(run);
        let api = self.api();
        let doing = format!("delete ConfigMap {}/{name}", self.namespace);
        let params = DeleteParams::default();
        match attempt(&doing, || api.delete(&name, &params)).await {
            Err(e) if e.code != 404 => Err(e),
            _ => Ok(()),
        }
    }
}

/// Changes to an object of Squall's own, and its creation, whose call does not name it.
pub(super) fn own(namespace: &str, group: &str, resource: &str, name: &str) -> [Let; 2] {
    let one = |name: &str, verb: Option<&str>| Let {
        verb: verb.map(ToOwned::to_owned),
        group: Some(group.to_owned()),
        resource: resource.to_owned(),
        namespace: namespace.to_owned(),
        name: Some(name.to_owned()),
    };
    [one(name, None), one("", Some("create"))]
}

/// Calls with a time limit, and again after a transient error.
pub(super) async fn attempt<T, F>(doing: &str, mut call: impl FnMut() -> F) -> Result<T, StateError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut tries = 1;
    loop {
        let answer = tokio::time::timeout(CALL_TIMEOUT, call()).await;
        let (why, code, again) = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(e)) => (explain(&e), status_of(&e).map_or(0, |s| s.code), is_transient(&e)),
            Err(_) => (format!("no answer within {} s", CALL_TIMEOUT.as_secs()), 0, true),
        };
        if !again || tries == ATTEMPTS {
            return Err(StateError { doing: doing.to_owned(), why, code });
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
