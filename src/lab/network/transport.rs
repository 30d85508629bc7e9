//! One probe request in the lab: a look-up, a connection through the Service's rules, and the answer of what runs behind them.
//!
//! Every instant is computed, none is read from a timer: tokio's paused clock moves in steps of a millisecond, and a request may take less.
//! What a request meets is what there is at its instant; what ends while it waits is seen once it would have been answered, and dated
//! when it happened.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::load::{self, Full, Served};
use super::looks::Looks;
use super::resolve::Host;
use crate::lab::model::Process;
use crate::lab::world::{Shared, World};
use crate::probe::{Answer, Class, Exchange, Slot, Step, Steps, StreamKind, TimedOut, Transport};

/// What a TLS handshake costs both ends, beside its two round trips.
const HANDSHAKE: Duration = Duration::from_millis(2);
/// The status of an answer that says that there is no room.
pub(super) const UNAVAILABLE: u16 = 503;
/// Idle connections that a stream keeps at most.
const KEPT_MAX: usize = 64;

/// What all streams of a probe have in common.
#[derive(Debug)]
pub(super) struct Ask {
    pub host: Host,
    pub port: u16,
    pub tls: bool,
    /// The wanted statuses; any success when empty. Without an HTTP answer, of a TCP probe: `None`.
    pub statuses: Option<Vec<u16>>,
    /// Connections that nothing answered, by the real transports' own book.
    pub timed_out: TimedOut,
}

/// An open connection, to one life of one process.
#[derive(Debug, Clone, Copy)]
struct Connection {
    life: u64,
    remote: SocketAddr,
    requests: u32,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct LabTransport {
    shared: Shared,
    ask: Rc<Ask>,
    stream: StreamKind,
    idle: Rc<RefCell<Vec<Connection>>>,
    turn: Rc<Cell<usize>>,
    looks: Looks,
}

/// What a request needs to know of the process that it is sent to.
#[derive(Debug, Clone, Copy)]
struct Seen {
    hangs: Option<Instant>,
    ended: Option<(Instant, bool)>,
    /// When its node was cut off, if it is.
    cut_off: Option<Instant>,
    drains: bool,
    closes: bool,
    status: u16,
}

impl Seen {
    fn of(world: &World, process: &Process) -> Self {
        let Process { hangs, ended, drains, closes, status, .. } = *process;
        Self { hangs, ended, cut_off: cut_off(world, process), drains, closes, status }
    }
}

/// What a connection came to.
pub(in crate::lab) enum Dialled {
    /// It is open, to a process by its life.
    Open { life: u64, remote: SocketAddr },
    /// It is refused.
    Failed { class: Class, remote: SocketAddr },
    /// Packets vanish: nothing comes back until the deadline.
    Silent { remote: SocketAddr },
}

/// A request on its way: its times so far.
pub(super) struct Way {
    pub slot: Slot,
    pub at: Instant,
    steps: Steps,
    pub remote: Option<SocketAddr>,
    pub reused: bool,
    looks: Looks,
}

impl Way {
    pub(super) fn new(slot: Slot, looks: &Looks) -> Self {
        Self { slot, at: slot.planned, steps: Steps::default(), remote: None, reused: false, looks: looks.clone() }
    }

    /// A step begins now, and takes so long.
    pub(super) fn step(&mut self, step: Step, takes: Duration) {
        self.steps.begin(step, self.at - self.slot.planned);
        self.at += takes;
    }

    /// Ends with an answer that is known once `at` has come; one that comes after the deadline is the timeout of its step.
    pub(super) async fn end(self, answer: Answer, late: Class) -> Exchange {
        let (done, answer) = if self.at < self.slot.deadline {
            (self.at, answer)
        } else {
            (self.slot.deadline, Answer::Bad { class: late, status: 0 })
        };
        self.looks.until(done).await;
        Exchange {
            sent: self.slot.planned,
            done,
            acted: Some(self.slot.planned),
            answer,
            reused: self.reused,
            remote: self.remote,
            steps: self.steps,
        }
    }

    pub(super) async fn fail(self, class: Class) -> Exchange {
        let late = match class.step() {
            Step::Dns => Class::DnsTimeout,
            Step::Connect => Class::ConnectTimeout,
            _ => Class::ResponseTimeout,
        };
        self.end(Answer::Bad { class, status: 0 }, late).await
    }

    pub(super) async fn silence(mut self, class: Class) -> Exchange {
        self.at = self.slot.deadline;
        self.end(Answer::Bad { class, status: 0 }, class).await
    }
}

impl LabTransport {
    pub(super) fn new(shared: Shared, ask: Rc<Ask>, stream: StreamKind, looks: Looks) -> Self {
        Self { shared, ask, stream, idle: Rc::default(), turn: Rc::default(), looks }
    }

