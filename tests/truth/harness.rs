//! Both sides of a test: the fault server as a process, and the engine that is held against it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use squall::probe::{Ask, Counts, Engine, HttpAsk, Plan, ProbeConfig, Sample, StreamKind};
use squall::scalar::EngineKind;
use tokio::time::Instant;

use crate::script::{Event, Greeting, Script};

/// The server, built as an example beside the tests.
fn executable() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows where it is");
    let folder = own.ancestors().nth(2).expect("tests are built into `deps`");
    let path = folder.join("examples/faultserver");
    assert!(path.is_file(), "{} is missing: `cargo build --example faultserver`", path.display());
    path
}

/// A running fault server. It ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) greeting: Greeting,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts it; every port is open when this returns.
    pub(crate) fn start(script: &Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("script.json"), folder.path().join("log"));
        std::fs::write(&file, serde_json::to_vec(script).unwrap()).unwrap();
        let mut command = Command::new(executable());
        command.arg("--script").arg(file).arg("--log").arg(log);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, greeting: serde_json::from_str(&line).unwrap(), folder }
    }

    /// The port of a listener of the script.
    pub(crate) fn port(&self, listener: usize) -> u16 {
        self.greeting.ports[listener]
    }

    /// Ends the server and reads its log, by listener.
    pub(crate) fn finish(mut self) -> BTreeMap<String, Seen> {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "the fault server failed");
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
        for event in log.lines().map(|line| serde_json::from_str(line).unwrap()) {
            let (Event::Connection { listener, .. } | Event::Request { listener, .. } | Event::Window { listener, .. }) =
                &event;
            let seen = seen.entry(listener.clone()).or_default();
            match event {
                Event::Connection { .. } => seen.connections += 1,
                Event::Request { turn, act, arrived, first, last, .. } => {
                    seen.requests.push(Seized { turn, act, arrived, first, last });
                }
                Event::Window { begun, complete, ending, ended, .. } => {
                    seen.windows.push([begun, complete, ending.unwrap(), ended.unwrap()]);
                }
            }
        }
        for seen in seen.values_mut() {
            seen.requests.sort_by_key(|request| request.arrived);
        }
        seen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends by itself once its input does; a test that fails does not wait for that.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Every fault of a protocol that the server knows.
pub(crate) fn known_faults(protocol: &str) -> Vec<String> {
    let output = Command::new(executable()).arg("--list").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    list.lines().filter_map(|line| line.strip_prefix(&format!("{protocol}/"))).map(str::to_owned).collect()
}

/// What the server saw on one listener.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    /// In the order of their arrival.
    pub(crate) requests: Vec<Seized>,
    /// Begun, complete, ending, ended.
    pub(crate) windows: Vec<[u64; 4]>,
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seized {
    /// Its number on its connection, from 0.
    pub(crate) turn: u64,
    pub(crate) act: String,
    pub(crate) arrived: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
}

impl Seen {
    /// How many requests this was done with.
    pub(crate) fn acts(&self, act: &str) -> usize {
        self.requests.iter().filter(|request| request.act == act).count()
    }
}

/// What became of a stream: its samples by slot, and its account.
pub(crate) struct Run {
    pub(crate) samples: Vec<Sample>,
    pub(crate) counts: Counts,
}

/// Runs the engine as it is, from `zero` plus `offset` on for `length`, and checks what holds for every run.
pub(crate) async fn run(
    probes: &[ProbeConfig],
    zero: Instant,
    offset: Duration,
    length: Duration,
) -> BTreeMap<(usize, StreamKind), Run> {
    let mut engine = Engine::start(probes, Plan { zero, offset, seed: 7 }).unwrap();
    engine.stop_at(zero + offset + length);
    let mut samples: BTreeMap<_, Vec<Sample>> = BTreeMap::new();
    while let Some(batch) = engine.next().await {
        samples.entry((batch.probe, batch.stream)).or_default().extend(batch.samples);
    }
    let mut runs = BTreeMap::new();
    for summary in engine.finish().await.unwrap() {
        let key = (summary.probe, summary.stream);
        let mut samples = samples.remove(&key).unwrap_or_default();
        samples.sort_by_key(|sample| sample.slot);
        let counts = summary.counts;
        assert!(counts.balanced() && counts.in_flight == 0 && summary.lost == 0, "{summary:?}");
        let slots: Vec<u64> = samples.iter().map(|sample| sample.slot).collect();
        let planned: Vec<u64> = (0..probes[summary.probe].rate.slots_in(length)).collect();
        assert_eq!((slots, counts.planned), (planned.clone(), planned.len() as u64), "every slot, each once");
        runs.insert(key, Run { samples, counts });
    }
    runs
}

/// Now, and the same instant on the server's clock.
pub(crate) fn now_on_both() -> (Instant, u64) {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(clock.tv_sec).unwrap();
    (Instant::now(), seconds * 1_000_000_000 + u64::try_from(clock.tv_nsec).unwrap())
}

/// An HTTP probe in its simplest form, to be made into what the test needs.
pub(crate) fn http_ask(url: &str) -> HttpAsk {
    HttpAsk {
        version: squall::probe::HttpVersion::One,
        request: squall::probe::Request {
            uri: url.parse().unwrap(),
            method: http::Method::GET,
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
        },
        expect: squall::probe::Expectation::default(),
        ca_file: None,
        certificate_valid_for: None,
    }
}

/// A probe of one stream.
pub(crate) fn probe(name: &str, rate: &str, timeout: Duration, stream: StreamKind, ask: Ask) -> ProbeConfig {
    let (name, rate) = (name.to_owned(), rate.parse().unwrap());
    let (streams, late_after) = (vec![stream], Some(timeout / 10));
    ProbeConfig { name, rate, timeout, streams, engine: EngineKind::Native, ask, in_flight_max: None, late_after }
}
