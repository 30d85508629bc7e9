//! Carries out the steps: prepare, announce, inject, prove, hold, undo, heal.
//!
//! Each step is one future that the dispatcher polls; steps know nothing of each other. Whatever happens is sent to the dispatcher as
//! an event, so that there is one order of things. The order that matters is kept here: an act is in the undo log, on this
//! machine's disk *and* in the cluster, before its injection is sent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::claims::{Claim, Claims};
use super::undo::Undoer;
use super::undo_log::{ActId, Record};
use crate::fault::{self, Acting, Effect, Ending, FaultError, Heal, Injected};
use crate::plan::{Allowance, PlannedStep, UNDO_BUDGET};
use crate::record::{Injection, Micros, Target, What};
use crate::spec::{Expected, Step};

/// How long an injection may go on once the run is ending. A call that is under way may still land: what is taken back before it
/// does would stay.
const LET_FINISH: Duration = super::lease::DURATION;
/// How long the undo waits at most for a look at what became of displaced pods.
const LOOK_BACK: Duration = Duration::from_secs(5);
/// Pause between two looks at an effect.
const LOOK: Duration = Duration::from_millis(200);
/// Pause between two looks at whether the system is whole again.
const HEAL_LOOK: Duration = Duration::from_millis(500);

/// What every step shares.
pub(super) struct Stage {
    /// The undo log and what writes it.
    pub undoer: Undoer,
    /// Limits, checked again at every mutation.
    pub allowance: RefCell<Allowance>,
    /// Which step holds what.
    pub claims: Claims,
    /// True once the run must end: nothing more is injected, everything is undone.
    pub stop: watch::Receiver<bool>,
    /// False while the lease is not confirmed: nothing is injected.
    pub confirmed: watch::Receiver<bool>,
    /// The instant at which steps without `for` are undone, once it is known.
    pub end: watch::Receiver<Option<Instant>>,
}

/// One step with everything that it needs.
pub(super) struct Work {
    /// The step as written.
    pub step: Step,
    /// The step as planned.
    pub planned: PlannedStep,
    /// Number of its first act; the others follow.
    pub first_act: ActId,
    /// When it is due.
    pub due: Instant,
    /// How long the system may take to heal.
    pub heal: Duration,
}

/// What an injection left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// The whole fault.
    Live,
    /// A part of it.
    Blocked,
    /// Nothing, or nobody knows what.
    Not,
}

/// An act that is in the undo log.
struct Act {
    id: ActId,
    target: Target,
    note: Value,
}

impl Stage {
    /// Carries out one step. Returns when nothing of it is left to do, or to be undone.
    pub(super) async fn perform(&self, work: &Work) {
        let ready = async {
            sleep_until(work.due).await;
            // While the lease is in doubt nothing may be injected; the step is late rather than wrong.
            let mut confirmed = self.confirmed.clone();
            let _closed = confirmed.wait_for(|sure| *sure).await;
        };
        tokio::select! {
            biased;
            () = self.stopped() => return self.skip_all(work, "the run was ending"),
            () = ready => {}
        }
        let claim = self.claims.of(work.step.name.as_str());
        let acts = self.prepare(work, &claim).await;
        if acts.is_empty() {
            return;
        }
        if let Err(why) = self.announce(work, &acts).await {
            for act in &acts {
                self.not_injected(
                    work,
                    &act.target,
                    Injection::Failed,
                    format!("the undo log can't be written, so nothing was injected: {why}"),
                );
            }
            return;
        }
        let (came, whole) = self.inject_all(work, &acts).await;
        let those = |wanted: &[Came]| -> Vec<&Act> {
            acts.iter().zip(&came).filter(|(_, came)| wanted.contains(came)).map(|(act, _)| act).collect()
        };
        let (live, rest) = if whole {
            (those(&[Came::Live]), those(&[Came::Blocked, Came::Not]))
        } else {
            (Vec::new(), acts.iter().collect())
        };
        let hold = async {
            // What nothing holds in place needs no waiting for.
            if !live.is_empty() {
                let held_until = self.held_until(work);
                let proofs = join_all(live.iter().map(|act| self.prove(work, act, held_until.clone())));
                tokio::join!(proofs, held_until);
            }
        };
        tokio::join!(hold, self.take_back(work, &rest));
        self.look_back(work, &live).await;
        self.take_back(work, &live).await;
        drop(claim);
        join_all(those(&[Came::Live, Came::Blocked]).into_iter().map(|act| self.heal(work, act))).await;
    }