    /// An idle connection whose other end is still there. One that was closed is dropped in silence, as a client does that has read the
    /// end; of one whose other end lost its power nobody knows.
    fn take_idle(&self, world: &World) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(connection) = idle.pop() {
            let closed = match world.kubelets.life(connection.life) {
                Some(process) => process.drains || matches!(process.ended, Some((_, false))),
                None => true,
            };
            if !closed {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if connection.requests < self.stream.requests_per_connection() && idle.len() < KEPT_MAX {
            idle.push(connection);
        }
    }

    /// The request over an open connection.
    async fn ask(&self, mut way: Way, mut connection: Connection) -> Exchange {
        let seen = |world: &World| world.kubelets.life(connection.life).map(|process| Seen::of(world, process));
        let (round_trip, process) = self.shared.read(|world| (world.settings.round_trip, seen(world)));
        let Some(process) = process else { return way.fail(Class::ResponseReset).await };
        if process.cut_off.is_some() {
            return way.silence(Class::ResponseTimeout).await;
        }
        let asked = way.at + round_trip / 2;
        let (takes, turned) = match self.shared.act(|world| load::serve(world, connection.life, asked)) {
            Served::After(takes) => (takes, false),
            Served::Turned(Full::Status) => (Duration::ZERO, true),
            Served::Turned(Full::Reset) => {
                way.at += round_trip;
                let class = if way.reused { Class::ResponseReset } else { Class::ConnectRefused };
                return way.fail(class).await;
            }
        };
        way.step(Step::Response, round_trip + takes);
        let answered = way.at.min(way.slot.deadline);
        self.looks.until(answered).await;
        let process = self.shared.read(seen).unwrap_or(process);
        if process.cut_off.is_some_and(|at| at < way.at) {
            return way.silence(Class::ResponseTimeout).await;
        }
        if let Some(at) = process.hangs.filter(|at| *at < answered) {
            // Whoever hangs for good never answers; a request that came before that was answered.
            if asked >= at || way.at > at {
                return way.silence(Class::ResponseTimeout).await;
            }
        }
        match process.ended {
            Some((at, true)) if at < way.at => way.silence(Class::ResponseTimeout).await,
            Some((at, false)) if at < way.at && !process.drains => {
                // The kernel that ends a process closes its connections; one that it had taken no request from is reset.
                way.at = at.max(asked) + round_trip / 2;
                let class = match (at < asked, way.reused) {
                    (true, _) => Class::ResponseReset,
                    (false, true) => Class::ReusedClosed,
                    (false, false) => Class::ResponseClosed,
                };
                way.fail(class).await
            }
            _ => {
                connection.requests += 1;
                if way.at < way.slot.deadline && !process.drains && !process.closes {
                    self.keep(connection);
                }
                let status = if turned { UNAVAILABLE } else { process.status };
                let answer = judge(&self.ask, status);
                way.end(answer, Class::ResponseTimeout).await
            }
        }
    }
}

impl Transport for LabTransport {
    async fn send(self, slot: Slot) -> Exchange {
        self.looks.look().await;
        let mut way = Way::new(slot, &self.looks);
        if self.stream.requests_per_connection() > 1
            && let Some(connection) = self.shared.read(|world| self.take_idle(world))
        {
            way.reused = true;
            way.remote = Some(connection.remote);
            return self.ask(way, connection).await;
        }
        let (life, remote) = match connect(&self.shared, &self.ask, self.stream, &self.turn, &mut way).await {
            Ok(open) => open,
            Err(NotOpen::Failed(class)) => return way.fail(class).await,
            Err(NotOpen::Silent(class)) => return way.silence(class).await,
        };
        if self.ask.statuses.is_none() {
            return way.end(Answer::Good, Class::ConnectTimeout).await;
        }
        self.ask(way, Connection { life, remote, requests: 0 }).await
    }
}

/// Why a connection is not open.
pub(super) enum NotOpen {
    Failed(Class),
    /// Nothing came back: how that counts.
    Silent(Class),
}

/// Looks up, connects and shakes hands; the way learns the times. The life of the process at the other end, and the address.
pub(super) async fn connect(
    shared: &Shared,
    ask: &Ask,
    stream: StreamKind,
    turn: &Cell<usize>,
    way: &mut Way,
) -> Result<(u64, SocketAddr), NotOpen> {
    let to = if let StreamKind::Endpoint { address, .. } = stream {
        address
    } else {
        let found = ask.host.look_up(shared, way).await.map_err(NotOpen::Failed)?;
        let turn = turn.replace(turn.get().wrapping_add(1));
        let address = turn.checked_rem(found.len()).and_then(|index| found.get(index));
        SocketAddr::new(*address.ok_or(NotOpen::Failed(Class::DnsNodata))?, ask.port)
    };
    let round_trip = shared.read(|world| world.settings.round_trip);
    way.step(Step::Connect, round_trip);
    let deadline = way.slot.deadline;
    let dialled = |world: &mut World| {
        let port = world.network.client.port(to);
        (port, dial(world, to, Some(Own { port, deadline })))
    };
    let (port, dialled) = shared.act(dialled);
    match dialled {
        Dialled::Open { life, remote } => {
            way.remote = Some(remote);
            ask.timed_out.opened(remote, port, way.at);
            if ask.tls {
                way.step(Step::Tls, round_trip * 2 + HANDSHAKE);
            }
            Ok((life, remote))
        }
        Dialled::Failed { class, remote } => {
            way.remote = Some(remote);
            Err(NotOpen::Failed(class))
        }
        Dialled::Silent { remote } => {
            way.remote = Some(remote);
            let again = ask.timed_out.again(remote, port, deadline);
            Err(NotOpen::Silent(if again { Class::ConnectTimeoutSamePort } else { Class::ConnectTimeout }))
        }
    }
}

/// The probes' own end of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::lab) struct Own {
    port: u16,
    /// Until then an answer is waited for.
    deadline: Instant,
}

/// Opens a connection to an address: through a Service's rules where it is one of theirs. The address that is reported is the one that
/// was dialled, as a client behind kube-proxy sees it. `own`: from which port, where the lab's client does it, whose kernel remembers
/// where that was led.
pub(in crate::lab) fn dial(world: &mut World, to: SocketAddr, own: Option<Own>) -> Dialled {
    let led = own.and_then(|own| world.network.client.led(to, own.port));
    let backends = world.network.behind(to).map(<[SocketAddr]>::len);
    let target = match (led, backends) {
        (Some(led), _) => led,
        // kube-proxy rejects what has no endpoint; a port that the Service does not have is nobody's.
        (None, Some(0)) => return Dialled::Failed { class: Class::ConnectRefused, remote: to },
        (None, Some(backends)) => {
            let chosen = world.pick(backends);
            world.network.behind(to).and_then(|all| all.get(chosen)).copied().unwrap_or(to)
        }
        (None, None) if world.network.is_service(to.ip()) => return Dialled::Silent { remote: to },
        (None, None) => to,
    };
    let dialled = reach(world, to, target);
    match (own, &dialled) {
        (Some(Own { port, deadline }), Dialled::Silent { .. }) => {
            let forgotten = deadline + world.settings.tracked;
            world.network.client.unanswered((to, port), target, deadline, forgotten);
        }
        (Some(own), _) => world.network.client.answered(to, own.port),
        (None, _) => {}
    }
    dialled
}

/// What there is at an endpoint.
fn reach(world: &World, to: SocketAddr, target: SocketAddr) -> Dialled {
    match world.kubelets.at(target.ip(), target.port()) {
        None | Some(Process { ended: Some((_, true)), .. }) => Dialled::Silent { remote: to },
        Some(process) if is_cut_off(world, process) => Dialled::Silent { remote: to },
        Some(process) if process.ended.is_some() || process.listens.is_none() || process.drains => {
            Dialled::Failed { class: Class::ConnectRefused, remote: to }
        }
        Some(process) => Dialled::Open { life: process.life, remote: to },
    }
}

/// Whether packets to a process vanish, because its node is cut off.
pub(super) fn is_cut_off(world: &World, process: &Process) -> bool {
    cut_off(world, process).is_some()
}

/// Since when that is so.
fn cut_off(world: &World, process: &Process) -> Option<Instant> {
    let node = world.nodes.any_cut_off().then(|| world.kubelets.node_of(process)).flatten()?;
    world.nodes.cut_off_since(node)
}

/// What the answer of a process is to a probe: nobody knows what its body says, so an application that works is taken to answer as the
/// experiment expects.
pub(super) fn judge(ask: &Ask, status: u16) -> Answer {
    let statuses = ask.statuses.as_deref().unwrap_or_default();
    let wanted = match (status, statuses) {
        (200, _) => true,
        (status, []) => (200..300).contains(&status),
        (status, wanted) => wanted.contains(&status),
    };
    if wanted { Answer::Good } else { Answer::Bad { class: Class::Status, status } }
}
