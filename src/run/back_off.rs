//! How patient a broken watch is.

use std::time::Duration;

use kube::runtime::watcher::ExponentialBackoff;

/// How long a broken watch waits before it tries again: half a second at first, two to four seconds at most. The client's default goes
/// up to a minute, which would keep the run blind long after the API server is back; one runner's handful of watches is no load.
pub(super) fn back_off() -> ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
        .into()
}
