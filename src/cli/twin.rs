//! `twin`: a model of a real cluster as a file; and where a rehearsal gets its own from.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Global, World};
use crate::lab::{Loaded, Pseudonyms, Scope, Twin, TwinError};
use crate::record::Exit;
use crate::spec::Experiment;
use crate::term::Terminal;

/// `squall twin`.
#[derive(Debug, Args)]
pub(super) struct TwinVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read a cluster, and write what a rehearsal needs of it to a file; nothing is changed, and no Secret read
    Save(Save),
    /// Say what a twin holds, and what it does not know
    Show(Show),
}

/// `squall twin save`.
#[derive(Debug, Args)]
struct Save {
    /// Where to write it
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Read these namespaces only; may be repeated. All when left out
    #[arg(long, short, value_name = "NAME")]
    namespace: Vec<String>,
    /// Read all namespaces, which is what happens anyway
    #[arg(long, short = 'A', conflicts_with = "namespace")]
    all_namespaces: bool,
    /// Put pseudonyms in the place of all names
    #[arg(long)]
    redact: bool,
    /// A name that stays: what the experiments refer to; may be repeated
    #[arg(long, value_name = "NAME", requires = "redact")]
    keep: Vec<String>,
    /// Write who became who to a new file that only you can read
    #[arg(long, value_name = "PATH", requires = "redact")]
    map: Option<PathBuf>,
}

/// `squall twin show`.
#[derive(Debug, Args)]
struct Show {
    /// The twin
    file: PathBuf,
}

impl TwinVerb {
    /// Carries it out.
    pub(super) async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        match &self.verb {
            Verb::Save(save) => save.run(global, term, world).await,
            Verb::Show(show) => match Ground::of_file(&show.file) {
                Err((message, hint)) => term.usage(&message, hint.as_deref()),
                Ok(ground) if term.wants_json() => term.json(&ground.twin),
                Ok(ground) => {
                    ground.twin.summary().iter().for_each(|line| term.say(line));
                    Exit::Passed
                }
            },
        }
    }
}

impl Save {
    async fn run(&self, global: &Global, term: &mut Terminal, world: &World) -> Exit {
        let scope = Scope { namespaces: self.namespace.clone(), fallback: BTreeSet::new() };
        let twin = match taken(global, &scope, world).await {
            Ok(twin) => twin,
            Err((message, hint)) => return term.refused(&message, hint.as_deref()),
        };
        let (twin, names) = if self.redact { twin.redact(&self.keep) } else { (twin, Pseudonyms::default()) };
        let document = match twin.write() {
            Ok(document) => document,
            Err(e) => return term.errored(&e.message),
        };
        let written = self.map.as_ref().map_or(Ok(()), |path| map(path, &names).map_err(|e| (path.clone(), e)));
        let written = written.and_then(|()| std::fs::write(&self.out, &document).map_err(|e| (self.out.clone(), e)));
        if let Err((path, e)) = written {
            return term.refused(&format!("can't write {}: {e}", path.display()), None);
        }
        twin.summary().iter().for_each(|line| term.say(line));
        let (out, size) = (self.out.display(), document.len().div_ceil(1024));
        term.note(&format!("written to {out}, {size} KiB; `squall rehearse FILE --twin {out}` rehearses on it"));
        if self.redact {
            let (from, to) = names.map().iter().find(|(from, _)| !from.contains(['/', ' '])).unzip();
            let example = from.zip(to).map(|(from, to)| format!(": `{from}` is `{to}` in it")).unwrap_or_default();
            let how = if self.map.is_some() {
                "the map says which"
            } else {
                "`--map PATH` writes which, `--keep NAME` leaves one as it is"
            };
            term.note(&format!("{} names have pseudonyms{example}; {how}", names.map().len()));
        }
        Exit::Passed
    }
}

/// Who became who, for its owner's eyes. A file that is there already may be open to others: it is not written over.
fn map(path: &Path, names: &Pseudonyms) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let text = serde_yaml::to_string(names.map()).map_err(std::io::Error::other)?;
    file.write_all(text.as_bytes())
}

