//! What one seed stands for: what is done, in which weather, when the runner dies, and how it is recovered.

use std::time::Duration;

use jiff::SignedDuration;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use squall::lab::{Death, Expired, Weather};
use squall::spec::Experiment;
use tokio::time::{Instant, sleep};

use crate::case::{Case, Machine, folder, simulate};
use crate::disk::Room;
use crate::methods::{METHODS, experiment};
use crate::steps;

/// What may be the matter while a run goes on, beside its death.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Foul {
    Nothing,
    Refusals,
    Connections,
    Conflicts,
    Slowness,
    Watches,
    ExpiredForAWhile,
    ExpiredForGood,
    FullDisk,
    Clock,
    All,
}

impl Foul {
    pub(crate) const ALL: [Self; 11] = [
        Self::Nothing,
        Self::Refusals,
        Self::Connections,
        Self::Conflicts,
        Self::Slowness,
        Self::Watches,
        Self::ExpiredForAWhile,
        Self::ExpiredForGood,
        Self::FullDisk,
        Self::Clock,
        Self::All,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "a fair day",
            Self::Refusals => "calls refused: 429, 500, 503, 504",
            Self::Connections => "connections that break before or after the call",
            Self::Conflicts => "changes refused for conflicts: 409",
            Self::Slowness => "answers up to 6 s late",
            Self::Watches => "watches that break, end, are too old, or up to 3 s behind",
            Self::ExpiredForAWhile => "a token that expires, and is renewed",
            Self::ExpiredForGood => "a token that expires for good",
            Self::FullDisk => "a disk that fills up",
            Self::Clock => "a wall clock an hour wrong",
            Self::All => "all of that but the token",
        }
    }

    /// A machine that has this.
    pub(crate) fn machine(self, chance: &mut ChaCha8Rng, death: Option<Death>) -> Machine {
        let all = self == Self::All;
        let share = |chance: &mut ChaCha8Rng, has: bool| if has { chance.random_range(0.01..0.12) } else { 0.0 };
        let millis = |chance: &mut ChaCha8Rng, range: std::ops::Range<u64>| {
            let drawn = Duration::from_millis(chance.random_range(range));
            move |has: bool| if has { drawn } else { Duration::ZERO }
        };
        let from = millis(chance, 0..12_000)(true);
        let expired = match self {
            Self::ExpiredForAWhile => Some(Expired { from, until: Some(from + millis(chance, 500..40_000)(true)) }),
            Self::ExpiredForGood => Some(Expired { from, until: None }),
            _ => None,
        };
        let connections = share(chance, all || self == Self::Connections);
        let weather = Weather {
            seed: chance.random(),
            refused: share(chance, all || self == Self::Refusals),
            unsent: connections,
            lost: connections,
            conflicts: share(chance, all || self == Self::Conflicts),
            late: millis(chance, 10..6_000)(self == Self::Slowness) + millis(chance, 1..400)(all),
            watches: millis(chance, 100..5_000)(all || self == Self::Watches),
            behind: millis(chance, 10..3_000)(all || self == Self::Watches),
            expired,
            death,
        };
        let mut machine = Machine::in_weather(weather);
        if all || self == Self::FullDisk {
            machine.disk = Room::of(chance.random_range(0..60_000));
        }
        if all || self == Self::Clock {
            machine.clock = SignedDuration::from_hours(if chance.random() { 1 } else { -1 });
        }
        machine
    }
}

/// How what was left is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// Once, on a fair day.
    Plain,
    /// By somebody who read the log, and again by somebody who had read it too.
    Twice,
    /// By one that dies, and then by another.
    Dying,
    /// By one after another in foul weather.
    Foul,
    /// By two at once.
    Race,
}

const RECOVERIES: [Recovery; 5] = [Recovery::Plain, Recovery::Twice, Recovery::Dying, Recovery::Foul, Recovery::Race];
/// One of so many seeds does what takes long.
const LONG_EACH: usize = 20;
/// Processes that try to recover in foul weather; the last of them on a fair day.
const TRIES: u32 = 6;
/// Between two of them.
const PAUSE: Duration = Duration::from_secs(20);

/// What came of a seed.
pub(crate) struct Outcome {
    pub(crate) method: usize,
    pub(crate) foul: Foul,
    /// The runner died before its end.
    pub(crate) died: bool,
    /// A log was left, which was followed.
    pub(crate) followed: bool,
    /// From the end of the runner until the cluster was as before; `Err`: it did not become so.
    pub(crate) whole: Result<Duration, String>,
}

/// What is the same for every seed.
pub(crate) struct Setting {
    experiments: Vec<Experiment>,
    /// How many calls each makes on a fair day.
    calls: Vec<u64>,
}

