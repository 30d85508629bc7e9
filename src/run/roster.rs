//! Which endpoints of a Service are ready, by what the watch told, and what that means for the probes that ask each of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::plan::PlannedEndpoints;
use crate::probe::{ProbeConfig, StreamKind};
use crate::record::{Change, What};
use crate::spec::Limits;

/// Most endpoint streams that a run begins: each costs memory for as long as the run lasts.
pub(super) const STREAMS_MAX: usize = 1_000;

/// What is to be done about a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// An address became ready.
    Join,
    /// An address became ready, but there are too many streams.
    TurnedAway,
    /// An address is no longer ready, or gone.
    Leave,
    /// The same of one that was turned away.
    Gone,
}

/// What is to be done about a stream of a probe.
pub(super) type Order = (usize, StreamKind, Turn);

/// The endpoints that one probe follows.
struct Followed {
    probe: usize,
    planned: PlannedEndpoints,
    /// Requests per second that each of its streams sends.
    rate: f64,
    /// The ready endpoints of each slice; one may stand in two slices while it moves.
    shown: BTreeSet<(String, SocketAddr)>,
    /// The ready ones, and whether each has a stream.
    ready: BTreeMap<SocketAddr, (StreamKind, bool)>,
    /// How often each address has become ready.
    lives: BTreeMap<SocketAddr, u32>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Roster {
    followed: Vec<Followed>,
    room: Room,
}

/// What is left for streams that begin.
#[derive(Default)]
struct Room {
    /// Streams that began.
    streams: usize,
    /// Requests per second that no stream sends.
    rate: f64,
}

impl Room {
    fn take(&mut self, rate: f64) -> bool {
        let has = self.streams < STREAMS_MAX && self.rate >= rate;
        if has {
            self.streams += 1;
            self.rate -= rate;
        }
        has
    }
}

impl Roster {
    /// The roster of these probes, as far as they follow endpoints. All of them together, the others too, send no more than
    /// the limits allow.
    pub(super) fn new(planned: &[PlannedEndpoints], probes: &[ProbeConfig], limits: &Limits) -> Self {
        let followed = planned.iter().filter_map(|planned| {
            let probe = probes.iter().position(|config| config.name == planned.probe)?;
            Some(Followed {
                probe,
                planned: planned.clone(),
                rate: probes.get(probe)?.rate.per_second(),
                shown: BTreeSet::new(),
                ready: BTreeMap::new(),
                lives: BTreeMap::new(),
            })
        });
        let streams = |config: &ProbeConfig| config.streams.iter().filter(|s| **s != StreamKind::PerEndpoint).count();
        let others = probes.iter().flat_map(|config| std::iter::repeat_n(config.rate.per_second(), streams(config)));
        // Rates such as a third add up to a little more or less than their sum.
        let rate = f64::from(limits.most_requests_per_second()) - others.sum::<f64>() + 1e-6;
        Self { followed: followed.collect(), room: Room { streams: 0, rate } }
    }

    /// The Service that a probe follows, as people call it.
    pub(super) fn service(&self, probe: usize) -> Option<String> {
        let followed = self.followed.iter().find(|followed| followed.probe == probe)?;
        Some(format!("{}/{}", followed.planned.namespace, followed.planned.service))
    }

    /// The streams of a probe whose endpoints are ready now.
    pub(super) fn ready(&self, probe: usize) -> Vec<StreamKind> {
        let of = self.followed.iter().filter(|followed| followed.probe == probe);
        of.flat_map(|followed| followed.ready.values()).filter(|(_, has)| *has).map(|(stream, _)| *stream).collect()
    }

    /// Everything that is ready now, as if it had just become so.
    pub(super) fn now(&self) -> Vec<Order> {
        let all =
            self.followed.iter().flat_map(|followed| followed.ready.values().map(|ready| (followed.probe, ready)));
        all.map(|(probe, (stream, has))| (probe, *stream, if *has { Turn::Join } else { Turn::TurnedAway })).collect()
    }

