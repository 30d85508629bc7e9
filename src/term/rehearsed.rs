//! What came of many rehearsals of one experiment.

use std::collections::BTreeMap;

use serde::Serialize;

use super::format::{duration, run_verdict};
use super::table::{Cell, table};
use super::{BAD, FAINT, GOOD, Output, STRONG, Terminal, paint};
use crate::record::Verdict;
use crate::report::Report;

/// The verdict that is wanted, in words.
const PASSED: &str = "passed";
/// Most seeds that are listed of one verdict.
const LISTED: usize = 20;

/// Rehearsals with one seed after another.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsed {
    /// How many there were.
    runs: usize,
    /// The seeds by verdict.
    seeds: BTreeMap<String, Vec<u64>>,
    /// Each hypothesis, over all runs.
    hypotheses: Vec<Held>,
    /// How long the first step took to heal, in microseconds, where it did.
    to_heal_us: Vec<i64>,
    #[serde(skip)]
    source: String,
    #[serde(skip)]
    options: String,
}

/// A hypothesis over many runs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Held {
    subject: String,
    stream: String,
    tolerance: String,
    phase: String,
    times: usize,
    of: usize,
    /// What was measured, with its text.
    #[serde(skip)]
    measured: Vec<(f64, String)>,
    /// The measured values, in the order of the seeds: ratios, or seconds.
    values: Vec<f64>,
}

impl Rehearsed {
    /// Takes in one more.
    pub fn add(&mut self, seed: u64, report: &Report) {
        self.runs += 1;
        self.source.clone_from(&report.source);
        self.options.clone_from(&report.cluster.server);
        let verdict = run_verdict(report.verdict);
        self.seeds.entry(verdict.to_owned()).or_default().push(seed);
        self.to_heal_us.extend(report.impacts.first().and_then(|impact| impact.to_heal_us));
        for judged in &report.hypotheses {
            let stream = judged.stream.map_or_else(String::new, |stream| stream.label().into_owned());
            let phase = judged.phase.map_or_else(String::new, |phase| phase.label().to_owned());
            let same = |known: &&mut Held| {
                (&known.subject, &known.stream, &known.tolerance, &known.phase)
                    == (&judged.subject, &stream, &judged.tolerance, &phase)
            };
            let held = usize::from(judged.verdict == Verdict::Held);
            let measured = judged.value.map(|value| (value, judged.measured.clone()));
            if let Some(known) = self.hypotheses.iter_mut().find(same) {
                known.times += held;
                known.of += 1;
                known.values.extend(judged.value);
                known.measured.extend(measured);
            } else {
                self.hypotheses.push(Held {
                    subject: judged.subject.clone(),
                    stream,
                    tolerance: judged.tolerance.clone(),
                    phase,
                    times: held,
                    of: 1,
                    measured: measured.into_iter().collect(),
                    values: judged.value.into_iter().collect(),
                });
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let passed = self.seeds.get(PASSED).map_or(0, Vec::len);
        let style = if passed == self.runs { GOOD } else { BAD };
        let verdict = paint(style, &format!("passed in {passed} of {} rehearsals", self.runs));
        let mut lines = vec![String::new(), verdict, String::new()];
        lines.extend(table(&self.rows()));
        if let Some(text) = self.healing() {
            lines.extend([String::new(), text]);
        }
        for (verdict, seeds) in self.seeds.iter().filter(|(verdict, _)| *verdict != PASSED) {
            let listed: Vec<_> = seeds.iter().take(LISTED).map(u64::to_string).collect();
            let more = seeds.len().saturating_sub(LISTED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let head = paint(STRONG, verdict);
            lines.extend([String::new(), format!("{head} with the seeds {}{more}", listed.join(", "))]);
            if let Some(seed) = seeds.first() {
                let options = self.options.strip_prefix("lab").unwrap_or_default();
                lines.push(format!("look at one: squall rehearse {}{options} --seed {seed}", self.source));
            }
        }
        lines
    }

    fn rows(&self) -> Vec<Vec<Cell>> {
        let head = ["hypothesis", "", "", "held", "least", "median", "most"];
        let mut rows = vec![head.map(|text| Cell::painted(FAINT, text)).into_iter().collect::<Vec<_>>()];
        for held in &self.hypotheses {
            let mut measured = held.measured.clone();
            measured.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at = |index: usize| measured.get(index).map_or_else(String::new, |(_, text)| text.clone());
            let last = measured.len().saturating_sub(1);
            let subject =
                if held.stream.is_empty() { held.subject.clone() } else { format!("{} {}", held.subject, held.stream) };
            let share = format!("{}/{}", held.times, held.of);
            let share = if held.times == held.of { Cell::text(share) } else { Cell::painted(BAD, share) };
            rows.push(vec![
                Cell::text(subject),
                Cell::text(held.tolerance.clone()),
                Cell::text(held.phase.clone()),
                share,
                Cell::number(at(0)),
                Cell::number(at(last / 2)),
                Cell::number(at(last)),
            ]);
        }
        rows
    }

    fn healing(&self) -> Option<String> {
        let mut times = self.to_heal_us.clone();
        times.sort_unstable();
        let (least, most) = (times.first()?, times.last()?);
        let median = times.get((times.len() - 1) / 2)?;
        Some(format!(
            "healed in {} of {}: after {} to {}, median {}",
            times.len(),
            self.runs,
            duration(*least),
            duration(*most),
            duration(*median)
        ))
    }
}

impl Terminal {
    /// Prints what came of many rehearsals: how often each hypothesis held, and the seeds of what did not pass.
    pub fn rehearsed(&mut self, rehearsed: &Rehearsed) {
        match self.output {
            Output::Json => drop(self.json(rehearsed)),
            Output::Quiet => {
                for line in rehearsed.lines().into_iter().skip(1).take(1) {
                    self.out.line(&line);
                }
            }
            Output::Text => rehearsed.lines().iter().for_each(|line| self.out.line(line)),
        }
    }
}
