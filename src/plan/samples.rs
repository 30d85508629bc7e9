//! Whether the run will have the samples that its hypotheses need, said before anything is touched.

use std::time::Duration;

use super::{PlannedTiming, SampleCheck};
use crate::measure::needed_samples;
use crate::record::Phase;
use crate::scalar::{Measure, Rate, Tolerance};
use crate::spec::{Experiment, Hypothesis};

/// Each hypothesis of a probe and each phase of known length, and warnings where the samples don't suffice.
pub(super) fn check(experiment: &Experiment, timing: &PlannedTiming) -> (Vec<SampleCheck>, Vec<String>) {
    let spec = &experiment.spec;
    let (mut checks, mut warnings) = (Vec::new(), Vec::new());
    for (index, hypothesis) in spec.steady_state.iter().enumerate() {
        let Hypothesis::Probe { probe: name, tolerance, when } = hypothesis else { continue };
        let Some(probe) = spec.probes.iter().find(|probe| probe.name == *name) else { continue };
        if is_diluted(experiment, index) {
            warnings.push(format!(
                "`{tolerance}` of probe `{name}` is a ratio over a whole phase: a longer phase hides the same failure; \
                 add `outage <= …`, or write `{tolerance} over 10s`"
            ));
        }
        let Some(need) = needed_samples(tolerance) else { continue };
        for &phase in when {
            let Some(length) = timing.length(phase) else {
                warnings.push(unknown(name.as_str(), tolerance, probe.rate, need));
                continue;
            };
            let window = tolerance.over.map_or(length, |over| over.min(length));
            let have = probe.rate.slots_in(window);
            if have < need {
                warnings.push(too_few(name.as_str(), tolerance, phase, probe.rate, window, have, need));
            }
            let (probe, tolerance) = (name.to_string(), tolerance.text.clone());
            checks.push(SampleCheck { index, probe, tolerance, phase, have, need });
        }
    }
    (checks, warnings)
}

/// Whether a hypothesis judges *during* by a ratio over the whole phase, and none of the same probe bounds the failure itself.
fn is_diluted(experiment: &Experiment, index: usize) -> bool {
    let all = &experiment.spec.steady_state;
    let Some(Hypothesis::Probe { probe, tolerance, when }) = all.get(index) else { return false };
    let bounds = |other: &Hypothesis| match other {
        Hypothesis::Probe { probe: name, tolerance, .. } => {
            name == probe
                && (tolerance.over.is_some() || matches!(tolerance.measure, Measure::Outage | Measure::Downtime))
        }
        Hypothesis::Object { .. } => false,
    };
    tolerance.measure == Measure::Success
        && tolerance.over.is_none()
        && when.contains(&Phase::During)
        && !all.iter().any(bounds)
}

fn too_few(
    name: &str,
    tolerance: &Tolerance,
    phase: Phase,
    rate: Rate,
    window: Duration,
    have: u64,
    need: u64,
) -> String {
    let seconds = window.as_secs_f64();
    let place = if tolerance.over.is_some() { "window" } else { phase.label() };
    let mut cures = vec![format!("a {place} of {}", rounded_up(rate.length_of(need)))];
    if seconds > 0.0 {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate to print"
        )]
        let faster = (need as f64 / seconds).ceil() as u64;
        cures.insert(0, format!("`rate: {faster}/s`"));
    }
    format!(
        "`{tolerance}` of probe `{name}` will be unproven {}: it needs {need} requests per stream and has {have}; {} would do",
        match phase {
            Phase::Before | Phase::After => format!("in *{}*", phase.label()),
            Phase::During => "*during*".to_owned(),
        },
        cures.join(" or ")
    )
}

fn unknown(name: &str, tolerance: &Tolerance, rate: Rate, need: u64) -> String {
    let length = rounded_up(rate.length_of(need));
    format!(
        "`{tolerance}` of probe `{name}` may be unproven *during*, whose length is not given: it needs {need} requests per stream; \
         `timing.during: {length}` or more would do"
    )
}

/// Whole seconds, as a document has them.
fn rounded_up(time: Duration) -> String {
    format!("{}s", time.as_millis().div_ceil(1000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{experiment, tolerance};
    use crate::scalar::{Bound, Comparison};

    fn ratio(value: f64) -> Tolerance {
        tolerance(Measure::Success, Comparison::AtLeast, Bound::Ratio(value), "success >= …")
    }

    fn checked(tolerances: Vec<(Tolerance, Vec<Phase>)>, during: Option<u64>) -> (Vec<SampleCheck>, Vec<String>) {
        let mut experiment = experiment("[]");
        experiment.spec.timing.during = during.map(crate::scalar::Duration::seconds);
        let probe = experiment.spec.probes[0].name.clone();
        experiment.spec.steady_state = tolerances
            .into_iter()
            .map(|(tolerance, when)| Hypothesis::Probe { probe: probe.clone(), tolerance, when })
            .collect();
        check(&experiment, &PlannedTiming::of(&experiment))
    }

    #[test]
    fn says_which_rate_or_length_would_do() {
        // 100/s for 20 s are 2000 of the 3000 that three nines need.
        let (checks, warnings) = checked(vec![(ratio(0.999), vec![Phase::Before])], Some(60));
        assert_eq!((checks[0].have, checks[0].need), (2000, 3000));
        assert!(warnings[0].contains("`rate: 150/s` or a before of 30s would do"), "{}", warnings[0]);
        let (_, warnings) = checked(vec![(ratio(0.99), vec![Phase::Before])], Some(60));
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn a_window_has_only_its_own_samples() {
        let over = Tolerance { over: Some(Duration::from_secs(5)), ..ratio(0.999) };
        let (checks, warnings) = checked(vec![(over, vec![Phase::During])], Some(60));
        assert_eq!(checks[0].have, 500);
        assert!(warnings[0].contains("a window of 30s"), "{}", warnings[0]);
    }

    #[test]
    fn a_phase_of_unknown_length_is_said_to_be() {
        let over = Tolerance { over: Some(Duration::from_mins(1)), ..ratio(0.999) };
        let (checks, warnings) = checked(vec![(over, vec![Phase::During])], None);
        assert!(checks.is_empty());
        assert!(warnings[0].contains("`timing.during: 30s` or more"), "{}", warnings[0]);
    }

    #[test]
    fn steers_away_from_a_diluted_ratio() {
        let (_, warnings) = checked(vec![(ratio(0.99), vec![Phase::During])], Some(60));
        assert!(warnings[0].contains("hides the same failure"), "{warnings:?}");
        let outage =
            tolerance(Measure::Outage, Comparison::AtMost, Bound::Time(Duration::from_secs(2)), "outage <= 2s");
        let both = vec![(ratio(0.99), vec![Phase::During]), (outage, Phase::ALL.to_vec())];
        assert!(checked(both, Some(60)).1.is_empty());
        assert!(checked(vec![(ratio(0.99), vec![Phase::Before])], Some(60)).1.is_empty());
    }
}
