//! What would be cut off: the subnets in which a zone's nodes have interfaces, and everything else that has one there.

use std::collections::{BTreeMap, BTreeSet};

use super::note::{Mark, SUBNET, target};
use crate::cluster::{Cloud, CloudError, Instance, Interface, NetworkAcl};
use crate::fault::contract::{Refusal, Resolution};
use crate::fault::hold::TAG;
use crate::fault::instances::Backed;

/// How EKS describes the interfaces by which its control plane reaches a cluster; the cluster's name follows.
const CONTROL_PLANE: &str = "Amazon EKS ";
/// Names in a list that is read by people.
const NAMED: usize = 5;

/// What may be cut off beside the cluster's own instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fault) struct Leave {
    /// The cluster's control plane.
    pub(in crate::fault) control_plane: bool,
    /// What belongs to others.
    pub(in crate::fault) others: bool,
}

/// Whose an interface is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A node's, or nobody's.
    Own,
    /// By which the cluster's control plane reaches its nodes.
    ControlPlane,
    /// An instance that is not the cluster's, or another cluster's control plane.
    Others,
    /// What serves a network (NAT gateways, load balancers, endpoints), and instances of the cluster that are no nodes of the zone.
    Beside,
}

/// Writes into the resolution what cutting off these nodes' subnets comes to. Asks EC2 by dry run.
pub(in crate::fault) async fn survey(
    cloud: &Cloud,
    zone: &str,
    nodes: &[Backed],
    leave: Leave,
    resolution: &mut Resolution,
) -> Result<(), Refusal> {
    let subnets: Vec<String> = nodes
        .iter()
        .flat_map(|node| &node.instance.subnets)
        .cloned()
        .collect::<BTreeSet<String>>()
        .into_iter()
        .collect();
    if subnets.is_empty() {
        return Err(Refusal::new(format!("no instance in zone `{zone}` has an interface in any subnet")));
    }
    let unread = |e: CloudError| Refusal::new(format!("can't see what is in the subnets of zone `{zone}`: {e}"));
    let interfaces = cloud.interfaces(&subnets).await.map_err(unread)?;
    let attached: BTreeSet<String> = interfaces.iter().filter_map(|one| one.instance.clone()).collect();
    let attached: Vec<String> = attached.into_iter().collect();
    let instances = cloud.instances(&attached).await.map_err(unread)?;
    let place = Place {
        tag: cloud.id().tag(),
        cluster: &cloud.id().cluster,
        account: &cloud.id().account,
        zone,
        nodes: nodes.iter().map(|node| node.instance.id.as_str()).collect(),
    };
    place.judge(&interfaces, &instances, leave, resolution)?;
    let acls = cloud.acls("association.subnet-id", &subnets, SUBNET).await.map_err(unread)?;
    for subnet in &subnets {
        let Some(acl) = acls.iter().find(|acl| acl.associations.contains_key(subnet)) else {
            return Err(Refusal::new(format!("AWS knows no network ACL of subnet {subnet}")));
        };
        if let Some(mark) = Mark::of(&acl.tags) {
            let run = mark.whose.run;
            return Err(Refusal::new(format!(
                "subnet {subnet} is under network ACL {} of run `{run}` (tag `{TAG}`): that run left something behind",
                acl.id
            ))
            .hint(format!("`squall recover {run}` takes it back; `squall recover --scan --aws ACCOUNT/REGION/CLUSTER` where its log is lost")));
        }
        rehearse(cloud, subnet, acl).await?;
        let (id, tried) = (&acl.id, "by dry run EC2 accepts it now");
        resolution.calls.push(format!(
            "ec2:CreateNetworkAcl in {} for {subnet} (denies everything, and carries the undo note; {tried})",
            acl.vpc
        ));
        resolution.calls.push(format!("ec2:ReplaceNetworkAclAssociation {subnet} ({id} → the new one; {tried})"));
        resolution
            .undo
            .push(format!("put {subnet} back under {id}, unless somebody else has changed it; delete the new one"));
        resolution.targets.push(target(subnet, &acl.vpc, Some(zone.to_owned())));
    }
    Ok(())
}

