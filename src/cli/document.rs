//! The verbs that need no cluster: `check`, `schema`, `faults`.

use std::path::PathBuf;

use clap::Args;

use super::Sets;
use super::reference::{reference, section};
use crate::fault::CATALOGUE;
use crate::record::Exit;
use crate::spec::{self, Loaded};
use crate::term::Terminal;

/// `squall check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Experiment files; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    sets: Sets,
}

impl Check {
    /// Validates each file and prints every mistake of every file.
    pub(super) fn run(&self, term: &mut Terminal) -> Exit {
        let loaded = load_all(&self.files, &self.sets, term);
        let valid = loaded.iter().filter(|l| l.is_some()).count();
        for (file, _) in self.files.iter().zip(&loaded).filter(|(_, loaded)| loaded.is_some()) {
            term.say(&format!("{}: valid", file.display()));
        }
        if valid == loaded.len() { Exit::Passed } else { Exit::Usage }
    }
}

/// Loads every file and prints what is wrong with them; `None` for a file that is not valid.
pub(super) fn load_all(files: &[PathBuf], sets: &Sets, term: &mut Terminal) -> Vec<Option<Loaded>> {
    files
        .iter()
        .map(|file| match spec::read(&file.to_string_lossy(), &sets.sets) {
            Ok(loaded) => {
                term.diagnostics(&loaded.warnings);
                Some(loaded)
            }
            Err(diagnostics) => {
                term.diagnostics(&diagnostics);
                None
            }
        })
        .collect()
}

/// `squall schema`.
pub(super) fn schema(term: &mut Terminal) -> Exit {
    term.json(&spec::schema())
}

/// `squall faults`.
#[derive(Debug, Args)]
pub(super) struct Faults {
    /// Key of one fault, such as `podKill`
    key: Option<String>,
    /// Print the reference of all faults as Markdown
    #[arg(long, conflicts_with = "key")]
    markdown: bool,
}

impl Faults {
    /// Lists, or explains.
    pub(super) fn run(&self, term: &mut Terminal) -> Exit {
        if self.markdown {
            term.say(reference().trim_end());
            return Exit::Passed;
        }
        let Some(key) = &self.key else {
            for about in CATALOGUE {
                term.say(&format!("{:12} {}", about.key, about.summary));
            }
            return Exit::Passed;
        };
        if let Some(about) = CATALOGUE.iter().find(|about| about.key == key) {
            term.say(section(about).trim_end());
            return Exit::Passed;
        }
        let known: Vec<&str> = CATALOGUE.iter().map(|about| about.key).collect();
        term.usage(&format!("there is no fault `{key}`"), Some(&format!("there are: {}", known.join(", "))))
    }
}
