//! The network of the lab: what names resolve to, Services' rules as kube-proxy writes them, and the way of a probe's request.
//!
//! Probes are sent from a place of their own inside the cluster's network, which no fault reaches: as from a pod on a node that is not
//! touched, whose kube-proxy follows the endpoints like any other.

mod asking;
mod client;
mod instrument;
mod load;
mod looks;
mod multiplexed;
mod queries;
mod resolve;
mod rules;
mod transport;

#[cfg(test)]
mod tests;

pub(in crate::lab) use self::instrument::LabInstrument;
pub(in crate::lab) use self::load::{Capacity, Full, Served, Spread, busy, load_of, serve};
pub(in crate::lab) use self::queries::{CLIENT, Delivered, deliver};
pub(in crate::lab) use self::rules::{Network, observe, reconcile};
pub(in crate::lab) use self::transport::{Dialled, dial};
