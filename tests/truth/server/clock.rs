//! The clock of all stamps, and waiting on it.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Returns at `instant`, not before.
pub(crate) fn wait_until(instant: u64) {
    while let Some(left) = instant.checked_sub(now()).filter(|left| *left > 0) {
        // A signal may end it early.
        let _: Result<usize, _> = poll(&mut [], Some(&timespec(left)));
    }
}

/// Waits for the peer to close or to reset, or for something to read where `input` says so. Whether it came within the time.
pub(crate) fn wait_for(fd: impl AsFd, input: bool, at_most: Option<u64>) -> bool {
    let wanted = if input { PollFlags::IN | PollFlags::RDHUP } else { PollFlags::RDHUP };
    let fd = fd.as_fd();
    let timeout = at_most.map(timespec);
    poll(&mut [PollFd::from_borrowed_fd(fd, wanted)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Waits for a connection that is under way to open, or to fail.
pub(crate) fn wait_for_output(fd: impl AsFd, at_most: u64) -> bool {
    let fd = fd.as_fd();
    let timeout = timespec(at_most);
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

fn timespec(nanos: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
    }
}
