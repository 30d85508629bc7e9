//! A probe of the kubelet: when it runs, and what its results amount to.
//!
//! The kubelet's worker for a probe runs it by a ticker that began when the kubelet took the pod up, not when the container started. A run
//! that takes longer than the period is followed by the next one at once, as the ticker keeps one tick. A readiness probe of a container that
//! is not ready is run out of turn when the pod is synced; its ticker begins anew there.
//!
//! Most runs change nothing: a working application is found to work. Such a worker sleeps, with its ticker known, and is woken by
//! what could change the next result; the runs that it slept over are computed then.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::Instant;

use super::process::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

/// What a probe asks. The port is `None` where its name is no port's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Exec,
    Http(Option<u16>),
    Tcp(Option<u16>),
    Grpc(Option<u16>),
}

/// What the worker knows of its container, from the pod's status.
#[derive(Debug, Clone, Copy)]
pub(super) struct View {
    /// The container's id.
    pub life: Option<u64>,
    /// When it started, in whole seconds as the status has it. `None`: it does not run.
    pub since: Option<Instant>,
    pub started: bool,
    /// Whether the pod is being deleted.
    pub leaving: bool,
}

/// What a run would come to if it began now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shot {
    pub takes: Duration,
    pub good: bool,
    /// The process that is asked.
    pub life: Option<u64>,
}

/// What a run led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    None,
    /// The probe's result is another.
    Changed,
    /// The container is to be killed.
    Fatal,
}

