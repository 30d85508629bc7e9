//! What is there at the beginning: a network with a subnet in each zone, one group over all of them or one for each, and the nodes'
//! instances in these.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::Aws;
use super::parts::{Acl, Group, Instance, Lifecycle, Member, State, Subnet, Tag};
use crate::lab::world::World;

/// The AWS account that a lab's nodes are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Account id.
    pub account: String,
    /// Region; zones are named by it: `us-east-1a`.
    pub region: String,
    /// The cluster's name, in the tag `kubernetes.io/cluster/NAME` of groups and instances.
    pub cluster: String,
    /// The Auto Scaling groups of the nodes.
    pub groups: Groups,
}

impl Default for Site {
    /// The account of AWS's own examples.
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            cluster: "lab".to_owned(),
            groups: Groups::default(),
        }
    }
}

impl Site {
    /// As records name it.
    #[cfg(feature = "aws")]
    pub(in crate::lab) fn id(&self) -> crate::record::AwsId {
        crate::record::AwsId {
            account: self.account.clone(),
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            caller: self.caller(),
            endpoints: Vec::new(),
        }
    }

    /// Who calls: a session of a role.
    pub(super) fn caller(&self) -> String {
        format!("arn:aws:sts::{}:assumed-role/squall/lab", self.account)
    }
}

/// How nodes are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Groups {
    /// One group over all zones, `workers`: what EKS makes of a managed node group.
    #[default]
    Across,
    /// A group for each zone, `workers-a`, `workers-b`, …: as for nodes with volumes of their zone.
    PerZone,
    /// Both, each with half of a zone's nodes.
    Both,
}

impl Groups {
    /// What they are called, each with its name.
    pub const NAMES: [(&str, Self); 3] = [("across", Self::Across), ("per-zone", Self::PerZone), ("both", Self::Both)];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, groups)| *groups == self).map_or("", |(name, _)| name)
    }
}

/// Makes the network and the groups. `zones` by their names.
pub(in crate::lab) fn lay_out(world: &mut World, site: &Site, zones: &BTreeSet<String>, seed: u64) {
    let created = world.wall();
    let mut aws = Aws {
        site: site.clone(),
        vpc: String::new(),
        subnets: BTreeMap::new(),
        acls: BTreeMap::new(),
        instances: BTreeMap::new(),
        groups: BTreeMap::new(),
        activities: Vec::new(),
        chance: ChaCha8Rng::seed_from_u64(seed ^ 0xa35),
        machines: 0,
    };
    aws.vpc = aws.id("vpc");
    let acl = aws.id("acl");
    aws.acls.insert(acl.clone(), Acl { is_default: true, allows: true, tags: BTreeMap::new(), token: String::new() });
    for (number, zone) in zones.iter().enumerate() {
        let (id, association) = (aws.id("subnet"), aws.id("aclassoc"));
        let zone_id = format!("{}-az{}", site.region, number + 1);
        aws.subnets.insert(id, Subnet { zone: zone.clone(), zone_id, acl: acl.clone(), association });
    }
    let subnets: Vec<(String, String)> = aws.subnets.iter().map(|(id, it)| (it.zone.clone(), id.clone())).collect();
    if site.groups != Groups::PerZone {
        let all = subnets.iter().map(|(_, id)| id.clone()).collect();
        aws.add_group("workers".to_owned(), all, created);
    }
    if site.groups != Groups::Across {
        for (zone, id) in subnets {
            let letter = zone.strip_prefix(&site.region).unwrap_or(&zone).to_owned();
            aws.add_group(format!("workers-{letter}"), BTreeSet::from([id]), created);
        }
    }
    world.aws = Some(aws);
}

impl Aws {
    fn add_group(&mut self, name: String, subnets: BTreeSet<String>, created: k8s_openapi::jiff::Timestamp) {
        let (high, low) = (self.chance.random::<u64>(), self.chance.random::<u64>());
        let (last, middle) = (low & 0xffff_ffff_ffff, low >> 52);
        let uuid =
            format!("{:08x}-{:04x}-4{:03x}-8{middle:03x}-{last:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff);
        let Site { region, account, .. } = &self.site;
        let arn = format!("arn:aws:autoscaling:{region}:{account}:autoScalingGroup:{uuid}:autoScalingGroupName/{name}");
        let tags = BTreeMap::from([(self.tag(), Tag { value: "owned".to_owned(), propagates: true })]);
        let group = Group {
            name: name.clone(),
            arn,
            min: 0,
            desired: 0,
            max: 0,
            subnets,
            suspended: BTreeMap::new(),
            tags,
            members: Vec::new(),
            moving: None,
            created,
        };
        self.groups.insert(name, group);
    }

    /// Makes the record of another instance of a group, whose node will have the next number.
    pub(super) fn add_instance(&mut self, group: &str, subnet: &str, launched: k8s_openapi::jiff::Timestamp) -> String {
        let (id, interface) = (self.id("i"), self.id("eni"));
        let number = self.machines;
        self.machines += 1;
        let of_group = self.groups.get(group).into_iter().flat_map(|group| &group.tags);
        let tags = of_group.filter(|(_, tag)| tag.propagates).map(|(key, tag)| (key.clone(), tag.value.clone()));
        let zone = self.zone_of(subnet).to_owned();
        let instance = Instance {
            id: id.clone(),
            state: State::Pending,
            zone: zone.clone(),
            subnet: subnet.to_owned(),
            interface,
            address: crate::lab::shape::address(number),
            node: crate::lab::shape::node_name(number),
            tags: tags.chain([("aws:autoscaling:groupName".to_owned(), group.to_owned())]).collect(),
            launched,
            protected: false,
            joined: false,
            off: false,
            due: None,
        };
        self.instances.insert(id.clone(), instance);
        if let Some(group) = self.groups.get_mut(group) {
            group.members.push(Member {
                id: id.clone(),
                zone,
                lifecycle: Lifecycle::Pending,
                healthy: true,
                sick: None,
                protected: false,
                launched,
            });
        }
        id
    }
}

/// The instance of a node that is there from the beginning: its id. `None`: there is no account.
pub(in crate::lab) fn enlist(world: &mut World, zone: &str) -> Option<String> {
    let launched = world.wall();
    let aws = world.aws.as_mut()?;
    let subnet = aws.subnets.iter().find(|(_, subnet)| subnet.zone == zone)?.0.clone();
    // The one that has fewer there; first the zone's own.
    let there = |group: &&Group| group.members.iter().filter(|member| member.zone == zone).count();
    let groups = aws.groups.values().filter(|group| group.subnets.contains(&subnet));
    let group = groups.min_by_key(|group| (there(group), group.subnets.len()))?.name.clone();
    let id = aws.add_instance(&group, &subnet, launched);
    let instance = aws.instances.get_mut(&id)?;
    (instance.state, instance.joined) = (State::Running, true);
    let group = aws.groups.get_mut(&group)?;
    group.member(&id)?.lifecycle = Lifecycle::InService;
    // Room for as many again, as a group has that an autoscaler is to make larger.
    group.desired += 1;
    group.max = group.desired * 2;
    Some(id)
}
