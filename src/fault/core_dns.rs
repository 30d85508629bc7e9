//! `coreDns`: the cluster's DNS broken on purpose, by its pods, by its replicas, or by what it answers.
//!
//! The resolver itself is asked whether the fault bites and whether it is over: each pod of CoreDNS, and its Service. What breaks
//! answers is one server block of ours that stands first in the Corefile (`mode.rs` writes it, `corefile.rs` puts it in and takes it
//! out); what stands in the Corefile otherwise keeps every byte.

mod arguments;
mod ask;
mod corefile;
mod held;
mod mode;
mod observe;
mod plan;
mod site;

use std::time::Duration as Time;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::arguments::{Domain, Share};
use self::ask::Questions;
use self::mode::Mode;
use super::contract::{
    About, Acting, Complaint, Effect, Fault, FaultError, Heal, Injected, Left, Permission, Planning, Refusal,
    Resolution, Undo,
};
use super::held::{HeldNote, current};
use super::kube::workload_ready;
use super::pod_kill::{PodKill, PodKillNote};
use super::pods::PodTargets;
use super::scale::replicas;
use crate::cluster::Cluster;
use crate::record::Target;
use crate::scalar::{Duration, Name, Percent};

/// How long the controller may take to reach a number of replicas, and the pods that go to be silent.
const SCALED_WITHIN: Time = Time::from_mins(1);
/// How long a changed ConfigMap may take to be in the pods that mount it: the kubelet's `syncFrequency` of a minute, which it
/// stretches by up to a half.
const MOUNTED_WITHIN: Time = Time::from_secs(90);
/// Most names in one step: each is asked for at each pod.
const NAMES_MAX: usize = 16;
/// Bounds of a delay that CoreDNS's own plugins can make.
const DELAYS: (Time, Time) = (Time::from_secs(1), Time::from_millis(3_900));

/// Breaks the cluster's DNS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CoreDns {
    /// What is done to it.
    pub mode: Mode,
    /// Domains that answers are broken for, each with everything below it; everything when left out. In the modes that edit the Corefile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<Domain>,
    /// Which share of the queries for them is met, chosen by chance for each query; every one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries: Option<Percent>,
    /// How late answers come in mode `delay`: between `1s` and `3900ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Duration>,
    /// How many replicas are killed (1 when left out) or scaled away (`all` when left out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Share>,
    /// Namespace of CoreDNS.
    #[serde(default = "kube_system")]
    pub namespace: Name,
    /// Its Deployment.
    #[serde(default = "coredns")]
    pub deployment: Name,
    /// The ConfigMap with its `Corefile`.
    #[serde(default = "coredns")]
    pub config_map: Name,
    /// Its Service, which is asked too.
    #[serde(default = "kube_dns")]
    pub service: Name,
}

fn kube_system() -> Name {
    Name::fixed("kube-system")
}

fn coredns() -> Name {
    Name::fixed("coredns")
}

fn kube_dns() -> Name {
    Name::fixed("kube-dns")
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// What undo and healing need to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CoreDnsNote {
    /// A pod was killed.
    #[serde(rename_all = "camelCase")]
    Pod {
        /// As `podKill` has it.
        pod: PodKillNote,
        /// What is asked.
        questions: Questions,
    },
    /// The Deployment's replicas or the Corefile were changed.
    #[serde(rename_all = "camelCase")]
    Changed {
        /// From what, and to what.
        change: HeldNote,
        #[serde(default)]
        /// What is asked.
        questions: Questions,
        /// CoreDNS's Deployment.
        #[serde(default)]
        deployment: String,
        /// How long it may take to show.
        #[serde(default)]
        within_seconds: u64,
    },
}

