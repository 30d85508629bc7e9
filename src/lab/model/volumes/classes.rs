//! Storage classes: which one a claim has, when its volumes are made, and from where they can be used.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolumeClaim, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::lab::world::World;
use crate::scheduling::label;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// Volumes of such a class are made by hand.
const NOBODY: &str = "kubernetes.io/no-provisioner";
/// Their volumes are directories of a node.
const OF_NODES: [&str; 2] = ["rancher.io/local-path", "k8s.io/minikube-hostpath"];
/// Their volumes are file systems on the network. All others' are taken to be disks, which have a zone.
const EVERYWHERE: [&str; 6] = [
    "efs.csi.aws.com",
    "fsx.csi.aws.com",
    "file.csi.azure.com",
    "filestore.csi.storage.gke.io",
    "nfs.csi.k8s.io",
    "cephfs.csi.ceph.com",
];
const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// The class that a claim without one gets: of several that are marked the newest.
pub(super) fn default(world: &World) -> Option<Arc<StorageClass>> {
    let is_marked = |class: &Arc<StorageClass>| {
        let marks = class.metadata.annotations.as_ref();
        marks.and_then(|marks| marks.get(DEFAULT)).is_some_and(|is| is == "true")
    };
    let marked = world.store.list::<StorageClass>(None).filter(is_marked);
    // In order of their names: of two of one second the first by name counts.
    marked.reduce(|best, other| {
        let time = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        if time(&other) > time(&best) { other } else { best }
    })
}

/// The class of a claim; the default where it names none. `None`: it has none, or one that is not there.
pub(in crate::lab::model) fn class_of(world: &World, claim: &PersistentVolumeClaim) -> Option<Arc<StorageClass>> {
    match claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) {
        Some(name) => world.store.get::<StorageClass>("", name),
        None => default(world),
    }
}

/// Whether a claim's volume is made only once the node of its pod is known.
pub(in crate::lab::model) fn is_delayed(world: &World, claim: &PersistentVolumeClaim) -> bool {
    let class = class_of(world, claim);
    class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// Whether somebody makes volumes of a class.
pub(super) fn is_made(class: &StorageClass) -> bool {
    class.provisioner != NOBODY
}

/// Whether a volume of a class can be made for a node.
pub(in crate::lab::model) fn is_made_on(class: &StorageClass, node: &Node) -> bool {
    let allowed = class.allowed_topologies.iter().flatten();
    let fits = |term: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|rule| label(node, &rule.key).is_some_and(|value| rule.values.iter().any(|allowed| allowed == value)))
    };
    let mut allowed = allowed.peekable();
    is_made(class) && (allowed.peek().is_none() || allowed.any(fits))
}

/// The label that says from where a class' volumes can be used; `None`: from everywhere.
fn topology(class: &StorageClass) -> Option<&'static str> {
    match class.provisioner.as_str() {
        of if OF_NODES.contains(&of) => Some(HOST),
        of if EVERYWHERE.contains(&of) => None,
        _ => Some(ZONE),
    }
}

/// From where a volume can be used that a class makes for a node, or for no node in particular: then the claims of a set take turns in
/// the zones, as the CSI provisioner spreads them.
pub(super) fn affinity(
    world: &World,
    class: &StorageClass,
    claim: &str,
    node: Option<&Node>,
) -> Option<VolumeNodeAffinity> {
    let key = topology(class)?;
    let value = if let Some(node) = node {
        label(node, key)?.to_owned()
    } else {
        let nodes = world.store.list::<Node>(None).filter(|node| is_made_on(class, node));
        let mut all: Vec<String> = nodes.filter_map(|node| label(&node, key).map(str::to_owned)).collect();
        all.sort();
        all.dedup();
        let turn = turn(claim).checked_rem(u32::try_from(all.len()).unwrap_or(u32::MAX))?;
        all.swap_remove(usize::try_from(turn).unwrap_or_default())
    };
    let rule = NodeSelectorRequirement { key: key.to_owned(), operator: "In".to_owned(), values: Some(vec![value]) };
    let term = NodeSelectorTerm { match_expressions: Some(vec![rule]), match_fields: None };
    Some(VolumeNodeAffinity { required: Some(NodeSelector { node_selector_terms: vec![term] }) })
}

/// `data-db-1` is the turn after `data-db-0`.
fn turn(claim: &str) -> u32 {
    let numbered = claim.rsplit_once('-').and_then(|(set, ordinal)| Some((set, ordinal.parse::<u32>().ok()?)));
    let (base, ordinal) = numbered.unwrap_or((claim, 0));
    let set = base.rsplit_once('-').map_or(base, |(_, set)| set);
    let base = if numbered.is_some() { set } else { base };
    // FNV-1, 32 bits.
    let hash = base.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
    hash.wrapping_add(ordinal)
}
