//! What a Corefile makes of a CoreDNS: its servers, and the plugins of each in the order in which they are asked.
//!
//! A Corefile is refused for what CoreDNS refuses: a directive that it does not have, two servers for the same, values that can't be read in
//! a plugin that is modelled. Plugins that have no model pass every query on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::corefile::{Block, Directive, Unusable, read};
use super::plugins::Plugin;
use super::reading::seconds;
use super::view::Expression;

/// CoreDNS's own plugins, in the order in which a query passes them (plugin.cfg).
const DIRECTIVES: [&str; 54] = [
    "root",
    "metadata",
    "geoip",
    "cancel",
    "tls",
    "quic",
    "timeouts",
    "multisocket",
    "reload",
    "nsid",
    "bufsize",
    "bind",
    "debug",
    "trace",
    "ready",
    "health",
    "pprof",
    "prometheus",
    "errors",
    "log",
    "dnstap",
    "local",
    "dns64",
    "acl",
    "any",
    "chaos",
    "loadbalance",
    "tsig",
    "cache",
    "rewrite",
    "header",
    "dnssec",
    "autopath",
    "minimal",
    "template",
    "transfer",
    "hosts",
    "route53",
    "azure",
    "clouddns",
    "k8s_external",
    "kubernetes",
    "file",
    "auto",
    "secondary",
    "etcd",
    "loop",
    "forward",
    "grpc",
    "erratic",
    "whoami",
    "on",
    "sign",
    "view",
];
/// `reload`'s defaults and bounds.
const RELOAD: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));
const RELOAD_LEAST: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(1));
/// For how long a connection may stay idle unless `timeouts` says otherwise.
const IDLE: Duration = Duration::from_secs(10);
/// How long `health` stays lame unless it says: not at all.
const LAME_DUCK: Duration = Duration::ZERO;

/// A CoreDNS's configuration.
#[derive(Debug, Default)]
pub(super) struct Config {
    pub servers: Vec<Server>,
    /// How often it looks for another Corefile, and how wide that is strewn. `None`: never.
    pub reload: Option<(Duration, Duration)>,
    /// For how long it goes on after SIGTERM.
    pub lame_duck: Duration,
}

/// A server block.
#[derive(Debug)]
pub(super) struct Server {
    /// Zones, without the dot at their end, with their ports.
    pub places: Vec<(String, u16)>,
    /// What its `view` asks, all of which must hold. `None`: it has none.
    pub view: Option<Vec<Expression>>,
    /// The addresses that it listens at. Empty: all.
    pub addresses: Vec<IpAddr>,
    pub idle: Duration,
    pub plugins: Vec<Plugin>,
}

impl Config {
    /// Reads a Corefile.
    ///
    /// # Errors
    ///
    /// Why CoreDNS would not start with it.
    pub(super) fn load(text: &str) -> Result<Self, Unusable> {
        let blocks = read(text)?;
        let mut config = Self { lame_duck: LAME_DUCK, ..Self::default() };
        for block in &blocks {
            if let Some(unknown) = block.directives.iter().find(|d| !DIRECTIVES.contains(&d.name.as_str())) {
                return Unusable::new(format!("Unknown directive '{}'", unknown.name));
            }
            for directive in &block.directives {
                match directive.name.as_str() {
                    "reload" => config.reload = Some(reload(directive)?),
                    "health" => config.lame_duck = lame_duck(directive)?,
                    _ => {}
                }
            }
            config.servers.push(Server::of(block)?);
        }
        config.refuse_double()?;
        Ok(config)
    }

    /// Two servers for one zone are only told apart by views, and the one without must come last.
    fn refuse_double(&self) -> Result<(), Unusable> {
        let mut taken: Vec<(&(String, u16), &[IpAddr])> = Vec::new();
        for server in &self.servers {
            for place in &server.places {
                if taken.contains(&(place, &server.addresses)) {
                    let (zone, port) = place;
                    return Unusable::new(format!("cannot serve dns://{zone}.:{port} - it is already defined"));
                }
                if server.view.is_none() {
                    taken.push((place, &server.addresses));
                }
            }
        }
        Ok(())
    }

