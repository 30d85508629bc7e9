//! Whether a pod may run on a node, given what stands there and elsewhere: what kube-scheduler filters nodes by.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PersistentVolume, Pod, PodAffinityTerm, TopologySpreadConstraint};

use super::like::Like;
use super::places::{Place, Places};
use super::resources::{Amounts, PODS};
use super::rules::{self, HostPort, is_tolerated, is_wanted, reaches};

/// Why a pod may not run on a node. Rules of which a pod has several have their place in its list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unfit {
    /// Its affinity names other nodes.
    Elsewhere,
    /// The node is cordoned.
    Cordoned,
    /// A taint that it does not tolerate.
    Tainted,
    /// Its node selector or node affinity.
    Unwanted,
    /// Another has a port of the node that it wants.
    Ports,
    /// There is not enough left of these.
    Lacks(BTreeSet<String>),
    /// A volume of it can't be used there.
    Volume { rule: usize, volume: String },
    /// It has to be spread evenly, and the node lacks the label to do it by.
    Unlabelled { rule: usize, key: String, skew: i32 },
    /// It has to be spread evenly.
    Uneven { rule: usize, key: String, skew: i32 },
    /// It has to be near a pod that is not there.
    Far { rule: usize, key: String },
    /// It may not be where such a pod is.
    Near { rule: usize, key: String },
    /// A pod that is there keeps it away.
    Excluded { key: String },
}

impl Unfit {
    /// What kube-scheduler says of it: one of its reasons each.
    pub(crate) fn words(&self) -> Vec<String> {
        let said = match self {
            Self::Elsewhere => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Cordoned => "node(s) were unschedulable",
            Self::Tainted => "node(s) had untolerated taint(s)",
            Self::Unwanted => "node(s) didn't match Pod's node affinity/selector",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::Lacks(what) => {
                let lack = |name: &String| match name.as_str() {
                    PODS => "Too many pods".to_owned(),
                    name => format!("Insufficient {name}"),
                };
                return what.iter().map(lack).collect();
            }
            Self::Volume { .. } => "node(s) didn't match PersistentVolume's node affinity",
            Self::Unlabelled { .. } => "node(s) didn't match pod topology spread constraints (missing required label)",
            Self::Uneven { .. } => "node(s) didn't match pod topology spread constraints",
            Self::Far { .. } => "node(s) didn't match pod affinity rules",
            Self::Near { .. } => "node(s) didn't match pod anti-affinity rules",
            Self::Excluded { .. } => "node(s) didn't satisfy existing pods anti-affinity rules",
        };
        vec![said.to_owned()]
    }
}

/// A rule's key, and its values where such pods are.
struct Domains<'a> {
    key: &'a str,
    values: BTreeSet<&'a str>,
}

/// How a pod has to be spread: how many of its kind each domain has.
struct Spread<'a> {
    rule: &'a TopologySpreadConstraint,
    found: BTreeMap<&'a str, i32>,
    /// One more where the pod is of the kind itself.
    own: i32,
}

impl Spread<'_> {
    fn allows(&self, domain: &str) -> bool {
        let few =
            self.rule.min_domains.is_some_and(|least| self.found.len() < usize::try_from(least).unwrap_or_default());
        let least = if few { 0 } else { self.found.values().min().copied().unwrap_or_default() };
        self.found.get(domain).copied().unwrap_or_default() + self.own - least <= self.rule.max_skew
    }
}

/// What a pod needs of a node, worked out once for all of them.
pub(crate) struct Fit<'a> {
    pub(super) places: &'a Places,
    pub(super) pod: &'a Pod,
    pub(super) asked: Amounts,
    ports: Vec<HostPort>,
    volumes: Vec<&'a PersistentVolume>,
    named: Option<BTreeSet<&'a str>>,
    near: Vec<Domains<'a>>,
    /// It is the first of those that it has to be near.
    is_first: bool,
    apart: Vec<Domains<'a>>,
    excluded: BTreeSet<(&'a str, &'a str)>,
    spread: Vec<Spread<'a>>,
}

