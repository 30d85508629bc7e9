//! A client that stands still while the server is well: nothing is bad, and what was planned meanwhile is unknown.

use std::fmt::Write;
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

#[tokio::test]
async fn a_client_that_is_stopped_makes_no_outage() {
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
    let pid = Pid::from_child(&child);
    let begun = folder.path().join("samples.begun");
    tokio::time::timeout(Duration::from_secs(30), until(&begun)).await.expect("the process to be stopped begins");
    tokio::time::sleep(Duration::from_secs(2)).await;
    kill_process(pid, Signal::STOP).unwrap();
    waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
    let (_, stopped) = now_on_both();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, resumed) = now_on_both();
    kill_process(pid, Signal::CONT).unwrap();
    let status = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "the stopped process failed");

    let slots: Vec<Slot> =
        std::fs::read_to_string(&output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(slots.len(), 2 * 3000);
    let bad: Vec<_> = slots.iter().filter(|(.., outcome)| matches!(outcome, Outcome::Bad { .. })).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let gap: Vec<_> = slots.iter().filter(|(_, planned, ..)| (stopped..resumed).contains(planned)).collect();
    assert!(gap.len() > 1900, "{} slots in the gap", gap.len());
    let claimed: Vec<_> = gap.iter().filter(|(.., outcome)| *outcome != Outcome::Unknown).collect();
    assert!(claimed.is_empty(), "of what nobody saw it is said: {claimed:?}");
    // What is not sent has its planned instant there, and nothing is sent as early as that. Of the gap, nothing went out after it.
    assert!(gap.iter().all(|(_, planned, sent, _)| sent == planned));
    let sent = slots.iter().filter(|(_, planned, sent, _)| sent > planned).count();
    let seen = server.finish().remove("web").unwrap();
    assert_eq!(seen.requests.len(), sent, "as many requests as were sent, none twice");
    assert!(slots.iter().any(|(_, planned, _, outcome)| *planned > resumed && *outcome == Outcome::Good));
}

/// Waits for a file.
async fn until(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
