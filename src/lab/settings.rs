//! The lab's figures: how long things take that no manifest says.
//!
//! Each is what the real cluster of `tests/testbed` was seen to take, or the default of the component that it stands for, as its comment
//! says. They are assumptions about *your* cluster: docs/lab.md lists them.

use std::time::Duration;

use super::cloud::Figures;

/// `--node-monitor-period`, and how long a look at the nodes was seen to take.
const MONITOR: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(30);

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Settings {
    /// From a change to a controller that acts on it: its watch and its queue.
    pub notice: Duration,
    /// From the request to the API server's answer.
    pub answer: Duration,
    /// From a pod's creation to its binding.
    pub schedule: Duration,
    /// From a pod's binding to its first container's process: sandbox, network, the container itself; the image is there.
    pub start: Duration,
    /// What else a pod's start may take, at random.
    pub start_spread: Duration,
    /// The kubelet's pull of an image that is not on the node.
    pub pull: Duration,
    /// From a claim that is to have a volume made until that is there: a disk of a cloud.
    pub provision: Duration,
    /// From the end of a pod's last container to the pod's deletion from the API: the kubelet's clean-up.
    pub clean_up: Duration,
    /// kubelet: how often it asks its runtime what runs (the period of the generic PLEG): what happened since is not seen before.
    pub relist: Duration,
    /// How far the first of these is from the kubelet's start, at random.
    pub relist_spread: Duration,
    /// From what a kubelet sees of a pod to the pod's status: its worker, and the write.
    pub status: Duration,
    /// kube-proxy's `minSyncPeriod`: how long its rules may be behind once they were just written.
    pub proxy_min_sync: Duration,
    /// From a change of the endpoints to kube-proxy's rules, where it had been quiet.
    pub proxy_sync: Duration,
    /// kubelet: how often a node's lease is renewed (`nodeLeaseDurationSeconds` / 4).
    pub heartbeat: Duration,
    /// kubelet: how often a node's status is posted where that is often enough to be what is heard of it (`nodeStatusUpdateFrequency`).
    pub reports: Option<Duration>,
    /// Controller manager: `--node-monitor-grace-period`.
    pub node_grace: Duration,
    /// Controller manager: from one look at the nodes to the next, which is `--node-monitor-period` and what the look takes.
    pub node_monitor: Duration,
    /// How long an application takes from its process' start until it listens, unless its pod says otherwise.
    pub app_start: Duration,
    /// How long an application takes to answer.
    pub app_answer: Duration,
    /// A round trip between two pods.
    pub round_trip: Duration,
    /// How long a client's kernel remembers where a connection was led that nothing answered: `nf_conntrack_tcp_timeout_syn_sent`.
    pub tracked: Duration,
    /// What the cloud takes.
    pub cloud: Figures,
}

impl Default for Settings {
    fn default() -> Self {
        let ms = Duration::from_millis;
        Self {
            notice: ms(10),
            answer: ms(4),
            schedule: ms(10),
            start: ms(700),
            start_spread: ms(600),
            pull: Duration::from_secs(3),
            provision: Duration::from_secs(2),
            clean_up: ms(200),
            relist: Duration::from_secs(1),
            relist_spread: Duration::from_secs(1),
            status: ms(10),
            proxy_min_sync: Duration::from_secs(1),
            proxy_sync: ms(20),
            heartbeat: Duration::from_secs(10),
            reports: None,
            node_grace: Duration::from_secs(50),
            node_monitor: MONITOR + LOOK,
            app_start: ms(300),
            app_answer: Duration::from_micros(400),
            round_trip: Duration::from_micros(150),
            tracked: Duration::from_mins(2),
            cloud: Figures::default(),
        }
    }
}

impl Settings {
    /// Another `--node-monitor-grace-period`. A lease that is renewed every 10 s would be missed by a controller that waits for 8 s, so who
    /// makes one shorter makes them all shorter: leases and statuses in it are four at least, looks eight.
    pub(in crate::lab) fn set_node_grace(&mut self, grace: Duration) {
        let usual = Self::default();
        self.node_grace = grace;
        self.heartbeat = usual.heartbeat.min(grace / 4);
        self.reports = (self.heartbeat < usual.heartbeat).then_some(self.heartbeat);
        self.node_monitor = MONITOR.min(grace / 8) + LOOK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_grace_of_nodes_has_them_heard_and_looked_at_more_often() {
        let of = |seconds| {
            let mut settings = Settings::default();
            settings.set_node_grace(Duration::from_secs(seconds));
            [settings.node_grace, settings.heartbeat, settings.node_monitor].map(|time| time.as_secs())
        };
        // The default, a longer one, and that of the test bed's fast node monitor.
        assert_eq!([of(50), of(90), of(8)], [[50, 10, 5], [90, 10, 5], [8, 2, 1]]);
    }
}
