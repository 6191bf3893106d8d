//! Commands: a list of arguments, or one string. An element may be composed of parts and may have a
//! condition, and so may a single value.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::load::diagnostics::diagnostic::quote;
use crate::load::expand::LONGEST;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::only_if;
use crate::load::read::only_if::condition;
use crate::load::read::reader::Reader;
use crate::load::shell_split::{split, without_shell};
use crate::load::source::Source;
use crate::load::span::Span;
use crate::load::values;
use crate::load::yaml::node::{Kind, Node};

/// A command.
pub(crate) const COMMAND: Shape = Shape::Either(&[Shape::Path, Shape::List(&ELEMENT)]);

static ELEMENT: Shape =
    Shape::Either(&[Shape::Text, Shape::Named("command_element", &ELEMENT_KEYS)]);
static PART: Shape = Shape::Either(&[Shape::Text, Shape::Named("join_part", &PART_KEYS)]);

const TEXT: Key = Key::new("text", Shape::Text, "The text itself.");
const FILE: Key =
    Key::new("file", Shape::Path, "The content of this file, with variables inserted.");
const JOINED: &str = "One argument, of parts with a newline between them.";

/// The kinds of an element of a command, beside plain text.
static ELEMENT_KEYS: Keys = Keys {
    exclusive: &[
        TEXT,
        FILE,
        Key::new("join", Shape::List(&PART), JOINED),
        Key::new("args", Shape::List(&ELEMENT), "Several arguments."),
    ],
    others: &[only_if::ROW],
};

/// The kinds of a part of a `join`.
static PART_KEYS: Keys = Keys {
    exclusive: &[TEXT, FILE, Key::new("join", Shape::List(&PART), JOINED)],
    others: &[only_if::ROW],
};

/// Each file counts as at least this many bytes, so that a small config cannot read files without
/// end.
const LEAST_FILE: usize = 4096;

impl Reader<'_> {
    /// Reads a program and its arguments: a list, or one string that is split into words.
    pub(crate) fn command(&mut self, node: &Node, what: &str) -> Option<Vec<String>> {
        let first = self.dollars();
        let words = match &node.kind {
            Kind::Sequence(items) => elements(self, items, what)?,
            Kind::Scalar { text: raw, .. } => {
                let text = self.text(node, what)?;
                let words = without_shell(raw).and_then(|()| split(&text.text));
                words.map_err(|bad| self.refuse(&text, what, bad)).ok()?
            }
            Kind::Null | Kind::Mapping(_) => {
                let message = format!("`{what}` must be a command, not {}", node.kind_name());
                self.problems.error(node.span, message).help("write `[PROGRAM, ARGUMENT, …]`");
                return None;
            }
        };
        if words.first().is_none_or(String::is_empty) {
            let problem = self.problems.error(node.span, format!("`{what}` names no program"));
            problem.help("write `[PROGRAM, ARGUMENT, …]`");
            return None;
        }
        if let [word] = &*words
            && matches!(node.kind, Kind::Sequence(_))
            && word.contains(char::is_whitespace)
            && !Path::new(word).exists()
        {
            let message = format!("`{what}` is one word, {}: a program of that name", quote(word));
            let problem = self.problems.warning(node.span, message);
            problem.help("write `[PROGRAM, ARGUMENT, …]`");
        }
        if !words.iter().any(|word| reads_dollars(word)) {
            self.check_dollars(first, what);
            for word in &words {
                self.check_tilde(word, what, node.span);
            }
        }
        Some(words)
    }

    /// Chooses a single value by conditions: `node` itself, or the first element of the list whose
    /// condition holds. `keys` are those of an element with one.
    pub(crate) fn first_chosen<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        keys: &'static Keys,
    ) -> Option<&'n Node> {
        let Kind::Sequence(items) = &node.kind else { return Some(node) };
        let mut found = None;
        for item in items {
            let value = match item.kind {
                Kind::Mapping(_) => chosen(self, item, what, keys)?.map(|(_, value)| value),
                _ => Some(&**item),
            };
            found = found.or(value);
        }
        if found.is_none() {
            let message = format!("no element of `{what}` has a condition that holds");
            let problem = self.problems.error(node.span, message);
            problem.help("add a last element without `only_if`");
        }
        found
    }

    /// Resolves a relative path against the directory of its config.
    pub(crate) fn resolve_path(&self, span: Span, path: &Path) -> PathBuf {
        let config = self.problems.source(span.file()).map(|source| source.path.as_path());
        config.and_then(Path::parent).unwrap_or(Path::new("")).join(path)
    }
}

