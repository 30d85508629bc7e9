//! What runs at which address, as the network sees it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::app::App;
use crate::lab::network::Capacity;
use crate::lab::store::ObjectKey;

/// How long a process that has left its address is remembered: a request may still be under way to it.
const REMEMBERED: Duration = Duration::from_mins(2);

/// What runs at an address.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Process {
    pub pod: ObjectKey,
    pub uid: String,
    /// Ports of its container; empty: any.
    pub ports: Vec<u16>,
    /// Different for each start of a process: connections belong to one life.
    pub life: u64,
    /// The instant at which it began to listen. `None`: it still starts.
    pub listens: Option<Instant>,
    /// It takes no new connection any more, and still answers what it was asked.
    pub drains: bool,
    /// Each answer closes its connection.
    pub closes: bool,
    /// It answers, and says that it is not ready: a CoreDNS that is about to end.
    pub lame: bool,
    /// How long it takes to answer, on average and without waiting.
    pub answers_in: Duration,
    /// How many it answers at a time, and what becomes of the others.
    pub capacity: Capacity,
    /// From when on it answers nothing, though it keeps its socket.
    pub hangs: Option<Instant>,
    /// The HTTP status that it answers with.
    pub status: u16,
    /// The gRPC status that it answers with.
    pub grpc_status: u16,
    /// When it ended, and whether by a power cut: then nobody closed its connections.
    pub ended: Option<(Instant, bool)>,
}

impl Process {
    /// One that does not listen yet, and will answer as its application says.
    pub(super) fn new(pod: &ObjectKey, uid: &str, life: u64, ports: &[u16], app: &App) -> Self {
        Self {
            ports: ports.to_vec(),
            answers_in: app.answers_in,
            capacity: app.capacity,
            status: app.status,
            grpc_status: app.grpc_status,
            ..Self::sandbox(pod, uid, life)
        }
    }

    /// What holds a pod's address and listens nowhere.
    pub(super) fn sandbox(pod: &ObjectKey, uid: &str, life: u64) -> Self {
        Self {
            pod: pod.clone(),
            uid: uid.to_owned(),
            ports: Vec::new(),
            life,
            listens: None,
            drains: false,
            lame: false,
            closes: false,
            answers_in: Duration::ZERO,
            capacity: Capacity::default(),
            hangs: None,
            status: 200,
            grpc_status: 0,
            ended: None,
        }
    }
}

/// Who is at an address.
#[derive(Debug, Default)]
struct Place {
    /// What holds the address itself and listens at no port, so that the others are refused.
    sandboxes: Vec<u64>,
    /// The last process of each container.
    containers: Vec<u64>,
}

/// All processes of all nodes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    lives: BTreeMap<u64, Process>,
    places: BTreeMap<IpAddr, Place>,
    left: VecDeque<(Instant, u64)>,
    last: u64,
}

impl Processes {
    /// The number of another life.
    pub(super) const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A pod's sandbox takes an address.
    pub(super) fn take(&mut self, address: IpAddr, sandbox: Process) {
        self.places.entry(address).or_default().sandboxes.push(sandbox.life);
        self.lives.insert(sandbox.life, sandbox);
    }

    /// A process starts at an address, in the place of the one before it of its container.
    pub(super) fn start(&mut self, address: IpAddr, process: Process, before: Option<u64>) {
        let life = process.life;
        self.lives.insert(life, process);
        let place = self.places.entry(address).or_default();
        let former = place.containers.iter_mut().find(|other| Some(**other) == before);
        match former {
            Some(former) => self.left.push_back((Instant::now(), std::mem::replace(former, life))),
            None => place.containers.push(life),
        }
        self.forget();
    }

    /// A pod gives its address up.
    pub(super) fn leave(&mut self, address: IpAddr, uid: &str) {
        let Some(place) = self.places.get_mut(&address) else { return };
        for all in [&mut place.sandboxes, &mut place.containers] {
            let ours = |life: &u64| self.lives.get(life).is_none_or(|process| process.uid == uid);
            self.left.extend(all.extract_if(.., |life| ours(life)).map(|life| (Instant::now(), life)));
        }
        if place.sandboxes.is_empty() && place.containers.is_empty() {
            self.places.remove(&address);
        }
        self.forget();
    }

    fn forget(&mut self) {
        while let Some((at, life)) = self.left.front()
            && at.elapsed() > REMEMBERED
        {
            self.lives.remove(life);
            self.left.pop_front();
        }
    }

    /// A process ends; one that has ended stays as it is.
    pub(super) fn end(&mut self, life: u64, cut: bool) {
        if let Some(process) = self.lives.get_mut(&life) {
            process.ended.get_or_insert_with(|| (Instant::now(), cut));
        }
    }

    pub(super) fn life(&self, life: u64) -> Option<&Process> {
        self.lives.get(&life)
    }

    pub(super) fn life_mut(&mut self, life: u64) -> Option<&mut Process> {
        self.lives.get_mut(&life)
    }

    /// Whether an address is somebody's.
    pub(super) fn is_taken(&self, address: IpAddr) -> bool {
        self.places.contains_key(&address)
    }

    /// See [`Kubelets::at`](super::Kubelets::at).
    pub(super) fn at(&self, address: IpAddr, port: u16) -> Option<&Process> {
        let place = self.places.get(&address)?;
        let all = || place.containers.iter().filter_map(|life| self.lives.get(life));
        // Two pods in a node's network may name the same port: the one that runs has it.
        let declared = all().filter(|process| process.ports.contains(&port));
        declared
            .max_by_key(|process| (process.ended.is_none(), process.life))
            .or_else(|| all().find(|process| process.ports.is_empty()))
            .or_else(|| self.lives.get(place.sandboxes.last()?))
    }
}
