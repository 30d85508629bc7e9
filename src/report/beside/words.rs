//! What stands beside what, in words: the terminal and the page use the same ones.

use super::{Beside, BesideAssumption, BesideMeasure, Fit, Spread};
use crate::record::{Assumption, Quantity};
use crate::report::format::{self, percent, plural_of, seconds};

/// What a quantity is called.
#[must_use]
pub const fn quantity(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Outage => "longest outage",
        Quantity::Downtime => "downtime",
        Quantity::BadShare => "bad requests",
        Quantity::ToImpact => "time to impact",
        Quantity::ToDetection => "time to detection",
        Quantity::ToMitigation => "time to mitigation",
        Quantity::ToHeal => "time to heal",
        Quantity::ToRecovery => "time to recovery",
        Quantity::BlastRadius => "blast radius on users",
        Quantity::Refusals => "refused by a budget",
    }
}

/// What an assumption is about.
#[must_use]
pub const fn assumption(what: Assumption) -> &'static str {
    match what {
        Assumption::Scheduling => "from its creation to its node",
        Assumption::Start => "from its node to its first process",
        Assumption::Readiness => "from its first process to Ready",
        Assumption::EndpointAdded => "from Ready to its endpoint",
        Assumption::EndpointRemoved => "from its deletion to the end of its endpoint",
        Assumption::Ending => "from its deletion until it was gone",
        Assumption::NodeDetection => "from the fault to NotReady",
    }
}

/// A value of a quantity: seconds, a share, or a count.
#[must_use]
pub fn value(quantity: Quantity, value: f64) -> String {
    match quantity {
        Quantity::BadShare | Quantity::BlastRadius => percent(value),
        Quantity::Refusals => format!("{value:.0}"),
        Quantity::Outage if value <= 0.0 => "none".to_owned(),
        _ => seconds(value),
    }
}

/// What was predicted: the median, and the range where there is one.
#[must_use]
pub fn predicted(measure: &BesideMeasure) -> String {
    let text = match measure.predicted {
        None if measure.rehearsals == 0 => return "–".to_owned(),
        None => return "none".to_owned(),
        Some(spread) => range(spread, |number| value(measure.quantity, number)),
    };
    if measure.happened < measure.rehearsals {
        return format!("{text}, in {} of {}", measure.happened, measure.rehearsals);
    }
    text
}

/// The median of several, and between what it lies; one value where they read the same.
#[must_use]
pub fn range(spread: Spread, write: impl Fn(f64) -> String) -> String {
    let [least, median, most] = [spread.least, spread.median, spread.most].map(write);
    if least == most { median } else { format!("{median} ({least} … {most})") }
}

/// What was observed.
#[must_use]
pub fn observed(measure: &BesideMeasure) -> String {
    match measure.observed {
        Some(number) => value(measure.quantity, number),
        None if measure.fit == Fit::Open => "–".to_owned(),
        None => "none".to_owned(),
    }
}

/// How the two stand to each other: `as predicted`, `1.20 s more`.
#[must_use]
pub fn fit(measure: &BesideMeasure) -> String {
    match (measure.fit, measure.off_by) {
        (Fit::Within, _) => "as predicted".to_owned(),
        (Fit::Open, _) => "can't be told".to_owned(),
        (Fit::Off, Some(off)) => {
            let than = if off > 0.0 { "more" } else { "less" };
            format!("{} {than}", distance(measure.quantity, off.abs()))
        }
        (Fit::Off, None) if measure.observed.is_some() => "was not predicted".to_owned(),
        (Fit::Off, None) => "did not happen".to_owned(),
    }
}

fn distance(quantity: Quantity, off: f64) -> String {
    match quantity {
        Quantity::BadShare | Quantity::BlastRadius => format!("{:.2} pp", off * 100.0),
        _ => value(quantity, off),
    }
}

/// The verdicts of the rehearsals: `passed`, or `passed 18, deviated 2`.
#[must_use]
pub fn verdicts(beside: &Beside) -> String {
    match beside.verdicts.keys().next().filter(|_| beside.verdicts.len() == 1) {
        Some(only) => only.clone(),
        None => format::classes(&beside.verdicts),
    }
}

/// How much came as predicted, in a sentence without its full stop.
#[must_use]
pub fn score(beside: &Beside) -> String {
    let (within, of) = beside.score();
    format!("{within} of {of} as {} showed", plural_of(beside.rehearsals.len(), "rehearsal"))
}

/// Which assumption was wrong, and what tells the lab better.
pub(super) fn wrong(row: &BesideAssumption) -> String {
    let [observed, predicted] = [row.observed.median, row.predicted.median].map(seconds);
    let difference = annotated((row.observed.median - row.predicted.median).abs());
    let longer = row.observed.median > row.predicted.median;
    let (more, raise) = if longer { ("more", "raise") } else { ("less", "lower") };
    let of = &row.of;
    let took = match row.what {
        Assumption::NodeDetection => {
            format!("a node took {observed} {}", assumption(row.what))
        }
        _ => format!("a pod of `{of}` took {observed} {}", assumption(row.what)),
    };
    let then = match row.what {
        Assumption::Readiness => format!(
            "give it `lab.squall.dev/starts-in` {difference} {more} than it has (300ms where it has none), and see that its readiness \
             probe is the same"
        ),
        Assumption::Start if longer => {
            format!("the lab has every image: `lab.squall.dev/pull: {difference}` tells it what a pull takes")
        }
        Assumption::Start => {
            "the lab is slower to start a container than this cluster: `--assume start=TIME` tells it".to_owned()
        }
        Assumption::Ending => format!(
            "{raise} `lab.squall.dev/stops-in`, or `serves-on` of one that serves on, by {difference}, within its grace period"
        ),
        Assumption::Scheduling if longer => {
            "it waited for room or for the scheduler: rehearse with the nodes that there are (`--nodes`)".to_owned()
        }
        Assumption::NodeDetection => {
            "the lab has the default of the controller manager; `--node-monitor-grace-period` sets another".to_owned()
        }
        Assumption::EndpointAdded | Assumption::EndpointRemoved | Assumption::Scheduling => {
            "the lab has the delays that docs/lab.md lists: `--assume NAME=TIME` tells it others".to_owned()
        }
    };
    format!("{took}, and {predicted} in rehearsal: {then}")
}

/// A length as an annotation takes it.
fn annotated(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a length of seconds that a watch saw")]
    let tenths = (seconds * 10.0).round() as u64;
    if tenths.is_multiple_of(10) { format!("{}s", tenths / 10) } else { format!("{}ms", tenths * 100) }
}
