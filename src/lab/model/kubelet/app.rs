//! What the applications in the pods do, as annotations of their pods say.
//!
//! The kubelet knows nothing of an application but its process; how that behaves is said on the pod:
//!
//! | annotation `lab.squall.dev/…` | what it says | when absent |
//! |---|---|---|
//! | `starts-in: 20s` | from the process' start until it listens | [`Settings::app_start`] |
//! | `answers-in: 50ms` | how long an answer takes, on average and without waiting | [`Settings::app_answer`] |
//! | `varies: exponential` | how service times differ; `lognormal 0.5` says the standard deviation of the logarithm | not at all |
//! | `workers: "4"` | requests that are served at a time; the others wait in their order | as many as come |
//! | `queue: "100"` | requests that wait at most | as many as come |
//! | `when-full: reset` | a request that finds the queue full is refused its connection, or reset; `"503"`: is answered that at once | `"503"` |
//! | `status: "503"` | the HTTP status of each answer | 200 |
//! | `grpc-status: "14"` | the gRPC status of each answer | 0 |
//! | `hangs-after: 1m` | from each start until it answers nothing more; its socket stays open | never |
//! | `crashes-after: 20s` | from each start until it ends by itself with code 1 | never |
//! | `ends-after: 5s` | from each start until it ends by itself with code 0 | never |
//! | `stops-in: 3s` | from SIGTERM until its end; without `drains` its connections are closed at SIGTERM | at once |
//! | `drains: "true"` | on SIGTERM it refuses new connections and answers what it was asked, for as long as `stops-in` says | it does not |
//! | `serves-on: 5s` | from SIGTERM until its end, as if nothing had happened; before `stops-in` and `drains` | it does not |
//! | `says-close: "true"` | while it serves on after SIGTERM, each answer closes its connection, so that its client comes back to another pod | it does not |
//! | `ignores-sigterm: "true"` | it serves on until it is killed | it does not |
//! | `init: 2s` | how long an init container runs | 0.5 s |
//! | `pull: 10s` | how long the pull of an image takes that never was on the node; `"true"`: [`Settings::pull`] | it is there |
//!
//! They hold for all containers of the pod. `lab.squall.dev/CONTAINER.starts-in` holds for one container, and before the general one.
//! `hangs-after`, `crashes-after` and `ends-after` hold for init containers, sidecars among them, only when they name the container.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::containers::Role;
use crate::lab::network::{Capacity, Full, Spread};
use crate::lab::settings::Settings;
use crate::scalar;

const PREFIX: &str = "lab.squall.dev/";
const NAMES: [&str; 18] = [
    "starts-in",
    "answers-in",
    "varies",
    "workers",
    "queue",
    "when-full",
    "status",
    "grpc-status",
    "hangs-after",
    "crashes-after",
    "ends-after",
    "stops-in",
    "drains",
    "serves-on",
    "says-close",
    "ignores-sigterm",
    "init",
    "pull",
];
/// What is the main containers' own unless it names another.
const MAIN: [&str; 3] = ["hangs-after", "crashes-after", "ends-after"];
/// Workers of a process at most.
const WORKERS: usize = 1000;
/// Requests that wait at most.
const QUEUE: usize = 1_000_000;
/// Of lognormal service times that say no more: the slowest hundredth takes 2.8 times the mean.
const SIGMA: f64 = 0.5;
const INIT: Duration = Duration::from_millis(500);

/// How the application of a container behaves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct App {
    pub starts_in: Duration,
    pub answers_in: Duration,
    pub capacity: Capacity,
    pub status: u16,
    pub grpc_status: u16,
    pub hangs_after: Option<Duration>,
    pub crashes_after: Option<Duration>,
    pub ends_after: Option<Duration>,
    pub stops_in: Duration,
    pub drains: bool,
    pub serves_on: Option<Duration>,
    pub says_close: bool,
    pub ignores_sigterm: bool,
    pub init: Duration,
    pub pull: Option<Duration>,
}

impl App {
    /// The application of a container.
    ///
    /// # Errors
    ///
    /// What is wrong with an annotation that concerns it, in a sentence that names it.
    pub(super) fn of(pod: &Pod, container: &str, role: Role, settings: &Settings) -> Result<Self, String> {
        let Some(annotations) = &pod.metadata.annotations else { return Ok(Self::plain(settings)) };
        for name in annotations.keys().filter_map(|key| key.strip_prefix(PREFIX)) {
            known(pod, name)?;
        }
        let given = Given { annotations, container, role };
        Ok(Self {
            starts_in: given.time("starts-in")?.unwrap_or(settings.app_start),
            answers_in: given.time("answers-in")?.unwrap_or(settings.app_answer),
            capacity: given.capacity()?,
            status: given.status()?,
            grpc_status: given.grpc_status()?,
            hangs_after: given.time("hangs-after")?,
            crashes_after: given.time("crashes-after")?,
            ends_after: given.time("ends-after")?,
            stops_in: given.time("stops-in")?.unwrap_or_default(),
            drains: given.flag("drains")?,
            serves_on: given.time("serves-on")?,
            says_close: given.flag("says-close")?,
            ignores_sigterm: given.flag("ignores-sigterm")?,
            init: given.time("init")?.unwrap_or(INIT),
            pull: given.pull(settings)?,
        })
    }

