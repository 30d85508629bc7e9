//! The one handle on the outside world: the Kubernetes client, and who the cluster is.

mod call;
mod connect;
mod credentials;
mod error;
mod leash;
mod ledger;

pub use call::Call;
pub use connect::{ConnectError, Connection, connect};
pub use credentials::Expiry;
pub use error::{explain, is_transient, status_of};
pub use leash::{Leash, Let, OffLeash};
pub use ledger::{CallLine, Ledger, Made};

use crate::record::ClusterId;

/// A connected cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    id: ClusterId,
    ledger: Ledger,
    leash: Leash,
    expiry: Option<Expiry>,
}

impl Cluster {
    /// A handle over a client below which no ledger and no leash lie: how tests make one.
    #[must_use]
    pub fn new(client: kube::Client, id: ClusterId) -> Self {
        Self { client, id, ledger: Ledger::default(), leash: Leash::default(), expiry: None }
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

    /// When the credentials end, where that can be known.
    #[must_use]
    pub const fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }

    /// Every call made through the client.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the client may change: nothing, until somebody lets it.
    #[must_use]
    pub const fn leash(&self) -> &Leash {
        &self.leash
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}
