//! The plugins that have a model, and what each can be told.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::corefile::{Directive, Unusable};
use super::reading::{acl, cache, erratic, forward, hosts, kubernetes, rewrite, template};
use super::view::within;
use crate::probe::{RecordType, ResponseCode};

/// A plugin.
#[derive(Debug)]
pub(super) enum Plugin {
    Acl(Vec<Rule>),
    LoadBalance,
    Cache(Cache),
    Rewrite(Rewrite),
    Template(Template),
    Hosts(Hosts),
    Kubernetes(Kubernetes),
    Forward(Forward),
    Erratic(Erratic),
    Whoami,
}

/// `acl`: one line.
#[derive(Debug)]
pub(super) struct Rule {
    pub zones: Vec<String>,
    pub action: Action,
    /// Kinds of records; empty: any.
    pub kinds: Vec<RecordType>,
    /// Networks; empty: any.
    pub networks: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Block,
    Filter,
    Drop,
}

impl Rule {
    pub(super) fn fits(&self, kind: RecordType, client: IpAddr) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.networks.is_empty() || self.networks.iter().any(|net| within(client, net) == Some(true)))
    }
}

/// `cache`.
#[derive(Debug)]
pub(super) struct Cache {
    pub zones: Vec<String>,
    /// For how long answers are kept: at least, and at most.
    pub success: (Duration, Duration),
    /// The same of denials.
    pub denial: (Duration, Duration),
    pub servfail: Duration,
    /// Zones whose answers, and whose denials, are not kept.
    pub without: (Vec<String>, Vec<String>),
    /// For how long what is over is still given, and whether the source is asked before.
    pub stale: Option<(Duration, bool)>,
}

/// `rewrite`: one line.
#[derive(Debug)]
pub(super) struct Rewrite {
    pub how: Match,
    pub from: String,
    pub to: String,
    /// Whether the next lines are looked at too.
    pub goes_on: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    Exact,
    Prefix,
    Suffix,
    Substring,
    Kind,
}

/// `template`.
#[derive(Debug)]
pub(super) struct Template {
    pub zones: Vec<String>,
    /// The kind of records; `None`: any.
    pub kind: Option<RecordType>,
    pub code: ResponseCode,
    /// Its answers' addresses and the seconds that they hold.
    pub answers: Vec<(u32, IpAddr)>,
}

/// `hosts`, as far as it stands in the Corefile.
#[derive(Debug)]
pub(super) struct Hosts {
    pub zones: Vec<String>,
    pub entries: Vec<(String, IpAddr)>,
    pub ttl: u32,
    pub through: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pods {
    Disabled,
    Insecure,
    Verified,
}

/// `kubernetes`.
#[derive(Debug)]
pub(super) struct Kubernetes {
    pub zones: Vec<String>,
    pub pods: Pods,
    pub ttl: u32,
    /// Namespaces that it knows; empty: all.
    pub namespaces: Vec<String>,
    /// Zones for whose missing names the next plugin is asked. `None`: for no name.
    pub through: Option<Vec<String>>,
    pub pod_names: bool,
    pub ignores_empty: bool,
}

/// `forward`.
#[derive(Debug)]
pub(super) struct Forward {
    pub zone: String,
    pub except: Vec<String>,
    pub to: Vec<Upstream>,
    pub tcp: bool,
    pub policy: Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upstream {
    Address(SocketAddr),
    /// Whoever the node asks.
    Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Random,
    RoundRobin,
    Sequential,
}

/// `erratic`: of so many queries one is not answered, is answered late, is cut. 0: none.
#[derive(Debug, Default)]
pub(super) struct Erratic {
    pub drop: u64,
    pub delay: u64,
    pub by: Duration,
    pub truncate: u64,
}

impl Plugin {
    /// As it is written.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Acl(_) => "acl",
            Self::LoadBalance => "loadbalance",
            Self::Cache(_) => "cache",
            Self::Rewrite(_) => "rewrite",
            Self::Template(_) => "template",
            Self::Hosts(_) => "hosts",
            Self::Kubernetes(_) => "kubernetes",
            Self::Forward(_) => "forward",
            Self::Erratic(_) => "erratic",
            Self::Whoami => "whoami",
        }
    }

    /// The plugin of a directive; `None` for one that has no model.
    pub(super) fn of(directive: &Directive, zones: &[String]) -> Result<Option<Self>, Unusable> {
        Ok(Some(match directive.name.as_str() {
            "acl" => Self::Acl(acl(directive, zones)?),
            "loadbalance" => Self::LoadBalance,
            "cache" => Self::Cache(cache(directive, zones)?),
            "rewrite" => match rewrite(directive) {
                Some(rewrite) => Self::Rewrite(rewrite),
                None => return Ok(None),
            },
            "template" => match template(directive, zones)? {
                Some(template) => Self::Template(template),
                None => return Ok(None),
            },
            "hosts" => Self::Hosts(hosts(directive, zones)?),
            "kubernetes" => Self::Kubernetes(kubernetes(directive, zones)?),
            "forward" => Self::Forward(forward(directive)?),
            "erratic" => Self::Erratic(erratic(directive)?),
            "whoami" => Self::Whoami,
            _ => return Ok(None),
        }))
    }
}
