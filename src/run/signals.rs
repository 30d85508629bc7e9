//! Ctrl-C and its kin: the first ends the run and undoes, the second prints what is left, the third gives up waiting.

use std::sync::{Arc, Mutex, PoisonError};

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

/// The same from a thread of its own, for one run after another on a runtime that hears of nothing outside.
#[derive(Debug, Clone, Default)]
pub struct Aside(Arc<Mutex<Vec<mpsc::UnboundedSender<&'static str>>>>);

impl Aside {
    /// Hears every signal from now on. Where no thread can be started, signals keep their defaults.
    #[must_use]
    pub fn begin() -> Self {
        let aside = Self::default();
        let told = aside.clone();
        let hear = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
            runtime.block_on(async {
                let mut signals = listen();
                while let Some(name) = signals.recv().await {
                    told.lock().retain(|run| run.send(name).is_ok());
                }
            });
        };
        let _without = std::thread::Builder::new().name("signals".to_owned()).spawn(hear);
        aside
    }

    /// The signals from now on.
    #[must_use]
    pub fn listen(&self) -> mpsc::UnboundedReceiver<&'static str> {
        let (to, from) = mpsc::unbounded_channel();
        let mut runs = self.lock();
        runs.retain(|run| !run.is_closed());
        runs.push(to);
        from
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<mpsc::UnboundedSender<&'static str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
