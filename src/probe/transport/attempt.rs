//! What every protocol has in common: one attempt, its deadline, its clock.

use tokio::time::{Instant, timeout_at};

use super::classify::{Failed, timeout_in};
use super::progress::Progress;
use super::{Answer, Exchange, Slot};
use crate::probe::sample::Step;

/// One stream's way of carrying out a request.
pub(crate) trait Attempt: Clone + 'static {
    /// What outlives a complete exchange: its connection.
    type Kept;

    /// One request without a deadline of its own. `progress` tells how far it came, also when it is dropped on the way.
    async fn attempt(&self, progress: &Progress) -> Result<(Answer, Self::Kept), Failed>;

    /// What a request came to whose deadline fell where `progress` stands.
    fn timed_out(&self, progress: &Progress, now: Instant) -> Answer;

    /// Keeps a connection for the next request, if it is good for one by `deadline`.
    async fn keep(&self, kept: Self::Kept, deadline: Instant);
}

/// Carries out one slot.
pub(crate) async fn exchange<A: Attempt>(to: A, slot: Slot) -> Exchange {
    let sent = Instant::now();
    let progress = Progress::new(sent);
    let result = timeout_at(slot.deadline, to.attempt(&progress)).await;
    let done = Instant::now();
    let answer = match result {
        Err(_) => to.timed_out(&progress, done),
        Ok(Err(failed)) => failed.answer,
        Ok(Ok((answer, kept))) => {
            to.keep(kept, slot.deadline).await;
            // The deadline's own timer may be late, and let through what came behind it.
            match (answer, progress.head.get()) {
                (Answer::Good, Some(head)) if head > slot.deadline => too_late(Step::Response, &progress),
                (Answer::Good, _) if done > slot.deadline => too_late(progress.step(), &progress),
                _ => answer,
            }
        }
    };
    let (reused, remote, steps) = (progress.reused.get(), progress.remote.get(), progress.steps());
    Exchange { sent, done, answer, reused, remote, steps }
}

fn too_late(step: Step, progress: &Progress) -> Answer {
    Answer::Bad { class: timeout_in(step), status: progress.status.get() }
}