impl Fault for CoreDns {
    const ABOUT: About = About {
        key: "coreDns",
        summary: "breaks the cluster's DNS: pods, replicas, or what it answers",
        details: "`mode: kill` deletes pods of CoreDNS, `scaleToZero` holds its Deployment at no replicas (or at fewer: `replicas`). \
                  Both bypass PodDisruptionBudgets.\n\n\
                  `nxdomain`, `servfail`, `refuse`, `drop` and `delay` break what it answers, for the domains in `names` and everything \
                  below them, or for all; `queries: 30%` meets that share of the queries, by chance. They put one server block of ours \
                  first into the Corefile, between two comments that name the run, in one JSON patch with the undo note. All \
                  replicas share the Corefile, so that `replicas` can't choose some of them. Refused are a Corefile without the plugin `reload`, \
                  one with `bind`, and one whose zones come from the environment. A name that a pod completes by its search list \
                  is another name: write it in full. NXDOMAIN comes without an SOA record, so that nobody may cache it.\n\n\
                  `delay` gives the true answers, late: the block forwards first to an upstream in the same pod that stays silent and hangs up after the \
                  delay, and then to CoreDNS itself. The plugin `erratic` could not: it answers with records of its own.\n\n\
                  An edited Corefile takes time, both ways: the kubelet brings it to the pods within a minute and a half, and `reload` \
                  looks every 30 s (± 7.5 s) by default. The plan says how long; give `for` and `timing.heal` at least that. CoreDNS's own cache is \
                  emptied by the reload; those of clients and of NodeLocal DNSCache keep what they have for its TTL. \
                  The views need CoreDNS 1.10.0 or later, `delay` 1.10.1, `queries` 1.11.1.\n\n\
                  It acts in `kube-system`, which is closed to other faults: on this Deployment, its pods and the ConfigMap alone.",
        effect: "the resolver is asked from where Squall runs: every ready pod, and the Service, give the broken answer (or none, or a late one) \
                 for each name. A killed pod is gone from the API. Where the resolver can't be asked from there, an edited Corefile stays unproven",
        ending: "replicas and Corefile are put back, the latter to the byte; where somebody else changed them, theirs stays, our block alone goes, \
                 and it is reported. A killed pod is replaced. Whole again when every replica is ready and the resolver answers as before",
        undoable: true,
        undoable_where: "not with `mode: kill`",
        refusable: false,
        cannot: "break DNS servers other than CoreDNS; reach answers that a client or NodeLocal DNSCache already has; break the answers of some replicas only",
        unrehearsable: "",
        examples: &[
            ("mode: kill", "{mode: kill}"),
            ("mode: scaleToZero", "{mode: scaleToZero}"),
            ("the broken answers", "{mode: nxdomain, names: [api.example.com]}"),
        ],
    };

    const FOR_THE_CLUSTER: bool = true;

    type Note = CoreDnsNote;

    fn about(&self) -> About {
        About { undoable: self.mode != Mode::Kill, ..Self::ABOUT }
    }

    fn check(&self) -> Vec<Complaint> {
        plan::check(self)
    }

    fn namespaces(&self) -> Vec<String> {
        vec![self.namespace.to_string()]
    }

    fn permissions(&self) -> Vec<Permission> {
        plan::permissions(self)
    }

    fn effect_deadline(&self, note: &CoreDnsNote) -> Time {
        match note {
            CoreDnsNote::Pod { pod, .. } => pod.effect_deadline(),
            CoreDnsNote::Changed { within_seconds, .. } => Time::from_secs(*within_seconds),
        }
    }

    async fn resolve(&self, cx: &Planning<'_>) -> Result<Resolution, Refusal> {
        plan::resolve(self, cx).await
    }

    async fn prepare(&self, cx: &Acting<'_>, target: &Target) -> Result<Option<CoreDnsNote>, FaultError> {
        let state = |refusal: Refusal| FaultError::State(refusal.message);
        let site = plan::Site::read(self, cx.cluster).await.map_err(state)?;
        let questions = site.questions(self, cx.cluster).await.map_err(state)?;
        if self.mode == Mode::Kill {
            let note = self.kill(site.selector()).map_err(state)?.prepare(cx, target).await?;
            return Ok(note.map(|pod| CoreDnsNote::Pod { pod, questions }));
        }
        let Some(found) = current(cx, target).await? else { return Ok(None) };
        let (injected, within) = if target.kind == "configmap" {
            let piece = corefile::marked(cx.run, cx.step, &site.blocks(self).map_err(state)?);
            (piece.into(), site.bites_within())
        } else {
            (self.left_of(replicas(&found)).into(), SCALED_WITHIN)
        };
        let change = held::field(&target.kind).note(target, &found, injected)?;
        let deployment = format!("deployment/{}", self.deployment);
        Ok(Some(CoreDnsNote::Changed { change, questions, deployment, within_seconds: within.as_secs() }))
    }

