//! Which columns the kinds have.

use serde_json::{Value, json};

use crate::lab::store::Kind;

/// The columns of a kind.
pub(super) fn columns(kind: &Kind) -> Value {
    of(kind.kind).iter().map(|written| column(written)).collect()
}

/// A column: before its name `*` stands for one that only `-o wide` shows, and `#`, `?` and `@` for cells that are numbers, flags and dates.
fn column(written: &str) -> Value {
    let (wide, rest) = written.strip_prefix('*').map_or((false, written), |rest| (true, rest));
    let marks = [('#', "integer"), ('?', "boolean"), ('@', "date")];
    let found = marks.iter().find_map(|(mark, type_)| Some((rest.strip_prefix(*mark)?, *type_)));
    let (name, type_) = found.unwrap_or((rest, "string"));
    let format = if name == "Name" { "name" } else { "" };
    json!({"name": name, "type": type_, "format": format, "description": "", "priority": i32::from(wide)})
}

fn of(kind: &str) -> &'static [&'static str] {
    workloads(kind).or_else(|| storage(kind)).or_else(|| cluster(kind)).unwrap_or(&["Name", "Age"])
}

fn workloads(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Pod" => &["Name", "Ready", "Status", "Restarts", "Age", "*IP", "*Node", "*Nominated Node", "*Readiness Gates"],
        "Deployment" => &["Name", "Ready", "Up-to-date", "Available", "Age", "*Containers", "*Images", "*Selector"],
        "ReplicaSet" => &["Name", "#Desired", "#Current", "#Ready", "Age", "*Containers", "*Images", "*Selector"],
        "StatefulSet" => &["Name", "Ready", "Age", "*Containers", "*Images"],
        "DaemonSet" => &[
            "Name",
            "#Desired",
            "#Current",
            "#Ready",
            "#Up-to-date",
            "#Available",
            "Node Selector",
            "Age",
            "*Containers",
            "*Images",
            "*Selector",
        ],
        "ControllerRevision" => &["Name", "Controller", "Revision", "Age"],
        "Job" => &["Name", "Status", "Completions", "Duration", "Age", "*Containers", "*Images", "*Selector"],
        "CronJob" => &[
            "Name",
            "Schedule",
            "Timezone",
            "?Suspend",
            "#Active",
            "Last Schedule",
            "Age",
            "*Containers",
            "*Images",
            "*Selector",
        ],
        "PodDisruptionBudget" => &["Name", "Min Available", "Max Unavailable", "#Allowed Disruptions", "Age"],
        "HorizontalPodAutoscaler" => &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"],
        _ => return None,
    })
}

fn storage(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "PersistentVolume" => &[
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "*VolumeMode",
        ],
        "PersistentVolumeClaim" => &[
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "*VolumeMode",
        ],
        "StorageClass" => &["Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age"],
        _ => return None,
    })
}

fn cluster(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "Node" => &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "*Internal-IP",
            "*External-IP",
            "*OS-Image",
            "*Kernel-Version",
            "*Container-Runtime",
        ],
        "Namespace" => &["Name", "Status", "Age"],
        "Service" => &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "*Selector"],
        "EndpointSlice" => &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        "Event" => &[
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "*Subobject",
            "*Source",
            "Message",
            "*First Seen",
            "*Count",
            "*Name",
        ],
        "Ingress" => &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        "ConfigMap" => &["Name", "Data", "Age"],
        "Secret" => &["Name", "Type", "Data", "Age"],
        "ServiceAccount" => &["Name", "Secrets", "Age"],
        "Lease" => &["Name", "Holder", "Age"],
        "PriorityClass" => &["Name", "#Value", "?Global-Default", "Age", "PreemptionPolicy"],
        "NetworkPolicy" => &["Name", "Pod-Selector", "Age"],
        "Role" | "ClusterRole" => &["Name", "@Created At"],
        "RoleBinding" | "ClusterRoleBinding" => &["Name", "Role", "Age", "*Users", "*Groups", "*ServiceAccounts"],
        _ => return None,
    })
}
