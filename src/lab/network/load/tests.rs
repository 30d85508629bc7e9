//! Lines held against the formulas of queueing theory.

use super::*;

const SERVICE: Duration = Duration::from_millis(10);

fn line(workers: usize, queue: Option<usize>, spread: Spread, seed: u64) -> Line {
    let capacity = Capacity { workers: Some(workers), queue, full: Full::Status, spread };
    Line::new(capacity, SERVICE, NOWHERE, Instant::now(), seed)
}

/// Requests at random moments, so many per second: the mean of their waits in seconds, the share that was turned away, and how long workers
/// were busy as a share of all time.
fn run(line: &mut Line, rate: f64, requests: u32) -> (f64, f64, f64) {
    let (mut at, mut waits, mut turned) = (0.0, 0.0, 0_u32);
    for _ in 0..requests {
        at += line.exponential(1.0 / rate);
        match line.take(at) {
            Some((wait, _)) => waits += wait,
            None => turned += 1,
        }
    }
    line.now = at;
    let share = line.busy() / at / number(line.free.len());
    (waits / f64::from(requests - turned), f64::from(turned) / f64::from(requests), share)
}

#[track_caller]
fn assert_within(measured: f64, expected: f64, percent: f64, what: &str) {
    let off = (measured / expected - 1.0) * 100.0;
    assert!(off.abs() <= percent, "{what}: {measured}, not {expected}: {off:.1} % off");
}

/// The mean wait of M/M/c by Erlang's formula, in seconds.
fn erlang(workers: u32, load: f64, service: f64) -> f64 {
    let offered = load * f64::from(workers);
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..workers {
        term *= offered / f64::from(k);
        sum += term;
    }
    let last = term * offered / f64::from(workers) / (1.0 - load);
    let waits = last / (sum + last);
    waits * service / (f64::from(workers) * (1.0 - load))
}

#[tokio::test(start_paused = true)]
async fn waits_are_those_of_m_m_c() {
    let service = SERVICE.as_secs_f64();
    assert_within(erlang(1, 0.5, service), service, 0.001, "M/M/1 at a half waits as long as it serves");
    for (workers, load) in [(1, 0.5), (1, 0.8), (4, 0.8), (16, 0.9)] {
        let mut line = line(workers as usize, None, Spread::Exponential, 7);
        let (wait, turned, busy) = run(&mut line, load * f64::from(workers) / service, 1_000_000);
        let what = format!("M/M/{workers} at {load}");
        assert_within(wait, erlang(workers, load, service), 5.0, &what);
        assert_within(busy, load, 1.0, &what);
        assert!(turned.abs() < f64::EPSILON);
    }
}

#[tokio::test(start_paused = true)]
async fn waits_are_those_of_m_g_1() {
    let service = SERVICE.as_secs_f64();
    for load in [0.5, 0.8] {
        for (spread, squared) in [(Spread::Constant, 0.0), (Spread::Exponential, 1.0), (Spread::Lognormal(0.5), 0.284)]
        {
            let mut line = line(1, None, spread, 11);
            let (wait, _, _) = run(&mut line, load / service, 1_000_000);
            // Pollaczek and Khinchine; `squared` is the squared coefficient of variation, e^(σ²) − 1 of the lognormal.
            let expected = load * service * (1.0 + squared) / (2.0 * (1.0 - load));
            assert_within(wait, expected, 5.0, &format!("{spread:?} at {load}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_bounded_queue_turns_away_what_m_m_1_k_says() {
    for (load, room) in [(0.8_f64, 4_usize), (1.5, 9)] {
        let mut line = line(1, Some(room), Spread::Exponential, 3);
        let (_, turned, _) = run(&mut line, load / SERVICE.as_secs_f64(), 500_000);
        let places = i32::try_from(room).unwrap() + 1;
        let expected = (1.0 - load) * load.powi(places) / (1.0 - load.powi(places + 1));
        assert_within(turned, expected, 3.0, "turned away");
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_looked_at_is_served_as_if_somebody_had() {
    // At rest: the wait after an hour is that of the steady state, whether it was looked at each second or not at all.
    let (mut patient, mut sum) = (line(2, None, Spread::Exponential, 5), 0.0);
    patient.set_rate(0.0, 160.0);
    for hour in 1..=300 {
        let at = f64::from(hour) * 3600.0;
        patient.advance(at);
        sum += patient.free.iter().fold(f64::INFINITY, |least, free| least.min((free - at).max(0.0)));
    }
    assert_within(sum / 300.0, erlang(2, 0.8, 0.01), 20.0, "seen once an hour");
    assert_within(patient.busy() / patient.now / 2.0, 0.8, 1.0, "busy");
    // Overwhelmed: what is too much waits, or is turned away once there is no room.
    let mut flooded = line(2, None, Spread::Constant, 5);
    flooded.set_rate(0.0, 300.0);
    flooded.advance(1000.0);
    assert_within(flooded.left(1000.0), 1000.0, 3.0, "100 too many a second, of 10 ms each, for 1000 s");
    assert_within(flooded.busy(), 2000.0, 0.1, "busy all the time");
    let mut bounded = line(2, Some(50), Spread::Constant, 5);
    bounded.set_rate(0.0, 300.0);
    bounded.advance(1000.0);
    assert!((50..=51).contains(&(bounded.begins.len() + 1)), "{}", bounded.begins.len());
    assert_within(bounded.left(1000.0), 0.52, 5.0, "a full queue");
}

#[test]
fn a_load_that_can_t_be_read_is_named() {
    let service = |value: &str| -> Service {
        let metadata = serde_json::json!({"name": "web", "annotations": {"lab.squall.dev/load": value}});
        serde_json::from_value(serde_json::json!({"metadata": metadata})).unwrap()
    };
    assert_eq!(load_of(&service("900/s")), Ok(Some(900.0)));
    assert_eq!(load_of(&service("60/m")), Ok(Some(1.0)));
    assert_eq!(load_of(&Service::default()), Ok(None));
    let why = load_of(&service("much")).unwrap_err();
    assert!(why.starts_with("annotation lab.squall.dev/load: "), "{why}");
}
