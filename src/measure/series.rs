//! The samples of one stream of one probe, in the order of their slots.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::probe::{Nanos, Outcome, Sample, Steps, StreamKind};
use crate::record::{Micros, Phase};
use crate::scalar::Rate;

/// Where the phases of a run begin and end, in nanoseconds since the run's zero.
///
/// A phase that never began is empty: a run that was refused as unsteady has `during == after == end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// First planned instant of *during*; *before* is everything earlier.
    pub during: Nanos,
    /// First planned instant of *after*.
    pub after: Nanos,
    /// First instant that is no longer planned.
    pub end: Nanos,
}

impl Phases {
    /// The planned instants that belong to a phase.
    #[must_use]
    pub const fn bounds(&self, phase: Phase) -> Range<Nanos> {
        match phase {
            Phase::Before => 0..self.during,
            Phase::During => self.during..self.after,
            Phase::After => self.after..self.end,
        }
    }

    /// The phase of a planned instant; what lies after the end counts to *after*.
    #[must_use]
    pub const fn phase_of(&self, planned: Nanos) -> Phase {
        if planned < self.during {
            Phase::Before
        } else if planned < self.after {
            Phase::During
        } else {
            Phase::After
        }
    }
}

/// One settled slot, as it is kept: 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Planned instant.
    pub planned: Nanos,
    /// From the planned instant until the outcome was known.
    pub response: Nanos,
    /// Lateness of the probe in steps of 100 ns; the largest value (429 s) stands for anything above.
    late: u32,
    /// What it came to.
    pub outcome: Outcome,
}

/// What a row says about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// Unknown, client-late or capped: the slot says nothing about the service.
    Unseen,
}

impl Row {
    pub(super) fn of(sample: &Sample) -> Self {
        Self {
            planned: sample.planned,
            response: sample.response_time(),
            late: u32::try_from(sample.lateness() / 100).unwrap_or(u32::MAX),
            outcome: sample.outcome,
        }
    }

    /// Lateness of the probe in nanoseconds, exact to 100 ns.
    #[must_use]
    pub const fn lateness(&self) -> Nanos {
        self.late as Nanos * 100
    }

    /// From the send until the outcome was known, in nanoseconds, exact to 100 ns.
    #[must_use]
    pub const fn service(&self) -> Nanos {
        self.response.saturating_sub(self.lateness())
    }

    /// What it says about the service.
    #[must_use]
    pub const fn seen(&self) -> Seen {
        match self.outcome {
            Outcome::Good => Seen::Good,
            Outcome::Bad { .. } => Seen::Bad,
            Outcome::Unknown | Outcome::ClientLate | Outcome::Capped => Seen::Unseen,
        }
    }
}

/// Puts samples that arrive out of order back into the order of their slots.
#[derive(Debug, Clone, Default)]
pub(super) struct Reorder {
    next: u64,
    waiting: BTreeMap<u64, Sample>,
    repeated: u64,
}

impl Reorder {
    /// Takes a sample in, and hands on every sample whose predecessors are all there.
    pub(super) fn push(&mut self, sample: Sample, mut settle: impl FnMut(&Sample)) {
        if sample.slot < self.next || self.waiting.contains_key(&sample.slot) {
            self.repeated += 1;
            return;
        }
        self.waiting.insert(sample.slot, sample);
        while let Some(sample) = self.waiting.remove(&self.next) {
            self.next += 1;
            settle(&sample);
        }
    }
}

/// How many slots a series has in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// As many as one stream has.
    Steady(Rate),
    /// As many as the endpoints had together, whose number changes; the first slot is not before this instant.
    Pooled(Nanos),
}

impl Pace {
    /// Slots per second within `time`, in which `planned` were planned.
    pub(super) fn per_second(self, planned: u64, time: &Range<Nanos>) -> f64 {
        match self {
            Self::Steady(rate) => rate.per_second(),
            Self::Pooled(start) => {
                let time = time.end.saturating_sub(time.start.max(start));
                // Where nothing was planned nothing was bad, and no number makes a difference.
                float(planned.max(1)) / seconds(time)
            }
        }
    }
}

