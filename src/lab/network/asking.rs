//! DNS probes in the lab: the queries of a probe, over datagrams or connections of the lab's network.
//!
//! As over real sockets, a query is sent once: no cache, no second try, no second server.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::looks::Looks;
use super::queries::{CLIENT, Delivered, arrive, deliver};
use super::resolve::{miss_of, worse};
use super::transport::Way;
use crate::lab::dns::{Query, Reply};
use crate::lab::world::{Shared, World};
use crate::probe::{
    Answer, Class, DnsExpectation, DnsOver, Exchange, RecordType, ResponseCode, Slot, Step, StreamKind, Transport,
};

/// For how long CoreDNS keeps a connection over which nothing comes.
const IDLE: Duration = Duration::from_secs(10);

/// What all streams of a DNS probe have in common.
#[derive(Debug)]
pub(super) struct Question {
    pub server: SocketAddr,
    /// The names that are asked for in turn.
    pub names: Vec<String>,
    pub kind: RecordType,
    pub over: DnsOver,
    pub expect: DnsExpectation,
}

/// A connection that is kept.
#[derive(Debug, Clone, Copy)]
struct Kept {
    life: u64,
    target: SocketAddr,
    used: Instant,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct DnsTransport {
    shared: Shared,
    question: Rc<Question>,
    stream: StreamKind,
    /// Where the socket's queries go behind a Service; the socket is there once it was used.
    flow: Rc<Cell<Option<SocketAddr>>>,
    opened: Rc<Cell<bool>>,
    kept: Rc<RefCell<Vec<Kept>>>,
    looks: Looks,
}

/// What one query came to.
enum Told {
    Reply(Arc<Reply>),
    /// Somebody answered of whom the lab only knows that it works.
    Expected,
    Miss(Class),
}

impl DnsTransport {
    pub(super) fn new(shared: Shared, question: Rc<Question>, stream: StreamKind, looks: Looks) -> Self {
        Self { shared, question, stream, flow: Rc::default(), opened: Rc::default(), kept: Rc::default(), looks }
    }

