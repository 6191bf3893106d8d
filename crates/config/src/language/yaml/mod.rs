//! Parses YAML text into [`Node`]s. No other file uses the YAML crate.
//!
//! The time and memory for a hostile file are limited by its length. The parser (granit-parser)
//! looks ahead for a limited distance. Other parsers keep a flow collection in memory for as long
//! as the collection could be a key, and need 700 MB for a file of 4 MB. This code reads the
//! parser's events one by one, without recursion. This code also limits how deeply values are
//! nested and how many values there are; a value that aliases repeat counts each time.

pub(crate) mod errors;
pub mod node;

use std::collections::HashMap;
use std::rc::Rc;

pub(crate) use granit_parser::ErrorKind as Complaint;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Tag as YamlTag};

use crate::language::diagnostics::allow;
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::span::Span;
use crate::language::yaml::node::{Extent, Kind, Node, NodeKey, Tag};

/// Values may be nested at most this deeply. No config needs more, and the limit keeps the stack of
/// recursive functions over the tree small.
const DEEPEST: u16 = 64;
/// A file may have at most this many values. A config of 5,000 processes has about 200,000.
const MOST_VALUES: u32 = 400_000;

/// Parses a file with one document. Returns `None` after a fatal error. An empty file is a null
/// value.
pub fn parse(problems: &mut Problems, file: usize) -> Option<Rc<Node>> {
    let empty = || Rc::new(Node::new(Span::whole(file), Kind::Null));
    Some(documents(problems, file, true)?.pop().unwrap_or_else(empty))
}

/// Parses all documents of a Kubernetes manifest, without those that have a syntax error. Returns
/// `None` after a fatal error.
pub fn parse_manifest(problems: &mut Problems, file: usize) -> Option<Vec<Rc<Node>>> {
    documents(problems, file, false)
}

fn documents(problems: &mut Problems, file: usize, is_config: bool) -> Option<Vec<Rc<Node>>> {
    // The parser needs the text while the builder changes `problems`, which owns the text.
    // Therefore the parser and `problems` share the text.
    let text = Rc::clone(&problems.source(file)?.text);
    let mut builder = Builder {
        problems,
        file,
        stack: Vec::new(),
        anchors: HashMap::new(),
        roots: Vec::new(),
        is_config,
        skipped: 0,
    };
    let mut rest = &**text;
    while let Some(line) = builder.read(rest).ok()? {
        // The parser cannot continue after a syntax error, but the next document stands alone.
        let mut lines = rest.split_inclusive('\n').enumerate().skip(line.max(2) - 1);
        let next = lines.find(|(_, line)| !is_config && line.starts_with("---"));
        let Some((next, _)) = next else { return (!is_config).then_some(builder.roots) };
        rest = &rest[rest.split_inclusive('\n').take(next).map(str::len).sum()..];
        builder.skipped += next;
        builder.stack.clear();
    }
    Some(builder.roots)
}

/// An error after which the rest of the file cannot be parsed. The error is already in `problems`.
struct Fatal;

/// A mapping or a list whose end the parser has not reached yet.
struct Frame {
    span: Span,
    anchor: usize,
    tag: Option<Tag>,
    extent: Extent,
    content: NodeContent,
}

enum NodeContent {
    Sequence(Vec<Rc<Node>>),
    /// The entries in file order, including entries with the same key. `merged` has the value of
    /// each `<<` key, with the place of the key.
    Mapping {
        entries: Entries,
        merged: Vec<(Span, Rc<Node>)>,
        pending: Pending,
    },
}

impl NodeContent {
    /// Whether the next node may not have a tag (`!reset` or `!override`), because the node is a
    /// key or an item of a list. If so, returns the help text for such a tag; `None` if the node
    /// may have a tag.
    fn refuses_tags(&self) -> Option<&'static str> {
        match self {
            Self::Mapping { pending: Pending::Key, .. } => {
                Some("write the tag after the key: `KEY: !reset`")
            }
            Self::Mapping { .. } => None,
            Self::Sequence(_) => Some(
                "write `!override` before the whole list, whose items have no names; in \
                 `environment` write the mapping `{NAME: !reset}`",
            ),
        }
    }
}

