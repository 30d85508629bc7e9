//! Which node a pod may run on, by the scheduler's own rules.
//!
//! [`Places`] holds the nodes with what stands on them, [`fit::Fit`] asks kube-scheduler's filters in its order, and scores what is left. Who
//! would be preempted is not looked at, and neither are images, limits of volumes and what schedulers of others do.

mod fit;
mod like;
mod places;
mod resources;
mod rules;
mod score;

pub(crate) use fit::Unfit;
pub(crate) use places::{Place, Places};
pub(crate) use resources::Amounts;
pub(crate) use rules::{CORDONED, is_tolerated, is_wanted, label, reaches, taints, tolerates};
