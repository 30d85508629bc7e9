//! The cluster's parts that act by themselves: controllers, scheduler, kubelets.
//!
//! Each part is a file with two functions: `observe` sees every change of every object and puts what concerns it on the agenda;
//! `reconcile` (of a kubelet: `perform`) looks at one object as it then is, and acts. No part calls another; all they share is the store,
//! as in a real cluster.

mod autoscalers;
mod budgets;
mod collector;
mod cron_jobs;
mod daemon_sets;
mod deployments;
mod endpoints;
mod jobs;
mod kubelet;
mod namespaces;
pub(in crate::lab) mod nodes;
pub(in crate::lab) mod objects;
mod replica_sets;
mod scheduler;
mod stateful_sets;
#[cfg(test)]
mod tests;
mod volumes;

pub(in crate::lab) use self::autoscalers::Autoscalers;
pub(in crate::lab) use self::cron_jobs::is_scheduled;
pub(in crate::lab) use self::kubelet::{Errand, Kubelets, Process, adopt, hook};
pub(in crate::lab) use self::nodes::leases::show as show_leases;
pub(in crate::lab) use self::nodes::{
    Nodes, cut_network, cut_power, remove as remove_machine, restore_network, restore_power,
};
pub(in crate::lab) use self::scheduler::SchedulerMemory;

use super::store::{Change, ObjectKey};
use super::world::World;
use super::{cloud, dns, network};

/// Who looks at objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lab) enum Controller {
    Deployments,
    ReplicaSets,
    StatefulSets,
    DaemonSets,
    Jobs,
    CronJobs,
    Budgets,
    Endpoints,
    /// Garbage collection of objects whose owners are gone.
    Collector,
    /// Empties namespaces that leave.
    Namespaces,
    Scheduler,
    /// Binds claims to volumes, and makes these.
    Volumes,
    /// Horizontal pod autoscalers, and the metrics server.
    Autoscalers,
    /// Heartbeats of nodes, their taints, and what these evict.
    Nodes,
    /// kube-proxy.
    Proxy,
    /// Instances, and the groups that start and end them.
    Cloud,
    /// The Corefiles of CoreDNS's pods.
    Dns,
}

/// Something to be done at its time.
#[derive(Debug, Clone)]
pub(in crate::lab) enum Task {
    /// A controller looks at an object.
    Reconcile(Controller, ObjectKey),
    /// A kubelet does something for a pod.
    Kubelet(Errand),
}

/// Shows a change to every part.
pub(in crate::lab) fn observe(world: &mut World, change: &Change) {
    deployments::observe(world, change);
    replica_sets::observe(world, change);
    stateful_sets::observe(world, change);
    daemon_sets::observe(world, change);
    jobs::observe(world, change);
    cron_jobs::observe(world, change);
    budgets::observe(world, change);
    endpoints::observe(world, change);
    collector::observe(world, change);
    namespaces::observe(world, change);
    scheduler::observe(world, change);
    volumes::observe(world, change);
    autoscalers::observe(world, change);
    nodes::observe(world, change);
    kubelet::observe(world, change);
    network::observe(world, change);
    dns::observe(world, change);
}

/// Does a task.
pub(in crate::lab) fn perform(world: &mut World, task: Task) {
    let (controller, key) = match task {
        Task::Reconcile(controller, key) => (controller, key),
        Task::Kubelet(errand) => return kubelet::perform(world, errand),
    };
    match controller {
        Controller::Deployments => deployments::reconcile(world, &key),
        Controller::ReplicaSets => replica_sets::reconcile(world, &key),
        Controller::StatefulSets => stateful_sets::reconcile(world, &key),
        Controller::DaemonSets => daemon_sets::reconcile(world, &key),
        Controller::Jobs => jobs::reconcile(world, &key),
        Controller::CronJobs => cron_jobs::reconcile(world, &key),
        Controller::Budgets => budgets::reconcile(world, &key),
        Controller::Endpoints => endpoints::reconcile(world, &key),
        Controller::Collector => collector::reconcile(world, &key),
        Controller::Namespaces => namespaces::reconcile(world, &key),
        Controller::Scheduler => scheduler::reconcile(world, &key),
        Controller::Volumes => volumes::reconcile(world, &key),
        Controller::Autoscalers => autoscalers::reconcile(world, &key),
        Controller::Nodes => nodes::reconcile(world, &key),
        Controller::Proxy => network::reconcile(world, &key),
        Controller::Cloud => cloud::reconcile(world, &key),
        Controller::Dns => dns::reconcile(world, &key),
    }
}
