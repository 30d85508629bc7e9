//! The table of faults, and holding the engine to it: each fault on both streams of a probe, all of a protocol at the same time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use squall::probe::{Ask, Class, Outcome, ProbeConfig, Sample, StreamKind};
use squall::scalar::EngineKind;
use tokio::time::Instant;

use crate::harness::{Run, Seen, Server, known_faults, probe, run};
use crate::script::{Listener, Protocol, Rule, Script};

/// What a request has to come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Want {
    Good,
    /// Good, and the connection ends behind it unsaid: the next request may cross that end, and is lost then.
    GoodThenGone,
    Bad(Class, u16),
    /// Good, or this one, because it depends on how far the client is when it strikes.
    GoodOr(Class),
    /// Any of these, because it depends on how far the client is when it strikes.
    OneOf(&'static [Class]),
}

impl Want {
    fn met_by(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (Self::Good | Self::GoodThenGone | Self::GoodOr(_), Outcome::Good) => true,
            (Self::GoodOr(wanted), Outcome::Bad { class, status: 0 }) => wanted == class,
            (Self::Bad(wanted, of), Outcome::Bad { class, status }) => (wanted, of) == (class, status),
            (Self::OneOf(wanted), Outcome::Bad { class, status: 0 | 200 }) => wanted.contains(&class),
            _ => false,
        }
    }

    fn is_timeout(self) -> bool {
        let Self::Bad(class, _) = self else { return false };
        matches!(
            class,
            Class::DnsTimeout | Class::ConnectTimeout | Class::TlsTimeout | Class::ResponseTimeout | Class::BodyTimeout
        )
    }
}

/// Where a fault strikes: what the server gets to see of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strikes {
    /// Connections that are never opened.
    Connect,
    /// Connections as a whole, before any request.
    Connection,
    /// Connections as a whole, and their requests are answered.
    Settings,
    /// The first request of each connection, unread; the server never lets it come to another.
    Arrival,
    /// A datagram: every one of them.
    Datagram,
    /// A request; on a kept-alive stream the second one of each connection.
    Request,
    /// The same, of several that share a connection: it goes on, and carries all that follow.
    Stream,
    /// The same, and the connection that it shares ends with it.
    Last,
}

/// Both streams see the same.
pub(crate) const fn both(fault: &'static str, want: Want) -> Row {
    (fault, want, want)
}

/// A fault, and what it has to come to on the first and on the second stream.
pub(crate) type Row = (&'static str, Want, Want);

/// All faults of a protocol.
pub(crate) struct Faults {
    /// What the server calls the protocol.
    pub(crate) name: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) tables: &'static [(Strikes, &'static [Row])],
}

/// What is held against the server.
pub(crate) struct Instrument {
    pub(crate) engine: EngineKind,
    /// Where its classes are coarser than the table's. Everything else is as the table says.
    pub(crate) coarser: &'static [Coarser],
}

/// Faults that come to something else, on one of the streams.
pub(crate) struct Coarser {
    pub(crate) faults: &'static [&'static str],
    pub(crate) stream: StreamKind,
    pub(crate) want: Want,
}

/// The native engine: every class exact.
pub(crate) const NATIVE: Instrument = Instrument { engine: EngineKind::Native, coarser: &[] };

impl Instrument {
    fn want(&self, (fault, first, later): Row, stream: StreamKind) -> Want {
        let told = if stream.requests_per_connection() > 1 { later } else { first };
        let coarser = self.coarser.iter().find(|other| other.stream == stream && other.faults.contains(&fault));
        assert!(coarser.is_none_or(|other| other.want != told), "{fault}: what is listed as coarser is not");
        coarser.map_or(told, |other| other.want)
    }
}

/// Slots of each stream.
const SLOTS: u32 = 8;
const RATE: &str = "10/s";
const LENGTH: Duration = Duration::from_millis(100 * SLOTS as u64);
/// Nobody waits for this long unless something is broken; and no hiccup of the machine makes a request late, or its outcome unknown,
/// since a tenth of it is allowed.
const LONG: Duration = Duration::from_secs(20);
/// What each fault that hangs costs.
const SHORT: Duration = Duration::from_secs(1);
/// How often what the machine spoilt is tried again.
const TRIES: usize = 5;
/// A machine on which a thread that sleeps comes back so much later has stood still: a quarter of the time between two requests.
const HICCUP: Duration = Duration::from_millis(25);
/// So many wrong cases are shown; where there are more, they are wrong for one reason.
const SHOWN: usize = 12;

/// One fault on one stream.
#[derive(Clone, Copy)]
struct Case {
    fault: &'static str,
    want: Want,
    strikes: Strikes,
    stream: StreamKind,
}

impl Case {
    /// Whether connections are kept and used again.
    fn keeps(&self) -> bool {
        self.stream.requests_per_connection() > 1
    }

