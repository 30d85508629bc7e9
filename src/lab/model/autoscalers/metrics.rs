//! The metrics server: what each pod's CPU did between its last two looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::lab::api::quantity::millionths;
use crate::lab::network;
use crate::lab::world::World;

/// What is known of a pod.
#[derive(Debug)]
pub(super) struct Sample {
    /// When it was looked at last, and for how long the workers of each of its processes had been busy by then.
    at: Instant,
    busy: BTreeMap<u64, Duration>,
    /// Used between the last two looks.
    pub used: Option<Used>,
}

/// What a pod used.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// Thousandths of a core, by container.
    pub cpu: BTreeMap<String, f64>,
    /// When the time ended over which that was so.
    pub until: Timestamp,
    pub window: Duration,
}

/// What a container requests, in thousandths of a core.
pub(super) fn request(pod: &Pod, container: &str) -> Option<f64> {
    let mut all = pod.spec.iter().flat_map(|spec| &spec.containers);
    let found = all.find(|known| known.name == container)?;
    let cpu = found.resources.as_ref()?.requests.as_ref()?.get("cpu")?;
    let thousandths = millionths(&cpu.0)? / 1000;
    i32::try_from(thousandths).ok().map(f64::from)
}

/// Looks at all pods whose applications say how many they serve at a time.
pub(super) fn scrape(world: &mut World) {
    let now = Instant::now();
    let mut before = std::mem::take(&mut world.autoscalers.samples);
    let mut samples = BTreeMap::new();
    for (uid, pod, lives) in running(world) {
        let mut busy = BTreeMap::new();
        let mut cpu = BTreeMap::new();
        let last = before.remove(&uid);
        let window = last.as_ref().map(|last| now - last.at).filter(|window| !window.is_zero());
        for (container, life) in lives {
            let Some((total, workers)) = network::busy(world, life) else { continue };
            busy.insert(life, total);
            let then = last.as_ref().and_then(|last| last.busy.get(&life));
            if let (Some(then), Some(window), Ok(workers)) = (then, window, u32::try_from(workers)) {
                let share = total.saturating_sub(*then).as_secs_f64() / window.as_secs_f64() / f64::from(workers);
                cpu.insert(container.clone(), share * request(&pod, &container).unwrap_or(0.0));
            }
        }
        if busy.is_empty() {
            continue;
        }
        let until = world.wall();
        let used = window.filter(|_| !cpu.is_empty()).map(|window| Used { cpu, until, window });
        samples.insert(uid, Sample { at: now, busy, used });
    }
    world.autoscalers.samples = samples;
}

/// A pod by its uid, with the containers that run in it and their processes.
type Running = (String, Arc<Pod>, Vec<(String, u64)>);

/// The pods that autoscalers look at, with the processes that run in them.
fn running(world: &World) -> Vec<Running> {
    let spaces: std::collections::BTreeSet<&String> = world.autoscalers.of.keys().map(|key| &key.namespace).collect();
    let pods = spaces.into_iter().flat_map(|space| world.store.list::<Pod>(Some(space.as_str())));
    let with = |pod: Arc<Pod>| {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let lives = world.kubelets.lives_of(&uid);
        (!lives.is_empty()).then_some((uid, pod, lives))
    };
    pods.filter_map(with).collect()
}
