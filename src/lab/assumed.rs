//! The figures of the lab that its user may tell otherwise, because their cluster or cloud is another.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Lab;
use super::settings::Settings;
use crate::scalar;

/// One that can be told: its name, and what it sets.
#[derive(Debug)]
struct Figure {
    name: &'static str,
    set: fn(&mut Settings, Duration),
}

/// Those that there are, as docs/lab.md lists them. What has a range keeps its proportion.
const FIGURES: [Figure; 19] = [
    Figure { name: "notice", set: |settings, time| settings.notice = time },
    Figure { name: "api-answer", set: |settings, time| settings.answer = time },
    Figure { name: "schedule", set: |settings, time| settings.schedule = time },
    Figure {
        name: "start",
        set: |settings, time| {
            let usual = Settings::default();
            settings.start_spread = in_proportion(usual.start_spread, usual.start, time);
            settings.start = time;
        },
    },
    Figure { name: "clean-up", set: |settings, time| settings.clean_up = time },
    Figure { name: "proxy", set: |settings, time| settings.proxy_sync = time },
    Figure { name: "proxy-pause", set: |settings, time| settings.proxy_min_sync = time },
    Figure { name: "round-trip", set: |settings, time| settings.round_trip = time },
    Figure { name: "connection-tracking", set: |settings, time| settings.tracked = time },
    Figure { name: "volume", set: |settings, time| settings.provision = time },
    Figure { name: "aws-answer", set: |settings, time| settings.cloud.answer = time },
    Figure { name: "pending", set: |settings, time| settings.cloud.pending = time },
    Figure {
        name: "boot",
        set: |settings, time| {
            let usual = Settings::default().cloud;
            settings.cloud.boot_spread = in_proportion(usual.boot_spread, usual.boot, time);
            settings.cloud.boot = time;
        },
    },
    Figure { name: "power-loss", set: |settings, time| settings.cloud.power_loss = time },
    Figure { name: "shut-down", set: |settings, time| settings.cloud.shut_down = time },
    Figure { name: "termination", set: |settings, time| settings.cloud.end = time },
    Figure { name: "replacement", set: |settings, time| settings.cloud.health = time },
    Figure { name: "acl", set: |settings, time| settings.cloud.acl = time },
    Figure { name: "scaling", set: |settings, time| settings.cloud.scaling = time },
];

/// What may come on top of a time that is another than usual.
fn in_proportion(spread: Duration, usual: Duration, time: Duration) -> Duration {
    time.mul_f64(spread.as_secs_f64() / usual.as_secs_f64())
}

/// How long something takes, by its name in docs/lab.md: `boot=90s`.
#[derive(Debug, Clone, Copy)]
pub struct Assumed {
    figure: &'static Figure,
    time: scalar::Duration,
}

impl FromStr for Assumed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, time)) = text.split_once('=') else {
            return Err("write a name and a time, such as `boot=90s`".to_owned());
        };
        let Some(figure) = FIGURES.iter().find(|figure| figure.name == name) else {
            let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
            return Err(format!("the lab has no figure `{name}`: it has {}", names.join(", ")));
        };
        let time = time.parse().map_err(|e: scalar::ScalarError| format!("`{name}`: {e}"))?;
        Ok(Self { figure, time })
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.figure.name, self.time)
    }
}

impl Lab {
    /// Has something take another time from now on than docs/lab.md says.
    pub fn assume(&self, assumed: Assumed) {
        self.shared.with(|world| (assumed.figure.set)(&mut world.settings, assumed.time.get()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_range_keeps_its_proportion() {
        let mut settings = Settings::default();
        for text in ["start=7s", "boot=90s"] {
            let assumed: Assumed = text.parse().unwrap();
            (assumed.figure.set)(&mut settings, assumed.time.get());
        }
        let s = Duration::from_secs;
        assert_eq!((settings.start, settings.start_spread), (s(7), s(6)));
        assert_eq!((settings.cloud.boot, settings.cloud.boot_spread), (s(90), s(30)));
    }

    #[test]
    fn what_is_no_figure_or_no_time_is_refused_with_what_would_be() {
        let refused = |text: &str| text.parse::<Assumed>().unwrap_err();
        assert_eq!(refused("boot"), "write a name and a time, such as `boot=90s`");
        let unknown = refused("bot=90s");
        assert!(
            unknown.starts_with("the lab has no figure `bot`: it has notice, ") && unknown.contains("boot"),
            "{unknown}"
        );
        assert!(refused("boot=90").starts_with("`boot`: "), "{}", refused("boot=90"));
    }

    #[test]
    fn the_documentation_names_each_and_each_is_found_by_its_name() {
        let page = include_str!("../../docs/lab.md");
        for figure in &FIGURES {
            assert!(page.contains(&format!("| `{}` |", figure.name)), "{} is not in docs/lab.md", figure.name);
            let text = format!("{}=1m30s", figure.name);
            assert_eq!(text.parse::<Assumed>().unwrap().to_string(), text);
        }
    }
}
