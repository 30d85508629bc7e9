//! Probes over HTTP/2 and gRPC in the lab: many requests at a time on one connection.
//!
//! The connections are kept by the real transport's rules: a stream has one, and another is opened only where there is none, where the
//! peer has not told its settings yet, or where it takes no more requests at a time. A process that drains says so (GOAWAY), after which
//! nothing new is asked of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::load::{self, Full, Served};
use super::looks::Looks;
use super::transport::{Ask, NotOpen, UNAVAILABLE, Way, connect, is_cut_off, judge};
use crate::lab::model::Process;
use crate::lab::world::{Shared, World};
use crate::probe::{Answer, Class, Exchange, HealthState, Slot, Step, StreamKind, Transport};

/// Requests that a server takes at a time on one connection, as Go's does by default.
const AT_A_TIME: usize = 250;
/// gRPC's word for a service that the server does not have.
const NOT_FOUND: u16 = 5;

/// An open connection.
#[derive(Debug)]
struct Connection {
    life: u64,
    remote: SocketAddr,
    /// When the peer's settings have come.
    settled: Instant,
    /// When something was last read from it.
    read: Cell<Instant>,
    /// Requests under way, and all that there were.
    open: Cell<usize>,
    carried: Cell<u32>,
    /// A request was given up on it during which nothing came.
    silent: Cell<bool>,
    /// It was opened because others were full.
    overflow: bool,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(super) struct MultiplexedTransport {
    shared: Shared,
    ask: Rc<Ask>,
    /// The state that a health check expects; `None`: it is plain HTTP/2.
    health: Option<HealthState>,
    stream: StreamKind,
    pool: Rc<RefCell<Vec<Rc<Connection>>>>,
    turn: Rc<Cell<usize>>,
    looks: Looks,
}

impl MultiplexedTransport {
    pub(super) fn new(
        shared: Shared,
        ask: Rc<Ask>,
        health: Option<HealthState>,
        stream: StreamKind,
        looks: Looks,
    ) -> Self {
        Self { shared, ask, health, stream, pool: Rc::default(), turn: Rc::default(), looks }
    }

    /// How many connections are open.
    #[cfg(test)]
    pub(super) fn connections(&self) -> usize {
        self.pool.borrow().len()
    }

    /// Whether a connection can ever carry another request, as far as this end knows.
    fn lasts(&self, connection: &Connection, world: &World) -> bool {
        let said = |process: &Process| process.drains || matches!(process.ended, Some((_, false)));
        connection.carried.get() < self.stream.requests_per_connection()
            && !connection.silent.get()
            && world.kubelets.life(connection.life).is_some_and(|process| !said(process))
    }

    /// The oldest connection with room.
    fn take_open(&self, world: &World, now: Instant) -> Option<Rc<Connection>> {
        let mut pool = self.pool.borrow_mut();
        pool.retain(|connection| self.lasts(connection, world));
        pool.iter().find(|c| c.settled <= now && c.open.get() < AT_A_TIME).cloned()
    }

    /// A request on a connection.
    async fn over(&self, mut way: Way, connection: Rc<Connection>) -> Exchange {
        let (round_trip, process) =
            self.shared.read(|world| (world.settings.round_trip, world.kubelets.life(connection.life).cloned()));
        way.step(Step::Send, Duration::ZERO);
        let Some(process) = process else { return way.fail(Class::ResponseReset).await };
        let is_cut_off = |process: &Process| self.shared.read(|world| is_cut_off(world, process));
        if is_cut_off(&process) {
            return way.silence(Class::ResponseTimeout).await;
        }
        let begun = way.at;
        let asked = begun + round_trip / 2;
        connection.open.set(connection.open.get() + 1);
        connection.carried.set(connection.carried.get().saturating_add(1));
        let lease = Lease { connection: Rc::clone(&connection), begun, settled: Cell::new(false) };
        let (takes, status) = match self.shared.act(|world| load::serve(world, connection.life, asked)) {
            Served::After(takes) => (takes, process.status),
            Served::Turned(Full::Status) => (Duration::ZERO, UNAVAILABLE),
            Served::Turned(Full::Reset) => {
                way.at += round_trip;
                return way.fail(Class::ResponseReset).await;
            }
        };
        way.step(Step::Response, round_trip + takes);
        sleep_until(way.at.min(way.slot.deadline)).await;
        let process = self.shared.read(|world| world.kubelets.life(connection.life).cloned()).unwrap_or(process);
        let fate = if is_cut_off(&process) { Fate::Silent } else { fate(&process, asked, &way) };
        match fate {
            Fate::Silent => {
                drop(lease);
                way.silence(Class::ResponseTimeout).await
            }
            Fate::Cut { at, class } => {
                lease.settled.set(true);
                way.at = at.max(asked) + round_trip / 2;
                way.fail(class).await
            }
            Fate::Answered => {
                let in_time = way.at < way.slot.deadline;
                lease.settled.set(in_time);
                if in_time {
                    connection.read.set(way.at);
                }
                drop(lease);
                self.let_go_if_spare(&connection, way.at);
                let answer = self.judged(status, process.grpc_status);
                way.step(Step::Body, Duration::ZERO);
                way.end(answer, Class::ResponseTimeout).await
            }
        }
    }

