//! Squall's probe engine as a load tool of its own, for `make bench-truth`: what it measured, sample by sample, and how it dates
//! what went wrong.
//!
//! Usage: `ours RATE LENGTH TIMEOUT SLOW STREAM=URL...`, as in `ours 500/s 10s 3s 20ms fresh=http://127.0.0.1:8080/`. Prints lines of
//! JSON, all instants in nanoseconds of `CLOCK_MONOTONIC`, so that they stand beside another process's stamps: for each stream one
//! object, then its samples as arrays of planned, sent, done, outcome, reused.

#![expect(clippy::print_stderr, reason = "a program of its own, with its own output")]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use squall::measure::{Series, windows};
use squall::probe::{
    Ask, Class, Engine, Expectation, HttpAsk, HttpVersion, Nanos, Outcome, Plan, ProbeConfig, Request, Sample,
    StreamKind,
};
use squall::scalar::Rate;
use tokio::time::Instant;

/// From the start to the first slot: the engine has to be there before it.
const LEAD: Duration = Duration::from_millis(50);
/// The plan is the same in every run.
const SEED: u64 = 7;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ours: {error}\nusage: ours RATE LENGTH TIMEOUT SLOW STREAM=URL...");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
struct Order {
    rate: Rate,
    length: Duration,
    /// A good answer that takes longer counts as bad where outages are dated, and nowhere else: an experiment would say so with its
    /// `timeout`, but then nobody would wait for the slow ones.
    slow: Nanos,
    probes: Vec<ProbeConfig>,
}

fn run() -> Result<(), Box<dyn Error>> {
    let order = order()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (zero, zero_nanos) = now_on_both_clocks();
    let plan = Plan { zero, offset: LEAD, seed: SEED };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let (mut samples, summaries) = runtime.block_on(collect(&order, plan))?;
    for summary in summaries {
        let samples = samples.remove(&(summary.probe, summary.stream)).unwrap_or_default();
        let counts = summary.counts;
        if !counts.balanced() || summary.lost > 0 || samples.len() as u64 != counts.planned {
            return Err(format!("not every slot has its sample: {summary:?}").into());
        }
        let dated = dated(&order, summary.stream, &samples, zero_nanos);
        let head = json!({"stream": summary.stream, "planned": counts.planned, "good": counts.good, "windows": dated});
        writeln!(out, "{head}")?;
        for sample in samples {
            let [planned, sent, done] = [sample.planned, sample.sent, sample.done].map(|at| at + zero_nanos);
            writeln!(out, "{}", json!([planned, sent, done, word(sample.outcome)?, sample.reused]))?;
        }
    }
    Ok(out.flush()?)
}

/// Reads the command line.
fn order() -> Result<Order, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [rate, length, timeout, slow, streams @ ..] = arguments.as_slice() else {
        return Err("too few arguments".into());
    };
    let (rate, timeout) = (rate.parse()?, humantime::parse_duration(timeout)?);
    let probes = streams.iter().map(|stream| probe(stream, rate, timeout)).collect::<Result<_, _>>()?;
    let slow = Nanos::try_from(humantime::parse_duration(slow)?.as_nanos())?;
    Ok(Order { rate, length: humantime::parse_duration(length)?, slow, probes })
}

/// A probe of one stream, from `STREAM=URL`.
fn probe(text: &str, rate: Rate, timeout: Duration) -> Result<ProbeConfig, Box<dyn Error>> {
    let (stream, url) = text.split_once('=').ok_or("a stream is `STREAM=URL`")?;
    let request = Request {
        uri: url.parse()?,
        method: http::Method::GET,
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
    };
    let ask = HttpAsk {
        version: HttpVersion::One,
        request,
        expect: Expectation::default(),
        ca_file: None,
        certificate_valid_for: None,
    };
    Ok(ProbeConfig {
        name: "truth".to_owned(),
        rate,
        timeout,
        streams: vec![stream.parse()?],
        engine: squall::scalar::EngineKind::Native,
        ask: Ask::Http(Box::new(ask)),
        in_flight_max: None,
        late_after: None,
    })
}

/// One instant by tokio's clock and by the kernel's. They are the same clock, but tokio's hides its number.
fn now_on_both_clocks() -> (Instant, Nanos) {
    let kernel = || {
        let now = clock_gettime(ClockId::Monotonic);
        Nanos::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + Nanos::try_from(now.tv_nsec).unwrap_or(0)
    };
    let readings = (0..1000).map(|_| {
        let (before, now, after) = (kernel(), Instant::now(), kernel());
        (after - before, now, before.midpoint(after))
    });
    let closest = readings.min_by_key(|(width, ..)| *width);
    closest.map_or_else(|| (Instant::now(), kernel()), |(_, now, nanos)| (now, nanos))
}

type Samples = BTreeMap<(usize, StreamKind), Vec<Sample>>;

/// Runs the probes to their end.
async fn collect(order: &Order, plan: Plan) -> Result<(Samples, Vec<squall::probe::StreamSummary>), Box<dyn Error>> {
    let mut engine = Engine::start(&order.probes, plan)?;
    engine.stop_at(plan.zero + plan.offset + order.length);
    let mut samples = Samples::new();
    while let Some(batch) = engine.next().await {
        samples.entry((batch.probe, batch.stream)).or_default().extend(batch.samples);
    }
    for samples in samples.values_mut() {
        samples.sort_by_key(|sample| sample.slot);
    }
    Ok((samples, engine.finish().await?))
}

/// The outage windows, as a report would date them.
fn dated(order: &Order, stream: StreamKind, samples: &[Sample], zero: Nanos) -> Vec<Value> {
    let start = Nanos::try_from(LEAD.as_nanos()).unwrap_or(0);
    let mut series = Series::new("truth", stream, order.rate, Duration::from_secs(1), start);
    series.extend(samples.iter().map(|sample| {
        let slow = sample.outcome == Outcome::Good && sample.response_time() > order.slow;
        let outcome = if slow { Outcome::Bad { class: Class::ResponseTimeout, status: 0 } } else { sample.outcome };
        Sample { outcome, ..*sample }
    }));
    series.finish(samples.len() as u64);
    let absolute = |at: Nanos| at + zero;
    let window = |window: squall::measure::Window| {
        json!({
            "earliest": window.earliest.map(absolute), "from": absolute(window.from),
            "lastBad": absolute(window.last_bad), "to": window.to.map(absolute),
        })
    };
    windows(&series).into_iter().map(window).collect()
}

/// An outcome in one word: its own, or why it was bad.
fn word(outcome: Outcome) -> Result<Value, serde_json::Error> {
    match outcome {
        Outcome::Bad { class, .. } => serde_json::to_value(class),
        other => serde_json::to_value(other),
    }
}
