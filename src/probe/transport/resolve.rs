//! Resolution of a host name: a stub resolver without a cache and without second tries.
//!
//! It reads `/etc/hosts` and `/etc/resolv.conf` as the C library does (`search`, `ndots`, `timeout`) and builds on hickory's messages
//! and parsers, but not on its resolver: that one sends a question up to three times within one attempt, asks two servers at once,
//! shuns slow ones, and reports the failure of the last search domain instead of the one that matters. A probe that hides a
//! lost datagram can't tell a broken DNS from a sound one.
//!
//! One look-up asks for each name of the search list in turn, until one exists: A, and AAAA where there is no A. Each question
//! goes out once. Only a server that says SERVFAIL or REFUSED, is unreachable, or is silent for `timeout` makes the next
//! server of the list be asked.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Answer;
use super::Trouble;
use super::classify::{Cause, Failed, bad};
use crate::probe::sample::Class;

/// The port of DNS.
const PORT: u16 = 53;
/// Largest answer over UDP without EDNS is 512 bytes; servers that send more are read all the same.
const UDP_ANSWER_MAX: usize = 4096;

/// Where and how names are looked up.
#[derive(Debug)]
pub(crate) struct Resolver {
    hosts: Hosts,
    servers: Vec<SocketAddr>,
    search: Vec<Name>,
    ndots: usize,
    /// How long a server may be silent before the next one is asked.
    patience: Duration,
    next_id: AtomicU16,
}

/// Why there is no address. The order is the order of precedence over a search list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Miss {
    Nxdomain,
    Nodata,
    Other,
    Formerr,
    Notimp,
    Malformed,
    Truncated,
    Unreachable,
    Refused,
    Servfail,
    Timeout,
    Local(Trouble),
}

impl Resolver {
    /// As this machine is configured. The files are read once.
    pub(crate) fn from_system() -> Result<Self, NetError> {
        let (config, options) = read_system_conf()?;
        let servers = config.name_servers.iter().map(|server| SocketAddr::new(server.ip, PORT)).collect();
        // A machine without the file has no static names; so does one whose file can't be read.
        let hosts = Hosts::from_system().unwrap_or_default();
        Ok(Self::new(hosts, servers, config.search, options.ndots, options.timeout))
    }

    fn new(hosts: Hosts, servers: Vec<SocketAddr>, search: Vec<Name>, ndots: usize, patience: Duration) -> Self {
        Self { hosts, servers, search, ndots, patience, next_id: AtomicU16::new(1) }
    }

    /// The server that is asked first.
    pub(super) fn first_server(&self) -> Option<SocketAddr> {
        self.servers.first().copied()
    }

    /// The addresses of a host, in ascending order and at least one.
    pub(crate) async fn addresses(&self, host: &Name) -> Result<Vec<IpAddr>, Failed> {
        if let Some(mut addresses) = self.static_addresses(host) {
            addresses.sort_unstable();
            return Ok(addresses);
        }
        let mut miss = Miss::Nxdomain;
        for name in self.candidates(host) {
            match self.addresses_of(&name).await {
                Ok(mut addresses) => {
                    addresses.sort_unstable();
                    return Ok(addresses);
                }
                Err(worse) => miss = miss.max(worse),
            }
            // The names behind it would wait for the same silent servers.
            if matches!(miss, Miss::Timeout | Miss::Local(_)) {
                break;
            }
        }
        Err(miss.into())
    }

    fn static_addresses(&self, host: &Name) -> Option<Vec<IpAddr>> {
        let addresses = [RecordType::A, RecordType::AAAA].into_iter().find_map(|record| {
            let found = self.hosts.lookup_static_host(&Query::query(host.clone(), record))?;
            Some(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>())
        })?;
        (!addresses.is_empty()).then_some(addresses)
    }

    /// The fully qualified names that a host name may stand for, in the order in which they are asked for (resolv.conf(5)).
    pub(super) fn candidates(&self, host: &Name) -> Vec<Name> {
        let mut itself = host.clone();
        itself.set_fqdn(true);
        if host.is_fqdn() {
            return vec![itself];
        }
        let mut names: Vec<Name> =
            self.search.iter().filter_map(|domain| host.clone().append_domain(domain).ok()).collect();
        let dots = usize::from(host.num_labels()).saturating_sub(1);
        let position = if dots >= self.ndots { 0 } else { names.len() };
        names.insert(position, itself);
        names
    }

    async fn addresses_of(&self, name: &Name) -> Result<Vec<IpAddr>, Miss> {
        match self.ask(name, RecordType::A).await {
            Err(Miss::Nodata) => self.ask(name, RecordType::AAAA).await,
            other => other,
        }
    }

