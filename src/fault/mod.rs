//! The catalogue of faults. Adding one is a file in this folder and a line in the list below; schema, reference, permissions, plan
//! and tests loop over the list.

mod choice;
mod contract;
mod copies;
mod eviction;
mod groups;
mod held;
mod hold;
mod instances;
mod isolate;
mod kube;
mod leaving;
mod nodes;
mod pods;
mod stranded;

pub use self::kube::PROTECTED;
pub(crate) use self::kube::{covers, is_protected, list, list_metadata, owner_of, refused, retried};
pub use contract::{
    About, Acting, CloudPermission, CloudScope, Complaint, Effect, Ending, Fault, FaultError, Heal, Injected, Left,
    Permission, Planning, Refusal, Resolution, Undo,
};
pub use groups::GroupTargets;
pub use hold::Process;
pub use nodes::NodeTargets;
pub use pods::PodTargets;

/// Makes the module, the enum variant, the parser's arm and the dispatch of each listed fault.
macro_rules! catalogue {
    ($($module:ident :: $fault:ident),+ $(,)?) => {
        $(mod $module; pub use $module::$fault;)+

        /// A fault of the catalogue with its arguments.
        #[derive(Debug, Clone, PartialEq)]
        pub enum AnyFault {
            $(#[doc = concat!("See [`", stringify!($fault), "`].")] $fault($fault),)+
        }

        /// What every fault says of itself, in the catalogue's order.
        pub const CATALOGUE: &[About] = &[$(<$fault as Fault>::ABOUT),+];

        impl AnyFault {
            /// Reads the arguments that stand under a fault's key. `None`: no fault has this key.
            pub fn read<'de, D: serde::Deserializer<'de>>(key: &str, arguments: D) -> Option<Result<Self, D::Error>> {
                $(if key == <$fault as Fault>::ABOUT.key {
                    return Some(<$fault as serde::Deserialize>::deserialize(arguments).map(Self::$fault));
                })+
                None
            }

            /// The schema of each fault's arguments by key.
            pub fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<(&'static str, schemars::Schema)> {
                vec![$((<$fault as Fault>::ABOUT.key, generator.subschema_for::<$fault>())),+]
            }

            /// See [`Fault::about`].
            #[must_use]
            pub fn about(&self) -> About {
                match self { $(Self::$fault(f) => f.about()),+ }
            }

            /// The arguments as JSON.
            pub fn arguments(&self) -> Result<serde_json::Value, serde_json::Error> {
                match self { $(Self::$fault(f) => serde_json::to_value(f)),+ }
            }

            /// See [`Fault::check`].
            #[must_use]
            pub fn check(&self) -> Vec<Complaint> {
                match self { $(Self::$fault(f) => f.check()),+ }
            }

            /// See [`Fault::namespaces`].
            #[must_use]
            pub fn namespaces(&self) -> Vec<String> {
                match self { $(Self::$fault(f) => f.namespaces()),+ }
            }

            /// See [`Fault::permissions`].
            #[must_use]
            pub fn permissions(&self) -> Vec<Permission> {
                match self { $(Self::$fault(f) => f.permissions()),+ }
            }

            /// See [`Fault::cloud_permissions`].
            #[must_use]
            pub fn cloud_permissions(&self) -> Vec<CloudPermission> {
                match self { $(Self::$fault(f) => f.cloud_permissions()),+ }
            }

            /// See [`Fault::longest_injection`].
            #[must_use]
            pub fn longest_injection(&self) -> std::time::Duration {
                match self { $(Self::$fault(f) => f.longest_injection()),+ }
            }

            /// See [`Fault::effect_deadline`].
            pub fn effect_deadline(&self, note: &serde_json::Value) -> Result<std::time::Duration, FaultError> {
                match self { $(Self::$fault(f) => Ok(f.effect_deadline(&read_note::<$fault>(note)?))),+ }
            }

            /// See [`Fault::holds`].
            #[must_use]
            pub fn holds(&self, target: &Target) -> bool {
                match self { $(Self::$fault(f) => f.holds(target)),+ }
            }

            /// See [`Fault::wave`].
            #[must_use]
            pub fn wave(&self, target: &Target) -> u8 {
                match self { $(Self::$fault(f) => f.wave(target)),+ }
            }

            /// See [`Fault::resolve`].
            pub async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
                match self { $(Self::$fault(f) => f.resolve(cx).await),+ }
            }

            /// See [`Fault::prepare`].
            pub async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<serde_json::Value>, FaultError> {
                match self { $(Self::$fault(f) => f.prepare(cx, target).await?.map(|note| write_note(&note)).transpose()),+ }
            }

            /// See [`Fault::inject`].
            pub async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &serde_json::Value) -> Result<Injected, FaultError> {
                match self { $(Self::$fault(f) => f.inject(cx, target, &read_note::<$fault>(note)?).await),+ }
            }

            /// See [`Fault::effect`].
            pub async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &serde_json::Value) -> Result<Effect, FaultError> {
                match self { $(Self::$fault(f) => f.effect(cx, target, &read_note::<$fault>(note)?).await),+ }
            }

            /// See [`Fault::replaced`].
            pub async fn replaced(&self, cx: &Acting<'_>, targets: &[Target], displaced: &[Displaced]) -> Result<Vec<Replaced>, FaultError> {
                match self { $(Self::$fault(f) => f.replaced(cx, targets, displaced).await),+ }
            }
        }

        /// See [`Fault::FOR_THE_CLUSTER`].
        #[must_use]
        pub fn is_for_the_cluster(key: &str) -> bool {
            $((key == <$fault as Fault>::ABOUT.key && <$fault as Fault>::FOR_THE_CLUSTER))||+
        }

        /// Takes back the fault of this key, from its note alone. `None`: this binary knows no such fault.
        pub async fn undo(key: &str, cx: &Acting<'_>, target: &Target, note: &serde_json::Value) -> Option<Result<Undo, FaultError>> {
            $(if key == <$fault as Fault>::ABOUT.key {
                return Some(match read_note::<$fault>(note) {
                    Ok(note) => <$fault as Fault>::undo(cx, target, &note).await,
                    Err(e) => Err(e),
                });
            })+
            None
        }

        /// The commands that taking back the fault of this key would run. A note that can't be read names none; its undo says so.
        #[must_use]
        pub fn undo_commands(key: &str, note: &serde_json::Value) -> Vec<CommandLine> {
            $(if key == <$fault as Fault>::ABOUT.key {
                return read_note::<$fault>(note).map(|note| <$fault as Fault>::undo_commands(&note)).unwrap_or_default();
            })+
            Vec::new()
        }

        /// Undo notes on objects, of every fault. See [`Fault::left_on`].
        pub async fn left_on(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Left>, FaultError> {
            let mut left = Vec::new();
            $(left.extend(<$fault as Fault>::left_on(cluster, namespace).await?);)+
            Ok(left)
        }

        /// Whether the system is whole again after the fault of this key.
        pub async fn healed(key: &str, cx: &Acting<'_>, target: &Target, note: &serde_json::Value) -> Option<Result<Heal, FaultError>> {
            $(if key == <$fault as Fault>::ABOUT.key {
                return Some(match read_note::<$fault>(note) {
                    Ok(note) => <$fault as Fault>::healed(cx, target, &note).await,
                    Err(e) => Err(e),
                });
            })+
            None
        }
    };
}

catalogue! {
    pod_kill::PodKill,
    pod_evict::PodEvict,
    scale::Scale,
    core_dns::CoreDns,
    node_drain::NodeDrain,
    asg_suspend::AsgSuspend,
    node_terminate::NodeTerminate,
    zone_outage::ZoneOutage,
}

use crate::cluster::{Cluster, CommandLine};
use crate::record::{Displaced, Replaced, Target};

fn write_note<N: serde::Serialize>(note: &N) -> Result<serde_json::Value, FaultError> {
    serde_json::to_value(note).map_err(|e| FaultError::State(format!("the undo note can't be written: {e}")))
}

fn read_note<F: Fault>(note: &serde_json::Value) -> Result<F::Note, FaultError> {
    serde_json::from_value(note.clone())
        .map_err(|e| FaultError::State(format!("the undo note of `{}` can't be read: {e}", F::ABOUT.key)))
}

/// What every fault says of itself, by key.
#[must_use]
pub fn about(key: &str) -> Option<&'static About> {
    CATALOGUE.iter().find(|about| about.key == key)
}