/// Instants a period apart.
#[derive(Debug, Clone, Copy)]
struct Ticker {
    from: Instant,
    period: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Pace {
    /// The next run begins then.
    Next(Instant),
    /// A run is under way.
    Flight { from: Instant, to: Instant, good: bool },
    /// Runs change nothing until something happens. The last one began then, and each takes so long.
    Asleep { last: Instant, each: Duration },
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Prober {
    pub kind: Kind,
    pub target: Target,
    /// Seconds that a container has to end after this probe failed, where it says so.
    pub grace: Option<u64>,
    delay: Duration,
    timeout: Duration,
    successes: u32,
    failures: u32,
    ticker: Ticker,
    pace: Pace,
    /// The container that the result is of.
    life: Option<u64>,
    /// `None`: there is none yet.
    result: Option<bool>,
    last: Option<bool>,
    run: u32,
    /// Until there is another container.
    on_hold: bool,
    /// For good.
    stopped: bool,
    /// A run out of turn is due after the one under way.
    again: bool,
    /// The process that was last asked.
    asked: Option<u64>,
}

impl Ticker {
    /// When the run after one begins: at once where a tick came meanwhile.
    fn after(self, from: Instant, to: Instant) -> Instant {
        let tick = self.first(from + Duration::from_nanos(1));
        tick.max(to)
    }

    /// The first tick that is not before an instant.
    fn first(self, not_before: Instant) -> Instant {
        let since = not_before.saturating_duration_since(self.from);
        self.from + times(self.period, since.as_nanos().div_ceil(self.period.as_nanos().max(1)))
    }

    fn is_at(self, instant: Instant) -> bool {
        let since = instant.saturating_duration_since(self.from);
        instant >= self.from && since.as_nanos().is_multiple_of(self.period.as_nanos().max(1))
    }

    /// The beginning of the last run before an instant, in a row of runs that all take as long.
    fn last(self, mut run: Instant, each: Duration, before: Instant) -> Instant {
        loop {
            let next = self.after(run, run + each);
            if next >= before {
                return run;
            }
            // Runs within a period keep to the ticks; longer ones follow each other. In between they catch up, one by one.
            let step = match () {
                () if each >= self.period => each,
                () if self.is_at(next) => self.period,
                () => {
                    run = next;
                    continue;
                }
            };
            let room = before.duration_since(next).as_nanos() - 1;
            run = next + times(step, room / step.as_nanos().max(1));
        }
    }
}

fn times(time: Duration, count: u128) -> Duration {
    time * u32::try_from(count).unwrap_or(u32::MAX)
}

impl Prober {
    /// The probes of a container, whose tickers begin now, or after a part of the period that `wait` says.
    pub(super) fn all(of: &Container, mut wait: impl FnMut(Duration) -> Duration) -> Vec<Self> {
        let kinds = [
            (Kind::Startup, &of.startup_probe),
            (Kind::Readiness, &of.readiness_probe),
            (Kind::Liveness, &of.liveness_probe),
        ];
        let given = kinds.into_iter().filter_map(|(kind, probe)| Some((kind, probe.as_ref()?)));
        let ports = of.ports.as_deref().unwrap_or_default();
        let mut all: Vec<Self> = given.map(|(kind, probe)| Self::new(kind, probe, ports, &mut wait)).collect();
        all.shrink_to_fit();
        all
    }

    fn new(kind: Kind, of: &Probe, ports: &[ContainerPort], wait: &mut impl FnMut(Duration) -> Duration) -> Self {
        let number = |given: Option<i32>, default: u32, least: u32| {
            given.and_then(|given| u32::try_from(given).ok()).unwrap_or(default).max(least)
        };
        let seconds = |given, default, least| Duration::from_secs(number(given, default, least).into());
        let period = seconds(of.period_seconds, 10, 1);
        let from = Instant::now() + wait(period);
        Self {
            kind,
            target: target(of, ports),
            grace: of.termination_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok()),
            delay: seconds(of.initial_delay_seconds, 0, 0),
            timeout: seconds(of.timeout_seconds, 1, 1),
            successes: number(of.success_threshold, 1, 1),
            failures: number(of.failure_threshold, 3, 1),
            ticker: Ticker { from, period },
            pace: Pace::Asleep { last: from, each: Duration::ZERO },
            life: None,
            result: None,
            last: None,
            run: 0,
            on_hold: false,
            stopped: false,
            again: false,
            asked: None,
        }
    }

    /// When there is something to do.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.pace {
            Pace::Next(at) | Pace::Flight { to: at, .. } => Some(at),
            Pace::Asleep { .. } => None,
        }
    }

    /// Whether its result for a container is success.
    pub(super) fn succeeded(&self, life: u64) -> bool {
        self.life == Some(life) && self.result == Some(true)
    }

    pub(super) const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// It has found a container working for so long that nothing is new to it.
    pub(super) const fn has_found(&mut self, life: u64) {
        (self.life, self.asked) = (Some(life), Some(life));
        (self.result, self.last, self.run) = (Some(true), Some(true), self.successes);
        self.on_hold = matches!(self.kind, Kind::Startup);
    }

    /// Runs no more.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.sleep(Instant::now());
    }

    /// What a run comes to that asks a process now.
    pub(super) fn shot(&self, process: Option<&Process>) -> Shot {
        let life = process.map(|process| process.life);
        let open = process.filter(|p| p.ended.is_none() && p.listens.is_some());
        let at_once = |good| Shot { takes: Duration::ZERO, good, life };
        let Some(process) = open.filter(|p| !p.drains || self.target == Target::Exec) else { return at_once(false) };
        if matches!(self.target, Target::Tcp(_)) {
            return at_once(true);
        }
        if process.lame && self.kind == Kind::Readiness {
            return at_once(false);
        }
        if process.hangs.is_some() || process.answers_in > self.timeout {
            return Shot { takes: self.timeout, good: false, life };
        }
        let good = match self.target {
            Target::Exec => true,
            Target::Grpc(_) => process.status == 200 && process.grpc_status == 0,
            _ => (200..400).contains(&process.status),
        };
        Shot { takes: process.answers_in, good, life }
    }

    /// Does what is due.
    pub(super) fn step(&mut self, view: View, shot: Shot) -> Effect {
        let now = Instant::now();
        match self.pace {
            Pace::Asleep { .. } => Effect::None,
            Pace::Next(_) => self.begin(now, view, shot),
            Pace::Flight { from, to, good } => {
                let effect = self.record(good);
                self.rest(from, to);
                if std::mem::take(&mut self.again) { effect.max(self.out_of_turn(view, shot)) } else { effect }
            }
        }
    }

    /// A run out of turn: now, or after the one under way.
    pub(super) fn out_of_turn(&mut self, view: View, shot: Shot) -> Effect {
        if matches!(self.pace, Pace::Flight { .. }) {
            self.again = true;
            return Effect::None;
        }
        let now = Instant::now();
        // A worker that has not begun yet begins when it would have.
        if self.ticker.from > now {
            return Effect::None;
        }
        self.ticker.from = now;
        self.begin(now, view, shot)
    }

    /// Something happened that may change the next result; `process` is what would be asked now.
    pub(super) fn wake(&mut self, process: Option<&Process>) {
        let now = Instant::now();
        if let Pace::Asleep { last, each } = self.pace
            && !self.stopped
        {
            let from = if now > last { self.ticker.last(last, each, now) } else { last };
            let to = from + each;
            self.pace = match () {
                () if last > now => Pace::Next(last),
                () if from < now && to > now => Pace::Flight { from, to, good: self.last.unwrap_or(false) },
                () => Pace::Next(self.ticker.after(from, to)),
            };
        }
        if let Pace::Flight { from, to, good } = &mut self.pace {
            let asked = process.filter(|process| Some(process.life) == self.asked);
            match asked {
                Some(process) if process.ended.is_none() => {
                    if process.hangs.is_some() {
                        (*to, *good) = (*from + self.timeout, false);
                    }
                }
                _ => (*to, *good) = ((*to).min(now), false),
            }
        }
    }

    fn begin(&mut self, now: Instant, view: View, shot: Shot) -> Effect {
        if view.life.is_some() && view.life != self.life {
            self.life = view.life;
            self.result = match self.kind {
                Kind::Startup => None,
                Kind::Readiness => Some(false),
                Kind::Liveness => Some(true),
            };
            self.on_hold = false;
        }
        if view.leaving && self.kind != Kind::Readiness {
            self.stopped = true;
        }
        if view.life.is_none() || self.on_hold || self.stopped {
            return self.sleep(now);
        }
        let Some(since) = view.since else {
            self.result = Some(false);
            return self.sleep(now);
        };
        let opens = since + self.delay;
        if now < opens {
            self.pace = Pace::Next(self.ticker.first(opens));
            return Effect::None;
        }
        // Startup probes end with their success; the others wait for it.
        if view.started == (self.kind == Kind::Startup) {
            return self.sleep(now);
        }
        self.asked = shot.life;
        if shot.takes.is_zero() {
            let effect = self.record(shot.good);
            self.rest(now, now);
            return effect;
        }
        self.pace = Pace::Flight { from: now, to: now + shot.takes, good: shot.good };
        Effect::None
    }

    fn sleep(&mut self, now: Instant) -> Effect {
        self.pace = Pace::Asleep { last: now, each: Duration::ZERO };
        Effect::None
    }

    /// After a run: until the next one, or until something happens.
    fn rest(&mut self, from: Instant, to: Instant) {
        self.pace = if self.on_hold || self.result == self.last {
            Pace::Asleep { last: from, each: to - from }
        } else {
            Pace::Next(self.ticker.after(from, to))
        };
    }

    fn record(&mut self, good: bool) -> Effect {
        self.run = if self.last == Some(good) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(good);
        if self.run < if good { self.successes } else { self.failures } {
            return Effect::None;
        }
        let before = self.result.replace(good);
        let fatal = !good && self.kind != Kind::Readiness;
        if fatal || self.kind == Kind::Startup {
            self.on_hold = true;
            self.run = 0;
        }
        match (fatal, before == Some(good)) {
            (true, _) => Effect::Fatal,
            (false, false) => Effect::Changed,
            (false, true) => Effect::None,
        }
    }
}

