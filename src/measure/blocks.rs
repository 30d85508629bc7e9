//! Samples that are not independent: failures and slow requests come together. What is correlated within a second is kept
//! together by counting and drawing whole seconds.

use std::ops::Range;

use rand::{Rng, RngExt as _};

use super::series::{Row, Seen, float};
use super::stats;
use super::timeline::SECOND;
use crate::probe::Nanos;

/// Units that a phase is cut into at most: beyond it they become longer than a second.
const UNITS: u64 = 240;
/// Units that a phase must have: the spread between fewer says nothing.
pub(super) const LEAST_UNITS: usize = 10;
/// Units to one degree of freedom of the design effect: three terms of the sum go into each unit's, which are not independent, and a
/// little more because the sum is skewed. Found by simulation: 94.7 to 96.8 % coverage for independent samples of 10 to 240 units.
const TERMS: f64 = 3.5;
/// A design effect below this is chance, not knowledge: the covariance of a few neighbours may come out at anything.
const LEAST_EFFECT: f64 = 0.25;
/// Units among which the samples beyond a quantile must be spread: with fewer, a handful of bad seconds decide.
pub(super) const LEAST_TAIL: f64 = 10.0;
/// Significant bits of a latency that is drawn: 0.2 %, finer than the spread between two draws.
const BITS: u32 = 10;

/// How many independent samples one sample of these counts for, where a share is estimated. `None` where it can't be told: in
/// fewer than [`LEAST_UNITS`] units of one of the parts.
///
/// The spread of a share is wider than for independent samples by Kish's design effect (*Survey Sampling*, 1965) of units of time, with
/// the covariance of neighbours, because a burst of a second lies in two of them. It is not held at 1: that of independent samples is 1 on
/// average, and cut off below it would be more. As the spread is itself estimated, the sample shrinks once more by the square of
/// Student's t (Korn and Graubard, *Survey Methodology* 24, 1998).
///
/// `parts` are stretches of time, each with the `(hits, samples)` of its units in order.
pub(super) fn worth(parts: &[Vec<(u64, u64)>]) -> Option<f64> {
    if parts.iter().any(|units| units.len() < LEAST_UNITS) {
        return None;
    }
    let (mut spread, mut independent) = (0.0, 0.0);
    for units in parts {
        let (hits, samples) = units.iter().fold((0, 0), |(hits, samples), unit| (hits + unit.0, samples + unit.1));
        let share = float(hits) / float(samples);
        let residuals: Vec<f64> = units.iter().map(|unit| float(unit.0) - share * float(unit.1)).collect();
        let own: f64 = residuals.iter().map(|r| r * r).sum();
        let neighbours: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
        let count = float(units.len() as u64);
        spread += (own + 2.0 * neighbours) * count / (count - 1.0);
        independent += float(samples) * share * (1.0 - share);
    }
    if independent <= 0.0 {
        return Some(1.0);
    }
    let units: usize = parts.iter().map(Vec::len).sum();
    let freedom = float(units as u64) / TERMS - float(parts.len() as u64);
    Some((stats::Z / stats::student(freedom)).powi(2) / (spread / independent).max(LEAST_EFFECT))
}

/// What was seen of each unit of time: `(hits, samples)`, units without a sample left out. A unit is a second, or longer where
/// there would be more than [`UNITS`].
pub(super) fn per_unit(rows: &[Row], hit: impl Fn(&Row) -> bool) -> Vec<(u64, u64)> {
    let second = |row: Option<&Row>| row.map_or(0, |row| row.planned / SECOND);
    let length = (second(rows.last()) - second(rows.first()) + 1).div_ceil(UNITS) * SECOND;
    let mut units: Vec<(u64, u64)> = Vec::new();
    let mut open = None;
    for row in rows.iter().filter(|row| row.seen() != Seen::Unseen) {
        let number = row.planned / length;
        if open != Some(number) {
            units.push((0, 0));
            open = Some(number);
        }
        if let Some(unit) = units.last_mut() {
            unit.0 += u64::from(hit(row));
            unit.1 += 1;
        }
    }
    units
}

/// The good latencies of a phase, each with the unit of time in which it was planned.
pub(super) struct Blocks {
    /// `(latency, unit, count)`, ascending.
    sorted: Vec<(Nanos, u32, u32)>,
    /// Latencies of each unit.
    sizes: Vec<u64>,
    /// Units that are drawn together.
    length: usize,
}

