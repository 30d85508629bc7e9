//! The interval log of `HdrHistogram` (`probes.hlog`), for the viewers and processors that others have written.
//!
//! One line per second, stream and outcome, tagged `web/fresh/good` or `web/fresh/bad`; latencies count from the planned
//! instant, in nanoseconds as `HistogramLogProcessor` expects by default. Payloads are V2, deflated, in base64; the log's own
//! format is 1.3. The format line and the legend are comments, because the readers of some languages know no other.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::distribution::Distribution;
use super::payload::Payloads;
use super::series::{Row, Seen, Series, float, seconds};
use super::timeline::{SECOND, Seconds};
use crate::probe::Nanos;

/// Writes the log a second at a time. Give it the file itself, without a buffer: after a kill at any instant there are only
/// whole lines, but for a last one that the system itself cut.
pub struct HlogWriter<W> {
    out: W,
    payloads: Payloads,
    scratch: Distribution,
    cursors: Vec<Seconds>,
    lines: String,
}

impl<W: Write> HlogWriter<W> {
    /// Begins a log. `zero` is the wall clock at the run's zero, in seconds since the epoch: start and base time of the log.
    ///
    /// # Errors
    ///
    /// When the output can't be written.
    pub fn begin(mut out: W, zero: jiff::Timestamp) -> io::Result<Self> {
        let epoch = format!("{}.{:03} (seconds since epoch)", zero.as_second(), zero.subsec_millisecond());
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(out, "#[StartTime: {epoch}, {zero}]")?;
        writeln!(out, "#[BaseTime: {epoch}]")?;
        writeln!(out, "#\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"")?;
        out.flush()?;
        let scratch = Distribution::new().map_err(io::Error::other)?;
        Ok(Self { out, payloads: Payloads::new(), scratch, cursors: Vec::new(), lines: String::new() })
    }

    /// Writes every second that has become complete since the last call, over all series in order of time, and flushes. The
    /// same series must be given in the same order each time. A second without a good (or bad) request has no such line.
    ///
    /// # Errors
    ///
    /// When the output can't be written.
    pub fn advance(&mut self, series: &[Series]) -> io::Result<()> {
        self.cursors.resize(series.len(), Seconds::default());
        let mut seconds = Vec::new();
        for (series, cursor) in series.iter().zip(&mut self.cursors) {
            seconds.extend(std::iter::from_fn(|| cursor.next(series)).map(|(from, rows)| (from, series, rows)));
        }
        // Stable: within a second, the order of the series.
        seconds.sort_by_key(|(from, ..)| *from);
        self.lines.clear();
        for (from, series, rows) in seconds {
            self.second(series, from, series.rows().get(rows).unwrap_or_default())?;
        }
        // One call for all lines: a kill tears a line at most where the system tears the call.
        self.out.write_all(self.lines.as_bytes())?;
        self.out.flush()
    }

    fn second(&mut self, series: &Series, from: Nanos, rows: &[Row]) -> io::Result<()> {
        for (seen, outcome) in [(Seen::Good, "good"), (Seen::Bad, "bad")] {
            self.scratch.clear();
            for row in rows.iter().filter(|row| row.seen() == seen) {
                self.scratch.record(row.response);
            }
            if self.scratch.is_empty() {
                continue;
            }
            // The largest value in milliseconds, as the readers' default divisor has it.
            let largest = float(self.scratch.histogram().max()) / 1e6;
            let tag = format!("{}/{}/{outcome}", series.probe(), series.stream().label());
            let (start, length) = (seconds(from), seconds(SECOND));
            write!(self.lines, "Tag={tag},{start:.3},{length:.3},{largest:.3},").map_err(io::Error::other)?;
            self.payloads.add(self.scratch.histogram(), &mut self.lines)?;
            self.lines.push('\n');
            if self.scratch.above() > 0 {
                let above = self.scratch.above();
                writeln!(self.lines, "#{above} above 10 min in the line before").map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    /// The output.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};

    use proptest::prelude::*;

    use super::*;
    use crate::measure::testing::{MS, S, Script};
    use crate::probe::{Outcome, StreamKind};

    fn log(batches: usize) -> Vec<u8> {
        let script = Script::at("50/s").good(75).each(50, Outcome::Good, 20 * MS).bad(25).unknown(50).good(25);
        let samples = script.samples();
        let mut fresh = script.series();
        fresh = Series::new(fresh.probe(), StreamKind::Fresh, fresh.rate(), fresh.timeout(), 0);
        let mut kept = Series::new("web", StreamKind::KeptAlive, fresh.rate(), fresh.timeout(), 0);
        let mut series = [fresh, kept.clone()];
        let mut writer = HlogWriter::begin(Vec::new(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        for batch in samples.chunks(samples.len().div_ceil(batches)) {
            for one in &mut series {
                one.extend(batch.iter().copied());
            }
            writer.advance(&series).unwrap();
        }
        kept.finish(0);
        for one in &mut series {
            one.finish(samples.len() as u64);
        }
        writer.advance(&series).unwrap();
        writer.into_inner()
    }

    fn histogram(encoded: &str) -> Histogram<u64> {
        let payload = STANDARD.decode(encoded).unwrap();
        Deserializer::new().deserialize(&mut payload.as_slice()).unwrap()
    }

    fn histograms(log: &[u8]) -> Vec<Histogram<u64>> {
        let intervals = IntervalLogIterator::new(log).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(histogram(interval.encoded_histogram())),
            _ => None,
        });
        intervals.collect()
    }

    /// Tag, start, count and largest value of every interval.
    fn read(log: &[u8]) -> Vec<(String, u64, u64, u64)> {
        let intervals = IntervalLogIterator::new(log).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        intervals
            .map(|interval| {
                let histogram = histogram(interval.encoded_histogram());
                let tag = interval.tag().unwrap().as_str().to_owned();
                assert_eq!(interval.duration().as_secs(), 1);
                (tag, interval.start_timestamp().as_secs(), histogram.len(), histogram.max() / MS)
            })
            .collect()
    }

    #[test]
    fn the_reference_reader_reads_what_was_written() {
        let fresh: Vec<_> = read(&log(1)).into_iter().filter(|line| line.0.starts_with("web/fresh/")).collect();
        let line = |outcome: &str, second, count, ms| (format!("web/fresh/{outcome}"), second, count, ms);
        assert_eq!(
            fresh,
            [
                line("good", 0, 50, 1),
                line("good", 1, 50, 20),
                line("good", 2, 25, 20),
                line("bad", 2, 25, 0),
                line("good", 4, 25, 1)
            ]
        );
    }

    #[test]
    fn the_log_is_the_same_whatever_the_batches_and_sorted_by_time() {
        let mut lines = read(&log(1));
        assert_eq!(lines.len(), 10);
        assert!(lines.is_sorted_by_key(|line| line.1));
        let mut piecewise = read(&log(17));
        lines.sort();
        piecewise.sort();
        assert_eq!(lines, piecewise);
    }

    proptest! {
        #[test]
        fn merging_seconds_gives_the_same_bits_however_they_are_shared_out(
            latencies in prop::collection::vec((1u64..1_000_000_000, 0usize..8), 50..400),
        ) {
            let script = latencies.iter().fold(Script::at("50/s"), |script, (after, _)| script.each(1, Outcome::Good, *after));
            let mut writer = HlogWriter::begin(Vec::new(), jiff::Timestamp::UNIX_EPOCH).unwrap();
            writer.advance(&[script.finished()]).unwrap();
            let seconds = histograms(&writer.into_inner());
            let new = || Distribution::new().unwrap().histogram().clone();
            let bits = |histogram: &Histogram<u64>| {
                let mut bits = Vec::new();
                V2DeflateSerializer::new().serialize(histogram, &mut bits).unwrap();
                bits
            };
            // Any number of shards, any second in any of them, joined in any order.
            let mut shards: Vec<Histogram<u64>> = (0..8).map(|_| new()).collect();
            for (second, (_, shard)) in seconds.iter().zip(&latencies) {
                shards[*shard].add(second).unwrap();
            }
            let mut joined = new();
            shards.iter().rev().for_each(|shard| joined.add(shard).unwrap());
            let mut whole = Distribution::new().unwrap();
            for (after, _) in &latencies {
                whole.record(*after);
            }
            prop_assert_eq!(joined.len(), latencies.len() as u64);
            prop_assert_eq!(bits(&joined), bits(whole.histogram()));
        }
    }

    #[test]
    fn a_log_that_was_cut_off_is_readable_up_to_the_cut() {
        let whole = log(1);
        let text = String::from_utf8(whole.clone()).unwrap();
        assert!(text.starts_with("#[Histogram log format version 1.3]\n#[StartTime: 0.000 (seconds since epoch), "));
        let cut = &whole[..whole.len() - 40];
        let complete = cut.iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
        assert_eq!(read(&whole[..complete]).len(), 9);
    }

    #[test]
    fn a_second_is_written_once_it_is_complete() {
        let samples = Script::at("10/s").good(25).samples();
        let mut series = [Script::at("10/s").series()];
        let mut writer = HlogWriter::begin(Vec::new(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        series[0].extend(samples[..19].iter().copied());
        writer.advance(&series).unwrap();
        assert_eq!(series[0].settled_until(), 1_900_000_000);
        series[0].push(samples[19]);
        assert_eq!(series[0].settled_until(), 2 * S);
        writer.advance(&series).unwrap();
        assert_eq!(read(&writer.into_inner()).iter().map(|line| line.1).collect::<Vec<_>>(), [0, 1]);
    }
}
