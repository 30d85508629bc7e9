//! Squall: a chaos experiment runner for Kubernetes and EKS.

pub mod cli;
pub mod cluster;
pub mod fault;
pub mod lab;
pub mod measure;
pub mod plan;
pub mod probe;
pub mod record;
pub mod report;
pub mod run;
pub mod scalar;
pub(crate) mod scheduling;
pub mod spec;
pub mod term;
