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
        let of_kind = |kind: &'static str| self.objects.iter().filter(move |object| object["kind"] == kind);
        lines.push(self.nodes());
        let (pods, ready) = (of_kind("Pod").count(), of_kind("Pod").filter(|pod| holds(pod, "Ready")).count());
        lines.push(format!("  pods        {pods}, {ready} of them ready"));
        let kinds = [
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "Job",
            "Service",
            "PodDisruptionBudget",
            "HorizontalPodAutoscaler",
        ];
        let counted = kinds.iter().map(|kind| (kind, of_kind(kind).count())).filter(|(_, count)| *count > 0);
        let counted: Vec<String> =
            counted.map(|(kind, count)| format!("{count} {kind}{}", if count == 1 { "" } else { "s" })).collect();
        lines
            .push(format!("  workloads   {}", if counted.is_empty() { "none".to_owned() } else { counted.join(", ") }));
        let mut within: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in of_kind("Pod") {
            *within.entry(text(pod, "/metadata/namespace")).or_default() += 1;
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

    fn nodes(&self) -> String {
        let nodes: Vec<&Value> = self.objects.iter().filter(|object| object["kind"] == "Node").collect();
        let mut zones: BTreeMap<&str, usize> = BTreeMap::new();
        for node in &nodes {
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
}
