//! A number that many wait for, as of tokio's `watch`, whose receivers are woken in an order of its own chance: here it is the order in
//! which they began to wait, so that the same seed makes the same run.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

#[derive(Debug)]
struct Inner {
    number: AtomicU64,
    over: AtomicBool,
    woken: Notify,
}

impl Inner {
    fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }
}

/// Whoever tells the number. Once it is dropped, nobody waits any more.
#[derive(Debug)]
pub(in crate::lab) struct Teller(Arc<Inner>);

/// Somebody who waits for it.
#[derive(Debug)]
pub(in crate::lab) struct Listener {
    inner: Arc<Inner>,
    heard: u64,
}

impl Teller {
    pub(in crate::lab) fn new(number: u64) -> Self {
        Self(Arc::new(Inner { number: number.into(), over: false.into(), woken: Notify::new() }))
    }

    /// Tells another number.
    pub(in crate::lab) fn tell(&self, number: u64) {
        self.0.number.store(number, Ordering::Release);
        self.0.woken.notify_waiters();
    }

    /// One who has heard what was told so far.
    pub(in crate::lab) fn listener(&self) -> Listener {
        Listener { inner: Arc::clone(&self.0), heard: self.0.number() }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
        self.0.woken.notify_waiters();
    }
}

impl Listener {
    /// Takes up what was told so far.
    pub(in crate::lab) fn catch_up(&mut self) {
        self.heard = self.inner.number();
    }

    /// Waits until another number is told than was heard, and takes it up. `false`: there is nobody any more to tell one. Nothing is missed
    /// where it is dropped.
    pub(in crate::lab) async fn changed(&mut self) -> bool {
        loop {
            let mut woken = pin!(self.inner.woken.notified());
            // From here on nothing is missed.
            woken.as_mut().enable();
            let number = self.inner.number();
            if number != self.heard {
                self.heard = number;
                return true;
            }
            if self.inner.over.load(Ordering::Acquire) {
                return false;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn all_are_woken_in_the_order_in_which_they_waited() {
        let (teller, order) = (Teller::new(1), Rc::new(RefCell::new(Vec::new())));
        LocalSet::new()
            .run_until(async {
                let waiting = (0..50).map(|number| {
                    let (mut listener, order) = (teller.listener(), Rc::clone(&order));
                    tokio::task::spawn_local(async move {
                        assert!(listener.changed().await);
                        order.borrow_mut().push(number);
                    })
                });
                let waiting: Vec<_> = waiting.collect();
                yield_now().await;
                teller.tell(2);
                for one in waiting {
                    one.await.unwrap();
                }
            })
            .await;
        assert_eq!(*order.borrow(), (0..50).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_was_told_before_anybody_waited_is_heard_once_and_an_end_too() {
        let teller = Teller::new(1);
        let mut listener = teller.listener();
        teller.tell(5);
        assert!(listener.changed().await);
        teller.tell(6);
        listener.catch_up();
        drop(teller);
        assert!(!listener.changed().await);
    }
}
