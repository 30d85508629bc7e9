//! How a synthetic run is written: what happened, in any order, with the seconds of its probes made up from a seeded generator.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "made-up latencies: what a cast loses nobody measured"
)]

use std::collections::BTreeMap;

use serde_json::json;

use super::numbers::{pod, reach};
use crate::probe::{Step, StreamKind};
use crate::record::{
    Change, ClusterId, Event, FORMAT, Injection, Interval, Judgement, Micros, Outage, Phase, RunVerdict, StepTime,
    Summary, Target, Verdict, What,
};
use crate::scalar::EngineKind;

pub(super) const SECOND: Micros = 1_000_000;

/// A seeded generator that is good enough for the shape of a latency curve.
pub(super) struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX)
    }

    /// Roughly log-normal around `median`, in microseconds, with a rare slow one.
    fn latency(&mut self, median: f64) -> u64 {
        let normal: f64 = (0..6).map(|_| self.next()).sum::<f64>() - 3.0;
        let slow = if self.next() < 0.004 { 4.0 + 6.0 * self.next() } else { 1.0 };
        (median * (normal * 0.45).exp() * slow) as u64
    }
}

/// A window in which some share of a stream's requests fails.
pub(super) struct Trouble {
    pub(super) stream: StreamKind,
    pub(super) from: Micros,
    pub(super) to: Micros,
    pub(super) share: f64,
    pub(super) class: &'static str,
}

/// A run under construction: what happened, in any order.
pub(super) struct Script {
    noise: Noise,
    pub(super) what: Vec<(Micros, What)>,
    pub(super) phases: Vec<(Phase, Micros)>,
    pub(super) end: Micros,
    pub(super) rate: u64,
    pub(super) trouble: Vec<Trouble>,
}

impl Script {
    pub(super) fn new(run: &str, experiment: &str) -> Self {
        let mut script = Self {
            noise: Noise(7),
            what: Vec::new(),
            phases: vec![(Phase::Before, 0), (Phase::During, 20 * SECOND), (Phase::After, 60 * SECOND)],
            end: 80 * SECOND,
            rate: 200,
            trouble: Vec::new(),
        };
        script.add(
            -500_000,
            What::RunStarted {
                format: FORMAT,
                version: "0.1.0".to_owned(),
                run: run.to_owned(),
                experiment: experiment.to_owned(),
                source: format!("experiments/{experiment}.yaml"),
                seed: 20_261_121,
                cluster: ClusterId {
                    aws: None,
                    context: "kind-squall".to_owned(),
                    server: "https://127.0.0.1:6443".to_owned(),
                    uid: "7d1f2c1e-52f4-4d59-9d43-0a5f4f6f1a11".to_owned(),
                    version: "v1.34.1".to_owned(),
                },
                engine: EngineKind::Native,
            },
        );
        script
    }

    pub(super) fn add(&mut self, at: Micros, what: What) {
        self.what.push((at, what));
    }

    pub(super) fn plan(
        &mut self,
        steps: &serde_json::Value,
        samples: &serde_json::Value,
        refusals: &serde_json::Value,
    ) {
        let plan = json!({
            "version": 1, "steps": steps, "samples": samples, "refusals": refusals,
            "document": {"spec": {
                "probes": [{"name": "web", "rate": format!("{}/s", self.rate), "timeout": "500ms", "http": {"url": "http://web.shop.svc/healthz"}}],
                "steadyState": [
                    {"probe": "web", "tolerance": "success >= 99.9%"},
                    {"probe": "web", "tolerance": "p99 <= 100ms"},
                    {"probe": "web", "tolerance": "outage <= 1s"},
                    {"object": "deployment/web", "namespace": "shop", "tolerance": "status.availableReplicas >= 2"},
                ],
            }},
        });
        self.add(-400_000, What::Planned { plan });
    }

    /// The seconds and summaries of a probe's two streams, as the troubles make them.
    pub(super) fn probe(&mut self, probe: &str, median: f64) {
        for stream in [StreamKind::Fresh, StreamKind::KeptAlive] {
            let scale = if stream == StreamKind::Fresh { 1.6 } else { 1.0 };
            self.stream(probe, stream, median * scale);
        }
    }

