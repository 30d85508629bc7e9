//! How long an answer takes of a process that others ask too: so many workers, a queue before them, and what a Service brings along.
//!
//! Requests are served in the order in which they come, each by the worker that is free first. What else comes than the requests of probes
//! comes at random moments, at the rate that `lab.squall.dev/load` says on the Service, spread evenly over its endpoints. None of it is an
//! event of the lab's: whenever somebody asks, what came since is served in one go, by the recursion of Kiefer and Wolfowitz (of Lindley,
//! for a single worker). It needs of each worker only when it is free, which costs well below a microsecond a request.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::lab::store::ObjectKey;
use crate::lab::world::World;
use crate::scalar;

/// The annotation of a Service that says how much is asked of it beside the probes.
const LOAD: &str = "lab.squall.dev/load";
/// Where more came than this since somebody looked, only the last are served one by one.
const SINGLY: f64 = 20_000.0;
/// Where a process is that no Service has.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
/// Requests that are remembered one by one as waiting, after such a time.
const WAITING_MOST: usize = 100_000;

/// How service times differ. Their mean is the application's `answers-in`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::lab) enum Spread {
    /// Not at all.
    #[default]
    Constant,
    Exponential,
    /// With this standard deviation of the logarithm.
    Lognormal(f64),
}

/// What happens to a request that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::lab) enum Full {
    /// It is answered at once: 503.
    #[default]
    Status,
    /// Its connection is refused, or reset where it was open already.
    Reset,
}

/// What a process can do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::lab) struct Capacity {
    /// Requests that it serves at a time. `None`: as many as come.
    pub workers: Option<usize>,
    /// Requests that wait for a worker at most. `None`: as many as come.
    pub queue: Option<usize>,
    pub full: Full,
    pub spread: Spread,
}

impl Capacity {
    /// Whether every answer takes as long as every other, whoever else asks.
    fn is_plain(self) -> bool {
        self.workers.is_none() && self.spread == Spread::Constant
    }
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lab) enum Served {
    /// It is answered after so long.
    After(Duration),
    /// There is no room for it.
    Turned(Full),
}

/// The queue and the workers of one life of a process. Times are in seconds from its beginning.
#[derive(Debug)]
pub(super) struct Line {
    capacity: Capacity,
    /// Mean service time.
    service: f64,
    at: SocketAddr,
    from: Instant,
    /// When each worker is free.
    free: Vec<f64>,
    /// When those begin to be served that wait.
    begins: VecDeque<f64>,
    /// Other requests per second.
    rate: f64,
    /// When the next of them comes.
    next: f64,
    /// Up to here it is known what came.
    now: f64,
    /// All service time that was ever accepted.
    accepted: f64,
    chance: ChaCha8Rng,
}

