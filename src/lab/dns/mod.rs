//! CoreDNS: the cluster's DNS, as its Corefile says.
//!
//! The Corefile is the one that the pods mount: it is read as CoreDNS reads it ([`corefile`], [`config`]), reaches the pods as late as a
//! real one ([`servers`]), and says what becomes of each query ([`chain`]). Modelled are the plugins `acl`, `cache`, `erratic`, `forward`, `health`
//! (its `lameduck`), `hosts`, `kubernetes`, `loadbalance`, `reload`, `rewrite` (of names and kinds, without regular expressions),
//! `template` (without them), `timeouts`, `view` and `whoami`; every other plugin of CoreDNS lets queries pass. Beyond the cluster lies a
//! resolver that knows no name. NodeLocal DNSCache is not modelled, nor are caches of clients: the probes have none.

mod cached;
mod chain;
mod config;
mod corefile;
mod kubernetes;
mod message;
mod plugins;
mod reading;
mod servers;
mod view;

#[cfg(test)]
mod tests;

pub(in crate::lab) use self::chain::Outcome;
pub(in crate::lab) use self::message::{Query, Reply, plain};
pub(in crate::lab) use self::servers::{Dns, elsewhere, lame_duck, observe, reconcile, serve, starts};