    async fn inject(&self, cx: &Acting<'_>, target: &Target, note: &CoreDnsNote) -> Result<Injected, FaultError> {
        match note {
            CoreDnsNote::Pod { pod, questions } => {
                let kill = self.kill(&questions.selector).map_err(|refusal| FaultError::State(refusal.message))?;
                kill.inject(cx, target, pod).await
            }
            CoreDnsNote::Changed { change, .. } => held::field(&target.kind).hold(cx, target, change).await,
        }
    }

    async fn effect(&self, cx: &Acting<'_>, target: &Target, note: &CoreDnsNote) -> Result<Effect, FaultError> {
        match note {
            CoreDnsNote::Pod { .. } => super::pod_kill::pod_gone(cx, target).await,
            CoreDnsNote::Changed { questions, .. } if self.mode.edits() => observe::broken(cx, target, questions).await,
            CoreDnsNote::Changed { change, questions, .. } => observe::scaled(cx, target, change, questions).await,
        }
    }

    async fn undo(cx: &Acting<'_>, target: &Target, note: &CoreDnsNote) -> Result<Undo, FaultError> {
        match note {
            CoreDnsNote::Pod { pod, .. } => PodKill::undo(cx, target, pod).await,
            CoreDnsNote::Changed { change, .. } => held::field(&target.kind).give_back(cx, target, change).await,
        }
    }

    async fn left_on(cluster: &Cluster, namespace: Option<&str>) -> Result<Vec<Left>, FaultError> {
        let (deployments, config_maps) = match namespace {
            Some(namespace) => (cluster.api::<Deployment>(namespace), cluster.api::<ConfigMap>(namespace)),
            None => (cluster.all(), cluster.all()),
        };
        let mut found = held::REPLICAS.notes_on(deployments, "deployment").await?;
        found.extend(held::COREFILE.notes_on(config_maps, "configmap").await?);
        let with_note = |left: Left| {
            let change = serde_json::from_value(left.note)
                .map_err(|e| FaultError::State(format!("the undo note on {} can't be read: {e}", left.target)))?;
            let note = CoreDnsNote::Changed {
                change,
                questions: Questions::default(),
                deployment: String::new(),
                within_seconds: 0,
            };
            super::write_note(&note).map(|note| Left { note, ..left })
        };
        found.into_iter().map(with_note).collect()
    }

    async fn healed(cx: &Acting<'_>, target: &Target, note: &CoreDnsNote) -> Result<Heal, FaultError> {
        let (ready, questions) = match note {
            CoreDnsNote::Pod { pod, questions } => (PodKill::healed(cx, target, pod).await?, questions),
            CoreDnsNote::Changed { deployment, questions, .. } => {
                (workload_ready(cx, &target.namespace, deployment).await?, questions)
            }
        };
        match ready {
            Heal::Healed(ready) => observe::answers_again(cx, target, questions, &ready).await,
            not_yet @ Heal::NotYet(_) => Ok(not_yet),
        }
    }
}

impl CoreDns {
    /// The pods to kill, as `podKill` takes them.
    fn kill(&self, selector: &str) -> Result<PodKill, Refusal> {
        let selector =
            selector.parse().map_err(|_| Refusal::new(format!("`{selector}` selects no pods of CoreDNS")))?;
        let share = self.replicas.unwrap_or(Share::Count(1));
        let pods = PodTargets {
            namespace: self.namespace.clone(),
            selector: Some(selector),
            owner: Some(format!("deployment/{}", self.deployment)),
            node: None,
            zone: None,
            names: Vec::new(),
            count: if let Share::Count(count) = share { Some(count) } else { None },
            percent: if let Share::Percent(percent) = share { Some(percent) } else { None },
            all: share == Share::All,
        };
        Ok(PodKill { pods, grace_period: None, force: false })
    }

    /// How many replicas are left of so many.
    fn left_of(&self, replicas: i64) -> i64 {
        let all = usize::try_from(replicas).unwrap_or(0);
        let gone = self.replicas.unwrap_or(Share::All).of(all).min(all);
        i64::try_from(all - gone).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
