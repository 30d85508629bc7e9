//! The YAML parser's complaints in words that say what to do.

use granit_parser::{ErrorKind, ScanError};

use super::diagnostic::{Code, Diagnostic};
use super::source::{Source, Span};
use super::yaml::MAX_DEPTH;

/// Most tabs that are reported one by one.
const MOST_TABS: usize = 20;
const QUOTE_IT: &str = "a text with `: `, ` #`, or one of `{ [ & * ! | > % @` in front needs quotes";

/// A scan error as a diagnostic.
pub(super) fn explain(source: &Source, error: &ScanError) -> Diagnostic {
    let at = byte_of(source, error);
    let span = source.clamp(Span::new(at, at + source.text[at..].chars().next().map_or(0, char::len_utf8)));
    let (line, column) = source.position(at);
    // A tab is reported where YAML stumbles, which may be a line before it or a token behind it.
    if let Some(tab) = [line, line + 1].into_iter().find_map(|line| indenting_tab(source, line)) {
        return indented(tab);
    }
    let syntax = |message: &str| Diagnostic::error(Code::Syntax, span, message);
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => {
            Diagnostic::error(Code::TooLarge, span, format!("nested more than {MAX_DEPTH} levels deep"))
                .hint("is this the right file?")
        }
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => Diagnostic::error(Code::Tab, span, "a tab can't stand here in YAML")
            .hint("use spaces, or put a text with a tab in quotes"),
        ErrorKind::DirectiveDisallowed => {
            Diagnostic::error(Code::Tag, span, "directives (`%…`) are not supported").hint("remove the line")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => unclosed_quote(source, at),
        ErrorKind::InvalidTrailingDoubleQuotedScalar => trailing(source, at, '"'),
        ErrorKind::InvalidTrailingSingleQuotedScalar => trailing(source, at, '\''),
        ErrorKind::UnclosedFlowCollection { open } => {
            syntax(&format!("`{open}` is not closed")).hint("add the closing bracket, or quote the text")
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => syntax(&format!("`{open}` is closed by `{close}`"))
            .hint("brackets close in the order in which they were opened"),
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
            if source.text[source.line(line).start..at].contains("${") =>
        {
            Diagnostic::error(Code::UnquotedVariable, span, "a variable is only replaced in quotes")
                .hint("inside `{…}` and `[…]` its brackets end the value: write `\"${name}\"`")
        }
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator => {
            syntax("a `,` or the closing bracket is missing").hint("check the brackets and quotes of this value")
        }
        ErrorKind::MappingValueNotAllowed => syntax("a second `: ` can't stand here").hint(QUOTE_IT),
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            syntax("a key needs `: ` behind it").hint("write `key: value`, with a space behind the colon")
        }
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::MappingKeyNotAllowed
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::ExpectedDocumentStart => syntax("the line does not fit the indentation of those above")
            .hint(format!("fields of one mapping begin in the same column; this one begins in column {column}")),
        ErrorKind::UnknownQuotedScalarEscape => {
            syntax("there is no such escape").hint("a backslash itself is `\\\\`; single quotes have no escapes")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            syntax(&format!("no value can begin with `{}`", character.escape_default())).hint(QUOTE_IT)
        }
        ErrorKind::UndeclaredTagHandle => Diagnostic::error(Code::Tag, span, "tags are not supported").hint(QUOTE_IT),
        kind => syntax(&kind.to_string()).hint(QUOTE_IT),
    }
}

/// Every line that a tab indents: where one does, the others are mistakes too.
pub(super) fn tabs(source: &Source) -> impl Iterator<Item = Diagnostic> {
    let (last, _) = source.position(source.text.len());
    (1..=last).filter_map(|line| indenting_tab(source, line)).map(indented).take(MOST_TABS)
}

fn indented(tab: Span) -> Diagnostic {
    Diagnostic::error(Code::Tab, tab, "a tab can't indent YAML").hint("indent with spaces")
}

/// The byte of an error. The parser may point behind the end, where the file ended too early.
fn byte_of(source: &Source, error: &ScanError) -> usize {
    let at = error.marker().byte_offset().unwrap_or_else(|| {
        source.text.char_indices().nth(error.marker().index()).map_or(source.text.len(), |(at, _)| at)
    });
    let at = source.clamp(Span::at(at)).start;
    if at < source.text.len() { at } else { source.text.trim_end().len() }
}

/// The first tab before the first other character of a line.
fn indenting_tab(source: &Source, line: usize) -> Option<Span> {
    let range = source.line(line);
    let text = &source.text[range.clone()];
    let indent = &text[..text.len() - text.trim_start_matches([' ', '\t']).len()];
    indent.find('\t').map(|tab| Span::new(range.start + tab, range.start + tab + 1))
}

/// Where the quote opened that the end of the file does not close.
fn unclosed_quote(source: &Source, at: usize) -> Diagnostic {
    let opened = source.clamp(Span::new(at, at + 1));
    let (last, _) = source.position(source.text.trim_end().len());
    let message = format!("the quote is not closed up to the end of the file in line {last}");
    Diagnostic::error(Code::Syntax, opened, message).hint(CLOSE_IT)
}

const CLOSE_IT: &str =
    "close it on the line where it begins; a quote inside is `\\\"` in double and `''` in single quotes";

/// Something stands behind a closing quote. Mostly the quote opened lines before, and this one was meant to open another text.
fn trailing(source: &Source, at: usize, quote: char) -> Diagnostic {
    let closed = source.text[..at].rfind(quote);
    let opened = closed.and_then(|closed| source.text[..closed].rfind(quote));
    let (Some(opened), Some(closed)) = (opened, closed) else {
        return Diagnostic::error(Code::Syntax, Span::at(at), "something stands behind a closing quote").hint(CLOSE_IT);
    };
    let place = |at: usize| source.clamp(Span::new(at, at + 1));
    let (line, column) = source.position(closed);
    if source.position(opened).0 == line {
        let message = "something stands behind the closing quote";
        return Diagnostic::error(Code::Syntax, source.clamp(Span::new(at, at + 1)), message).hint(
            "put the quotes around the whole text; a quote inside is `\\\"` in double and `''` in single quotes",
        );
    }
    let message = format!("the quote is not closed on its line, only at {line}:{column}");
    Diagnostic::error(Code::Syntax, place(opened), message).hint(CLOSE_IT).related(place(closed), "closed here")
}
