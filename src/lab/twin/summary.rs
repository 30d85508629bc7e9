//! What a twin holds, in lines for people.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Twin, holds, text};

impl Twin {
    /// Of which cluster it is, how much there is of each kind, where, and what it does not know.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let of = if self.redacted {
            "a cluster under pseudonyms".to_owned()
        } else {
            format!("{} ({})", self.cluster.context, self.cluster.server)
        };
        let mut lines = vec![format!(
            "twin of {of}, Kubernetes {}, taken {} by Squall {}",
            self.cluster.version, self.taken, self.squall
        )];
        if !self.namespaces.is_empty() {
            lines.push(format!("  read were the namespaces {}", self.namespaces.join(", ")));
        }
        let (mut nodes, mut pods, mut kinds) = (Vec::new(), Vec::new(), BTreeMap::new());
        for object in self.objects.iter() {
            *kinds.entry(text(&object, "/kind").to_owned()).or_insert(0_usize) += 1;
            match text(&object, "/kind") {
                "Node" => nodes.push(object),
                "Pod" => pods.push((text(&object, "/metadata/namespace").to_owned(), holds(&object, "Ready"))),
                _ => {}
            }
        }
        lines.push(of_nodes(&nodes));
        let ready = pods.iter().filter(|(_, ready)| *ready).count();
        lines.push(format!("  pods        {}, {ready} of them ready", pods.len()));
        let workloads = [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "Job",
            "Service",
            "PodDisruptionBudget",
            "HorizontalPodAutoscaler",
        ];
        let counted = workloads.iter().filter_map(|kind| Some((kind, *kinds.get(*kind)?)));
        let counted: Vec<String> =
            counted.map(|(kind, count)| format!("{count} {kind}{}", if count == 1 { "" } else { "s" })).collect();
        lines
            .push(format!("  workloads   {}", if counted.is_empty() { "none".to_owned() } else { counted.join(", ") }));
        let mut within: BTreeMap<&str, usize> = BTreeMap::new();
        for (namespace, _) in &pods {
            *within.entry(namespace).or_default() += 1;
        }
        let within: Vec<String> = within.into_iter().map(|(namespace, pods)| format!("{namespace} {pods}")).collect();
        lines.push(format!("  by namespace  {}", within.join(", ")));
        if !self.left_out.is_empty() {
            lines.push(format!("  left out    {}", self.left_out.join(", ")));
        }
        lines
            .extend(self.missing.iter().map(|one| format!("  not known   {}: {} ({})", one.what, one.effect, one.why)));
        let told = |one: &super::Assumption| {
            format!("  assumed     {}: {} {}: {}", one.workload, one.annotation, one.value, one.source)
        };
        lines.extend(self.assumptions.iter().map(told));
        lines
    }
}

fn of_nodes(nodes: &[Value]) -> String {
    let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
    for node in nodes {
        *zones.entry(text(node, "/metadata/labels/topology.kubernetes.io~1zone")).or_default() += 1;
    }
    let zones: Vec<String> = zones
        .into_iter()
        .map(|(zone, count)| format!("{} {count}", if zone.is_empty() { "without a zone" } else { zone }))
        .collect();
    let ready = nodes.iter().filter(|node| holds(node, "Ready")).count();
    let cordoned = nodes.iter().filter(|node| node["spec"]["unschedulable"] == true).count();
    let cordoned = if cordoned == 0 { String::new() } else { format!(", {cordoned} cordoned") };
    format!("  nodes       {}, {ready} of them ready{cordoned}: {}", nodes.len(), zones.join(", "))
}
