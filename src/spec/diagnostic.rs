//! What is wrong with a document, where, and what to type instead.

use std::fmt;

use serde::Serialize;

use super::source::{Source, Span};

/// Whether the document can be used all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but a person should look at it.
    Warning,
}

/// Declares the codes with their numbers and titles.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal),+ $(,)?) => {
        /// The kind of a diagnostic. Its number is stable: it is never given another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name),+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The number as it is printed: `E020`.
            #[must_use]
            pub const fn number(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// What the code stands for, as the reference prints it.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+)),+ }
            }
        }
    };
}

codes! {
    /// The file can't be read.
    Unreadable = "E001",
    /// The file is too large, nested too deeply, or has too many aliases.
    TooLarge = "E002",
    /// The file is not UTF-8.
    NotUtf8 = "E003",
    /// The file contains a control character.
    ControlCharacter = "E004",
    /// The file is not YAML.
    Syntax = "E005",
    /// A tab stands where YAML wants spaces.
    Tab = "E006",
    /// The file holds several documents.
    SeveralDocuments = "E007",
    /// The file holds nothing.
    Empty = "E008",
    /// A key is given twice.
    DuplicateKey = "E009",
    /// An alias has no anchor, or lies inside its own anchor.
    Alias = "E010",
    /// Tags and directives are not supported.
    Tag = "E011",
    /// Merge keys are not supported.
    MergeKey = "E012",
    /// The file is a document of another tool, or another object of Kubernetes.
    Foreign = "E013",
    /// The version or kind of the document is unknown.
    Version = "E014",
    /// There is no such field.
    UnknownField = "E020",
    /// A field is missing.
    MissingField = "E021",
    /// A value has the wrong type.
    WrongType = "E022",
    /// A value can't be read.
    BadValue = "E023",
    /// A value is none of those that are allowed here.
    UnknownChoice = "E024",
    /// The keys do not belong together, or the one that chooses the type is missing.
    Choice = "E025",
    /// A reference to a variable can't be resolved.
    Variable = "E030",
    /// A variable is declared but never used.
    UnusedVariable = "E031",
    /// A variable has no value.
    VariableWithoutValue = "E032",
    /// A reference to a variable stands outside quotes.
    UnquotedVariable = "E033",
    /// A variable's value refers to a variable.
    RecursiveVariable = "E034",
    /// A name is given twice.
    DuplicateName = "E040",
    /// There is no probe of this name.
    UnknownProbe = "E041",
    /// The step's fault does not allow this field.
    StepField = "E042",
    /// The times do not fit together.
    Timing = "E043",
    /// The probes send more than allowed.
    TooFast = "E044",
    /// A step acts outside `limits`.
    OutsideLimits = "E045",
    /// The fault's arguments contradict each other.
    FaultArguments = "E046",
    /// A secret stands in clear text.
    Secret = "E047",
    /// The fields of a request contradict each other.
    Request = "E048",
    /// A stop condition could never, or would always, end the run.
    StopCondition = "E049",
    /// The chosen engine can't measure the probe.
    Engine = "E050",
    /// A plain text that other readers of YAML take for something else.
    AmbiguousText = "W001",
    /// A value that is probably a secret stands in clear text.
    LikelySecret = "W002",
    /// A hypothesis holds when the service is bad.
    Inverted = "W003",
    /// A share over a whole phase says less the longer the phase is.
    Diluted = "W004",
    /// A field has no effect.
    NoEffect = "W005",
    /// Nothing is probed or judged.
    Unjudged = "W006",
}

/// A place in a file, lines and columns from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Line of the first character.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Line of the character behind the last.
    pub end_line: usize,
    /// Column of the character behind the last.
    pub end_column: usize,
}

/// One thing that is wrong with a document, or worth a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether the document can be used all the same.
    pub severity: Severity,
    /// What kind of mistake it is.
    pub code: Code,
    /// What is wrong: a lower-case sentence fragment, what was written in backticks.
    pub message: String,
    /// What to type instead.
    pub hint: Option<String>,
    /// Where; `None` for what concerns the file as a whole.
    pub span: Option<Span>,
    /// A second place that matters, with what it is: `first given here`.
    pub related: Option<(Span, String)>,
}

impl Diagnostic {
    pub(super) fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), hint: None, span: Some(span), related: None }
    }

    pub(super) fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    /// An error about the file as a whole.
    pub(super) fn nowhere(code: Code, message: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(code, Span::default(), message) }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn maybe_hint(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }

    pub(super) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some((span, label.into()));
        self
    }
}

