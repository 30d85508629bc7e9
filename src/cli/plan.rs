//! `plan`: everything that an experiment would do, and nothing done.

use std::path::PathBuf;

use clap::Args;

use super::{Global, Sets, World};
use crate::cluster::Cluster;
use crate::plan::{self, Options, Plan, Source, draw};
use crate::record::Exit;
use crate::spec::Experiment;
use crate::term::Terminal;

/// `squall plan`.
#[derive(Debug, Args)]
pub(super) struct PlanVerb {
    /// Experiment file; `-` reads standard input
    file: PathBuf,
    /// Write the plan, for `run --plan`
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// Print the RBAC roles that the run needs, as YAML, and nothing else
    #[arg(long, conflicts_with = "out")]
    rbac: bool,
    /// Print the IAM policy that the run needs of AWS, as JSON, and nothing else
    #[arg(long, conflicts_with_all = ["out", "rbac"])]
    iam: bool,
    /// Seed of every random choice; a new one each time when left out
    #[arg(long)]
    seed: Option<u64>,
    /// Let steps run commands on this machine; the plan shows which
    #[arg(long)]
    allow_exec: bool,
    #[command(flatten)]
    sets: Sets,
}

impl PlanVerb {
    /// Draws the plan and prints it.
    pub(super) async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        let loaded = super::document::load_all(std::slice::from_ref(&self.file), &self.sets, term).pop().flatten();
        let Some(loaded) = loaded else { return Exit::Usage };
        // A plan only reads, so the kubeconfig's current context will do; it is printed first.
        let cluster = match global.connect(true, world).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        let cluster = match super::with_cloud(&cluster, &loaded.experiment).await {
            Ok(cluster) => cluster,
            Err(e) => return term.refused(&e.message, e.hint.as_deref()),
        };
        let seed = self.seed.unwrap_or_else(rand::random);
        let source = Source { name: self.file.display().to_string(), sha256: Some(loaded.sha256.clone()) };
        let plan = match drawn(&loaded.experiment, source, &cluster, global, (seed, self.allow_exec), world).await {
            Ok(plan) => plan,
            Err(e) => return term.refused(&e, None),
        };
        if self.rbac {
            term.say(plan::rbac(&plan).trim_end());
            return Exit::Passed;
        }
        if self.iam {
            term.say(&plan::iam(&plan));
            return Exit::Passed;
        }
        term.plan(&plan);
        if !plan.refusals.is_empty() {
            return Exit::Refused;
        }
        if let Some(path) = &self.out {
            if let Err(e) = plan.write(path) {
                return term.errored(&format!("can't write the plan to {}: {e}", path.display()));
            }
            term.note(&format!("written to {}; `squall run --plan {}` follows it", path.display(), path.display()));
        }
        Exit::Passed
    }
}

/// Draws the plan of an experiment.
pub(super) async fn drawn(
    experiment: &Experiment,
    source: Source,
    cluster: &Cluster,
    global: &Global,
    (seed, allow_exec): (u64, bool),
    world: &World,
) -> Result<Plan, String> {
    let options = Options {
        seed,
        state_namespace: global.state_namespace.clone(),
        runner: super::runner(),
        allow_exec,
        wall: (world.wall)(),
    };
    draw(experiment, &source, cluster, &options).await.map_err(|e| e.to_string())
}
