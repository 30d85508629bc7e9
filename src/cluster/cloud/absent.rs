//! What stands in the cloud's place when the cargo feature `aws` is off: a type of which there is no value.

use std::collections::{BTreeMap, BTreeSet};

use super::{Activity, CloudError, Group, Instance, Interface, NetworkAcl, Simulated, Subnet, Wanted};
use crate::cluster::{ConnectError, Expiry, Leash, Ledger};
use crate::record::AwsId;

/// An account that can't be opened.
#[derive(Debug, Clone)]
pub enum Cloud {}

/// What nothing stands in the place of: a type of which there is no value.
#[derive(Debug, Clone)]
pub enum Endpoint {}

impl Cloud {
    /// Always refuses.
    ///
    /// # Errors
    ///
    /// Always.
    #[expect(clippy::unused_async, reason = "the same signature as with the SDK")]
    pub async fn connect(_: &Wanted, _: Option<&Endpoint>, _: Ledger, _: Leash) -> Result<Self, ConnectError> {
        Err(ConnectError::new(
            "this binary was built without AWS, and the experiment acts on an AWS account",
            "build it with the cargo feature `aws`, which is on by default",
        ))
    }

    /// Never called.
    #[must_use]
    pub fn open(endpoint: &Endpoint, _: AwsId, _: Ledger, _: Leash) -> Self {
        match *endpoint {}
    }

    /// Never called.
    #[must_use]
    pub const fn id(&self) -> &AwsId {
        match *self {}
    }

    /// Never called.
    #[must_use]
    pub const fn expiry(&self) -> Option<&Expiry> {
        match *self {}
    }
}

/// The methods of a value that does not exist.
macro_rules! never {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        impl Cloud {
            $(
                /// Never called.
                ///
                /// # Errors
                ///
                /// Never: there is no value of this type.
                pub async fn $name(&self, $($argument: $type),*) -> Result<$answer, CloudError> {
                    $(let _ = $argument;)*
                    match *self {}
                }
            )+
        }
    };
}

never! {
    groups() -> Vec<Group>;
    group(name: &str) -> Option<Group>;
    suspend(name: &str, processes: &BTreeSet<String>) -> ();
    resume(name: &str, processes: &BTreeSet<String>) -> ();
    set_subnets(name: &str, subnets: &BTreeSet<String>) -> ();
    tag(name: &str, tags: &BTreeMap<String, String>) -> ();
    untag(name: &str, keys: &BTreeSet<String>) -> ();
    is_refreshing(name: &str) -> bool;
    activities(name: &str) -> Vec<Activity>;
    instances(ids: &[String]) -> Vec<Instance>;
    is_protected(id: &str) -> bool;
    terminate(id: &str, power_loss: bool, dry_run: bool) -> ();
    scale_in(id: &str) -> ();
    subnets(ids: &[String]) -> Vec<Subnet>;
    interfaces(subnets: &[String]) -> Vec<Interface>;
    acls(filter: &str, values: &[String], of: &str) -> Vec<NetworkAcl>;
    has_acl(id: &str) -> bool;
    create_acl(vpc: &str, subnet: &str, tags: &BTreeMap<String, String>, token: &str, dry_run: bool) -> String;
    associate_acl(association: &str, acl: &str, dry_run: bool) -> ();
    delete_acl(id: &str) -> ();
    simulate(action: &str, resources: &BTreeSet<String>, context: &BTreeMap<String, String>) -> Option<Simulated>;
}
