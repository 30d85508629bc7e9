//! Whether a stream is as good after as it was before: non-inferiority of its success and of each latency quantile.
//!
//! With some ten thousand samples every difference is significant, so "different?" is not the question. It is: worse by more
//! than a margin that matters? The margin is stated, and the answer has three words. *Not worse*: surely within the margin.
//! *Worse*: surely beyond it. *Can't tell*: the samples are compatible with both.

use std::ops::Range;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::blocks::{Blocks, LEAST_TAIL, LEAST_UNITS, per_unit, worth};
use super::phase::Counts;
use super::series::{Phases, Row, Seen, Series, float, seconds};
use super::stats;
use crate::probe::Nanos;
use crate::record::{Comparison, Phase, Shift, Standing};

/// Draws of the bootstrap.
const RESAMPLES: u32 = 1_000;
/// The same draws for the same samples, so that a report can be made again.
const SEED: u64 = 0x5175_616c_6c21;
/// Chance of a false word in each direction, over all quantiles of a stream: half of what a 95 % interval leaves out.
const ALPHA: f64 = 0.025;
/// How much more latency still counts as not worse: a tenth, and 1 ms where that is more.
const SLOWER: f64 = 0.1;
/// The same in seconds.
const LATER: f64 = 0.001;
/// How much less success still counts as not worse: a tenth of a percentage point.
const FEWER: f64 = 0.001;

/// Why a phase of fewer than [`LEAST_UNITS`] supports no interval.
const TOO_SHORT: &str = "it needs 10 s in each phase";

/// The quantiles that are compared.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// From this quantile on, one that a phase can't support is left out rather than told.
const LUXURY: f64 = 0.999;

/// Compares *after* with *before*. `None` where nothing was seen in one of them.
///
/// *Success*: the difference of two shares by Newcombe's hybrid score (method 10, Statistics in Medicine 17, 1998), each on
/// its effective sample: what is seen of failures that come together within a second counts once. *Latency* of the good
/// requests: the shift of each quantile by a bootstrap of circular blocks of seconds, 1,000 draws, widened for what few
/// blocks can't show; the words are corrected for several quantiles by Holm's method (Scand. J. Statist. 6, 1979).
#[must_use]
pub fn compare(series: &Series, phases: &Phases) -> Option<Comparison> {
    let [before, after] = [Phase::Before, Phase::After].map(|phase| phases.bounds(phase));
    let (old, new) = (series.within(before.clone()), series.within(after.clone()));
    let mut measures = vec![success(old, new)?];
    let (old, new) = (Part::of(old, &before), Part::of(new, &after));
    let (length, unit) = (new.blocks.length(), new.unit);
    measures.extend(quantiles(&old, &new, RESAMPLES));
    let all = |standing| measures.iter().all(|shift: &Shift| shift.standing == standing);
    let standing = if measures.iter().any(|shift| shift.standing == Standing::Worse) {
        Standing::Worse
    } else if all(Standing::NotWorse) {
        Standing::NotWorse
    } else {
        Standing::CantTell
    };
    Some(Comparison {
        probe: series.probe().to_owned(),
        stream: series.stream(),
        measures,
        standing,
        block_seconds: length as u64 * unit,
        resamples: u64::from(RESAMPLES),
    })
}

fn success(before: &[Row], after: &[Row]) -> Option<Shift> {
    let (old, new) = (Counts::of(before), Counts::of(after));
    if old.seen() == 0 || new.seen() == 0 {
        return None;
    }
    // A phase without a failure has no burst to learn from; the other one's stand for both.
    let worth = worth(&[before, after].map(|rows| per_unit(rows, |row| row.seen() == Seen::Bad)));
    let share = |counts: Counts| float(counts.good) / float(counts.seen());
    let sample = |counts: Counts, worth: f64| (share(counts), float(counts.seen()) * worth);
    let interval = worth.map(|worth| stats::difference_interval(sample(old, worth), sample(new, worth)));
    let standing = match interval {
        Some((low, _)) if low >= -FEWER => Standing::NotWorse,
        Some((_, high)) if high < -FEWER => Standing::Worse,
        _ => Standing::CantTell,
    };
    Some(Shift {
        measure: "success".to_owned(),
        before: share(old),
        after: share(new),
        interval,
        margin: FEWER,
        standing,
        reason: if interval.is_none() { TOO_SHORT.to_owned() } else { String::new() },
    })
}

/// A phase's good latencies.
pub(super) struct Part {
    blocks: Blocks,
    sorted: Vec<Nanos>,
    unit: u64,
}

impl Part {
    pub(super) fn of(rows: &[Row], bounds: &Range<Nanos>) -> Self {
        let good = rows.iter().filter(|row| row.seen() == Seen::Good);
        let mut sorted: Vec<Nanos> = good.map(|row| row.response).collect();
        sorted.sort_unstable();
        let blocks = Blocks::of(rows, bounds);
        let seconds = bounds.end.saturating_sub(bounds.start).div_ceil(1_000_000_000);
        let unit = seconds.div_ceil(blocks.units().max(1) as u64).max(1);
        Self { blocks, sorted, unit }
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let rank = stats::rank(quantile, self.sorted.len() as u64);
        super::distribution::nth(&self.sorted, rank).map_or(f64::INFINITY, seconds)
    }