/// YAML's merge key. Its value is a mapping, or a list of mappings. The entries of these mappings
/// are added to the mapping that has the key.
const MERGE: &str = "<<";

type Entries = Vec<(NodeKey, Rc<Node>)>;

/// The use of the next node of a mapping.
enum Pending {
    Key,
    Value(NodeKey),
    /// The node is the value of a `<<` key at this place.
    Merge(Span),
    /// The node is the value of a key that was refused, and is dropped.
    Refused,
}

struct Builder<'a> {
    problems: &'a mut Problems,
    file: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    roots: Vec<Rc<Node>>,
    /// Whether there may be only one document, in which unknown tags are errors.
    is_config: bool,
    /// The number of lines before the text that the parser reads.
    skipped: usize,
}

impl Builder<'_> {
    /// Reads documents. Returns the line of the first syntax error, after which no text is read.
    fn read(&mut self, text: &str) -> Result<Option<usize>, Fatal> {
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            match event {
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => return Ok(Some(self.syntax_error(&error))),
            }
        }
        Ok(None)
    }

    fn span(&self, span: granit_parser::Span) -> Span {
        let one_line = span.start.line() == span.end.line();
        let len = if one_line { span.end.index().saturating_sub(span.start.index()) } else { 1 };
        Span::new(self.file, self.skipped + span.start.line(), span.start.col() + 1, len.max(1))
    }

    fn syntax_error(&mut self, error: &ScanError) -> usize {
        let mark = error.marker();
        let at = self.skipped + mark.line().max(1);
        let line = self.problems.source(self.file).and_then(|s| s.line(at)).unwrap_or_default();
        let (message, help) = errors::explain(error.kind(), line);
        self.problems
            .error(Rule::SyntaxError, Span::new(self.file, at, mark.col() + 1, 1), message)
            .help(help);
        mark.line()
    }

    fn event(&mut self, event: Event<'_>, span: granit_parser::Span) -> Result<(), Fatal> {
        // The tag comes before the value, so the two have different places.
        let tag_span = span.tag_start.map(|start| granit_parser::Span::new(start, span.start));
        let tag_span = self.span(tag_span.unwrap_or(span));
        let lines = (self.skipped + span.start.line(), self.skipped + span.end.line());
        let span = self.span(span);
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                if !self.roots.is_empty() && self.is_config {
                    let problem = self.problems.error(
                        Rule::SyntaxError,
                        span,
                        "a second document begins here",
                    );
                    problem.help("remove the `---`; pass several files with several -c");
                    return Err(Fatal);
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let (tag, is_text) = self.tag(tag.as_deref(), tag_span);
                let quoted = is_text || style != ScalarStyle::Plain;
                let null = !quoted && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let text = text.into_owned();
                if allow::is_like_a_comment(&text) {
                    self.problems.add_value(self.file, lines.0, lines.1);
                }
                if !quoted && self.is_config {
                    self.typography(&text, span);
                }
                let kind = if null { Kind::Null } else { Kind::Scalar { text, quoted } };
                self.complete(Node { span, kind, tag, extent: Extent::ONE }, anchor, span)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let (tag, _) = self.tag(tag.as_deref(), tag_span);
                self.open(anchor, tag, span, NodeContent::Sequence(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                let (entries, merged) = (Vec::new(), Vec::new());
                let content = NodeContent::Mapping { entries, merged, pending: Pending::Key };
                let (tag, _) = self.tag(tag.as_deref(), tag_span);
                self.open(anchor, tag, span, content)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.stack.pop() {
                Some(frame) => self.close(frame),
                None => Ok(()),
            },
            Event::Alias(id) => match self.anchors.get(&id) {
                Some(node) => {
                    let node = Rc::clone(node);
                    self.attach(node, span)
                }
                None => {
                    self.problems.error(
                        Rule::SyntaxError,
                        span,
                        "this alias is inside its own anchor",
                    );
                    Err(Fatal)
                }
            },
            // Other events need no action: the start and the end of the file, the end of a
            // document, and events of parser options that are off.
            _ => Ok(()),
        }
    }

    /// Reports characters that an editor or a web page has put in place of quotes and blanks. In
    /// YAML, these characters are ordinary letters.
    fn typography(&mut self, text: &str, span: Span) {
        const QUOTES: [char; 7] = ['“', '”', '„', '‘', '’', '«', '»'];
        const SPACES: [char; 3] = ['\u{a0}', '\u{2007}', '\u{202f}'];
        // Most texts are ASCII.
        if text.is_ascii() {
            return;
        }
        if text.starts_with(QUOTES) {
            let message = format!("{} begins with a typographic quote", quote(text));
            let help =
                "write `\"` or `'`; if it belongs to the text, put the whole text into such quotes";
            self.problems.error(Rule::SyntaxError, span, message).help(help);
        } else if text.contains(SPACES) {
            let message = format!("{} has a no-break space", quote(text));
            let help =
                "write an ordinary space; if it belongs to the text, put the text into quotes";
            self.problems.error(Rule::SyntaxError, span, message).help(help);
        }
    }

    fn open(
        &mut self,
        anchor: usize,
        tag: Option<Tag>,
        span: Span,
        content: NodeContent,
    ) -> Result<(), Fatal> {
        if self.stack.len() >= usize::from(DEEPEST) {
            return Err(self.too_deep(span));
        }
        self.stack.push(Frame { span, anchor, tag, extent: Extent::ONE, content });
        Ok(())
    }

    fn close(&mut self, frame: Frame) -> Result<(), Fatal> {
        let Frame { span, anchor, tag, mut extent, content } = frame;
        let kind = match content {
            NodeContent::Sequence(items) => Kind::Sequence(items),
            NodeContent::Mapping { mut entries, merged, .. } => {
                let mut first = HashMap::with_capacity(entries.len());
                entries.retain(|(key, _)| {
                    let first = *first.entry(Rc::clone(&key.text)).or_insert(key.span);
                    self.is_first(key.span, &key.text, first)
                });
                for source in self.merge_sources(&merged) {
                    extent.depth = extent.depth.max(source.extent.depth);
                    for (key, node) in source.entries() {
                        if !first.contains_key(&key.text) {
                            first.insert(Rc::clone(&key.text), key.span);
                            extent.add(node.extent);
                            self.bound(extent, span)?;
                            entries.push((key.clone(), Rc::clone(node)));
                        }
                    }
                }
                Kind::Mapping(entries)
            }
        };
        self.complete(Node { span, kind, tag, extent }, anchor, span)
    }

    /// `first` is the place of the first key with the name `key` in a mapping. Reports an error if
    /// `at` is another place. Returns whether both places are the same.
    fn is_first(&mut self, at: Span, key: &str, first: Span) -> bool {
        if at != first {
            let problem = self.problems.error(
                Rule::DuplicateKey,
                at,
                format!("duplicate key {}", quote(key)),
            );
            problem.help(format!("remove one of them: it is already set on line {}", first.line()));
        }
        at == first
    }

    /// Returns the mappings that the value of `<<` names, and reports a value of another kind. If
    /// several of these mappings have the same key, the first mapping counts.
    fn merge_sources(&mut self, merged: &[(Span, Rc<Node>)]) -> Vec<Rc<Node>> {
        let Some((first, node)) = merged.first() else { return Vec::new() };
        for (span, _) in merged {
            self.is_first(*span, MERGE, *first);
        }
        let sources = match &node.kind {
            Kind::Sequence(items) => items.clone(),
            _ => vec![Rc::clone(node)],
        };
        for source in &sources {
            if !matches!(source.kind, Kind::Mapping(_)) {
                let what = source.kind_name();
                let problem = self.problems.error(
                    Rule::WrongType,
                    source.span,
                    format!("`<<` merges mappings only, not {what}"),
                );
                problem.help("write `<<: *ANCHOR`, or a list of such aliases");
            }
        }
        sources
    }

    fn complete(&mut self, node: Node, anchor: usize, span: Span) -> Result<(), Fatal> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node, span)
    }

    /// Adds a node to the mapping or list that is open. `span` is the place of the node, or the
    /// place of the alias if an alias stands for the node.
    fn attach(&mut self, node: Rc<Node>, span: Span) -> Result<(), Fatal> {
        let Some(frame) = self.stack.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        // Keys do not count towards the limit of values, because an alias repeats a key only
        // together with its value.
        let is_key = matches!(&frame.content, NodeContent::Mapping { pending: Pending::Key, .. });
        frame.extent.add(if is_key { Extent { size: 0, ..node.extent } } else { node.extent });
        let extent = frame.extent;
        if let (Some(tag), Some(help)) = (node.tag, frame.content.refuses_tags()) {
            let message = format!("`{}` has no meaning here", tag.name());
            self.problems.error(Rule::SyntaxError, span, message).help(help);
        }
        match &mut frame.content {
            NodeContent::Sequence(items) => items.push(node),
            NodeContent::Mapping { entries, merged, pending } => {
                *pending = match std::mem::replace(pending, Pending::Key) {
                    Pending::Key => match &node.kind {
                        Kind::Scalar { text, quoted: false } if text == MERGE => {
                            Pending::Merge(span)
                        }
                        Kind::Scalar { text, .. } => Pending::Value(NodeKey {
                            text: text.as_str().into(),
                            span,
                            is_item: false,
                        }),
                        _ => {
                            let what = node.kind_name();
                            let message = format!("a key must be text, not {what}");
                            let problem = self.problems.error(Rule::WrongType, span, message);
                            problem.help("put text that begins with `{` or `[` into quotes");
                            Pending::Refused
                        }
                    },
                    Pending::Merge(at) => {
                        merged.push((at, node));
                        Pending::Key
                    }
                    Pending::Refused => Pending::Key,
                    Pending::Value(key) => {
                        entries.push((key, node));
                        Pending::Key
                    }
                };
            }
        }
        self.bound(extent, span)
    }

    fn bound(&mut self, extent: Extent, span: Span) -> Result<(), Fatal> {
        if extent.depth > DEEPEST {
            return Err(self.too_deep(span));
        }
        if extent.size > MOST_VALUES {
            let message = format!("more than {MOST_VALUES} values, counting what aliases repeat");
            self.problems
                .error(Rule::TooLarge, span, message)
                .help("is this an alias bomb, or the wrong file?");
            return Err(Fatal);
        }
        Ok(())
    }

    fn too_deep(&mut self, span: Span) -> Fatal {
        let message = format!("nested more than {DEEPEST} levels deep");
        self.problems
            .error(Rule::TooLarge, span, message)
            .help("no key of a config is that deep: is this the right file?");
        Fatal
    }

    /// Returns the overlay tag (`!reset` or `!override`), if `tag` is one of them. Also returns
    /// whether `tag` is `!!str`, which makes plain text a string.
    fn tag(&mut self, tag: Option<&YamlTag>, span: Span) -> (Option<Tag>, bool) {
        let Some(tag) = tag else { return (None, false) };
        match (tag.handle(), tag.suffix()) {
            ("!", "reset") => (Some(Tag::Reset), false),
            ("!", "override") => (Some(Tag::Override), false),
            ("tag:yaml.org,2002:", "str") => (None, true),
            ("tag:yaml.org,2002:", "int" | "float" | "bool" | "null" | "seq" | "map") => {
                (None, false)
            }
            _ if !self.is_config => (None, false),
            _ => {
                let name = quote(&tag.to_string());
                let problem =
                    self.problems.error(Rule::SyntaxError, span, format!("unknown tag {name}"));
                problem.help(
                    "known tags are `!reset` and `!override`, in a file that overlays another",
                );
                (None, false)
            }
        }
    }
}
