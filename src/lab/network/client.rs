//! The kernel of the machine that probes are sent from: which source port a connection gets, and where that port's packets are led.
//!
//! A Service's address is replaced by an endpoint's once for each connection, and the choice is remembered by the ports (connection
//! tracking). Where the endpoint answers nothing, it is remembered for a while after the last try
//! ([two minutes](super::super::settings::Settings::tracked) usually): who takes the same source port again
//! in that time is led there again, whatever the Service's endpoints are by then. How soon a port comes round again is the kernel's way
//! of choosing them; both are here as Linux does them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

/// The first of the ports that Linux gives out, and how many they are: `net.ipv4.ip_local_port_range`.
const FIRST: u16 = 32_768;
const PORTS: u16 = 28_232;
/// Of these a connection that names no port gets an even one, as long as there are any.
const STEP: u16 = 2;
/// How far the next one is at most, in such steps: the kernel adds chance to its walk.
const FURTHEST: u16 = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lab) struct Client {
    /// Where the walk through the ports stands, for each address: there the search for the next one begins.
    walks: BTreeMap<SocketAddr, u16>,
    /// Attempts that were not answered, by where they were sent and from which port.
    unanswered: BTreeMap<(SocketAddr, u16), Unanswered>,
    chance: ChaCha8Rng,
}

#[derive(Debug)]
struct Unanswered {
    /// Where the packets were led.
    to: SocketAddr,
    /// Until when the port is taken by whoever waits for the answer.
    taken: Instant,
    forgotten: Instant,
}

impl Client {
    /// A client whose walks begin by chance.
    pub(in crate::lab) fn new(seed: u64) -> Self {
        // The lab's other chances are drawn from the same seed: this one has a sequence of its own.
        let chance = ChaCha8Rng::seed_from_u64(seed ^ 0x5bc0_1dea);
        Self { walks: BTreeMap::new(), unanswered: BTreeMap::new(), chance }
    }

    /// The source port of a new connection to an address.
    pub(super) fn port(&mut self, address: SocketAddr) -> u16 {
        let Self { walks, unanswered, chance } = self;
        let walk = walks.entry(address).or_insert_with(|| chance.random_range(0..PORTS / STEP) * STEP);
        let mut passed = 0;
        let mut port = FIRST + *walk;
        if !unanswered.is_empty() {
            let now = Instant::now();
            let taken = |port| unanswered.get(&(address, port)).is_some_and(|attempt| attempt.taken > now);
            while passed < PORTS && taken(port) {
                passed += STEP;
                port = FIRST + (*walk + passed) % PORTS;
            }
        }
        let further = passed.max(chance.random_range(0..FURTHEST) * STEP) + STEP;
        *walk = (*walk + further) % PORTS;
        port
    }

    /// Where packets from a port to an address are led, because an attempt from it was and got no answer.
    pub(super) fn led(&self, address: SocketAddr, port: u16) -> Option<SocketAddr> {
        let attempt = self.unanswered.get(&(address, port))?;
        (attempt.forgotten > Instant::now()).then_some(attempt.to)
    }

    /// Notes that an attempt that was led there gets no answer; whoever made it waits until `taken`, and it is remembered until `forgotten`.
    pub(super) fn unanswered(&mut self, from: (SocketAddr, u16), to: SocketAddr, taken: Instant, forgotten: Instant) {
        self.unanswered.insert(from, Unanswered { to, taken, forgotten });
    }

    /// Notes that an attempt was answered, if only by a refusal.
    pub(super) fn answered(&mut self, address: SocketAddr, port: u16) {
        if !self.unanswered.is_empty() {
            self.unanswered.remove(&(address, port));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn addresses() -> [SocketAddr; 2] {
        ["10.96.0.1:80", "10.244.1.2:8080"].map(|text| text.parse().unwrap())
    }

    fn unanswered(client: &mut Client, service: SocketAddr, port: u16, pod: SocketAddr) {
        let taken = Instant::now() + S;
        client.unanswered((service, port), pod, taken, taken + 120 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn ports_come_round_after_about_as_many_connections_as_on_linux() {
        let (mut client, [service, _]) = (Client::new(7), addresses());
        let first = client.port(service);
        let ports: Vec<u16> = (0..2_000).map(|_| client.port(service)).collect();
        assert!(ports.iter().all(|port| port % 2 == 0 && (FIRST..FIRST + PORTS).contains(port)));
        assert_eq!(BTreeSet::from_iter(&ports).len(), ports.len(), "no port twice on one walk: {first}");
        // Of every nine steps, that of the walk and seven halves by chance, one port is used.
        let round = (0..10_000).position(|_| {
            let port = client.port(service);
            (first..first + 2 * FURTHEST * STEP).contains(&port)
        });
        let round = ports.len() + round.unwrap();
        assert!((2_900..3_400).contains(&round), "{round}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_without_an_answer_leads_its_port_for_two_minutes_after_the_last_try() {
        let (mut client, [service, pod]) = (Client::new(7), addresses());
        let port = client.port(service);
        unanswered(&mut client, service, port, pod);
        assert_eq!(client.led(service, port), Some(pod));
        assert_eq!((client.led(service, port + 2), client.led(pod, port)), (None, None));
        tokio::time::advance(120 * S).await;
        assert_eq!(client.led(service, port), Some(pod));
        unanswered(&mut client, service, port, pod);
        tokio::time::advance(120 * S).await;
        assert_eq!(client.led(service, port), Some(pod), "renewed");
        tokio::time::advance(S).await;
        assert_eq!(client.led(service, port), None);
        unanswered(&mut client, service, port, pod);
        client.answered(service, port);
        assert_eq!(client.led(service, port), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_whose_owner_waits_is_passed_over() {
        let (mut client, [service, pod]) = (Client::new(7), addresses());
        for port in (FIRST..FIRST + PORTS).step_by(2).filter(|port| *port != 40_000) {
            unanswered(&mut client, service, port, pod);
        }
        assert_eq!(client.port(service), 40_000);
        tokio::time::advance(S).await;
        assert_ne!(client.port(service), 40_000);
    }
}
