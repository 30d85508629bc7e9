//! What the verbs answer: a result, or an error with its exit code.

use std::io::{BufRead as _, IsTerminal as _};

use serde::Serialize;

use super::{Output, Terminal, plan};
use crate::plan::Plan;
use crate::record::Exit;
use crate::spec::Diagnostics;

impl Terminal {
    /// Whether machine-readable output is wanted.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a text to stdout, in every mode: what the verb was asked for.
    pub fn say(&mut self, text: &str) {
        self.out.line(text);
    }

    /// Prints a value as JSON to stdout.
    pub fn json(&mut self, value: &impl Serialize) -> Exit {
        match serde_json::to_string_pretty(value) {
            Ok(text) => {
                self.out.line(&text);
                Exit::Passed
            }
            Err(e) => self.errored(&format!("can't write JSON: {e}")),
        }
    }

    /// Prints something that is not a result to stderr, unless results only are wanted.
    pub fn note(&mut self, text: &str) {
        if self.output == Output::Text {
            self.err.line(text);
        }
    }

    /// Prints a plan: its table, or the whole document.
    pub fn plan(&mut self, drawn: &Plan) {
        match self.output {
            Output::Json => drop(self.json(drawn)),
            Output::Text => self.out.line(plan(drawn).trim_end()),
            Output::Quiet => {}
        }
    }

    /// Prints what is wrong with a document, or worth a look.
    pub fn diagnostics(&mut self, diagnostics: &Diagnostics) {
        if diagnostics.is_empty() {
            return;
        }
        if self.output == Output::Json {
            self.json(diagnostics);
            return;
        }
        let colour = self.err.has_colour();
        self.err.line(diagnostics.render(colour).trim_end());
    }

    /// The call itself was wrong.
    pub fn usage(&mut self, message: &str, hint: Option<&str>) -> Exit {
        self.error(message, hint);
        Exit::Usage
    }

    /// Refused before any act.
    pub fn refused(&mut self, message: &str, hint: Option<&str>) -> Exit {
        self.error(message, hint);
        Exit::Refused
    }

    /// Our own fault.
    pub fn errored(&mut self, message: &str) -> Exit {
        self.error(message, None);
        Exit::Errored
    }

    /// Something may be left behind.
    pub fn needs_a_person(&mut self, message: &str) -> Exit {
        self.error(message, None);
        Exit::UndoIncomplete
    }

    /// Asks a person at a terminal to name the context that is to be acted on; anything else is a no.
    pub fn confirms_context(&mut self, current: &str) -> bool {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return false;
        }
        self.err.line(&format!("no cluster was named. Type the context's name, `{current}`, to act on it:"));
        let mut answer = String::new();
        input.lock().read_line(&mut answer).is_ok() && answer.trim() == current
    }
}