    async fn ask(&self, name: &Name, record: RecordType) -> Result<Vec<IpAddr>, Miss> {
        let mut miss = Miss::Unreachable;
        for server in &self.servers {
            let answer = match timeout(self.patience, self.query(*server, name, record)).await {
                Err(_) => Err(Miss::Timeout),
                Ok(Err(error)) => Err(Trouble::of(&error).map_or(Miss::Unreachable, Miss::Local)),
                Ok(Ok(answer)) => judge(&answer),
            };
            match answer {
                Ok(_) | Err(Miss::Nxdomain | Miss::Nodata | Miss::Local(_)) => return answer,
                Err(next) => miss = next,
            }
        }
        Err(miss)
    }

    async fn query(&self, server: SocketAddr, name: &Name, record: RecordType) -> io::Result<Message> {
        // Replies are told apart by port: the kernel picks a new one per question, and a connected socket hears one server only.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (question, bytes) = question(id, name, record)?;
        let answer = over_udp(server, &bytes, &question).await?;
        if answer.metadata.truncation { over_tcp(server, &bytes).await } else { Ok(answer) }
    }
}

/// A question, and the bytes that ask it.
pub(super) fn question(id: u16, name: &Name, record: RecordType) -> io::Result<(Message, Vec<u8>)> {
    let mut question = Message::new(id, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), record));
    let bytes = question.to_vec().map_err(io::Error::other)?;
    Ok((question, bytes))
}

/// A socket of its own port that hears one server only.
pub(super) async fn udp_to(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn over_udp(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let socket = udp_to(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; UDP_ANSWER_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let received = buffer.get(..length).unwrap_or_default();
        // Whatever is not the answer is passed over, as if it had not come.
        if let Ok(answer) = Message::from_vec(received)
            && answer.metadata.id == question.metadata.id
            && answer.queries == question.queries
        {
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&framed(bytes)?).await?;
    let answer = read_framed(&mut stream).await?;
    Message::from_vec(&answer).map_err(io::Error::other)
}

/// A message as it goes over TCP: its length, then itself (RFC 1035, 4.2.2).
pub(super) fn framed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(bytes.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(bytes);
    Ok(framed)
}

/// One message from a TCP connection.
pub(super) async fn read_framed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    Ok(buffer)
}

fn judge(answer: &Message) -> Result<Vec<IpAddr>, Miss> {
    miss_of(answer.metadata.response_code)?;
    let addresses: Vec<_> = answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect();
    if addresses.is_empty() { Err(Miss::Nodata) } else { Ok(addresses) }
}

/// What a response code other than NOERROR stands for.
pub(super) fn miss_of(code: ResponseCode) -> Result<(), Miss> {
    Err(match code {
        ResponseCode::NoError => return Ok(()),
        ResponseCode::NXDomain => Miss::Nxdomain,
        ResponseCode::ServFail => Miss::Servfail,
        ResponseCode::Refused => Miss::Refused,
        ResponseCode::FormErr => Miss::Formerr,
        ResponseCode::NotImp => Miss::Notimp,
        _ => Miss::Other,
    })
}

impl From<Miss> for Failed {
    fn from(miss: Miss) -> Self {
        let (answer, text) = match miss {
            Miss::Nxdomain => (bad(Class::DnsNxdomain), "the name does not exist"),
            Miss::Nodata => (bad(Class::DnsNodata), "the name exists, but has no address"),
            Miss::Servfail => (bad(Class::DnsServfail), "the resolver answered SERVFAIL"),
            Miss::Refused => (bad(Class::DnsRefused), "the resolver answered REFUSED"),
            Miss::Timeout => (bad(Class::DnsTimeout), "the resolver did not answer in time"),
            Miss::Unreachable => (bad(Class::DnsUnreachable), "no resolver could be reached"),
            Miss::Formerr => (bad(Class::DnsFormerr), "the resolver answered FORMERR"),
            Miss::Notimp => (bad(Class::DnsNotimp), "the resolver answered NOTIMP"),
            Miss::Malformed => (bad(Class::DnsMalformed), "the resolver's answer is no sound message"),
            Miss::Truncated => (bad(Class::DnsTruncated), "the answer was cut to fit a datagram"),
            Miss::Other => (bad(Class::DnsOther), "the resolver's answer could not be used"),
            Miss::Local(trouble) => (Answer::Local(trouble), "this machine has run out of sockets"),
        };
        Self { answer, cause: Cause::Text(text) }
    }
}

#[cfg(test)]
mod tests;
