//! What is done to the cluster: steps of every fault of the catalogue that the lab can rehearse.

use squall::spec::{self, Experiment};

/// A name, the faults that it is of, and its steps.
pub(crate) struct Method {
    pub(crate) name: &'static str,
    pub(crate) faults: &'static [&'static str],
    pub(crate) steps: &'static str,
    /// Its effect takes a minute to be seen: it makes hundreds of calls, most of which only look.
    pub(crate) long: bool,
}

/// Two of them stand on each other's feet: a budget keeps a drain waiting, and a workload that was scaled down is drained.
pub(crate) const METHODS: [Method; 15] = [
    Method {
        name: "kill",
        faults: &["podKill"],
        steps: "{name: a, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, count: 1}}}",
        long: false,
    },
    Method {
        name: "kill all",
        faults: &["podKill"],
        steps: "{name: a, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, all: true}, gracePeriod: 0s}}",
        long: false,
    },
    Method {
        name: "evict",
        faults: &["podEvict"],
        steps: "{name: a, at: 0s, podEvict: {pods: {namespace: shop, selector: app=web, count: 1}}}",
        long: false,
    },
    Method {
        name: "drain",
        faults: &["nodeDrain"],
        steps: "{name: a, at: 0s, for: 3s, nodeDrain: {nodes: {selector: kubernetes.io/os=linux, count: 1}, timeout: 2m}}",
        long: false,
    },
    Method {
        name: "scale",
        faults: &["scale"],
        steps: "{name: a, at: 0s, for: 3s, scale: {workload: deployment/web, namespace: shop, replicas: 1}}",
        long: false,
    },
    Method {
        name: "scale and drain",
        faults: &["scale", "nodeDrain"],
        steps: "{name: a, at: 0s, for: 4s, scale: {workload: deployment/web, namespace: shop, replicas: 0}}, \
                {name: b, at: 1s, for: 4s, nodeDrain: {nodes: {selector: kubernetes.io/os=linux, count: 1}, timeout: 2m}}",
        long: false,
    },
    Method {
        name: "kill and scale",
        faults: &["podKill", "scale"],
        steps: "{name: a, at: 0s, podKill: {pods: {namespace: shop, selector: app=web, count: 1}}}, \
                {name: b, at: 500ms, for: 3s, scale: {workload: deployment/web, namespace: shop, replicas: 5}}",
        long: false,
    },
    Method {
        name: "suspend",
        faults: &["asgSuspend"],
        steps: "{name: a, at: 0s, for: 3s, asgSuspend: {groups: {all: true}, processes: [Launch, Terminate, AZRebalance]}}",
        long: false,
    },
    Method {
        name: "hold a zone",
        faults: &["asgSuspend"],
        steps: "{name: a, at: 0s, for: 3s, asgSuspend: {groups: {all: true}, processes: [Launch], zone: us-east-1b}}",
        long: false,
    },
    Method { name: "kill DNS", faults: &["coreDns"], steps: "{name: a, at: 0s, coreDns: {mode: kill}}", long: false },
    Method {
        name: "scale DNS",
        faults: &["coreDns"],
        steps: "{name: a, at: 0s, for: 3s, coreDns: {mode: scaleToZero, replicas: 1}}",
        long: false,
    },
    Method {
        name: "terminate",
        faults: &["nodeTerminate"],
        steps: "{name: a, at: 0s, nodeTerminate: {nodes: {zone: us-east-1b}, mode: powerLoss}}",
        long: true,
    },
    Method {
        name: "scale in",
        faults: &["nodeTerminate"],
        steps: "{name: a, at: 0s, nodeTerminate: {nodes: {zone: us-east-1b}, mode: scaleIn}}",
        long: true,
    },
    Method {
        name: "zone",
        faults: &["zoneOutage"],
        steps: "{name: a, at: 0s, for: 70s, zoneOutage: {zone: us-east-1b}}",
        long: true,
    },
    Method {
        name: "isolate",
        faults: &["zoneOutage"],
        steps: "{name: a, at: 0s, for: 70s, zoneOutage: {zone: us-east-1b, mode: isolate}}",
        long: true,
    },
];

/// Which method has this name.
pub(crate) fn numbered(name: &str) -> usize {
    METHODS.iter().position(|method| method.name == name).unwrap()
}

/// The experiment with these steps, as a person writes it; the spec's own words where it is none.
pub(crate) fn experiment(steps: &str) -> Result<Experiment, String> {
    // A node that is lost is missed after some 50 s only.
    let during = if steps.contains("for: 70s") { 75 } else { 6 };
    let in_cloud = ["asgSuspend", "nodeTerminate", "zoneOutage"].iter().any(|fault| steps.contains(fault));
    let aws = if in_cloud { "  aws: {account: \"123456789012\", region: us-east-1, cluster: lab}\n" } else { "" };
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: simulated}}\nspec:\n{aws}  probes:\n    \
         - {{name: web, rate: 20/s, timeout: 500ms, http: {{url: \"http://web.shop.svc/\"}}}}\n  steadyState:\n    \
         - {{probe: web, tolerance: \"outage <= 1m\"}}\n  method: [{steps}]\n  \
         timing: {{before: 1s, during: {during}s, after: 1s}}\n  \
         limits: {{pods: 10, nodes: 2, groups: 1, namespaces: [shop, kube-system]}}\n"
    );
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("simulated.yaml");
    std::fs::write(&path, &text).map_err(|e| e.to_string())?;
    spec::read(&path.to_string_lossy(), &[]).map(|loaded| loaded.experiment).map_err(|e| format!("{e:?}\n{text}"))
}
