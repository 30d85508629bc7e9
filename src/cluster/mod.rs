//! The one handle on the outside world: the Kubernetes client, and who the cluster is.

mod connect;
mod error;
mod ledger;

pub use connect::{ConnectError, Connection, connect};
pub use error::{explain, is_transient, status_of};
pub use ledger::{Call, Ledger};

use crate::record::ClusterId;

/// A connected cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    id: ClusterId,
    ledger: Ledger,
}

impl Cluster {
    /// A handle over an existing client: how the lab and the tests make one.
    #[must_use]
    pub fn new(client: kube::Client, id: ClusterId, ledger: Ledger) -> Self {
        Self { client, id, ledger }
    }

    /// The client. Retries nothing by itself; see [`is_transient`].
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A typed API in a namespace.
    #[must_use]
    pub fn api<K>(&self, namespace: &str) -> kube::Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(self.client.clone(), namespace)
    }

    /// A typed API over all namespaces, or of a cluster-scoped kind.
    #[must_use]
    pub fn all<K>(&self) -> kube::Api<K>
    where
        K: kube::Resource,
        K::DynamicType: Default,
    {
        kube::Api::all(self.client.clone())
    }

    /// Context, server, UID and version.
    #[must_use]
    pub const fn id(&self) -> &ClusterId {
        &self.id
    }

    /// Every call made so far.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}