    fn acting<'a>(&'a self, step: &'a str) -> Acting<'a> {
        Acting { ending: Ending::of(self.stop.clone()), ..self.undoer.acting(step) }
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _closed = stop.wait_for(|stop| *stop).await;
    }

    fn not_injected(&self, work: &Work, target: &Target, outcome: Injection, detail: String) {
        let now = self.undoer.clock.now();
        self.injected_event(work, target, outcome, (now, now), detail);
    }

    fn injected_event(
        &self,
        work: &Work,
        target: &Target,
        outcome: Injection,
        (sent, answered): (Micros, Micros),
        detail: String,
    ) {
        let expected = match work.step.expect {
            Some(Expected::Refused) => outcome == Injection::Refused,
            Some(Expected::Evicted) | None => outcome == Injection::Injected,
        };
        self.undoer.tell(What::Injected {
            step: work.step.name.to_string(),
            fault: work.planned.fault.clone(),
            target: target.clone(),
            outcome,
            sent,
            answered,
            detail,
            expected,
        });
    }

    fn skip_all(&self, work: &Work, why: &str) {
        for target in &work.planned.targets {
            self.not_injected(work, target, Injection::Skipped, why.to_owned());
        }
    }

    /// Reads what the undos need, and checks the limits once more.
    async fn prepare(&self, work: &Work, claim: &Claim<'_>) -> Vec<Act> {
        let cx = self.acting(work.step.name.as_str());
        let (fault, cx) = (&work.step.fault, &cx);
        let prepared = work.planned.targets.iter().map(|target| async move {
            if fault.holds(target)
                && let Err(step) = claim.take(target)
            {
                return Err(FaultError::State(format!("step `{step}` holds {target}, and has not given it back yet")));
            }
            fault.prepare(cx, target).await
        });
        let notes = join_all(prepared).await;
        let mut acts = Vec::new();
        for ((id, target), note) in (work.first_act..).zip(&work.planned.targets).zip(notes) {
            match note {
                Err(e) => self.not_injected(work, target, Injection::Failed, e.to_string()),
                Ok(None) => self.not_injected(
                    work,
                    target,
                    Injection::Gone,
                    "it is gone, or another object has its name".to_owned(),
                ),
                Ok(Some(note)) => match self.allowance.borrow_mut().allows(&work.planned, target) {
                    Err(refusal) => self.not_injected(work, target, Injection::Skipped, refusal.message),
                    Ok(()) => acts.push(Act { id, target: target.clone(), note }),
                },
            }
        }
        acts
    }

    /// Makes the acts durable, here and in the cluster.
    async fn announce(&self, work: &Work, acts: &[Act]) -> Result<(), String> {
        let records = acts
            .iter()
            .map(|act| Record::Prepared {
                act: act.id,
                step: work.step.name.to_string(),
                fault: work.planned.fault.clone(),
                target: act.target.clone(),
                note: act.note.clone(),
            })
            .collect();
        let mut log = self.undoer.log.lock().await;
        log.append(self.undoer.clock.wall(self.undoer.clock.now()), records).map_err(|e| e.to_string())?;
        let entries = log.acts().len();
        drop(log);
        if let Err(e) = self.undoer.copy(entries).await {
            // Nothing was injected, and this log must not say otherwise later.
            let why = e.to_string();
            let mut log = self.undoer.log.lock().await;
            for act in acts {
                let none = Record::NotInjected { act: act.id, why: why.clone() };
                log.note(self.undoer.clock.wall(self.undoer.clock.now()), none).map_err(|e| e.to_string())?;
            }
            return Err(why);
        }
        for act in acts {
            self.undoer.tell(What::Prepared { step: work.step.name.to_string(), target: act.target.clone() });
        }
        Ok(())
    }

