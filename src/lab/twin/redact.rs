//! Pseudonyms in the place of names: a twin that may leave the house.
//!
//! Every text of an object is replaced unless its field is known to hold none but the API's own words: what nobody thought of is replaced,
//! not kept. A name is replaced word by word, the same word by the same pseudonym wherever it stands, so that what belongs together by its
//! name (a pod and its set, a claim and its pod, a label and its selector) still does. Words of Kubernetes itself stay, and short numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Assumption, Missing, Objects, Origin, Twin, text};

/// Fields whose texts are the API's own words, versions, times or amounts.
const OWN: [&str; 43] = [
    "apiVersion",
    "kind",
    "type",
    "status",
    "phase",
    "reason",
    "operator",
    "effect",
    "protocol",
    "appProtocol",
    "scheme",
    "restartPolicy",
    "preemptionPolicy",
    "whenUnsatisfiable",
    "nodeAffinityPolicy",
    "nodeTaintsPolicy",
    "creationTimestamp",
    "lastTransitionTime",
    "startTime",
    "startedAt",
    "finishedAt",
    "completionTime",
    "addressType",
    "accessModes",
    "volumeMode",
    "volumeBindingMode",
    "reclaimPolicy",
    "persistentVolumeReclaimPolicy",
    "podManagementPolicy",
    "completionMode",
    "podReplacementPolicy",
    "sessionAffinity",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
    "unhealthyPodEvictionPolicy",
    "maxSurge",
    "maxUnavailable",
    "minAvailable",
    "architecture",
    "operatingSystem",
    "kubeletVersion",
    "containerRuntimeVersion",
    "finalizers",
];
/// Fields that hold amounts by resource.
const AMOUNTS: [&str; 5] = ["capacity", "allocatable", "requests", "limits", "overhead"];
/// Fields that hold texts by label.
const LABELLED: [&str; 4] = ["labels", "annotations", "nodeSelector", "matchLabels"];
/// Fields that are not needed, and whose texts tell of a network.
const DROPPED: [&str; 5] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "osImage"];
/// Words that say nothing of anybody.
const WORDS: [&str; 43] = [
    "api",
    "apiserver",
    "app",
    "cluster",
    "controller",
    "coredns",
    "critical",
    "csi",
    "default",
    "dns",
    "gp2",
    "gp3",
    "grpc",
    "http",
    "https",
    "kube",
    "kubernetes",
    "lease",
    "local",
    "manager",
    "master",
    "metrics",
    "node",
    "normal",
    "proxy",
    "public",
    "scheduler",
    "server",
    "squall",
    "svc",
    "system",
    "tcp",
    "tls",
    "udp",
    "true",
    "false",
    "linux",
    "amd64",
    "arm64",
    "none",
    "etcd",
    "control",
    "plane",
];
/// Domains whose labels are nobody's own.
const KNOWN: [&str; 6] = ["kubernetes.io", "k8s.io", "squall.dev", "amazonaws.com", "karpenter.sh", "nvidia.com"];
/// Labels whose values are from a list that everybody knows.
const PLAIN: [&str; 6] = ["/os", "/arch", "instance-type", "capacityType", "capacity-type", "managed-by"];

/// Who became who.
#[derive(Debug, Clone, Default)]
pub struct Pseudonyms {
    words: BTreeMap<String, String>,
    /// What is replaced as a whole, by what it is.
    whole: BTreeMap<(&'static str, String), String>,
    /// Texts as they were met, and what became of them.
    met: BTreeMap<String, String>,
    kept: BTreeSet<String>,
}

impl Pseudonyms {
    /// Every name that was replaced, and its pseudonym.
    #[must_use]
    pub const fn map(&self) -> &BTreeMap<String, String> {
        &self.met
    }

    /// What became of a name; itself where it stayed.
    #[must_use]
    pub fn of<'a>(&'a self, name: &'a str) -> &'a str {
        self.met.get(name).map_or(name, String::as_str)
    }

