//! The report is held to the truth: what the lab's own records say of an outage that was made, whoever measured it.
//!
//! A request is planned somewhere within its slot, so that the first failure is seen in the slot in which it began or in the next one,
//! and so is the end: an edge is known to one slot, and so is a length that is counted in slots. Beyond that only two things are granted:
//! what a request takes, as one that was on its way when its server died failed as well, and the milliseconds in which the lab's clock moves and the
//! oracle looks.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::lab::oracle::{GRAIN, Truth};
use crate::lab::{Lab, Shape};
use crate::plan::{self, Options, Source};
use crate::probe::StreamKind;
use crate::record::{Injection, Micros, Outage, volatile};
use crate::report::Report;
use crate::run::{self, Request};
use crate::scalar::EngineKind;
use crate::spec;

/// What is granted beside the slots, in microseconds: what a request takes at most (a connection and its answer), the grain of the lab's
/// clock, at which a request meets what there is, and how often the oracle looks.
const BLUR: Micros = 700 + 1_000 + 1_000;
/// Both streams that a paired probe has.
const STREAMS: [StreamKind; 2] = [StreamKind::Fresh, StreamKind::KeptAlive];

/// A Deployment `web` behind its Service, which is asked by its address so that no DNS has a part in it, and a pod that nobody asks.
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
spec: {{clusterIP: 10.96.77.77, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
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
    /// Whether the client's kernel remembers where connections were led: then requests fail that the Service would have answered.
    tracks: bool,
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
        Self { manifest, rate, kill, during: "25s", tracks: false, seed }
    }

    fn experiment(&self) -> spec::Experiment {
        let text = format!(
            "apiVersion: squall.dev/v1alpha1
kind: Experiment
metadata: {{name: oracle}}
spec:
  probes: [{{name: web, rate: {}/s, timeout: 500ms, http: {{url: \"http://10.96.77.77/\", connection: paired}}}}]
  steadyState: [{{probe: web, tolerance: \"success >= 99.99%\", when: [during]}}]
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
        LocalSet::new().run_until(Box::pin(self.rehearse(meanwhile))).await
    }

    async fn rehearse<F: Future<Output = ()>>(&self, meanwhile: impl FnOnce(Rc<Lab>) -> F) -> Told {
        let wall = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let shape = Shape { nodes: 3, zones: 3, seed: self.seed, wall, name: "lab".to_owned(), aws: None };
        let lab = Rc::new(Lab::new(&shape));
        if !self.tracks {
            lab.assume("connection-tracking=0s".parse().unwrap());
        }
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
            disk: volatile(),
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
        assert_eq!(report.phases.len(), 3, "{:?}: {}", report.verdict, report.reason);
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
        for stream in STREAMS {
            self.outage_is(stream, from, to);
            self.numbers_are(stream, from, to);
        }
        (from, to)
    }

    /// The outage of a stream has the edges that it has, each to one slot, and the bounds that the report gives it hold the truth.
    fn outage_is(&self, stream: StreamKind, from: Micros, to: Micros) {
        let outage = self.outage(stream);
        let (began, ended, earliest) = (outage.from, outage.to.unwrap(), outage.earliest.unwrap());
        let (first, last) = (self.slot_of(began), self.slot_of(ended));
        let begins = self.slot_of(from - BLUR)..=self.slot_of(from) + 1;
        assert!(begins.contains(&first), "{stream}: began at {began} µs, and at {from} µs in truth");
        let ends = self.slot_of(to - BLUR)..=self.slot_of(to + BLUR) + 1;
        assert!(ends.contains(&last), "{stream}: ended at {ended} µs, and at {to} µs in truth");
        let (length, truth) = (self.report.outage_length(outage), to - from);
        assert_eq!(length, ended - began, "{stream}: nothing was unseen");
        near(length, truth, 2 * micros(self.slot) + BLUR, "the outage, with one slot at each edge");
        let bounds = outage.last_bad - began - BLUR..=ended - earliest + BLUR;
        assert!(bounds.contains(&truth), "{stream}: the bounds are {bounds:?}, and {truth} is true");
        assert_eq!(outage.good, 0, "{stream}: none was good meanwhile");
    }

    /// What is counted of a stream: each slot of the outage failed, and no other.
    fn numbers_are(&self, stream: StreamKind, from: Micros, to: Micros) {
        let slot = micros(self.slot);
        let (good, bad) = self.requests(stream);
        assert_eq!(bad, self.outage(stream).bad, "{stream}: every bad request lies in the outage");
        let truth = self.slot_of(to) - self.slot_of(from);
        near(Micros::try_from(bad).unwrap(), truth, 1 + BLUR / slot + 1, "failed requests");
        let all = self.report.availability.iter().find(|a| a.stream == stream && a.phase.is_none()).unwrap();
        near(all.downtime_us, to - from, 2 * slot + BLUR, "downtime");
        let lasted = self.report.phases[2].to - self.report.phases[0].from;
        near(Micros::try_from(good + bad).unwrap(), lasted / slot, 1, "all that was judged");
    }

    /// The slot in which an instant lies.
    fn slot_of(&self, at: Micros) -> Micros {
        (at - self.report.phases[0].from).div_euclid(micros(self.slot))
    }

    /// Judged requests of a stream, good and bad.
    fn requests(&self, stream: StreamKind) -> (u64, u64) {
        let of = self.report.summaries.iter().filter(|summary| summary.stream == stream);
        of.fold((0, 0), |(good, bad), summary| (good + summary.good, bad + summary.bad))
    }

    /// Holds the times after the injection to those of the Service's own harm.
    fn times_are_those_of(&self, (from, to): (Micros, Micros)) {
        let impact = &self.report.impacts[0];
        // Each is an instant at which a request was planned: it lies in the slot in which it happened, or in the one beside it.
        let within = 2 * micros(self.slot) + BLUR;
        near(impact.to_impact_us.unwrap(), from - impact.injected, within, "impact");
        near(impact.to_mitigation_us.unwrap(), to - impact.injected, within, "mitigation");
        near(impact.to_recovery_us.unwrap(), to - impact.injected, within, "recovery");
    }

    /// Pods that the report says were hit.
    fn hit(&self) -> usize {
        let hit = |outcome| outcome == Injection::Injected;
        self.report.targets().filter(|(_, t)| t.injection.as_ref().is_some_and(|i| hit(i.outcome))).count()
    }
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
        near(to - from, 12_000_000, 2 * micros(GRAIN), "what was made");
        told.times_are_those_of((from, to));
        for stream in STREAMS {
            let all = told.report.availability.iter().find(|a| a.stream == stream && a.phase.is_none()).unwrap();
            near(all.downtime_us, 12_000_000, micros(told.slot) + BLUR, "12.0 s, to one slot");
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
async fn what_a_clients_kernel_remembers_is_told_apart_from_what_the_service_did() {
    let mut case = Case::new(manifest(1, "lab.squall.dev/starts-in: 4s"), 1_000, ONLY, 0);
    case.tracks = true;
    let told = case.told(nothing).await;
    let (_, to) = told.truth.harm().unwrap();
    let healed = told.at(to.unwrap()) + 2 * micros(told.slot) + BLUR;
    let after: Vec<_> = told.report.outages.iter().filter(|outage| outage.from > healed).collect();
    assert!(!after.is_empty(), "the ports come round within the run: {:?}", told.report.outages);
    for outage in after {
        assert_eq!(outage.classes.keys().collect::<Vec<_>>(), ["connect-timeout-same-port"], "{outage:?}");
        assert!(outage.cause.as_deref().is_some_and(|cause| cause.contains("connection tracking")), "{outage:?}");
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
        let slack = 2 * micros(told.slot) + BLUR;
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
        near(truth, 1_200_000, 2 * micros(GRAIN), "what was made");
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
