//! The CoreDNS processes: the Corefile that each has mounted, and the one that it runs with.
//!
//! A changed ConfigMap reaches a pod when its kubelet next looks after it, which is within a minute and a half, and at once where the pod
//! itself changes. The plugin `reload` looks at the mounted file at its own pace, and takes another one over unless CoreDNS would
//! not start with it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use tokio::time::Instant;

use super::cached::{Kept, Place};
use super::chain::{self, Outcome, Served};
use super::config::Config;
use super::message::{Query, Reply};
use crate::lab::model::{Controller, Task};
use crate::lab::store::{Change, Object, ObjectKey};
use crate::lab::world::World;
use crate::probe::ResponseCode;

/// How often a kubelet looks after a pod that does not change: its `syncFrequency`, which it stretches by up to a half.
const SYNC: Duration = Duration::from_mins(1);
const SYNC_SPREAD: Duration = Duration::from_secs(30);
/// The key of the Corefile in its ConfigMap.
const COREFILE: &str = "Corefile";
/// What a CoreDNS runs with that mounts no ConfigMap.
const OWN: &str = ".:53 {\n    errors\n    health\n    ready\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n        pods insecure\n        \
                   fallthrough in-addr.arpa ip6.arpa\n    }\n    forward . /etc/resolv.conf\n    cache 30\n}\n";

/// Every CoreDNS of the cluster.
#[derive(Debug, Default)]
pub(in crate::lab) struct Dns {
    /// By the life of its process.
    servers: BTreeMap<u64, Server>,
    /// By its pod.
    mounts: BTreeMap<ObjectKey, Mount>,
    /// What a DNS outside the cluster runs with.
    elsewhere: Option<Arc<Config>>,
}

/// What `kubernetes` answers, while the objects are of this version.
#[derive(Debug, Default)]
struct Known {
    version: u64,
    answers: BTreeMap<Place, BTreeMap<String, Option<Arc<Reply>>>>,
}

/// What a pod has mounted.
#[derive(Debug)]
struct Mount {
    /// `None`: no ConfigMap.
    from: Option<ObjectKey>,
    text: String,
    /// When the kubelet looks at the ConfigMap that has changed.
    synced: Option<Instant>,
}

#[derive(Debug)]
struct Server {
    pod: ObjectKey,
    config: Arc<Config>,
    /// The last Corefile that it tried.
    tried: String,
    /// How often it looks for another, and when next.
    looks: Option<(Duration, Instant)>,
    /// By name within each place.
    kept: BTreeMap<Place, BTreeMap<String, Kept>>,
    known: Known,
    turns: usize,
}

impl Dns {
    pub(super) fn kept(&self, life: u64, place: Place, name: &str) -> Option<&Kept> {
        self.servers.get(&life)?.kept.get(&place)?.get(name)
    }

    pub(super) fn keep(&mut self, life: u64, place: Place, name: &str, kept: Kept) {
        if let Some(server) = self.servers.get_mut(&life) {
            server.kept.entry(place).or_default().insert(name.to_owned(), kept);
        }
    }

    /// What was learnt of a name while the objects were of this version.
    pub(super) fn known(&self, life: u64, version: u64, place: Place, name: &str) -> Option<&Option<Arc<Reply>>> {
        let known = &self.servers.get(&life)?.known;
        if known.version == version { known.answers.get(&place)?.get(name) } else { None }
    }

    pub(super) fn learn(&mut self, life: u64, version: u64, place: Place, name: &str, answer: Option<Arc<Reply>>) {
        let Some(Server { known, .. }) = self.servers.get_mut(&life) else { return };
        if known.version != version {
            *known = Known { version, ..Known::default() };
        }
        known.answers.entry(place).or_default().insert(name.to_owned(), answer);
    }

    /// A number that is one higher each time.
    pub(super) fn turn(&mut self, life: u64) -> usize {
        let Some(server) = self.servers.get_mut(&life) else { return 0 };
        server.turns = server.turns.wrapping_add(1);
        server.turns - 1
    }
}

