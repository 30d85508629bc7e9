//! The one handle on the outside world: the Kubernetes client, and who the cluster is.

mod call;
mod cloud;
mod command;
mod connect;
mod credentials;
mod datagrams;
mod engine;
mod error;
mod leash;
mod ledger;

pub use call::Call;
pub use cloud::{
    Activity, Cloud, CloudError, Endpoint, Group, Instance, Interface, Member, NetworkAcl, Simulated, Subnet, Wanted,
};
#[cfg(all(test, feature = "aws"))]
pub(crate) use cloud::{FakeAcls, FakeScaling};
pub use command::{CommandError, CommandLine, Commands};
pub use connect::{ConnectError, Connection, connect};
pub use credentials::Expiry;
pub use datagrams::{AskDns, Datagrams};
pub use engine::{Container, Engine, EngineError};
pub use error::{explain, is_transient, status_of};
pub use leash::{Leash, Let, OffLeash};
pub use ledger::{CallLine, Ledger, Made};

use crate::record::{AwsId, ClusterId};

/// A connected cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    id: ClusterId,
    ledger: Ledger,
    leash: Leash,
    commands: Commands,
    expiry: Option<Expiry>,
    cloud: Option<Cloud>,
    /// What stands in the place of AWS.
    endpoint: Option<Endpoint>,
    datagrams: Datagrams,
}

impl Cluster {
    /// A handle over a client below which no ledger and no leash lie: how tests make one.
    #[must_use]
    pub fn new(client: kube::Client, id: ClusterId) -> Self {
        Self {
            client,
            id,
            ledger: Ledger::default(),
            leash: Leash::default(),
            commands: Commands::default(),
            expiry: None,
            cloud: None,
            endpoint: None,
            datagrams: Datagrams::default(),
        }
    }

    /// The same with DNS servers asked in another way than over this machine's sockets.
    #[must_use]
    pub fn asking(self, carrier: impl AskDns + 'static) -> Self {
        Self { datagrams: Datagrams::by(carrier), ..self }
    }

    /// The same with an open cloud: how tests make one.
    #[cfg(all(test, feature = "aws"))]
    #[must_use]
    pub(crate) fn behind(self, cloud: Cloud) -> Self {
        Self { cloud: Some(cloud), ..self }
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

    /// The same cluster with the cloud behind it, whose calls go into the same ledger and hang on the same leash.
    ///
    /// # Errors
    ///
    /// When the credentials are missing, not accepted, or of another account.
    pub async fn with_cloud(&self, wanted: &Wanted) -> Result<Self, ConnectError> {
        let cloud = Cloud::connect(wanted, self.endpoint.as_ref(), self.ledger.clone(), self.leash.clone()).await?;
        let id = ClusterId { aws: Some(cloud.id().clone()), ..self.id.clone() };
        Ok(Self { id, cloud: Some(cloud), ..self.clone() })
    }

    /// The same cluster with a service in the place of AWS: no account is ever reached but through it. Where the account behind the cluster
    /// is known, it is open at once.
    #[must_use]
    pub fn in_cloud(self, endpoint: Endpoint, aws: Option<&AwsId>) -> Self {
        let opened = |aws: &AwsId| Cloud::open(&endpoint, aws.clone(), self.ledger.clone(), self.leash.clone());
        let cloud = aws.map(opened);
        let id = ClusterId { aws: cloud.as_ref().map(|cloud| cloud.id().clone()), ..self.id };
        Self { id, cloud, endpoint: Some(endpoint), ..self }
    }

    /// The cloud behind it, where one was opened.
    #[must_use]
    pub const fn cloud(&self) -> Option<&Cloud> {
        self.cloud.as_ref()
    }

    /// When the first of the credentials end, where that can be known.
    #[must_use]
    pub fn expiry(&self) -> Option<&Expiry> {
        let cloud = self.cloud.as_ref().and_then(Cloud::expiry);
        [self.expiry.as_ref(), cloud].into_iter().flatten().min_by_key(|expiry| expiry.at)
    }

    /// Who carries questions to DNS servers.
    #[must_use]
    pub const fn datagrams(&self) -> &Datagrams {
        &self.datagrams
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

    /// Which commands of this machine may be run: none, until somebody lets them.
    #[must_use]
    pub const fn commands(&self) -> &Commands {
        &self.commands
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("id", &self.id).finish_non_exhaustive()
    }
}