/// The samples of one stream of one probe. Only ever grows; a slot is *settled* once it and all before it have arrived.
///
/// The pacer's contract: slots are numbered from 0 without gaps, planned instants never decrease, and slot `i` is planned
/// within `start + [rate.length_of(i), rate.length_of(i + 1))`. The last does not hold for a pooled series, of all endpoints
/// together: its slots are those of the endpoints in the order of their instants, and it is told how far they are settled.
#[derive(Debug, Clone)]
pub struct Series {
    probe: String,
    stream: StreamKind,
    rate: Rate,
    timeout: Duration,
    start: Nanos,
    rows: Vec<Row>,
    reorder: Reorder,
    /// Of a pooled series: everything planned before it is there.
    pooled_until: Option<Nanos>,
    finished: bool,
}

impl Series {
    /// An empty series; `start` is the instant at which slot 0 begins.
    #[must_use]
    pub fn new(probe: impl Into<String>, stream: StreamKind, rate: Rate, timeout: Duration, start: Nanos) -> Self {
        Self {
            probe: probe.into(),
            stream,
            rate,
            timeout,
            start,
            rows: Vec::new(),
            reorder: Reorder::default(),
            pooled_until: (stream == StreamKind::PerEndpoint).then_some(start),
            finished: false,
        }
    }

    /// Takes in one sample, in any order. A slot that is already there is counted in [`Series::repeated`] and dropped: the
    /// first word stands.
    pub fn push(&mut self, sample: Sample) {
        let rows = &mut self.rows;
        self.reorder.push(sample, |sample| rows.push(Row::of(sample)));
    }

    /// Takes in a batch, in any order.
    pub fn extend(&mut self, batch: impl IntoIterator<Item = Sample>) {
        for sample in batch {
            self.push(sample);
        }
    }

    /// Says that `slots` were planned and no more will come. A slot of these that never arrived becomes `unknown`, at the
    /// instant at which it began, so that every planned slot has one outcome. Calling it again changes nothing.
    pub fn finish(&mut self, slots: u64) {
        while self.reorder.next < slots {
            let slot = self.reorder.next;
            let last = self.rows.last().map_or(0, |row| row.planned);
            let planned = self.slot_start(slot).max(last);
            let outcome = Outcome::Unknown;
            self.push(Sample {
                slot,
                planned,
                sent: planned,
                done: planned,
                outcome,
                reused: false,
                steps: Steps::default(),
            });
        }
        self.finished = true;
    }

    /// Whether no more samples will come.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Probe name.
    #[must_use]
    pub fn probe(&self) -> &str {
        &self.probe
    }

    /// Stream.
    #[must_use]
    pub const fn stream(&self) -> StreamKind {
        self.stream
    }

    /// Requests per stream; of a pooled series, per endpoint.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// The instant at which slot 0 begins; of a pooled series, before which no slot is planned.
    #[must_use]
    pub const fn start(&self) -> Nanos {
        self.start
    }

    /// Deadline of one request.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Samples that arrived for a slot that already had one: a fault of the engine, 0 in any sound run.
    #[must_use]
    pub const fn repeated(&self) -> u64 {
        self.reorder.repeated
    }

    /// The settled slots, in order.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The settled slots whose planned instants lie within `time`.
    #[must_use]
    pub fn within(&self, time: Range<Nanos>) -> &[Row] {
        rows_within(&self.rows, time)
    }

    /// Length of one slot in nanoseconds.
    #[must_use]
    pub fn slot(&self) -> Nanos {
        slot_length(self.rate)
    }

    /// The earliest instant for which slots may still be unsettled: everything planned before it is there.
    #[must_use]
    pub fn settled_until(&self) -> Nanos {
        self.pooled_until.unwrap_or_else(|| self.slot_start(self.reorder.next))
    }

    /// Says of a pooled series that every slot planned before `until` is there.
    pub fn settle_until(&mut self, until: Nanos) {
        self.pooled_until = self.pooled_until.map(|known| known.max(until));
    }

    /// How many slots it has in a second.
    #[must_use]
    pub(super) const fn pace(&self) -> Pace {
        if self.pooled_until.is_some() { Pace::Pooled(self.start) } else { Pace::Steady(self.rate) }
    }

    fn slot_start(&self, slot: u64) -> Nanos {
        self.start.saturating_add(nanos(self.rate.length_of(slot)))
    }
}

/// The slots whose planned instants lie within `time`.
pub(super) fn rows_within(rows: &[Row], time: Range<Nanos>) -> &[Row] {
    let from = rows.partition_point(|row| row.planned < time.start);
    let to = rows.partition_point(|row| row.planned < time.end);
    rows.get(from..to).unwrap_or_default()
}

/// Length of one slot at a rate, in nanoseconds.
pub(super) fn slot_length(rate: Rate) -> Nanos {
    nanos(rate.length_of(1))
}

