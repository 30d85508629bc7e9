//! The way of a DNS query: through a Service's rules to a server, and what comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::transport::is_cut_off;
use crate::lab::dns::{self, Outcome, Query, Reply};
use crate::lab::model::Process;
use crate::lab::world::World;

/// Where the lab's queries come from: an address outside the pods' and the nodes'.
pub(in crate::lab) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 31, 255, 254));

/// What becomes of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) enum Delivered {
    /// An answer, so long after the query arrived, by the process of this life.
    Answered { reply: Arc<Reply>, takes: Duration, life: u64 },
    /// It met a process that is no CoreDNS, and of which nobody knows what it answers.
    Stranger { takes: Duration, life: u64 },
    /// Nobody listens there, and whoever is there says so.
    Refused,
    /// Nothing comes back. A connection is open, and closed by the server after it was idle for so long, where there is one.
    Silent { idle: Option<Duration> },
}

/// Sends a query to an address. A socket that is kept keeps its server behind a Service for as long as that has it: `flow` is that server.
pub(in crate::lab) fn deliver(
    world: &mut World,
    to: SocketAddr,
    query: Query<'_>,
    flow: Option<&mut Option<SocketAddr>>,
) -> Delivered {
    let known = flow.as_ref().and_then(|flow| **flow);
    let target = match world.network.behind(to) {
        Some([]) => return Delivered::Refused,
        // kube-proxy makes the kernel forget where a flow went once that is no endpoint any more.
        Some(backends) => {
            if let Some(known) = known.filter(|known| backends.contains(known)) {
                known
            } else {
                let count = backends.len();
                let chosen = world.pick(count);
                world.network.behind(to).and_then(|all| all.get(chosen)).copied().unwrap_or(to)
            }
        }
        None if world.network.is_service(to.ip()) => return Delivered::Silent { idle: None },
        None => to,
    };
    if let Some(flow) = flow {
        *flow = Some(target);
    }
    arrive(world, target, query)
}

/// A query arrives at a pod.
pub(super) fn arrive(world: &mut World, target: SocketAddr, query: Query<'_>) -> Delivered {
    let (life, takes) = match world.kubelets.at(target.ip(), target.port()) {
        Some(process) if is_cut_off(world, process) => return Delivered::Silent { idle: None },
        None | Some(Process { ended: Some((_, true)), .. }) => return Delivered::Silent { idle: None },
        Some(process) if process.ended.is_some() || process.listens.is_none() => return Delivered::Refused,
        // The kernel of a process that hangs still opens its connections.
        Some(process) if process.hangs.is_some() => return Delivered::Silent { idle: None },
        Some(process) => (process.life, process.answers_in),
    };
    let Some(served) = dns::serve(world, life, target, query) else { return Delivered::Stranger { takes, life } };
    match served.outcome {
        Outcome::Reply(reply) => Delivered::Answered { reply, takes: takes + served.takes, life },
        Outcome::Silence { idle } => Delivered::Silent { idle: Some(idle) },
        Outcome::Closed => Delivered::Refused,
    }
}
