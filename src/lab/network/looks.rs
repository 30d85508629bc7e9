//! When the answers of requests are looked at.
//!
//! What came of a request is computed, and dated, from what there was and when it ended; so it need not be looked at at the instant of its
//! answer, only at that instant or later. The next request of any stream looks at all that have been answered by then, and before it
//! takes a connection: to wake up for each answer by itself would double what a rehearsal costs.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much later than its answer a request is looked at at the latest, if no other comes before: as long as samples wait to be handed over.
const LATEST: Duration = Duration::from_millis(20);

/// The requests of all streams that wait to be looked at. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks(Rc<RefCell<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    /// When each is answered, soonest first.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// `None`: it is to look now.
    wakers: BTreeMap<u64, Option<Waker>>,
    last: u64,
}

impl Looks {
    /// Waits until `at`, and then until somebody looks.
    pub(super) async fn until(&self, at: Instant) {
        if at <= Instant::now() {
            return;
        }
        let number = {
            let mut waiting = self.0.borrow_mut();
            waiting.last += 1;
            let number = waiting.last;
            waiting.due.push(Reverse((at, number)));
            number
        };
        let place = Place { looks: self, number };
        let looked_at = poll_fn(|cx| {
            let mut waiting = place.looks.0.borrow_mut();
            if matches!(waiting.wakers.get(&number), Some(None)) {
                return Poll::Ready(());
            }
            waiting.wakers.insert(number, Some(cx.waker().clone()));
            Poll::Pending
        });
        tokio::select! {
            biased;
            () = looked_at => {}
            () = sleep_until(at + LATEST) => {}
        }
    }

    /// Lets all that have been answered by now go on, before whoever calls this does.
    pub(super) async fn look(&self) {
        let now = Instant::now();
        let mut any = false;
        {
            let mut waiting = self.0.borrow_mut();
            while let Some(Reverse((at, number))) = waiting.due.peek().copied()
                && at <= now
            {
                waiting.due.pop();
                // One that is over has taken its waker away.
                if let Some(waker) = waiting.wakers.get_mut(&number).and_then(Option::take) {
                    waker.wake();
                    any = true;
                }
            }
        }
        if any {
            behind_them().await;
        }
    }
}

/// Lets those that were woken before have their turn.
async fn behind_them() {
    let mut turn = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut turn, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A place in the list, given up when the request is over.
struct Place<'a> {
    looks: &'a Looks,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.looks.0.borrow_mut().wakers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use futures::stream::FuturesUnordered;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn who_comes_next_looks_at_what_was_answered_before_and_at_nothing_else() {
        let (looks, zero, order) = (Looks::default(), Instant::now(), RefCell::new(Vec::new()));
        let wait = |name: &'static str, at: u32| {
            let (looks, order) = (looks.clone(), &order);
            async move {
                looks.until(zero + at * MS).await;
                order.borrow_mut().push((name, zero.elapsed()));
            }
        };
        let next = async {
            sleep_until(zero + 5 * MS).await;
            looks.look().await;
            order.borrow_mut().push(("next", zero.elapsed()));
        };
        let mut all = FuturesUnordered::new();
        all.push(futures::future::Either::Left(next));
        for (name, at) in [("second", 2), ("first", 1), ("later", 6)] {
            all.push(futures::future::Either::Right(wait(name, at)));
        }
        while all.next().await.is_some() {}
        drop(all);
        // Nobody came after 5 ms: the last one looks by itself.
        let wanted = [("first", 5 * MS), ("second", 5 * MS), ("next", 5 * MS), ("later", 26 * MS)];
        assert_eq!(order.into_inner(), wanted);
        assert!(looks.0.borrow().wakers.is_empty());
    }
}
