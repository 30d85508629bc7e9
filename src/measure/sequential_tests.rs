//! The stated rate of false alarms, and what it costs in delay, by simulation. Good blocks in a row are skipped at once, so that
//! 10,000 hours cost as much as their failures.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Seconds in 10,000 hours.
const HOURS: f64 = 10_000.0 * 3_600.0;
/// The allowed share of bad requests.
const P: f64 = 0.01;
/// Blocks of a second in 100 hours: a hundred false alarms in 10,000 hours at most.
const EVERY: f64 = 100.0 * 3_600.0;

/// Blocks without a failure before the next one with: geometric.
fn quiet(rng: &mut ChaCha8Rng, failing: f64) -> u32 {
    let blocks = (1.0 - rng.random::<f64>()).ln() / (1.0 - failing).ln();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as it should")]
    let blocks = blocks as u32;
    blocks
}

/// Counts the alarms of a detector that is started over after each.
fn alarms(detector: &mut Detector, quiet: u32, bad: f64) -> u32 {
    detector.skip(quiet);
    let alarmed = detector.observe(bad);
    if alarmed {
        detector.restart();
    }
    u32::from(alarmed)
}

#[test]
fn skipping_is_observing_nothing_bad() {
    let (mut slow, mut fast) = (Detector::new(P, EVERY), Detector::new(P, EVERY));
    for (quiet, bad) in [(0, 0.4), (3, 1.0), (500, 0.02), (7, 0.3)] {
        for _ in 0..quiet {
            slow.observe(0.0);
        }
        fast.skip(quiet);
        slow.observe(bad);
        fast.observe(bad);
        assert!((slow.evidence() / fast.evidence() - 1.0).abs() < 1e-9, "{} {}", slow.evidence(), fast.evidence());
    }
}

#[test]
fn independent_failures_at_the_bound_keep_the_rate_of_false_alarms() {
    // Ten requests a second; a block that is not without failure has one to ten.
    let mut rng = ChaCha8Rng::seed_from_u64(41);
    let none = (1.0 - P).powi(10);
    let mut found = 0;
    for _ in 0..2 {
        let mut detector = Detector::new(P, EVERY);
        let mut blocks = 0.0;
        while blocks < HOURS / 2.0 {
            let quiet = quiet(&mut rng, 1.0 - none);
            let bad = loop {
                let bad = (0..10).filter(|_| rng.random::<f64>() < P).count();
                if bad > 0 {
                    break bad;
                }
            };
            found += alarms(&mut detector, quiet, float(bad as u64) / 10.0);
            blocks += f64::from(quiet) + 1.0;
        }
    }
    assert!((1..=100).contains(&found), "{found}");
}

#[test]
fn bursts_at_the_bound_keep_the_rate_of_false_alarms() {
    // Every request fails for a second, from any instant on; between bursts nothing fails. Even and odd seconds take turns.
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let mut detectors = [Detector::new(P, EVERY), Detector::new(P, EVERY)];
    let mut last = [0_u64, 0];
    let (mut at, mut found) = (0.0, 0);
    while at < HOURS {
        at += 1.0 - (1.0 - rng.random::<f64>()).ln() * (1.0 - P) / P;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of the simulation")]
        let second = at as u64;
        let later = at - at.floor();
        for (second, bad) in [(second, 1.0 - later), (second + 1, later)] {
            let turn = usize::from(second % 2 == 1);
            let quiet = (second / 2).saturating_sub(last[turn]).saturating_sub(1);
            last[turn] = second / 2;
            found += alarms(&mut detectors[turn], u32::try_from(quiet).unwrap(), bad);
        }
    }
    assert!((1..=100).contains(&found), "{found}");
}

/// Page's CUSUM of the likelihood ratio, which knows how bad it will be: the least delay that any rule can have that alarms as
/// seldom (Moustakides, Annals of Statistics 14, 1986).
struct Cusum {
    bad: f64,
    good: f64,
    sum: f64,
}

impl Cusum {
    fn against(p: f64) -> Self {
        Self { bad: (p / P).ln(), good: ((1.0 - p) / (1.0 - P)).ln(), sum: 0.0 }
    }

    fn observe(&mut self, bad: bool) {
        self.sum = self.sum.max(0.0) + if bad { self.bad } else { self.good };
    }

    fn skip(&mut self, requests: u32) {
        self.sum = (self.sum.max(0.0) + f64::from(requests) * self.good).max(0.0);
    }

    /// The mean number of requests until it alarms for nothing.
    fn run_length(p: f64, threshold: f64, rng: &mut ChaCha8Rng) -> f64 {
        const RUNS: u32 = 100;
        let mut requests = 0.0;
        for _ in 0..RUNS {
            let mut cusum = Self::against(p);
            while cusum.sum < threshold {
                let quiet = quiet(rng, P);
                cusum.skip(quiet);
                cusum.observe(true);
                requests += f64::from(quiet) + 1.0;
            }
        }
        requests / f64::from(RUNS)
    }

    /// The lowest threshold with which false alarms are as seldom as `every` requests.
    fn calibrated(p: f64, every: f64, rng: &mut ChaCha8Rng) -> f64 {
        let (mut low, mut high) = (0.0, every.ln() + 2.0);
        for _ in 0..9 {
            let middle = f64::midpoint(low, high);
            if Self::run_length(p, middle, rng) < every { low = middle } else { high = middle }
        }
        high
    }
}

/// Mean number of requests until an alarm, when after 500 good days the share `p` fails.
fn delay(p: f64, rng: &mut ChaCha8Rng, mut start: impl FnMut(&mut ChaCha8Rng) -> Box<dyn FnMut(bool) -> bool>) -> f64 {
    const RUNS: u32 = 400;
    let mut requests = 0.0;
    for _ in 0..RUNS {
        let mut observe = start(rng);
        loop {
            requests += 1.0;
            if observe(rng.random::<f64>() < p) {
                break;
            }
        }
    }
    requests / f64::from(RUNS)
}

#[test]
fn the_delay_is_near_that_of_the_rule_that_knows_how_bad_it_is() {
    const REQUESTS: f64 = 100_000.0;
    const BEFORE: u32 = 500;
    let mut rng = ChaCha8Rng::seed_from_u64(43);
    for p in [0.03, 0.05, 0.1, 0.2, 0.5, 0.9] {
        let threshold = Cusum::calibrated(p, REQUESTS, &mut rng);
        let best = delay(p, &mut rng, |rng| {
            let mut cusum = Cusum::against(p);
            (0..BEFORE).for_each(|_| cusum.observe(rng.random::<f64>() < P));
            Box::new(move |bad| {
                cusum.observe(bad);
                cusum.sum >= threshold
            })
        });
        let ours = delay(p, &mut rng, |rng| {
            let mut detector = Detector::new(P, REQUESTS);
            for _ in 0..BEFORE {
                detector.observe(f64::from(u8::from(rng.random::<f64>() < P)));
            }
            Box::new(move |bad| detector.observe(f64::from(u8::from(bad))))
        });
        assert!(ours <= 1.5 * best, "{p}: {ours} against {best}");
    }
}
