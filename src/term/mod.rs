//! What is printed: the only place that prints.
//!
//! Results go to stdout, progress to stderr, so that `squall run … > result.txt` keeps the one and shows the other. The terminal reads
//! events and nothing else, like every reporter; what it says at the end is a [`Report`].

mod answers;
mod beside;
mod lines;
mod live;
mod plan;
mod rehearsed;
mod screen;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use std::io::IsTerminal as _;
use std::path::Path;

use anstyle::{AnsiColor, Style};

pub use self::plan::plan;
pub use self::rehearsed::Rehearsed;
use crate::record::Event;
use crate::report::Report;
pub use crate::report::format;
use lines::Lines;
use live::Live;
use screen::Screen;

/// Something that went well.
const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Something that did not.
const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something to look at.
const NOTICE: Style = AnsiColor::Yellow.on_default().bold();
/// What leads the eye.
const STRONG: Style = Style::new().bold();
/// What may be overlooked.
const FAINT: Style = Style::new().dimmed();

/// Paints a text; the screen takes the paint off again where there is no colour.
fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// What is printed during and after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Progress on stderr, results on stdout.
    #[default]
    Text,
    /// Each event as a JSON line on stdout, and nothing else.
    Json,
    /// The verdict alone.
    Quiet,
}

/// How to print.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Colour; `Auto` follows the terminal, `NO_COLOR` and `CLICOLOR_FORCE`.
    pub colour: anstream::ColorChoice,
    /// What is printed.
    pub output: Output,
}

impl Default for Options {
    fn default() -> Self {
        Self { colour: anstream::ColorChoice::Auto, output: Output::Text }
    }
}

/// Prints a run as it happens and what came of it. A closed pipe is no error here: printing must not stop an undo.
pub struct Terminal {
    output: Output,
    out: Screen,
    err: Screen,
    lines: Lines,
    live: Live,
}

impl Terminal {
    /// Prints to this process's stdout and stderr.
    #[must_use]
    pub fn standard(options: Options) -> Self {
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let colour = |auto: anstream::ColorChoice| match options.colour {
            anstream::ColorChoice::Auto => auto != anstream::ColorChoice::Never,
            chosen => chosen != anstream::ColorChoice::Never,
        };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let width = screen::width(&err).filter(|_| err.is_terminal() && !dumb);
        let out_colour = colour(anstream::AutoStream::choice(&out));
        let err_colour = colour(anstream::AutoStream::choice(&err));
        Self::new(
            options.output,
            Screen::new(Box::new(out), out_colour, None),
            Screen::new(Box::new(err), err_colour, width),
        )
    }

    fn new(output: Output, out: Screen, err: Screen) -> Self {
        Self { output, out, err, lines: Lines::default(), live: Live::default() }
    }

    /// Prints what an event means to somebody who watches. Made to listen to a [`crate::record::Recorder`].
    pub fn on_event(&mut self, event: &Event) {
        match self.output {
            Output::Json => {
                if let Ok(line) = serde_json::to_string(event) {
                    self.out.line(&line);
                }
            }
            Output::Quiet => {}
            Output::Text => {
                self.live.push(event);
                let lines = self.lines.of(event);
                let progress = if self.err.is_live() { None } else { self.live.progress(event) };
                for line in lines.iter().chain(&progress) {
                    self.err.line(line);
                }
                if self.err.is_live() {
                    let block = if self.live.is_over() { Vec::new() } else { self.live.block() };
                    self.err.replace_block(&block);
                }
            }
        }
    }

    /// Prints what came of the run: each probe in four lines, each hypothesis, the verdict, and what to do next. `record` is the run's
    /// directory, where its page lies.
    pub fn summary(&mut self, report: &Report, record: Option<&Path>) {
        self.err.replace_block(&[]);
        let lines = match self.output {
            Output::Json => return,
            Output::Quiet => summary::verdict(report),
            Output::Text => summary::all(report, record),
        };
        for line in lines {
            self.out.line(&line);
        }
    }

    /// Prints a result, such as a plan, to stdout. In JSON, what is not an event is left out.
    pub fn result(&mut self, text: &str) {
        if self.output != Output::Json {
            self.out.line(text.trim_end_matches('\n'));
        }
    }

    /// Prints an error and what to do about it to stderr, in every mode.
    pub fn error(&mut self, message: &str, hint: Option<&str>) {
        self.err.replace_block(&[]);
        self.err.line(&error(message, hint));
    }
}

/// `error: …`, and after a blank line `hint: …`. The message is a lower-case fragment without a full stop.
#[must_use]
pub fn error(message: &str, hint: Option<&str>) -> String {
    let hint = hint.map(|hint| format!("\n\n{} {hint}", paint(NOTICE, "hint:"))).unwrap_or_default();
    format!("{} {message}{hint}", paint(BAD, "error:"))
}