/// Asks EC2 what it would answer now. What does not exist yet can't be tried: that it may be deleted is not known.
async fn rehearse(cloud: &Cloud, subnet: &str, acl: &NetworkAcl) -> Result<(), Refusal> {
    // The tags of a real one, because a policy may ask for them.
    let tags = BTreeMap::from([TAG, SUBNET].map(|key| (key.to_owned(), "dry-run".to_owned())));
    let create = cloud.create_acl(&acl.vpc, subnet, &tags, "squall-dry-run", true).await.map(drop);
    let replace = cloud.associate_acl(&acl.associations[subnet], &acl.id, true).await;
    for (what, answer) in [("make a network ACL in", create), ("change the network ACL of", replace)] {
        let error = match answer {
            Err(error) if error.would_succeed() => continue,
            Err(error) => error,
            Ok(()) => return Err(Refusal::new(format!("EC2 answered a dry run on {subnet} as if it were none"))),
        };
        let refusal = Refusal::new(format!("EC2 would not {what} {subnet}: {error}"));
        return Err(if error.is_denied() {
            refusal.hint("`squall plan FILE --iam` prints the policy that the run needs")
        } else {
            refusal
        });
    }
    Ok(())
}

/// Where it is, and whose.
struct Place<'a> {
    /// The tag of the cluster's instances.
    tag: String,
    /// The cluster's name.
    cluster: &'a str,
    account: &'a String,
    zone: &'a str,
    /// The instances of the zone's nodes.
    nodes: BTreeSet<&'a str>,
}

impl Place<'_> {
    /// Refuses where what is not the cluster's would be cut off with it, or its control plane, and names the rest.
    fn judge(
        &self,
        interfaces: &[Interface],
        instances: &[Instance],
        leave: Leave,
        resolution: &mut Resolution,
    ) -> Result<(), Refusal> {
        let zone = self.zone;
        let mut found: BTreeMap<Kind, Vec<String>> = BTreeMap::new();
        for interface in interfaces {
            let kind = self.kind(interface, instances);
            found.entry(kind).or_default().push(named(interface));
        }
        let of = |kind: &Kind| found.get(kind).map(|all| list(all));
        if let Some(what) = of(&Kind::Others) {
            let text =
                format!("the subnets of zone `{zone}` are not this cluster's alone: {what} would be cut off too");
            if !leave.others {
                return Err(Refusal::new(text)
                    .hint("write `allowOthers: true` if whoever owns them agrees; or choose another zone"));
            }
            resolution.warnings.push(text);
        }
        if let Some(what) = of(&Kind::ControlPlane) {
            let text = format!(
                "the cluster's control plane has interfaces in the subnets of zone `{zone}`: {what}; cut off, it can lose nodes of every zone"
            );
            if !leave.control_plane {
                return Err(
                    Refusal::new(text).hint("write `allowControlPlane: true` if that is meant; or choose another zone")
                );
            }
            resolution.warnings.push(text);
        }
        if let Some(what) = of(&Kind::Beside) {
            resolution
                .warnings
                .push(format!("cut off with zone `{zone}`, for whoever uses it from elsewhere too: {what}"));
        }
        Ok(())
    }

    fn kind(&self, interface: &Interface, instances: &[Instance]) -> Kind {
        if let Some(of) = interface.description.strip_prefix(CONTROL_PLANE) {
            return if of == self.cluster { Kind::ControlPlane } else { Kind::Others };
        }
        let Some(id) = &interface.instance else {
            return if interface.attached { Kind::Beside } else { Kind::Own };
        };
        match instances.iter().find(|instance| instance.id == *id) {
            Some(instance) if instance.is_gone() || self.nodes.contains(id.as_str()) => Kind::Own,
            Some(instance) if instance.tags.contains_key(&self.tag) => Kind::Beside,
            // What is of this account and not described any more is gone, and its interface about to be; what is of another never is.
            None if interface.owner.as_ref() == Some(self.account) => Kind::Own,
            _ => Kind::Others,
        }
    }
}