impl Blocks {
    /// Cuts a phase into seconds, or into [`UNITS`] longer units where it has more, and draws as many units together as the
    /// cube root of their number, rounded up: the order that balances bias against spread (Hall, Horowitz and Jing,
    /// Biometrika 82, 1995).
    pub(super) fn of(rows: &[Row], bounds: &Range<Nanos>) -> Self {
        let seconds = bounds.end.saturating_sub(bounds.start).div_ceil(SECOND);
        let unit = seconds.div_ceil(UNITS).max(1) * SECOND;
        let units = usize::try_from(seconds.div_ceil(unit / SECOND)).unwrap_or(0);
        let mut sizes = vec![0; units];
        let mut all: Vec<(Nanos, u32)> = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| row.seen() == Seen::Good) {
            let at = (row.planned.saturating_sub(bounds.start)) / unit;
            if let Some(size) = usize::try_from(at).ok().and_then(|at| sizes.get_mut(at)) {
                *size += 1;
                all.push((coarse(row.response), u32::try_from(at).unwrap_or(u32::MAX)));
            }
        }
        all.sort_unstable();
        let sorted = all
            .chunk_by(|a, b| a == b)
            .map(|same| (same[0].0, same[0].1, u32::try_from(same.len()).unwrap_or(u32::MAX)));
        Self { sorted: sorted.collect(), sizes, length: cube_root(units) }
    }

    /// Units that there are.
    pub(super) const fn units(&self) -> usize {
        self.sizes.len()
    }

    /// Units that are drawn together.
    pub(super) const fn length(&self) -> usize {
        self.length
    }

    /// Latencies in all.
    pub(super) fn len(&self) -> u64 {
        self.sizes.iter().sum()
    }

    /// Among how many units the latencies beyond a quantile are spread: as many equal shares would have the same sum of
    /// squares (Simpson, Nature 163, 1949).
    pub(super) fn tail(&self, quantile: f64) -> f64 {
        let beyond = self.len() - stats::rank(quantile, self.len());
        let mut left = beyond;
        let mut shares = vec![0; self.units()];
        for &(_, unit, count) in self.sorted.iter().rev() {
            let taken = left.min(u64::from(count));
            shares[unit as usize] += taken;
            left -= taken;
        }
        let squares: f64 = shares.iter().map(|&share| float(share) * float(share)).sum();
        if squares > 0.0 { float(beyond) * float(beyond) / squares } else { 0.0 }
    }

    /// How often a block fits into the phase.
    pub(super) fn fits(&self) -> f64 {
        float(self.units() as u64) / float(self.length as u64)
    }

    /// What a draw lacks in variance because bursts of a unit are cut where blocks meet: a third of a unit of each block, for
    /// bursts that begin anywhere.
    pub(super) fn cut(&self) -> f64 {
        1.0 / (3.0 * float(self.length as u64))
    }

    /// One draw with replacement of as many units as there are, in runs of [`Self::length`] that wrap around at the end
    /// (circular blocks: Politis and Romano, 1992), and its quantiles, ascending. Infinite where nothing was drawn.
    pub(super) fn draw(&self, quantiles: &[f64], rng: &mut impl Rng, times: &mut Vec<u32>) -> Vec<f64> {
        times.clear();
        times.resize(self.units(), 0);
        let mut drawn = 0;
        while drawn < self.units() {
            let from = rng.random_range(0..self.units());
            for unit in (from..from + self.length.min(self.units() - drawn)).map(|unit| unit % self.units()) {
                times[unit] += 1;
            }
            drawn += self.length;
        }
        let total = self.sizes.iter().zip(times.iter()).map(|(size, times)| size * u64::from(*times)).sum();
        let mut ranks = quantiles.iter().map(|&quantile| stats::rank(quantile, total)).peekable();
        let mut found = Vec::with_capacity(quantiles.len());
        let mut below = 0;
        for &(latency, unit, count) in &self.sorted {
            below += u64::from(times[unit as usize]) * u64::from(count);
            while ranks.next_if(|&rank| rank > 0 && rank <= below).is_some() {
                found.push(float(latency) / 1e9);
            }
        }
        found.resize(quantiles.len(), f64::INFINITY);
        found
    }
}

/// A latency without the bits that a draw does not need.
const fn coarse(latency: Nanos) -> Nanos {
    let drop = (Nanos::BITS - latency.leading_zeros()).saturating_sub(BITS);
    latency >> drop << drop
}

/// The smallest number whose cube is at least `n`.
fn cube_root(n: usize) -> usize {
    (1..=n).find(|root| root * root * root >= n).unwrap_or(1)
}