    /// Injects into all targets, wave after wave; what came of each, and whether every wave had its turn. After one that is not whole
    /// there is no other: what it should have prepared is not there.
    async fn inject_all(&self, work: &Work, acts: &[Act]) -> (Vec<Came>, bool) {
        let wave = |target: &Target| work.step.fault.wave(target);
        let waves: BTreeSet<u8> = work.planned.targets.iter().map(wave).collect();
        let mut came = vec![Came::Not; acts.len()];
        let (mut broken, mut whole) = (false, true);
        for number in waves {
            let these: Vec<(usize, &Act)> =
                acts.iter().enumerate().filter(|(_, act)| wave(&act.target) == number).collect();
            if broken {
                whole = false;
                for (_, act) in these {
                    let why = "not everything that had to come first could be injected".to_owned();
                    self.not_injected(work, &act.target, Injection::Skipped, why.clone());
                    self.undoer.log_outcome(Record::NotInjected { act: act.id, why }).await;
                }
                continue;
            }
            let answers = join_all(these.iter().map(|(_, act)| self.inject(work, act))).await;
            let wanted = work.planned.targets.iter().filter(|target| wave(target) == number).count();
            broken = answers.iter().filter(|came| **came == Came::Live).count() < wanted;
            for ((index, _), one) in these.into_iter().zip(answers) {
                came[index] = one;
            }
        }
        (came, whole)
    }

    /// Injects into one target.
    async fn inject(&self, work: &Work, act: &Act) -> Came {
        let cx = self.acting(work.step.name.as_str());
        let sent = self.undoer.clock.now();
        let overdue = async {
            self.stopped().await;
            sleep(LET_FINISH).await;
        };
        let answer = tokio::select! {
            biased;
            answer = work.step.fault.inject(&cx, &act.target, &act.note) => answer,
            () = overdue => {
                let why = format!("the run was ending, and this had not come to an end {} s later", LET_FINISH.as_secs());
                Err(FaultError::State(why))
            }
        };
        let times = (sent, self.undoer.clock.now());
        let id = act.id;
        let (came, outcome, detail) = match answer {
            Ok(Injected::Done(detail)) => (Came::Live, Injection::Injected, detail),
            Ok(Injected::Refused(why)) => (Came::Not, Injection::Refused, why),
            Ok(Injected::Blocked(why)) => (Came::Blocked, Injection::Refused, why),
            Ok(Injected::Gone(why)) => (Came::Not, Injection::Gone, why),
            Err(e) => (Came::Not, Injection::Failed, e.to_string()),
        };
        let record = match (came, outcome) {
            (Came::Live, _) => Record::Injected { act: id },
            (Came::Blocked, _) | (_, Injection::Failed) => Record::InjectFailed { act: id, why: detail.clone() },
            (Came::Not, _) => Record::NotInjected { act: id, why: detail.clone() },
        };
        self.injected_event(work, &act.target, outcome, times, detail);
        self.undoer.log_outcome(record).await;
        came
    }