    fn stream(&mut self, probe: &str, stream: StreamKind, median: f64) {
        let bounds: Vec<_> = self.phases.clone();
        for (i, (phase, from)) in bounds.iter().enumerate() {
            let to = bounds.get(i + 1).map_or(self.end, |(_, next)| *next).min(self.end);
            let mut all = Vec::new();
            let mut classes: BTreeMap<String, u64> = BTreeMap::new();
            let mut at = *from;
            while at < to {
                let second = self.second(probe, stream, at, median, &mut all);
                for (class, n) in &second.bad {
                    *classes.entry(class.clone()).or_default() += n;
                }
                self.add(at + SECOND + 20_000, What::Interval(second));
                at += SECOND;
            }
            let bad: u64 = classes.values().sum();
            let good = all.len() as u64;
            self.add(self.end + 100_000, What::Summary(summary(probe, stream, *phase, good, bad, classes, all)));
        }
    }

    fn second(&mut self, probe: &str, stream: StreamKind, from: Micros, median: f64, all: &mut Vec<u64>) -> Interval {
        let mut bad: BTreeMap<String, u64> = BTreeMap::new();
        let mut good = Vec::new();
        for slot in 0..self.rate {
            let planned = from + Micros::try_from(slot * 1_000_000 / self.rate).unwrap();
            let roll = self.noise.next();
            let hit =
                self.trouble.iter().find(|t| t.stream == stream && (t.from..t.to).contains(&planned) && roll < t.share);
            if let Some(t) = hit {
                *bad.entry(t.class.to_owned()).or_default() += 1;
            } else {
                let near =
                    self.trouble.iter().any(|t| t.stream == stream && (t.from..t.to + 2 * SECOND).contains(&planned));
                good.push(self.noise.latency(if near { median * 2.5 } else { median }));
            }
        }
        good.sort_unstable();
        let quantile = |q: f64| {
            good.get(((good.len() as f64 * q) as usize).min(good.len().saturating_sub(1))).copied().unwrap_or(0)
        };
        let second = Interval {
            probe: probe.to_owned(),
            stream,
            from,
            to: from + SECOND,
            planned: self.rate,
            good: good.len() as u64,
            bad,
            unknown: 0,
            client_late: 0,
            capped: 0,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            max_us: good.last().copied().unwrap_or(0),
            late_max_us: 180,
        };
        all.extend(good);
        second
    }

    pub(super) fn judged(
        &mut self,
        index: usize,
        stream: Option<StreamKind>,
        tolerance: &str,
        phase: Option<Phase>,
        verdict: Verdict,
        measured: &str,
    ) {
        let object = tolerance.starts_with("status.");
        let ratio = measured.strip_suffix(" %").and_then(|m| m.parse::<f64>().ok()).map(|m| m / 100.0);
        self.add(
            self.end + 200_000,
            What::Judged(Judgement {
                index,
                subject: if object { "deployment/web".to_owned() } else { "probe web".to_owned() },
                stream,
                tolerance: tolerance.to_owned(),
                phase,
                verdict,
                measured: measured.to_owned(),
                value: ratio,
                interval: ratio.filter(|_| !object).map(|r| (tidy(r - 0.0015), tidy((r + 0.0005).min(1.0)))),
                samples: if object { 9 } else { 4_000 },
                reason: match verdict {
                    Verdict::Unproven => "4 samples can't show a quantile of 0.99".to_owned(),
                    _ => String::new(),
                },
            }),
        );
    }

    pub(super) fn phases(&mut self) {
        for (phase, from) in self.phases.clone() {
            if from < self.end {
                self.add(from, What::PhaseStarted { phase, from });
            }
        }
        self.add(self.end, What::ProbesStopped { at: self.end });
    }

