//! The engine on its own thread, against a server that counts.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Class, Engine, Outcome, Plan, ProbeConfig, Sample, Step, StreamKind, StreamSummary, preflight};
use super::outcomes::LONG;
use super::probe;
use super::server::{Act, OK, serve};

/// Runs probes for half a second and returns their samples by stream.
async fn run(probes: &[ProbeConfig]) -> (BTreeMap<(usize, StreamKind), Vec<Sample>>, Vec<StreamSummary>) {
    let zero = Instant::now();
    let mut engine = Engine::start(probes, Plan { zero, offset: Duration::from_millis(50), seed: 1 }).unwrap();
    engine.stop_at(zero + Duration::from_millis(550));
    let mut samples: BTreeMap<_, Vec<Sample>> = BTreeMap::new();
    while let Some(batch) = engine.next().await {
        samples.entry((batch.probe, batch.stream)).or_default().extend(batch.samples);
    }
    (samples, engine.finish().await.unwrap())
}

fn count(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> usize {
    samples.iter().filter(|sample| wanted(sample)).count()
}

#[tokio::test]
async fn the_server_counts_what_the_ledger_counts() {
    let (address, seen) = serve(|_, _| Act::Answer(OK)).await;
    let both = [StreamKind::Fresh, StreamKind::KeptAlive];
    // A tenth of the timeout is two seconds: no hiccup of the machine that runs this test makes a slot late.
    let (samples, summary) = run(&[probe(&format!("http://{address}/"), "200/s", LONG, &both)]).await;
    assert!(summary.iter().all(|s| s.counts.good == s.counts.planned && s.lost == 0), "{summary:?}");
    let [fresh, kept] = both.map(|stream| &samples[&(0, stream)]);
    assert_eq!([fresh.len(), kept.len()], [100, 100]);
    assert_eq!(count(fresh, |sample| sample.reused), 0);
    // A connection that is there is neither looked up nor opened.
    let opening = |sample: &Sample| {
        let before = [Step::Dns, Step::Connect, Step::Tls];
        before.iter().map(|step| sample.steps.duration(*step, sample.service_time())).sum::<u64>()
    };
    assert_eq!(count(kept, |sample| sample.reused && opening(sample) > 0), 0);
    assert_eq!(count(fresh, |sample| opening(sample) == 0), 0);
    let [connections, requests, _] = seen.counts();
    assert_eq!(requests, 200);
    assert_eq!(connections, 100 + count(kept, |sample| !sample.reused));
}

#[tokio::test]
async fn a_request_dropped_on_a_reused_connection_is_reported_and_never_sent_again() {
    // Each connection answers one request and closes on the next one, unanswered.
    let (address, seen) =
        serve(|_, request| if request == 0 { Act::Answer(OK) } else { Act::AnswerAndClose("") }).await;
    let (samples, summary) =
        run(&[probe(&format!("http://{address}/"), "200/s", LONG, &[StreamKind::KeptAlive])]).await;
    let samples = &samples[&(0, StreamKind::KeptAlive)];
    let closed = Outcome::Bad { class: Class::ReusedClosed, status: 0 };
    let [connections, requests, dropped] = seen.counts();
    assert_eq!(requests as u64, summary[0].counts.planned);
    assert_eq!(count(samples, |sample| sample.outcome == closed && sample.reused), dropped);
    assert_eq!(count(samples, |sample| sample.outcome == Outcome::Good && !sample.reused), connections);
    assert_eq!(connections + dropped, requests);
    // Answers over loopback are quicker than slots follow one another, so that connections do get used again.
    assert!(dropped > 0);
}

#[tokio::test]
async fn several_probes_share_the_engine_and_keep_apart() {
    let (address, _) = serve(|_, _| Act::Answer(OK)).await;
    let (other, _) = serve(|_, _| Act::Answer("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")).await;
    let mut slow = probe(&format!("http://{other}/"), "20/s", LONG, &[StreamKind::Fresh]);
    slow.name = "slow".to_owned();
    let (samples, _) = run(&[probe(&format!("http://{address}/"), "100/s", LONG, &[StreamKind::Fresh]), slow]).await;
    assert!(samples[&(0, StreamKind::Fresh)].iter().all(|sample| sample.outcome == Outcome::Good));
    let bad = Outcome::Bad { class: Class::Status, status: 500 };
    let slow = &samples[&(1, StreamKind::Fresh)];
    assert_eq!((slow.len(), count(slow, |sample| sample.outcome == bad)), (10, 10));
}

#[tokio::test]
async fn the_first_request_tells_what_is_wrong_before_the_run() {
    let (address, _) = serve(|_, _| Act::Answer(OK)).await;
    let fresh = &[StreamKind::Fresh];
    preflight(&probe(&format!("http://{address}/"), "1/s", LONG, fresh), StreamKind::Fresh).await.unwrap();

    let (address, _) = serve(|_, _| Act::Answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")).await;
    let error =
        preflight(&probe(&format!("http://{address}/"), "1/s", LONG, fresh), StreamKind::Fresh).await.unwrap_err();
    assert_eq!((error.step, error.class), (Some(Step::Response), Some(Class::Status)));
    assert_eq!(error.to_string(), format!("probe `web`: answered at {address} with an unexpected status: 404"));

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        preflight(&probe(&format!("http://{closed}/"), "1/s", LONG, fresh), StreamKind::Fresh).await.unwrap_err();
    assert_eq!(error.class, Some(Class::ConnectRefused));
    assert!(error.hint.unwrap().starts_with("nothing listens there"));

    let error = preflight(&probe("ftp://127.0.0.1/", "1/s", LONG, fresh), StreamKind::Fresh).await.unwrap_err();
    assert_eq!((error.step, error.class), (None, None));
}
