//! What a run has measured and seen so far, and what it makes of it. No clock, no cluster: everything comes in as data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::marks;
use super::pool::Pool;
use super::readiness::Endpoints;
use super::roster::{STREAMS_MAX, Turn};
use super::stops::Stops;
use super::watching::Seen;
use crate::measure::{
    self, Breakdown, HlogWriter, Mark, ObjectTrack, Outages, Phases, SecondsRule, Series, StepTimes, Timeline,
    availability, compare, judge, judge_phase, summary,
};
use crate::probe::{Batch, Nanos, ProbeConfig, Sample, StreamKind, StreamSummary};
use crate::record::{Availability, Injection, Judgement, Life, Micros, Phase, Sink, Summary, What};
use crate::spec::{Experiment, Hypothesis};

/// An injection that takes longer is more than a call: it waits for something, and bites meanwhile.
const A_CALL: Micros = 1_000_000;

/// One stream of one probe, beside its [`Series`].
struct Stream {
    kind: StreamKind,
    timeline: Timeline,
    outages: Outages,
    breakdown: Breakdown,
    complete_until: Nanos,
    /// When the endpoint that it asks was no longer ready.
    left: Option<Nanos>,
    lost: u64,
}

/// A step's injections, as far as they have come.
#[derive(Default)]
struct Injections {
    injected: Option<Nanos>,
    targets: Vec<String>,
    detected: Option<(Nanos, String)>,
    healed: Option<Nanos>,
}

/// See the module's documentation.
pub(super) struct Book {
    experiment: Experiment,
    streams: Vec<Stream>,
    series: Vec<Series>,
    /// Where each probe's stream stands in both.
    places: BTreeMap<(usize, StreamKind), usize>,
    /// The endpoints' requests of each probe per endpoint.
    pools: BTreeMap<usize, Pool>,
    /// Whether it was said that there are too many endpoints.
    too_many: bool,
    phases: Phases,
    stops: Stops,
    tracks: BTreeMap<usize, ObjectTrack>,
    marks: Vec<Mark>,
    endpoints: Endpoints,
    steps: BTreeMap<String, Injections>,
    /// What was last taken out of service, by its name: a watch may tell before the call that did it is answered.
    out: BTreeMap<String, (Nanos, String)>,
    blind: BTreeMap<String, Micros>,
    hlog: Option<HlogWriter<Box<dyn Sink>>>,
}

/// The largest instant that is never reached.
const NEVER: Nanos = Nanos::MAX;

impl Book {
    /// An empty book for an experiment's probes.
    pub(super) fn new(experiment: &Experiment, hlog: Option<HlogWriter<Box<dyn Sink>>>) -> Self {
        let tracks =
            experiment.spec.steady_state.iter().enumerate().filter_map(|(index, hypothesis)| match hypothesis {
                Hypothesis::Object { object, tolerance, .. } => {
                    Some((index, ObjectTrack::new(object.to_string(), tolerance.clone())))
                }
                Hypothesis::Probe { .. } => None,
            });
        Self {
            experiment: experiment.clone(),
            streams: Vec::new(),
            series: Vec::new(),
            places: BTreeMap::new(),
            pools: BTreeMap::new(),
            too_many: false,
            phases: Phases { during: NEVER, after: NEVER, end: NEVER },
            stops: Stops::default(),
            tracks: tracks.collect(),
            marks: Vec::new(),
            endpoints: Endpoints::default(),
            steps: BTreeMap::new(),
            out: BTreeMap::new(),
            blind: BTreeMap::new(),
            hlog,
        }
    }

    /// The probes begin: their first slots begin at `start`.
    pub(super) fn begin(&mut self, probes: &[ProbeConfig], start: Nanos) {
        for (probe, config) in probes.iter().enumerate() {
            self.endpoints.probe(config);
            for kind in &config.streams {
                self.open(probe, *kind, config, start);
            }
            if config.streams.contains(&StreamKind::PerEndpoint) {
                self.pools.insert(probe, Pool::new(config.rate, start));
            }
        }
        self.stops = Stops::new(&self.experiment.spec.stop_when, &self.series, start);
    }