/// A container starts: whether its process stays. A CoreDNS ends at once if it can't use its Corefile.
pub(in crate::lab) fn starts(world: &mut World, pod: &Pod, image: &str, life: u64) -> bool {
    if !image.rsplit('/').next().is_some_and(|last| last.contains("coredns")) {
        return true;
    }
    let meta = &pod.metadata;
    let key = ObjectKey::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
    let from = config_map(pod).map(|name| ObjectKey::new(key.namespace.clone(), name));
    let text = read(world, from.as_ref());
    world.dns.servers.retain(|_, server| server.pod != key);
    world.dns.mounts.insert(key.clone(), Mount { from, text: text.clone(), synced: None });
    let Ok(config) = Config::load(&text) else { return false };
    let looks = looks(world, &config);
    let config = Arc::new(config);
    world.dns.servers.insert(
        life,
        Server {
            pod: key.clone(),
            config,
            tried: text,
            looks,
            kept: BTreeMap::new(),
            known: Known::default(),
            turns: 0,
        },
    );
    plan(world, &key);
    true
}

/// For how long a process goes on after SIGTERM because it is a CoreDNS that says so.
pub(in crate::lab) fn lame_duck(world: &World, life: u64) -> Option<Duration> {
    let server = world.dns.servers.get(&life)?;
    Some(server.config.lame_duck).filter(|time| !time.is_zero())
}

/// Answers a query at an address of a CoreDNS. `None`: the process is none.
pub(in crate::lab) fn serve(world: &mut World, life: u64, local: SocketAddr, query: Query<'_>) -> Option<Served> {
    let config = Arc::clone(&world.dns.servers.get(&life)?.config);
    Some(chain::serve(world, &config, life, local, query))
}

/// The ConfigMap that a pod mounts.
fn config_map(pod: &Pod) -> Option<String> {
    let volumes = pod.spec.as_ref()?.volumes.as_ref()?;
    volumes.iter().find_map(|volume| Some(volume.config_map.as_ref()?.name.clone()).filter(|name| !name.is_empty()))
}

fn read(world: &World, from: Option<&ObjectKey>) -> String {
    let Some(key) = from else { return OWN.to_owned() };
    let map = world.store.get::<ConfigMap>(&key.namespace, &key.name);
    map.and_then(|map| map.data.as_ref()?.get(COREFILE).cloned()).unwrap_or_default()
}

/// How often a CoreDNS looks: the interval, and a part of the jitter that is chosen once.
fn looks(world: &mut World, config: &Config) -> Option<(Duration, Instant)> {
    let (every, jitter) = config.reload?;
    let every = (every + world.up_to(jitter)).saturating_sub(jitter / 2);
    Some((every, Instant::now() + every))
}

/// Has the pod's next concern seen to.
fn plan(world: &mut World, pod: &ObjectKey) {
    let synced = world.dns.mounts.get(pod).and_then(|mount| mount.synced);
    let servers = world.dns.servers.values().filter(|server| server.pod == *pod);
    let due = servers.filter_map(|server| server.looks.map(|(_, at)| at)).chain(synced).min();
    if let Some(due) = due {
        let after = due.saturating_duration_since(Instant::now());
        world.later(after, Task::Reconcile(Controller::Dns, pod.clone()));
    }
}

