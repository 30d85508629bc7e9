//! Groups, instances and what else a fault reads of the cloud.

use std::collections::{BTreeMap, BTreeSet};

/// An Auto Scaling group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Name.
    pub name: String,
    /// Its ARN, which holds an id that a later group of the same name does not have.
    pub arn: String,
    /// Smallest size.
    pub min: i64,
    /// Largest size.
    pub max: i64,
    /// Wanted size.
    pub desired: i64,
    /// Zones.
    pub zones: BTreeSet<String>,
    /// Subnets in which it launches.
    pub subnets: BTreeSet<String>,
    /// Suspended processes.
    pub suspended: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Its instances.
    pub members: Vec<Member>,
}

impl Group {
    /// How many of its instances are in service.
    #[must_use]
    pub fn in_service(&self) -> usize {
        self.members.iter().filter(|member| member.lifecycle == "InService").count()
    }
}

/// What a simulation of the caller's policies says of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// `service:Action`.
    pub action: String,
    /// Whether it is allowed on all that it was asked for.
    pub allowed: bool,
    /// Whether a policy denies it in so many words, rather than none allowing it.
    pub denied: bool,
    /// Keys of conditions whose values only the request itself has: with them it may come out otherwise.
    pub missing: BTreeSet<String>,
}

/// An instance as its group sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Instance id.
    pub id: String,
    /// Zone.
    pub zone: String,
    /// `Pending`, `InService`, `Terminating`, …
    pub lifecycle: String,
    /// Whether the group may not choose it when it scales in.
    pub protected: bool,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Instance {
    /// Id.
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`.
    pub state: String,
    /// Zone.
    pub zone: String,
    /// Every subnet in which one of its interfaces is: its own, and those of its pods where they have others.
    pub subnets: BTreeSet<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Who operates it where that is not its owner: EKS Auto Mode.
    pub operator: Option<String>,
}

impl Instance {
    /// Name of its Auto Scaling group.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.tags.get("aws:autoscaling:groupName").map(String::as_str)
    }

    /// Whether it is on its way out, or gone.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "terminated")
    }
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Zone by this account's name.
    pub zone: String,
    /// Zone by the name that every account shares.
    pub zone_id: String,
}

/// A network ACL: the rules at the edge of the subnets under it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkAcl {
    /// Id.
    pub id: String,
    /// Its network.
    pub vpc: String,
    /// Whether it is the one that every new subnet of the network is under.
    pub is_default: bool,
    /// Whether any of its rules lets anything through.
    pub allows: bool,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The subnets under it, with the id that says so today: each change makes a new one.
    pub associations: BTreeMap<String, String>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interface {
    /// Id.
    pub id: String,
    /// Subnet.
    pub subnet: String,
    /// What whoever made it wrote on it: `Amazon EKS shop`.
    pub description: String,
    /// `interface`, `nat_gateway`, `network_load_balancer`, `vpc_endpoint`, …
    pub kind: String,
    /// The instance that it is attached to.
    pub instance: Option<String>,
    /// The account of that instance.
    pub owner: Option<String>,
    /// Whether it is attached to anything.
    pub attached: bool,
}

/// Something that a group did, or tried to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Activity {
    /// `Successful`, `Failed`, `Cancelled`, `InProgress`, …
    pub status: String,
    /// What it was: `Launching a new EC2 instance: i-…`.
    pub description: String,
    /// Why it failed, or how far it is.
    pub message: String,
    /// When it began.
    pub started: Option<jiff::Timestamp>,
}
