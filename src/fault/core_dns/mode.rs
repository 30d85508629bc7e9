//! What each way to break the Corefile writes into it, and what a question then comes to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::Bite;
use super::corefile::Place;
use crate::scalar::{Duration, Percent};

/// A port of the loopback address in CoreDNS's pods, where the delay is made.
pub(super) const DELAY_PORT: u16 = 10_053;
/// CoreDNS gives up on a silent upstream after this long, so that one hop can't take longer.
const LONGEST_HOP: f64 = 2.0;

/// What is done to CoreDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Pods of CoreDNS are deleted.
    Kill,
    /// The Deployment is held at no replicas, or at fewer.
    ScaleToZero,
    /// Names don't exist (NXDOMAIN).
    Nxdomain,
    /// The resolver fails (SERVFAIL).
    Servfail,
    /// The resolver refuses (REFUSED).
    Refuse,
    /// There is no answer.
    Drop,
    /// The true answer comes late.
    Delay,
}

impl Mode {
    /// As it is written.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::ScaleToZero => "scaleToZero",
            Self::Nxdomain => "nxdomain",
            Self::Servfail => "servfail",
            Self::Refuse => "refuse",
            Self::Drop => "drop",
            Self::Delay => "delay",
        }
    }

    /// Whether it edits the Corefile, which all replicas share.
    pub(super) const fn edits(self) -> bool {
        !matches!(self, Self::Kill | Self::ScaleToZero)
    }

    /// What a question comes to while the Corefile is edited.
    pub(super) fn bite(self, delay: Option<Duration>) -> Option<Bite> {
        Some(match self {
            Self::Kill | Self::ScaleToZero => return None,
            Self::Nxdomain => Bite::Code("NXDOMAIN".to_owned()),
            Self::Servfail => Bite::Code("SERVFAIL".to_owned()),
            Self::Refuse => Bite::Code("REFUSED".to_owned()),
            Self::Drop => Bite::Silence,
            Self::Delay => {
                let millis = delay.map_or(0, |delay| delay.get().as_millis());
                Bite::Late(u64::try_from(millis).unwrap_or(u64::MAX))
            }
        })
    }
}

/// The server blocks that do it. The first stands in for CoreDNS's own wherever its `view` lets it: for one share of the queries, and
/// not for those that CoreDNS asks itself.
pub(super) fn blocks(
    mode: Mode,
    places: &[Place],
    queries: Option<Percent>,
    delay: Option<Duration>,
    metrics: Option<&str>,
) -> String {
    let keys: Vec<String> = places.iter().map(ToString::to_string).collect();
    let mut lines = vec![format!("{} {{", keys.join(" "))];
    lines.extend(metrics.map(|metrics| format!("    {metrics}")));
    let mut views = Vec::new();
    if mode == Mode::Delay {
        views.push("client_ip() != '127.0.0.1'".to_owned());
    }
    if let Some(queries) = queries {
        // The clock's nanoseconds are as good as dice; a query's own number would doom its repetition too.
        views.push(format!("now().Nanosecond() % 100000 < {:.0}", queries.share() * 100_000.0));
    }
    // A view, be it for everything, may serve the same zone as another block.
    lines.push(if views.is_empty() { "    view squall".to_owned() } else { "    view squall {".to_owned() });
    lines.extend(views.iter().map(|view| format!("        expr \"{view}\"")));
    lines.extend((!views.is_empty()).then(|| "    }".to_owned()));
    lines.extend(plugin(mode, places, delay).lines().map(|line| format!("    {line}")));
    lines.push("}".to_owned());
    if let (Mode::Delay, Some(delay)) = (mode, delay) {
        let hop = delay.get() / u32::from(hops(delay));
        lines.push(format!(
            ".:{DELAY_PORT} {{\n    bind 127.0.0.1\n    acl {{\n        drop\n    }}\n    timeouts {{\n        idle {}ms\n    }}\n}}",
            hop.as_millis()
        ));
    }
    lines.join("\n") + "\n"
}

fn plugin(mode: Mode, places: &[Place], delay: Option<Duration>) -> String {
    let template = |code: &str| format!("template ANY ANY {{\n    rcode {code}\n}}");
    match mode {
        Mode::Kill | Mode::ScaleToZero => String::new(),
        Mode::Nxdomain => template("NXDOMAIN"),
        Mode::Servfail => template("SERVFAIL"),
        // A template that refuses is answered twice: once by itself, and once by the server.
        Mode::Refuse => "acl {\n    block\n}".to_owned(),
        Mode::Drop => "acl {\n    drop\n}".to_owned(),
        // The first upstream never answers, and closes the connection after the delay; the last one is CoreDNS itself.
        Mode::Delay => {
            let hops = delay.map_or(1, hops);
            let slow = format!(" 127.0.0.1:{DELAY_PORT}").repeat(usize::from(hops));
            let port = places.first().map_or(53, |place| place.port);
            format!("forward .{slow} 127.0.0.1:{port} {{\n    force_tcp\n    policy sequential\n    max_fails 0\n}}")
        }
    }
}

/// How many upstreams in a row have to be silent.
fn hops(delay: Duration) -> u8 {
    if delay.get().as_secs_f64() < LONGEST_HOP { 1 } else { 2 }
}

/// How often a question must be asked so that one of them meets a share of the queries, but for one time in a thousand.
pub(super) fn tries(queries: Option<Percent>) -> u32 {
    let share = queries.map_or(1.0, Percent::share);
    let missed = (1.0 - share).max(f64::MIN_POSITIVE);
    let mut tries = 1;
    while missed.powi(tries) > 0.001 && tries < 100 {
        tries += 1;
    }
    tries.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mode: Mode, queries: Option<&str>, delay: Option<&str>) -> String {
        let places = [Place { zone: "web.shop".into(), port: 53 }];
        blocks(
            mode,
            &places,
            queries.map(|q| q.parse().unwrap()),
            delay.map(|d| d.parse().unwrap()),
            Some("prometheus :9153"),
        )
    }

    #[test]
    fn a_code_is_one_block() {
        insta::assert_snapshot!(written(Mode::Nxdomain, None, None), @r"
        web.shop:53 {
            prometheus :9153
            view squall
            template ANY ANY {
                rcode NXDOMAIN
            }
        }
        ");
    }

    #[test]
    fn a_delay_goes_by_way_of_a_silent_upstream() {
        insta::assert_snapshot!(written(Mode::Delay, Some("12.5%"), Some("3s")), @r#"
        web.shop:53 {
            prometheus :9153
            view squall {
                expr "client_ip() != '127.0.0.1'"
                expr "now().Nanosecond() % 100000 < 12500"
            }
            forward . 127.0.0.1:10053 127.0.0.1:10053 127.0.0.1:53 {
                force_tcp
                policy sequential
                max_fails 0
            }
        }
        .:10053 {
            bind 127.0.0.1
            acl {
                drop
            }
            timeouts {
                idle 1500ms
            }
        }
        "#);
        assert!(written(Mode::Delay, None, Some("1900ms")).contains("forward . 127.0.0.1:10053 127.0.0.1:53 {"));
    }

    #[test]
    fn a_share_is_asked_for_until_it_is_met() {
        let of = |share: &str| tries(Some(share.parse().unwrap()));
        assert_eq!((tries(None), of("100%"), of("50%"), of("1%")), (1, 1, 10, 100));
    }
}
