//! Reads commands. A command is a list of arguments, or one string. An argument may be joined from
//! parts, and a part may have a condition.

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::keys::DeadlineShare;
use crate::keys::forms::Marked;
use crate::keys::key::{At, Form, Later, List, Shape, Table};
use crate::keys::only_if;
use crate::keys::reader::{Fields, Reader};
use crate::keys::values;
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::expand::LONGEST;
use crate::language::shell_split::{split, without_shell};
use crate::language::source::ARGUMENT;
use crate::language::span::Span;
use crate::language::text::Text;
use crate::language::yaml::node::{Kind, Node};

/// A program and its arguments, with the values that are known now.
#[derive(Clone, Default)]
pub struct Command {
    words: Vec<String>,
    /// The command with its marks; `None` if it has none.
    marked: Option<Box<MarkedCommand>>,
}

#[derive(Clone)]
enum MarkedCommand {
    /// One string, which drainit splits into words.
    Line(Text),
    Words(Vec<Word>),
}

/// An argument of a list.
#[derive(Clone)]
enum Word {
    Text(Text),
    /// The place of an argument that only [`Reader::read_now`] can read.
    Unread(usize),
}

impl Word {
    fn text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unread(_) => None,
        }
    }
}

impl Command {
    fn of_line(line: Text, words: Vec<String>) -> Self {
        let has_mark = line.has_share() || line.has_limit();
        Self { words, marked: has_mark.then(|| Box::new(MarkedCommand::Line(line))) }
    }

    fn of_words(words: Vec<Word>) -> Self {
        let texts = || words.iter().map(Word::text);
        let has_mark = texts().any(|it| it.is_none_or(|it| it.has_share() || it.has_limit()));
        let now = texts().flatten().map(Text::to_string).collect();
        Self { words: now, marked: has_mark.then(|| Box::new(MarkedCommand::Words(words))) }
    }

    /// Replaces the marks of the share of the deadline by its times.
    pub(crate) fn put_share(&mut self, reader: &mut Reader<'_>, share: DeadlineShare) {
        match self.marked.take().map(|marked| *marked) {
            None => {}
            Some(MarkedCommand::Line(mut line)) => {
                line.put_share(share);
                // Other digits change nothing about the split.
                let words = split(&line).unwrap_or_default();
                *self = Self::of_line(line, words);
            }
            Some(MarkedCommand::Words(words)) => {
                let unread = words.iter().find_map(|word| match word {
                    Word::Unread(place) => reader.command_of(*place),
                    Word::Text(_) => None,
                });
                let put = |word| match word {
                    Word::Text(mut text) => {
                        text.put_share(share);
                        Some(Some(Word::Text(text)))
                    }
                    Word::Unread(place) => Some(reader.read_now(place, share)?.map(Word::Text)),
                };
                let read: Vec<_> = words.into_iter().map(put).collect();
                // After an error, the command counts as missing.
                let read = read.into_iter().collect::<Option<Vec<_>>>();
                *self = read.map_or_else(Self::default, |words| {
                    let command = Self::of_words(words.into_iter().flatten().collect());
                    if let Some((at, what)) = unread {
                        command.check_program(reader, at, &what);
                    }
                    command
                });
            }
        }
    }

    /// The arguments with their marks as the config has them.
    #[cfg(test)]
    pub(crate) fn with_marks(&self) -> Vec<String> {
        match self.marked.as_deref() {
            None => self.words.clone(),
            Some(MarkedCommand::Line(line)) => vec![line.with_marks()],
            Some(MarkedCommand::Words(words)) => {
                words.iter().filter_map(Word::text).map(Text::with_marks).collect()
            }
        }
    }

    /// Reports a command whose first word names no program.
    fn check_program(&self, reader: &mut Reader<'_>, at: Span, what: &str) -> Option<()> {
        if self.first().is_none_or(String::is_empty) {
            let problem = reader.problems.error(
                Rule::InvalidValue,
                at,
                format!("`{what}` does not name a program"),
            );
            problem.help("write `[PROGRAM, ARGUMENT, …]`");
            return None;
        }
        Some(())
    }

    /// Whether each start of the process must read a limit of the container.
    pub(crate) fn has_limit(&self) -> bool {
        self.marked.is_some()
    }