    fn open(&mut self, probe: usize, kind: StreamKind, config: &ProbeConfig, start: Nanos) {
        let series = Series::new(config.name.clone(), kind, config.rate, config.timeout, start);
        self.places.insert((probe, kind), self.streams.len());
        self.streams.push(Stream {
            kind,
            timeline: Timeline::new(),
            outages: Outages::new(&series),
            breakdown: Breakdown::default(),
            complete_until: start,
            left: None,
            lost: 0,
        });
        self.series.push(series);
    }

    /// An endpoint of a probe begins or ends at this instant; gives what is to be recorded of it.
    pub(super) fn turn(
        &mut self,
        probe: usize,
        config: &ProbeConfig,
        kind: StreamKind,
        turn: Turn,
        at: Nanos,
    ) -> Vec<What> {
        let Some(pool) = self.pools.get_mut(&probe) else { return Vec::new() };
        let life = |from, to| What::Life(Life { probe: config.name.clone(), stream: kind, from, to });
        match turn {
            Turn::Join => {
                let since = pool.join(kind, at);
                self.open(probe, kind, config, at);
                since
                    .map(|since| without_endpoint(&config.name, since, at))
                    .into_iter()
                    .chain([life(micros(at), None)])
                    .collect()
            }
            Turn::Leave => {
                pool.leave(at);
                let Some(&index) = self.places.get(&(probe, kind)) else { return Vec::new() };
                self.streams[index].left = Some(at);
                vec![life(micros(self.series[index].start()), Some(micros(at)))]
            }
            Turn::TurnedAway => {
                pool.turned_away(kind, at);
                let text = format!(
                    "{kind} of probe `{}` and those that follow get no stream: a run has at most {STREAMS_MAX} of them, \
                     and no more than `limits.requestsPerSecond` allows; their requests count as unknown",
                    config.name
                );
                let first = !std::mem::replace(&mut self.too_many, true);
                first.then_some(What::Warning { text }).into_iter().collect()
            }
            Turn::Gone => {
                pool.gone(kind, at);
                Vec::new()
            }
        }
    }

    /// A phase begins.
    pub(super) fn enter(&mut self, phase: Phase, from: Micros) {
        match phase {
            Phase::Before => {}
            Phase::During => self.phases.during = nanos(from),
            Phase::After => self.phases.after = nanos(from),
        }
    }

    /// The longest timeout of any probe.
    pub(super) fn longest_timeout(&self) -> Duration {
        self.series.iter().map(Series::timeout).max().unwrap_or_default()
    }

    /// Everything planned before this instant is settled in every stream.
    pub(super) fn settled_until(&self) -> Nanos {
        self.streams.iter().map(|stream| stream.complete_until).min().unwrap_or(NEVER)
    }

    /// Takes samples in, and gives the seconds and outage windows that are complete now.
    pub(super) fn samples(&mut self, batch: Batch, now: Micros) -> Vec<What> {
        let probe = batch.probe;
        let Some(&index) = self.places.get(&(probe, batch.stream)) else { return Vec::new() };
        if batch.stream.is_endpoint()
            && let Some(pool) = self.pools.get_mut(&probe)
        {
            pool.take(&batch);
        }
        let (complete_until, planned) = (batch.complete_until, batch.counts.planned);
        self.streams[index].lost = batch.lost;
        self.take(index, batch.samples, complete_until);
        if batch.stream.is_endpoint() && complete_until == NEVER {
            self.series[index].finish(planned);
        }
        let mut whats = self.complete(index);
        whats.extend(self.pooled(probe, nanos(now)));
        whats.extend(self.log_histograms());
        whats
    }

    fn take(&mut self, index: usize, samples: Vec<Sample>, complete_until: Nanos) {
        self.stops.push(index, &samples);
        for sample in &samples {
            // A phase begins now, never in the past: whatever was planned in it is still to come.
            self.streams[index].breakdown.record(self.phases.phase_of(sample.planned), sample);
        }
        self.series[index].extend(samples);
        self.streams[index].complete_until = complete_until;
    }

