//! How one planned request is carried out: the seam between the loop that keeps the schedule and what does the sending.
//!
//! [`RealTransport`](real::RealTransport) is the real one, for each protocol. The embedded cluster and the tests bring their own and run the same loop
//! on tokio's paused clock.

mod attempt;
pub(crate) mod classify;
mod connect;
mod dns;
mod endpoint;
mod expiry;
mod grpc;
mod http;
mod http2;
mod ports;
pub(crate) mod progress;
pub(crate) mod real;
mod reqwest;
pub(crate) mod resolve;
pub(crate) mod stamped;
mod target;
mod tcp;
mod tls;
mod wire;

pub(crate) use self::ports::TimedOut;

use std::io;
use std::net::SocketAddr;

use tokio::time::Instant;

use super::sample::Class;
use super::steps::Steps;

/// One planned request.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Its number within the stream, from 0.
    pub number: u64,
    /// When it should be sent.
    pub planned: Instant,
    /// When it is given up.
    pub deadline: Instant,
}

/// What carrying out one request came to.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// When the first thing was done for it, be it a look-up, a connection or the request itself.
    pub sent: Instant,
    /// When its outcome was known; of an answer, when it arrived, where the kernel says so.
    pub done: Instant,
    /// When this end had done its part, where `done` is the kernel's word: from then on it could stand still without harm.
    pub acted: Option<Instant>,
    /// What it came to.
    pub answer: Answer,
    /// Whether a connection that was already open carried it.
    pub reused: bool,
    /// The address that it went to, where one was reached.
    pub remote: Option<SocketAddr>,
    /// When each step began.
    pub steps: Steps,
}

/// What the other side's behaviour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The expected answer.
    Good,
    /// Any other answer, or none.
    Bad {
        /// Why.
        class: Class,
        /// The HTTP status, 0 without one; with [`Class::GrpcStatus`] that of gRPC.
        status: u16,
    },
    /// Nothing about the other side: this machine had run out of something.
    Local(Trouble),
}

/// What this machine had run out of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// File descriptors: `EMFILE`, `ENFILE`.
    Files,
    /// Local ports: `EADDRNOTAVAIL`.
    Ports,
    /// Buffers or memory: `ENOBUFS`, `ENOMEM`.
    Memory,
}

impl Trouble {
    /// The trouble that an error number stands for.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        use rustix::io::Errno;
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Files),
            Errno::ADDRNOTAVAIL => Some(Self::Ports),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }
}

/// Carries out requests for one stream.
///
/// A clone stands for the same stream: whatever it keeps between requests (connections) is shared.
pub trait Transport: Clone + 'static {
    /// Carries out exactly one request, now, without a second try of any kind.
    ///
    /// Ends by `slot.deadline`, give or take the timer: an answer that is not complete by then is [`Answer::Bad`] with the timeout
    /// class of the step it was in, whatever comes later. Dropping the future abandons the request.
    fn send(self, slot: Slot) -> impl Future<Output = Exchange> + 'static;
}