    /// Whether the fault strikes the second request of each connection, and no other.
    fn on_second(&self) -> bool {
        self.keeps() && matches!(self.strikes, Strikes::Request | Strikes::Stream | Strikes::Last)
    }

    fn name(&self) -> String {
        format!("{} on a {} stream", self.fault, self.stream.label())
    }

    fn listener(&self, protocol: Protocol) -> Listener {
        let act = self.fault.to_owned();
        let (name, windows, delay) = (self.name(), Vec::new(), None);
        if self.on_second() {
            let rules = vec![Rule { turn: Some(1), act, ..Rule::default() }];
            return Listener { name, protocol, rules, otherwise: "ok".to_owned(), windows, delay };
        }
        Listener { name, protocol, rules: Vec::new(), otherwise: act, windows, delay }
    }
}

/// What holding one case against the server's log gave.
enum Verdict {
    Held,
    /// The machine stood still: the engine says so itself, and nothing can be said of it.
    Spoilt,
    Wrong(String),
}

/// Runs every row on every stream against the server and fails with all that differs. The rows have to be exactly the faults that the
/// server knows for the protocol.
pub(crate) async fn hold(
    instrument: &Instrument,
    &Faults { name, protocol, tables }: &Faults,
    streams: &[StreamKind],
    ask: impl Fn(u16) -> Ask,
) {
    let rows: Vec<_> = tables.iter().flat_map(|(strikes, rows)| rows.iter().map(move |row| (*strikes, *row))).collect();
    let told: BTreeSet<_> = rows.iter().map(|(_, row)| row.0.to_owned()).collect();
    assert_eq!(told, known_faults(name).into_iter().collect(), "the table and the server's faults");
    assert_eq!(told.len(), rows.len(), "a fault stands twice in the table");
    let case = |strikes, row: Row, stream| Case { fault: row.0, want: instrument.want(row, stream), strikes, stream };
    let mut cases: Vec<_> =
        rows.iter().flat_map(|(strikes, row)| streams.iter().map(|stream| case(*strikes, *row, *stream))).collect();
    let listed = instrument.coarser.iter().flat_map(|other| other.faults.iter().map(|fault| (*fault, other.stream)));
    for (fault, stream) in listed {
        assert!(cases.iter().any(|case| (case.fault, case.stream) == (fault, stream)), "{fault} is no fault of {name}");
    }
    let mut wrong = Vec::new();
    for tries in 1..=TRIES {
        let watch = Watch::start();
        let verdicts = try_all(&cases, (protocol, instrument.engine), &ask).await;
        let stood_still = watch.longest() >= HICCUP;
        let mut spoilt = Vec::new();
        for (case, verdict) in cases.iter().zip(verdicts) {
            match verdict {
                Verdict::Held => {}
                Verdict::Spoilt => spoilt.push(*case),
                // Requests that were to come one after the other have crossed, which not every case shows by itself.
                Verdict::Wrong(how) if stood_still && tries < TRIES => {
                    eprintln!("this machine stood still, tried again: {}: {how}", case.name());
                    spoilt.push(*case);
                }
                Verdict::Wrong(how) => wrong.push(format!("{}: {how}", case.name())),
            }
        }
        cases = spoilt;
        if cases.is_empty() {
            break;
        }
    }
    wrong.extend(cases.iter().map(|case| format!("{}: this machine is too busy to tell", case.name())));
    assert!(
        wrong.is_empty(),
        "{} cases of {name} are wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(SHOWN)].join("\n")
    );
}

