//! What one step did to the users, and when.

use super::recovery::{Recoveries, Recovery};
use super::series::{Seen, Series, micros};
use crate::probe::Nanos;
use crate::record::Impact;
use crate::scalar::Tolerance;

/// The instants around one step, in nanoseconds since the run's zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTimes {
    /// Step name.
    pub step: String,
    /// The first of its injections was acknowledged, or began where it took long.
    pub injected: Nanos,
    /// What happens from here on is another step's, or past the end of the run.
    pub until: Nanos,
    /// The cluster took a target out of service, and where that was seen.
    pub detected: Option<(Nanos, String)>,
    /// The heal condition was met.
    pub healed: Option<Nanos>,
}

/// Times to impact, detection, mitigation, healing and recovery, and the blast radius on users.
///
/// Over all series, those of single endpoints left out: the first bad request of any, the last bad request of any, the latest recovery. `tolerances` are those of
/// a series' probe; see [`Recoveries`]. Without a bad request there is neither impact nor mitigation, and a stream that never
/// missed its tolerances recovered at the injection. No recovery if one stream did not recover, or was not seen well enough.
#[must_use]
pub fn impact<'a>(
    times: &StepTimes,
    series: &'a [Series],
    tolerances: impl Fn(&'a str) -> Vec<&'a Tolerance>,
) -> Impact {
    let mut impact = Impact {
        step: times.step.clone(),
        injected: micros(times.injected),
        healed: times.healed.map(micros),
        ..Impact::default()
    };
    if let Some((at, by)) = &times.detected {
        impact.detected = Some(micros(*at));
        impact.detected_by.clone_from(by);
    }
    let mut recovered = Vec::with_capacity(series.len());
    // What one endpoint's requests came to stands among all endpoints' together.
    for series in series.iter().filter(|series| !series.stream().is_endpoint()) {
        for row in series.within(times.injected..times.until) {
            match row.seen() {
                Seen::Unseen => continue,
                Seen::Good => {}
                Seen::Bad => {
                    let at = micros(row.planned);
                    impact.impact = Some(impact.impact.map_or(at, |first| first.min(at)));
                    impact.mitigated = Some(impact.mitigated.map_or(at, |last| last.max(at)));
                    impact.bad += 1;
                }
            }
            impact.judged += 1;
        }
        let recovery = Recoveries::new(series, &tolerances(series.probe())).after(times.injected, times.until);
        recovered.push(match recovery {
            Recovery::NoImpact { seen: true } => Some(micros(times.injected)),
            Recovery::At { at, .. } => Some(micros(at)),
            Recovery::NoImpact { seen: false } | Recovery::Never { .. } | Recovery::TooShort => None,
        });
    }
    impact.recovered = recovered.into_iter().collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
    impact
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::testing::{S, Script};
    use crate::probe::StreamKind;

    fn times(injected: Nanos, until: Nanos) -> StepTimes {
        let detected = Some((injected + S, "endpointslice".to_owned()));
        StepTimes { step: "kill-one".into(), injected, until, detected, healed: Some(injected + 9 * S) }
    }

    #[test]
    fn the_times_are_over_all_streams() {
        let fresh = Script::at("100/s").good(1_050).bad(100).good(850).finished();
        let mut kept = Series::new("web", StreamKind::KeptAlive, fresh.rate(), fresh.timeout(), 0);
        kept.extend(Script::at("100/s").good(1_020).bad(20).unknown(5).good(955).samples());
        let both = [fresh, kept];
        let found = impact(&times(10 * S, 20 * S), &both, |_| Vec::new());
        assert_eq!((found.impact, found.mitigated), (Some(10_200_000), Some(11_490_000)));
        assert_eq!((found.recovered, found.healed), (Some(11_500_000), Some(19_000_000)));
        assert_eq!((found.detected, found.detected_by.as_str()), (Some(11_000_000), "endpointslice"));
        assert_eq!((found.bad, found.judged), (120, 1_995));
    }

    #[test]
    fn without_impact_it_recovered_at_once_and_what_never_came_back_did_not() {
        let quiet = [Script::at("100/s").good(2_000).finished()];
        let found = impact(&times(10 * S, 20 * S), &quiet, |_| Vec::new());
        assert_eq!((found.impact, found.mitigated, found.recovered), (None, None, Some(10_000_000)));
        let down = [Script::at("100/s").good(1_000).bad(1_000).finished()];
        let found = impact(&times(10 * S, 20 * S), &down, |_| Vec::new());
        assert_eq!((found.impact, found.recovered, found.bad), (Some(10_000_000), None, 1_000));
        // The impact of a later step is not this one's.
        let found = impact(&times(5 * S, 10 * S), &down, |_| Vec::new());
        assert_eq!((found.impact, found.recovered), (None, Some(5_000_000)));
    }
}