    /// Names of nodes, zones and regions, which stand in other names too, are replaced as a whole.
    fn learn(&mut self, twin: &Twin) {
        for node in twin.objects.iter().filter(|object| object["kind"] == "Node") {
            self.known_as("node", text(&node, "/metadata/name"));
            for (what, label) in
                [("zone", "topology.kubernetes.io~1zone"), ("region", "topology.kubernetes.io~1region")]
            {
                self.known_as(what, text(&node, &format!("/metadata/labels/{label}")));
            }
        }
    }

    fn known_as(&mut self, what: &'static str, name: &str) -> String {
        if name.is_empty() || self.kept.contains(name) {
            return name.to_owned();
        }
        let next = self.whole.keys().filter(|(of, _)| *of == what).count() + 1;
        let pseudonym = self.whole.entry((what, name.to_owned())).or_insert_with(|| format!("{what}-{next}")).clone();
        self.met.insert(name.to_owned(), pseudonym.clone());
        pseudonym
    }

    fn name(&mut self, name: &str) -> String {
        for what in ["node", "zone", "region"] {
            if let Some(known) = self.whole.get(&(what, name.to_owned())) {
                return known.clone();
            }
        }
        let mut replaced = String::new();
        let mut word = String::new();
        for letter in name.chars().map(Some).chain([None]) {
            if let Some(letter) = letter.filter(|letter| letter.is_alphanumeric()) {
                word.push(letter);
            } else {
                replaced.push_str(&self.word(&std::mem::take(&mut word)));
                replaced.extend(letter);
            }
        }
        if replaced != name {
            self.met.insert(name.to_owned(), replaced.clone());
        }
        replaced
    }

    fn word(&mut self, word: &str) -> String {
        let number = word.len() <= 4 && word.bytes().all(|digit| digit.is_ascii_digit());
        if number || WORDS.contains(&word) || self.kept.contains(word) {
            return word.to_owned();
        }
        let next = self.words.len() + 1;
        self.words.entry(word.to_owned()).or_insert_with(|| format!("x{next}")).clone()
    }

    /// A label's or annotation's name, or a resource's: its domain, where that is somebody's own. The containers that the lab's own
    /// annotations name have other names too.
    fn key(&mut self, key: &str) -> String {
        let Some((domain, name)) = key.split_once('/') else { return key.to_owned() };
        if domain == "lab.squall.dev" {
            let Some((container, what)) = name.rsplit_once('.') else { return key.to_owned() };
            return format!("{domain}/{}.{what}", self.name(container));
        }
        let known = KNOWN.iter().any(|known| domain.ends_with(known));
        if known { key.to_owned() } else { format!("{}/{}", self.name(domain), self.name(name)) }
    }

    fn label(&mut self, key: &str, value: &str) -> String {
        let own = key.starts_with("lab.squall.dev/") || key.starts_with("deployment.kubernetes.io/");
        let plain = PLAIN.iter().any(|plain| key.ends_with(plain)) && KNOWN.iter().any(|known| key.contains(known));
        if own || plain { value.to_owned() } else { self.name(value) }
    }

    fn labels(&mut self, all: &Map<String, Value>) -> Value {
        let one = |(key, value): (&String, &Value)| {
            let value = value.as_str().map_or_else(|| value.clone(), |value| self.label(key, value).into());
            (self.key(key), value)
        };
        Value::Object(all.iter().map(one).collect())
    }

    fn value(&mut self, field: &str, value: &Value) -> Value {
        match value {
            // A readiness gate's condition is of a type that somebody made up.
            Value::String(text) if OWN.contains(&field) && !(field == "type" && text.contains('/')) => value.clone(),
            Value::String(text) => self.text(field, text).into(),
            Value::Array(all) => all.iter().map(|one| self.value(field, one)).collect(),
            Value::Object(all) if AMOUNTS.contains(&field) => {
                Value::Object(all.iter().map(|(key, amount)| (self.key(key), amount.clone())).collect())
            }
            // A Service's selector has no `matchLabels`.
            Value::Object(all)
                if LABELLED.contains(&field) || (field == "selector" && all.values().all(Value::is_string)) =>
            {
                self.labels(all)
            }
            Value::Object(all) => self.object(all),
            other => other.clone(),
        }
    }

