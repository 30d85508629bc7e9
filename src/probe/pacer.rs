//! Waking up on time.
//!
//! Tokio's own timer counts in milliseconds: too coarse for a loop whose lateness is a result. On Linux the pacer waits on a
//! `timerfd`, which wakes within tens of microseconds; elsewhere, and on a paused clock, it takes tokio's timer.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

/// Wakes the loop.
pub(crate) enum Pacer {
    /// Tokio's timer: the only one that a paused clock moves. Armed again only for another instant, which is most of its cost.
    Tokio(Pin<Box<Sleep>>),
    /// The kernel's.
    #[cfg(target_os = "linux")]
    Kernel(kernel::Timer),
}

impl Pacer {
    /// The best timer for real time. Needs a runtime with I/O around it.
    pub(crate) fn real_time() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(timer) = kernel::Timer::new() {
            return Self::Kernel(timer);
        }
        Self::tokio()
    }

    /// Tokio's timer.
    pub(crate) fn tokio() -> Self {
        Self::Tokio(Box::pin(sleep_until(Instant::now())))
    }

    /// Returns at `at`; it may return earlier, but not before an instant that was asked for in an earlier call and not reached.
    ///
    /// Dropping the future is free: that earlier instant stays armed, which saves a system call each time the loop turns.
    pub(crate) async fn until(&mut self, at: Instant) {
        match self {
            Self::Tokio(timer) => {
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                timer.as_mut().await;
            }
            #[cfg(target_os = "linux")]
            Self::Kernel(timer) => {
                if timer.until(at).await.is_err() {
                    sleep_until(at).await;
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::time::Instant;

    /// A `timerfd` on the monotonic clock.
    pub(crate) struct Timer {
        fd: AsyncFd<OwnedFd>,
        /// One instant on both clocks, which are the same clock under two names.
        anchor: (Instant, Timespec),
        armed: Option<Instant>,
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            #[expect(deprecated, reason = "its successor is unsafe; an OwnedFd gives what that one asks for")]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Self { fd, anchor: (Instant::now(), clock_gettime(ClockId::Monotonic)), armed: None })
        }

        pub(super) async fn until(&mut self, at: Instant) -> io::Result<()> {
            if self.armed.is_none_or(|armed| armed > at) {
                self.arm(at)?;
                self.armed = Some(at);
            }
            loop {
                let mut ready = self.fd.readable().await?;
                // Reading takes the expiry back, so that the next wait begins anew.
                let read = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut [0_u8; 8])?));
                if let Ok(read) = read {
                    self.armed = None;
                    return read.map(drop);
                }
            }
        }

        fn arm(&self, at: Instant) -> io::Result<()> {
            let (instant, clock) = self.anchor;
            let later = Timespec::try_from(at.saturating_duration_since(instant)).map_err(io::Error::other)?;
            let expiry = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: clock + later };
            timerfd_settime(self.fd.get_ref(), TimerfdTimerFlags::ABSTIME, &expiry)?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_kernel_timer_never_wakes_before_the_instant_it_was_armed_for() {
        let mut pacer = Pacer::real_time();
        for wait in [0, 1, 250, 3_000] {
            let at = Instant::now() + Duration::from_micros(wait);
            pacer.until(at).await;
            assert!(Instant::now() >= at);
        }
    }

    #[tokio::test]
    async fn an_armed_instant_survives_a_dropped_wait_and_an_earlier_one_replaces_it() {
        let mut pacer = Pacer::real_time();
        let far = Instant::now() + Duration::from_hours(1);
        tokio::select! {
            biased;
            () = pacer.until(far) => panic!("an hour early"),
            () = tokio::task::yield_now() => {}
        }
        let near = Instant::now() + Duration::from_millis(2);
        pacer.until(near).await;
        assert!(Instant::now() >= near && Instant::now() < far);
    }
}