    pub(super) fn object(
        &mut self,
        at: Micros,
        change: Change,
        kind: &str,
        name: &str,
        detail: &str,
        state: &[(&str, &str)],
    ) {
        self.add(
            at,
            What::Object {
                change,
                kind: kind.to_owned(),
                namespace: if kind == "node" { String::new() } else { "shop".to_owned() },
                name: name.to_owned(),
                detail: detail.to_owned(),
                state: state.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            },
        );
    }

    /// `step` kills `web-7c9f-abcde` at the start of *during*, and the Deployment replaces it.
    pub(super) fn killed_pod(&mut self, at: Micros) {
        let old = pod("web-7c9f-abcde");
        self.replaced_pod(at, &old);
        self.add(at + 1_000, What::Prepared { step: "kill-one".to_owned(), target: old.clone() });
        self.add(
            at + 14_000,
            What::Injected {
                step: "kill-one".to_owned(),
                fault: "podKill".to_owned(),
                target: old.clone(),
                outcome: Injection::Injected,
                sent: at + 2_000,
                answered: at + 14_000,
                detail: "deletion accepted".to_owned(),
                expected: true,
            },
        );
        self.add(
            at + 2_310_000,
            What::Effect {
                step: "kill-one".to_owned(),
                target: old.clone(),
                seen: true,
                detail: "gone from the API".to_owned(),
            },
        );
        self.add(
            at + 6_400_000,
            What::Healed {
                step: "kill-one".to_owned(),
                target: old,
                healed: true,
                detail: "deployment/web has 3 of 3 replicas ready".to_owned(),
            },
        );
    }

    /// What the watch tells of it.
    fn replaced_pod(&mut self, at: Micros, old: &Target) {
        self.object(-300_000, Change::Seen, "pod", &old.name, "ready", &[("ready", "true"), ("node", "worker-1")]);
        self.object(
            -300_000,
            Change::Seen,
            "pod",
            "web-7c9f-fghij",
            "ready",
            &[("ready", "true"), ("node", "worker-2")],
        );
        self.object(-300_000, Change::Seen, "endpoint", &old.name, "ready true", &[("ready", "true")]);
        self.object(-300_000, Change::Seen, "node", "worker-1", "Ready", &[("ready", "true")]);
        self.object(
            at + 16_000,
            Change::Changed,
            "pod",
            &old.name,
            "terminating false → true",
            &[("ready", "true"), ("terminating", "true")],
        );
        self.object(
            at + 90_000,
            Change::Changed,
            "endpoint",
            &old.name,
            "ready true → false, terminating false → true",
            &[("ready", "false"), ("terminating", "true"), ("address", "10.244.1.7"), ("service", "web")],
        );
        self.object(
            at + 400_000,
            Change::Added,
            "pod",
            "web-7c9f-klmno",
            "node worker-1, phase Pending, ready false, restarts 0, terminating false, uid uid-of-web-7c9f-klmno",
            &[("ready", "false"), ("terminating", "false"), ("node", "worker-1")],
        );
        self.object(
            at + 900_000,
            Change::Changed,
            "pod",
            &old.name,
            "ready true → false",
            &[("ready", "false"), ("terminating", "true")],
        );
        self.object(
            at + 1_100_000,
            Change::Added,
            "event",
            "web-7c9f-abcde.188a",
            "count 1, message Stopping container web, object pod/web-7c9f-abcde, reason Killing, type Normal",
            &[("object", "pod/web-7c9f-abcde"), ("reason", "Killing"), ("message", "Stopping container web")],
        );
        self.object(at + 2_200_000, Change::Deleted, "endpoint", &old.name, "deleted", &[("ready", "false")]);
        self.object(at + 2_300_000, Change::Deleted, "pod", &old.name, "deleted", &[("ready", "false")]);
        self.object(
            at + 6_200_000,
            Change::Changed,
            "pod",
            "web-7c9f-klmno",
            "ready false → true",
            &[("ready", "true"), ("node", "worker-1")],
        );
        self.object(
            at + 6_350_000,
            Change::Added,
            "endpoint",
            "web-7c9f-klmno",
            "address 10.244.1.9, ready true, service web, serving true, terminating false",
            &[("ready", "true"), ("terminating", "false")],
        );
    }

