//! A Corefile's text, read as CoreDNS reads it (caddy's `caddyfile`): words, server blocks, directives.
//!
//! Left out: files that are imported (only snippets can be), and the environment, which is empty here.

use std::collections::BTreeMap;

/// Why a Corefile can't be used, as CoreDNS would log it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable(pub String);

impl Unusable {
    pub(super) fn new<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self(message.into()))
    }
}

/// A server block as written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Zones with their ports.
    pub keys: Vec<String>,
    pub directives: Vec<Directive>,
}

/// One plugin's line, and the lines in the braces behind it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub name: String,
    pub arguments: Vec<String>,
    pub lines: Vec<Vec<String>>,
}

impl Directive {
    /// The words behind the first line of this name.
    pub(super) fn line(&self, name: &str) -> Option<&[String]> {
        let found = self.lines.iter().filter_map(|line| line.split_first());
        found.into_iter().find(|(first, _)| *first == name).map(|(_, rest)| rest)
    }
}

/// A word, and the line on which it begins.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

/// Splits a text into words.
fn tokens(text: &str) -> Vec<Token> {
    let (mut found, mut line) = (Vec::new(), 1);
    let mut chars = text.strip_prefix('\u{feff}').unwrap_or(text).chars().peekable();
    while let Some(first) = chars.next() {
        let start = line;
        let mut word = String::new();
        match first {
            '\n' => line += 1,
            c if c.is_whitespace() => {}
            '#' => while chars.next_if(|c| *c != '\n').is_some() {},
            '"' => {
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' if chars.peek() == Some(&'"') => word.extend(chars.next()),
                        c => word.push(c),
                    }
                    line += usize::from(c == '\n');
                }
                found.push(Token { text: word, line: start });
            }
            first => {
                word.push(first);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '#') {
                    word.push(c);
                }
                found.push(Token { text: word, line: start });
            }
        }
    }
    found
}

/// Reads a Corefile.
///
/// # Errors
///
/// What caddy's parser would say of it.
pub(super) fn read(text: &str) -> Result<Vec<Block>, Unusable> {
    let mut reader = Reader { rest: tokens(text), snippets: BTreeMap::new() };
    reader.rest.reverse();
    let mut blocks = Vec::new();
    while !reader.rest.is_empty() {
        blocks.extend(reader.block()?);
    }
    Ok(blocks)
}

struct Reader {
    /// The words to come, the next one last.
    rest: Vec<Token>,
    snippets: BTreeMap<String, Vec<Token>>,
}

impl Reader {
    fn next(&mut self) -> Option<Token> {
        self.rest.pop()
    }

    fn next_is(&self, text: &str) -> bool {
        self.rest.last().is_some_and(|token| token.text == text)
    }

    fn line(&self) -> Option<usize> {
        self.rest.last().map(|token| token.line)
    }

    /// A server block; `None` for a snippet.
    fn block(&mut self) -> Result<Option<Block>, Unusable> {
        let mut block = Block::default();
        let (mut line, mut another) = (self.line(), true);
        while let Some(token) = self.rest.last() {
            if token.text == "{" {
                if another && !block.keys.is_empty() {
                    return Unusable::new(format!("{}: Expected another address but had '{{'", token.line));
                }
                break;
            }
            if !another && Some(token.line) != line {
                break;
            }
            line = Some(token.line);
            let Some(token) = self.next() else { break };
            if token.text == "import" && block.keys.is_empty() {
                self.import(token.line)?;
                line = self.line();
                continue;
            }
            another = token.text.ends_with(',');
            block.keys.push(token.text.trim_end_matches(',').to_owned());
        }
        if let [key] = &*block.keys
            && let Some(name) = key.strip_prefix('(').and_then(|key| key.strip_suffix(')'))
        {
            let name = name.to_owned();
            self.snippet(name)?;
            return Ok(None);
        }
        let braces = self.next_is("{");
        if braces {
            self.rest.pop();
        }
        loop {
            let Some(token) = self.next() else {
                return if braces {
                    Unusable::new("Unexpected end of the Corefile, expecting '}'")
                } else {
                    Ok(Some(block))
                };
            };
            match token.text.as_str() {
                "}" if braces => return Ok(Some(block)),
                "}" => return Unusable::new(format!("{}: Unexpected '}}'", token.line)),
                "import" => self.import(token.line)?,
                _ => block.directives.push(self.directive(token)?),
            }
        }
    }