    fn plain(settings: &Settings) -> Self {
        Self {
            starts_in: settings.app_start,
            answers_in: settings.app_answer,
            capacity: Capacity::default(),
            status: 200,
            grpc_status: 0,
            hangs_after: None,
            crashes_after: None,
            ends_after: None,
            stops_in: Duration::ZERO,
            drains: false,
            serves_on: None,
            says_close: false,
            ignores_sigterm: false,
            init: INIT,
            pull: None,
        }
    }
}

/// A name that nobody reads would be a mistake without a sign.
fn known(pod: &Pod, name: &str) -> Result<(), String> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    let mut containers = spec.map(|spec| &spec.containers).into_iter().flatten().chain(init);
    let (container, what) = name.split_once('.').map_or((None, name), |(container, what)| (Some(container), what));
    if !NAMES.contains(&what) {
        return Err(format!("annotation {PREFIX}{name}: there is no {what}, only {}", NAMES.join(", ")));
    }
    match container {
        Some(container) if !containers.any(|known| known.name == container) => {
            Err(format!("annotation {PREFIX}{name}: the pod has no container {container}"))
        }
        _ => Ok(()),
    }
}

/// The annotations as a container reads them.
struct Given<'a> {
    annotations: &'a BTreeMap<String, String>,
    container: &'a str,
    role: Role,
}

impl Given<'_> {
    /// The annotation that holds, and its value.
    fn find(&self, name: &str) -> Option<(String, &str)> {
        let own = format!("{PREFIX}{}.{name}", self.container);
        if let Some(value) = self.annotations.get(&own) {
            return Some((own, value));
        }
        if self.role != Role::Main && MAIN.contains(&name) {
            return None;
        }
        let general = format!("{PREFIX}{name}");
        let value = self.annotations.get(&general)?;
        Some((general, value))
    }

    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let Some((key, value)) = self.find(name) else { return Ok(None) };
        read(value).map(Some).map_err(|why| format!("annotation {key}: {why}"))
    }

    fn time(&self, name: &str) -> Result<Option<Duration>, String> {
        self.read(name, time)
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        let read = |value: &str| value.parse().map_err(|_| format!("`{value}` is neither true nor false"));
        Ok(self.read(name, read)?.unwrap_or(false))
    }

    fn status(&self) -> Result<u16, String> {
        let read = |value: &str| match value.parse() {
            Ok(status @ 100..=599) => Ok(status),
            _ => Err(format!("`{value}` is no HTTP status")),
        };
        Ok(self.read("status", read)?.unwrap_or(200))
    }

    fn grpc_status(&self) -> Result<u16, String> {
        let read = |value: &str| match value.parse() {
            Ok(status @ 0..=16) => Ok(status),
            _ => Err(format!("`{value}` is no gRPC status: 0 to 16")),
        };
        Ok(self.read("grpc-status", read)?.unwrap_or(0))
    }

    fn capacity(&self) -> Result<Capacity, String> {
        let number = |most: usize, least: usize| {
            move |value: &str| match value.parse() {
                Ok(number) if (least..=most).contains(&number) => Ok(number),
                _ => Err(format!("`{value}` is no number from {least} to {most}")),
            }
        };
        let full = |value: &str| match value {
            "503" => Ok(Full::Status),
            "reset" => Ok(Full::Reset),
            _ => Err(format!("`{value}` is neither 503 nor reset")),
        };
        Ok(Capacity {
            workers: self.read("workers", number(WORKERS, 1))?,
            queue: self.read("queue", number(QUEUE, 0))?,
            full: self.read("when-full", full)?.unwrap_or_default(),
            spread: self.read("varies", spread)?.unwrap_or_default(),
        })
    }

    fn pull(&self, settings: &Settings) -> Result<Option<Duration>, String> {
        self.read("pull", |value| if value == "true" { Ok(settings.pull) } else { time(value) })
    }
}

/// `constant`, `exponential`, or `lognormal` with the standard deviation of the logarithm.
fn spread(value: &str) -> Result<Spread, String> {
    let sigma = |text: &str| text.trim().parse().ok().filter(|sigma| (0.0..=3.0).contains(sigma));
    match value.strip_prefix("lognormal") {
        None if value == "constant" => Ok(Spread::Constant),
        None if value == "exponential" => Ok(Spread::Exponential),
        Some("") => Ok(Spread::Lognormal(SIGMA)),
        Some(text) => {
            sigma(text).map(Spread::Lognormal).ok_or_else(|| format!("`{value}` is not like `lognormal 0.5`, up to 3"))
        }
        None => Err(format!("`{value}` is none of constant, exponential and lognormal")),
    }
}

fn time(value: &str) -> Result<Duration, String> {
    value.parse::<scalar::Duration>().map(scalar::Duration::get).map_err(|error| error.message)
}
