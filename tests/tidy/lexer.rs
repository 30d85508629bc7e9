//! As much of Rust's lexical grammar as the rules need: what is code, what is a string, what is a comment.

use std::ops::Range;

/// A source in which only code is left.
pub(crate) struct Lexed {
    /// As long as the source: comments are spaces, and every character of a string or character literal is a `"`, so that
    /// offsets and lines stay and no brace or word in a literal counts.
    pub(crate) code: String,
    /// The content of each string literal, as written, with the offset of its first quote.
    pub(crate) strings: Vec<(usize, String)>,
}

/// Separates code from comments and literals.
pub(crate) fn lex(source: &str) -> Lexed {
    let bytes = source.as_bytes();
    let mut code = bytes.to_vec();
    let mut strings = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = at + token_length(rest, at.checked_sub(1).map(|before| bytes[before]));
        if rest.starts_with(b"//") || rest.starts_with(b"/*") {
            blank(&mut code[at..end], b' ');
        } else if let Some(content) = string_content(&rest[..end - at]) {
            strings.push((at, source[at + content.start..at + content.end].to_owned()));
            blank(&mut code[at..end], b'"');
        } else if rest[0] == b'\'' && end - at > 1 {
            blank(&mut code[at..end], b'"');
        }
        at = end;
    }
    Lexed { code: String::from_utf8_lossy(&code).into_owned(), strings }
}

fn blank(bytes: &mut [u8], with: u8) {
    bytes.iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = with);
}

/// The length of the comment or literal that starts here, else 1.
fn token_length(rest: &[u8], before: Option<u8>) -> usize {
    match rest[0] {
        b'/' if rest.starts_with(b"//") => rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        b'/' if rest.starts_with(b"/*") => block_comment(rest),
        b'"' => quoted(rest, 1),
        b'\'' => char_literal(rest),
        b'r' | b'b' | b'c' if !before.is_some_and(is_word) => prefixed_string(rest).unwrap_or(1),
        _ => 1,
    }
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a string with escapes whose content starts at `from`.
fn quoted(rest: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `b"…"`, `c"…"`, `r"…"`, `r#"…"#`, `br#"…"#`; `None` when it is but a word or a raw identifier.
fn prefixed_string(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if prefix > 2 || rest.get(open) != Some(&b'"') {
        return None;
    }
    if rest[prefix - 1] != b'r' {
        return (hashes == 0).then(|| quoted(rest, open + 1));
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let found = rest[open + 1..].windows(close.len()).position(|w| w == close);
    Some(found.map_or(rest.len(), |position| open + 1 + position + close.len()))
}

/// The length of a character literal; 1 for the quote of a lifetime.
fn char_literal(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|b| *b == b'\'').map_or(rest.len(), |position| position + 4);
    }
    // A character is at most four bytes; a lifetime has no closing quote behind its first character.
    let width = match rest.get(1) {
        Some(0xf0..) => 4,
        Some(0xe0..) => 3,
        Some(0xc0..) => 2,
        _ => 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 1 }
}

/// Where the content of a string literal lies within its token.
fn string_content(token: &[u8]) -> Option<Range<usize>> {
    let open = token.iter().position(|b| *b == b'"')?;
    if token[0] == b'\'' || !token[..open].iter().all(|b| matches!(b, b'r' | b'b' | b'c' | b'#')) {
        return None;
    }
    let close = token.iter().rposition(|b| *b == b'"').filter(|close| *close > open)?;
    Some(open + 1..close)
}

/// Whether a byte can be part of an identifier.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where a text stands as a whole word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|b| bytes[b]);
        let after = bytes.get(at + word.len()).copied();
        let runs_on =
            |inside: Option<u8>, outside: Option<u8>| inside.is_some_and(is_word) && outside.is_some_and(is_word);
        !runs_on(word.bytes().next(), before) && !runs_on(word.bytes().last(), after)
    })
}

/// The identifier that starts here; empty where none does.
pub(crate) fn identifier(text: &str) -> &str {
    let end = text.bytes().position(|b| !is_word(b)).unwrap_or(text.len());
    &text[..end]
}

/// From an opening brace to behind its closing one.
pub(crate) fn braced(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open..at + 1;
        }
    }
    open..code.len()
}

/// The modules under `#[cfg(test)]`.
pub(crate) fn test_modules(code: &str) -> Vec<Range<usize>> {
    let inline = |at: usize| {
        let open = at + code[at..].find(['{', ';'])?;
        (code.as_bytes()[open] == b'{').then(|| at..braced(code, open).end)
    };
    code.match_indices("#[cfg(test)]").filter_map(|(at, _)| inline(at)).collect()
}

#[test]
fn comments_and_literals_are_told_from_code() {
    let source = "a /* { /* */ } */ \"{\\\"\" 'x' '\\'' '{' &'b str r#\"}\"# br\"}\" b\"}\" // }\nraw r#fn 'é' c";
    let lexed = lex(source);
    assert_eq!(lexed.code.len(), source.len());
    assert!(!lexed.code.contains(['{', '}', '\\']), "{}", lexed.code);
    let code: String = lexed.code.replace('"', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(code, "a &'b str raw r#fn c");
    let strings: Vec<&str> = lexed.strings.iter().map(|(_, s)| s.as_str()).collect();
    assert_eq!(strings, ["{\\\"", "}", "}", "}"]);
}

#[test]
fn words_are_whole() {
    assert_eq!(words("cat concat cat_ (cat) cat!", "cat").collect::<Vec<_>>(), [0, 17, 22]);
}
