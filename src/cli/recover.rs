//! `abort` and `recover`: ending a run from elsewhere, and finishing the undo of one that died.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Global, World};
use crate::record::{Exit, What};
use crate::run::lease;
use crate::run::recover::{Recovery, find};
use crate::run::state::StateStore;
use crate::term::Terminal;

/// How often the lease is looked at while the end of a run is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// `squall abort`.
#[derive(Debug, Args)]
pub(super) struct Abort {
    /// Run id; the run that goes on, whichever it is, when left out
    run: Option<String>,
    /// Wait until the run has ended and undone
    #[arg(long)]
    wait: bool,
}

impl Abort {
    /// Marks the lease; the run's watch sees it within a second.
    pub(super) async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        let cluster = match global.connect(false).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        let namespace = &global.state_namespace;
        let holder = match lease::holder(&cluster, namespace).await {
            Ok(holder) => holder,
            Err(e) => return term.refused(&e.to_string(), None),
        };
        let running = holder.split(' ').next().unwrap_or_default();
        if holder.is_empty() || self.run.as_deref().is_some_and(|run| run != running) {
            let what = self.run.as_deref().map_or("no run".to_owned(), |run| format!("run `{run}` does not"));
            let hint = if holder.is_empty() { "nothing goes on there".to_owned() } else { format!("`{holder}` does") };
            return term.refused(&format!("{what} hold the lease of {}", cluster.id().context), Some(&hint));
        }
        if let Err(e) = lease::ask_to_abort(&cluster, namespace, &holder, &world.by).await {
            return term.refused(&e.to_string(), None);
        }
        term.say(&format!("asked run `{running}` to end"));
        if self.wait {
            // An API server that does not answer says nothing about the run: only a holder that is seen to be another does.
            while lease::holder(&cluster, namespace).await.map_or(true, |now| now == holder) {
                tokio::time::sleep(LOOK).await;
            }
            term.say(&format!("run `{running}` has ended"));
        }
        Exit::Passed
    }
}

/// `squall recover`.
#[derive(Debug, Args)]
pub(super) struct Recover {
    /// Run id; every run that left something when left out
    run: Option<String>,
    /// Take the lease from a run that still renews it
    #[arg(long)]
    force: bool,
    /// Folder of the run records on this machine
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
}

impl Recover {
    /// Takes back what is left, and says what.
    pub(super) async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        let cluster = match global.connect(false).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        let store = StateStore::new(cluster.clone(), &global.state_namespace);
        let leftovers = match find(&store, &self.reports, self.run.as_deref()).await {
            Ok(leftovers) => leftovers,
            Err(e) => return term.needs_a_person(&e.to_string()),
        };
        if leftovers.is_empty() {
            term.say("nothing is left of any run");
            return Exit::Passed;
        }
        let recovery = Recovery {
            cluster: &cluster,
            store: &store,
            reports: &self.reports,
            by: &world.by,
            force: self.force,
            wall: (world.wall)(),
        };
        let waiting = |holder: &str| {
            let seconds = lease::DURATION.as_secs();
            term.note(&format!("`{holder}` holds the lease; waiting {seconds} s to see whether it still lives (`--force` does not wait)"));
        };
        let recovered = match recovery.run(&leftovers, waiting).await {
            Ok(recovered) => recovered,
            Err(e) => return term.needs_a_person(&e.to_string()),
        };
        let mut exit = Exit::Passed;
        for run in recovered {
            for what in &run.events {
                if let What::Undone { step, target, outcome, detail } = what {
                    term.say(&format!("{}: step `{step}` on {target}: {outcome:?}: {detail}", run.run));
                }
            }
            if run.left.is_empty() {
                term.say(&format!("{}: clean", run.run));
            }
            for act in &run.left {
                exit = Exit::UndoIncomplete;
                term.say(&format!(
                    "{}: LEFT: step `{}` on {} in {}: {}",
                    run.run, act.step, act.target, act.target.namespace, act.why
                ));
            }
        }
        exit
    }
}
