//! What the account is made of.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// The processes of a group: these are suspended and resumed, and no others.
pub(super) const PROCESSES: [&str; 9] = [
    "AZRebalance",
    "AddToLoadBalancer",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "Launch",
    "ReplaceUnhealthy",
    "ScheduledActions",
    "Terminate",
];

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    ShuttingDown,
    Terminated,
}

impl State {
    /// As EC2 writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
        }
    }

    /// EC2's number for it.
    pub(super) const fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
        }
    }

    /// Whether it is about to serve, or serves.
    pub(super) const fn is_up(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    /// Whether it only is remembered.
    pub(super) const fn is_over(self) -> bool {
        matches!(self, Self::Terminated)
    }
}

/// An instance, and the machine that it is.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub id: String,
    pub state: State,
    pub zone: String,
    pub subnet: String,
    /// Its network interface.
    pub interface: String,
    pub address: String,
    /// The node that it is or becomes.
    pub node: String,
    pub tags: BTreeMap<String, String>,
    pub launched: Timestamp,
    /// Nobody may terminate it through EC2.
    pub protected: bool,
    /// Whether its node has joined the cluster.
    pub joined: bool,
    /// Whether its power is off.
    pub off: bool,
    /// When something is due for it.
    pub due: Option<Instant>,
}

/// A subnet.
#[derive(Debug, Clone)]
pub(super) struct Subnet {
    pub zone: String,
    /// The zone by the name that all accounts share.
    pub zone_id: String,
    /// The network ACL that it is under.
    pub acl: String,
    /// The id that says so.
    pub association: String,
}

/// A network ACL.
#[derive(Debug, Clone)]
pub(super) struct Acl {
    pub is_default: bool,
    /// Whether it lets everything through; else nothing.
    pub allows: bool,
    pub tags: BTreeMap<String, String>,
    /// By which its making is known when it is asked for again.
    pub token: String,
}

/// A tag of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub value: String,
    /// Whether instances that it launches get it.
    pub propagates: bool,
}

/// How far an instance is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Pending,
    InService,
    Terminating,
}

impl Lifecycle {
    /// As Auto Scaling writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
        }
    }
}

/// An instance as its group knows it.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub id: String,
    pub zone: String,
    pub lifecycle: Lifecycle,
    pub healthy: bool,
    /// When it was first seen to be unhealthy.
    pub sick: Option<Instant>,
    /// The group does not choose it when it scales in.
    pub protected: bool,
    pub launched: Timestamp,
}

/// An Auto Scaling group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub name: String,
    pub arn: String,
    pub min: usize,
    pub desired: usize,
    pub max: usize,
    pub subnets: BTreeSet<String>,
    /// Suspended processes, and why.
    pub suspended: BTreeMap<String, String>,
    pub tags: BTreeMap<String, Tag>,
    pub members: Vec<Member>,
    /// The instance that came to even out the zones, and the one that goes for it.
    pub moving: Option<(String, String)>,
    pub created: Timestamp,
}

impl Group {
    pub(super) fn runs(&self, process: &str) -> bool {
        !self.suspended.contains_key(process)
    }

    /// Its members that count: there, or about to be.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.lifecycle != Lifecycle::Terminating)
    }

    pub(super) fn member(&mut self, id: &str) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }
}

/// What a group did, or tried to.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    pub id: String,
    pub group: String,
    pub instance: String,
    pub description: String,
    pub cause: String,
    pub zone: String,
    pub subnet: String,
    pub started: Timestamp,
    /// When it ended and how: `Successful`, `Cancelled`. `None`: it goes on.
    pub ended: Option<(Timestamp, &'static str)>,
}
