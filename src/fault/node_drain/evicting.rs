//! The drain itself: evictions until the node is empty, its time is over, or the run ends.

use std::collections::BTreeMap;
use std::time::Duration as Time;

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, sleep_until};

use super::{NodeDrain, named};
use crate::fault::contract::{Acting, FaultError, Injected};
use crate::fault::eviction::{Answer, evict, explain_budget, name_budgets, retry_after};
use crate::fault::kube::{PROTECTED, is_protected};
use crate::fault::leaving::NodePod;
use crate::record::Target;

/// Pause between two tries of a refused eviction, as kubectl has it.
const RETRY: Time = Time::from_secs(5);
/// Pause between two looks at which pods are left, as kubectl has it.
const LOOK: Time = Time::from_secs(1);
/// Evictions sent at the same time.
const AT_ONCE: usize = 8;

/// What became of a pod so far.
#[derive(Debug)]
enum Tried {
    /// The eviction was accepted: the pod goes.
    Accepted,
    /// It was refused, or the API was busy: it is sent again at this instant.
    Later { at: Instant, refused: Option<Refused> },
}

/// A budget's refusal.
#[derive(Debug, Clone)]
struct Refused {
    /// The first one.
    since: Instant,
    /// In words, with the budget's name and numbers.
    why: String,
}

/// One node's drain.
pub(super) struct Drain<'a> {
    fault: &'a NodeDrain,
    cx: &'a Acting<'a>,
    node: &'a Target,
    began: Instant,
    /// By the pod's UID.
    tried: BTreeMap<String, Tried>,
    /// The longest refusal that came to an end, with its pod.
    overcome: Option<(Time, String)>,
    evicted: usize,
}

impl<'a> Drain<'a> {
    pub(super) fn new(fault: &'a NodeDrain, cx: &'a Acting<'a>, node: &'a Target) -> Self {
        Self { fault, cx, node, began: Instant::now(), tried: BTreeMap::new(), overcome: None, evicted: 0 }
    }

    /// Evicts until no pod is left. `cordoned` says what became of the cordon, for the account.
    pub(super) async fn run(mut self, cordoned: &str) -> Result<Injected, FaultError> {
        let deadline = self.began + self.fault.timeout.get();
        loop {
            if self.cx.ending.has_come() {
                return Err(FaultError::State(format!("the run was ending: {cordoned}, {}", self.account())));
            }
            let doing = format!("list the pods of {}", self.node);
            let pods = self.fault.pods(self.cx.cluster, self.node).await.map_err(FaultError::api(doing))?;
            if pods.is_empty() {
                return Ok(Injected::Done(format!("{cordoned}, {}", self.account())));
            }
            if let Some(why) = self.round(&pods).await? {
                return Ok(Injected::Blocked(format!("{why}; {cordoned}, {}", self.account())));
            }
            if Instant::now() >= deadline {
                return self.out_of_time(&pods, cordoned);
            }
            tokio::select! {
                biased;
                () = self.cx.ending.come() => {}
                () = sleep(LOOK) => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Sends what is due. `Some`: no later try would help.
    async fn round(&mut self, pods: &[NodePod]) -> Result<Option<String>, FaultError> {
        let now = Instant::now();
        let due: Vec<&NodePod> = pods
            .iter()
            .filter(|pod| !pod.is_ending())
            .filter(|pod| match self.tried.get(&pod.target.uid) {
                None => true,
                Some(Tried::Later { at, .. }) => *at <= now,
                Some(Tried::Accepted) => false,
            })
            .collect();
        for pod in &due {
            if is_protected(&pod.pod.metadata) {
                return Err(FaultError::State(format!("pod {} is annotated `{PROTECTED}: \"true\"`", pod.name())));
            }
        }
        // A pod may have come since the plan was drawn.
        let owned: Vec<NodePod> = due.iter().map(|pod| (*pod).clone()).collect();
        if let Some(refusal) = self.fault.balks(&owned) {
            return Err(FaultError::State(refusal.message));
        }
        let (cluster, grace) = (self.cx.cluster, self.fault.grace_period);
        let answers: Vec<(&NodePod, Result<(), kube::Error>)> = stream::iter(due)
            .map(|pod| async move { (pod, evict(cluster, &pod.target, grace, false).await) })
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut hopeless = None;
        for (pod, answer) in answers {
            match answer {
                Ok(()) => self.accepted(pod),
                Err(error) => match self.refused(pod, &error).await {
                    Ok(why) => hopeless = hopeless.or(why),
                    Err(()) => return Err(FaultError::api(format!("evict pod {}", pod.name()))(error)),
                },
            }
        }
        Ok(hopeless)
    }

    fn accepted(&mut self, pod: &NodePod) {
        self.evicted += 1;
        let before = self.tried.insert(pod.target.uid.clone(), Tried::Accepted);
        if let Some(Tried::Later { refused: Some(Refused { since, .. }), .. }) = before {
            let blocked = (since.elapsed(), pod.name());
            self.overcome = self.overcome.take().max(Some(blocked));
        }
    }

    /// Takes a failed eviction in. `Ok(Some)`: a refusal that stays; `Err`: not a refusal at all.
    async fn refused(&mut self, pod: &NodePod, error: &kube::Error) -> Result<Option<String>, ()> {
        let known = match self.tried.remove(&pod.target.uid) {
            Some(Tried::Later { refused, .. }) => refused,
            _ => None,
        };
        let refused = match Answer::of(error) {
            // The next look at the node no longer shows it.
            Answer::Gone | Answer::Replaced => return Ok(None),
            Answer::Error => return Err(()),
            Answer::ManyBudgets => {
                return Ok(Some(name_budgets(self.cx, &pod.target, &pod.pod).await));
            }
            Answer::Busy => known,
            Answer::Budget(words) => {
                let why = explain_budget(self.cx, &pod.target, &pod.pod, &words).await;
                Some(Refused { since: known.map_or_else(Instant::now, |known| known.since), why })
            }
        };
        let at = Instant::now() + RETRY.max(retry_after(error));
        self.tried.insert(pod.target.uid.clone(), Tried::Later { at, refused });
        Ok(None)
    }

    /// The time is over, and these pods are left.
    fn out_of_time(&self, left: &[NodePod], cordoned: &str) -> Result<Injected, FaultError> {
        let refusals: Vec<String> = left
            .iter()
            .filter_map(|pod| match self.tried.get(&pod.target.uid) {
                Some(Tried::Later { refused: Some(Refused { since, why }), .. }) => {
                    Some(format!("pod {} was refused for {} s: {why}", pod.name(), since.elapsed().as_secs()))
                }
                _ => None,
            })
            .collect();
        let (timeout, account) = (self.fault.timeout, self.account());
        if refusals.is_empty() {
            return Err(FaultError::State(format!(
                "not empty after {timeout}, and no budget is in the way; still there: {}; {cordoned}, {account}",
                named(left)
            )));
        }
        Ok(Injected::Blocked(format!(
            "blocked until its `timeout` of {timeout}: {}; {cordoned}, {account}",
            refusals.join("; ")
        )))
    }

    /// What was done so far.
    fn account(&self) -> String {
        let pods = if self.evicted == 1 { "1 pod".to_owned() } else { format!("{} pods", self.evicted) };
        let blocked = self
            .overcome
            .as_ref()
            .map_or_else(String::new, |(time, pod)| format!("; a budget held up pod {pod} for {} s", time.as_secs()));
        format!("{pods} evicted in {} s{blocked}", self.began.elapsed().as_secs())
    }
}