/// Most diagnostics that are kept of one file: nobody reads more, and a wrong file can have one on every line.
const MOST: usize = 100;

/// Everything that is wrong with one document, in the order of the file. Never empty where it is an error.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    pub(super) source: Source,
    list: Vec<Diagnostic>,
    /// How many more there were than [`MOST`].
    pub(super) left_out: usize,
}

/// A diagnostic as `check --json` prints it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    severity: Severity,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    file: &'a str,
    #[serde(flatten)]
    location: Option<Location>,
}

impl Diagnostics {
    /// Sorts by place and leaves out repetitions.
    pub(super) fn new(source: Source, mut list: Vec<Diagnostic>) -> Self {
        for diagnostic in &mut list {
            diagnostic.span = diagnostic.span.map(|span| source.clamp(span));
            diagnostic.related = diagnostic.related.take().map(|(span, label)| (source.clamp(span), label));
        }
        list.sort_by(|a, b| (a.span, a.severity, a.code, &a.message).cmp(&(b.span, b.severity, b.code, &b.message)));
        list.dedup();
        let left_out = list.len().saturating_sub(MOST);
        if left_out > 0 {
            // Warnings go first: an error that is not shown would be found only after the next edit.
            list.sort_by_key(|d| d.severity);
            list.truncate(MOST);
            list.sort_by_key(|d| (d.span, d.severity));
        }
        Self { source, list, left_out }
    }

    /// The diagnostics in the order of the file.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|d| d.severity == severity).count()
    }

    /// How the user named the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.source.name
    }

    /// Line and column of a diagnostic of this file; `None` where it concerns the file as a whole.
    #[must_use]
    pub fn location(&self, diagnostic: &Diagnostic) -> Option<Location> {
        let span = diagnostic.span?;
        let (line, column) = self.source.position(span.start);
        let (end_line, end_column) = self.source.position(span.end);
        Some(Location { line, column, end_line, end_column })
    }

    /// All of them as text: `file:line:col: error[E020]: …`, the source line with a caret, `help: …`.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        super::render::render(self, colour)
    }
}

/// An array of objects with `severity`, `code`, `message`, `hint`, `file`, `line`, `column`, `endLine` and `endColumn`.
impl Serialize for Diagnostics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.list.iter().map(|diagnostic| Entry {
            severity: diagnostic.severity,
            code: diagnostic.code.number(),
            message: &diagnostic.message,
            hint: diagnostic.hint.as_deref(),
            file: self.file(),
            location: self.location(diagnostic),
        }))
    }
}

impl std::error::Error for Diagnostics {}

/// The plain rendering.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(text: &str, spans: &[(usize, usize)]) -> Diagnostics {
        let list = spans
            .iter()
            .map(|(start, end)| Diagnostic::error(Code::Syntax, Span::new(*start, *end), "bad").hint("good"));
        Diagnostics::new(Source::new("x.yaml", text.to_owned()), list.collect())
    }

    #[test]
    fn codes_are_unique_and_ordered() {
        let numbers: Vec<_> = Code::ALL.iter().map(|code| code.number()).collect();
        assert!(numbers.is_sorted() && numbers.windows(2).all(|pair| pair[0] != pair[1]), "{numbers:?}");
        assert!(Code::ALL.iter().all(|code| code.title().ends_with('.')));
    }

    #[test]
    fn sorted_without_repetition_and_bounded() {
        let sorted = some("abc", &[(2, 3), (0, 1), (2, 3)]);
        assert_eq!(sorted.list().iter().map(|d| d.span.unwrap().start).collect::<Vec<_>>(), [0, 2]);
        let spans: Vec<_> = (0..150).map(|i| (i, i + 1)).collect();
        let many = some(&"x".repeat(200), &spans);
        assert_eq!((many.list().len(), many.left_out), (100, 50));
        assert!(many.render(false).ends_with("x.yaml: 50 more are not shown\n"));
    }

    #[test]
    fn json_has_the_place() {
        let json = serde_json::to_value(some("a\nöb", &[(4, 5)])).unwrap();
        assert_eq!(
            json,
            serde_json::json!([{
                "severity": "error", "code": "E005", "message": "bad", "hint": "good", "file": "x.yaml",
                "line": 2, "column": 2, "endLine": 2, "endColumn": 3,
            }])
        );
    }
}
