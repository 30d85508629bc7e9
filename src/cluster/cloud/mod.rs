//! The cloud behind the cluster: Auto Scaling groups and instances, in the few words that faults need of them.
//!
//! The rest of the program knows AWS by the plain types of this module. The SDK, whose EC2 crate takes minutes to compile, is used
//! in `aws` alone, and left out together with the cargo feature of that name.

#[cfg(not(feature = "aws"))]
mod absent;
#[cfg(feature = "aws")]
mod again;
#[cfg(feature = "aws")]
mod aws;
mod error;
#[cfg(feature = "aws")]
mod form;
mod types;

#[cfg(not(feature = "aws"))]
pub use absent::{Cloud, Endpoint};
#[cfg(feature = "aws")]
use again::again;
#[cfg(feature = "aws")]
pub use aws::{Cloud, Endpoint};
#[cfg(all(test, feature = "aws"))]
pub(crate) use aws::{FakeAcls, FakeScaling};
pub use error::CloudError;
pub use types::{Activity, Group, Instance, Interface, Member, NetworkAcl, Simulated, Subnet};

/// What is asked for when a cloud is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The account that the credentials must belong to.
    pub account: String,
    /// Region.
    pub region: String,
    /// Name of the cluster in the tag `kubernetes.io/cluster/NAME`.
    pub cluster: String,
}
