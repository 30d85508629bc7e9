//! Predicted beside observed: what the rehearsals of an experiment came to, and what its run did.
//!
//! A value is as predicted where it lies in the range of the rehearsals, or beyond it by no more than 10 % or a second, whichever is
//! more; a share by no more than what a second of full outage is worth. Where it does not, the reason is among what the model takes for
//! granted: so the times that both clusters showed stand side by side too.

mod outlook;
#[cfg(test)]
mod tests;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::outlook::outlook;
use super::format;
use super::model::Report;
use crate::record::{Assumption, Measured, Micros, Outlook, Predicted, Quantity, RunVerdict, Span};

/// How far beyond the range a value may lie, as a share of the range's end.
const SHARE: f64 = 0.1;
/// The same as a time, in seconds.
const SECONDS: f64 = 1.0;

/// What was predicted, beside what was observed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    /// The rehearsals' run ids.
    pub rehearsals: Vec<String>,
    /// The lab that they ran on, as its options.
    pub lab: String,
    /// How many of them came to which verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Whether the run's verdict is one of these.
    pub verdict: Fit,
    /// In what the rehearsed experiment was another one, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What was measured.
    pub measures: Vec<BesideMeasure>,
    /// What the model takes for granted, as far as both clusters showed it.
    pub assumptions: Vec<BesideAssumption>,
}

/// How an observed value stands to the predicted ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// As predicted.
    Within,
    /// Otherwise.
    Off,
    /// It was not predicted, or not observed, so that nothing can be said.
    Open,
}

/// The least, the median and the most of several rehearsals.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The median; the lower one of two.
    pub median: f64,
    /// The most.
    pub most: f64,
}

/// One measure, predicted and observed: seconds, a share, or a count, as the quantity says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BesideMeasure {
    /// What was measured.
    pub quantity: Quantity,
    /// Of which stream, or step.
    pub of: String,
    /// What the rehearsals showed; absent when it happened in none.
    pub predicted: Option<Spread>,
    /// In how many of the rehearsals that could tell it happened.
    pub happened: u64,
    /// The rehearsals that could tell.
    pub rehearsals: u64,
    /// What the run showed; absent when it did not happen.
    pub observed: Option<f64>,
    /// How the two stand to each other.
    pub fit: Fit,
    /// How far beyond the nearer end of the range it lies: more than predicted is positive. Absent where it is within, or one of the
    /// two is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_by: Option<f64>,
}

/// One thing that the model takes for granted. Lengths are in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BesideAssumption {
    /// What took so long.
    pub what: Assumption,
    /// Of the pods of which workload, or `nodes`.
    pub of: String,
    /// The rehearsals' shortest and longest, and the median of their medians.
    pub predicted: Spread,
    /// How often the run showed it.
    pub seen: u64,
    /// The run's own shortest, median and longest.
    pub observed: Spread,
    /// Whether the medians are the same, within 10 % or a second.
    pub fit: Fit,
    /// Where they are not: which assumption was wrong, and what tells the lab better. Else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub told: String,
}

impl Beside {
    /// How many measures are as predicted, and how many can be told of; the verdict is one of them.
    #[must_use]
    pub fn score(&self) -> (usize, usize) {
        let fits = || self.measures.iter().map(|measure| measure.fit).chain([self.verdict]);
        (fits().filter(|fit| *fit == Fit::Within).count(), fits().filter(|fit| *fit != Fit::Open).count())
    }

    /// The assumptions that were wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &BesideAssumption> {
        self.assumptions.iter().filter(|assumption| assumption.fit == Fit::Off)
    }
}

/// Holds a run against its rehearsals. `None`: nothing was done in it that could be compared.
pub(super) fn beside(predicted: &Predicted, report: &Report) -> Option<Beside> {
    let nothing_done =
        matches!(report.verdict, None | Some(RunVerdict::Refused | RunVerdict::Unsteady | RunVerdict::Errored));
    let first = predicted.rehearsals.first().filter(|_| !nothing_done)?;
    let mut verdicts = BTreeMap::new();
    for rehearsal in &predicted.rehearsals {
        *verdicts.entry(format::run_verdict(rehearsal.verdict).to_owned()).or_insert(0) += 1;
    }
    let known = verdicts.contains_key(format::run_verdict(report.verdict));
    let observed = outlook(report);
    Some(Beside {
        rehearsals: predicted.rehearsals.iter().map(|rehearsal| rehearsal.run.clone()).collect(),
        lab: first.lab.clone(),
        verdicts,
        verdict: if known { Fit::Within } else { Fit::Off },
        notes: predicted.notes.clone(),
        measures: measures(&predicted.rehearsals, &observed, report),
        assumptions: assumptions(&predicted.rehearsals, &observed.spans),
    })
}