    /// The instant at which a held step is taken back; at once for a fault that is not.
    fn held_until(&self, work: &Work) -> impl Future<Output = ()> + Clone + use<> {
        use futures::FutureExt as _;
        let undoable = work.step.fault.about().undoable;
        let hold = work.step.hold.map(|hold| Instant::now() + hold.get());
        let (mut stop, mut end) = (self.stop.clone(), self.end.clone());
        async move {
            if !undoable {
                return;
            }
            let over = async {
                let until = match hold {
                    Some(until) => Some(until),
                    None => end.wait_for(Option::is_some).await.ok().and_then(|end| *end),
                };
                if let Some(until) = until {
                    sleep_until(until).await;
                }
            };
            tokio::select! {
                biased;
                () = over => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
        .boxed()
        .shared()
    }

    /// Looks for the effect until it is seen, its deadline passes, the hold ends or the run stops.
    async fn prove(&self, work: &Work, act: &Act, held_until: impl Future<Output = ()>) {
        let cx = self.acting(work.step.name.as_str());
        let fault = &work.step.fault;
        let patience = fault.effect_deadline(&act.note).unwrap_or(Duration::ZERO);
        let last = RefCell::new("it was never looked at".to_owned());
        let (looked, first) = watch::channel(false);
        let look = async {
            loop {
                match fault.effect(&cx, &act.target, &act.note).await {
                    Ok(Effect::Seen(detail)) => return detail,
                    Ok(Effect::NotYet(detail)) => *last.borrow_mut() = detail,
                    Err(e) => *last.borrow_mut() = e.to_string(),
                }
                looked.send_replace(true);
                sleep(LOOK).await;
            }
        };
        let undoable = fault.about().undoable;
        let too_late = async {
            if undoable {
                held_until.await;
                // An injection that took longer than *during* has its effect all the same.
                let mut first = first;
                let _closed = first.wait_for(|looked| *looked).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let seen = tokio::select! {
            biased;
            detail = look => Some(detail),
            () = sleep(patience) => None,
            () = too_late => None,
            () = self.stopped() => None,
        };
        let step = work.step.name.to_string();
        let target = act.target.clone();
        match seen {
            Some(detail) => self.undoer.tell(What::Effect { step, target, seen: true, detail }),
            None => self.undoer.tell(What::Effect { step, target, seen: false, detail: last.into_inner() }),
        }
    }

    /// Holds what was predicted of displaced pods against what happened. Never at the price of the undo: not when the run is ending, and
    /// not for long.
    async fn look_back(&self, work: &Work, live: &[&Act]) {
        let PlannedStep { displaced, targets, .. } = &work.planned;
        if displaced.is_empty() || live.is_empty() {
            return;
        }
        let cx = self.acting(work.step.name.as_str());
        let why = tokio::select! {
            biased;
            () = self.stopped() => "the run was ending".to_owned(),
            () = std::future::ready(()), if live.len() < targets.len() => {
                format!("only {} of {} targets were hit", live.len(), targets.len())
            }
            answer = timeout(LOOK_BACK, work.step.fault.replaced(&cx, targets, displaced)) => match answer {
                Ok(Ok(replaced)) => return replaced.into_iter().for_each(|one| self.undoer.tell(What::Replaced(one))),
                Ok(Err(e)) => e.to_string(),
                Err(_) => format!("reading all pods took longer than {} s, and the undo goes first", LOOK_BACK.as_secs()),
            },
        };
        let text = format!("step `{}`: what became of the displaced pods is not known: {why}", work.step.name);
        self.undoer.tell(What::Warning { text });
    }

    /// Takes back those of the acts that are pending, the newest first.
    async fn take_back(&self, work: &Work, acts: &[&Act]) {
        for act in acts.iter().rev() {
            let pending = self.undoer.log.lock().await.acts().pending().iter().any(|p| p.id == act.id);
            if pending {
                let name = work.step.name.as_str();
                self.undoer.undo(name, &work.planned.fault, act.id, &act.target, &act.note, UNDO_BUDGET).await;
            }
        }
    }

    /// Waits until the system is whole again, at most as long as the experiment allows. Not after an abort: then only the undo counts.
    async fn heal(&self, work: &Work, act: &Act) {
        let cx = self.acting(work.step.name.as_str());
        let last = RefCell::new(String::new());
        let look = async {
            loop {
                match fault::healed(&work.planned.fault, &cx, &act.target, &act.note).await {
                    Some(Ok(Heal::Healed(detail))) => return detail,
                    Some(Ok(Heal::NotYet(detail))) => *last.borrow_mut() = detail,
                    Some(Err(e)) => *last.borrow_mut() = e.to_string(),
                    None => return String::new(),
                }
                sleep(HEAL_LOOK).await;
            }
        };
        let healed = tokio::select! {
            biased;
            () = self.stopped() => return,
            detail = look => Some(detail),
            () = sleep(work.heal) => None,
        };
        let step = work.step.name.to_string();
        let target = act.target.clone();
        let late = || format!("{} after {} s", last.borrow(), work.heal.as_secs());
        let (healed, detail) = healed.map_or_else(|| (false, late()), |detail| (true, detail));
        self.undoer.tell(What::Healed { step, target, healed, detail });
    }
}