    /// The servers that listen at a port of an address: those that name the address, or else those that name none.
    pub(super) fn at(&self, local: SocketAddr) -> impl Iterator<Item = (usize, &Server)> + Clone {
        let port = move |server: &Server| server.places.iter().any(|(_, port)| *port == local.port());
        let names = move |server: &Server| server.addresses.contains(&local.ip());
        let is_own = self.servers.iter().any(|server| port(server) && names(server));
        let listens =
            move |server: &Server| port(server) && if is_own { names(server) } else { server.addresses.is_empty() };
        self.servers.iter().enumerate().filter(move |(_, server)| listens(server))
    }
}

impl Server {
    fn of(block: &Block) -> Result<Self, Unusable> {
        let mut places = Vec::new();
        for key in &block.keys {
            places.extend(place(key)?);
        }
        let zones: Vec<String> = places.iter().map(|(zone, _): &(String, u16)| zone.clone()).collect();
        let (mut view, mut addresses, mut idle, mut plugins) = (None, Vec::new(), IDLE, Vec::new());
        for directive in &block.directives {
            match directive.name.as_str() {
                "view" if view.is_some() => return Unusable::new("multiple views defined in server block"),
                "view" => view = Some(expressions(directive)?),
                "bind" => addresses.extend(directive.arguments.iter().filter_map(|word| bound(word))),
                "timeouts" => idle = directive.line("idle").map_or(Ok(IDLE), |line| seconds(line.first()))?,
                _ => plugins.extend(Plugin::of(directive, &zones)?),
            }
        }
        let rank = |plugin: &Plugin| DIRECTIVES.iter().position(|name| *name == plugin.name());
        plugins.sort_by_key(rank);
        Ok(Self { places, view, addresses, idle, plugins })
    }
}

/// The address that `bind` names, by itself or by its interface.
fn bound(word: &str) -> Option<IpAddr> {
    if word == "lo" { Some(IpAddr::from([127, 0, 0, 1])) } else { word.parse().ok() }
}

/// The zones that a key names; none for protocols other than plain DNS.
fn place(key: &str) -> Result<Vec<(String, u16)>, Unusable> {
    let (protocol, plain) = key.split_once("://").unwrap_or(("dns", key));
    if protocol != "dns" {
        return Ok(Vec::new());
    }
    let (zone, port) = match plain.rsplit_once(':') {
        Some((zone, port)) => match port.parse() {
            Ok(port) => (zone, port),
            Err(_) => return Unusable::new(format!("invalid port in `{key}`")),
        },
        None => (plain, 53),
    };
    Ok(vec![(self::zone(zone), port)])
}

/// A zone without the dot at its end; of a network, its name for look-ups by address.
pub(super) fn zone(text: &str) -> String {
    let network = || {
        let (address, length) = text.split_once('/')?;
        let (IpAddr::V4(address), length) = (address.parse().ok()?, length.parse::<usize>().ok()?) else { return None };
        let octets = address.octets();
        let used = octets.get(..length / 8)?.iter().rev().map(ToString::to_string);
        Some(used.chain(["in-addr.arpa".to_owned()]).collect::<Vec<_>>().join("."))
    };
    network().unwrap_or_else(|| text.trim_end_matches('.').to_ascii_lowercase())
}

fn reload(directive: &Directive) -> Result<(Duration, Duration), Unusable> {
    let given = |index: usize, default| directive.arguments.get(index).map_or(Ok(default), |word| seconds(Some(word)));
    let (every, jitter) = (given(0, RELOAD.0)?, given(1, RELOAD.1)?);
    if every < RELOAD_LEAST.0 {
        return Unusable::new("plugin/reload: interval value must be greater or equal to 2s");
    }
    if jitter < RELOAD_LEAST.1 {
        return Unusable::new("plugin/reload: jitter value must be greater or equal to 1s");
    }
    Ok((every, jitter.min(every / 2)))
}

