//! How it goes at this moment: a block of lines that is drawn in place on a terminal, or one line every five seconds elsewhere.

use std::collections::BTreeMap;

use super::table::{Cell, table};
use super::{BAD, FAINT, STRONG, lines::timed, paint};
use crate::probe::StreamKind;
use crate::record::{Event, Interval, Micros, Phase, What};
use crate::report::format::{self, count, duration, latency, plural, rate, ratio};

/// Time between two progress lines where lines can't be replaced.
const PROGRESS_EVERY: Micros = 5_000_000;
/// Most streams in the block; a terminal has some 24 lines.
const STREAMS: usize = 8;

/// The latest second of each stream, and the sums since the last progress line.
#[derive(Default)]
pub(super) struct Live {
    phase: Option<Phase>,
    at: Micros,
    latest: BTreeMap<(String, StreamKind), Interval>,
    over: bool,
    progress_at: Option<Micros>,
    good: u64,
    bad: u64,
    slowest: Option<(u64, String)>,
}

impl Live {
    /// Takes note of an event.
    pub(super) fn push(&mut self, event: &Event) {
        self.at = event.at;
        match &event.what {
            What::PhaseStarted { phase, .. } => self.phase = Some(*phase),
            What::ProbesStopped { .. } | What::RunFinished { .. } => self.over = true,
            What::Interval(interval) => {
                self.good += interval.good;
                self.bad += interval.bad.values().sum::<u64>();
                if self.slowest.as_ref().is_none_or(|(p99, _)| interval.p99_us > *p99) {
                    self.slowest = Some((interval.p99_us, format::stream(&interval.probe, interval.stream)));
                }
                self.latest.insert((interval.probe.clone(), interval.stream), interval.clone());
            }
            _ => {}
        }
    }

    /// Whether there is nothing to watch any more.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// The block: the phase, then each stream's last second, the failing ones first.
    pub(super) fn block(&self) -> Vec<String> {
        let Some(phase) = self.phase.filter(|_| !self.latest.is_empty()) else { return Vec::new() };
        let mut streams: Vec<_> = self.latest.values().collect();
        streams.sort_by_key(|i| std::cmp::Reverse(i.bad.values().sum::<u64>()));
        let shown = streams.len().min(STREAMS);
        let mut shown_streams = streams[..shown].to_vec();
        shown_streams.sort_by(|a, b| (&a.probe, a.stream).cmp(&(&b.probe, b.stream)));
        let mut lines = vec![format!("{} {}", paint(STRONG, phase.label()), duration(self.at))];
        lines.extend(table(&shown_streams.into_iter().map(row).collect::<Vec<_>>()));
        if streams.len() > shown {
            lines.push(paint(
                FAINT,
                &format!("  and {} that fail less", plural((streams.len() - shown) as u64, "stream")),
            ));
        }
        lines
    }

    /// The progress line, once every [`PROGRESS_EVERY`] of the run's time.
    pub(super) fn progress(&mut self, event: &Event) -> Option<String> {
        if !matches!(event.what, What::Interval(_)) || self.over {
            return None;
        }
        let last = *self.progress_at.get_or_insert(event.at);
        if event.at - last < PROGRESS_EVERY {
            return None;
        }
        self.progress_at = Some(event.at);
        let slowest = self.slowest.take().filter(|(p99, _)| *p99 > 0);
        let slowest =
            slowest.map(|(p99, stream)| format!(", p99 up to {} ({stream})", latency(p99))).unwrap_or_default();
        let (good, bad) = (std::mem::take(&mut self.good), std::mem::take(&mut self.bad));
        let phase = self.phase.map_or("", Phase::label);
        Some(timed(event.at, FAINT, phase, &format!("{} good, {} bad{slowest}", count(good), count(bad))))
    }
}

fn row(interval: &Interval) -> Vec<Cell> {
    let bad: u64 = interval.bad.values().sum();
    let length = u64::try_from(interval.to - interval.from).unwrap_or(0);
    let per_second = ratio(interval.planned * 1_000_000, length).unwrap_or(0.0);
    let good = format!("{} good", count(interval.good));
    let classes = if bad > 0 { format::classes(&interval.bad) } else { String::new() };
    vec![
        Cell::text(format!("  {}", format::stream(&interval.probe, interval.stream))),
        Cell::number(rate(per_second)),
        Cell::number(good),
        if bad > 0 { Cell::painted(BAD, format!("{} bad", count(bad))).on_the_right() } else { Cell::number("0 bad") },
        Cell::text(format!("p50 {}", latency(interval.p50_us))),
        Cell::text(format!("p99 {}", latency(interval.p99_us))),
        Cell::text(classes),
    ]
}