    fn query<'a>(&self, name: &'a str) -> Query<'a> {
        let tcp = self.question.over == DnsOver::Tcp;
        Query { name, kind: self.question.kind, client: CLIENT, tcp }
    }

    /// One query; the way learns the times.
    async fn ask(&self, way: &mut Way, name: &str) -> Told {
        let query = self.query(name);
        let round_trip = self.shared.read(|world| world.settings.round_trip);
        let pinned = self.stream == StreamKind::Pinned;
        let over_tcp = self.question.over == DnsOver::Tcp;
        way.reused = false;
        let kept = if pinned && over_tcp { self.shared.read(|world| self.take_kept(world)) } else { None };
        let mut flow = self.flow.get();
        let delivered = match (kept, over_tcp, pinned) {
            (Some(kept), ..) => {
                way.reused = true;
                flow = Some(kept.target);
                self.shared.act(|world| arrive(world, kept.target, query))
            }
            (None, true, _) => {
                flow = None;
                way.at += round_trip;
                self.shared.act(|world| deliver(world, self.question.server, query, Some(&mut flow)))
            }
            (None, false, true) => {
                way.reused = self.opened.replace(true);
                let told = self.shared.act(|world| deliver(world, self.question.server, query, Some(&mut flow)));
                self.flow.set(flow);
                told
            }
            (None, false, false) => self.shared.act(|world| deliver(world, self.question.server, query, None)),
        };
        let (reply, takes, life) = match delivered {
            Delivered::Answered { reply, takes, life } => (Some(reply), takes, life),
            Delivered::Stranger { takes, life } => (None, takes, life),
            Delivered::Refused => {
                way.at += if over_tcp { Duration::ZERO } else { round_trip };
                return Told::Miss(if way.reused && over_tcp { Class::ReusedClosed } else { Class::DnsUnreachable });
            }
            Delivered::Silent { idle } => return self.silence(way, idle),
        };
        let arrived = way.at + round_trip / 2;
        way.at += round_trip + takes;
        if way.at > Instant::now() {
            sleep_until(way.at.min(way.slot.deadline)).await;
        }
        let ended = self.shared.read(|world| world.kubelets.life(life).and_then(|process| process.ended));
        match ended {
            // Its answer was under way, or never will be.
            Some((at, cut)) if at < arrived + takes => {
                if !over_tcp || cut {
                    return self.silence(way, None);
                }
                way.at = at.max(arrived) + round_trip / 2;
                Told::Miss(if way.reused { Class::ReusedClosed } else { Class::DnsMalformed })
            }
            _ => {
                if over_tcp
                    && pinned
                    && let Some(target) = flow
                {
                    self.kept.borrow_mut().push(Kept { life, target, used: way.at });
                }
                reply.map_or(Told::Expected, Told::Reply)
            }
        }
    }

    /// Nothing comes; a connection is closed in the end.
    fn silence(&self, way: &mut Way, idle: Option<Duration>) -> Told {
        let closed = idle.filter(|_| self.question.over == DnsOver::Tcp).map(|idle| way.at + idle);
        if let Some(at) = closed.filter(|at| *at < way.slot.deadline) {
            way.at = at;
            Told::Miss(if way.reused { Class::ReusedClosed } else { Class::DnsMalformed })
        } else {
            way.at = way.slot.deadline;
            Told::Miss(Class::DnsTimeout)
        }
    }

    /// A connection that the server has not closed, as far as a client can know.
    fn take_kept(&self, world: &World) -> Option<Kept> {
        let mut kept = self.kept.borrow_mut();
        let open = |kept: &Kept| {
            let process = world.kubelets.life(kept.life);
            kept.used.elapsed() < IDLE && process.is_some_and(|process| process.ended.is_none_or(|(_, cut)| cut))
        };
        std::iter::from_fn(|| kept.pop()).find(open)
    }

    /// What a reply is: one with a record of the wanted kind, or what is missing.
    fn read(&self, reply: &Reply) -> Result<Vec<IpAddr>, Class> {
        if reply.truncated {
            return Err(Class::DnsTruncated);
        }
        match miss_of(reply.code) {
            Some(miss) => Err(miss),
            None if reply.has(self.question.kind) => Ok(reply.addresses().collect()),
            None => Err(Class::DnsNodata),
        }
    }

    /// What all queries come to.
    fn judge(&self, answer: &Result<Vec<IpAddr>, Class>) -> Answer {
        let DnsExpectation { rcode, addresses } = &self.question.expect;
        let bad = |class| Answer::Bad { class, status: 0 };
        match answer {
            Ok(found) if *rcode == ResponseCode::NoError && addresses.iter().all(|a| found.contains(a)) => Answer::Good,
            Ok(_) => bad(Class::DnsMismatch),
            Err(miss) if miss_of(*rcode) == Some(*miss) => Answer::Good,
            Err(miss) => bad(*miss),
        }
    }
}

impl Transport for DnsTransport {
    async fn send(self, slot: Slot) -> Exchange {
        self.looks.look().await;
        let mut way = Way::new(slot, &self.looks);
        way.remote = Some(self.question.server);
        way.step(Step::Dns, Duration::ZERO);
        let mut miss = Class::DnsNxdomain;
        let question = Rc::clone(&self.question);
        for name in &question.names {
            let answer = match self.ask(&mut way, name).await {
                Told::Expected => return way.end(Answer::Good, Class::DnsTimeout).await,
                // A connection that was over already is no answer to any name.
                Told::Miss(Class::ReusedClosed) => return way.fail(Class::ReusedClosed).await,
                Told::Miss(class) => Err(class),
                Told::Reply(reply) => self.read(&reply),
            };
            match answer {
                Ok(_) => {
                    let answer = self.judge(&answer);
                    return way.end(answer, Class::DnsTimeout).await;
                }
                Err(class) => miss = worse(miss, class),
            }
            if miss == Class::DnsTimeout || way.at >= slot.deadline {
                break;
            }
        }
        let answer = self.judge(&Err(miss));
        way.end(answer, Class::DnsTimeout).await
    }
}