    /// The words of a snippet, between its braces.
    fn snippet(&mut self, name: String) -> Result<(), Unusable> {
        if self.snippets.contains_key(&name) {
            return Unusable::new(format!("redeclaration of previously declared snippet {name}"));
        }
        let mut words = Vec::new();
        let mut depth = 0_u32;
        while let Some(token) = self.next() {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            words.push(token);
            if depth == 0 {
                break;
            }
        }
        if depth > 0 || words.len() < 2 {
            return Unusable::new(format!("snippet {name}: Unexpected end of the Corefile"));
        }
        let inner = words.len() - 1;
        self.snippets.insert(name, words.drain(1..inner).collect());
        Ok(())
    }

    fn import(&mut self, line: usize) -> Result<(), Unusable> {
        let Some(name) = self.next().filter(|token| token.line == line) else {
            return Unusable::new(format!("{line}: Wrong argument count or unexpected line ending after 'import'"));
        };
        match self.snippets.get(&name.text) {
            Some(words) => {
                self.rest.extend(words.iter().rev().cloned());
                Ok(())
            }
            None => Unusable::new(format!("File to import not found: {}", name.text)),
        }
    }

    fn directive(&mut self, first: Token) -> Result<Directive, Unusable> {
        let mut directive = Directive { name: first.text, ..Directive::default() };
        let mut depth = 0_u32;
        let mut line = first.line;
        while let Some(token) = self.rest.last() {
            let new_line = token.line != line;
            match token.text.as_str() {
                "{" => depth += 1,
                _ if new_line && depth == 0 => break,
                "}" if depth > 0 => depth -= 1,
                "}" => return Unusable::new(format!("{line}: Unexpected '}}' because no matching opening brace")),
                word => {
                    let word = word.to_owned();
                    match directive.lines.last_mut() {
                        _ if depth == 0 => directive.arguments.push(word),
                        Some(last) if !new_line => last.push(word),
                        _ => directive.lines.push(vec![word]),
                    }
                }
            }
            line = token.line;
            self.rest.pop();
        }
        if depth > 0 {
            return Unusable::new(format!("{}: Unexpected end of the Corefile within '{}'", line, directive.name));
        }
        Ok(directive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_block_has_its_keys_and_directives() {
        let text = "# ours\nweb.shop:53 .:54 {\n  view squall {\n    expr \"type() == 'A'\"\n  }\n  forward . 1.1.1.1 {\n max_fails 0\n }\n  errors\n}\n";
        let blocks = read(text).unwrap();
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks[0].keys, words(&["web.shop:53", ".:54"]));
        let names: Vec<&str> = blocks[0].directives.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["view", "forward", "errors"]);
        assert_eq!(blocks[0].directives[0].lines, [words(&["expr", "type() == 'A'"])]);
        assert_eq!(blocks[0].directives[1].arguments, words(&[".", "1.1.1.1"]));
        assert_eq!(blocks[0].directives[1].line("max_fails"), Some(&words(&["0"])[..]));
    }

    #[test]
    fn a_file_of_one_block_needs_no_braces_and_keys_may_go_on_behind_a_comma() {
        let blocks = read(".\nerrors\nwhoami\n").unwrap();
        assert_eq!((blocks.len(), blocks[0].directives.len()), (1, 2));
        let blocks = read("a.example,\nb.example {\n whoami\n}\nc.example {\n}\n").unwrap();
        assert_eq!(blocks[0].keys, words(&["a.example", "b.example"]));
        assert_eq!((blocks.len(), blocks[1].directives.len()), (2, 0));
    }

    #[test]
    fn a_snippet_is_put_where_it_is_imported() {
        let blocks =
            read("(snip) {\n errors\n cache 30 {\n success 5\n }\n}\n. {\n import snip\n whoami\n}\n").unwrap();
        let names: Vec<&str> = blocks[0].directives.iter().map(|d| d.name.as_str()).collect();
        assert_eq!((blocks.len(), names), (1, vec!["errors", "cache", "whoami"]));
    }

    #[test]
    fn what_caddy_does_not_take_is_unusable() {
        for wrong in [
            ". {\n errors\n",
            ". {\n forward . 1.1.1.1 {\n max_fails 0\n}\n",
            "a, {\n}\n",
            ". {\n import nobody\n}\n",
            "(a) {\n errors\n}\n(a) {\n errors\n}\n",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
