//! The text of a file, and places in it.

use std::ops::Range;

use super::diagnostic::{Code, Diagnostic};

/// Largest file, in bytes. An experiment is a few kilobytes; the limit is what keeps a wrong file from costing memory.
pub const MAX_BYTES: usize = 1 << 20;

/// Bytes of a source from `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl Span {
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(super) const fn at(offset: usize) -> Self {
        Self { start: offset, end: offset }
    }

    pub(super) const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A file with the starts of its lines.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// How the user named it.
    pub name: String,
    /// Its text without a byte order mark.
    pub text: String,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(name: &str, text: String) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { name: name.to_owned(), text, lines }
    }

    /// Reads the bytes of a file: bounded, UTF-8 with or without a byte order mark, and free of control characters.
    ///
    /// On failure the source is what can be shown of the file, with what is wrong.
    pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Self, (Self, Vec<Diagnostic>)> {
        if bytes.len() > MAX_BYTES {
            let message = format!("the file is larger than the limit of {MAX_BYTES} bytes");
            let hint = "an experiment is a few kilobytes: is this the right file?";
            return Err((
                Self::new(name, String::new()),
                vec![Diagnostic::nowhere(Code::TooLarge, message).hint(hint)],
            ));
        }
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let source = Self::new(name, String::from_utf8_lossy(bytes).into_owned());
        if let Err(error) = std::str::from_utf8(bytes) {
            // Up to the bad byte, the lossy text and the bytes are the same.
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let encoding = match bytes {
                [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "the file looks like UTF-16: save it as UTF-8",
                _ => "save the file as UTF-8",
            };
            let span = Span::new(at, at + '\u{FFFD}'.len_utf8());
            let found =
                Diagnostic::error(Code::NotUtf8, span, format!("byte {at} (0x{byte:02X}) is not UTF-8")).hint(encoding);
            return Err((source, vec![found]));
        }
        let found: Vec<Diagnostic> = source.control_characters().collect();
        if found.is_empty() { Ok(source) } else { Err((source, found)) }
    }

    /// Characters that YAML does not allow in a file.
    fn control_characters(&self) -> impl Iterator<Item = Diagnostic> {
        let is_bad = |c: char| {
            (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
                || matches!(c, '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
        };
        self.text.char_indices().filter(move |(_, c)| is_bad(*c)).map(|(at, c)| {
            let message = format!("control character U+{:04X} at byte {at}", u32::from(c));
            Diagnostic::error(Code::ControlCharacter, Span::new(at, at + c.len_utf8()), message)
                .hint("remove it; in double quotes, an escape such as `\\t` or `\\x1b` stands for it")
        })
    }

    /// Line and column of a byte, both from 1; columns count characters.
    pub(super) fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset) - 1;
        let before = self.text.get(self.lines[line]..offset).unwrap_or_default();
        (line + 1, before.chars().count() + 1)
    }

    /// The bytes of a line, numbered from 1, without its end.
    pub(super) fn line(&self, number: usize) -> Range<usize> {
        let start = self.lines.get(number - 1).copied().unwrap_or(self.text.len());
        let end = self.lines.get(number).map_or(self.text.len(), |next| next - 1);
        start..end.max(start)
    }

    /// The span, moved inside the text and onto the bounds of characters.
    pub(super) fn clamp(&self, span: Span) -> Span {
        let floor = |mut offset: usize| {
            offset = offset.min(self.text.len());
            while !self.text.is_char_boundary(offset) {
                offset -= 1;
            }
            offset
        };
        let start = floor(span.start);
        Span::new(start, floor(span.end).max(start))
    }

    /// What stands in a span.
    pub(super) fn slice(&self, span: Span) -> &str {
        self.text.get(span.range()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("x", "a: é\nb: 日本 x\n".to_owned());
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(source.text.find('x').unwrap()), (2, 7));
        assert_eq!(source.position(usize::MAX), (3, 1));
        assert_eq!(source.slice(Span::new(source.line(1).start, source.line(1).end)), "a: é");
        assert_eq!(source.clamp(Span::new(4, 99)), Span::new(3, source.text.len()));
    }

    #[test]
    fn a_byte_order_mark_is_no_character() {
        let source = Source::decode("x", b"\xEF\xBB\xBFa: 1").unwrap();
        assert_eq!(source.text, "a: 1");
    }
}