/// A time in nanoseconds.
pub(super) fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}

/// An instant of the samples' clock as events write it.
pub(super) fn micros(at: Nanos) -> Micros {
    Micros::try_from(at / 1_000).unwrap_or(Micros::MAX)
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of one run lie far below 2^53")]
pub(super) const fn float(n: u64) -> f64 {
    n as f64
}

/// Nanoseconds in seconds.
pub(super) const fn seconds(time: Nanos) -> f64 {
    float(time) / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{S, Script, bad};

    #[test]
    fn a_row_is_small() {
        assert_eq!(size_of::<Row>(), 24);
    }

    #[test]
    fn batches_in_any_order_give_the_same_rows() {
        let samples = Script::at("100/s").good(50).bad(7).good(43).samples();
        let mut straight = Script::at("100/s").series();
        straight.extend(samples.iter().copied());
        let mut shuffled = Script::at("100/s").series();
        for chunk in samples.chunks(9).rev() {
            shuffled.extend(chunk.iter().rev().copied());
        }
        assert_eq!(straight.rows(), shuffled.rows());
        assert_eq!(straight.rows().len(), 100);
    }

    #[test]
    fn a_slot_is_settled_only_after_all_before_it() {
        let samples = Script::at("10/s").good(5).samples();
        let mut series = Script::at("10/s").series();
        series.extend([samples[0], samples[2], samples[3]]);
        assert_eq!(series.rows().len(), 1);
        assert_eq!(series.settled_until(), 100_000_000);
        series.push(samples[1]);
        assert_eq!(series.rows().len(), 4);
        assert_eq!(series.settled_until(), 400_000_000);
    }

    #[test]
    fn a_repeated_slot_is_counted_and_the_first_word_stands() {
        let mut series = Script::at("10/s").good(3).series();
        let again = Sample { outcome: bad(503), ..Script::at("10/s").good(3).samples()[1] };
        series.push(again);
        assert_eq!(series.repeated(), 1);
        assert!(series.rows().iter().all(|row| row.seen() == Seen::Good));
    }

    #[test]
    fn slots_that_never_arrive_become_unknown() {
        let samples = Script::at("10/s").good(10).samples();
        let mut series = Script::at("10/s").series();
        series.extend(samples.iter().copied().filter(|s| s.slot != 4 && s.slot != 9));
        series.finish(10);
        assert_eq!(series.rows().len(), 10);
        assert_eq!(series.rows()[4].outcome, Outcome::Unknown);
        assert_eq!(series.rows()[9].planned, 900_000_000);
        assert_eq!(series.rows()[8].outcome, Outcome::Good);
    }

    #[test]
    fn a_pooled_series_has_the_pace_of_the_endpoints_that_there_were() {
        let mut pooled =
            Series::new("web", StreamKind::PerEndpoint, "10/s".parse().unwrap(), Duration::from_secs(1), S);
        pooled.extend(Script::at("30/s").good(60).samples());
        assert_eq!(pooled.settled_until(), S);
        pooled.settle_until(3 * S);
        assert_eq!(pooled.settled_until(), 3 * S);
        // Before its start nothing could be planned.
        let per_second = pooled.pace().per_second(60, &(0..3 * S));
        assert!((per_second - 30.0).abs() < 1e-9, "{per_second}");
        let steady = Script::at("10/s").series().pace().per_second(60, &(0..3 * S));
        assert!((steady - 10.0).abs() < 1e-9, "{steady}");
    }

    #[test]
    fn a_request_belongs_to_the_phase_of_its_planned_instant() {
        let series = Script::at("10/s").good(100).series();
        let phases = Phases { during: 3_000_000_000, after: 7_000_000_000, end: 10_000_000_000 };
        let count = |phase| series.within(phases.bounds(phase)).len();
        assert_eq!([count(Phase::Before), count(Phase::During), count(Phase::After)], [30, 40, 30]);
        assert_eq!(series.within(phases.bounds(Phase::During))[0].planned, 3_000_000_000);
    }

    #[test]
    fn service_time_leaves_out_the_probes_own_lateness() {
        let sample = Sample {
            slot: 0,
            planned: 1_000,
            sent: 51_000,
            done: 2_051_000,
            outcome: Outcome::Good,
            reused: false,
            steps: Steps::default(),
        };
        let row = Row::of(&sample);
        assert_eq!((row.response, row.lateness(), row.service()), (2_050_000, 50_000, 2_000_000));
    }
}
