//! From text to tree: YAML's events with everything refused that an experiment has no use for, and everything bounded.
//!
//! JSON is read the same way, because YAML contains it. What is refused here, once and with its place, needs no second thought later:
//! keys given twice, merge keys, tags, several documents, aliases without an anchor or within their own, and more nodes, levels or
//! aliases than a person would write.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, StrInput, StructureStyle};

use super::diagnostic::{Code, Diagnostic};
use super::node::{Body, Entry, Map, Node, NodeId, Scalar, Style};
use super::source::{Source, Span};
use super::syntax;
use crate::scalar::quoted;

/// Most levels of nesting.
pub const MAX_DEPTH: usize = 64;
/// Most aliases.
pub const MAX_ALIASES: usize = 100;
/// Most nodes, those that anchors and aliases repeat included.
pub const MAX_NODES: usize = 20_000;

/// A document's tree, and the nodes in it that are only there to hold a place: what is wrong with them has been said.
#[derive(Debug)]
pub(super) struct Tree {
    pub root: Node,
    pub broken: BTreeSet<NodeId>,
}

/// Reads the one document of a source. What is found goes to `found`; `None`: there is no tree.
pub(super) fn parse(source: &Source, found: &mut Vec<Diagnostic>) -> Option<Tree> {
    let mut builder = Builder {
        source,
        events: Parser::new_from_str_with_options(&source.text, options()),
        found,
        anchors: BTreeMap::new(),
        broken: BTreeSet::new(),
        tag: None,
        aliases: 0,
        nodes: 0,
    };
    let root = match builder.document() {
        Ok(root) => root,
        Err(fatal) => {
            builder.found.push(*fatal);
            if builder.found.iter().any(|diagnostic| diagnostic.code == Code::Tab) {
                builder.found.extend(syntax::tabs(source));
            }
            None
        }
    };
    let broken = builder.broken;
    root.map(|root| Tree { root, broken })
}

fn options() -> Options {
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    options
}

/// A mistake behind which nothing more can be read.
type Fatal = Box<Diagnostic>;

struct Builder<'s, 'f> {
    source: &'s Source,
    events: Parser<'s, StrInput<'s>>,
    found: &'f mut Vec<Diagnostic>,
    /// Nodes by anchor; `None` while the node is being read.
    anchors: BTreeMap<usize, Option<Node>>,
    broken: BTreeSet<NodeId>,
    /// Place of the newest event's tag.
    tag: Option<Span>,
    aliases: usize,
    nodes: usize,
}