    /// Why this phase can't support an interval for a quantile.
    fn lacks(&self, quantile: f64) -> Option<&'static str> {
        if self.blocks.units() < LEAST_UNITS {
            return Some(TOO_SHORT);
        }
        (self.blocks.tail(quantile) < LEAST_TAIL).then_some("too few seconds hold its slowest requests")
    }
}

/// The shifts of the quantiles that both phases have enough samples to measure.
pub(super) fn quantiles(before: &Part, after: &Part, resamples: u32) -> Vec<Shift> {
    let least = before.sorted.len().min(after.sorted.len()) as u64;
    let named: Vec<(&str, f64)> = QUANTILES
        .into_iter()
        .filter(|(_, quantile)| stats::samples_for_quantile(*quantile).is_some_and(|needed| least >= needed))
        // A luxury that few runs can afford; without it the stream can still be told not to be worse.
        .filter(|(_, quantile)| {
            *quantile < LUXURY || before.lacks(*quantile).or_else(|| after.lacks(*quantile)).is_none()
        })
        .collect();
    let levels: Vec<f64> = named.iter().map(|(_, quantile)| *quantile).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut times = Vec::new();
    let mut drawn: Vec<Vec<f64>> = vec![Vec::with_capacity(resamples as usize); levels.len()];
    let supported = before.blocks.units().min(after.blocks.units()) >= LEAST_UNITS;
    for _ in 0..if supported { resamples } else { 0 } {
        let old = before.blocks.draw(&levels, &mut rng, &mut times);
        let new = after.blocks.draw(&levels, &mut rng, &mut times);
        for (draws, (old, new)) in drawn.iter_mut().zip(old.iter().zip(&new)) {
            draws.push(new - old);
        }
    }
    let cut = before.blocks.cut().max(after.blocks.cut());
    let widening = widening(before.blocks.fits(), after.blocks.fits()) * (1.0 + cut).sqrt();
    let mut tested: Vec<Tested> = Vec::new();
    for ((name, quantile), draws) in named.into_iter().zip(drawn) {
        let reason = before.lacks(quantile).or_else(|| after.lacks(quantile)).unwrap_or_default();
        let values = (before.quantile(quantile), after.quantile(quantile));
        tested.push(Tested::of(name, values, if reason.is_empty() { draws } else { Vec::new() }, widening, reason));
    }
    let better = holm(&tested.iter().map(|t| t.beyond).collect::<Vec<_>>());
    let worse = holm(&tested.iter().map(|t| t.within).collect::<Vec<_>>());
    let standing = |i: usize| match (better[i], worse[i]) {
        (true, _) => Standing::NotWorse,
        (_, true) => Standing::Worse,
        _ => Standing::CantTell,
    };
    tested.into_iter().enumerate().map(|(i, t)| Shift { standing: standing(i), ..t.shift }).collect()
}

/// How much the spread between draws falls short of that between phases: the spread of few blocks is itself uncertain, as with
/// Student's t, and lacks that of their mean.
fn widening(old: f64, new: f64) -> f64 {
    let fewer = old.min(new).max(2.0);
    stats::student(old + new - 2.0) / stats::Z * (fewer / (fewer - 1.0)).sqrt()
}

/// A shift with the chances that it lies beyond the margin, and within.
struct Tested {
    shift: Shift,
    beyond: f64,
    within: f64,
}

impl Tested {
    fn of(name: &str, (before, after): (f64, f64), draws: Vec<f64>, widening: f64, reason: &str) -> Self {
        let margin = (SLOWER * before).max(LATER);
        let estimate = after - before;
        let mut draws: Vec<f64> =
            draws.into_iter().filter(|d| d.is_finite()).map(|d| estimate + widening * (d - estimate)).collect();
        draws.sort_by(f64::total_cmp);
        let n = draws.len() as u64;
        let at = |quantile: f64| {
            let rank = usize::try_from(stats::rank(quantile, n)).unwrap_or(0);
            draws.get(rank.saturating_sub(1)).copied()
        };
        // One more than counted: a chance of nothing can't come of a thousand draws (Davison and Hinkley, 1997).
        let chance = |side: usize| if n == 0 { 1.0 } else { float(side as u64 + 1) / float(n + 1) };
        let inside = draws.partition_point(|shift| *shift <= margin);
        let shift = Shift {
            measure: name.to_owned(),
            before,
            after,
            // What is drawn is a shade coarser than what was measured, and must not leave that out.
            interval: at(ALPHA).zip(at(1.0 - ALPHA)).map(|(low, high)| (low.min(estimate), high.max(estimate))),
            margin,
            standing: Standing::CantTell,
            reason: reason.to_owned(),
        };
        Self { shift, beyond: chance(draws.len() - inside), within: chance(inside) }
    }
}

/// Which of several hypotheses are rejected with [`ALPHA`] for all of them together.
fn holm(chances: &[f64]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut rejected = vec![false; chances.len()];
    for (passed, i) in order.into_iter().enumerate() {
        if chances[i] > ALPHA / float((chances.len() - passed) as u64) {
            break;
        }
        rejected[i] = true;
    }
    rejected
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
