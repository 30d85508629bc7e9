//! DNS queries of our own: one datagram or one message per name, no cache, no second try, no second server.
//!
//! A name without a dot at its end goes through the search list of `/etc/resolv.conf` as a pod's does: with `ndots:5`, the default of
//! Kubernetes, `web.shop.svc` costs one query for each domain until one exists. They share the one timeout of the slot.
//!
//! A stream with a socket per query has a new source port each time, and so meets whichever DNS server is chosen for a new flow. A
//! pinned one keeps its port, and with it, behind a Service, the entry of connection tracking: what a resolver with a long-lived
//! socket goes through when the server behind that entry is gone.

mod pinned;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, MessageType, Metadata, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::pinned::Pinned;
use super::attempt::Attempt;
use super::classify::{Cause, Failed, bad};
use super::progress::Progress;
use super::resolve::{Miss, Resolver, framed, miss_of, question, read_framed, udp_to};
use super::stamped::{Stamped, StampedDatagrams};
use super::{Answer, Trouble};
use crate::probe::config::{DnsAsk, DnsExpectation, DnsOver, SetupError};
use crate::probe::sample::{Class, Step};
use crate::probe::stream::StreamKind;

/// Larger datagrams than the 512 bytes of a query without EDNS are read all the same.
const DATAGRAM_MAX: usize = 4096;

/// An answer, when the question for it was written, and when it arrived; the times where they are known.
struct Told {
    bytes: Vec<u8>,
    written: Option<Instant>,
    arrived: Option<Instant>,
}

/// A query made ready once.
pub(crate) struct DnsTarget {
    server: SocketAddr,
    /// The fully qualified names that it stands for, in the order in which they are asked for.
    names: Vec<Name>,
    record: RecordType,
    over: DnsOver,
    expect: DnsExpectation,
}

impl DnsTarget {
    /// Checks and prepares; reads `/etc/resolv.conf`, and sends nothing.
    pub(crate) fn prepare(probe: &str, ask: &DnsAsk) -> Result<Self, SetupError> {
        let fail = |message: String| SetupError::new(Some(probe), message);
        let name = Name::from_str_relaxed(&ask.name)
            .map_err(|error| fail(format!("not a name that DNS can be asked for: `{}`", ask.name)).source(error))?;
        let unreadable = |error| {
            fail("`/etc/resolv.conf` can't be used".to_owned())
                .hint("mend the file; or write the `server`, and a dot at the end of the name")
                .source(error)
        };
        let (server, names) = match (ask.server, name.is_fqdn()) {
            (Some(server), true) => (Some(server), vec![name]),
            (server, _) => {
                let resolver = Resolver::from_system().map_err(unreadable)?;
                (server.or_else(|| resolver.first_server()), resolver.candidates(&name))
            }
        };
        let server = server.ok_or_else(|| {
            fail("`/etc/resolv.conf` names no server".to_owned()).hint("write the `server` that is to be asked")
        })?;
        Ok(Self { server, names, record: ask.record, over: ask.over, expect: ask.expect.clone() })
    }

    /// What the answers to all names come to.
    fn judge(&self, answer: Result<Message, Miss>) -> Result<Answer, Failed> {
        let wanted = self.expect.rcode;
        match answer {
            Ok(answer) => {
                let has = |wanted| answer.answers.iter().any(|record| record.data.ip_addr() == Some(wanted));
                let expected = wanted == ResponseCode::NoError && self.expect.addresses.iter().copied().all(has);
                Ok(if expected { Answer::Good } else { bad(Class::DnsMismatch) })
            }
            Err(miss) if wanted != ResponseCode::NoError && miss_of(wanted) == Err(miss) => Ok(Answer::Good),
            Err(miss) => Err(miss.into()),
        }
    }

    /// What one answer is: a message with a record of the wanted kind, or what is missing.
    fn read(&self, bytes: &[u8], asked: &Message) -> Result<Message, Miss> {
        let answer = Message::from_vec(bytes).map_err(|_| Miss::Malformed)?;
        let Metadata { id, message_type, truncation, .. } = answer.metadata;
        if (id, message_type) != (asked.metadata.id, MessageType::Response) {
            return Err(Miss::Malformed);
        }
        if truncation {
            return Err(Miss::Truncated);
        }
        miss_of(answer.metadata.response_code)?;
        if answer.queries != asked.queries {
            return Err(Miss::Malformed);
        }
        let any = answer.answers.iter().any(|record| record.record_type() == self.record);
        if any { Ok(answer) } else { Err(Miss::Nodata) }
    }
}

/// The transport of one stream of a DNS probe. Needs a `LocalSet` around it.
#[derive(Clone)]
pub(crate) struct DnsTransport(Rc<Inner>);

struct Inner {
    target: Arc<DnsTarget>,
    stream: StreamKind,
    next_id: Cell<u16>,
    pinned: RefCell<Option<Rc<Pinned>>>,
    idle: RefCell<Vec<Stamped>>,
}

impl DnsTransport {
    pub(crate) fn new(target: Arc<DnsTarget>, stream: StreamKind) -> Self {
        let (pinned, idle) = (RefCell::default(), RefCell::default());
        Self(Rc::new(Inner { target, stream, next_id: Cell::new(1), pinned, idle }))
    }
}

impl Attempt for DnsTransport {
    type Kept = ();

    async fn attempt(&self, progress: &Progress) -> Result<(Answer, ()), Failed> {
        let Inner { target, .. } = &*self.0;
        progress.begin(Step::Dns);
        progress.remote.set(Some(target.server));
        let mut miss = Miss::Nxdomain;
        for name in &target.names {
            match self.0.ask(name, progress).await? {
                Ok(answer) => return target.judge(Ok(answer)).map(|answer| (answer, ())),
                Err(worse) => miss = miss.max(worse),
            }
            if matches!(miss, Miss::Timeout | Miss::Local(_)) {
                break;
            }
        }
        target.judge(Err(miss)).map(|answer| (answer, ()))
    }

