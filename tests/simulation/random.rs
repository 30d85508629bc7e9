//! Experiments that nobody wrote: random steps on random workloads, at random times, in random weather.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use squall::lab::Death;

use crate::case::{Case, simulate};
use crate::methods::experiment;
use crate::scenario::Foul;
use crate::{each, none, seeds, steps};

/// Seeds that are tried when nobody says how many.
const SEEDS: u64 = 60;

/// A workload: a Deployment `web` with a Service.
#[derive(Debug, Clone)]
struct Workload {
    replicas: u8,
    /// The disruption budget: `minAvailable`, or `maxUnavailable` where it is negative.
    budget: Option<i8>,
    readiness: Option<u8>,
    starts_in: u8,
    serves_on: u8,
}

/// One step: what it does, and when, in tenths of a second.
#[derive(Debug, Clone)]
struct Step {
    at: u8,
    hold: u8,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Kill {
        count: u8,
        grace: bool,
    },
    Evict {
        count: u8,
    },
    Drain {
        count: u8,
    },
    Scale {
        replicas: u8,
    },
    /// All processes that the runner may suspend, or launching alone, which may be in one zone.
    Suspend {
        all: bool,
        zone: Option<u8>,
    },
    /// So many replicas scaled away, or one killed.
    Dns {
        replicas: Option<u8>,
    },
    Terminate {
        zone: u8,
        power: bool,
    },
    Zone {
        zone: u8,
        power: bool,
    },
}

#[derive(Debug, Clone)]
struct Random {
    workload: Workload,
    steps: Vec<Step>,
    foul: usize,
    weather: u64,
    /// The call that the runner dies in, and whether that is carried out.
    death: Option<(u8, bool)>,
}

prop_compose! {
    fn workload()(
        replicas in 1..6_u8,
        budget in prop::option::of(prop_oneof![0..3_i8, -2..0_i8]),
        readiness in prop::option::of(1..4_u8),
        starts_in in 0..5_u8,
        serves_on in 0..6_u8,
    ) -> Workload {
        Workload { replicas, budget, readiness, starts_in, serves_on }
    }
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        (1..4_u8, any::<bool>()).prop_map(|(count, grace)| What::Kill { count, grace }),
        (1..3_u8).prop_map(|count| What::Evict { count }),
        (1..3_u8).prop_map(|count| What::Drain { count }),
        (0..8_u8).prop_map(|replicas| What::Scale { replicas }),
        (any::<bool>(), prop::option::of(0..3_u8)).prop_map(|(all, zone)| What::Suspend { all, zone }),
        prop::option::of(1..3_u8).prop_map(|replicas| What::Dns { replicas }),
        (0..3_u8, any::<bool>()).prop_map(|(zone, power)| What::Terminate { zone, power }),
        (0..3_u8, any::<bool>()).prop_map(|(zone, power)| What::Zone { zone, power }),
    ]
}

fn random() -> impl Strategy<Value = Random> {
    let step = (0..40_u8, 1..50_u8, what()).prop_map(|(at, hold, what)| Step { at, hold, what });
    let steps = prop::collection::vec(step, 1..4);
    let death = prop::option::weighted(0.7, (1..120_u8, any::<bool>()));
    (workload(), steps, 0..Foul::ALL.len(), any::<u64>(), death)
        .prop_map(|(workload, steps, foul, weather, death)| Random { workload, steps, foul, weather, death })
}

/// A zone of the cluster.
fn named(zone: u8) -> String {
    format!("us-east-1{}", char::from(b'a' + zone))
}

