//! `abort` and `recover`: ending a run from elsewhere, and finishing the undo of one that died.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::{Global, World};
use crate::cluster::{Cluster, Wanted};
use crate::record::{Exit, IN_CLUSTER, What, durable};
use crate::run::guard::runner_died;
use crate::run::recover::{Found, Leftover, RecoverError, Recovered, Recovery, find, scan};
use crate::run::state::StateStore;
use crate::run::undo_log::State;
use crate::run::{self, lease, signals};
use crate::scalar::{AccountId, Region};
use crate::term::Terminal;

/// How often the lease is looked at while the end of a run is waited for.
const LOOK: Duration = Duration::from_millis(250);

/// How long a guard tries to take back what its dead runner left.
const GUARD_MOST: Duration = Duration::from_hours(1);
/// The longest that one of its tries may take: an API server that hangs must not hang it.
const TRY_MOST: Duration = Duration::from_mins(10);
/// The longest pause between two of its tries.
const GUARD_PAUSE_MAX: Duration = Duration::from_secs(15);

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
        let cluster = match global.connect(false, world).await {
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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Recover {
    /// Run id; every run that left something when left out
    run: Option<String>,
    /// Take the lease from a run that still renews it
    #[arg(long)]
    force: bool,
    /// Leave runs alone that may still be going on: for a schedule, see deploy/recover.yaml
    #[arg(long, conflicts_with = "force")]
    overdue: bool,
    /// Look for undo notes on objects too, of runs that left no log, in all namespaces
    #[arg(long)]
    scan: bool,
    /// Look for undo notes in this namespace only
    #[arg(long, short, value_name = "NAME", requires = "scan")]
    namespace: Option<String>,
    /// Look for undo notes on the Auto Scaling groups of this cluster too: account, region, and the cluster's name in their tags
    #[arg(long, value_name = "ACCOUNT/REGION/CLUSTER", requires = "scan")]
    aws: Option<Account>,
    /// Run the commands that take a step back; those alone that the run's own record on this machine names
    #[arg(long)]
    allow_exec: bool,
    /// Folder of the run records on this machine
    #[arg(long, default_value = "reports", value_name = "DIR")]
    reports: PathBuf,
    /// Wait on standard input for the end of the runner first; only `squall run` starts this
    #[arg(long, hide = true, requires = "run")]
    guard: bool,
}

/// An AWS account as an option names it.
#[derive(Debug, Clone)]
struct Account(Wanted);

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [account, region, cluster] = text.splitn(3, '/').collect::<Vec<_>>()[..] else {
            return Err("write it as 123456789012/us-east-1/NAME".to_owned());
        };
        let account = account.parse::<AccountId>().map_err(|e| e.to_string())?;
        let region = region.parse::<Region>().map_err(|e| e.to_string())?;
        if cluster.is_empty() {
            return Err("the cluster's name is missing behind the second `/`".to_owned());
        }
        let wanted = Wanted { account: account.to_string(), region: region.to_string(), cluster: cluster.to_owned() };
        Ok(Self(wanted))
    }
}

