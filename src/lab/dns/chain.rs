//! The way of a query through a CoreDNS: the server block that takes it, and its plugins, one after the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::cached;
use super::config::Config;
use super::kubernetes;
use super::message::{Data, Query, Record, Reply, is_under};
use super::plugins::{Action, Erratic, Forward, Kubernetes, Match, Plugin, Policy, Rewrite, Upstream};
use super::view::Facts;
use crate::lab::world::World;
use crate::probe::{RecordType, ResponseCode};

/// How long `forward` waits for an upstream, and for all of them together.
const UPSTREAM: Duration = Duration::from_secs(2);
const UPSTREAMS: Duration = Duration::from_secs(5);
/// How far the resolver is that the node asks.
const BEYOND: Duration = Duration::from_millis(5);
/// For how many seconds its denials hold.
const BEYOND_TTL: u32 = 300;
/// How often a query may be forwarded to the same CoreDNS again.
const LOOPS_MAX: u8 = 4;

/// What became of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) struct Served {
    pub outcome: Outcome,
    /// How long that took, beside what an answer usually takes.
    pub takes: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::lab) enum Outcome {
    Reply(Arc<Reply>),
    /// There is no answer; a connection is closed when it was idle for so long.
    Silence {
        idle: Duration,
    },
    /// Nobody listens at that port.
    Closed,
}

/// Answers a query that came to a CoreDNS, by the life of its process, at this of its addresses.
pub(super) fn serve(world: &mut World, config: &Arc<Config>, life: u64, local: SocketAddr, query: Query<'_>) -> Served {
    let mut visit = Visit { world, config: Arc::clone(config), life, takes: Duration::ZERO, loops: 0 };
    let outcome = visit.at(local, query);
    let takes = visit.takes;
    let outcome = match outcome {
        Outcome::Reply(reply) => Outcome::Reply(reply.fit(query)),
        other => other,
    };
    Served { outcome, takes }
}

pub(super) struct Visit<'w> {
    pub world: &'w mut World,
    config: Arc<Config>,
    pub life: u64,
    takes: Duration,
    loops: u8,
}

/// An answer, or none.
type Told = Option<Arc<Reply>>;

fn code(code: ResponseCode) -> Arc<Reply> {
    Arc::new(Reply::of(code))
}

