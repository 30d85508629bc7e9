//! Schedules as cron writes them, and when they come round.

use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{Timestamp, ToSpan as _};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// A schedule that has not come round after so many days never does: as the 30th of February.
const HORIZON: u32 = 5 * 366;

/// Which minutes a schedule takes: a bit for each value of each field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// The day of the month and that of the week are both said: either will do.
    either: bool,
}

impl Schedule {
    /// Reads the five fields, or a name for them.
    ///
    /// # Errors
    ///
    /// What is wrong, in a few words.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let (days, any_day) = field(days, 1, 31, &[], 0)?;
        let (weekdays, any_weekday) = field(weekdays, 0, 7, &DAYS, 0)?;
        Ok(Self {
            minutes: field(minutes, 0, 59, &[], 0)?.0,
            hours: field(hours, 0, 23, &[], 0)?.0,
            days,
            months: field(months, 1, 12, &MONTHS, 1)?.0,
            // Sunday is the seventh day too.
            weekdays: weekdays | (weekdays >> 7),
            either: !any_day && !any_weekday,
        })
    }

    /// When it comes round next after a time.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = after.to_zoned(zone.clone()).datetime();
        let mut date = now.date();
        for _ in 0..HORIZON {
            if self.takes(date) {
                let hours = (0..24_i8).filter(|hour| has(self.hours, *hour));
                let mut times = hours.flat_map(|hour| {
                    (0..60_i8).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
                });
                let found = times.find_map(|(hour, minute)| {
                    let time = date.at(hour, minute, 0, 0);
                    let time = (time > now).then(|| time.to_zoned(zone.clone()).ok()).flatten()?.timestamp();
                    (time > after).then_some(time)
                });
                if found.is_some() {
                    return found;
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    fn takes(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.either { day || weekday } else { day && weekday }
    }
}

fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| bits >> value & 1 == 1)
}

/// The bits of a field, and whether it is any value.
fn field(text: &str, least: u32, most: u32, names: &[&str], first: u32) -> Result<(u64, bool), String> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let step_by: u32 = match step.map(str::parse) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return Err(format!("step of range should be a positive number: {part}")),
        };
        let value = |text: &str| {
            let lower = text.to_ascii_lowercase();
            let place = names.iter().position(|name| *name == lower).and_then(|at| u32::try_from(at).ok());
            let value = place.map(|at| at + first).or_else(|| text.parse().ok());
            let within = |value: &u32| (least..=most).contains(value);
            value.filter(within).ok_or_else(|| format!("`{text}` is not from {least} to {most}: {part}"))
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => {
                any |= step_by == 1;
                (least, if most == 7 { 6 } else { most })
            }
            (_, Some((from, to))) => (value(from)?, value(to)?),
            // With a step a single value is where it begins.
            (single, None) => (value(single)?, if step.is_some() { most } else { value(single)? }),
        };
        if from > to {
            return Err(format!("beginning of range ({from}) beyond end of range ({to}): {part}"));
        }
        for value in (from..=to).step_by(usize::try_from(step_by).unwrap_or(1)) {
            bits |= 1_u64 << value;
        }
    }
    Ok((bits, any))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next times after one, all in UTC.
    fn after(schedule: &str, from: &str, times: usize) -> Vec<String> {
        let schedule = Schedule::read(schedule).unwrap();
        let mut at: Timestamp = from.parse().unwrap();
        let next = std::iter::from_fn(|| {
            at = schedule.next(at, &TimeZone::UTC)?;
            Some(at.to_string())
        });
        next.take(times).collect()
    }

    #[test]
    fn schedules_come_round_when_cron_says() {
        let from = "2026-02-27T10:07:30Z"; // a Friday
        let table = [
            ("* * * * *", vec!["2026-02-27T10:08:00Z", "2026-02-27T10:09:00Z"]),
            ("*/15 * * * *", vec!["2026-02-27T10:15:00Z", "2026-02-27T10:30:00Z"]),
            ("5/20 10 * * *", vec!["2026-02-27T10:25:00Z", "2026-02-27T10:45:00Z", "2026-02-28T10:05:00Z"]),
            ("@hourly", vec!["2026-02-27T11:00:00Z"]),
            (
                "0 3 * * mon-WED,5",
                vec!["2026-03-02T03:00:00Z", "2026-03-03T03:00:00Z", "2026-03-04T03:00:00Z", "2026-03-06T03:00:00Z"],
            ),
            ("0 0 29 feb *", vec!["2028-02-29T00:00:00Z"]),
            // Either day will do where both are said, also where Sunday is the seventh.
            ("0 0 13 * 7", vec!["2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z", "2026-03-13T00:00:00Z"]),
            ("0 0 30 2 *", vec![]),
        ];
        for (schedule, expected) in table {
            assert_eq!(after(schedule, from, expected.len().max(1)), expected, "{schedule}");
        }
        assert_eq!(after("8 10 * * *", "2026-02-27T10:08:00Z", 1), ["2026-02-28T10:08:00Z"], "it is over");
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "*/0 * * * *",
            "5-2 * * * *",
            "* * * foo *",
            "@often",
        ] {
            assert!(Schedule::read(text).is_err(), "{text}");
        }
    }
}