impl<'s> Builder<'s, '_> {
    fn next(&mut self) -> Result<(Event<'s>, Span), Fatal> {
        loop {
            return match self.events.next_event() {
                Some(Ok((Event::Comment(..) | Event::Anchor(..), _))) => continue,
                Some(Ok((event, span))) => {
                    self.tag = span.tag_span().map(|tag| self.span(tag));
                    Ok((event, self.span(span)))
                }
                Some(Err(error)) => Err(Box::new(syntax::explain(self.source, &error))),
                None => Ok((Event::StreamEnd, Span::at(self.source.text.len()))),
            };
        }
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let end = self.source.text.len();
        let range = span.byte_range().unwrap_or(end..end);
        self.source.clamp(Span::new(range.start, range.end))
    }

    fn document(&mut self) -> Result<Option<Node>, Fatal> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), span) => {
                    if root.is_some() {
                        return Err(Box::new(
                            Diagnostic::error(Code::SeveralDocuments, span, "the file holds more than one document")
                                .hint("write each experiment into a file of its own; `squall run DIR` runs them all"),
                        ));
                    }
                }
                (event, span) => root = Some(self.node(event, span, None, 1)?),
            }
        }
        Ok(root)
    }

    fn node(&mut self, event: Event<'s>, span: Span, key: Option<Span>, depth: usize) -> Result<Node, Fatal> {
        self.nodes += 1;
        self.limit(depth, self.nodes, span)?;
        let id = self.nodes;
        self.refuse_tag(&event, span);
        let anchor = event.anchor_id();
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, None);
        }
        let node = match event {
            Event::Alias(target) => return self.alias(target, span, key, depth),
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor {} before this alias", quoted(&format!("&{name}")));
                self.found.push(
                    Diagnostic::error(Code::Alias, span, message)
                        .hint("a text that begins with `*` or `&` needs quotes"),
                );
                self.placeholder(span, key)
            }
            Event::Scalar(text, style, ..) => self.scalar(id, &text, style, span, key),
            Event::SequenceStart(..) => self.list(id, span, key, depth)?,
            Event::MappingStart(style, ..) => self.map(id, style, span, key, depth)?,
            _ => self.placeholder(span, key),
        };
        if let Some(anchor) = anchor {
            // The copy that is kept for aliases costs as much as the node: anchors within anchors must not multiply either.
            self.nodes += node.size;
            self.limit(depth, self.nodes, span)?;
            self.anchors.insert(anchor, Some(node.clone()));
        }
        Ok(node)
    }

    fn limit(&self, depth: usize, nodes: usize, span: Span) -> Result<(), Fatal> {
        let message = if depth > MAX_DEPTH {
            format!("nested more than {MAX_DEPTH} levels deep")
        } else if nodes > MAX_NODES {
            format!("more than {MAX_NODES} values, those repeated by anchors and aliases included")
        } else if self.aliases > MAX_ALIASES {
            format!("more than {MAX_ALIASES} aliases")
        } else {
            return Ok(());
        };
        Err(Box::new(Diagnostic::error(Code::TooLarge, span, message).hint("is this the right file?")))
    }

    fn refuse_tag(&mut self, event: &Event<'s>, span: Span) {
        let span = self.tag.unwrap_or(span);
        if let Some(tag) = event.tag() {
            let message = format!("tags are not supported: {}", quoted(&tag.original()));
            self.found.push(
                Diagnostic::error(Code::Tag, span, message)
                    .hint("remove the tag; quotes make a value text, and a fault is chosen by its key"),
            );
        }
    }

    /// Something in a node's place of which the mistake has been reported.
    fn placeholder(&mut self, span: Span, key: Option<Span>) -> Node {
        self.nodes += 1;
        self.broken.insert(self.nodes);
        let scalar = Scalar { text: String::new(), style: Style::Plain, verbatim: None, is_variable: false };
        Node { id: self.nodes, span, key, body: Body::Scalar(scalar), size: 1, height: 1 }
    }

    fn scalar(&self, id: NodeId, text: &str, style: ScalarStyle, span: Span, key: Option<Span>) -> Node {
        let written = self.source.slice(span);
        let (style, verbatim) = match style {
            ScalarStyle::Plain => (Style::Plain, (written == text).then_some(span.start)),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => {
                let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
                (Style::Text, (inner == text).then_some(span.start + 1))
            }
            ScalarStyle::Literal | ScalarStyle::Folded => (Style::Text, None),
        };
        // The parser says `~` where there is nothing at all.
        let text = if written.is_empty() && style == Style::Plain { "" } else { text };
        let scalar = Scalar { text: text.to_owned(), style, verbatim, is_variable: false };
        Node { id, span, key, body: Body::Scalar(scalar), size: 1, height: 1 }
    }

    /// A copy of the anchored node, with numbers of its own.
    fn alias(&mut self, target: usize, span: Span, key: Option<Span>, depth: usize) -> Result<Node, Fatal> {
        self.aliases += 1;
        let Some(Some(anchored)) = self.anchors.get(&target) else {
            let message = format!("{} stands inside its own anchor", quoted(self.source.slice(span)));
            self.found
                .push(Diagnostic::error(Code::Alias, span, message).hint("a value can't contain itself: write it out"));
            return Ok(self.placeholder(span, key));
        };
        self.limit(depth + anchored.height - 1, self.nodes + anchored.size, span)?;
        let mut node = anchored.clone();
        renumber(&mut node, &mut self.nodes, &mut self.broken);
        node.key = key;
        Ok(node)
    }

    fn list(&mut self, id: NodeId, start: Span, key: Option<Span>, depth: usize) -> Result<Node, Fatal> {
        let mut items: Vec<Node> = Vec::new();
        let end = loop {
            match self.next()? {
                (Event::SequenceEnd, span) => break span,
                (event, span) => items.push(self.node(event, span, None, depth + 1)?),
            }
        };
        let span = Span::new(start.start, end.end.max(items.last().map_or(start.end, |item| item.span.end)));
        let size = 1 + items.iter().map(|item| item.size).sum::<usize>();
        let height = 1 + items.iter().map(|item| item.height).max().unwrap_or(0);
        Ok(Node { id, span, key, body: Body::List(items), size, height })
    }

    fn map(
        &mut self,
        id: NodeId,
        style: StructureStyle,
        start: Span,
        key: Option<Span>,
        depth: usize,
    ) -> Result<Node, Fatal> {
        let mut map = Map::default();
        let mut seen: BTreeMap<String, Span> = BTreeMap::new();
        let end = loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break span;
            }
            let name = self.node(event, span, None, depth + 1)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span, Some(name.span), depth + 1)?;
            match self.key(&name, &seen) {
                Some(text) => {
                    seen.insert(text.clone(), name.span);
                    map.entries.push(Entry { key: text, span: name.span, value });
                }
                None => map.incomplete |= !name.text().is_some_and(|text| seen.contains_key(text)),
            }
        };
        let (first, last) = match (style, map.entries.first(), map.entries.last()) {
            (StructureStyle::Block, Some(first), Some(last)) => {
                (first.span.start, last.value.span.end.max(last.span.end))
            }
            _ => (start.start, end.end),
        };
        let size = 1 + map.entries.iter().map(|entry| entry.value.size).sum::<usize>();
        let height = 1 + map.entries.iter().map(|entry| entry.value.height).max().unwrap_or(0);
        Ok(Node { id, span: Span::new(first, last.max(first)), key, body: Body::Map(map), size, height })
    }

    /// The text of a key; `None` when it was refused.
    fn key(&mut self, name: &Node, seen: &BTreeMap<String, Span>) -> Option<String> {
        let Some(scalar) = name.scalar().filter(|scalar| !scalar.text.is_empty() || scalar.style == Style::Text) else {
            if !self.broken.contains(&name.id) {
                self.found.push(
                    Diagnostic::error(Code::WrongType, name.span, "a key is a text, not a list, a mapping or nothing")
                        .hint("write `key: value`; a text with `{`, `[` or `: ` in it needs quotes"),
                );
            }
            return None;
        };
        if scalar.text == "<<" && scalar.style == Style::Plain {
            self.found.push(
                Diagnostic::error(Code::MergeKey, name.span, "merge keys (`<<`) are not supported")
                    .hint("write the fields out; a whole value can be repeated with an alias"),
            );
            return None;
        }
        if let Some(first) = seen.get(&scalar.text) {
            let (line, column) = self.source.position(first.start);
            let message = format!("{} is given twice, first at {line}:{column}", quoted(&scalar.text));
            self.found.push(
                Diagnostic::error(Code::DuplicateKey, name.span, message)
                    .hint("keep one of them; several values of one kind make a list")
                    .related(*first, "first given here"),
            );
            return None;
        }
        Some(scalar.text.clone())
    }
}

/// Gives a copied tree numbers of its own, and marks the copies of broken nodes as broken.
fn renumber(node: &mut Node, next: &mut usize, broken: &mut BTreeSet<NodeId>) {
    *next += 1;
    if broken.contains(&node.id) {
        broken.insert(*next);
    }
    node.id = *next;
    match &mut node.body {
        Body::Scalar(_) => {}
        Body::List(items) => items.iter_mut().for_each(|item| renumber(item, next, broken)),
        Body::Map(map) => map.entries.iter_mut().for_each(|entry| renumber(&mut entry.value, next, broken)),
    }
}
