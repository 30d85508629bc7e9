//! What pods ask for, and what nodes have: amounts as Kubernetes counts them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The place that every pod takes, whatever it asks for.
pub(super) const PODS: &str = "pods";
/// What a container that asks for nothing is taken to use where nodes are compared.
const USUAL: [(&str, i128); 2] = [("cpu", 100), ("memory", 1000 * (200 << 20))];

/// Amounts by resource, in thousandths: a CPU has a thousand, a byte too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Amounts(BTreeMap<String, i128>);

impl Amounts {
    fn of(quantities: Option<&BTreeMap<String, Quantity>>) -> Self {
        let read = |(name, quantity): (&String, &Quantity)| Some((name.clone(), thousandths(&quantity.0)?));
        Self(quantities.into_iter().flatten().filter_map(read).collect())
    }

    /// What a node lends to pods.
    pub(crate) fn of_node(node: &Node) -> Self {
        Self::of(node.status.as_ref().and_then(|status| status.allocatable.as_ref()))
    }

    /// What the scheduler sets aside for a pod: its containers together, or the largest of those that run before them, beside what runs
    /// along from the start; and what the pod says of itself, which replaces that.
    pub(crate) fn of_pod(pod: &Pod) -> Self {
        Self::asked(pod, &Self::of_container)
    }

    /// The same where a container that asks for no CPU or memory is taken to use a little, so that not all of them go to one node.
    pub(super) fn usual_of_pod(pod: &Pod) -> Self {
        Self::asked(pod, &|container| {
            let mut asked = Self::of_container(container);
            for (name, amount) in USUAL {
                asked.0.entry(name.to_owned()).or_insert(amount);
            }
            asked
        })
    }

    fn of_container(container: &Container) -> Self {
        Self::of(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
    }

    fn asked(pod: &Pod, asked: &dyn Fn(&Container) -> Self) -> Self {
        let Some(spec) = &pod.spec else { return Self::default() };
        let (mut along, mut first) = (Self::default(), Self::default());
        for container in spec.init_containers.iter().flatten() {
            let mut peak = along.clone();
            peak.add(&asked(container));
            first.raise(&peak);
            if container.restart_policy.as_deref() == Some("Always") {
                along.add(&asked(container));
            }
        }
        for container in &spec.containers {
            along.add(&asked(container));
        }
        along.raise(&first);
        let of_pod = Self::of(spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()));
        along.0.extend(of_pod.0);
        along.add(&Self::of(spec.overhead.as_ref()));
        along.0.insert(PODS.to_owned(), 1000);
        along
    }

    pub(super) fn add(&mut self, more: &Self) {
        for (name, amount) in &more.0 {
            *self.0.entry(name.clone()).or_default() += amount;
        }
    }

    fn raise(&mut self, least: &Self) {
        for (name, amount) in &least.0 {
            let mine = self.0.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }

    pub(crate) fn take(&mut self, less: &Self) {
        for (name, amount) in &less.0 {
            *self.0.entry(name.clone()).or_default() -= amount;
        }
    }

    /// What of `asked` there is not: names and what is asked.
    pub(crate) fn lacks<'a>(&'a self, asked: &'a Self) -> impl Iterator<Item = &'a str> {
        asked.0.iter().filter_map(|(name, amount)| {
            let lacking = *amount > 0 && self.get(name) < *amount;
            lacking.then_some(name.as_str())
        })
    }

    pub(crate) fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

/// A quantity as the API writes it: `100m`, `1.5`, `2Gi`, `1e3`. `None` for what is none.
fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (factor, divisor): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "" => (1000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        "Ei" => (1000 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let ten = 10_i128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1000, ten) } else { (ten.checked_mul(1000)?, 1) }
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    // Rounded up, as the API does with what it can't hold.
    let scaled = digits.checked_mul(factor)?;
    Some(scaled.div_euclid(divisor) + i128::from(scaled.rem_euclid(divisor) != 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_as_the_api_writes_them() {
        for (text, wanted) in [
            ("100m", 100),
            ("1.5", 1500),
            ("2", 2000),
            ("1Ki", 1_024_000),
            ("0.5Gi", 536_870_912_000),
            ("1e3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("12E2", 1_200_000),
            ("5e-1", 500),
            ("100u", 1),
            ("0", 0),
        ] {
            assert_eq!(thousandths(text), Some(wanted), "{text}");
        }
        for none in ["", "x", "1.2.3", "1 Gi", "1e", "1KB", "e999"] {
            assert_eq!(thousandths(none), None, "{none}");
        }
    }

    #[test]
    fn a_pod_takes_what_the_scheduler_sets_aside_for_it() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let mut along = container("50m");
        along["restartPolicy"] = "Always".into();
        let cpu = |spec: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
            Amounts::of_pod(&pod).get("cpu")
        };
        assert_eq!(cpu(json!({"containers": [container("100m"), container("1")]})), 1100);
        assert_eq!(cpu(json!({"initContainers": [container("2")], "containers": [container("1")]})), 2000);
        let spec = json!({"initContainers": [along, container("2")], "containers": [container("1")], "overhead": {"cpu": "10m"}});
        assert_eq!(cpu(spec), 2060);
        let spec = json!({"containers": [container("1")], "resources": {"requests": {"cpu": "300m"}}});
        assert_eq!(cpu(spec), 300);
    }

    #[test]
    fn what_is_lacking_is_named() {
        let amounts = |value| Amounts::of(Some(&serde_json::from_value(value).unwrap()));
        let mut have = amounts(json!({"cpu": "2", "memory": "1Gi"}));
        let asked = amounts(json!({"cpu": "1500m", "nvidia.com/gpu": "1", "memory": "0"}));
        assert_eq!(have.lacks(&asked).collect::<Vec<_>>(), ["nvidia.com/gpu"]);
        have.take(&asked);
        assert_eq!(have.lacks(&asked).collect::<Vec<_>>(), ["cpu", "nvidia.com/gpu"]);
    }
}
