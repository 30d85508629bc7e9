//! The lab: an embedded cluster on which an experiment is rehearsed before it touches a real one.
//!
//! The real client, plan, runner and probe loop work on it; what is modelled lies beyond the HTTP requests that they send:
//!
//! ```text
//!  plan, runner ──▶ kube::Client ──▶ api::Server ──▶ store ◀──▶ controllers, scheduler, kubelets (model)
//!  AWS SDK      ──▶ wire         ──▶ cloud ◀──▶ the nodes' power and network
//!  probe loop   ──▶ transport    ──▶ network (rules of kube-proxy) ──▶ what runs in the pods
//! ```
//! All of it lives in tokio's time: on a paused clock minutes pass in milliseconds. Every random choice comes from one seed. What the model
//! leaves out, and how far it is to be trusted, is said in docs/lab.md.

mod agenda;
mod api;
mod assumed;
mod cloud;
mod datagrams;
mod dns;
mod inspect;
mod manifest;
mod model;
mod network;
#[cfg(test)]
pub(crate) mod oracle;
mod serve;
mod settings;
mod settled;
mod shape;
mod store;
#[cfg(test)]
mod testing;
mod twin;
mod weather;
mod world;

pub use self::assumed::Assumed;
pub use self::cloud::{Groups, Site};
pub use self::manifest::{Applied, ManifestError};
pub use self::serve::Listening;
pub use self::settled::Unsettled;
pub use self::shape::Shape;
pub use self::twin::{Assumption, Loaded, Missing, Objects, Origin, Pseudonyms, Scope, Twin, TwinError, needed};
pub use self::weather::{Death, Deed, Expired, Watched, Weather};

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use tokio::task::AbortHandle;

use self::api::Server;
use self::network::LabInstrument;
use self::weather::Sky;
use self::world::Shared;
use crate::cluster::Cluster;
use crate::probe::Instrument;
use crate::record::ClusterId;

/// The context by which records name the lab.
const CONTEXT: &str = "lab";
/// The version of Kubernetes that is modelled.
const VERSION: &str = "v1.34.0";

/// A running embedded cluster; it ends when this is dropped.
#[derive(Debug)]
pub struct Lab {
    shared: Shared,
    id: ClusterId,
    site: Option<Site>,
    running: AbortHandle,
    /// Workloads that were not settled before it began.
    tolerated: std::collections::BTreeSet<String>,
}

impl Lab {
    /// Makes a cluster with nodes, a DNS and its usual namespaces, and lets its time pass with the runtime's.
    ///
    /// Needs a tokio runtime around it; on one whose clock is paused, its time passes only while nothing else is to be done.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        let shared = Shared::new(shape.seed, shape.wall);
        shape.build(&shared);
        let mut lab = Self::started(shared, &shape.name);
        lab.site.clone_from(&shape.aws);
        lab
    }

    /// Lets the time of a cluster pass.
    fn started(shared: Shared, name: &str) -> Self {
        let uid = shared.read(|world| {
            let system = world.store.get::<Namespace>("", "kube-system");
            system.and_then(|system| system.metadata.uid.clone()).unwrap_or_default()
        });
        let id = ClusterId {
            context: CONTEXT.to_owned(),
            server: name.to_owned(),
            uid,
            version: VERSION.to_owned(),
            aws: None,
        };
        let running = tokio::spawn(shared.clone().keep_going()).abort_handle();
        Self { shared, id, site: None, running, tolerated: std::collections::BTreeSet::new() }
    }

    /// The cluster as the rest of the program knows it: the real client over the modelled API server.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        let cluster = Cluster::over(Server::new(self.shared.clone()), self.id.clone());
        self.in_cloud(cluster.asking(self.datagrams()), None)
    }

    /// The same with the lab's cloud in the place of AWS, whose account is open where the lab has one.
    #[cfg(feature = "aws")]
    fn in_cloud(&self, cluster: Cluster, sky: Option<Arc<Sky>>) -> Cluster {
        cluster.in_cloud(cloud::endpoint(&self.shared, sky), self.site.as_ref().map(Site::id).as_ref())
    }

    /// Without the SDK no account can be opened.
    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_self, reason = "the same signature as with the SDK")]
    fn in_cloud(&self, cluster: Cluster, _: Option<Arc<Sky>>) -> Cluster {
        cluster
    }

    /// Cuts the power of a node: whatever runs on it is gone at once, and nobody is told.
    pub fn cut_power(&self, node: &str) {
        self.shared.with(|world| model::cut_power(world, node));
    }

    /// Gives a node its power back: its kubelet starts what is still bound to it.
    pub fn restore_power(&self, node: &str) {
        self.shared.with(|world| model::restore_power(world, node));
    }

    /// Takes the machine behind a node away for good: the node goes once the cloud's controller has seen that.
    pub fn remove_machine(&self, node: &str) {
        self.shared.with(|world| model::remove_machine(world, node));
    }

    /// How long a node may be silent until it counts as unreachable. Its kubelet renews its lease, and the controller looks, as much more
    /// often as that is shorter than usual.
    pub fn set_node_grace(&self, grace: Duration) {
        self.shared.with(|world| world.settings.set_node_grace(grace));
    }

    /// What a run on it measures with. Needs a `LocalSet` around it.
    #[must_use]
    pub fn instrument(&self) -> Rc<dyn Instrument> {
        Rc::new(LabInstrument(self.shared.clone()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.running.abort();
    }
}