/// An interface as a person finds it.
fn named(interface: &Interface) -> String {
    match &interface.instance {
        Some(instance) => format!("{instance} ({})", interface.subnet),
        None if interface.description.is_empty() => {
            format!("{} {} ({})", interface.kind, interface.id, interface.subnet)
        }
        None => format!("{} ({}, {})", interface.description, interface.id, interface.subnet),
    }
}

fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAGGED: &str = "kubernetes.io/cluster/shop";

    fn interface(description: &str, instance: Option<&str>) -> Interface {
        Interface {
            id: "eni-1".into(),
            subnet: "subnet-1".into(),
            description: description.into(),
            kind: "interface".into(),
            instance: instance.map(Into::into),
            owner: Some("111111111111".into()),
            attached: true,
        }
    }

    fn instance(id: &str, state: &str, tagged: bool) -> Instance {
        let tags = tagged.then(|| (TAGGED.to_owned(), "owned".to_owned())).into_iter().collect();
        Instance { id: id.into(), state: state.into(), tags, ..Instance::default() }
    }

    fn judged(interface: Interface, leave: Leave) -> Result<Vec<String>, String> {
        let instances = [
            instance("i-own", "running", true),
            instance("i-new", "running", true),
            instance("i-other", "running", false),
            instance("i-dead", "terminated", false),
        ];
        let mut resolution = Resolution::default();
        let account = "123456789012".to_owned();
        let place = Place {
            tag: TAGGED.into(),
            cluster: "shop",
            account: &account,
            zone: "a",
            nodes: BTreeSet::from(["i-own"]),
        };
        place
            .judge(&[interface], &instances, leave, &mut resolution)
            .map(|()| resolution.warnings)
            .map_err(|refusal| refusal.message)
    }

    #[test]
    fn what_is_not_the_clusters_is_cut_off_only_with_leave() {
        let (no, yes) = (Leave { control_plane: false, others: false }, Leave { control_plane: true, others: true });
        for quiet in [
            interface("", Some("i-own")),
            interface("", Some("i-dead")),
            Interface { attached: false, ..interface("", None) },
        ] {
            assert_eq!(judged(quiet, no), Ok(Vec::new()));
        }
        let forgotten = Interface { owner: Some("123456789012".into()), ..interface("", Some("i-unknown")) };
        assert_eq!(judged(forgotten, no), Ok(Vec::new()), "an instance of this account that is not described any more");
        for (harm, words) in [
            (interface("", Some("i-other")), "i-other"),
            (interface("", Some("i-unknown")), "i-unknown"),
            (interface("Amazon EKS bank", None), "not this cluster's alone"),
            (interface("Amazon EKS shop", None), "control plane"),
        ] {
            assert!(judged(harm.clone(), no).unwrap_err().contains(words), "{words}");
            assert!(judged(harm, yes).unwrap()[0].contains(words), "{words}");
        }
        let gateway = Interface { kind: "nat_gateway".into(), ..interface("", None) };
        assert!(judged(gateway, no).unwrap()[0].contains("nat_gateway eni-1"));
        assert!(judged(interface("", Some("i-new")), no).unwrap()[0].contains("i-new"), "no node, but the cluster's");
    }

    #[test]
    fn leave_for_one_is_none_for_the_other() {
        let others = Leave { control_plane: false, others: true };
        assert!(judged(interface("Amazon EKS shop", None), others).is_err());
        let control_plane = Leave { control_plane: true, others: false };
        assert!(judged(interface("", Some("i-other")), control_plane).is_err());
    }
}