/// Takes note of Corefiles that changed, and of pods that their kubelets look after.
pub(in crate::lab) fn observe(world: &mut World, change: &Change) {
    if world.dns.mounts.is_empty() {
        return;
    }
    let object = change.object();
    let soon = Instant::now() + world.settings.notice;
    if object.typed::<ConfigMap>().is_some() {
        let mounts = world.dns.mounts.iter().filter(|(_, mount)| mount.from.as_ref() == Some(&object.key));
        let waiting: Vec<ObjectKey> =
            mounts.filter(|(_, mount)| mount.synced.is_none()).map(|(pod, _)| pod.clone()).collect();
        for pod in waiting {
            let period = SYNC + world.up_to(SYNC_SPREAD);
            let at = soon + world.up_to(period);
            sync_at(world, &pod, at);
        }
    } else if object.typed::<Pod>().is_some() && world.dns.mounts.contains_key(&object.key) {
        let own = |pod: &Pod| (pod.spec.clone(), pod.metadata.annotations.clone(), pod.metadata.labels.clone());
        let of = |object: &Option<Arc<Object>>| object.as_ref().and_then(|object| object.seen().map(own));
        if of(&change.before) != of(&change.after) {
            sync_at(world, &object.key.clone(), soon);
        }
    }
}

fn sync_at(world: &mut World, pod: &ObjectKey, at: Instant) {
    if let Some(mount) = world.dns.mounts.get_mut(pod) {
        mount.synced = Some(mount.synced.map_or(at, |before| before.min(at)));
    }
    plan(world, pod);
}

/// Does what is due for a pod.
pub(in crate::lab) fn reconcile(world: &mut World, pod: &ObjectKey) {
    let now = Instant::now();
    let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
    if world.dns.mounts.get(pod).is_some_and(|mount| due(mount.synced)) {
        let from = world.dns.mounts.get(pod).and_then(|mount| mount.from.clone());
        // A ConfigMap that is gone leaves the file as it was.
        let there = from.as_ref().is_none_or(|key| world.store.get::<ConfigMap>(&key.namespace, &key.name).is_some());
        let text = read(world, from.as_ref());
        if let Some(mount) = world.dns.mounts.get_mut(pod) {
            mount.synced = None;
            if there {
                mount.text = text;
            }
        }
    }
    let over = |world: &World, life: u64| world.kubelets.life(life).is_none_or(|process| process.ended.is_some());
    let lives: Vec<u64> = world.dns.servers.iter().filter(|(_, s)| s.pod == *pod).map(|(life, _)| *life).collect();
    for life in lives {
        if over(world, life) {
            world.dns.servers.remove(&life);
        } else if due(world.dns.servers.get(&life).and_then(|server| server.looks).map(|(_, at)| at)) {
            look(world, life);
        }
    }
    if world.store.get::<Pod>(&pod.namespace, &pod.name).is_none()
        && !world.dns.servers.values().any(|server| server.pod == *pod)
    {
        world.dns.mounts.remove(pod);
    }
    plan(world, pod);
}

/// A CoreDNS looks whether its Corefile is another.
fn look(world: &mut World, life: u64) {
    let Some(server) = world.dns.servers.get_mut(&life) else { return };
    let Some(text) = world.dns.mounts.get(&server.pod).map(|mount| mount.text.clone()) else { return };
    server.looks = server.looks.map(|(every, _)| (every, Instant::now() + every));
    if text == server.tried {
        return;
    }
    server.tried.clone_from(&text);
    // One that it would not start with is left alone: it goes on as it is.
    let Ok(config) = Config::load(&text) else { return };
    let looks = looks(world, &config);
    if let Some(server) = world.dns.servers.get_mut(&life) {
        (server.config, server.looks) = (Arc::new(config), looks);
        (server.kept, server.known, server.turns) = (BTreeMap::new(), Known::default(), 0);
    }
}

/// The answer of a DNS outside the cluster that knows the cluster's names.
pub(in crate::lab) fn elsewhere(world: &mut World, query: Query<'_>) -> Arc<Reply> {
    let own = world.dns.elsewhere.get_or_insert_with(|| Arc::new(Config::load(OWN).unwrap_or_default()));
    let config = Arc::clone(own);
    let local = SocketAddr::from(([127, 0, 0, 1], 53));
    match chain::serve(world, &config, 0, local, query).outcome {
        Outcome::Reply(reply) => reply,
        Outcome::Silence { .. } | Outcome::Closed => Arc::new(Reply::of(ResponseCode::ServFail)),
    }
}
