//! What the lines of a plugin in the Corefile say.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::config::zone;
use super::corefile::{Directive, Unusable};
use super::plugins::{
    Action, Cache, Erratic, Forward, Hosts, Kubernetes, Match, Pods, Policy, Rewrite, Rule, Template, Upstream,
};
use crate::probe::{RecordType, ResponseCode};

/// A time span as Go writes it.
pub(super) fn seconds(text: Option<&String>) -> Result<Duration, Unusable> {
    let text = text.map(String::as_str).unwrap_or_default();
    let wrong = || Unusable(format!("time: invalid duration \"{text}\""));
    let (mut total, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (value, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return Err(wrong()),
        };
        total += value.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = next;
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

/// The zones of a plugin: those it names, or else its block's.
fn zones_of(words: &[String], block: &[String]) -> Vec<String> {
    if words.is_empty() { block.to_vec() } else { words.iter().map(|word| zone(word)).collect() }
}

fn number<T: std::str::FromStr>(plugin: &str, word: Option<&String>) -> Result<T, Unusable> {
    let text = word.map(String::as_str).unwrap_or_default();
    text.parse().map_err(|_| Unusable(format!("plugin/{plugin}: not a number: \"{text}\"")))
}

fn kind(text: &str) -> Option<RecordType> {
    text.to_ascii_uppercase().parse().ok()
}

pub(super) fn acl(directive: &Directive, zones: &[String]) -> Result<Vec<Rule>, Unusable> {
    let zones = zones_of(&directive.arguments, zones);
    let rule = |line: &Vec<String>| {
        let (first, rest) = line.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let action = match first.to_ascii_lowercase().as_str() {
            "allow" => Action::Allow,
            "block" => Action::Block,
            "filter" => Action::Filter,
            "drop" => Action::Drop,
            _ => {
                return Unusable::new(format!(
                    "plugin/acl: unexpected token \"{first}\"; expect 'allow', 'block', or 'filter'"
                ));
            }
        };
        let (mut kinds, mut networks, mut into_kinds) = (Vec::new(), Vec::new(), false);
        for word in rest {
            match word.as_str() {
                "type" => into_kinds = true,
                "net" => into_kinds = false,
                "*" => {}
                word if into_kinds => kinds.extend(kind(word)),
                word => networks.push(word.to_owned()),
            }
        }
        Ok(Rule { zones: zones.clone(), action, kinds, networks })
    };
    directive.lines.iter().map(rule).collect()
}

pub(super) fn cache(directive: &Directive, zones: &[String]) -> Result<Cache, Unusable> {
    let second = Duration::from_secs(1);
    let mut arguments = &*directive.arguments;
    let mut cache = Cache {
        zones: Vec::new(),
        success: (5 * second, 3600 * second),
        denial: (5 * second, 1800 * second),
        servfail: 5 * second,
        without: (Vec::new(), Vec::new()),
        stale: None,
    };
    if let Some(most) = arguments.first().and_then(|word| word.parse().ok()) {
        (cache.success.1, cache.denial.1) = (second * most, second * most);
        arguments = arguments.get(1..).unwrap_or_default();
    }
    cache.zones = zones_of(arguments, zones);
    for line in &directive.lines {
        let (first, rest) = line.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        match first {
            "success" | "denial" => {
                number::<u64>("cache", rest.first())?;
                let bounds = if first == "success" { &mut cache.success } else { &mut cache.denial };
                if rest.len() > 1 {
                    bounds.1 = second * number("cache", rest.get(1))?;
                }
                if rest.len() > 2 {
                    bounds.0 = second * number("cache", rest.get(2))?;
                }
            }
            "serve_stale" => {
                let most = if rest.is_empty() { 3600 * second } else { seconds(rest.first())? };
                cache.stale = Some((most, rest.get(1).is_some_and(|mode| mode == "verify")));
            }
            "servfail" => cache.servfail = seconds(rest.first())?,
            "disable" => {
                let (which, zones) = rest.split_first().map_or(("", &[][..]), |(which, zones)| (which.as_str(), zones));
                let zones = zones_of(zones, &[String::new()]);
                match which {
                    "success" => cache.without.0 = zones,
                    "denial" => cache.without.1 = zones,
                    _ => {
                        return Unusable::new("plugin/cache: cache type for disable must be \"success\" or \"denial\"");
                    }
                }
            }
            "prefetch" | "keepttl" => {}
            _ => {
                return Unusable::new(format!(
                    "plugin/cache: Wrong argument count or unexpected line ending after '{first}'"
                ));
            }
        }
    }
    Ok(cache)
}

/// A line of `rewrite` for names or kinds; `None` for what has no model.
pub(super) fn rewrite(directive: &Directive) -> Option<Rewrite> {
    let mut words = directive.arguments.iter().map(String::as_str).peekable();
    let goes_on = words.next_if(|word| matches!(*word, "continue" | "stop")) == Some("continue");
    let how = match words.next()? {
        "name" => match *words.peek()? {
            "exact" => Match::Exact,
            "prefix" => Match::Prefix,
            "suffix" => Match::Suffix,
            "substring" => Match::Substring,
            "regex" => return None,
            _ => {
                let (from, to) = (zone(words.next()?), zone(words.next()?));
                return Some(Rewrite { how: Match::Exact, from, to, goes_on });
            }
        },
        "type" => Match::Kind,
        _ => return None,
    };
    if how != Match::Kind {
        words.next();
    }
    let plain =
        |word: &str| if how == Match::Kind { word.to_owned() } else { word.trim_end_matches('.').to_ascii_lowercase() };
    Some(Rewrite { how, from: plain(words.next()?), to: plain(words.next()?), goes_on })
}

/// A template; `None` where a regular expression chooses its names, or more than addresses are in it.
pub(super) fn template(directive: &Directive, zones: &[String]) -> Result<Option<Template>, Unusable> {
    let [class, of, rest @ ..] = &*directive.arguments else {
        return Unusable::new("plugin/template: Wrong argument count or unexpected line ending after 'template'");
    };
    let any = |word: &str| word.eq_ignore_ascii_case("ANY");
    if !any(class) && !class.eq_ignore_ascii_case("IN") {
        return Unusable::new(format!("plugin/template: invalid RR class {class}"));
    }
    let kind = if any(of) { None } else { kind(of) };
    if kind.is_none() && !any(of) {
        return Unusable::new(format!("plugin/template: invalid RR class {of}"));
    }
    let code = directive.line("rcode").map_or(Ok(ResponseCode::NoError), |line| code(line.first()))?;
    if directive.line("match").is_some_and(|line| line.iter().any(|word| !matches!(word.as_str(), ".*" | "^.*$"))) {
        return Ok(None);
    }
    let mut answers = Vec::new();
    for text in directive
        .lines
        .iter()
        .filter(|line| line.first().is_some_and(|word| word == "answer"))
        .flat_map(|line| &line[1..])
    {
        // `{{ .Name }} 60 IN A 10.0.0.1`
        let words: Vec<&str> = text.split("}}").last().unwrap_or_default().split_whitespace().collect();
        let ttl = words.first().and_then(|word| word.parse().ok()).unwrap_or(3600);
        let Some(address) = words.last().and_then(|word| word.parse().ok()) else { return Ok(None) };
        answers.push((ttl, address));
    }
    Ok(Some(Template { zones: zones_of(rest, zones), kind, code, answers }))
}

fn code(word: Option<&String>) -> Result<ResponseCode, Unusable> {
    let word = word.map(String::as_str).unwrap_or_default();
    Ok(match word {
        "NOERROR" => ResponseCode::NoError,
        "FORMERR" => ResponseCode::FormErr,
        "SERVFAIL" => ResponseCode::ServFail,
        "NXDOMAIN" => ResponseCode::NXDomain,
        "NOTIMP" => ResponseCode::NotImp,
        "REFUSED" => ResponseCode::Refused,
        _ => return Unusable::new(format!("plugin/template: unknown rcode {word}")),
    })
}

pub(super) fn hosts(directive: &Directive, zones: &[String]) -> Result<Hosts, Unusable> {
    let named = directive.arguments.iter().filter(|word| !word.contains('/')).cloned().collect::<Vec<_>>();
    let mut hosts = Hosts { zones: zones_of(&named, zones), entries: Vec::new(), ttl: 3600, through: false };
    for line in &directive.lines {
        match line.split_first() {
            Some((first, _)) if first == "fallthrough" => hosts.through = true,
            Some((first, rest)) if first == "ttl" => hosts.ttl = number("hosts", rest.first())?,
            Some((first, aliases)) => {
                let Ok(address) = first.parse::<IpAddr>() else { continue };
                hosts.entries.extend(aliases.iter().map(|name| (zone(name), address)));
            }
            None => {}
        }
    }
    Ok(hosts)
}

pub(super) fn kubernetes(directive: &Directive, zones: &[String]) -> Result<Kubernetes, Unusable> {
    let mut read = Kubernetes {
        zones: zones_of(&directive.arguments, zones),
        pods: Pods::Disabled,
        ttl: 5,
        namespaces: Vec::new(),
        through: None,
        pod_names: false,
        ignores_empty: false,
    };
    for line in &directive.lines {
        let (first, rest) = line.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        match (first, rest.first().map(String::as_str)) {
            ("pods", Some("disabled")) => read.pods = Pods::Disabled,
            ("pods", Some("insecure")) => read.pods = Pods::Insecure,
            ("pods", Some("verified")) => read.pods = Pods::Verified,
            ("pods", _) => {
                return Unusable::new("plugin/kubernetes: wrong value for pods: disabled, verified or insecure");
            }
            ("ttl", _) => read.ttl = number("kubernetes", rest.first())?,
            ("namespaces", _) => read.namespaces = rest.to_vec(),
            ("fallthrough", _) => read.through = Some(zones_of(rest, &[String::new()])),
            ("endpoint_pod_names", _) => read.pod_names = true,
            ("ignore", Some("empty_service")) => read.ignores_empty = true,
            _ => {}
        }
    }
    Ok(read)
}

pub(super) fn forward(directive: &Directive) -> Result<Forward, Unusable> {
    let [from, to @ ..] = &*directive.arguments else { return Unusable::new("plugin/forward: Wrong argument count") };
    if to.is_empty() {
        return Unusable::new("plugin/forward: Wrong argument count or unexpected line ending after '.'");
    }
    let upstream = |word: &String| {
        let plain = word.split_once("://").map_or(word.as_str(), |(_, plain)| plain);
        let address = plain.parse().or_else(|_| plain.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        match address {
            Ok(address) => Ok(Upstream::Address(address)),
            Err(_) if plain.starts_with('/') => Ok(Upstream::Node),
            Err(_) => Unusable::new(format!("plugin/forward: not an IP address or file: \"{word}\"")),
        }
    };
    let policy = match directive.line("policy").and_then(|line| line.first()).map(String::as_str) {
        None | Some("random") => Policy::Random,
        Some("round_robin") => Policy::RoundRobin,
        Some("sequential") => Policy::Sequential,
        Some(other) => return Unusable::new(format!("plugin/forward: unknown policy '{other}'")),
    };
    Ok(Forward {
        zone: zone(from),
        except: directive.line("except").unwrap_or_default().iter().map(|word| zone(word)).collect(),
        to: to.iter().map(upstream).collect::<Result<_, _>>()?,
        tcp: directive.line("force_tcp").is_some(),
        policy,
    })
}

pub(super) fn erratic(directive: &Directive) -> Result<Erratic, Unusable> {
    let every = |name: &str| match directive.line(name) {
        Some([]) => Ok(Some(2)),
        Some(words) => number("erratic", words.first()).map(Some),
        None => Ok(None),
    };
    let (drop, delay, truncate) = (every("drop")?, every("delay")?, every("truncate")?);
    let by = directive.line("delay").and_then(|line| line.get(1));
    Ok(Erratic {
        // Alone, it drops every second query.
        drop: drop.unwrap_or(if delay.is_some() || truncate.is_some() { 0 } else { 2 }),
        delay: delay.unwrap_or(0),
        by: by.map_or(Ok(Duration::from_millis(100)), |word| seconds(Some(word)))?,
        truncate: truncate.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<Duration> {
        seconds(Some(&text.to_owned())).ok()
    }

    #[test]
    fn time_spans_are_gos() {
        assert_eq!(span("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(
            (span("1500ms"), span("0.5s")),
            (Some(Duration::from_millis(1500)), Some(Duration::from_millis(500)))
        );
        assert_eq!((span("5"), span(""), span("1d")), (None, None, None));
    }

    #[test]
    fn an_acl_has_kinds_and_networks() {
        let lines = vec![["block", "type", "A", "AAAA", "net", "10.0.0.0/8"].map(str::to_owned).to_vec()];
        let directive = Directive { name: "acl".to_owned(), arguments: Vec::new(), lines };
        let rules = acl(&directive, &[String::new()]).unwrap();
        let client = |text: &str| text.parse().unwrap();
        assert!(rules[0].fits(RecordType::A, client("10.1.1.1")));
        assert!(
            !rules[0].fits(RecordType::PTR, client("10.1.1.1")) && !rules[0].fits(RecordType::A, client("127.0.0.1"))
        );
    }
}
