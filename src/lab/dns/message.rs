//! Questions and answers of DNS, as plain values and as bytes.
//!
//! Within the lab they are values: most queries never were bytes. Who sends real datagrams gets real ones back.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use hickory_resolver::proto::op::{Message, MessageType, OpCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record as Wire};

use crate::probe::{RecordType, ResponseCode};

/// The largest answer over UDP without EDNS.
const DATAGRAM: usize = 512;
/// An answer with fewer records than this fits into a datagram, whatever they are.
const FITS: usize = 6;

/// A question, and who asks it.
#[derive(Debug, Clone, Copy)]
pub(in crate::lab) struct Query<'a> {
    /// In lower case, without the dot at its end.
    pub name: &'a str,
    pub kind: RecordType,
    pub client: IpAddr,
    pub tcp: bool,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) enum Data {
    Address(IpAddr),
    /// Another name for it.
    Alias(String),
    /// The name of an address.
    Pointer(String),
    Server(String),
    Service {
        port: u16,
        target: String,
    },
    Text(String),
    /// The authority for a zone, and for how long its denials hold.
    Authority {
        minimum: u32,
    },
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Record {
    pub name: String,
    /// In seconds.
    pub ttl: u32,
    pub data: Data,
}

impl Record {
    pub(in crate::lab) const fn kind(&self) -> RecordType {
        match self.data {
            Data::Address(IpAddr::V4(_)) => RecordType::A,
            Data::Address(IpAddr::V6(_)) => RecordType::AAAA,
            Data::Alias(_) => RecordType::CNAME,
            Data::Pointer(_) => RecordType::PTR,
            Data::Server(_) => RecordType::NS,
            Data::Service { .. } => RecordType::SRV,
            Data::Text(_) => RecordType::TXT,
            Data::Authority { .. } => RecordType::SOA,
        }
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Reply {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// Who says that there is none.
    pub authority: Option<Record>,
    /// Records that the answers name.
    pub extra: Vec<Record>,
    /// It did not fit into a datagram.
    pub truncated: bool,
}

impl Reply {
    /// An answer of a code alone.
    pub(in crate::lab) const fn of(code: ResponseCode) -> Self {
        Self { code, answers: Vec::new(), authority: None, extra: Vec::new(), truncated: false }
    }

    /// These records.
    pub(in crate::lab) fn with(answers: Vec<Record>) -> Self {
        Self { answers, ..Self::of(ResponseCode::NoError) }
    }

    /// Whether a record of this kind is among the answers.
    pub(in crate::lab) fn has(&self, kind: RecordType) -> bool {
        self.answers.iter().any(|record| record.kind() == kind)
    }

    /// The addresses among the answers.
    pub(in crate::lab) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.answers.iter().filter_map(|record| match record.data {
            Data::Address(address) => Some(address),
            _ => None,
        })
    }

    /// Cuts an answer that does not fit into a datagram: what is left of it is the word that there was more.
    pub(in crate::lab) fn fit(mut self: Arc<Self>, query: Query<'_>) -> Arc<Self> {
        if query.tcp || self.answers.len() + self.extra.len() < FITS {
            return self;
        }
        let bytes = |reply: &Self| {
            reply.message(query.name, query.kind, 0).and_then(|m| m.to_vec().ok()).map_or(0, |b| b.len())
        };
        if bytes(&self) > DATAGRAM {
            Arc::make_mut(&mut self).extra.clear();
        }
        if bytes(&self) > DATAGRAM {
            let cut = Arc::make_mut(&mut self);
            (cut.answers, cut.truncated) = (Vec::new(), true);
        }
        self
    }

    /// As a message, to a question of this number. `None`: its name is none.
    pub(in crate::lab) fn message(&self, name: &str, kind: RecordType, id: u16) -> Option<Message> {
        let mut message = Message::new(id, MessageType::Response, OpCode::Query);
        message.metadata.response_code = self.code;
        message.metadata.recursion_desired = true;
        message.metadata.authoritative = true;
        message.metadata.truncation = self.truncated;
        message.add_query(hickory_resolver::proto::op::Query::query(full(name)?, kind));
        let wire = |record: &Record| Some(Wire::from_rdata(full(&record.name)?, record.ttl, data(record)?));
        message.add_answers(self.answers.iter().filter_map(wire));
        message.add_authorities(self.authority.iter().filter_map(wire));
        message.add_additionals(self.extra.iter().filter_map(wire));
        Some(message)
    }
}

fn full(name: &str) -> Option<Name> {
    let mut name = Name::from_str(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn data(record: &Record) -> Option<RData> {
    Some(match &record.data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Alias(name) => RData::CNAME(CNAME(full(name)?)),
        Data::Pointer(name) => RData::PTR(PTR(full(name)?)),
        Data::Server(name) => RData::NS(NS(full(name)?)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, full(target)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Authority { minimum } => {
            let zone = &record.name;
            let of = |prefix: &str| full(&format!("{prefix}.{zone}"));
            RData::SOA(SOA::new(of("ns.dns")?, of("hostmaster")?, 1, 7200, 1800, 86_400, *minimum))
        }
    })
}

/// The name, in lower case and without the dot at its end.
pub(in crate::lab) fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// The name by which an address is asked for.
#[cfg(test)]
pub(in crate::lab) fn reverse(address: IpAddr) -> String {
    plain(&Name::from(address))
}

/// The address that such a name stands for.
pub(in crate::lab) fn address_of(name: &str) -> Option<IpAddr> {
    let labels = |suffix: &str| name.strip_suffix(suffix).map(|labels| labels.split('.').rev().collect::<Vec<_>>());
    if let Some(labels) = labels(".in-addr.arpa") {
        return (labels.len() == 4).then(|| labels.join("."))?.parse().ok();
    }
    let labels = labels(".ip6.arpa")?;
    if labels.len() != 32 {
        return None;
    }
    let groups: Vec<String> = labels.chunks(4).map(<[&str]>::concat).collect();
    groups.join(":").parse().ok()
}

/// Whether a name is a zone or lies below it; both without the dot at their end.
pub(in crate::lab) fn is_under(name: &str, zone: &str) -> bool {
    zone.is_empty() || name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn address(last: u8) -> Record {
        let address = IpAddr::V4([10, 0, 0, last].into());
        Record { name: "web.shop.svc.cluster.local".to_owned(), ttl: 30, data: Data::Address(address) }
    }

    #[test]
    fn an_answer_survives_its_way_over_the_wire() {
        let mut reply = Reply::with(vec![address(1)]);
        let service = Data::Service { port: 80, target: "web.shop.svc.cluster.local".to_owned() };
        reply.answers.push(Record { name: "_http._tcp.web.shop".to_owned(), ttl: 5, data: service });
        reply.authority =
            Some(Record { name: "cluster.local".to_owned(), ttl: 5, data: Data::Authority { minimum: 5 } });
        let bytes = reply.message("web.shop", RecordType::A, 7).unwrap().to_vec().unwrap();
        let read = Message::from_vec(&bytes).unwrap();
        assert_eq!((read.metadata.id, read.answers.len(), read.authorities.len()), (7, 2, 1));
        assert_eq!(read.answers[0].data.ip_addr(), Some([10, 0, 0, 1].into()));
        assert_eq!(plain(read.queries[0].name()), "web.shop");
    }

    #[test]
    fn an_answer_too_long_for_a_datagram_is_cut_unless_it_goes_over_tcp() {
        let name = "web.shop.svc.cluster.local";
        let reply = |count: u8| Reply::with((0..count).map(address).collect());
        let query = |tcp| Query { name, kind: RecordType::A, client: CLIENT, tcp };
        assert!(!Arc::new(reply(29)).fit(query(false)).truncated);
        let cut = Arc::new(reply(60)).fit(query(false));
        assert!(cut.truncated && cut.answers.is_empty());
        assert_eq!(Arc::new(reply(60)).fit(query(true)).answers.len(), 60);
    }

    #[test]
    fn an_address_is_read_from_the_name_by_which_it_is_asked_for() {
        for address in ["10.244.1.7", "fd00::7"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(address_of(&reverse(address)), Some(address));
        }
        assert_eq!(address_of("7.1.244.in-addr.arpa"), None);
    }
}