impl Setting {
    pub(crate) fn new() -> Self {
        let experiments: Vec<_> = METHODS.iter().map(|method| experiment(method.steps).unwrap()).collect();
        let count = |experiment: &Experiment| {
            simulate(async { Case::new(1).await.run(experiment, &Machine::fair()).await.1.calls() })
        };
        let calls = experiments.iter().map(count).collect();
        Self { experiments, calls }
    }

    /// What a seed comes to. By turns it does each of the methods in each weather; one that takes long comes only now and then.
    pub(crate) fn outcome(&self, seed: u64) -> Outcome {
        let number = usize::try_from(seed).unwrap();
        let (number, long) = if number % LONG_EACH == LONG_EACH - 1 {
            (number / LONG_EACH, true)
        } else {
            (number - number / LONG_EACH, false)
        };
        let methods: Vec<_> = (0..METHODS.len()).filter(|method| METHODS[*method].long == long).collect();
        let foul = Foul::ALL[number / methods.len() % Foul::ALL.len()];
        self.outcome_of(seed, methods[number % methods.len()], foul)
    }

    /// The same with the method and the weather named, on a paused clock of its own.
    pub(crate) fn outcome_of(&self, seed: u64, method: usize, foul: Foul) -> Outcome {
        let mut chance = ChaCha8Rng::seed_from_u64(seed);
        // Nine of ten die; what is left of the others is theirs to take back.
        let call = chance.random_range(1..=self.calls[method]);
        let death = chance.random_bool(0.9).then(|| Death { call, carried_out: chance.random() });
        let machine = foul.machine(&mut chance, death);
        simulate(async {
            let case = Case::new(seed).await;
            let (verdict, watched) = case.run(&self.experiments[method], &machine).await;
            let ended = Instant::now();
            let whole = async {
                steps::check(&watched.deeds())?;
                // By turns from what this machine knows, and from what the cluster does.
                let elsewhere = folder();
                let reports = if chance.random() { case.reports.path() } else { elsewhere.path() };
                let recovery = RECOVERIES[chance.random_range(0..RECOVERIES.len())];
                let taken_back = async {
                    let followed = recovery.carry_out(&case, reports, &mut chance).await?;
                    case.healed().await?;
                    let took = ended.elapsed();
                    match case.recover(&case.lab.cluster(), reports, 99).await? {
                        0 => Ok((took, followed)),
                        again => Err(format!("another recovery finds {again} runs")),
                    }
                };
                let told = |why: String| format!("{verdict:?}, then recovered by {recovery:?}: {why}");
                taken_back.await.map_err(told)
            };
            let whole = whole.await;
            if whole.is_err() {
                for (number, deed) in (1..).zip(watched.deeds()) {
                    eprintln!("seed {seed}: call {number}{}: {}", if deed.arrived { "" } else { " (lost)" }, deed.call);
                }
            }
            let followed = whole.as_ref().is_ok_and(|(_, followed)| *followed);
            Outcome { method, foul, died: verdict.is_none(), followed, whole: whole.map(|(took, _)| took) }
        })
    }
}

impl Recovery {
    /// Whether there was anything to follow.
    async fn carry_out(self, case: &Case, reports: &std::path::Path, chance: &mut ChaCha8Rng) -> Result<bool, String> {
        let fair = case.lab.cluster();
        let found = case.find(&fair, reports).await?;
        let any = !found.leftovers.is_empty();
        match self {
            Self::Plain => {}
            Self::Twice => {
                case.follow(&fair, &found, reports, 1).await?;
                case.follow(&fair, &found, folder().path(), 2).await?;
            }
            Self::Dying => {
                let death = Some(Death { call: chance.random_range(1..30), carried_out: chance.random() });
                let weather = Weather { seed: chance.random(), death, ..Weather::default() };
                let (cluster, mut watched) = case.lab.cluster_in(weather);
                tokio::select! {
                    biased;
                    _ended = case.recover(&cluster, reports, 1) => {}
                    () = watched.death() => {}
                }
            }
            Self::Foul => {
                for process in 1..TRIES {
                    let machine = Foul::ALL[chance.random_range(0..Foul::ALL.len())].machine(chance, None);
                    let (cluster, _) = case.lab.cluster_in(machine.weather);
                    if case.recover(&cluster, reports, process).await == Ok(0) {
                        break;
                    }
                    sleep(PAUSE).await;
                }
            }
            Self::Race => {
                let (one, other) = (folder(), folder());
                let (other_cluster, late) = (case.lab.cluster(), Duration::from_millis(chance.random_range(0..100)));
                let second = async {
                    sleep(late).await;
                    case.recover(&other_cluster, other.path(), 2).await
                };
                let first = if any { reports } else { one.path() };
                // One of them may be told that the other holds the lease.
                let _either = tokio::join!(case.recover(&fair, first, 1), second);
            }
        }
        case.recover(&fair, reports, TRIES).await?;
        Ok(any)
    }
}