    /// The command with the limits that the container has now.
    ///
    /// # Errors
    /// Says which limit is not known.
    pub(crate) fn with_limits(&self) -> Result<Self, String> {
        let words = match self.marked.as_deref() {
            None => self.words.clone(),
            Some(MarkedCommand::Line(line)) => split(&line.with_limits()?).unwrap_or_default(),
            Some(MarkedCommand::Words(words)) => {
                let words = words.iter().filter_map(Word::text);
                words
                    .map(|word| Ok(word.with_limits()?.into_now()))
                    .collect::<Result<_, String>>()?
            }
        };
        Ok(words.into())
    }
}

impl Deref for Command {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.words
    }
}

impl From<Vec<String>> for Command {
    fn from(words: Vec<String>) -> Self {
        Self { words, marked: None }
    }
}

impl<const N: usize> From<[String; N]> for Command {
    fn from(words: [String; N]) -> Self {
        Vec::from(words).into()
    }
}

impl FromIterator<String> for Command {
    fn from_iter<T: IntoIterator<Item = String>>(words: T) -> Self {
        words.into_iter().collect::<Vec<_>>().into()
    }
}

/// Commands are equal if they are equal now.
impl PartialEq for Command {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words
    }
}

impl Eq for Command {}

impl<const N: usize> PartialEq<[&str; N]> for Command {
    fn eq(&self, other: &[&str; N]) -> bool {
        self.words == other
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words.fmt(f)
    }
}

/// A program and its arguments: a list of texts, or one string that drainit splits into words.
pub(crate) struct CommandForm;