impl Visit<'_> {
    fn at(&mut self, local: SocketAddr, query: Query<'_>) -> Outcome {
        let config = Arc::clone(&self.config);
        let listening = config.at(local);
        if listening.clone().next().is_none() {
            return Outcome::Closed;
        }
        // The block of the longest zone; of several for one, the first whose view lets the query through.
        let mut zone = query.name;
        loop {
            for (index, server) in listening.clone() {
                let serves = server.places.iter().any(|(own, port)| own == zone && *port == local.port());
                if serves && self.sees(server.view.as_deref(), local.port(), query) {
                    if server.plugins.is_empty() {
                        return Outcome::Reply(code(ResponseCode::Refused));
                    }
                    return match self.pass(index, 0, query) {
                        Some(reply) => Outcome::Reply(reply),
                        None => Outcome::Silence { idle: server.idle },
                    };
                }
            }
            if zone.is_empty() {
                return Outcome::Reply(code(ResponseCode::Refused));
            }
            zone = zone.split_once('.').map_or("", |(_, rest)| rest);
        }
    }

    fn sees(&mut self, view: Option<&[super::view::Expression]>, port: u16, query: Query<'_>) -> bool {
        let Some(expressions) = view else { return true };
        expressions.iter().all(|expression| {
            let nanosecond = u32::try_from(self.world.pick(1_000_000_000)).unwrap_or_default();
            expression.holds(Facts { query, port, nanosecond })
        })
    }

    /// Asks the plugins of a server from this one on.
    pub(super) fn pass(&mut self, server: usize, plugin: usize, query: Query<'_>) -> Told {
        let config = Arc::clone(&self.config);
        let next = plugin + 1;
        // Behind the last plugin there is nobody.
        let Some(asked) = config.servers.get(server).and_then(|server| server.plugins.get(plugin)) else {
            return Some(code(ResponseCode::ServFail));
        };
        match asked {
            Plugin::Acl(rules) => {
                let under = |zones: &[String]| zones.iter().any(|zone| is_under(query.name, zone));
                let mut fitting = rules.iter().filter(|rule| under(&rule.zones) && rule.fits(query.kind, query.client));
                match fitting.next().map(|rule| rule.action) {
                    Some(Action::Drop) => None,
                    Some(Action::Block) => Some(code(ResponseCode::Refused)),
                    Some(Action::Filter) => Some(code(ResponseCode::NoError)),
                    Some(Action::Allow) | None => self.pass(server, next, query),
                }
            }
            Plugin::LoadBalance => self.pass(server, next, query).map(|reply| self.turned(reply)),
            Plugin::Cache(options) => cached::answer(self, options, (server, plugin), query),
            Plugin::Rewrite(_) => self.rewritten(server, plugin, query),
            Plugin::Template(template) => {
                let fits = template.zones.iter().any(|zone| is_under(query.name, zone))
                    && template.kind.is_none_or(|kind| kind == query.kind);
                if !fits {
                    return self.pass(server, next, query);
                }
                let record = |(ttl, address): &(u32, IpAddr)| address_record(query.name, *ttl, *address);
                let answers = template.answers.iter().map(record).collect();
                Some(Arc::new(Reply { answers, ..Reply::of(template.code) }))
            }
            Plugin::Hosts(hosts) => {
                let named = hosts.entries.iter().filter(|(name, _)| name == query.name);
                let all: Vec<Record> =
                    named.map(|(_, address)| address_record(query.name, hosts.ttl, *address)).collect();
                let known = !all.is_empty();
                let answers: Vec<Record> = all.into_iter().filter(|record| record.kind() == query.kind).collect();
                let ours = hosts.zones.iter().any(|zone| is_under(query.name, zone));
                match (known, ours && !hosts.through) {
                    (true, _) => Some(Arc::new(Reply::with(answers))),
                    (false, true) => Some(code(ResponseCode::NXDomain)),
                    (false, false) => self.pass(server, next, query),
                }
            }
            Plugin::Kubernetes(options) => match self.known(options, (server, plugin), query) {
                Some(reply) => Some(self.followed(reply, query)),
                None => self.pass(server, next, query),
            },
            Plugin::Forward(options) => {
                let ours = is_under(query.name, &options.zone)
                    && !options.except.iter().any(|zone| is_under(query.name, zone));
                if ours { Some(self.forwarded(options, query)) } else { self.pass(server, next, query) }
            }
            Plugin::Erratic(erratic) => self.erratic(erratic, query),
            Plugin::Whoami => Some(code(ResponseCode::NoError)),
        }
    }

    /// `loadbalance` gives the addresses in another order each time.
    fn turned(&mut self, mut reply: Arc<Reply>) -> Arc<Reply> {
        for last in (1..reply.answers.len()).rev() {
            let other = self.world.pick(last + 1);
            Arc::make_mut(&mut reply).answers.swap(last, other);
        }
        reply
    }

    /// What `kubernetes` says, which is the same as long as no object changes.
    fn known(&mut self, options: &Kubernetes, place: (usize, usize), query: Query<'_>) -> Told {
        let (place, version) = ((place, query.kind), self.world.store.version());
        if let Some(known) = self.world.dns.known(self.life, version, place, query.name) {
            return known.clone();
        }
        let answer = kubernetes::answer(self.world, options, query).map(Arc::new);
        self.world.dns.learn(self.life, version, place, query.name, answer.clone());
        answer
    }

    /// The first line that fits changes the query, and the answer back.
    fn rewritten(&mut self, server: usize, plugin: usize, query: Query<'_>) -> Told {
        let config = Arc::clone(&self.config);
        let rest = config.servers.get(server).and_then(|server| server.plugins.get(plugin..)).unwrap_or_default();
        let lines: Vec<&Rewrite> = rest
            .iter()
            .map_while(|plugin| match plugin {
                Plugin::Rewrite(line) => Some(line),
                _ => None,
            })
            .collect();
        let (mut name, mut kind) = (query.name.to_owned(), query.kind);
        for line in &lines {
            let changed = match line.how {
                Match::Kind if line.from.parse().is_ok_and(|from: RecordType| from == kind) => {
                    line.to.parse().map(|to| kind = to).is_ok()
                }
                Match::Kind => false,
                _ => match renamed(line, &name) {
                    Some(to) => {
                        name = to;
                        true
                    }
                    None => false,
                },
            };
            if changed && !line.goes_on {
                break;
            }
        }
        let reply = self.pass(server, plugin + lines.len(), Query { name: &name, kind, ..query });
        reply.map(|mut reply| {
            for record in Arc::make_mut(&mut reply).answers.iter_mut().filter(|record| record.name == name) {
                query.name.clone_into(&mut record.name);
            }
            reply
        })
    }

    /// An alias for another name of the cluster has that one's addresses too.
    fn followed(&mut self, mut reply: Arc<Reply>, query: Query<'_>) -> Arc<Reply> {
        let alias = reply.answers.iter().find_map(|record| match &record.data {
            Data::Alias(name) if matches!(query.kind, RecordType::A | RecordType::AAAA) => Some(name.clone()),
            _ => None,
        });
        if let Some(alias) = alias
            && self.loops < LOOPS_MAX
        {
            self.loops += 1;
            let local = SocketAddr::from(([127, 0, 0, 1], 53));
            if let Outcome::Reply(more) = self.at(local, Query { name: &alias, ..query }) {
                Arc::make_mut(&mut reply).answers.extend(more.answers.iter().cloned());
            }
        }
        reply
    }

    /// Asks upstreams until one answers or the time is over.
    fn forwarded(&mut self, options: &Forward, query: Query<'_>) -> Arc<Reply> {
        let mut order: Vec<Upstream> = options.to.clone();
        match options.policy {
            Policy::Sequential => {}
            Policy::Random => order.rotate_left(self.world.pick(options.to.len())),
            Policy::RoundRobin => {
                let turn = self.world.dns.turn(self.life);
                order.rotate_left(turn % options.to.len().max(1));
            }
        }
        let (mut spent, mut refused) = (Duration::ZERO, 0);
        let mut turns = order.iter().cycle();
        while spent < UPSTREAMS
            && refused < order.len()
            && let Some(upstream) = turns.next()
        {
            let Upstream::Address(address) = upstream else { return self.beyond(query) };
            if !address.ip().is_loopback() {
                return self.beyond(query);
            }
            if self.loops >= LOOPS_MAX {
                break;
            }
            self.loops += 1;
            let before = self.takes;
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let outcome = self.at(*address, Query { client, tcp: query.tcp || options.tcp, ..query });
            self.loops -= 1;
            match outcome {
                Outcome::Reply(reply) if self.takes.saturating_sub(before) < UPSTREAM => return reply,
                Outcome::Reply(_) => {
                    self.takes = before + UPSTREAM;
                    spent += UPSTREAM;
                }
                Outcome::Silence { idle } => {
                    // Over TCP, who is silent hangs up in the end.
                    let waited = if options.tcp { idle.min(UPSTREAM) } else { UPSTREAM };
                    self.takes = before + waited;
                    spent += waited;
                }
                Outcome::Closed => refused += 1,
            }
        }
        code(ResponseCode::ServFail)
    }

    /// What the world outside says: it knows no name.
    fn beyond(&mut self, query: Query<'_>) -> Arc<Reply> {
        self.takes += BEYOND;
        let zone = query.name.rsplit('.').next().unwrap_or_default().to_owned();
        let authority = Record { name: zone, ttl: BEYOND_TTL, data: Data::Authority { minimum: BEYOND_TTL } };
        Arc::new(Reply { authority: Some(authority), ..Reply::of(ResponseCode::NXDomain) })
    }

    /// Answers of its own, some of them late, cut, or not at all.
    fn erratic(&mut self, erratic: &Erratic, query: Query<'_>) -> Told {
        let number = u64::try_from(self.world.dns.turn(self.life)).unwrap_or_default();
        let is_turn = |every: u64| every > 0 && number.is_multiple_of(every);
        if is_turn(erratic.drop) {
            return None;
        }
        if is_turn(erratic.delay) {
            self.takes += erratic.by;
        }
        let address: IpAddr = match query.kind {
            RecordType::A => [192, 0, 2, 53].into(),
            RecordType::AAAA => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53].into(),
            _ => return Some(code(ResponseCode::ServFail)),
        };
        let mut reply = Reply::with(vec![address_record(query.name, 0, address)]);
        reply.truncated = is_turn(erratic.truncate);
        Some(Arc::new(reply))
    }
}

fn address_record(name: &str, ttl: u32, address: IpAddr) -> Record {
    Record { name: name.to_owned(), ttl, data: Data::Address(address) }
}

/// What a line makes of a name, where it fits.
fn renamed(line: &Rewrite, name: &str) -> Option<String> {
    let Rewrite { from, to, .. } = line;
    match line.how {
        Match::Exact => (name == from).then(|| to.clone()),
        Match::Prefix => name.strip_prefix(from.as_str()).map(|rest| format!("{to}{rest}")),
        Match::Suffix => name.strip_suffix(from.as_str()).map(|rest| format!("{rest}{to}")),
        Match::Substring => name.contains(from.as_str()).then(|| name.replace(from.as_str(), to)),
        Match::Kind => None,
    }
}

impl Visit<'_> {
    /// Does something whose time the client does not wait for.
    pub(super) fn aside<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.takes;
        let result = act(self);
        self.takes = before;
        result
    }
}
