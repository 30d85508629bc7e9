//! Which of the nodes that a pod may run on suits it best: what kube-scheduler scores nodes by, with its default weights.
//!
//! Whether the image is there already is not looked at: that the lab's nodes have it is assumed everywhere.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::fit::{Fit, counts_for};
use super::like::Like;
use super::places::{Place, draws};
use super::resources::Amounts;
use super::rules::{disliked, preferred};

/// The most that a rule gives before its weight.
const BEST: f64 = 100.0;
const BILLION: i128 = 1_000_000_000;
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

impl Fit<'_> {
    /// How well each of these nodes suits the pod. `even`: the pods that it is to be spread among where it does not say so itself.
    pub(crate) fn scores(&self, open: &[&Place], even: Option<&LabelSelector>) -> Vec<f64> {
        let room = self.room(open);
        let near = self.affinity(open);
        let wanted = highest(open.iter().map(|place| f64::from(place.ask(|node| preferred(self.pod, node)))));
        let spread = self.evenness(open, even);
        let tainted = highest(open.iter().map(|place| {
            let count = place.ask(|node| i32::try_from(disliked(self.pod, node)).unwrap_or(i32::MAX));
            f64::from(count)
        }));
        let sum = |index: usize| {
            room[index] + 2.0 * (near[index] + wanted[index] + spread[index]) + 3.0 * (BEST - tainted[index])
        };
        (0..open.len()).map(sum).collect()
    }

    /// Where most is left, and where CPU and memory are used alike.
    fn room(&self, open: &[&Place]) -> Vec<f64> {
        let usual = Amounts::usual_of_pod(self.pod);
        let asked = ["cpu", "memory"].map(|name| (name, self.asked.get(name), usual.get(name)));
        let asks = asked.iter().any(|(_, asked, _)| *asked > 0);
        let room = |place: &&Place| {
            let (mut left, mut used) = (Vec::new(), Vec::new());
            for (name, asked, usual) in asked {
                let have = place.have.get(name);
                if have > 0 {
                    left.push((have - (place.usual.get(name) + usual).min(have)) * 100 / have);
                    let taken = (have - place.free.get(name) + asked).min(have);
                    used.push(number(taken * BILLION / have) / number(BILLION));
                }
            }
            let count = i128::try_from(left.len()).unwrap_or_default().max(1);
            let least_used = number(left.iter().sum::<i128>() / count);
            let apart = if let [cpu, memory] = used.as_slice() { (cpu - memory).abs() / 2.0 } else { 0.0 };
            // A part in a million makes up for what the division lost.
            let balanced = if asks { ((1.0 - apart) * BEST + 1e-6).trunc() } else { 0.0 };
            least_used + balanced
        };
        open.iter().map(room).collect()
    }

    /// Where the pods are that it would be near, and that would have it near; away from the others.
    fn affinity(&self, open: &[&Place]) -> Vec<f64> {
        let mut drawn: BTreeMap<(String, &str), i32> = BTreeMap::new();
        for (key, weight, like) in draws(self.pod) {
            for (place, pods) in
                self.places.crowds(&like).into_iter().flat_map(|(_, crowd)| self.places.nodes_of(crowd))
            {
                if let Some(value) = place.label(&key) {
                    *drawn.entry((key.clone(), value)).or_default() += weight * pods;
                }
            }
        }
        for crowd in self.places.everyone() {
            for (key, weight, _) in crowd.draws.iter().filter(|(_, _, like)| self.places.is_like(like, self.pod)) {
                for (place, pods) in self.places.nodes_of(crowd) {
                    if let Some(value) = place.label(key) {
                        *drawn.entry((key.clone(), value)).or_default() += weight * pods;
                    }
                }
            }
        }
        let sum = |place: &&Place| -> i32 {
            drawn.iter().filter(|((key, value), _)| place.label(key) == Some(value)).map(|(_, weight)| weight).sum()
        };
        let sums: Vec<i32> = open.iter().map(sum).collect();
        let least = sums.iter().min().copied().unwrap_or_default();
        let range = f64::from(sums.iter().max().copied().unwrap_or_default() - least);
        let scaled = |sum: &i32| if range > 0.0 { (BEST * f64::from(sum - least) / range).trunc() } else { 0.0 };
        sums.iter().map(scaled).collect()
    }

    /// Where few of its kind are, by the rules that may be broken.
    fn evenness(&self, open: &[&Place], even: Option<&LabelSelector>) -> Vec<f64> {
        let own = self.pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
        let own: Vec<TopologySpreadConstraint> = own.cloned().collect();
        let all_labels = !own.is_empty();
        let mut rules = if all_labels { own } else { even.map(usual_spread).unwrap_or_default() };
        rules.retain(|rule| rule.when_unsatisfiable == "ScheduleAnyway");
        if rules.is_empty() {
            return vec![0.0; open.len()];
        }
        let counts = |place: &&Place| !all_labels || rules.iter().all(|rule| place.label(&rule.topology_key).is_some());
        let within: Vec<&Place> = open.iter().copied().filter(counts).collect();
        let mut scores: Vec<Option<f64>> = open.iter().map(|place| counts(place).then_some(0.0)).collect();
        let mut known: Option<(&TopologySpreadConstraint, BTreeMap<&str, i32>)> = None;
        for rule in &rules {
            let is_same = |of: &TopologySpreadConstraint| {
                of.label_selector == rule.label_selector && of.match_label_keys == rule.match_label_keys
            };
            let (_, found) = match known.take().filter(|(of, _)| is_same(of)) {
                Some(known) => known,
                None => (rule, self.places.counts(&Like::of_spread(rule, self.pod))),
            };
            let costs = self.costs(rule, &found, &within, &counts);
            known = Some((rule, found));
            for (score, place) in scores.iter_mut().zip(open) {
                if let (Some(score), Some(domain)) = (score, place.label(&rule.topology_key)) {
                    *score += costs.get(domain).copied().unwrap_or_default();
                }
            }
        }
        let rounded = || scores.iter().flatten().map(|score| score.round());
        let (least, most) = (rounded().fold(f64::MAX, f64::min), rounded().fold(0.0, f64::max));
        let scaled = |score: &Option<f64>| match score {
            None => 0.0,
            Some(_) if most == 0.0 => BEST,
            Some(score) => (BEST * (most + least - score.round()) / most).trunc(),
        };
        scores.iter().map(scaled).collect()
    }

    /// What a rule for spreading holds against each domain, by the pods of its kind that nodes have.
    fn costs<'a>(
        &'a self,
        rule: &TopologySpreadConstraint,
        found: &BTreeMap<&str, i32>,
        within: &[&'a Place],
        counts: &dyn Fn(&&Place) -> bool,
    ) -> BTreeMap<&'a str, f64> {
        let here = |place: &Place| found.get(place.name()).copied().unwrap_or_default();
        let domain = |place: &'a Place| place.label(&rule.topology_key).unwrap_or_default();
        let is_host = rule.topology_key == HOSTNAME;
        let mut pods: BTreeMap<&str, i32> = within.iter().map(|place| (domain(place), 0)).collect();
        if is_host {
            pods = within.iter().map(|place| (domain(place), here(place))).collect();
        } else {
            for place in self.places.iter().filter(counts).filter(|place| counts_for(rule, self.pod, place)) {
                if let Some(count) = pods.get_mut(domain(place)) {
                    *count += here(place);
                }
            }
        }
        let domains = if is_host { within.len() } else { pods.len() };
        let weight = f64::from(u32::try_from(domains + 2).unwrap_or(u32::MAX)).ln();
        pods.into_iter()
            .map(|(domain, pods)| (domain, f64::from(pods) * weight + f64::from(rule.max_skew - 1)))
            .collect()
    }
}

/// The rules that a pod without its own is spread by.
fn usual_spread(kind: &LabelSelector) -> Vec<TopologySpreadConstraint> {
    let rule = |key: &str, max_skew| TopologySpreadConstraint {
        topology_key: key.to_owned(),
        max_skew,
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(kind.clone()),
        ..TopologySpreadConstraint::default()
    };
    vec![rule(HOSTNAME, 3), rule(ZONE, 5)]
}

/// Scaled so that the highest is the best.
fn highest(scores: impl Iterator<Item = f64>) -> Vec<f64> {
    let scores: Vec<f64> = scores.collect();
    let most = scores.iter().copied().fold(0.0, f64::max);
    scores.into_iter().map(|score| if most > 0.0 { (BEST * score / most).trunc() } else { 0.0 }).collect()
}

/// A number that is no more than a billion.
fn number(number: i128) -> f64 {
    f64::from(i32::try_from(number).unwrap_or_default())
}