impl Places {
    /// What a pod with these volumes needs of a node, as things stand.
    pub(crate) fn fit<'a>(&'a self, pod: &'a Pod, volumes: Vec<&'a PersistentVolume>) -> Fit<'a> {
        let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let near = near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_deref());
        let apart = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let apart = apart.and_then(|apart| apart.required_during_scheduling_ignored_during_execution.as_deref());
        let (near, is_first) = self.near(near.unwrap_or_default(), pod);
        let apart = apart.unwrap_or_default().iter().map(|term| {
            let values = self.crowds(&Like::of_term(term, pod)).into_iter().flat_map(|(_, crowd)| self.nodes_of(crowd));
            let values = values.filter_map(|(place, _)| place.label(&term.topology_key)).collect();
            Domains { key: &term.topology_key, values }
        });
        Fit {
            places: self,
            pod,
            asked: Amounts::of_pod(pod),
            ports: HostPort::of_pod(pod),
            volumes,
            named: rules::named(pod),
            near,
            is_first,
            apart: apart.collect(),
            excluded: self.excluded(pod),
            spread: self.spread(pod),
        }
    }

    /// Where those are that a pod has to be near: only pods that all terms mean count. Whether there are none, and it is one itself.
    fn near<'a>(&'a self, terms: &'a [PodAffinityTerm], pod: &Pod) -> (Vec<Domains<'a>>, bool) {
        let likes: Vec<Like> = terms.iter().map(|term| Like::of_term(term, pod)).collect();
        let Some((first, others)) = likes.split_first() else { return (Vec::new(), false) };
        let mut crowds = self.crowds(first);
        crowds.retain(|(alike, _)| others.iter().all(|like| self.is_of(like, alike)));
        let domains = terms.iter().map(|term| {
            let values = crowds.iter().flat_map(|(_, crowd)| self.nodes_of(crowd));
            let values = values.filter_map(|(place, _)| place.label(&term.topology_key)).collect();
            Domains { key: &term.topology_key, values }
        });
        let domains: Vec<Domains<'a>> = domains.collect();
        let is_first =
            domains.iter().all(|term| term.values.is_empty()) && likes.iter().all(|like| self.is_like(like, pod));
        (domains, is_first)
    }

    /// Where pods are that will not have it near them.
    fn excluded(&self, pod: &Pod) -> BTreeSet<(&str, &str)> {
        let mut excluded = BTreeSet::new();
        for crowd in self.everyone() {
            for (key, _) in crowd.apart.iter().filter(|(_, like)| self.is_like(like, pod)) {
                let places = self.nodes_of(crowd);
                excluded.extend(places.filter_map(|(place, _)| Some((key.as_str(), place.label(key)?))));
            }
        }
        excluded
    }

    /// How many of its kind there are where, by each rule that it has to be spread by.
    fn spread<'a>(&'a self, pod: &'a Pod) -> Vec<Spread<'a>> {
        let rules = pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
        let rules: Vec<_> = rules.filter(|rule| rule.when_unsatisfiable == "DoNotSchedule").collect();
        let is_labelled = |place: &&Place| rules.iter().all(|rule| place.label(&rule.topology_key).is_some());
        let spread = |rule: &&'a TopologySpreadConstraint| {
            let like = Like::of_spread(rule, pod);
            let (counts, mut found) = (self.counts(&like), BTreeMap::new());
            for place in self.iter().filter(is_labelled).filter(|place| counts_for(rule, pod, place)) {
                let pods = counts.get(place.name()).copied().unwrap_or_default();
                *found.entry(place.label(&rule.topology_key).unwrap_or_default()).or_default() += pods;
            }
            Spread { rule, found, own: i32::from(self.is_like(&like, pod)) }
        };
        rules.iter().map(spread).collect()
    }
}