/// Every measure that the run or a rehearsal has, in the run's order.
fn measures(rehearsals: &[Outlook], observed: &Outlook, report: &Report) -> Vec<BesideMeasure> {
    let mut keys: Vec<(Quantity, &str)> = Vec::new();
    for measured in observed.measures.iter().chain(rehearsals.iter().flat_map(|r| &r.measures)) {
        let key = (measured.quantity, measured.of.as_str());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let find = |all: &[Measured], (quantity, of): (Quantity, &str)| -> Option<Option<f64>> {
        all.iter().find(|m| m.quantity == quantity && m.of == of).map(|m| m.value)
    };
    let row = |key: (Quantity, &str)| {
        let told: Vec<Option<f64>> = rehearsals.iter().filter_map(|r| find(&r.measures, key)).collect();
        let mut values: Vec<f64> = told.iter().copied().flatten().collect();
        let seen = find(&observed.measures, key);
        let spread = spread(&mut values);
        let (fit, off_by) = match (spread, seen) {
            (_, None) => (Fit::Open, None),
            _ if told.is_empty() => (Fit::Open, None),
            (None, Some(None)) => (Fit::Within, None),
            (None, Some(Some(_))) => (Fit::Off, None),
            (Some(_), Some(None)) => (if values.len() < told.len() { Fit::Within } else { Fit::Off }, None),
            (Some(spread), Some(Some(value))) => match beyond(spread, value, slack(key.0, spread, report, key.1)) {
                None => (Fit::Within, None),
                off_by => (Fit::Off, off_by),
            },
        };
        BesideMeasure {
            quantity: key.0,
            of: key.1.to_owned(),
            predicted: spread,
            happened: u64::try_from(values.len()).unwrap_or(u64::MAX),
            rehearsals: u64::try_from(told.len()).unwrap_or(u64::MAX),
            observed: seen.flatten(),
            fit,
            off_by,
        }
    };
    keys.into_iter().map(row).collect()
}

/// How far beyond a range a value lies; `None`: within, or beyond it by no more than the slack at that end.
fn beyond(spread: Spread, value: f64, slack: impl Fn(f64) -> f64) -> Option<f64> {
    if value > spread.most + slack(spread.most) {
        Some(value - spread.most)
    } else if value < spread.least - slack(spread.least) {
        Some(value - spread.least)
    } else {
        None
    }
}

/// What a value may lie beyond an end of its range.
fn slack(quantity: Quantity, spread: Spread, report: &Report, step: &str) -> impl Fn(f64) -> f64 {
    let end = report.phases.last().map_or(0, |phase| phase.to);
    let since = |from: Micros| outlook::seconds(end - from);
    let floor = match quantity {
        Quantity::Refusals => 0.0,
        // What a second of full outage comes to.
        Quantity::BadShare => report.phases.first().map_or(0.0, |first| SECONDS / since(first.from).max(SECONDS)),
        Quantity::BlastRadius => {
            let injected = report.impacts.iter().find(|impact| impact.step == step).map(|impact| impact.injected);
            injected.map_or(0.0, |injected| SECONDS / since(injected).max(SECONDS))
        }
        _ => SECONDS,
    };
    let share = if quantity == Quantity::Refusals { 0.0 } else { SHARE };
    // Of a range that begins at nothing, a share is nothing: the other end tells what is usual.
    let usual = spread.median;
    move |edge: f64| floor.max(share * edge.max(usual))
}

fn spread(values: &mut [f64]) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied();
    let last = values.len().checked_sub(1)?;
    Some(Spread { least: at(0)?, median: at(last / 2)?, most: at(last)? })
}

/// What both clusters showed of what the model takes for granted.
fn assumptions(rehearsals: &[Outlook], observed: &[Span]) -> Vec<BesideAssumption> {
    let keys: BTreeSet<(Assumption, &str)> = observed.iter().map(|span| (span.what, span.of.as_str())).collect();
    let row = |(what, of): (Assumption, &str)| {
        let seen = observed.iter().find(|span| (span.what, span.of.as_str()) == (what, of))?;
        let spans = || rehearsals.iter().flat_map(|r| &r.spans).filter(|s| (s.what, s.of.as_str()) == (what, of));
        let mut medians: Vec<f64> = spans().map(|span| outlook::seconds(span.median_us)).collect();
        let medians = spread(&mut medians)?;
        let predicted = Spread {
            least: outlook::seconds(spans().map(|span| span.least_us).min()?),
            median: medians.median,
            most: outlook::seconds(spans().map(|span| span.most_us).max()?),
        };
        let [least, median, most] = [seen.least_us, seen.median_us, seen.most_us].map(outlook::seconds);
        let tolerated = SECONDS.max(SHARE * predicted.median);
        let differs = beyond(medians, median, |_| tolerated).is_some();
        let mut row = BesideAssumption {
            what,
            of: of.to_owned(),
            predicted,
            seen: seen.seen,
            observed: Spread { least, median, most },
            fit: if differs { Fit::Off } else { Fit::Within },
            told: String::new(),
        };
        if differs {
            row.told = words::wrong(&row);
        }
        Some(row)
    };
    keys.into_iter().filter_map(row).collect()
}