    /// Moves on what time alone moves: while no endpoint is ready, nothing else does.
    pub(super) fn tick(&mut self, now: Micros) -> Vec<What> {
        let probes: Vec<usize> = self.pools.keys().copied().collect();
        probes.into_iter().flat_map(|probe| self.pooled(probe, nanos(now))).collect()
    }

    /// Moves on the stream of all endpoints of a probe.
    fn pooled(&mut self, probe: usize, now: Nanos) -> Vec<What> {
        let (Some(pool), Some(&index)) =
            (self.pools.get_mut(&probe), self.places.get(&(probe, StreamKind::PerEndpoint)))
        else {
            return Vec::new();
        };
        let (samples, until) = pool.settle(now);
        self.take(index, samples, until);
        self.series[index].settle_until(until);
        self.complete(index)
    }

    /// The seconds and outage windows that are complete now, of every stream.
    pub(super) fn completed(&mut self) -> Vec<What> {
        (0..self.streams.len()).flat_map(|index| self.complete(index)).collect()
    }

    /// Writes the seconds that are complete to `probes.hlog`; a disk that refuses is said once.
    fn log_histograms(&mut self) -> Option<What> {
        let failed = self.hlog.as_mut()?.advance(&self.series).err()?;
        self.hlog = None;
        Some(What::Warning { text: format!("`probes.hlog` can't be written any more: {failed}") })
    }

    fn complete(&mut self, index: usize) -> Vec<What> {
        let (stream, series) = (&mut self.streams[index], &self.series[index]);
        let mut whats = Vec::new();
        // Seconds are told of all endpoints together, outages of each by itself.
        if !stream.kind.is_endpoint() {
            whats.extend(stream.timeline.advance(series).into_iter().map(What::Interval));
        }
        if stream.kind == StreamKind::PerEndpoint {
            return whats;
        }
        for mut outage in stream.outages.advance(series) {
            // Nothing was sent to the endpoint any more: that ended it.
            outage.to = outage.to.or(stream.left.map(micros));
            outage.cause = measure::cause(&outage, &self.marks);
            whats.push(What::Outage(outage));
        }
        whats
    }

    /// Takes in what a step says of itself.
    pub(super) fn deed(&mut self, at: Micros, what: &What) {
        match what {
            What::Injected { step, target, outcome: Injection::Injected, sent, answered, .. } => {
                let injections = self.steps.entry(step.clone()).or_default();
                let bites = nanos(if answered - sent > A_CALL { *sent } else { *answered });
                injections.injected = Some(injections.injected.map_or(bites, |first| first.min(bites)));
                injections.targets.push(target.name.clone());
                let before = self.out.get(&target.name).filter(|(seen, _)| *seen >= nanos(*sent));
                if let (None, Some((seen, how))) = (&injections.detected, before) {
                    injections.detected = Some(((*seen).max(bites), how.clone()));
                }
            }
            What::Healed { step, healed: true, .. } => {
                let injections = self.steps.entry(step.clone()).or_default();
                injections.healed = Some(injections.healed.map_or(nanos(at), |last| last.max(nanos(at))));
            }
            _ => {}
        }
        self.marks.extend(marks::of(at, what));
    }

    /// Takes in what a watch saw, and gives what is to be recorded of it.
    pub(super) fn seen(&mut self, seen: Seen) -> Vec<(Micros, What)> {
        match seen {
            Seen::Object(at, what) => {
                self.detect(at, &what);
                self.endpoints.seen(nanos(at), &what);
                self.marks.extend(marks::of(at, &what));
                vec![(at, *what)]
            }
            Seen::State(at, index, state) => {
                if let Some(track) = self.tracks.get_mut(&index) {
                    // The first list comes before *before* begins, which counts from the run's zero.
                    let from = if self.series.is_empty() { 0 } else { nanos(at) };
                    track.state(from, state.as_ref());
                }
                Vec::new()
            }
            Seen::Blind(at, what) => {
                self.blind.insert(what.clone(), at);
                vec![(at, What::Blind { what, from: at, to: None })]
            }
            Seen::Back(at, what) => {
                let Some(from) = self.blind.remove(&what) else { return Vec::new() };
                for track in self.tracks.values_mut() {
                    track.blind(nanos(from), nanos(at));
                }
                self.endpoints.blind(&what, nanos(from), nanos(at));
                vec![(at, What::Blind { what, from, to: Some(at) })]
            }
            Seen::Synced(_) | Seen::Limits(_) => Vec::new(),
        }
    }