impl Workload {
    fn manifests(&self) -> String {
        let Self { replicas, budget, readiness, starts_in, serves_on } = self;
        let probe = readiness.map_or(String::new(), |period| {
            format!(", readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: {period}}}")
        });
        let budget = budget.map_or(String::new(), |budget| {
            let rule =
                if budget < 0 { format!("maxUnavailable: {}", -budget) } else { format!("minAvailable: {budget}") };
            format!(
                "\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: web, namespace: shop}}\n\
                 spec: {{{rule}, selector: {{matchLabels: {{app: web}}}}}}"
            )
        });
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n---\napiVersion: apps/v1\nkind: Deployment\n\
             metadata: {{name: web, namespace: shop}}\nspec:\n  replicas: {replicas}\n  selector: {{matchLabels: {{app: web}}}}\n  \
             template:\n    metadata:\n      labels: {{app: web}}\n      annotations: {{lab.squall.dev/starts-in: {starts_in}s, \
             lab.squall.dev/serves-on: {serves_on}s}}\n    spec:\n      containers: [{{name: web, image: \"web:1\", ports: \
             [{{containerPort: 8080}}]{probe}}}]\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}{budget}\n"
        )
    }
}

impl Random {
    fn steps(&self) -> String {
        let steps = self.steps.iter().enumerate().map(|(number, Step { at, hold, what })| {
            let (at, hold) = (u32::from(*at) * 100, u32::from(*hold) * 100);
            let head = format!("name: s{number}, at: {at}ms");
            let pods = |count: &u8| format!("pods: {{namespace: shop, selector: app=web, count: {count}}}");
            match what {
                What::Kill { count, grace: true } => format!("{{{head}, podKill: {{{}}}}}", pods(count)),
                What::Kill { count, grace: false } => {
                    format!("{{{head}, podKill: {{{}, gracePeriod: 0s}}}}", pods(count))
                }
                What::Evict { count } => format!("{{{head}, podEvict: {{{}}}}}", pods(count)),
                What::Drain { count } => format!(
                    "{{{head}, for: {hold}ms, nodeDrain: {{nodes: {{selector: kubernetes.io/os=linux, count: {count}}}, \
                     timeout: 30s}}}}"
                ),
                What::Scale { replicas } => format!(
                    "{{{head}, for: {hold}ms, scale: {{workload: deployment/web, namespace: shop, replicas: {replicas}}}}}"
                ),
                What::Suspend { all, zone } => {
                    let what = if *all { "[Launch, Terminate, AZRebalance]" } else { "[Launch]" };
                    let zone = zone.filter(|_| !all).map_or(String::new(), |zone| format!(", zone: {}", named(zone)));
                    format!("{{{head}, for: {hold}ms, asgSuspend: {{groups: {{all: true}}, processes: {what}{zone}}}}}")
                }
                What::Dns { replicas: None } => format!("{{{head}, coreDns: {{mode: kill}}}}"),
                What::Dns { replicas: Some(replicas) } => {
                    format!("{{{head}, for: {hold}ms, coreDns: {{mode: scaleToZero, replicas: {replicas}}}}}")
                }
                What::Terminate { zone, power } => {
                    let mode = if *power { "powerLoss" } else { "scaleIn" };
                    format!("{{{head}, nodeTerminate: {{nodes: {{zone: {}}}, mode: {mode}}}}}", named(*zone))
                }
                What::Zone { zone, power } => {
                    let mode = if *power { "powerLoss" } else { "isolate" };
                    format!("{{{head}, for: {hold}ms, zoneOutage: {{zone: {}, mode: {mode}}}}}", named(*zone))
                }
            }
        });
        steps.collect::<Vec<_>>().join(", ")
    }

    /// Whether anything was done; `Err`: what is left.
    async fn carry_out(&self) -> Result<bool, String> {
        let case = Case::with(self.weather, &self.workload.manifests()).await?;
        // What can't be written, or is refused before anything is touched, is no run.
        let Ok(experiment) = experiment(&self.steps()) else { return Ok(false) };
        let Ok(plan) = case.plan(&experiment, &case.lab.cluster()).await else {
            case.healed().await?;
            return Ok(false);
        };
        let death = self.death.map(|(call, carried_out)| Death { call: call.into(), carried_out });
        let machine = Foul::ALL[self.foul].machine(&mut ChaCha8Rng::seed_from_u64(self.weather), death);
        let (_verdict, watched) = case.carry_out(&experiment, plan, &machine).await;
        steps::check(&watched.deeds())?;
        case.recovered(case.reports.path()).await?;
        Ok(true)
    }
}

/// The smallest case of a seed that fails, with why.
fn fails(seed: u64) -> Result<u32, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let done = std::cell::Cell::new(0);
    let answer = runner.run(&random(), |random| {
        let came = simulate(Box::pin(random.carry_out()));
        done.set(done.get() + u32::from(came == Ok(true)));
        came.map(drop).map_err(TestCaseError::fail)
    });
    answer.map(|()| done.get()).map_err(|e| format!("SQUALL_SEED={seed}: {e}"))
}

#[test]
fn no_random_experiment_leaves_anything_behind() {
    let seeds = seeds(SEEDS);
    let of = seeds.end - seeds.start;
    let came = each(seeds, fails);
    let done = came.iter().filter(|came| matches!(came, Ok(1))).count();
    none(&came.into_iter().filter_map(Result::err).collect::<Vec<_>>());
    eprintln!("{done} of {of} random experiments could be run");
    assert!(of == 1 || done as u64 * 3 > of, "most random experiments are refused: {done} of {of}");
}