/// Whether a rule for spreading a pod looks at a node.
pub(super) fn counts_for(rule: &TopologySpreadConstraint, pod: &Pod, place: &Place) -> bool {
    let honours = |policy: &Option<String>, default: &str| policy.as_deref().unwrap_or(default) == "Honor";
    (!honours(&rule.node_affinity_policy, "Honor") || place.ask(|node| is_wanted(pod, node)))
        && (!honours(&rule.node_taints_policy, "Ignore") || place.ask(|node| is_tolerated(pod, node)))
}

impl Fit<'_> {
    /// The first rule that keeps the pod off the node, as kube-scheduler asks them.
    pub(crate) fn unfit(&self, place: &Place) -> Option<Unfit> {
        self.unfits(place).next()
    }

    /// All rules that keep the pod off the node.
    pub(crate) fn unfits(&self, place: &Place) -> impl Iterator<Item = Unfit> {
        let rules: [fn(&Self, &Place) -> Vec<Unfit>; 4] =
            [Self::by_node, Self::by_room, Self::by_spread, Self::by_pods];
        rules.into_iter().flat_map(move |rule| rule(self, place))
    }

    fn by_node(&self, place: &Place) -> Vec<Unfit> {
        let named = self.named.as_ref().is_none_or(|names| names.contains(place.name()));
        let rules = [
            (!named, Unfit::Elsewhere),
            (place.ask(|node| rules::is_cordoned(self.pod, node)), Unfit::Cordoned),
            (!place.ask(|node| is_tolerated(self.pod, node)), Unfit::Tainted),
            (!place.ask(|node| is_wanted(self.pod, node)), Unfit::Unwanted),
        ];
        rules.into_iter().filter_map(|(is_unfit, unfit)| is_unfit.then_some(unfit)).collect()
    }

    fn by_room(&self, place: &Place) -> Vec<Unfit> {
        let mut unfits = Vec::new();
        if self.ports.iter().any(|port| place.ports.keys().any(|taken| taken.collides(port))) {
            unfits.push(Unfit::Ports);
        }
        let lacking: BTreeSet<String> = place.free.lacks(&self.asked).map(str::to_owned).collect();
        if !lacking.is_empty() {
            unfits.push(Unfit::Lacks(lacking));
        }
        for (rule, volume) in self.volumes.iter().enumerate() {
            if !place.ask(|node| reaches(volume, node)) {
                unfits.push(Unfit::Volume { rule, volume: volume.metadata.name.clone().unwrap_or_default() });
            }
        }
        unfits
    }

    fn by_spread(&self, place: &Place) -> Vec<Unfit> {
        let unfit = |(rule, spread): (usize, &Spread<'_>)| {
            let (key, skew) = (spread.rule.topology_key.clone(), spread.rule.max_skew);
            match place.label(&key) {
                None => Some(Unfit::Unlabelled { rule, key, skew }),
                Some(domain) if !spread.allows(domain) => Some(Unfit::Uneven { rule, key, skew }),
                Some(_) => None,
            }
        };
        self.spread.iter().enumerate().filter_map(unfit).collect()
    }

    fn by_pods(&self, place: &Place) -> Vec<Unfit> {
        let mut unfits = Vec::new();
        for (rule, term) in self.near.iter().enumerate() {
            let is_near = place.label(term.key).is_some_and(|value| self.is_first || term.values.contains(value));
            if !is_near {
                unfits.push(Unfit::Far { rule, key: term.key.to_owned() });
            }
        }
        for (rule, term) in self.apart.iter().enumerate() {
            if place.label(term.key).is_some_and(|value| term.values.contains(value)) {
                unfits.push(Unfit::Near { rule, key: term.key.to_owned() });
            }
        }
        let excluded = self.excluded.iter().find(|(key, value)| place.label(key) == Some(value));
        unfits.extend(excluded.map(|(key, _)| Unfit::Excluded { key: (*key).to_owned() }));
        unfits
    }
}