/// Sees this machine stand still.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            const NAP: Duration = Duration::from_millis(2);
            let mut longest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let began = Instant::now();
                std::thread::park_timeout(NAP);
                longest = longest.max(began.elapsed().saturating_sub(NAP));
            }
            longest
        });
        Self { over, thread }
    }

    /// How much too long it slept at most.
    fn longest(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn try_all(cases: &[Case], (protocol, engine): (Protocol, EngineKind), ask: impl Fn(u16) -> Ask) -> Vec<Verdict> {
    let listeners = cases.iter().map(|case| case.listener(protocol)).collect();
    let server = Server::start(&Script { seed: 1, listeners });
    let probes: Vec<_> = cases
        .iter()
        .enumerate()
        .map(|(index, case)| {
            let timeout = if case.want.is_timeout() { SHORT } else { LONG };
            ProbeConfig { engine, ..probe(&case.name(), RATE, timeout, case.stream, ask(server.port(index))) }
        })
        .collect();
    let runs = run(&probes, Instant::now(), Duration::from_millis(200), LENGTH).await;
    let seen = server.finish();
    let nothing = Seen::default();
    let judge = |(index, case): (usize, &Case)| {
        let run = &runs[&(index, case.stream)];
        let verdict = judge(case, run, seen.get(&case.name()).unwrap_or(&nothing));
        let opens_for_nothing = engine == EngineKind::Reqwest && case.keeps() && have_crossed(&run.samples);
        if matches!(verdict, Verdict::Wrong(_)) && opens_for_nothing { Verdict::Spoilt } else { verdict }
    };
    cases.iter().enumerate().map(judge).collect()
}

/// Whether a request went before the connection of the one before it was idle again, as when dozens of handshakes at once keep this
/// process busy. The library then opens a second connection, and leaves it unused where the first is free in time: no sample knows of it.
fn have_crossed(samples: &[Sample]) -> bool {
    let idle = u64::try_from(HICCUP.as_nanos()).unwrap();
    let mut by_slot: Vec<_> = samples.iter().collect();
    by_slot.sort_by_key(|sample| sample.slot);
    by_slot.windows(2).any(|pair| pair[1].sent < pair[0].done + idle)
}

/// A request that was written to a connection as it ended.
const CROSSED: Outcome = Outcome::Bad { class: Class::ReusedClosed, status: 0 };

/// Every outcome against the table, every count against the server's.
fn judge(case: &Case, Run { samples, counts }: &Run, seen: &Seen) -> Verdict {
    if counts.good + counts.bad < counts.planned {
        return Verdict::Spoilt;
    }
    let opened = samples.iter().filter(|sample| !sample.reused).count();
    let on_second = case.on_second();
    if on_second && opened == samples.len() && samples.iter().all(|sample| sample.outcome == Outcome::Good) {
        // So slow that no connection was idle when the next request was due.
        return Verdict::Spoilt;
    }
    if on_second && case.strikes == Strikes::Last && seen.requests.iter().any(|request| request.turn > 1) {
        // So slow that a third request was on its way before the second had ended the connection: it may come to anything.
        return Verdict::Spoilt;
    }
    // What crossed the end of its connection may have reached the server, which was too late then, or not.
    let crossed = samples.iter().filter(|sample| sample.outcome == CROSSED && on_second).count();
    let unseen = if case.want == Want::GoodThenGone { crossed.saturating_sub(seen.acts("too-late")) } else { 0 };
    let (connections, requests) = match case.strikes {
        Strikes::Connect => (0, 0),
        Strikes::Connection => (opened, 0),
        Strikes::Datagram => (0, samples.len()),
        _ => (opened, samples.len() - unseen),
    };
    let as_wanted = if on_second {
        second_ones_are(case, samples, seen, unseen) && (case.strikes != Strikes::Stream || one_goes_on(samples))
    } else {
        let reuses = case.strikes == Strikes::Settings && case.keeps();
        (opened == samples.len() || reuses || matches!(case.strikes, Strikes::Connect | Strikes::Datagram))
            && samples.iter().all(|sample| case.want.met_by(sample.outcome))
    };
    if as_wanted && (connections, requests) == (seen.connections, seen.requests.len()) {
        return Verdict::Held;
    }
    let outcomes: Vec<_> = samples.iter().map(|sample| (sample.outcome, sample.reused)).collect();
    let acts: Vec<_> = seen.requests.iter().map(|request| request.act.as_str()).collect();
    Verdict::Wrong(format!(
        "wanted {:?}, {connections} connections, {requests} requests; the server saw {} and {}: {acts:?}; the engine: {outcomes:?}",
        case.want,
        seen.connections,
        seen.requests.len(),
    ))
}

/// Whether there are as many of each outcome as the server gave cause for. It did the fault to reused connections only.
fn second_ones_are(case: &Case, samples: &[Sample], seen: &Seen, unseen: usize) -> bool {
    let (fault, want) = (case.fault, case.want);
    let mut causes =
        vec![(want, seen.acts(fault)), (Want::Bad(Class::ReusedClosed, 0), seen.acts("too-late") + unseen)];
    if fault != "ok" {
        causes.push((Want::Good, seen.acts("ok")));
    }
    // Each sample has its cause, and each kind of sample as many as there were causes for it.
    let right = |outcome: Outcome| {
        let due: usize = causes.iter().filter(|(want, _)| want.met_by(outcome)).map(|(_, count)| count).sum();
        due == samples.iter().filter(|sample| sample.outcome == outcome).count()
    };
    let reused =
        |outcome: Outcome| outcome == Outcome::Good || samples.iter().all(|s| s.outcome != outcome || s.reused);
    samples.iter().all(|sample| right(sample.outcome) && reused(sample.outcome))
}

/// Whether nothing opened a connection once there was one that had answered.
fn one_goes_on(samples: &[Sample]) -> bool {
    let answered = samples.iter().map(|sample| sample.done).min();
    samples.iter().all(|sample| sample.reused || Some(sample.sent) <= answered)
}