impl Recover {
    /// The command that guards a run, with the options by which this process found its cluster.
    pub(super) fn guard_of(
        run: &str,
        reports: &Path,
        allow_exec: bool,
        cluster: &Cluster,
        global: &Global,
    ) -> std::io::Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        // One word each: a value may begin with a dash.
        let option = |name: &str, value: &OsStr| {
            let mut word = OsString::from(format!("--{name}="));
            word.push(value);
            word
        };
        command.args(["recover", run, "--guard", "--color=never"]).arg(option("reports", reports.as_os_str()));
        command.arg(option("state-namespace", global.state_namespace.as_ref()));
        if allow_exec {
            command.arg("--allow-exec");
        }
        if let Some(path) = &global.kubeconfig {
            command.arg(option("kubeconfig", path.as_os_str()));
        }
        match cluster.id().context.as_str() {
            IN_CLUSTER => command.env_remove("SQUALL_CONTEXT"),
            context => command.arg(option("context", context.as_ref())),
        };
        Ok(command)
    }

    /// Takes back what is left, and says what.
    pub(super) async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        if !self.guard {
            return Box::pin(self.once(global, term, world, &mut true)).await;
        }
        // Whoever ends a whole tree of processes asks politely first: this one stays as long as the runner does, and until its work is
        // done.
        let _ignored = signals::listen();
        match runner_died(std::io::stdin()) {
            Ok(true) => {}
            Ok(false) => return Exit::Passed,
            Err(e) => return term.errored(&format!("can't hear from the runner: {e}")),
        }
        term.say("the runner died; taking back what it left");
        let began = tokio::time::Instant::now();
        let mut pause = LOOK;
        let mut settled = false;
        loop {
            let once = Box::pin(self.once(global, term, world, &mut settled));
            let tried = tokio::time::timeout(TRY_MOST, once).await;
            let exit = tried.unwrap_or_else(|_| term.errored("a try took too long"));
            if exit == Exit::Passed || began.elapsed() > GUARD_MOST {
                return exit;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(GUARD_PAUSE_MAX);
        }
    }

    async fn once(&self, global: &Global, term: &mut Terminal, world: &World, settled: &mut bool) -> Exit {
        let cluster = match global.connect(false, world).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        if self.allow_exec && (super::runner().is_some() || cluster.id().context == IN_CLUSTER) {
            let why = "`--allow-exec` is not taken inside the cluster: a runner there runs no commands";
            return term.refused(why, Some("recover from a machine of yours, the one with the run's record"));
        }
        let cluster = match &self.aws {
            Some(Account(wanted)) => match cluster.with_cloud(wanted).await {
                Ok(cluster) => cluster,
                Err(e) => return term.refused(&e.message, e.hint.as_deref()),
            },
            None => cluster,
        };
        let store = StateStore::new(cluster.clone(), &global.state_namespace);
        let (mut leftovers, problems) = match self.leftovers(&store, world).await {
            Ok(found) => found,
            // A person was here first.
            Err(RecoverError::Unknown { .. }) if self.guard => return Exit::Passed,
            Err(e) => return term.needs_a_person(&e.to_string()),
        };
        let mut exit = Exit::Passed;
        for problem in problems {
            exit = term.needs_a_person(&problem.to_string());
        }
        if leftovers.is_empty() {
            if exit == Exit::Passed {
                term.say("nothing is left of any run");
            }
            return exit;
        }
        if self.overdue {
            let now = (world.wall)();
            for early in leftovers.iter().filter(|leftover| !leftover.is_overdue(now)) {
                term.say(&format!("{}: left alone: it may still be going on", early.run));
            }
            leftovers.retain(|leftover| leftover.is_overdue(now));
            if leftovers.is_empty() {
                return exit;
            }
        }
        let under_way = |leftover: &Leftover| leftover.acts.pending().iter().any(|act| act.state != State::Injected);
        if self.guard && !*settled && leftovers.iter().any(under_way) {
            // The dead runner's last call may still be under way: what is taken back before it lands would stay.
            tokio::time::sleep(lease::DURATION).await;
        }
        *settled = true;
        let recovery = Recovery {
            cluster: &cluster,
            store: &store,
            reports: &self.reports,
            disk: durable(),
            holder: match &self.run {
                Some(run) if self.guard => run::holder(run, &world.by),
                _ => format!("recover {} {}", world.by, std::process::id()),
            },
            force: self.force,
            allow_exec: self.allow_exec,
            wall: (world.wall)(),
        };
        let recovered = match recovery.run(&leftovers, |text| term.note(&text)).await {
            Ok(recovered) => recovered,
            Err(e) => return term.needs_a_person(&e.to_string()),
        };
        exit.worse(told(&recovered, term))
    }

    /// What is to be taken back, and which logs can't be followed.
    async fn leftovers(
        &self,
        store: &StateStore,
        world: &World,
    ) -> Result<(Vec<Leftover>, Vec<RecoverError>), RecoverError> {
        let only = self.run.as_deref();
        let Found { mut leftovers, known, mut problems } = find(store, &self.reports, only).await?;
        if self.scan {
            match scan(store, self.namespace.as_deref(), &known, (world.wall)()).await {
                Ok(found) => leftovers.extend(found.into_iter().filter(|l| only.is_none_or(|only| only == l.run))),
                Err(e) => problems.push(e),
            }
        }
        match only {
            Some(run) if leftovers.is_empty() && problems.is_empty() => Err(RecoverError::Unknown {
                run: run.to_owned(),
                namespace: store.namespace().to_owned(),
                reports: self.reports.display().to_string(),
            }),
            _ => Ok((leftovers, problems)),
        }
    }
}

/// Says what became of each run.
fn told(recovered: &[Recovered], term: &mut Terminal) -> Exit {
    let mut exit = Exit::Passed;
    for run in recovered {
        for what in &run.events {
            if let What::Undone { step, target, outcome, detail } = what {
                term.say(&format!("{}: step `{step}` on {target}: {outcome:?}: {detail}", run.run));
            }
        }
        match &run.problem {
            Some(problem) => exit = term.needs_a_person(&problem.to_string()),
            None if run.left.is_empty() => term.say(&format!("{}: clean", run.run)),
            None => {}
        }
        for act in &run.left {
            exit = Exit::UndoIncomplete;
            let namespace = &act.target.namespace;
            let place = if namespace.is_empty() { String::new() } else { format!(" in {namespace}") };
            term.say(&format!("{}: LEFT: step `{}` on {}{place}: {}", run.run, act.step, act.target, act.why));
        }
    }
    exit
}
