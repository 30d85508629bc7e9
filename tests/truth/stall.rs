//! A client that stands still while the server is well: nothing is bad, and what was planned meanwhile is unknown.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use squall::probe::{Ask, Outcome, StreamKind};

use crate::harness::{Server, http_ask, now_on_both, probe, run};
use crate::script::{Listener, Protocol, Script};

const TIMEOUT: Duration = Duration::from_millis(500);
const LENGTH: Duration = Duration::from_secs(6);
const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];

/// A slot as the child tells of it: stream, planned, sent, what it came to; instants on the clock of the machine.
type Slot = (StreamKind, u64, u64, Outcome);

/// Where the child finds what it needs.
const PORT: &str = "SQUALL_TRUTH_PORT";
const OUTPUT: &str = "SQUALL_TRUTH_OUTPUT";

#[tokio::test]
#[ignore = "the process that the test below stops"]
async fn the_process_that_is_stopped() {
    let [port, output] = [PORT, OUTPUT].map(|name| std::env::var(name).expect("the test that stops this one sets it"));
    let url = format!("http://127.0.0.1:{port}/");
    let probes =
        STREAMS.map(|stream| probe(&stream.label(), "500/s", TIMEOUT, stream, Ask::Http(http_ask(&url).into())));
    let (zero, clock) = now_on_both();
    // Whoever waits for this file knows that slots are about to be planned.
    std::fs::write(format!("{output}.begun"), "").unwrap();
    let mut lines = String::new();
    for ((_, stream), run) in run(&probes, zero, Duration::from_millis(100), LENGTH).await {
        assert_eq!(run.counts.settled(), run.counts.planned);
        for sample in run.samples {
            let slot: Slot = (stream, clock + sample.planned, clock + sample.sent, sample.outcome);
            writeln!(lines, "{}", serde_json::to_string(&slot).unwrap()).unwrap();
        }
    }
    std::fs::write(output, lines).unwrap();
}

/// What a client told of its slots, and what the server saw of it.
struct Told {
    slots: Vec<Slot>,
    requests: usize,
}

impl Told {
    /// What holds however long the client stood still: every slot is told of once, none is bad, and the server saw what was sent.
    fn check(&self) {
        assert_eq!(self.slots.len(), 2 * 3000);
        let bad: Vec<_> = self.slots.iter().filter(|(.., outcome)| matches!(outcome, Outcome::Bad { .. })).collect();
        assert!(bad.is_empty(), "{bad:?}");
        // What is not sent has its planned instant there, and nothing is sent as early as that. A request that was stopped between its
        // connect and its first byte, and past its deadline when it went on, never reached the server: it is among the unknown.
        let sent = || self.slots.iter().filter(|(_, planned, sent, _)| sent > planned);
        let unknown = sent().filter(|(.., outcome)| *outcome == Outcome::Unknown).count();
        let all = sent().count();
        assert!(
            all - unknown <= self.requests && self.requests <= all,
            "{} of {all}, {unknown} unknown",
            self.requests
        );
    }
}

/// Runs the client against a server that is well, and does something to it two seconds after it began.
async fn client<T>(to: impl AsyncFnOnce(Pid) -> T) -> (Told, T) {
    let name = "web".to_owned();
    let (otherwise, protocol) = ("ok".to_owned(), Protocol::Http);
    let listener = Listener { name, protocol, rules: Vec::new(), otherwise, windows: Vec::new(), delay: None };
    let server = Server::start(&Script { seed: 1, listeners: vec![listener] });
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("samples");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stall::the_process_that_is_stopped", "--ignored", "--nocapture"])
        .env(PORT, server.port(0).to_string())
        .env(OUTPUT, &output)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = folder.path().join("samples.begun");
    tokio::time::timeout(Duration::from_secs(30), until(&begun)).await.expect("the process to be stopped begins");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let done = to(Pid::from_child(&child)).await;
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "the stopped process failed");
    let lines = std::fs::read_to_string(&output).unwrap();
    let slots = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen = server.finish().remove("web").unwrap();
    (Told { slots, requests: seen.requests.len() }, done)
}

/// Stops a process for so long; gives the instants between which it surely stood still, on the clock of the machine.
async fn stop(pid: Pid, length: Duration) -> Range<u64> {
    kill_process(pid, Signal::STOP).unwrap();
    waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    let (_, stopped) = now_on_both();
    tokio::time::sleep(length).await;
    let (_, resumed) = now_on_both();
    kill_process(pid, Signal::CONT).unwrap();
    stopped..resumed
}

#[tokio::test]
async fn a_client_that_is_stopped_makes_no_outage() {
    let (told, gap) = client(async |pid| stop(pid, Duration::from_secs(2)).await).await;
    told.check();
    let inside: Vec<_> = told.slots.iter().filter(|(_, planned, ..)| gap.contains(planned)).collect();
    assert!(inside.len() > 1900, "{} slots in the gap", inside.len());
    let claimed: Vec<_> = inside.iter().filter(|(.., outcome)| *outcome != Outcome::Unknown).collect();
    assert!(claimed.is_empty(), "of what nobody saw it is said: {claimed:?}");
    // Of the gap, nothing went out after it.
    assert!(inside.iter().all(|(_, planned, sent, _)| sent == planned));
    assert!(told.slots.iter().any(|(_, planned, _, outcome)| *planned > gap.end && *outcome == Outcome::Good));
}

/// As a container with a fifth of a processor has it: 80 ms of every 100 without any.
#[tokio::test]
async fn a_client_that_is_throttled_makes_no_outage() {
    let (told, gaps) = client(async |pid| {
        let mut gaps = Vec::new();
        for _ in 0..20 {
            gaps.push(stop(pid, Duration::from_millis(80)).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gaps
    })
    .await;
    told.check();
    for gap in gaps {
        let inside = told.slots.iter().filter(|(_, planned, ..)| gap.contains(planned));
        let claimed: Vec<_> = inside.filter(|(.., outcome)| *outcome != Outcome::Unknown).collect();
        assert!(claimed.is_empty(), "of what nobody saw it is said: {claimed:?}");
    }
}

/// Waits for a file.
async fn until(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
