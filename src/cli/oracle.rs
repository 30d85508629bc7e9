//! The report is held to the truth: what the lab's own records say of an outage that was made, whoever measured it.
//!
//! A length is exact to one slot at each edge, and to what a request takes: one that was on its way when its server died failed as well.
//! The oracle looks once a millisecond. Nothing else is granted.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::lab::oracle::{GRAIN, Truth};
use crate::lab::{Lab, Shape};
use crate::plan::{self, Options, Source};
use crate::probe::StreamKind;
use crate::record::{Injection, Micros, Outage};
use crate::report::Report;
use crate::run::{self, Request};
use crate::scalar::EngineKind;
use crate::spec;

/// What a request takes at most: a look-up, a connection, the answer.
const REQUEST: Duration = Duration::from_micros(1_100);
/// Both streams that a paired probe has.
const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];

/// A Deployment `web` behind its Service, and a pod that nobody asks.
fn manifest(replicas: u32, annotations: &str) -> String {
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}, annotations: {{{annotations}}}}}
    spec: {{containers: [{{name: web, image: web, ports: [{{containerPort: 8080}}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: shop}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: other, namespace: shop}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: other}}}}
  template:
    metadata: {{labels: {{app: other}}}}
    spec: {{containers: [{{name: other, image: other}}]}}
"
    )
}

/// What is rehearsed: who is killed, how often the Service is asked, and for how long.
struct Case {
    manifest: String,
    rate: u32,
    kill: &'static str,
    during: &'static str,
    seed: u64,
}

/// One rehearsal: the report, the truth, and the zero of the report's times.
struct Told {
    report: Report,
    truth: Truth,
    zero: Instant,
    slot: Duration,
}

impl Case {
    fn new(manifest: String, rate: u32, kill: &'static str, seed: u64) -> Self {
        Self { manifest, rate, kill, during: "25s", seed }
    }

