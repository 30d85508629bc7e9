//! Sockets whose reads come with the kernel's word for when the bytes arrived.
//!
//! A process learns of an answer when it is scheduled, which on a busy machine is milliseconds later, and on a stopped one seconds. The
//! kernel stamps each packet as it comes in (`SO_TIMESTAMPNS`) and hands the stamp over with the bytes: those of the last packet that
//! a read took bytes from. Latency that ends there has nothing of this process in it.
//!
//! The stamps are of the wall clock. What is taken from them is only their age at the read, on the same clock; where that clock was set
//! meanwhile, which shows against the monotonic one, the time of the read stands instead.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::kernel::Stamps;

/// What the kernel and this process did with a connection's bytes, and when.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// When the last bytes that were read arrived.
    arrived: Cell<Option<Instant>>,
    /// When bytes were written last.
    written: Cell<Option<Instant>>,
}

impl Times {
    /// A new request begins.
    pub(crate) fn begin(&self) {
        self.arrived.set(None);
        self.written.set(None);
    }

    /// When the last bytes that were read arrived, by the kernel's stamp; nothing where it gave none.
    pub(crate) fn arrived(&self) -> Option<Instant> {
        self.arrived.get()
    }

    /// When bytes were written last.
    pub(crate) fn written(&self) -> Option<Instant> {
        self.written.get()
    }
}

/// Has the kernel stamp packets for as long as the socket is kept. It begins a little after the first socket that asks, and ends with
/// the last one: without this, the first answers of every run would come without.
pub(crate) fn keep_stamping() -> Option<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    Stamps::on(&socket);
    Some(socket)
}

/// A TCP connection that tells its [`Times`].
pub(crate) struct Stamped {
    tcp: TcpStream,
    stamps: Stamps,
    times: Rc<Times>,
}

impl Stamped {
    pub(crate) fn new(tcp: TcpStream, times: Rc<Times>) -> Self {
        let stamps = Stamps::on(&tcp);
        Self { tcp, stamps, times }
    }

    /// What it is made of.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What happened to its bytes, and when.
    pub(crate) fn times(&self) -> &Times {
        &self.times
    }
}

/// A datagram socket that tells when what it reads arrived.
pub(crate) struct StampedDatagrams {
    socket: tokio::net::UdpSocket,
    stamps: RefCell<Stamps>,
}

impl StampedDatagrams {
    pub(crate) fn new(socket: tokio::net::UdpSocket) -> Self {
        let stamps = Stamps::on(&socket).into();
        Self { socket, stamps }
    }

    /// Sends, and tells when that was done.
    pub(crate) async fn send(&self, bytes: &[u8]) -> io::Result<Instant> {
        self.socket.send(bytes).await?;
        Ok(Instant::now())
    }

    /// Waits for a datagram: its length, and when it arrived, by the kernel's stamp. Cancel safe.
    pub(crate) async fn recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<Instant>)> {
        // An ICMP message that nobody listens is an error without anything to read.
        let either = tokio::io::Interest::READABLE | tokio::io::Interest::ERROR;
        self.socket.async_io(either, || self.stamps.borrow_mut().read(&self.socket, buffer)).await
    }
}

impl AsyncRead for Stamped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { tcp, stamps, times } = &mut *self;
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            let room = buf.initialize_unfilled();
            match tcp.try_io(tokio::io::Interest::READABLE, || stamps.read(tcp, room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok((length, arrived)) => {
                    buf.advance(length);
                    if length > 0 {
                        times.arrived.set(arrived);
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl Stamped {
    fn wrote(&self, result: io::Result<usize>) -> io::Result<usize> {
        if result.is_ok() {
            self.times.written.set(Some(Instant::now()));
        }
        result
    }
}

impl AsyncWrite for Stamped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf));
        Poll::Ready(self.wrote(result))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs));
        Poll::Ready(self.wrote(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(target_os = "linux")]
pub(super) mod kernel {
    use std::io::{self, IoSliceMut};
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
    use nix::sys::time::{TimeSpec, TimeValLike};
    use rustix::time::{ClockId, clock_gettime};
    use tokio::time::Instant;

    /// How far the clocks may drift apart between two reads without one of them having been set: far more than any discipline of
    /// the clock does in that time, and far less than what would matter as a latency.
    const DRIFT: i128 = 500_000;
    /// Two looks at the clocks that are further apart than this are taken again, a few times.
    const APART: Duration = Duration::from_micros(5);
    const LOOKS: usize = 3;

    /// The stamps of one socket.
    #[derive(Debug)]
    pub(crate) struct Stamps {
        /// Room for one stamp; none where the socket gives none.
        room: Vec<u8>,
        /// What the monotonic clock is counted from here.
        anchor: Instant,
        /// The wall clock less the monotonic one, in nanoseconds, when they were looked at last.
        offset: i128,
    }

    impl Stamps {
        /// Asks the kernel for stamps.
        pub(crate) fn on(socket: &impl AsFd) -> Self {
            let room = match setsockopt(socket, sockopt::ReceiveTimestampns, &true) {
                Ok(()) => cmsg_space!(TimeSpec),
                Err(_) => Vec::new(),
            };
            let (anchor, wall) = clocks();
            Self { room, anchor, offset: wall }
        }

        /// Reads what is there, without waiting: how many bytes, and when the last of them arrived.
        pub(crate) fn read(&mut self, socket: &impl AsRawFd, bytes: &mut [u8]) -> io::Result<(usize, Option<Instant>)> {
            let mut into = [IoSliceMut::new(bytes)];
            let received = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut self.room), MsgFlags::MSG_DONTWAIT)?;
            let length = received.bytes;
            // A socket without stamps has no messages either.
            let stamp = received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(stamp) => Some(i128::from(stamp.num_nanoseconds())),
                _ => None,
            });
            Ok((length, stamp.and_then(|stamp| self.arrived(stamp))))
        }

        fn arrived(&mut self, stamp: i128) -> Option<Instant> {
            let (now, wall) = clocks();
            let offset = wall - i128::try_from(now.saturating_duration_since(self.anchor).as_nanos()).ok()?;
            let drift = offset - std::mem::replace(&mut self.offset, offset);
            let age = u64::try_from(wall - stamp).ok()?;
            if drift.abs() > DRIFT { None } else { now.checked_sub(Duration::from_nanos(age)) }
        }
    }

    /// One instant on both clocks, the wall clock's in nanoseconds.
    fn clocks() -> (Instant, i128) {
        let look = || {
            let before = Instant::now();
            let wall = clock_gettime(ClockId::Realtime);
            let apart = before.elapsed();
            (apart, before + apart / 2, i128::from(wall.tv_sec) * 1_000_000_000 + i128::from(wall.tv_nsec))
        };
        let mut best = look();
        // Being put aside between the looks makes them say different instants.
        for _ in 1..LOOKS {
            if best.0 <= APART {
                break;
            }
            best = best.min(look());
        }
        (best.1, best.2)
    }
}

#[cfg(test)]
mod tests;
