//! Ctrl-C and its kin: the first ends the run and undoes, the second prints what is left, the third gives up waiting.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Sends the name of each SIGINT, SIGTERM and SIGHUP from now on. Where a handler can't be installed, that signal keeps its default.
pub fn listen() -> mpsc::UnboundedReceiver<&'static str> {
    let (to, from) = mpsc::unbounded_channel();
    let kinds =
        [(SignalKind::interrupt(), "SIGINT"), (SignalKind::terminate(), "SIGTERM"), (SignalKind::hangup(), "SIGHUP")];
    for (kind, name) in kinds {
        let Ok(mut stream) = signal(kind) else { continue };
        let to = to.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() {
                if to.send(name).is_err() {
                    return;
                }
            }
        });
    }
    from
}