fn lame_duck(directive: &Directive) -> Result<Duration, Unusable> {
    directive.line("lameduck").map_or(Ok(LAME_DUCK), |line| seconds(line.first()))
}

/// What a view asks. What can't be read here is taken to hold.
fn expressions(directive: &Directive) -> Result<Vec<Expression>, Unusable> {
    let [_] = &*directive.arguments else { return Unusable::new("plugin/view: a view needs one name") };
    let mut read = Vec::new();
    for line in &directive.lines {
        match line.split_first() {
            Some((first, rest)) if first == "expr" && !rest.is_empty() => {
                read.extend(Expression::read(&rest.join(" ")));
            }
            _ => return Unusable::new(format!("plugin/view: unknown token in `{}`", line.join(" "))),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn load(text: &str) -> Result<Config, String> {
        Config::load(text).map_err(|unusable| unusable.0)
    }

    #[test]
    fn kubeadms_corefile_is_understood() {
        let text = ".:53 {\n errors\n health {\n lameduck 5s\n }\n ready\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n pods insecure\n \
                    fallthrough in-addr.arpa ip6.arpa\n ttl 30\n }\n prometheus :9153\n forward . /etc/resolv.conf {\n max_concurrent 1000\n }\n \
                    cache 30\n loop\n reload\n loadbalance\n}\n";
        let config = load(text).unwrap();
        assert_eq!((config.reload, config.lame_duck), (Some((30 * SECOND, 15 * SECOND)), 5 * SECOND));
        assert_eq!(config.servers[0].places, [(String::new(), 53)]);
        let names: Vec<&str> = config.servers[0].plugins.iter().map(Plugin::name).collect();
        assert_eq!(names, ["loadbalance", "cache", "kubernetes", "forward"]);
    }

    #[test]
    fn reload_has_its_bounds() {
        let of = |words: &str| load(&format!(". {{\n reload {words}\n}}\n")).map(|config| config.reload.unwrap());
        assert_eq!(of("10s 20s"), Ok((10 * SECOND, 5 * SECOND)));
        assert_eq!(of("2s 1s"), Ok((2 * SECOND, SECOND)));
        assert!(of("1s").is_err() && of("10s 500ms").is_err() && of("soon").is_err());
        assert_eq!(load(". {\n errors\n}\n").unwrap().reload, None);
    }

    #[test]
    fn what_core_dns_would_not_start_with_is_refused() {
        for (wrong, word) in [
            (". {\n nonsense\n}\n", "Unknown directive 'nonsense'"),
            (". {\n whoami\n}\n. {\n whoami\n}\n", "cannot serve dns://.:53"),
            (". {\n whoami\n}\n. {\n view a\n whoami\n}\n", "already defined"),
            (". {\n view a\n view b\n}\n", "multiple views"),
            (".:dns {\n whoami\n}\n", "invalid port"),
            (". {\n template ANY ANY {\n rcode NOPE\n }\n}\n", "unknown rcode"),
            (". {\n forward .\n}\n", "forward"),
            (". {\n cache many {\n success\n }\n}\n", "cache"),
        ] {
            assert!(load(wrong).unwrap_err().contains(word), "{wrong}: {:?}", load(wrong));
        }
        // A view before the others makes way for them.
        assert!(load(". {\n view a\n whoami\n}\n. {\n whoami\n}\n").is_ok());
    }

    #[test]
    fn who_names_an_address_has_it_to_itself() {
        let config = load(
            ".:53 {\n whoami\n}\n.:10053 {\n bind 127.0.0.1\n acl {\n drop\n }\n timeouts {\n idle 1500ms\n }\n}\n",
        )
        .unwrap();
        let at = |address: &str| config.at(address.parse().unwrap()).map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!((at("10.0.0.1:53"), at("127.0.0.1:10053")), (vec![0], vec![1]));
        assert!(at("10.0.0.1:10053").is_empty() && at("10.0.0.1:54").is_empty());
        assert_eq!(config.servers[1].idle, Duration::from_millis(1500));
    }
}
