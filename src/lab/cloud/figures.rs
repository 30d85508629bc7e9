//! How long things take in the cloud. Nobody promises any of it: these are times that are usual for EC2 and EKS's own images.

use std::time::Duration;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Figures {
    /// From a call to its answer.
    pub answer: Duration,
    /// From a launch until the instance runs.
    pub pending: Duration,
    /// From there until its node is in the cluster and Ready.
    pub boot: Duration,
    /// What else a boot may take, at random.
    pub boot_spread: Duration,
    /// From a termination without a shutdown until the power is off.
    pub power_loss: Duration,
    /// How long an operating system takes to shut down: then the power is off.
    pub shut_down: Duration,
    /// From the end of the power until EC2 calls the instance terminated.
    pub end: Duration,
    /// For how long after that it is still described.
    pub forget: Duration,
    /// From an instance's end until its group takes it for unhealthy, and replaces it.
    pub health: Duration,
    /// From a subnet's other network ACL until its packets meet it.
    pub acl: Duration,
    /// From resumed or changed settings of a group until it acts on them.
    pub scaling: Duration,
}

impl Default for Figures {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            answer: Duration::from_millis(60),
            pending: s(8),
            boot: s(30),
            boot_spread: s(10),
            power_loss: Duration::ZERO,
            shut_down: s(5),
            end: s(25),
            forget: Duration::from_hours(1),
            health: s(30),
            acl: Duration::ZERO,
            scaling: s(2),
        }
    }
}
