//! Where connections go: a name or an address, a port, and what is known of connections that did not open.
//!
//! Where a name has several addresses they take turns, connection by connection. A request never tries a second address: with
//! one of three endpoints dead, a third of the fresh requests are bad, and that is what is reported.

use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::rr::Name;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Answer;
use super::classify::{Cause, Failed, bad, timeout_in};
use super::ports::{TimedOut, dial};
use super::progress::Progress;
use super::resolve::Resolver;
use crate::probe::config::SetupError;
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;

/// Where connections go.
pub(crate) struct Endpoint {
    host: Host,
    pub(crate) port: u16,
    /// Connections that did not open in time, of all streams.
    timed_out: TimedOut,
}

/// The host as written.
enum Host {
    /// An address: nothing to look up.
    Address(IpAddr),
    /// A name, looked up for every new connection.
    Name(Name, Resolver),
}

impl Endpoint {
    /// Checks and prepares; reads `/etc/resolv.conf` and `/etc/hosts` for a name, and sends nothing.
    pub(crate) fn prepare(probe: &str, host: &str, port: u16) -> Result<Self, SetupError> {
        let host = match host.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => named(probe, host)?,
        };
        Ok(Self { host, port, timed_out: TimedOut::default() })
    }

    /// Opens a connection to the next address: one look-up, one address, one try. `progress` learns each step.
    pub(crate) async fn open(
        &self,
        stream: StreamKind,
        turn: &Cell<usize>,
        progress: &Progress,
    ) -> Result<(TcpStream, SocketAddr), Failed> {
        progress.reused.set(false);
        progress.begin_first(Step::Connect);
        let remote = match (stream, &self.host) {
            (StreamKind::Endpoint { address, .. }, _) => address,
            (_, Host::Address(address)) => SocketAddr::new(*address, self.port),
            (_, Host::Name(..)) => {
                progress.begin(Step::Dns);
                let address = self.next_address(|| turn.replace(turn.get().wrapping_add(1))).await?;
                progress.begin(Step::Connect);
                SocketAddr::new(address, self.port)
            }
        };
        progress.remote.set(Some(remote));
        let tcp = dial(remote, |port| progress.port.set(port)).await.map_err(Failed::connect)?;
        self.timed_out.opened(remote, progress.port.get(), Instant::now());
        tcp.set_nodelay(true).and_then(|()| tcp.set_zero_linger()).map_err(Failed::connect)?;
        Ok((tcp, remote))
    }

    /// What a request came to whose deadline fell where `progress` stands.
    pub(crate) fn timed_out(&self, progress: &Progress, now: Instant) -> Answer {
        match (progress.step(), progress.remote.get(), progress.port.get()) {
            (Step::Connect, Some(remote), port @ 1..) if self.timed_out.again(remote, port, now) => {
                bad(Class::ConnectTimeoutSamePort)
            }
            (step, ..) => Answer::Bad { class: timeout_in(step), status: progress.status.get() },
        }
    }

    /// Looks the host up, and gives the address whose turn it is; a turn is taken once there are addresses.
    pub(super) async fn next_address(&self, take_turn: impl FnOnce() -> usize) -> Result<IpAddr, Failed> {
        let (name, resolver) = match &self.host {
            Host::Address(address) => return Ok(*address),
            Host::Name(name, resolver) => (name, resolver),
        };
        // Boxed: a look-up is rare and large, and the room for it would be part of every request under way.
        let addresses = Box::pin(resolver.addresses(name)).await?;
        let address = take_turn().checked_rem(addresses.len()).and_then(|index| addresses.get(index));
        address
            .copied()
            .ok_or_else(|| Failed::bad(Class::DnsNodata, Cause::Text("the name exists, but has no address")))
    }
}

fn named(probe: &str, host: &str) -> Result<Host, SetupError> {
    let name = Name::from_str_relaxed(host)
        .map_err(|error| SetupError::new(Some(probe), format!("not a host name: `{host}`")).source(error))?;
    let resolver = Resolver::from_system().map_err(|error| {
        SetupError::new(Some(probe), format!("`/etc/resolv.conf` can't be used to look up `{host}`"))
            .hint("write a numeric address, or mend the file")
            .source(error)
    })?;
    Ok(Host::Name(name, resolver))
}
