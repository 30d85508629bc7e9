//! The lab's state and its time: everything that API calls, controllers, kubelets and probes read and change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::agenda::Agenda;
use super::cloud::Aws;
use super::dns::Dns;
use super::model::{self, Autoscalers, Controller, Kubelets, Nodes, SchedulerMemory, Task};
use super::network::Network;
use super::settings::Settings;
use super::store::{ObjectKey, Store, seconds};

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lab) struct World {
    pub store: Store,
    pub settings: Settings,
    /// What runs on the nodes.
    pub kubelets: Kubelets,
    /// Which nodes have power, and what their controller remembers.
    pub nodes: Nodes,
    /// What the scheduler knows of the nodes, and who waits for one.
    pub scheduler: SchedulerMemory,
    /// What autoscalers and the metrics server remember.
    pub autoscalers: Autoscalers,
    /// Services' rules and the connections through them.
    pub network: Network,
    /// The AWS account that nodes are instances of.
    pub aws: Option<Aws>,
    /// What runs as the cluster's DNS.
    pub dns: Dns,
    agenda: Agenda,
    chance: ChaCha8Rng,
    zero: Instant,
    wall: Timestamp,
}

impl World {
    fn new(seed: u64, wall: Timestamp) -> Self {
        Self {
            store: Store::new(seed),
            settings: Settings::default(),
            kubelets: Kubelets::default(),
            nodes: Nodes::default(),
            scheduler: SchedulerMemory::default(),
            autoscalers: Autoscalers::default(),
            network: Network::new(seed),
            aws: None,
            dns: Dns::default(),
            agenda: Agenda::default(),
            chance: ChaCha8Rng::seed_from_u64(seed ^ 0x5eed),
            zero: Instant::now(),
            wall,
        }
    }

    /// The wall clock, in the lab's time.
    pub(in crate::lab) fn wall(&self) -> Timestamp {
        let since = SignedDuration::try_from(self.zero.elapsed()).unwrap_or_default();
        self.wall.checked_add(since).unwrap_or(self.wall)
    }

    /// The wall clock's time at the beginning.
    pub(in crate::lab) const fn began(&self) -> Timestamp {
        self.wall
    }

    /// Now, as the API writes times: whole seconds.
    pub(in crate::lab) fn time(&self) -> Time {
        Time(seconds(self.wall()))
    }

    /// Has a task done after a while.
    pub(in crate::lab) fn later(&mut self, after: Duration, task: Task) {
        self.agenda.add(Instant::now() + after, task);
    }

    /// Has a controller look at an object as soon as it would notice.
    pub(in crate::lab) fn notice(&mut self, controller: Controller, key: ObjectKey) {
        self.later(self.settings.notice, Task::Reconcile(controller, key));
    }

    /// Up to so long, at random.
    pub(in crate::lab) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.chance.random::<f64>())
    }

    /// A number below `end`, at random; 0 where `end` is.
    pub(in crate::lab) fn pick(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.chance.random_range(0..end) }
    }

    /// Lets every controller see what changed.
    pub(in crate::lab) fn settle(&mut self) {
        while let Some(change) = self.store.unseen() {
            model::observe(self, &change);
        }
    }

    /// Does everything that is due. When the next thing is.
    fn work(&mut self) -> Option<Instant> {
        self.settle();
        while let Some(task) = self.agenda.take(Instant::now()) {
            model::perform(self, task);
            self.settle();
        }
        self.agenda.next()
    }
}

/// The world as its users share it. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::lab) struct Shared {
    world: Arc<Mutex<World>>,
    woken: Arc<Notify>,
}

impl Shared {
    pub(in crate::lab) fn new(seed: u64, wall: Timestamp) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(seed, wall))), woken: Arc::default() }
    }

    /// Reads or changes the world. What follows from it is not done yet when this returns; see [`keep_going`](Self::keep_going).
    pub(in crate::lab) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.lock();
        let result = act(&mut world);
        world.settle();
        drop(world);
        self.woken.notify_one();
        result
    }

    /// Does something that changes no object, only what the world remembers: nobody has to be woken.
    pub(in crate::lab) fn act<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.lock())
    }

    /// Reads the world: what is done with it must have no consequence.
    pub(in crate::lab) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass in the lab: controllers, kubelets and timers work as long as this is polled.
    pub(in crate::lab) async fn keep_going(self) {
        loop {
            let next = self.lock().work();
            let timer = async {
                match next {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.woken.notified() => {}
                () = timer => {}
            }
        }
    }
}