    pub(super) fn outage(
        &mut self,
        stream: StreamKind,
        from: Micros,
        to: Option<Micros>,
        class: &str,
        bad: u64,
        cause: Option<&str>,
    ) {
        let last_bad = to.map_or(self.end, |to| to - 5_000);
        self.add(
            to.unwrap_or(self.end) + 30_000,
            What::Outage(Outage {
                probe: "web".to_owned(),
                stream,
                from,
                to,
                earliest: Some(from - 5_000),
                last_bad,
                bad,
                good: 3,
                unseen: 0,
                classes: BTreeMap::from([(class.to_owned(), bad)]),
                cause: cause.map(str::to_owned),
            }),
        );
    }

    pub(super) fn finished(&mut self, verdict: RunVerdict, exit_code: u8, reason: &str, left: &[&str]) {
        self.add(
            self.end + 400_000,
            What::RunFinished {
                verdict,
                exit_code,
                reason: reason.to_owned(),
                left: left.iter().map(|l| (*l).to_owned()).collect(),
            },
        );
    }

    pub(super) fn events(mut self) -> Vec<Event> {
        self.what.sort_by_key(|(at, _)| *at);
        let zero: jiff::Timestamp = "2026-11-21T02:00:00Z".parse().unwrap();
        let event = |(seq, (at, what)): (usize, (Micros, What))| Event {
            seq: seq as u64,
            at,
            wall: zero.checked_add(jiff::SignedDuration::from_micros(at)).unwrap(),
            what,
        };
        self.what.into_iter().enumerate().map(event).collect()
    }
}

/// Four digits, which JSON gives back as they are.
fn tidy(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// A look-up and a connection take a tenth each, where there are any.
fn steps(stream: StreamKind, all: &[u64]) -> Vec<StepTime> {
    let (Some(p50), Some(max)) = (all.get(all.len() / 2), all.last()) else { return Vec::new() };
    let step = |step, tenths: u64| StepTime {
        step,
        requests: all.len() as u64,
        p50_us: p50 * tenths / 10,
        p99_us: max * tenths / 20,
        max_us: max * tenths / 10,
    };
    match stream {
        StreamKind::Fresh => vec![step(Step::Dns, 1), step(Step::Connect, 1), step(Step::Response, 8)],
        _ => vec![step(Step::Response, 10)],
    }
}

fn summary(
    probe: &str,
    stream: StreamKind,
    phase: Phase,
    good: u64,
    bad: u64,
    classes: BTreeMap<String, u64>,
    mut all: Vec<u64>,
) -> Summary {
    all.sort_unstable();
    let quantiles = |scale: f64| -> BTreeMap<String, u64> {
        if all.is_empty() {
            return BTreeMap::new();
        }
        [("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
            .into_iter()
            .map(|(name, q)| {
                let at = ((all.len() as f64 * q) as usize).min(all.len() - 1);
                (name.to_owned(), (all[at] as f64 * scale) as u64)
            })
            .collect()
    };
    let mut buckets: BTreeMap<u64, u64> = BTreeMap::new();
    for us in &all {
        // Three significant bits per octave, like the real histogram's coarse cousin.
        let step = 1 << us.max(&16).ilog2().saturating_sub(3);
        *buckets.entry(us / step * step + step - 1).or_default() += 1;
    }
    let bad_us = if bad > 0 {
        BTreeMap::from([("p50".to_owned(), 1_100), ("max".to_owned(), 500_000)])
    } else {
        BTreeMap::new()
    };
    Summary {
        probe: probe.to_owned(),
        stream,
        phase,
        planned: good + bad,
        good,
        bad,
        reach: reach(&classes),
        classes,
        unknown: 0,
        client_late: 0,
        capped: 0,
        good_us: quantiles(1.0),
        service_us: quantiles(0.97),
        bad_us,
        late_us: BTreeMap::from([("p50".to_owned(), 40), ("p99".to_owned(), 180), ("max".to_owned(), 900)]),
        steps: steps(stream, &all),
        late_histogram: Vec::new(),
        histogram: buckets.into_iter().collect(),
    }
}
