//! Source ports on which connections timed out, and the connect that tells its own.
//!
//! A packet that a Service's address sends on to a pod that is gone leaves an entry in the connection tracking of the node: this client,
//! this port, that pod. It lives for two minutes (`nf_conntrack_tcp_timeout_syn_sent`) and is renewed by every try, whatever the
//! Service's endpoints are by then. A client that takes the same source port again meets it: a healthy service seems to time out.
//! It is no mistake of measurement, since any client meets it that opens connections as fast. But it is not the pod's doing either, and
//! so it has a class of its own.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long Linux keeps an entry whose SYN was not answered.
const SYN_SENT: Duration = Duration::from_mins(2);

/// When a connect timed out last, by where it went and the port that it came from (no more entries than there are ports), and when
/// one to each address opened last.
#[derive(Debug, Default)]
pub(crate) struct TimedOut(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    timed_out: BTreeMap<(SocketAddr, u16), Instant>,
    opened: BTreeMap<SocketAddr, Instant>,
}

impl TimedOut {
    /// Notes that a connect timed out; whether the one before it on this port did so too, within the life of an entry, though others
    /// got through since. Where none does, it is the address that does not answer, whatever the port.
    pub(crate) fn again(&self, remote: SocketAddr, port: u16, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let through = known.opened.get(&remote).copied();
        let before = known.timed_out.insert((remote, port), now);
        before.is_some_and(|before| {
            now.saturating_duration_since(before) < SYN_SENT && through.is_some_and(|through| through > before)
        })
    }

    /// Notes that a connection opened, and forgets its port.
    pub(crate) fn opened(&self, remote: SocketAddr, port: u16, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.opened.insert(remote, now);
        if !known.timed_out.is_empty() {
            known.timed_out.remove(&(remote, port));
        }
    }
}

/// Opens a connection; `told` learns the source port before the other side has answered.
///
/// # Errors
///
/// Those of the system, as `TcpStream::connect` gives them.
pub(crate) async fn dial(remote: SocketAddr, told: impl FnOnce(u16)) -> io::Result<TcpStream> {
    let family = if remote.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &remote) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    told(SocketAddr::try_from(getsockname(&socket)?)?.port());
    let stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    match stream.take_error()? {
        None => Ok(stream),
        Some(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_second_timeout_in_a_row_on_one_port_is_told_apart() {
        let (known, now) = (TimedOut::default(), Instant::now());
        let [a, b]: [SocketAddr; 2] = ["10.0.0.1:80", "10.0.0.2:80"].map(|text| text.parse().unwrap());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(!known.again(a, 40_000, now));
        assert!(!known.again(a, 40_001, now), "another port");
        assert!(!known.again(b, 40_000, now), "another address");
        assert!(!known.again(a, 40_001, later(50)), "nothing gets through to that address at all");
        known.opened(a, 50_000, later(60));
        assert!(known.again(a, 40_000, later(100)));
        known.opened(a, 50_000, later(110));
        assert!(known.again(a, 40_000, later(219)), "each try renews the entry");
        known.opened(a, 50_000, later(220));
        assert!(!known.again(a, 40_000, later(340)), "the entry is gone");
        known.opened(a, 40_000, later(341));
        assert!(!known.again(a, 40_000, later(342)));
    }

    #[tokio::test]
    async fn the_port_is_the_one_that_the_other_side_sees() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut own = 0;
        let stream = dial(listener.local_addr().unwrap(), |port| own = port).await.unwrap();
        let (_accepted, seen) = listener.accept().await.unwrap();
        assert_eq!((stream.local_addr().unwrap().port(), seen.port()), (own, own));
        drop(listener);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = dial(free, |_| ()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
