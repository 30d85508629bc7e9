//! How long the cluster took for what the lab takes for granted, as its watches saw it: the same fold for a run and its rehearsals.
//!
//! A length counts only where both of its ends were seen as changes: of a pod that was there before, or whose start nobody saw, nothing
//! is known. The two watches of pods and endpoints are not in step; what the second tells first took no time.

use std::collections::BTreeMap;

use crate::record::{Assumption, Change, Injection, Micros, Span, What};

/// The letters of the names that Kubernetes makes up.
const LETTERS: &str = "bcdfghjklmnpqrstvwxz2456789";

/// What was seen of one pod.
#[derive(Default)]
struct Life {
    /// It was created while somebody looked.
    added: Option<Micros>,
    bound: Option<Micros>,
    running: Option<Micros>,
    ready: Option<Micros>,
    endpoint: Option<Micros>,
    terminating: Option<Micros>,
    endpoint_gone: Option<Micros>,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Spans {
    /// By namespace and name.
    pods: BTreeMap<(String, String), Life>,
    /// When each node was hit, and whether it is known as Ready.
    hit: BTreeMap<String, Micros>,
    nodes: BTreeMap<String, bool>,
    found: BTreeMap<(Assumption, String), Vec<Micros>>,
}

impl Spans {
    /// Takes an event in.
    pub(super) fn push(&mut self, at: Micros, what: &What) {
        match what {
            What::Injected { target, outcome: Injection::Injected, answered, .. } if target.kind == "node" => {
                self.hit.insert(target.name.clone(), *answered);
            }
            // What happened meanwhile is unknown, so nothing that began before has a length.
            What::Blind { .. } => self.pods.clear(),
            What::Object { change, kind, namespace, name, state, .. } => {
                let field = |key: &str| state.get(key).unwrap_or_default();
                match kind.as_str() {
                    "pod" => self.pod(at, *change, (namespace, name), field),
                    "endpoint" => self.endpoint(at, *change, (namespace, name), field),
                    "node" => self.node(at, name, field("ready") == "True"),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Everything that was seen, each with its shortest, median and longest.
    pub(super) fn finish(self) -> Vec<Span> {
        let span = |((what, of), mut all): ((Assumption, String), Vec<Micros>)| {
            all.sort_unstable();
            let at = |index: usize| all.get(index).copied().unwrap_or_default();
            let last = all.len().saturating_sub(1);
            let seen = u64::try_from(all.len()).unwrap_or(u64::MAX);
            Span { what, of, seen, least_us: at(0), median_us: at(last / 2), most_us: at(last) }
        };
        self.found.into_iter().map(span).collect()
    }

    fn pod<'a>(
        &mut self,
        at: Micros,
        change: Change,
        (namespace, name): (&String, &String),
        field: impl Fn(&str) -> &'a str,
    ) {
        let key = (namespace.clone(), name.clone());
        let of = workload(namespace, name);
        let mut found = Vec::new();
        if change == Change::Deleted {
            let life = self.pods.remove(&key);
            found.extend(life.and_then(|life| life.terminating).map(|since| (Assumption::Ending, at - since)));
        } else {
            let life = self.pods.entry(key).or_default();
            if change == Change::Added {
                // Of one that runs when it is first seen, nobody saw the start.
                *life = Life { added: (field("phase") != "Running").then_some(at), ..Life::default() };
            }
            if change != Change::Seen {
                life.moved(at, &field, &mut found);
            }
        }
        self.keep(&of, found);
    }

    fn endpoint<'a>(
        &mut self,
        at: Micros,
        change: Change,
        (namespace, name): (&String, &String),
        field: impl Fn(&str) -> &'a str,
    ) {
        let Some(life) = self.pods.get_mut(&(namespace.clone(), name.clone())) else { return };
        let mut found = Vec::new();
        if change != Change::Deleted && field("ready") != "false" {
            if life.endpoint.is_none() && change != Change::Seen {
                life.endpoint = Some(at);
                found.extend(life.ready.map(|since| (Assumption::EndpointAdded, at - since)));
            }
        } else if life.endpoint_gone.is_none() && (life.terminating.is_some() || field("terminating") == "true") {
            life.endpoint_gone = Some(at);
            found.extend(life.terminating.map(|since| (Assumption::EndpointRemoved, at - since)));
        }
        self.keep(&workload(namespace, name), found);
    }

    fn node(&mut self, at: Micros, name: &str, ready: bool) {
        let was_ready = self.nodes.insert(name.to_owned(), ready);
        if was_ready == Some(true)
            && !ready
            && let Some(since) = self.hit.remove(name)
        {
            self.keep("nodes", vec![(Assumption::NodeDetection, at - since)]);
        }
    }

    fn keep(&mut self, of: &str, found: Vec<(Assumption, Micros)>) {
        for (what, length) in found {
            self.found.entry((what, of.to_owned())).or_default().push(length.max(0));
        }
    }
}

impl Life {
    /// Follows a pod from one state to the next.
    fn moved<'a>(&mut self, at: Micros, field: &impl Fn(&str) -> &'a str, found: &mut Vec<(Assumption, Micros)>) {
        if let Some(added) = self.added {
            if self.bound.is_none() && !field("node").is_empty() {
                self.bound = Some(at);
                // One that came with its node was seen too late.
                if added < at {
                    found.push((Assumption::Scheduling, at - added));
                }
            }
            if let Some(bound) = self.bound.filter(|bound| self.running.is_none() && *bound < at)
                && field("phase") == "Running"
            {
                self.running = Some(at);
                found.push((Assumption::Start, at - bound));
            }
            if let Some(running) = self.running.filter(|_| self.ready.is_none())
                && field("ready") == "true"
            {
                self.ready = Some(at);
                found.push((Assumption::Readiness, at - running));
                found.extend(self.endpoint.map(|_| (Assumption::EndpointAdded, 0)));
            }
        }
        if self.terminating.is_none() && field("terminating") == "true" {
            self.terminating = Some(at);
            found.extend(self.endpoint_gone.map(|_| (Assumption::EndpointRemoved, 0)));
        }
    }
}

/// The workload of a pod, as far as its name tells: without the ending that its owner gave it, and without the hash of a Deployment's
/// template before that.
fn workload(namespace: &str, pod: &str) -> String {
    let made_up = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|letter| LETTERS.contains(letter))
    };
    let mut name = pod;
    if let Some((rest, last)) = pod.rsplit_once('-') {
        if made_up(last, 5..=5) {
            name = rest;
            if let Some((of, hash)) = rest.rsplit_once('-')
                && made_up(hash, 6..=10)
            {
                name = of;
            }
        } else if last.bytes().all(|digit| digit.is_ascii_digit()) {
            name = rest;
        }
    }
    format!("{namespace}/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(change: Change, kind: &str, name: &str, state: &[(&str, &str)]) -> What {
        What::Object {
            change,
            kind: kind.to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            detail: String::new(),
            state: state.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn spans(events: &[(Micros, What)]) -> Vec<(Assumption, String, u64, Micros)> {
        let mut spans = Spans::default();
        for (at, what) in events {
            spans.push(*at, what);
        }
        spans.finish().into_iter().map(|s| (s.what, s.of, s.seen, s.median_us)).collect()
    }

    #[test]
    fn a_pods_workload_is_read_from_its_name() {
        for (pod, name) in [
            ("web-7c9f4b8d6-x2k4z", "shop/web"),
            ("a-web-x2k4z", "shop/a-web"),
            ("db-12", "shop/db"),
            ("alone", "shop/alone"),
            ("web-alone", "shop/web-alone"),
        ] {
            assert_eq!(workload("shop", pod), name);
        }
    }

    #[test]
    fn each_step_of_a_pods_life_has_its_length() {
        let (old, new) = ("web-7c9f4b8d6-x2k4z", "web-7c9f4b8d6-b4b4b");
        let pod = |change, state: &[(&str, &str)]| object(change, "pod", new, state);
        let events = [
            (0, object(Change::Seen, "pod", old, &[("ready", "true"), ("phase", "Running"), ("node", "a")])),
            (10, object(Change::Changed, "pod", old, &[("terminating", "true"), ("ready", "true")])),
            (15, object(Change::Changed, "endpoint", old, &[("ready", "false"), ("terminating", "true")])),
            (20, pod(Change::Added, &[("phase", "Pending")])),
            (50, pod(Change::Changed, &[("phase", "Pending"), ("node", "a")])),
            (90, object(Change::Deleted, "pod", old, &[])),
            (950, pod(Change::Changed, &[("phase", "Running"), ("node", "a"), ("ready", "false")])),
            (1_950, pod(Change::Changed, &[("phase", "Running"), ("node", "a"), ("ready", "true")])),
            (1_970, object(Change::Changed, "endpoint", new, &[("ready", "true")])),
            (2_000, pod(Change::Changed, &[("phase", "Running"), ("node", "a"), ("ready", "true")])),
        ];
        let web = |what, length| (what, "shop/web".to_owned(), 1, length);
        assert_eq!(
            spans(&events),
            [
                web(Assumption::Scheduling, 30),
                web(Assumption::Start, 900),
                web(Assumption::Readiness, 1_000),
                web(Assumption::EndpointAdded, 20),
                web(Assumption::EndpointRemoved, 5),
                web(Assumption::Ending, 80),
            ]
        );
    }

    #[test]
    fn what_was_not_seen_from_its_start_to_its_end_has_no_length() {
        let name = "web-7c9f4b8d6-b4b4b";
        let pod = |change, state: &[(&str, &str)]| object(change, "pod", name, state);
        let up = [("phase", "Running"), ("node", "a"), ("ready", "true")];
        assert!(spans(&[(0, pod(Change::Added, &up)), (9, pod(Change::Changed, &up))]).is_empty());
        let blind = What::Blind { what: "pods in shop".to_owned(), from: 5, to: None };
        let events = [(0, pod(Change::Added, &[])), (5, blind), (9, pod(Change::Changed, &up))];
        assert!(spans(&events).is_empty());
    }

    #[test]
    fn a_node_is_detected_only_where_something_was_done_to_it() {
        let node = |ready| object(Change::Changed, "node", "n1", &[("ready", ready)]);
        assert!(spans(&[(0, node("True")), (5, node("Unknown"))]).is_empty());
        let target = crate::record::Target {
            kind: "node".to_owned(),
            namespace: String::new(),
            name: "n1".to_owned(),
            uid: "u".to_owned(),
            node: None,
            zone: None,
            owner: None,
            instance: None,
        };
        let hit = What::Injected {
            step: "a".to_owned(),
            fault: "b".to_owned(),
            target,
            outcome: Injection::Injected,
            sent: 1,
            answered: 2,
            detail: String::new(),
            expected: true,
        };
        let events = [(0, node("True")), (2, hit), (52, node("Unknown")), (60, node("True")), (70, node("Unknown"))];
        assert_eq!(spans(&events), [(Assumption::NodeDetection, "nodes".to_owned(), 1, 50)]);
    }
}