/// What went wrong, and what to do.
type Failed = (String, Option<String>);

fn failed(error: TwinError) -> Failed {
    (error.message, error.hint)
}

/// Reads the cluster that the options name. It only reads, so the kubeconfig's current context will do.
async fn taken(global: &Global, scope: &Scope, world: &World) -> Result<Twin, Failed> {
    let cluster = global.connect(true, world).await.map_err(|e| (e.message, e.hint))?;
    Twin::read(&cluster, scope, (world.wall)()).await.map_err(failed)
}

/// The cluster that rehearsals begin as.
#[derive(Debug)]
pub(super) struct Ground {
    /// The cluster.
    pub twin: Twin,
    /// By this records call the lab: the options that make the same one again.
    pub name: String,
}

impl Ground {
    /// A twin from a file.
    ///
    /// # Errors
    ///
    /// When it can't be read, or is none.
    pub(super) fn of_file(path: &Path) -> Result<Self, Failed> {
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| (format!("can't read the twin {shown}: {e}"), None))?;
        let twin = Twin::parse(&text).map_err(|e| (format!("{shown}: {}", e.message), e.hint))?;
        Ok(Self { twin, name: format!("lab --twin {shown}") })
    }

    /// A twin of a cluster that is read now. Its answers come in real time, and the rehearsal's own clock stands still meanwhile: the same
    /// twin makes the same rehearsal, whether read or from a file.
    ///
    /// # Errors
    ///
    /// When the cluster can't be reached, or does not let itself be read.
    pub(super) fn of_cluster(global: &Global, experiments: &[&Experiment], world: &World) -> Result<Self, Failed> {
        let scope =
            Scope { namespaces: Vec::new(), fallback: experiments.iter().flat_map(|one| namespaces(one)).collect() };
        let read = || -> Result<Twin, Failed> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|e| (format!("no runtime: {e}"), None::<String>))?;
            runtime.block_on(taken(global, &scope, world))
        };
        let twin = std::thread::scope(|threads| threads.spawn(read).join());
        let twin = twin.unwrap_or_else(|_| Err(("reading the cluster broke off".to_owned(), None)))?;
        let name = format!("lab --context {}", twin.cluster.context);
        Ok(Self { twin, name })
    }

    /// What a person should know of the twin before the rehearsal: what it lacks, and what of it is not as it was.
    pub(super) fn tell(&self, loaded: &Loaded, term: &mut Terminal) {
        let nodes = self.twin.objects.iter().filter(|object| object["kind"] == "Node").count();
        let dark =
            if loaded.dark.is_empty() { String::new() } else { format!(", not ready: {}", loaded.dark.join(", ")) };
        term.note(&format!(
            "twin of {}: {nodes} nodes{dark}, {} pods as they ran, {} started anew",
            self.twin.taken, loaded.adopted, loaded.anew
        ));
        for missing in &self.twin.missing {
            term.note(&format!("  could not be read: {}: {} ({})", missing.what, missing.effect, missing.why));
        }
        if !loaded.skipped.is_empty() {
            let kinds: Vec<&str> = loaded.skipped.iter().map(String::as_str).collect();
            term.note(&format!("  left out, as the lab has no model of it: {}", kinds.join(", ")));
        }
        if !loaded.unsettled.is_empty() {
            term.note(&format!("  not all available in the cluster either: {}", loaded.unsettled.join(", ")));
        }
        if !self.twin.assumptions.is_empty() {
            term.note(&format!(
                "  assumed from what was seen, which `squall twin show` lists: {}",
                self.twin.assumptions.len()
            ));
        }
    }
}

/// The namespaces in which an experiment acts.
fn namespaces(experiment: &Experiment) -> BTreeSet<String> {
    let steps = experiment.spec.method.iter().flat_map(|step| step.fault.namespaces());
    let limits = experiment.spec.limits.namespaces.iter().flatten().map(ToString::to_string);
    steps.chain(limits).collect()
}