impl Form for CommandForm {
    type Out = Command;
    const SHAPE: Shape = Shape::Either(&[Shape::Filled("command"), Shape::List(&Element::SHAPE)]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Command> {
        reader.with_share(node.span, |reader| command(reader, at, node))
    }
}

fn command(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Command> {
    let what = at.key;
    let mut is_whole = true;
    let command = match &node.kind {
        Kind::Sequence(items) => {
            let of_shell = |item: &Rc<Node>| item.scalar().is_some_and(reads_dollars);
            reader.is_for_shell = items.iter().any(of_shell);
            let words = List::<Element>::read(reader, at, node);
            reader.is_for_shell = false;
            let words: Vec<_> = words?.into_iter().flatten().collect();
            is_whole = words.iter().all(|word| word.text().is_some());
            Command::of_words(words)
        }
        Kind::Scalar { text: raw, .. } => {
            let text = reader.text(node, what)?;
            let words = without_shell(raw).and_then(|()| split(&text.text));
            let words = words.map_err(|bad| reader.refuse(&text, what, bad)).ok()?;
            Command::of_line(text.text, words)
        }
        Kind::Null | Kind::Mapping(_) => {
            let message = format!("`{what}` must be a command, not {}", node.kind_name());
            reader
                .problems
                .error(Rule::WrongType, node.span, message)
                .help("write `[PROGRAM, ARGUMENT, …]`");
            return None;
        }
    };
    if is_whole {
        command.check_program(reader, node.span, what)?;
    }
    if let ([word], true) = (&*command, is_whole)
        && matches!(node.kind, Kind::Sequence(_))
        && word.contains(char::is_whitespace)
        && !Path::new(word).exists()
    {
        let word = quote(&reader.problems.written(node.items().first().map(Rc::as_ref), word));
        let message = format!("`{what}` is one word, {word}: a program of that name");
        let problem = reader.problems.warning(Rule::OneWordCommand, node.span, message);
        problem.help("write `[PROGRAM, ARGUMENT, …]`");
    }
    if !command.iter().any(|word| reads_dollars(word)) {
        reader.check_dollars(node, what, None);
    }
    Some(command)
}

impl Reader<'_> {
    /// Resolves a relative path from the directory of the config file that contains it.
    pub(crate) fn resolve_path(&self, span: Span, path: &Path) -> PathBuf {
        let config = self.problems.source(span.file()).map(|source| source.path.as_path());
        config.and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }
}

/// Whether this word is the name of a program, such as a shell, that expands `$NAME` itself.
fn reads_dollars(word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    const KNOWN: &[&str] = &[
        "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "busybox", "su", "runuser",
        "env", "envsubst", "awk", "gawk", "mawk", "perl", "ruby", "php", "php-fpm", "python",
        "node", "tclsh", "nginx", "jq", "make",
    ];
    KNOWN.contains(&name)
}

/// An argument. If the argument is joined from parts, and no part's condition holds, the value is
/// `None`.
struct Element;

impl Form for Element {
    type Out = Option<Word>;
    const SHAPE: Shape = Shape::Either(&[Marked::SHAPE, ElementKeys::SHAPE]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Option<Word>> {
        match node.kind {
            Kind::Mapping(_) if reader.share_decides(node) => {
                Some(Some(Word::Unread(reader.read_later(at, node))))
            }
            Kind::Mapping(_) => Some(ElementKeys::read(reader, at, node)?.map(Word::Text)),
            _ => Some(Some(Word::Text(Marked::read(reader, at, node)?))),
        }
    }
}

#[derive(Table)]
#[table(settle = Option<Text>, shared = "joined")]
pub(crate) struct ElementKeys {
    /// One argument, joined from parts with a newline between them.
    #[key(form = List<PartKeys>, required = "add it: `join: [{file: PATH}]`")]
    join: Vec<Option<Text>>,
}

impl ElementKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<Text>> {
        let texts: Vec<_> = self.join.into_iter().flatten().collect();
        let text = Text::join(&texts, "\n");
        // The kernel's limit includes the NUL after the text, so a text of exactly `LONGEST` bytes
        // is too long.
        if text.len() >= LONGEST {
            let message = format!("the result of `join` has {} bytes", text.len());
            let help = "let the program read the file itself: no argument can have 128 KiB";
            reader.problems.error(Rule::TooLarge, fields.value("join"), message).help(help);
            return None;
        }
        Some((!texts.is_empty()).then_some(text))
    }
}

/// A part of an argument.
#[derive(Table)]
#[table(settle = Option<Text>, short = "text")]
struct PartKeys {
    /// The text itself. <!-- C52 -->
    /// Example: `{text: --verbose, only_if: {value: "${DEBUG:-}", is: "1"}}`
    #[key(form = Later<Marked>, exclusive)]
    text: Option<()>,
    /// The content of this file, with variables inserted. <!-- C53 -->
    /// Example: `{file: /etc/envoy/override.yaml}`
    #[key(form = Later<PathBuf>, exclusive)]
    #[allow(dead_code, reason = "if `text` is `None`, `file` is set")]
    file: Option<()>,
    /// The part is left out if this condition does not hold.
    #[key(form = only_if::Now, value = true)]
    only_if: bool,
}

impl PartKeys {
    /// Returns `Some(None)` if the condition does not hold. In this case, only the keys are
    /// checked. The value is not read, because the file or the variable that the value names may be
    /// missing.
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<Text>> {
        let (_, node) = reader.one_of(fields, Self::KEYS, "kind")?;
        match (self.only_if, self.text) {
            (false, _) => Some(None),
            (true, Some(())) => Marked::read(reader, &fields.at, node).map(Some),
            (true, None) => file(reader, node).map(Some),
        }
    }
}

/// The content of a file, without line breaks at its end. Variables in the content are expanded.
fn file(reader: &mut Reader<'_>, node: &Node) -> Option<Text> {
    let path = reader.typed(node, "file", values::path)?;
    let path = reader.resolve_path(node.span, &path);
    let source = match reader.problems.reads.read(&path, &ARGUMENT) {
        Ok(source) => source,
        Err(why) => {
            let path = reader.problems.written(Some(node), &path.to_string_lossy());
            let message = format!("`file` {} {}", quote(&path), why.message);
            let help = "check the path: a relative one starts at the directory of this config; with \
                        `only_if: {path_exists: PATH}` the file may be missing";
            reader
                .problems
                .error(Rule::UnreadableFile, node.span, message)
                .help(why.help_or(|| help.to_owned()));
            return None;
        }
    };
    let (file, raw) = reader.add_file(node.span, source)?;
    let place = |reader: &Reader<'_>, at| match reader.problems.source(file) {
        Some(source) => source.place(file, at),
        None => Span::whole(file),
    };
    let mut text = reader.expand(&raw, place)?.text;
    text.trim_line_breaks();
    Some(text)
}