    /// The cluster takes a target out of service: its endpoint is no longer ready, or the pod is NotReady.
    fn detect(&mut self, at: Micros, what: &What) {
        let Some((name, how)) = marks::out_of_service(what) else { return };
        self.out.insert(name.to_owned(), (nanos(at), how.clone()));
        for injections in self.steps.values_mut() {
            if injections.detected.is_none()
                && injections.injected.is_some()
                && injections.targets.iter().any(|t| t == name)
            {
                injections.detected = Some((nanos(at), how.clone()));
            }
        }
    }

    /// Judges *before*, which ends now.
    pub(super) fn judge_before(&self, now: Micros) -> Vec<Judgement> {
        let phases = Phases { during: nanos(now), after: nanos(now), end: nanos(now) };
        let mut judgements = judge_phase(&self.hypotheses(), &self.series, &phases, Phase::Before);
        judgements.extend(self.judge_objects(&phases, &[Phase::Before]));
        judgements
    }

    /// The stop condition that is met, in words.
    pub(super) fn stop_condition(&mut self, now: Micros) -> Option<String> {
        self.stops.fired(nanos(now))
    }

    /// No more samples will come; `end` is the first instant that was not planned.
    pub(super) fn finish(&mut self, end: Micros, accounts: &[StreamSummary]) {
        self.phases.end = nanos(end);
        for account in accounts {
            if let Some(&index) = self.places.get(&(account.probe, account.stream)) {
                self.series[index].finish(account.counts.planned);
            }
        }
        for (probe, pool) in &mut self.pools {
            let Some(&index) = self.places.get(&(*probe, StreamKind::PerEndpoint)) else { continue };
            let (samples, until) = pool.settle(nanos(end));
            self.series[index].extend(samples);
            self.series[index].settle_until(until);
            let slots = self.series[index].rows().len() as u64;
            self.series[index].finish(slots);
        }
        for (what, from) in std::mem::take(&mut self.blind) {
            for track in self.tracks.values_mut() {
                track.blind(nanos(from), nanos(end));
            }
            self.endpoints.blind(&what, nanos(from), nanos(end));
            self.blind.insert(what, end);
        }
    }

    /// Everything that is known at the end: numbers, verdicts, times.
    pub(super) fn conclude(&mut self, now: Micros) -> Vec<What> {
        let now = nanos(now);
        let phases = Phases {
            during: self.phases.during.min(now),
            after: self.phases.after.min(now),
            end: self.phases.end.min(now),
        };
        let mut whats = Vec::new();
        for stream in &self.streams {
            if stream.lost > 0 {
                let text = format!(
                    "{} samples were dropped because this machine was too slow; they count as unknown",
                    stream.lost
                );
                whats.push(What::Warning { text });
            }
        }
        for (probe, pool) in &self.pools {
            let name = self.places.get(&(*probe, StreamKind::PerEndpoint)).map(|index| self.series[*index].probe());
            let since = pool.without_endpoint(phases.end);
            whats.extend(name.zip(since).map(|(name, since)| without_endpoint(name, since, phases.end)));
        }
        for (series, stream) in self.series.iter().zip(&self.streams) {
            let of = |phase| Summary { steps: stream.breakdown.steps(phase), ..summary(series, phase, &phases) };
            let summaries = Phase::ALL.into_iter().map(of);
            let told = summaries.filter(|summary| !stream.kind.is_endpoint() || summary.planned > 0);
            whats.extend(told.map(What::Summary));
        }
        // What one endpoint's requests came to stands among all endpoints' together.
        let whole = || self.series.iter().filter(|series| !series.stream().is_endpoint());
        whats.extend(whole().flat_map(|series| self.availabilities(series, &phases)));
        whats.extend(whole().filter_map(|series| compare(series, &phases)).map(What::Compared));
        let reached: Vec<Phase> = Phase::ALL.into_iter().filter(|phase| !phases.bounds(*phase).is_empty()).collect();
        let injections: Vec<Nanos> = self.steps.values().filter_map(|step| step.injected).collect();
        let judgements = judge(&self.hypotheses(), &self.series, &phases, &injections);
        whats.extend(judgements.into_iter().chain(self.judge_objects(&phases, &reached)).map(What::Judged));
        whats.extend(self.impacts(&phases));
        whats
    }

