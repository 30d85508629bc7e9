//! The interval log of a process that is killed: whatever was complete when it was written to last is there, and another
//! implementation's reader accepts the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use squall::measure::{HlogWriter, Series};
use squall::probe::{Ask, Engine, Plan, StreamKind};
use tokio::time::Instant;

use crate::harness::{Server, http_ask, probe};
use crate::reader;
use crate::script::{Listener, Protocol, Script};

const OFFSET: Duration = Duration::from_millis(100);
const SECOND: u64 = 1_000_000_000;
/// Requests of a whole second.
const RATE: u64 = 200;
const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];
/// The wall clock at the zero of the log, in seconds since the epoch.
const ZERO: i64 = 1_767_225_600;

/// Where the child finds what it needs.
const PORT: &str = "SQUALL_TRUTH_PORT";
const LOG: &str = "SQUALL_TRUTH_LOG";

#[tokio::test]
#[ignore = "the process that the test below kills"]
async fn the_process_that_is_killed() {
    let [port, log] = [PORT, LOG].map(|name| std::env::var(name).expect("the test that kills this one sets it"));
    let (timeout, url) = (Duration::from_secs(1), format!("http://127.0.0.1:{port}/"));
    let probes =
        STREAMS.map(|stream| probe(&stream.label(), "200/s", timeout, stream, Ask::Http(http_ask(&url).into())));
    let zero = Instant::now();
    let mut engine = Engine::start(&probes, Plan { zero, offset: OFFSET, seed: 7 }).unwrap();
    let start = u64::try_from(OFFSET.as_nanos()).unwrap();
    let mut series = STREAMS.map(|kind| Series::new("web", kind, "200/s".parse().unwrap(), timeout, start));
    let zero = jiff::Timestamp::from_second(ZERO).unwrap();
    let mut writer = HlogWriter::begin(File::create(log).unwrap(), zero).unwrap();
    let mut told = std::io::stdout().lock();
    // It ends when it is killed, or when nobody listens any more.
    while let Some(batch) = engine.next().await {
        series[batch.probe].extend(batch.samples);
        writer.advance(&series).unwrap();
        let [fresh, kept] = series.each_ref().map(Series::settled_until);
        if writeln!(told, "settled {fresh} {kept}").and_then(|()| told.flush()).is_err() {
            break;
        }
    }
}

#[test]
fn a_log_of_a_killed_process_has_every_second_that_was_complete() {
    let name = "web".to_owned();
    let (otherwise, protocol) = ("ok".to_owned(), Protocol::Http);
    let listener = Listener { name, protocol, rules: Vec::new(), otherwise, windows: Vec::new(), delay: None };
    let server = Server::start(&Script { seed: 1, listeners: vec![listener] });
    let folder = tempfile::tempdir().unwrap();
    // Right after the end of a second, in the middle of one, and before the first is over.
    for (number, until) in [2 * SECOND, 3 * SECOND + SECOND / 2, SECOND / 2].into_iter().enumerate() {
        let log = folder.path().join(format!("{number}.hlog"));
        let settled = killed_after(until, server.port(0), &log);
        assert!(settled.iter().all(|settled| *settled >= until));
        check(&log, settled);
    }
}

/// Runs the process until everything before `until` is settled, and kills it; tells up to where it had settled then.
fn killed_after(until: u64, port: u16, log: &Path) -> [u64; 2] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "intervals::the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(PORT, port.to_string())
        .env(LOG, log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut settled = [0; 2];
    let mut alive = true;
    // What the pipe holds when the process dies was said while it lived.
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((fresh, kept)) = line.strip_prefix("settled ").and_then(|rest| rest.split_once(' ')) else { continue };
        settled = [fresh, kept].map(|nanos| nanos.parse().unwrap());
        if alive && settled.iter().all(|settled| *settled >= until) {
            child.kill().unwrap();
            alive = false;
        }
    }
    child.wait().unwrap();
    assert!(!alive, "it ended by itself");
    settled
}

/// Every complete second of both streams, once, with all of its requests, and at most one more.
fn check(log: &Path, settled: [u64; 2]) {
    let mut found: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for interval in reader::read(log) {
        assert!(
            interval.min > 0 && interval.min <= interval.max && interval.end == interval.start + 1_000,
            "{interval:?}"
        );
        let second = interval.start / 1_000 - u64::try_from(ZERO).unwrap();
        assert_eq!(found.insert((interval.tag, second), interval.count), None, "a second is written once");
    }
    for (stream, settled) in STREAMS.into_iter().zip(settled) {
        let tag = format!("web/{}/good", stream.label());
        let seconds: Vec<u64> = found.keys().filter(|(found, _)| *found == tag).map(|(_, second)| *second).collect();
        let complete = settled / SECOND;
        let written = seconds.len() as u64;
        assert!((complete..=complete + 1).contains(&written), "{tag}: {written} seconds, {complete} were complete");
        assert_eq!(seconds, (0..written).collect::<Vec<_>>());
        for second in 0..written {
            let expected = if second == 0 { RATE * 9 / 10 } else { RATE };
            assert_eq!(found[&(tag.clone(), second)], expected, "{tag}, second {second}");
        }
    }
}