    /// Takes in what a watch saw.
    pub(super) fn seen(&mut self, what: &What) -> Vec<Order> {
        let What::Object { change, kind, namespace, state, .. } = what else { return Vec::new() };
        if kind != "endpoint" {
            return Vec::new();
        }
        let (field, mut orders) = (|key: &str| state.get(key).unwrap_or_default(), Vec::new());
        // Absent means unknown, which the API asks consumers to take for ready, and for not terminating.
        let ready = *change != Change::Deleted && field("ready") != "false" && field("terminating") != "true";
        for followed in &mut self.followed {
            let PlannedEndpoints { namespace: own, service, port, .. } = &followed.planned;
            if namespace != own || field("service") != service {
                continue;
            }
            let Some(address) = address_of(field("address"), field("ports"), port) else { continue };
            let place = (field("slice").to_owned(), address);
            if ready {
                followed.shown.insert(place)
            } else {
                followed.shown.remove(&place)
            };
            orders.extend(followed.renew(&mut self.room));
        }
        orders
    }
}

impl Followed {
    /// Compares what is shown with what was ready.
    fn renew(&mut self, room: &mut Room) -> Vec<Order> {
        let now: BTreeSet<SocketAddr> = self.shown.iter().map(|(_, address)| *address).collect();
        let mut orders = Vec::new();
        let (probe, rate) = (self.probe, self.rate);
        self.ready.retain(|address, (stream, has)| {
            let stays = now.contains(address);
            if !stays {
                room.rate += if *has { rate } else { 0.0 };
                orders.push((probe, *stream, if *has { Turn::Leave } else { Turn::Gone }));
            }
            stays
        });
        for address in now {
            if self.ready.contains_key(&address) {
                continue;
            }
            let life = self.lives.entry(address).and_modify(|life| *life += 1).or_insert(1);
            let stream = StreamKind::Endpoint { address, life: *life };
            let has = room.take(rate);
            self.ready.insert(address, (stream, has));
            orders.push((probe, stream, if has { Turn::Join } else { Turn::TurnedAway }));
        }
        orders
    }
}

/// The address of an endpoint, with the port of this name among `name:number` words.
fn address_of(address: &str, ports: &str, name: &str) -> Option<SocketAddr> {
    let address: IpAddr = address.parse().ok()?;
    let mut numbers = ports.split(' ').filter_map(|port| port.rsplit_once(':'));
    let port = numbers.find(|(of, _)| *of == name).and_then(|(_, number)| number.parse().ok())?;
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::probe::{Ask, TcpAsk};
    use crate::scalar::EngineKind;

    fn roster() -> Roster {
        roster_of(1_000_000)
    }

    fn roster_of(most: u32) -> Roster {
        let planned = PlannedEndpoints {
            probe: "web".to_owned(),
            namespace: "shop".to_owned(),
            service: "web".to_owned(),
            port: "http".to_owned(),
        };
        let config = ProbeConfig {
            name: "web".to_owned(),
            rate: "10/s".parse().unwrap(),
            timeout: Duration::from_millis(500),
            streams: vec![StreamKind::PerEndpoint],
            ask: Ask::Tcp(TcpAsk { host: "web.shop".to_owned(), port: 80 }),
            in_flight_max: None,
            late_after: None,
            engine: EngineKind::Native,
        };
        let paired = ProbeConfig {
            name: "api".to_owned(),
            streams: vec![StreamKind::Fresh, StreamKind::KeptAlive],
            ..config.clone()
        };
        let limits = Limits { requests_per_second: Some(most), ..Limits::default() };
        Roster::new(&[planned], &[config, paired], &limits)
    }

    fn endpoint(change: Change, slice: &str, address: &str, more: &[(&str, &str)]) -> What {
        let usual = [("service", "web"), ("slice", slice), ("ports", "grpc:9090 http:8080"), ("address", address)];
        let state = usual.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        What::Object {
            change,
            kind: "endpoint".to_owned(),
            namespace: "shop".to_owned(),
            name: address.to_owned(),
            detail: String::new(),
            state: state.collect(),
        }
    }

    fn words(orders: &[Order]) -> Vec<String> {
        orders.iter().map(|(_, stream, turn)| format!("{turn:?} {stream}")).collect()
    }

    #[test]
    fn an_address_that_comes_back_lives_again() {
        let mut roster = roster();
        let mut see = |change, more: &[(&str, &str)]| words(&roster.seen(&endpoint(change, "a", "10.0.0.1", more)));
        assert_eq!(see(Change::Seen, &[("ready", "true")]), ["Join endpoint:10.0.0.1:8080"]);
        assert!(see(Change::Changed, &[]).is_empty(), "unknown is ready");
        assert_eq!(see(Change::Changed, &[("terminating", "true")]), ["Leave endpoint:10.0.0.1:8080"]);
        assert!(see(Change::Changed, &[("ready", "false")]).is_empty());
        assert_eq!(see(Change::Changed, &[("ready", "true")]), ["Join endpoint:10.0.0.1:8080#2"]);
        assert_eq!(see(Change::Deleted, &[("ready", "true")]), ["Leave endpoint:10.0.0.1:8080#2"]);
        assert_eq!(see(Change::Added, &[("ready", "true")]), ["Join endpoint:10.0.0.1:8080#3"]);
    }

    #[test]
    fn an_endpoint_that_moves_to_another_slice_stays() {
        let mut roster = roster();
        assert_eq!(roster.seen(&endpoint(Change::Seen, "a", "10.0.0.1", &[])).len(), 1);
        assert!(roster.seen(&endpoint(Change::Added, "b", "10.0.0.1", &[])).is_empty());
        assert!(roster.seen(&endpoint(Change::Deleted, "a", "10.0.0.1", &[])).is_empty());
        assert_eq!(roster.seen(&endpoint(Change::Deleted, "b", "10.0.0.1", &[])).len(), 1);
        assert!(roster.now().is_empty());
    }

    #[test]
    fn only_the_services_own_port_counts() {
        let mut roster = roster();
        for more in [("service", "api"), ("ports", "grpc:9090"), ("address", "web.example.com")] {
            assert!(roster.seen(&endpoint(Change::Seen, "a", "10.0.0.1", &[more])).is_empty(), "{more:?}");
        }
        assert_eq!(address_of("fd00::1", ":80", ""), Some("[fd00::1]:80".parse().unwrap()));
        assert_eq!(roster.service(0).as_deref(), Some("shop/web"));
    }

    #[test]
    fn beyond_the_bound_no_stream_begins() {
        let mut roster = roster();
        for number in 0..=STREAMS_MAX {
            let address = format!("10.0.{}.{}", number / 250, number % 250 + 1);
            roster.seen(&endpoint(Change::Seen, "a", &address, &[]));
        }
        let count = |turn| roster.now().iter().filter(|order| order.2 == turn).count();
        assert_eq!((count(Turn::Join), count(Turn::TurnedAway)), (STREAMS_MAX, 1));
        assert_eq!(roster.ready(0).len(), STREAMS_MAX);
    }

    #[test]
    fn no_more_is_sent_than_the_limit_allows() {
        // The two streams of the other probe send 20 a second, and each endpoint is asked ten times.
        let mut roster = roster_of(45);
        let mut turns = |change, last: u8| -> Vec<Turn> {
            let address = format!("10.0.0.{last}");
            roster.seen(&endpoint(change, "a", &address, &[])).into_iter().map(|order| order.2).collect()
        };
        assert_eq!([1, 2, 3].map(|last| turns(Change::Seen, last)), [[Turn::Join], [Turn::Join], [Turn::TurnedAway]]);
        assert_eq!(turns(Change::Deleted, 1), [Turn::Leave]);
        assert_eq!(turns(Change::Seen, 4), [Turn::Join], "in the place of the one that left");
        assert_eq!(turns(Change::Seen, 5), [Turn::TurnedAway]);
        assert_eq!(turns(Change::Deleted, 5), [Turn::Gone]);
        assert_eq!(turns(Change::Seen, 6), [Turn::TurnedAway], "who had no stream leaves no room");
    }
}