/// Whether a word is a program that expands `$NAME` itself.
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

/// The arguments of all elements; `None` after an error in one of them.
fn elements(reader: &mut Reader<'_>, items: &[Rc<Node>], what: &str) -> Option<Vec<String>> {
    let mut words = Vec::with_capacity(items.len());
    let mut fine = true;
    for item in items {
        // Goes on after an error, so that every element is checked.
        fine &= element(reader, item, what, &mut words).is_some();
    }
    fine.then_some(words)
}

/// Adds the arguments of an element: one, several with a common condition, or none.
fn element(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &str,
    words: &mut Vec<String>,
) -> Option<()> {
    if !matches!(node.kind, Kind::Mapping(_)) {
        words.push(reader.text(node, what)?.text);
        return Some(());
    }
    match chosen(reader, node, what, &ELEMENT_KEYS)? {
        Some(("args", value)) => {
            let items = reader.items(value, "args")?;
            words.extend(elements(reader, items, "args")?);
        }
        Some((kind, value)) => words.push(text_of(reader, value, kind)?),
        None => {}
    }
    Some(())
}

/// A part of a `join`; `Some(None)` where its condition does not hold.
fn part(reader: &mut Reader<'_>, node: &Node) -> Option<Option<String>> {
    if !matches!(node.kind, Kind::Mapping(_)) {
        return Some(Some(reader.text(node, "join")?.text));
    }
    match chosen(reader, node, "join", &PART_KEYS)? {
        Some((kind, value)) => Some(Some(text_of(reader, value, kind)?)),
        None => Some(None),
    }
}

/// Returns which of the exclusive `keys` a mapping has. `Some(None)` where its condition does not hold: then
/// only its keys are checked, since the file or the variable that it names may be missing.
fn chosen<'n>(
    reader: &mut Reader<'_>,
    node: &'n Node,
    what: &str,
    keys: &'static Keys,
) -> Option<Option<(&'static str, &'n Node)>> {
    let fields = reader.fields(node, &what, keys)?;
    let names: (&dyn Display, _) = (&format_args!("this element of `{what}`"), "kind");
    let help = "make them two elements, or use `join`";
    let (kind, value) = reader.one_of(&fields, names, help)?;
    let holds = match fields.get(only_if::KEY) {
        Some(node) => condition(reader, node, &only_if::KEY)?.holds_now(),
        None => true,
    };
    Some(holds.then_some((kind, value)))
}

fn text_of(reader: &mut Reader<'_>, node: &Node, kind: &str) -> Option<String> {
    let text = match kind {
        "file" => file(reader, node)?,
        "join" => {
            let parts: Vec<_> =
                reader.items(node, kind)?.iter().map(|node| part(reader, node)).collect();
            let parts: Vec<_> = parts.into_iter().collect::<Option<Vec<_>>>()?;
            parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
        }
        _ => return Some(reader.text(node, kind)?.text),
    };
    // `>=`, because its NUL counts too.
    if text.len() >= LONGEST {
        let message = format!("`{kind}` becomes {} bytes", text.len());
        reader.problems.error(node.span, message).help(TOO_LONG);
        return None;
    }
    Some(text)
}

const TOO_LONG: &str = "let the program read the file itself: no argument can have 128 KiB";

/// The content of a file, with its variables expanded and without trailing newlines.
fn file(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let path = reader.typed(node, "file", values::path)?;
    let path = reader.resolve_path(node.span, &path);
    let source = match Source::read_argument(&path) {
        Ok(source) => source,
        Err(why) => {
            let message = format!("`file` {} {}", quote(&path.to_string_lossy()), why.message);
            let help = "check the path: a relative one starts at the directory of this config; with \
                        `only_if: {path_exists: PATH}` the file may be missing";
            reader.problems.error(node.span, message).help(why.help_or(|| help.to_owned()));
            return None;
        }
    };
    reader.charge(node.span, source.text.len().max(LEAST_FILE))?;
    let raw = source.text.clone();
    let file = reader.problems.add_source(source);
    let place = |reader: &Reader<'_>, at| match reader.problems.source(file) {
        Some(source) => source.place(file, at),
        None => Span::whole(file),
    };
    let mut text = reader.expand(&raw, place)?.text;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Some(text)
}