    fn experiment(&self) -> spec::Experiment {
        let text = format!(
            "apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: oracle}}
spec:
  probes: [{{name: web, rate: {}/s, timeout: 500ms, http: {{url: \"http://web.shop.svc/\", connection: paired}}}}]
  steadyState: [{{probe: web, tolerance: \"success >= 99.99%\"}}]
  method: [{{name: kill, at: 1s, podKill: {{pods: {{namespace: shop, {}}}, gracePeriod: 5s}}}}]
  timing: {{before: 2s, during: {}, after: 6s}}
  limits: {{pods: 3, namespaces: [shop], requestsPerSecond: 5000}}
",
            self.rate, self.kill, self.during
        );
        spec::load("oracle.yaml", text.as_bytes(), &[]).unwrap_or_else(|e| panic!("{e:?}")).experiment
    }

    /// Rehearses it, while `meanwhile` does something to the lab.
    async fn told<F: Future<Output = ()>>(&self, meanwhile: impl FnOnce(Rc<Lab>) -> F) -> Told {
        LocalSet::new().run_until(self.rehearse(meanwhile)).await
    }

    async fn rehearse<F: Future<Output = ()>>(&self, meanwhile: impl FnOnce(Rc<Lab>) -> F) -> Told {
        let wall = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let shape = Shape { nodes: 3, zones: 3, seed: self.seed, wall, name: "lab".to_owned() };
        let lab = Rc::new(Lab::new(&shape));
        lab.apply(&self.manifest).await.unwrap();
        lab.settled().await.unwrap();
        let (experiment, cluster) = (self.experiment(), lab.cluster());
        let options = Options { wall, ..Options::new(self.seed, "squall") };
        let source = Source { name: "oracle".to_owned(), sha256: None };
        let plan = plan::draw(&experiment, &source, &cluster, &options).await.unwrap();
        assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
        let oracle = lab.oracle("shop", "web");
        let reports = tempfile::tempdir().unwrap();
        let (_signals, signals) = tokio::sync::mpsc::unbounded_channel();
        let request = Request {
            experiment,
            plan,
            cluster,
            predicted: None,
            reports: reports.path().to_owned(),
            run: run::run_id(wall, "oracle", self.seed),
            engine: EngineKind::Lab,
            instrument: lab.instrument(),
            guard: None,
            by: "somebody@somewhere".to_owned(),
            wall,
            signals,
            refresh: Box::new(|_, _| Ok(())),
        };
        let zero = Instant::now();
        let run = Box::pin(run::run(request, |_| {}));
        let (ended, ()) = tokio::join!(run, meanwhile(Rc::clone(&lab)));
        let report = Report::from_events(&ended.unwrap().events);
        let slot = Duration::from_secs(1) / self.rate;
        Told { report, truth: oracle.truth(), zero, slot }
    }
}

async fn nothing(_: Rc<Lab>) {}

impl Told {
    /// An instant of the oracle's as the report has them.
    fn at(&self, instant: Instant) -> Micros {
        micros(instant.saturating_duration_since(self.zero))
    }

    /// The one outage of a stream.
    fn outage(&self, stream: StreamKind) -> &Outage {
        let of: Vec<&Outage> = self.report.outages.iter().filter(|outage| outage.stream == stream).collect();
        assert_eq!(of.len(), 1, "{stream}: {of:?}");
        of[0]
    }

    /// Holds everything that the report measured to what was: the Service was down between two instants, and else it was not.
    fn was_down(&self) -> (Micros, Micros) {
        let (from, to) = self.truth.harm().expect("an outage was made");
        let (from, to) = (self.at(from), self.at(to.expect("it ended")));
        let slot = micros(self.slot);
        let (grain, request) = (micros(GRAIN), micros(REQUEST));
        for stream in STREAMS {
            let outage = self.outage(stream);
            let (began, ended) = (outage.from, outage.to.unwrap());
            assert!((from - request - grain..=from + slot).contains(&began), "{stream}: began {began}, and not {from}");
            assert!((to - grain..=to + slot).contains(&ended), "{stream}: ended {ended}, and not {to}");
            let length = self.report.outage_length(outage);
            near(length, to - from, slot + grain + request, "outage");
            let all = self.report.availability.iter().find(|a| a.stream == stream && a.phase.is_none()).unwrap();
            near(all.downtime_us, to - from, slot + grain + request, "downtime");
            let (good, bad) = self.requests(stream);
            assert_eq!(bad, outage.bad, "every bad request lies in the outage");
            let phases = (self.report.phases[0].from, self.report.phases[2].to);
            near(slots(good + bad, slot), phases.1 - phases.0, slot, "all that was judged");
            near(slots(bad, slot), to - from, slot + grain + request, "failed");
        }
        (from, to)
    }

    /// Judged requests of a stream, good and bad.
    fn requests(&self, stream: StreamKind) -> (u64, u64) {
        let of = self.report.summaries.iter().filter(|summary| summary.stream == stream);
        of.fold((0, 0), |(good, bad), summary| (good + summary.good, bad + summary.bad))
    }

    /// Holds the times after the injection to those of the Service's own harm.
    fn times_are_those_of(&self, (from, to): (Micros, Micros)) {
        let impact = &self.report.impacts[0];
        let (slot, grain) = (micros(self.slot), micros(GRAIN) + micros(REQUEST));
        near(impact.to_impact_us.unwrap(), from - impact.injected, slot + grain, "impact");
        near(impact.to_mitigation_us.unwrap(), to - impact.injected, slot + grain, "mitigation");
        near(impact.to_recovery_us.unwrap(), to - impact.injected, slot + grain, "recovery");
    }

    /// Pods that the report says were hit.
    fn hit(&self) -> usize {
        let hit = |outcome| outcome == Injection::Injected;
        self.report.targets().filter(|(_, t)| t.injection.as_ref().is_some_and(|i| hit(i.outcome))).count()
    }
}

/// How long so many slots are.
fn slots(number: u64, slot: Micros) -> Micros {
    Micros::try_from(number).unwrap() * slot
}

fn micros(time: Duration) -> Micros {
    Micros::try_from(time.as_micros()).unwrap()
}

#[track_caller]
fn near(measured: Micros, truth: Micros, within: Micros, what: &str) {
    assert!((measured - truth).abs() <= within, "{what}: {measured} µs, and {truth} µs is true, to {within} µs");
}

/// Who is killed.
const ONLY: &str = "selector: app=web, count: 1";
const OTHER: &str = "selector: app=other, count: 1";
const TWO: &str = "selector: app=web, count: 2";

#[tokio::test(start_paused = true)]
async fn twelve_seconds_are_measured_as_twelve_seconds() {
    for (rate, seed) in [(10, 1), (200, 2), (1_000, 3)] {
        let case = Case::new(manifest(1, ""), rate, OTHER, seed);
        let told = case
            .told(|lab| async move {
                sleep(Duration::from_millis(7_123)).await;
                lab.answer_with("shop", "web", 503);
                sleep(Duration::from_secs(12)).await;
                lab.answer_with("shop", "web", 200);
            })
            .await;
        let (from, to) = told.was_down();
        near(to - from, 12_000_000, micros(GRAIN), "what was made");
        told.times_are_those_of((from, to));
        for stream in STREAMS {
            let length = told.report.outage_length(told.outage(stream));
            near(length, 12_000_000, micros(told.slot), "one slot and no more");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_replica_that_is_killed_is_away_for_as_long_as_its_successor_takes() {
    for (rate, seeds) in [(10, 3), (200, 3), (1_000, 1)] {
        for seed in 0..seeds {
            let case = Case::new(manifest(1, "lab.squall.dev/starts-in: 4s"), rate, ONLY, seed);
            let told = case.told(nothing).await;
            let window = told.was_down();
            told.times_are_those_of(window);
            assert_eq!((told.hit(), told.truth.harmed.len()), (1, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_power_cut_lasts_until_what_ran_there_serves_again() {
    for (rate, seed) in [(10, 1), (200, 2), (1_000, 3)] {
        let mut case = Case::new(manifest(1, ""), rate, OTHER, seed);
        case.during = "30s";
        let told = case
            .told(|lab| async move {
                sleep(Duration::from_millis(6_050)).await;
                for node in ["node1", "node2", "node3"] {
                    lab.cut_power(node);
                }
                sleep(Duration::from_secs(12)).await;
                for node in ["node1", "node2", "node3"] {
                    lab.restore_power(node);
                }
            })
            .await;
        let (from, to) = told.was_down();
        assert!((12_000_000..16_000_000).contains(&(to - from)), "{from} to {to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blast_radius_of_two_pods_is_two_pods_and_their_share_of_the_requests() {
    for seed in 0..4 {
        let case = Case::new(manifest(3, "lab.squall.dev/starts-in: 2s"), 200, TWO, seed);
        let told = case.told(nothing).await;
        assert_eq!((told.hit(), told.truth.harmed.len()), (2, 2), "{:?}", told.truth.harmed);
        let (from, to) = told.truth.harm().unwrap();
        let (from, to) = (told.at(from), told.at(to.unwrap()));
        let slack = micros(told.slot + GRAIN + REQUEST);
        for outage in told.report.outages.iter().filter(|outage| outage.stream == StreamKind::Fresh) {
            assert!(outage.from >= from - slack && outage.last_bad <= to + slack, "{outage:?} beyond {from}..{to}");
        }
        // Each request takes its chance: four times the deviation of that many throws of a coin that falls as the oracle says.
        let end = told.zero + Duration::from_micros(u64::try_from(told.report.phases.last().unwrap().to).unwrap());
        let expected = told.truth.downtime(end).as_secs_f64() * 200.0;
        let (_, bad) = told.requests(StreamKind::Fresh);
        let bad = f64::from(u32::try_from(bad).unwrap());
        assert!((bad - expected).abs() <= 4.0 * expected.sqrt() + 2.0, "{bad} failed, and {expected} should have");
    }
}

#[tokio::test(start_paused = true)]
async fn a_detection_of_one_point_two_seconds_is_measured_as_that() {
    for seed in 0..3 {
        let case = Case::new(manifest(3, "lab.squall.dev/serves-on: 4s"), 200, ONLY, seed);
        let told = case
            .told(|lab| async move {
                lab.notice_after(Duration::from_millis(1_200));
            })
            .await;
        let (_, target) = told.report.targets().next().unwrap();
        let name = &target.target.name;
        let (deleted, out) = (told.truth.deleted[name], told.truth.out_of_service[name]);
        let truth = micros(out - deleted);
        near(truth, 1_200_000, micros(GRAIN), "what was made");
        let impact = &told.report.impacts[0];
        // The report counts from the answer to the call, and sees what the watch brings: an answer of the API server each.
        near(impact.to_detection_us.unwrap(), truth, 10_000, "detection");
        assert_eq!((impact.to_impact_us, told.requests(StreamKind::Fresh).1), (None, 0), "nobody noticed");
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_was_made_nothing_is_measured() {
    for seed in 0..20 {
        let mut case = Case::new(manifest(2, ""), [10, 200][usize::from(seed % 4 == 0)], OTHER, seed);
        case.during = "8s";
        let told = case.told(nothing).await;
        assert!(told.truth.harm().is_none() && told.truth.harmed.is_empty(), "{:?}", told.truth.harmed);
        assert!(told.report.outages.is_empty(), "seed {seed}: {:?}", told.report.outages);
        assert!(told.report.availability.iter().all(|a| a.downtime_us == 0 && a.longest_failure.is_none()));
        let impact = &told.report.impacts[0];
        assert_eq!((impact.to_impact_us, impact.bad, impact.to_recovery_us), (None, 0, Some(0)), "seed {seed}");
    }
}