    /// How available a stream was over the run, and in each phase.
    fn availabilities(&self, series: &Series, phases: &Phases) -> Vec<What> {
        let of = |phase| availability(series, phase, phases, SecondsRule::default());
        // What each endpoint did while it was shown as ready is what its own outages say.
        let gray = (series.stream() != StreamKind::PerEndpoint).then(|| self.endpoints.gray(series)).flatten();
        let whole = of(None).map(|whole| Availability { gray, ..whole });
        whole
            .into_iter()
            .chain(Phase::ALL.into_iter().filter_map(|phase| of(Some(phase))))
            .map(What::Availability)
            .collect()
    }

    fn impacts(&self, phases: &Phases) -> Vec<What> {
        let hypotheses = self.hypotheses();
        let tolerances = |probe: &str| hypotheses.iter().filter(|h| h.probe == probe).map(|h| h.tolerance).collect();
        let mut steps: Vec<_> =
            self.steps.iter().filter_map(|(name, step)| Some((step.injected?, name, step))).collect();
        steps.sort_by_key(|(injected, ..)| *injected);
        let untils = steps.iter().skip(1).map(|(next, ..)| *next).chain([phases.end]).collect::<Vec<_>>();
        let times = steps.iter().zip(untils).map(|((injected, name, step), until)| StepTimes {
            step: (*name).clone(),
            injected: *injected,
            until,
            detected: step.detected.clone(),
            healed: step.healed,
        });
        times.map(|times| What::Impact(measure::impact(&times, &self.series, tolerances))).collect()
    }

    fn hypotheses(&self) -> Vec<measure::Hypothesis<'_>> {
        let all = self.experiment.spec.steady_state.iter().enumerate();
        all.filter_map(|(index, hypothesis)| match hypothesis {
            Hypothesis::Probe { probe, tolerance, when } => {
                Some(measure::Hypothesis { index, probe: probe.as_str(), tolerance, when })
            }
            Hypothesis::Object { .. } => None,
        })
        .collect()
    }

    fn judge_objects(&self, phases: &Phases, reached: &[Phase]) -> Vec<Judgement> {
        let mut judgements = Vec::new();
        for (index, hypothesis) in self.experiment.spec.steady_state.iter().enumerate() {
            let Hypothesis::Object { when, .. } = hypothesis else { continue };
            let Some(track) = self.tracks.get(&index) else { continue };
            for phase in reached.iter().filter(|phase| when.contains(phase)) {
                judgements.push(track.judge(index, *phase, phases));
            }
        }
        judgements
    }
}

/// Says for what time there was nobody to ask.
fn without_endpoint(probe: &str, from: Nanos, to: Nanos) -> What {
    let [from, to] = [from, to].map(|at| Duration::from_nanos(at).as_secs_f64());
    let text = format!(
        "probe `{probe}` had no ready endpoint from {from:.1} s to {to:.1} s into the run: its requests of that time count as unknown"
    );
    What::Warning { text }
}

/// An instant as events write it.
fn micros(at: Nanos) -> Micros {
    Micros::try_from(at / 1_000).unwrap_or(Micros::MAX)
}

/// Nanoseconds since the run's zero; what happened before it counts as at zero.
fn nanos(at: Micros) -> Nanos {
    Nanos::try_from(at).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