    fn timed_out(&self, _: &Progress, _: Instant) -> Answer {
        bad(Class::DnsTimeout)
    }

    async fn keep(&self, (): (), _: Instant) {}
}

impl Inner {
    /// Asks for one name, once.
    async fn ask(&self, name: &Name, progress: &Progress) -> Result<Result<Message, Miss>, Failed> {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        let (asked, bytes) =
            question(id, name, self.target.record).map_err(|error| Failed::bad(Class::DnsOther, Cause::Io(error)))?;
        // What is known of the answer to another name is not known of this one.
        progress.complete_at(None, None);
        let answer = match (self.target.over, self.stream) {
            (DnsOver::Udp, StreamKind::Pinned) => {
                self.over_pinned(id, &bytes, progress).await.map_err(|error| unanswered(&error))
            }
            (DnsOver::Udp, _) => self.over_own(id, &bytes).await.map_err(|error| unanswered(&error)),
            (DnsOver::Tcp, StreamKind::Pinned) => self.over_kept_tcp(&bytes, progress).await?,
            (DnsOver::Tcp, _) => self.over_tcp(&bytes).await.map(|(answer, _)| answer),
        };
        Ok(answer.and_then(|told| {
            progress.complete_at(told.written, told.arrived);
            self.target.read(&told.bytes, &asked)
        }))
    }

    async fn over_own(&self, id: u16, bytes: &[u8]) -> io::Result<Told> {
        let socket = StampedDatagrams::new(udp_to(self.target.server).await?);
        let written = socket.send(bytes).await?;
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let (length, arrived) = socket.recv(&mut buffer).await?;
            let answer = buffer.get(..length).unwrap_or_default();
            // Another number, or none: not the answer, whoever sent it.
            if id_of(answer) == Some(id) {
                buffer.truncate(length);
                return Ok(Told { bytes: buffer, written: Some(written), arrived });
            }
        }
    }

    async fn over_pinned(&self, id: u16, bytes: &[u8], progress: &Progress) -> io::Result<Told> {
        let known = self.pinned.borrow().clone();
        progress.reused.set(known.is_some());
        let pinned = if let Some(pinned) = known {
            pinned
        } else {
            let new = Pinned::open(self.target.server).await?;
            // Another query may have opened one in the meantime: one port is enough.
            Rc::clone(self.pinned.borrow_mut().get_or_insert(new))
        };
        pinned.ask(id, bytes).await
    }

    /// One query over a connection of its own, and the connection.
    async fn over_tcp(&self, bytes: &[u8]) -> Result<(Told, Stamped), Miss> {
        let open = async {
            let stream = TcpStream::connect(self.target.server).await?;
            stream.set_nodelay(true)?;
            stream.set_zero_linger()?;
            Ok(stream)
        };
        let stream = open.await.map_err(|error| unanswered(&error))?;
        let mut stream = Stamped::new(stream, Rc::default());
        let answer = converse(&mut stream, bytes).await.map_err(|error| cut(&error))?;
        Ok((told(answer, &stream), stream))
    }

    /// One query over a connection that is kept, where one is idle.
    async fn over_kept_tcp(&self, bytes: &[u8], progress: &Progress) -> Result<Result<Told, Miss>, Failed> {
        // One that was closed while it was idle has nothing to read but its end; what is written to it would be lost.
        let idle = std::iter::from_fn(|| self.idle.borrow_mut().pop()).find(is_open);
        progress.reused.set(idle.is_some());
        let (answer, stream) = match idle {
            Some(mut stream) => {
                if let Err(error) = begin(&mut stream, bytes).await {
                    let answer = Trouble::of(&error).map_or(bad(Class::ReusedClosed), Answer::Local);
                    return Err(Failed { answer, cause: Cause::Io(error) });
                }
                match read_framed(&mut stream).await {
                    Ok(answer) => (told(answer, &stream), stream),
                    Err(error) => return Ok(Err(cut(&error))),
                }
            }
            None => match self.over_tcp(bytes).await {
                Ok(answered) => answered,
                Err(miss) => return Ok(Err(miss)),
            },
        };
        self.idle.borrow_mut().push(stream);
        Ok(Ok(answer))
    }
}

async fn converse(stream: &mut Stamped, bytes: &[u8]) -> io::Result<Vec<u8>> {
    stream.times().begin();
    stream.write_all(&framed(bytes)?).await?;
    read_framed(stream).await
}

/// Asks, and waits for the first byte of the answer. Without one, the connection was over already.
async fn begin(stream: &mut Stamped, bytes: &[u8]) -> io::Result<()> {
    stream.times().begin();
    stream.write_all(&framed(bytes)?).await?;
    if stream.tcp().peek(&mut [0]).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// A complete answer with the times of its connection.
fn told(bytes: Vec<u8>, stream: &Stamped) -> Told {
    Told { bytes, written: stream.times().written(), arrived: stream.times().arrived() }
}

fn is_open(stream: &Stamped) -> bool {
    matches!(stream.tcp().try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The number that an answer shares with its question.
fn id_of(answer: &[u8]) -> Option<u16> {
    answer.first_chunk().map(|id| u16::from_be_bytes(*id))
}

/// What a question came to that could not be asked.
fn unanswered(error: &io::Error) -> Miss {
    Trouble::of(error).map_or(Miss::Unreachable, Miss::Local)
}

/// What a connection came to that ended before its answer did.
fn cut(error: &io::Error) -> Miss {
    Trouble::of(error).map_or(Miss::Malformed, Miss::Local)
}

#[cfg(test)]
mod tests;
