//! Ports: opening them, taking connections, and the windows in which all of it is frozen or dead.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, bind, connect_unspec, getsockname, listen, shutdown, socket_with,
};

use crate::catalogue::{self, Fault, Level};
use crate::clock;
use crate::log::{Connection, Log, Window};
use crate::script::{self, Delay, Listener, Protocol, Rule, Trouble};
use crate::tls::Certificates;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 4096;
const MILLISECOND: u64 = 1_000_000;
/// How long the end waits for what is under way.
const PATIENCE: u64 = 5_000 * MILLISECOND;

/// One listener of the script, at work.
pub(crate) struct Service {
    pub(crate) protocol: Protocol,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) requests: AtomicU64,
    pub(crate) delay: Option<Delay>,
    pub(crate) seed: u64,
    connections: AtomicU64,
    rules: Vec<(Rule, &'static Fault)>,
    otherwise: &'static Fault,
    windows: Vec<(Trouble, u64, u64)>,
    log: Log,
    listener: TcpListener,
    port: u16,
    /// Threads there are, and those of them that wait for a connection.
    threads: AtomicUsize,
    idle: AtomicUsize,
    live: Mutex<BTreeMap<u64, Arc<TcpStream>>>,
    dead: AtomicBool,
    gate: (Mutex<bool>, Condvar),
    /// What keeps a full backlog full.
    plugs: Mutex<Vec<OwnedFd>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    /// Holds the port, so that its number can be told before anything happens on it.
    pub(crate) fn open(
        listener: &Listener,
        seed: u64,
        zero: u64,
        certificates: &Arc<Certificates>,
    ) -> Result<Arc<Self>, Box<dyn Error>> {
        let script::Listener { name, protocol, rules, otherwise, windows, delay } = listener;
        let known = catalogue::faults(*protocol);
        let find = |act: &str| {
            let found = known.iter().find(|fault| fault.name == act).copied();
            found.ok_or_else(|| format!("listener `{name}`: no fault `{act}` of this protocol"))
        };
        let rules = rules.iter().map(|rule| Ok((rule.clone(), find(&rule.act)?))).collect::<Result<_, String>>()?;
        let instant = |ms: u64| zero + ms * MILLISECOND;
        let mut windows: Vec<_> = windows.iter().map(|w| (w.kind, instant(w.from_ms), instant(w.to_ms))).collect();
        windows.sort_by_key(|(_, from, _)| *from);
        let (socket, port) = hold_port(windows.iter().any(|(kind, ..)| *kind == Trouble::Kill))?;
        Ok(Arc::new(Self {
            protocol: *protocol,
            certificates: Arc::clone(certificates),
            requests: AtomicU64::new(0),
            delay: *delay,
            seed: name.bytes().fold(seed, |seed, byte| draw(seed, u64::from(byte))),
            connections: AtomicU64::new(0),
            rules,
            otherwise: find(otherwise)?,
            windows,
            log: Log::new(name),
            listener: socket.into(),
            port,
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            live: Mutex::default(),
            dead: AtomicBool::new(false),
            gate: (Mutex::new(true), Condvar::new()),
            plugs: Mutex::default(),
        }))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Begins to listen, unless the script says otherwise.
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        match self.otherwise.name {
            catalogue::REFUSED => return Ok(()),
            catalogue::BACKLOG_FULL => return self.plug(),
            _ => listen(&self.listener, BACKLOG)?,
        }
        if self.otherwise.name != catalogue::NEVER_ACCEPTS {
            self.hire()?;
        }
        for (kind, from, to) in self.windows.clone() {
            let service = Arc::clone(self);
            thread::Builder::new().spawn(move || service.window(kind, from, to))?;
        }
        Ok(())
    }

    /// Listens with the shortest queue and fills it, so that the kernel drops whatever else comes.
    fn plug(&self) -> io::Result<()> {
        listen(&self.listener, 0)?;
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
            // It is under way for as long as nobody answers, which is what is looked for.
            let _under_way = rustix::net::connect(&socket, &own);
            let open = clock::wait_for_output(&socket, 50 * MILLISECOND);
            lock(&self.plugs).push(socket);
            if !open {
                return Ok(());
            }
        }
    }

    fn hire(self: &Arc<Self>) -> io::Result<()> {
        self.threads.fetch_add(1, Ordering::SeqCst);
        let service = Arc::clone(self);
        thread::Builder::new().stack_size(256 << 10).spawn(move || service.attend()).map(drop)
    }

    /// Takes connections and sees each to its end. Whoever takes one while nobody else waits for the next hires another, so that
    /// there are as many threads as connections, and a short connection costs no new one.
    fn attend(self: &Arc<Self>) {
        loop {
            self.idle.fetch_add(1, Ordering::SeqCst);
            let accepted = self.listener.accept();
            let at = clock::now();
            let waiting = self.idle.fetch_sub(1, Ordering::SeqCst) - 1;
            match accepted {
                Ok((tcp, peer)) => {
                    if waiting == 0 && self.hire().is_err() {
                        self.threads.fetch_sub(1, Ordering::SeqCst);
                    }
                    self.connection(tcp, peer, at);
                }
                Err(_) => self.wait_for_gate(),
            }
        }
    }

    fn connection(&self, tcp: TcpStream, peer: SocketAddr, accepted: u64) {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let fault = self.chosen(&[Level::Accept, Level::Handshake], number, None);
        let act = fault.map_or("ok", |fault| fault.name);
        let book = self.log.open(Some(Connection { number, peer: peer.port(), accepted, act }));
        // An answer in two writes would wait for the acknowledgement of the first.
        drop(tcp.set_nodelay(true));
        let tcp = Arc::new(tcp);
        lock(&self.live).insert(number, Arc::clone(&tcp));
        if self.dead.load(Ordering::SeqCst) {
            let _gone = connect_unspec(&*tcp);
        }
        self.converse(tcp, number, fault, &book);
        lock(&self.live).remove(&number);
        book.close(clock::now());
    }

    /// What is to be done with a connection, or with a request of it (its number, and its turn on the connection).
    pub(crate) fn chosen(
        &self,
        levels: &[Level],
        connection: u64,
        request: Option<(Option<u64>, u64)>,
    ) -> Option<&'static Fault> {
        let (number, turn) = request.map_or((None, None), |(number, turn)| (number, Some(turn)));
        let same = |wanted: Option<u64>, is: Option<u64>| wanted.is_none() || wanted == is;
        let fits = |rule: &Rule| {
            let place = connection.wrapping_mul(0x1_0001).wrapping_add(turn.map_or(0, |turn| turn + 1));
            same(rule.connection, Some(connection))
                && same(rule.request, number)
                && same(rule.turn, turn)
                && rule.share.is_none_or(|share| unit(draw(self.seed, place)) < share)
        };
        let of_level = |fault: &&Fault| levels.contains(&fault.level);
        let ruled = self.rules.iter().find(|(rule, fault)| of_level(fault) && fits(rule));
        ruled.map(|(_, fault)| *fault).or_else(|| Some(self.otherwise).filter(of_level))
    }

    /// Waits until no window freezes what happens now.
    pub(crate) fn thaw(&self) {
        for (kind, from, to) in &self.windows {
            if *kind == Trouble::Freeze && (*from..*to).contains(&clock::now()) {
                clock::wait_until(*to);
            }
        }
    }

    fn window(&self, kind: Trouble, from: u64, to: u64) {
        clock::wait_until(from);
        let begun = clock::now();
        if kind == Trouble::Kill {
            *lock(&self.gate.0) = false;
            self.dead.store(true, Ordering::SeqCst);
            // Ends the listening and resets what was not accepted yet; the port stays ours.
            let _dead = shutdown(&self.listener, Shutdown::Both);
            for tcp in lock(&self.live).values() {
                let _gone = connect_unspec(&**tcp);
            }
        }
        let mut window = Window { kind, begun, complete: clock::now(), ending: None, ended: None };
        self.log.window(window);
        clock::wait_until(to);
        window.ending = Some(clock::now());
        if kind == Trouble::Kill {
            self.dead.store(false, Ordering::SeqCst);
            let _alive = listen(&self.listener, BACKLOG);
            *lock(&self.gate.0) = true;
            self.gate.1.notify_all();
        }
        window.ended = Some(clock::now());
        self.log.window(window);
    }

    /// After a refusal to accept: waits until the port listens again.
    fn wait_for_gate(&self) {
        let mut open = lock(&self.gate.0);
        while !*open {
            open = self.gate.1.wait(open).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether nothing is under way and nothing waits.
    fn quiet(&self) -> bool {
        let waiting = || clock::wait_for(&self.listener, true, Some(0));
        match self.otherwise.name {
            catalogue::REFUSED | catalogue::BACKLOG_FULL => true,
            catalogue::NEVER_ACCEPTS => {
                // Now that it is over, the connections that nobody took are counted.
                drop(self.listener.set_nonblocking(true));
                while let Ok((_, peer)) = self.listener.accept() {
                    let number = self.connections.fetch_add(1, Ordering::SeqCst);
                    let (peer, accepted) = (peer.port(), clock::now());
                    self.log.open(Some(Connection { number, peer, accepted, act: catalogue::NEVER_ACCEPTS }));
                }
                true
            }
            _ => self.idle.load(Ordering::SeqCst) == self.threads.load(Ordering::SeqCst) && !waiting(),
        }
    }
}

/// Waits until everything that clients have sent is seen to: they have left, but what they sent may not have been read.
pub(crate) fn settle(services: &[Arc<Service>]) {
    let latest = clock::now() + PATIENCE;
    let mut quiet = 0;
    // A thread that has just taken a connection may still look idle once, but not twice.
    while quiet < 2 && clock::now() < latest {
        quiet = if services.iter().all(|service| service.quiet()) { quiet + 1 } else { 0 };
        clock::wait_until(clock::now() + 2 * MILLISECOND);
    }
}

/// A port of this machine that nobody else gets, on a socket that does not listen. The kernel gives up a port that it chose itself when
/// listening ends, so the number is asked for.
fn hold_port(again: bool) -> io::Result<(OwnedFd, u16)> {
    for _ in 0..100 {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // To listen again, beside connections that are still there.
        set_socket_reuseaddr(&socket, again)?;
        if bind(&socket, &free).is_ok() {
            let port = SocketAddr::try_from(getsockname(&socket)?)?.port();
            return Ok((socket, port));
        }
    }
    Err(io::Error::other("no port is free"))
}

/// A random word that depends on nothing but these two: `SplitMix64`.
pub(crate) fn draw(seed: u64, number: u64) -> u64 {
    let state = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A random word as a number from 0 up to 1.
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
pub(crate) fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}
