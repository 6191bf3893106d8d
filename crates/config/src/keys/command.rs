//! Reads commands. A command is a list of arguments, or one string. An argument may be joined from
//! parts, and a part may have a condition.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::keys::forms::Verbatim;
use crate::keys::key::{At, Either, Form, Later, List, Shape, Table};
use crate::keys::only_if;
use crate::keys::reader::{Fields, Reader};
use crate::keys::values;
use crate::language::diagnostics::diagnostic::quote;
use crate::language::expand::LONGEST;
use crate::language::shell_split::{split, without_shell};
use crate::language::source::ARGUMENT;
use crate::language::span::Span;
use crate::language::yaml::node::{Kind, Node};

/// A program and its arguments: a list of texts, or one string that drainit splits into words.
pub(crate) struct CommandForm;

impl Form for CommandForm {
    type Out = Vec<String>;
    const SHAPE: Shape = Shape::Either(&[Shape::Filled("command"), Shape::List(&Element::SHAPE)]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<String>> {
        reader.with_share(node.span, |reader| command(reader, at, node))
    }
}

fn command(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<String>> {
    let what = at.key;
    let words = match &node.kind {
        Kind::Sequence(items) => {
            let of_shell = |item: &Rc<Node>| item.scalar().is_some_and(reads_dollars);
            reader.is_for_shell = items.iter().any(of_shell);
            let words = List::<Element>::read(reader, at, node);
            reader.is_for_shell = false;
            words?.into_iter().flatten().collect()
        }
        Kind::Scalar { text: raw, .. } => {
            let text = reader.text(node, what)?;
            let words = without_shell(raw).and_then(|()| split(&text.text));
            words.map_err(|bad| reader.refuse(&text, what, bad)).ok()?
        }
        Kind::Null | Kind::Mapping(_) => {
            let message = format!("`{what}` must be a command, not {}", node.kind_name());
            reader.problems.error(node.span, message).help("write `[PROGRAM, ARGUMENT, …]`");
            return None;
        }
    };
    if words.first().is_none_or(String::is_empty) {
        let problem = reader.problems.error(node.span, format!("`{what}` does not name a program"));
        problem.help("write `[PROGRAM, ARGUMENT, …]`");
        return None;
    }
    if let [word] = &*words
        && matches!(node.kind, Kind::Sequence(_))
        && word.contains(char::is_whitespace)
        && !Path::new(word).exists()
    {
        let word = quote(&reader.problems.written(node.items().first().map(Rc::as_ref), word));
        let message = format!("`{what}` is one word, {word}: a program of that name");
        let problem = reader.problems.warning(node.span, message);
        problem.help("write `[PROGRAM, ARGUMENT, …]`");
    }
    if !words.iter().any(|word| reads_dollars(word)) {
        reader.check_dollars(node, what, None);
    }
    Some(words)
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
type Element = Either<Verbatim, ElementKeys>;

#[derive(Table)]
#[table(settle = Option<String>, shared = "joined")]
struct ElementKeys {
    /// One argument, joined from parts with a newline between them.
    #[key(form = List<PartKeys>, required = "add it: `join: [{file: PATH}]`")]
    join: Vec<Option<String>>,
}

impl ElementKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<String>> {
        let texts: Vec<_> = self.join.into_iter().flatten().collect();
        let text = texts.join("\n");
        // The kernel's limit includes the NUL after the text, so a text of exactly `LONGEST` bytes
        // is too long.
        if text.len() >= LONGEST {
            let message = format!("the result of `join` has {} bytes", text.len());
            let help = "let the program read the file itself: no argument can have 128 KiB";
            reader.problems.error(fields.value("join"), message).help(help);
            return None;
        }
        Some((!texts.is_empty()).then_some(text))
    }
}

/// A part of an argument.
#[derive(Table)]
#[table(settle = Option<String>, short = "text")]
struct PartKeys {
    /// The text itself. <!-- C52 -->
    /// Example: `{text: --verbose, only_if: {value: "${DEBUG:-}", is: "1"}}`
    #[key(form = Later<Verbatim>, exclusive)]
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
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Option<String>> {
        let (_, node) = reader.one_of(fields, Self::KEYS, "kind")?;
        match (self.only_if, self.text) {
            (false, _) => Some(None),
            (true, Some(())) => Verbatim::read(reader, &fields.at, node).map(Some),
            (true, None) => file(reader, node).map(Some),
        }
    }
}

/// The content of a file, without line breaks at its end. Variables in the content are expanded.
fn file(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let path = reader.typed(node, "file", values::path)?;
    let path = reader.resolve_path(node.span, &path);
    let source = match reader.problems.reads.read(&path, &ARGUMENT) {
        Ok(source) => source,
        Err(why) => {
            let path = reader.problems.written(Some(node), &path.to_string_lossy());
            let message = format!("`file` {} {}", quote(&path), why.message);
            let help = "check the path: a relative one starts at the directory of this config; with \
                        `only_if: {path_exists: PATH}` the file may be missing";
            reader.problems.error(node.span, message).help(why.help_or(|| help.to_owned()));
            return None;
        }
    };
    let (file, raw) = reader.add_file(node.span, source)?;
    let place = |reader: &Reader<'_>, at| match reader.problems.source(file) {
        Some(source) => source.place(file, at),
        None => Span::whole(file),
    };
    let mut text = reader.expand(&raw, place)?.text;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Some(text)
}
