//! Pods that a step takes away with their nodes: what is predicted of them, and what came of it.

use serde::{Deserialize, Serialize};

/// The pods of one workload that a step displaces, with what is predicted of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Displaced {
    /// Namespace.
    pub namespace: String,
    /// The workload as `kind/name`; the pod itself where nobody owns it.
    pub workload: String,
    /// Pods of it that lose their nodes.
    pub pods: usize,
    /// Pods of it that keep theirs.
    pub others: usize,
    /// Pods of it that have no node already.
    #[serde(default)]
    pub waiting: usize,
    /// Of the first, those that are predicted to find no place elsewhere, by reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stranded: Vec<Stranded>,
}

impl Displaced {
    /// How many of its pods are predicted to find no place.
    #[must_use]
    pub fn without_place(&self) -> usize {
        self.stranded.iter().map(|stranded| stranded.pods).sum()
    }
}

/// Pods that are predicted to find no place elsewhere, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stranded {
    /// How many.
    pub pods: usize,
    /// Why, in words.
    pub why: String,
    /// Whether that is because they stay bound to their old nodes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
}

/// What came of a workload's displaced pods, seen when the step's hold was over, before anything was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// Step.
    pub step: String,
    /// The prediction.
    pub displaced: Displaced,
    /// Displaced pods for which another one has found a node elsewhere.
    pub placed: usize,
    /// Displaced pods that are still bound to their old nodes.
    pub bound: usize,
    /// How that stands to the prediction.
    pub standing: Foretold,
    /// What the scheduler says of those that wait, and how many have a place and are not Ready; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// How what happened stands to what was predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Foretold {
    /// As many found a place as was predicted.
    AsPredicted,
    /// More did.
    MorePlaced,
    /// Fewer did.
    FewerPlaced,
    /// Nothing can be said: pods are still bound to their old nodes, and only when they are removed does another one look for a place;
    /// or the workload has another number of pods than before.
    Open,
}

impl Replaced {
    /// Compares: `placed` pods elsewhere, and `bound` ones on their old nodes. `resized`: it has another number of pods than before.
    #[must_use]
    pub fn of(step: &str, displaced: Displaced, placed: usize, bound: usize, resized: bool) -> Self {
        let without = displaced.without_place();
        let placed = placed.min(displaced.pods);
        let kept: usize = displaced.stranded.iter().filter(|why| why.bound).map(|why| why.pods).sum();
        let standing = if resized {
            Foretold::Open
        } else if placed + without > displaced.pods {
            Foretold::MorePlaced
        } else if bound > kept {
            Foretold::Open
        } else if placed + without == displaced.pods {
            Foretold::AsPredicted
        } else {
            Foretold::FewerPlaced
        };
        Self { step: step.to_owned(), displaced, placed, bound, standing, detail: String::new() }
    }

    /// The same with more to say.
    #[must_use]
    pub fn saying(self, detail: String) -> Self {
        Self { detail, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_held_against_what_was_predicted() {
        let stranded = |pods, bound| Stranded { pods, why: "a volume".to_owned(), bound };
        let of = |pods, stranded: &[Stranded], placed, bound| {
            let displaced = Displaced {
                namespace: "shop".to_owned(),
                workload: "deployment/web".to_owned(),
                pods,
                others: 4,
                waiting: 0,
                stranded: stranded.to_vec(),
            };
            Replaced::of("zone", displaced, placed, bound, pods == 9).standing
        };
        assert_eq!(of(9, &[], 9, 0), Foretold::Open, "it was scaled meanwhile");
        assert_eq!(of(2, &[], 2, 0), Foretold::AsPredicted);
        assert_eq!(of(2, &[], 1, 0), Foretold::FewerPlaced);
        assert_eq!(of(2, &[], 1, 1), Foretold::Open, "the other one is still on its dead node");
        assert_eq!(of(2, &[stranded(1, false)], 1, 0), Foretold::AsPredicted);
        assert_eq!(of(2, &[stranded(1, false)], 2, 0), Foretold::MorePlaced);
        assert_eq!(of(1, &[stranded(1, false)], 0, 1), Foretold::Open, "nobody has looked for a place yet");
        assert_eq!(of(1, &[stranded(1, true)], 0, 1), Foretold::AsPredicted, "it was to stay bound");
    }
}
