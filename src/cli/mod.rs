//! The command line: the tree of verbs, and what each comes to.

mod document;
mod lab;
mod observe;
#[cfg(test)]
mod oracle;
mod plan;
mod predicted;
mod recover;
mod reference;
mod rehearse;
mod run;
mod twin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cluster::{Cluster, ConnectError, Connection, Wanted, connect};
use crate::plan::Runner;
use crate::record::Exit;
use crate::spec::Experiment;
use crate::term::{Options, Output, Terminal};

/// What the outside world is at this instant: the only place where a clock and the environment enter.
pub struct World {
    /// Reads the wall clock.
    pub wall: fn() -> jiff::Timestamp,
    /// `user@host`.
    pub by: String,
}

/// Chaos experiments for Kubernetes and EKS: bounded faults, honest measurement, undo before harm.
#[derive(Debug, Parser)]
#[command(name = "squall", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

impl Cli {
    /// Whether the verb makes its own time: then it has to run on a runtime of one thread whose clock is paused.
    #[must_use]
    pub const fn has_its_own_time(&self) -> bool {
        matches!(self.verb, Verb::Rehearse(_))
    }
}

const EXIT_CODES: &str = "\
Exit codes: 0 passed, 1 Squall's own error, 2 usage or invalid document, 3 refused before any act,
4 not steady before, 5 deviated, 6 aborted and undone, 7 undo incomplete: a person is needed, 8 inconclusive";

#[derive(Debug, Args)]
struct Global {
    /// Context of the kubeconfig; `run` never acts on an implicit one
    #[arg(long, global = true, env = "SQUALL_CONTEXT", value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig to use instead of KUBECONFIG or ~/.kube/config
    #[arg(long, global = true, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
    /// Namespace for the lease and the undo logs
    #[arg(long, global = true, env = "SQUALL_STATE_NAMESPACE", default_value = "squall", value_name = "NAME")]
    state_namespace: String,
    /// Colours; `auto` minds `NO_COLOR` and whether the output is a terminal
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Color,
    /// Print machine-readable JSON on standard output
    #[arg(long, global = true)]
    json: bool,
    /// Print results only
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Validate experiment files without a cluster
    Check(document::Check),
    /// Print the JSON Schema of experiment files
    Schema,
    /// List the faults, or explain one
    Faults(document::Faults),
    /// Resolve an experiment on a cluster and print everything it would do; nothing is touched
    Plan(plan::PlanVerb),
    /// Run experiments, one after another
    Run(run::RunVerb),
    /// Run experiments on an embedded cluster, minutes in a moment; no real cluster is touched
    Rehearse(rehearse::Rehearse),
    /// The embedded cluster by itself
    Lab(lab::LabVerb),
    /// A model of a real cluster as a file, for rehearsals without credentials
    Twin(twin::TwinVerb),
    /// Ask the run that goes on in the cluster to end and undo
    Abort(recover::Abort),
    /// Finish the undo of runs that died
    Recover(recover::Recover),
    /// Render an old run record again
    Report(observe::ReportVerb),
}

/// Carries out the command line.
pub async fn main(cli: Cli, world: World) -> Exit {
    let Cli { global, verb } = cli;
    let mut term = Terminal::standard(global.options());
    match verb {
        Verb::Check(check) => check.run(&mut term),
        Verb::Schema => document::schema(&mut term),
        Verb::Faults(faults) => faults.run(&mut term),
        Verb::Plan(plan) => plan.run(&global, &mut term, &world).await,
        Verb::Run(run) => Box::pin(run.run(&global, term, &world)).await,
        Verb::Rehearse(rehearse) => Box::pin(rehearse.run(&global, term, &world)).await,
        Verb::Lab(lab) => Box::pin(lab.run(&mut term, &world)).await,
        Verb::Twin(twin) => Box::pin(twin.run(&global, &mut term, &world)).await,
        Verb::Abort(abort) => abort.run(&global, &mut term, &world).await,
        Verb::Recover(recover) => recover.run(&global, &mut term, &world).await,
        Verb::Report(report) => report.run(&mut term),
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Global {
    const fn options(&self) -> Options {
        Options {
            colour: match self.color {
                Color::Auto => anstream::ColorChoice::Auto,
                Color::Always => anstream::ColorChoice::Always,
                Color::Never => anstream::ColorChoice::Never,
            },
            output: match (self.json, self.quiet) {
                (true, _) => Output::Json,
                (false, true) => Output::Quiet,
                (false, false) => Output::Text,
            },
        }
    }

    /// Whether the call itself names a cluster: `SQUALL_CONTEXT` alone, which is there for other calls, does not.
    fn names_cluster(&self) -> bool {
        let is_context = |word: &str| word == "--context" || word.starts_with("--context=");
        self.kubeconfig.is_some() || std::env::args().any(|word| is_context(&word))
    }

    /// Opens the cluster that the options name.
    async fn connect(&self, allow_current: bool, world: &World) -> Result<Cluster, ConnectError> {
        self.connect_to(self.context.clone().filter(|c| !c.is_empty()), allow_current, world).await
    }

    /// Opens the cluster of a context.
    async fn connect_to(
        &self,
        context: Option<String>,
        allow_current: bool,
        world: &World,
    ) -> Result<Cluster, ConnectError> {
        let wall = (world.wall)();
        connect(&Connection { context, kubeconfig: self.kubeconfig.clone(), allow_current, wall }).await
    }
}

/// The cluster with the AWS account behind it, where the experiment names one.
async fn with_cloud(cluster: &Cluster, experiment: &Experiment) -> Result<Cluster, ConnectError> {
    let Some(aws) = &experiment.spec.aws else { return Ok(cluster.clone()) };
    let wanted =
        Wanted { account: aws.account.to_string(), region: aws.region.to_string(), cluster: aws.cluster.clone() };
    cluster.with_cloud(&wanted).await
}

/// Variables from `--set`.
#[derive(Debug, Args)]
struct Sets {
    /// Value of a variable of the experiment
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = set)]
    sets: Vec<(String, String)>,
}

fn set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// Where this process runs when it runs in a cluster, by the environment that `deploy/job.yaml` gives it.
fn runner() -> Option<Runner> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let namespace = variable("SQUALL_POD_NAMESPACE")?;
    Some(Runner { namespace, pod: variable("SQUALL_POD_NAME")?, node: variable("SQUALL_NODE_NAME")? })
}