    /// Closes a connection that is idle and was opened only because an older one was not ready yet.
    fn let_go_if_spare(&self, connection: &Rc<Connection>, now: Instant) {
        if connection.overflow || connection.open.get() > 0 {
            return;
        }
        let mut pool = self.pool.borrow_mut();
        if let Some(place) = pool.iter().position(|other| Rc::ptr_eq(other, connection))
            && pool.iter().take(place).any(|other| other.settled <= now && !other.silent.get())
        {
            pool.remove(place);
        }
    }

    fn judged(&self, status: u16, grpc_status: u16) -> Answer {
        let Some(expected) = self.health else { return judge(&self.ask, status) };
        match (status, grpc_status) {
            (200, 0) => Answer::Good,
            (200, NOT_FOUND) if expected == HealthState::ServiceUnknown => Answer::Good,
            (200, status) => Answer::Bad { class: Class::GrpcStatus, status },
            // What gRPC always answers with 200.
            (status, _) => Answer::Bad { class: Class::Status, status },
        }
    }
}

/// A request under way on a connection.
struct Lease {
    connection: Rc<Connection>,
    begun: Instant,
    settled: Cell<bool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Connection { open, read, silent, .. } = &*self.connection;
        open.set(open.get().saturating_sub(1));
        if !self.settled.get() && read.get() <= self.begun {
            silent.set(true);
        }
    }
}

/// What becomes of a request that reached a process.
enum Fate {
    Answered,
    Silent,
    /// The connection ends then.
    Cut {
        at: Instant,
        class: Class,
    },
}

fn fate(process: &Process, asked: Instant, way: &Way) -> Fate {
    if process.hangs.is_some_and(|at| asked >= at || way.at > at) {
        return Fate::Silent;
    }
    match process.ended {
        Some((at, true)) if at < way.at => Fate::Silent,
        Some((at, false)) if at < way.at => {
            let class = match (process.drains, at < asked, way.reused) {
                // It had said that it would take what came before.
                (true, true, _) => Class::GoawayUnprocessed,
                (true, false, _) => Class::GoawayProcessed,
                (false, _, true) => Class::ReusedClosed,
                (false, true, false) => Class::ResponseReset,
                (false, false, false) => Class::ResponseClosed,
            };
            Fate::Cut { at, class }
        }
        _ => Fate::Answered,
    }
}

impl Transport for MultiplexedTransport {
    async fn send(self, slot: Slot) -> Exchange {
        self.looks.look().await;
        let mut way = Way::new(slot, &self.looks);
        if let Some(connection) = self.shared.read(|world| self.take_open(world, way.at)) {
            way.reused = true;
            way.remote = Some(connection.remote);
            return self.over(way, connection).await;
        }
        let overflow = self.pool.borrow().iter().any(|connection| connection.settled <= way.at);
        let (life, remote) = match connect(&self.shared, &self.ask, self.stream, &self.turn, &mut way).await {
            Ok(open) => open,
            Err(NotOpen::Failed(class)) => return way.fail(class).await,
            Err(NotOpen::Silent(class)) => return way.silence(class).await,
        };
        let round_trip = self.shared.read(|world| world.settings.round_trip);
        let connection = Rc::new(Connection {
            life,
            remote,
            settled: way.at + round_trip,
            read: Cell::new(way.at),
            open: Cell::new(0),
            carried: Cell::new(0),
            silent: Cell::new(false),
            overflow,
        });
        if self.stream.requests_per_connection() > 1 {
            self.pool.borrow_mut().push(Rc::clone(&connection));
        }
        self.over(way, connection).await
    }
}