    fn object(&mut self, all: &Map<String, Value>) -> Value {
        // A requirement, a taint or a toleration: its values are of the label that its key names.
        let label = all.get("key").and_then(Value::as_str).map(ToOwned::to_owned);
        let mut replaced = Map::new();
        for (field, value) in all {
            let value = match (&label, field.as_str()) {
                (_, field) if DROPPED.contains(&field) && value != "None" => continue,
                (_, "clusterIP") => value.clone(),
                (Some(label), "key") => self.key(label).into(),
                (Some(label), "value" | "values") => match value {
                    Value::String(text) => self.label(label, text).into(),
                    Value::Array(texts) => {
                        texts.iter().map(|text| self.label(label, text.as_str().unwrap_or_default())).collect()
                    }
                    other => other.clone(),
                },
                _ => self.value(field, value),
            };
            replaced.insert(field.clone(), value);
        }
        Value::Object(replaced)
    }

    fn text(&mut self, field: &str, text: &str) -> String {
        match field {
            "image" | "names" => self.known_as("image", text),
            "topologyKey" | "labelKeys" | "matchLabelKeys" | "mismatchLabelKeys" => self.key(text),
            "providerID" => self.machine(text),
            // Nobody's: they are kept for documents (RFC 5737).
            "addresses" => format!("192.0.2.{}", self.known_as("address", text).trim_start_matches("address-")),
            _ => self.name(text),
        }
    }

    /// A machine of a cloud stays one: `aws:///ZONE/i-…`.
    fn machine(&mut self, id: &str) -> String {
        match id.strip_prefix("aws:///").and_then(|rest| rest.split_once('/')) {
            Some((zone, instance)) => {
                let number = self.known_as("instance", instance);
                let number: usize = number.trim_start_matches("instance-").parse().unwrap_or(0);
                format!("aws:///{}/i-{number:017x}", self.name(zone))
            }
            None => self.known_as("machine", id),
        }
    }
}

impl Twin {
    /// The same with pseudonyms for every name, but for those words that are in the names `keep`. The Corefile is left out.
    #[must_use]
    pub fn redact(&self, keep: &[String]) -> (Self, Pseudonyms) {
        let mut names = Pseudonyms::default();
        for name in keep {
            names.kept.insert(name.clone());
            names.kept.extend(name.split(|letter: char| !letter.is_alphanumeric()).map(ToOwned::to_owned));
        }
        names.learn(self);
        let objects = self.objects.iter().filter(|object| object["kind"] != "ConfigMap");
        let objects: Objects = objects.map(|object| names.value("", &object)).collect();
        let mut left_out = self.left_out.clone();
        if objects.len() < self.objects.len() {
            left_out.push("the DNS's Corefile, which names hosts".to_owned());
        }
        let assumptions = self.assumptions.iter().map(|one| Assumption {
            workload: words_of(&mut names, &one.workload),
            annotation: names.key(&one.annotation),
            value: one.value.clone(),
            source: one.source.clone(),
        });
        let assumptions = assumptions.collect();
        let missing = self.missing.iter().map(|one| Missing {
            what: words_of(&mut names, &one.what),
            // The API server's words name people and objects.
            why: one.why.rsplit_once('(').map_or_else(|| "refused".to_owned(), |(_, code)| format!("refused ({code}")),
            effect: one.effect.clone(),
        });
        let missing = missing.collect();
        let twin = Self {
            cluster: Origin { version: self.cluster.version.clone(), ..Origin::default() },
            namespaces: self.namespaces.iter().map(|name| names.name(name)).collect(),
            redacted: true,
            missing,
            left_out,
            assumptions,
            count: objects.len(),
            objects,
            ..self.clone()
        };
        (twin, names)
    }
}

/// `deployment/web in shop`, `pods outside shop, bank`: kinds and resources stay.
fn words_of(names: &mut Pseudonyms, told: &str) -> String {
    let parts = [" in ", " outside "].into_iter().find_map(|word| Some((told.split_once(word)?, word)));
    let ((what, within), word) = match parts {
        Some(((what, within), word)) => ((what, names.name(within)), word),
        None => ((told, String::new()), ""),
    };
    let what = match what.split_once('/') {
        Some((kind, name)) => format!("{kind}/{}", names.name(name)),
        None => what.to_owned(),
    };
    format!("{what}{word}{within}")
}