impl Line {
    fn new(capacity: Capacity, service: Duration, at: SocketAddr, from: Instant, seed: u64) -> Self {
        Self {
            capacity,
            service: service.as_secs_f64(),
            at,
            from,
            free: vec![0.0; capacity.workers.unwrap_or(0)],
            begins: VecDeque::new(),
            rate: 0.0,
            next: f64::INFINITY,
            now: 0.0,
            accepted: 0.0,
            chance: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// A number above 0 and up to 1.
    fn unit(&mut self) -> f64 {
        1.0 - self.chance.random::<f64>()
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    fn service_time(&mut self) -> f64 {
        match self.capacity.spread {
            Spread::Constant => self.service,
            Spread::Exponential => self.exponential(self.service),
            Spread::Lognormal(sigma) => {
                let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
                self.service * (sigma * radius * angle.cos() - sigma * sigma / 2.0).exp()
            }
        }
    }

    /// A request comes. How long it waits, and how long it is served; `None`: the queue is full.
    fn take(&mut self, at: f64) -> Option<(f64, f64)> {
        let takes = self.service_time();
        let Some(first) = self.free.iter_mut().min_by(|a, b| a.total_cmp(b)) else { return Some((0.0, takes)) };
        let begins = first.max(at);
        while self.begins.front().is_some_and(|begins| *begins <= at) {
            self.begins.pop_front();
        }
        if begins > at {
            if self.capacity.queue.is_some_and(|room| self.begins.len() >= room) {
                return None;
            }
            self.begins.push_back(begins);
        }
        *first = begins + takes;
        self.accepted += takes;
        Some((begins - at, takes))
    }

    /// Serves what came until then.
    fn advance(&mut self, to: f64) {
        if to <= self.now {
            return;
        }
        if self.rate * (to - self.now) > SINGLY {
            self.skip(to - SINGLY / 2.0 / self.rate);
        }
        while self.next <= to {
            let at = self.next;
            self.take(at);
            self.next = at + self.exponential(1.0 / self.rate);
        }
        self.now = to;
    }

    /// Goes over a long time without looking at single requests: what could not be served in it waits, as far as there is room.
    fn skip(&mut self, to: f64) {
        let (long, workers) = (to - self.now, number(self.free.len()));
        let before = self.left(self.now);
        let brought = before + self.rate * self.service * long;
        let room = self.capacity.queue.map_or(f64::INFINITY, |queue| (number(queue) + workers) * self.service);
        let left = (brought - workers * long).clamp(0.0, room);
        self.accepted += brought.min(workers * long) + left - before;
        self.free.fill(to + left / workers.max(1.0));
        // One begins whenever one of those is done that are served.
        let pace = self.service / workers.max(1.0);
        let waits = std::iter::successors(Some(to + pace), |begins| Some(begins + pace));
        let last = to + left / workers.max(1.0) - self.service;
        self.begins = waits.take_while(|begins| *begins <= last).take(WAITING_MOST).collect();
        self.next = to + self.exponential(1.0 / self.rate);
        self.now = to;
    }

    /// Service time that is accepted and not over.
    fn left(&self, at: f64) -> f64 {
        self.free.iter().map(|free| (free - at).max(0.0)).sum()
    }

    /// For how long its workers were busy, all together, up to now.
    fn busy(&self) -> f64 {
        self.accepted - self.left(self.now)
    }

    fn since(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.from).as_secs_f64()
    }

    fn set_rate(&mut self, at: f64, rate: f64) {
        if (self.rate - rate).abs() > f64::EPSILON {
            self.advance(at);
            self.rate = rate;
            self.next = if rate > 0.0 { at + self.exponential(1.0 / rate) } else { f64::INFINITY };
        }
    }
}

fn number(of: usize) -> f64 {
    u32::try_from(of).map_or(f64::INFINITY, f64::from)
}

/// What is asked of which Service, and the lines before the processes behind them.
#[derive(Debug, Default)]
pub(in crate::lab) struct Loads {
    /// Requests per second, by the Service.
    of: BTreeMap<ObjectKey, f64>,
    /// By the lives of processes.
    lines: BTreeMap<u64, Line>,
}

/// How much is asked of a Service beside the probes, in requests per second.
///
/// # Errors
///
/// What is wrong with its annotation, in a sentence that names it.
pub(in crate::lab) fn load_of(service: &Service) -> Result<Option<f64>, String> {
    let Some(given) = service.metadata.annotations.as_ref().and_then(|all| all.get(LOAD)) else { return Ok(None) };
    let rate = given.parse::<scalar::Rate>().map_err(|error| format!("annotation {LOAD}: {}", error.message))?;
    Ok(Some(rate.per_second()))
}

/// A Service is new or another.
pub(super) fn note(world: &mut World, key: &ObjectKey) {
    let service = world.store.get::<Service>(&key.namespace, &key.name);
    // One that can't be read is reported by whoever waits for the lab to settle.
    match service.and_then(|service| load_of(&service).ok().flatten()) {
        Some(rate) => drop(world.network.loads.of.insert(key.clone(), rate)),
        None => drop(world.network.loads.of.remove(key)),
    }
}

/// Spreads what is asked of the Services over their endpoints, as the rules now are.
pub(super) fn spread(world: &mut World) {
    if world.network.loads.of.is_empty() && world.network.loads.lines.is_empty() {
        return;
    }
    let rates = rates(world);
    let lives: Vec<(u64, SocketAddr)> = rates
        .keys()
        .filter_map(|at| Some((world.kubelets.at(at.ip(), at.port())?, *at)))
        .filter(|(process, _)| process.ended.is_none() && !process.capacity.is_plain())
        .map(|(process, at)| (process.life, at))
        .collect();
    for (life, at) in lives {
        if let Some(line) = line_of(world, life, false) {
            line.at = at;
        }
    }
    let mut all = std::mem::take(&mut world.network.loads.lines);
    all.retain(|life, _| world.kubelets.life(*life).is_some_and(|process| process.ended.is_none()));
    for line in all.values_mut() {
        line.set_rate(line.since(Instant::now()), rates.get(&line.at).copied().unwrap_or(0.0));
    }
    world.network.loads.lines = all;
}

/// What each endpoint is asked per second: an even share of each of its Services'.
fn rates(world: &World) -> BTreeMap<SocketAddr, f64> {
    let mut rates = BTreeMap::new();
    for (service, rate) in &world.network.loads.of {
        let backends = world.network.first_rule(service).unwrap_or_default();
        for backend in backends {
            *rates.entry(*backend).or_insert(0.0) += rate / number(backends.len());
        }
    }
    rates
}

/// The line before a process. One that is new has been asked since the process listened, or is only from now on.
fn line_of(world: &mut World, number: u64, asked_before: bool) -> Option<&mut Line> {
    if !world.network.loads.lines.contains_key(&number) {
        let process = world.kubelets.life(number)?;
        let (capacity, takes, from) = (process.capacity, process.answers_in, process.listens?);
        let all = rates(world);
        let is_there = |at: &SocketAddr| world.kubelets.at(at.ip(), at.port()).is_some_and(|it| it.life == number);
        let found = all.into_iter().find(|(at, _)| is_there(at));
        let (at, rate) = found.unwrap_or((NOWHERE, 0.0));
        let seed = u64::try_from(world.pick(usize::MAX)).unwrap_or_default();
        let mut line = Line::new(capacity, takes, at, from, seed);
        line.set_rate(0.0, if asked_before { rate } else { 0.0 });
        world.network.loads.lines.insert(number, line);
    }
    world.network.loads.lines.get_mut(&number)
}

/// What comes of a request that reaches a process at an instant.
pub(in crate::lab) fn serve(world: &mut World, number: u64, at: Instant) -> Served {
    let Some(process) = world.kubelets.life(number) else { return Served::After(Duration::ZERO) };
    let (capacity, plain) = (process.capacity, process.answers_in);
    if capacity.is_plain() {
        return Served::After(plain);
    }
    let Some(line) = line_of(world, number, true) else { return Served::After(plain) };
    let at = line.since(at);
    line.advance(at);
    match line.take(at) {
        Some((waits, takes)) => Served::After(Duration::try_from_secs_f64(waits + takes).unwrap_or(Duration::MAX)),
        None => Served::Turned(capacity.full),
    }
}

/// For how long all workers of a process together were busy since it listened, and how many they are. `None`: nothing is known of them.
pub(in crate::lab) fn busy(world: &mut World, number: u64) -> Option<(Duration, usize)> {
    let workers = world.kubelets.life(number).filter(|process| process.ended.is_none())?.capacity.workers?;
    let line = line_of(world, number, true)?;
    line.advance(line.since(Instant::now()));
    Some((Duration::try_from_secs_f64(line.busy()).unwrap_or_default(), workers))
}

#[cfg(test)]
mod tests;