fn target(of: &Probe, ports: &[ContainerPort]) -> Target {
    let number = |port: i32| u16::try_from(port).ok();
    let port = |port: &IntOrString| match port {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let named = ports.iter().find(|port| port.name.as_ref() == Some(name));
            named.and_then(|port| number(port.container_port)).or_else(|| name.parse().ok())
        }
    };
    match (&of.http_get, &of.tcp_socket, &of.grpc) {
        (Some(http), _, _) => Target::Http(port(&http.port)),
        (None, Some(tcp), _) => Target::Tcp(port(&tcp.port)),
        (None, None, Some(grpc)) => Target::Grpc(number(grpc.port)),
        (None, None, None) => Target::Exec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn runs_that_were_slept_over_are_those_that_would_have_been() {
        let zero = Instant::now();
        let ms = Duration::from_millis;
        let ticker = Ticker { from: zero, period: ms(1000) };
        for first in [0, 300, 999] {
            for each in [0, 1, 700, 999, 1000, 1001, 2500] {
                for before in [1, 300, 999, 1000, 1001, 2000, 7003, 60_000, 61_234] {
                    let (first, each, before) = (zero + ms(first), ms(each), zero + ms(before));
                    let mut expected = first;
                    loop {
                        let next = ticker.after(expected, expected + each);
                        if next >= before {
                            break;
                        }
                        expected = next;
                    }
                    assert_eq!(ticker.last(first, each, before), expected, "{first:?} {each:?} {before:?}");
                }
            }
        }
    }
}
