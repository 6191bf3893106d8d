//! `env:` of the config, and `environment:` and `env_file:` of a process: the variables, and the files
//! from which drainit reads their values.

use std::path::{Path, PathBuf};

use drainit_derive::Named;

use crate::keys::DeadlineShare;
use crate::keys::forms::{Marked, leaf, words};
use crate::keys::key::{At, Form, OneOrMore, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::env_file;
use crate::language::source::{ENV_FILE, Source};
use crate::language::span::Span;
use crate::language::text::Text;
use crate::language::yaml::node::{Kind, Node, Tag};

/// An entry of `environment`, or an `env_file`. If two of them set the same variable, the later one
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    Set {
        name: Text,
        value: Text,
    },
    /// The process does not get this variable, even if the container has it.
    Removed(String),
    /// `environment: {NAME: {file: …}}`: the content of a file. drainit reads it at each start of
    /// the process.
    FromFile {
        name: String,
        file: ValueFile,
    },
    /// An `env_file` with `read: start`: drainit reads it at each start of the process.
    EnvFile(ValueFile),
}

impl Variable {
    /// The file that drainit must read at each start of the process; `None` for other values.
    pub fn file(&self) -> Option<&ValueFile> {
        match self {
            Self::FromFile { file, .. } | Self::EnvFile(file) => Some(file),
            Self::Set { .. } | Self::Removed(_) => None,
        }
    }

    /// Replaces the marks of the share of the deadline by its times.
    pub(crate) fn put_share(&mut self, share: DeadlineShare) {
        match self {
            Self::Set { name, value } => {
                name.put_share(share);
                value.put_share(share);
            }
            Self::FromFile { file: ValueFile { path, late, .. }, .. } => {
                if let Some((directory, mut text)) = late.take().map(|late| *late) {
                    text.put_share(share);
                    *path = directory.join(&*text);
                }
            }
            Self::Removed(_) | Self::EnvFile(_) => {}
        }
    }

    /// The variable with the limits that the container has now.
    ///
    /// # Errors
    /// Says which limit is not known.
    pub(crate) fn with_limits(&self) -> Result<Self, String> {
        match self {
            Self::Set { name, value } => {
                Ok(Self::Set { name: name.with_limits()?, value: value.with_limits()? })
            }
            other => Ok(other.clone()),
        }
    }

    /// Whether each start of the process must read a limit of the container.
    pub(crate) fn has_limit(&self) -> bool {
        matches!(self, Self::Set { name, value } if name.has_limit() || value.has_limit())
    }
}

/// A file with the value of one variable, or an `env_file` with several variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFile {
    pub path: PathBuf,
    /// Whether a missing file prevents the start of the process.
    pub required: bool,
    /// The directory and the rest of a path with a share of the deadline in it.
    late: Option<Box<(PathBuf, Text)>>,
}

/// `read:` of an `env_file`: when drainit reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Named)]
pub(crate) enum ReadAt {
    /// drainit reads the file together with the config.
    Config,
    /// drainit reads the file at each start of the process.
    Start,
}

words! { ReadAt }

type Variables = Vec<Variable>;

/// Reads `env:`, the defaults of variables. A value can use the variables before it. The result
/// does not contain variables that the container's environment sets.
pub(crate) struct Env;

impl Form for Env {
    type Out = Vec<(String, String)>;
    const SHAPE: Shape = Shape::Map(&Shape::Text);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out> {
        let mut exported = Vec::new();
        for (key, node) in reader.entries(node, at).unwrap_or_default() {
            if matches!(node.kind, Kind::Null) || !variable_name(reader, &key.text, key.span) {
                continue;
            }
            let Some(value) = reader.text(node, &key.text) else { continue };
            reader.check_dollars(node, "env", Some(&value.text));
            reader.variables.set_default(&key.text, &value.text);
            if !reader.variables.container().is_set(&key.text) {
                exported.push((key.text.to_string(), value.text.into_now()));
            }
        }
        Some(exported)
    }
}

/// Reads a mapping of names to values, or a list of `NAME=VALUE`. A name alone means that the
/// process gets the container's variable. In a mapping, `NAME: !reset` means that the process does
/// not get the variable.
pub(crate) struct EnvironmentForm;

impl Form for EnvironmentForm {
    type Out = Variables;
    const SHAPE: Shape = Shape::Either(&[
        Shape::List(&Shape::Filled("`NAME=VALUE`")),
        Shape::Map(&Shape::Either(&[Shape::Text, FromFileKeys::SHAPE])),
    ]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Variables> {
        Some(reader.with_share(node.span, |reader| environment(reader, at, node)))
    }
}

fn environment(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Variables {
    let mut out = Vec::new();
    match &node.kind {
        Kind::Mapping(entries) => {
            for (key, node) in entries {
                if key.is_item && key.text.contains("${") {
                    let text = match node.scalar() {
                        Some(value) => format!("{}={value}", key.text),
                        None => key.text.to_string(),
                    };
                    let kind = Kind::Scalar { text, quoted: true };
                    out.extend(item(reader, &Node::new(key.span, kind)));
                    continue;
                }
                if !variable_name(reader, &key.text, key.span) {
                    continue;
                }
                match node.kind {
                    // A `*` makes the name a pattern. The next arm handles `A_*: !reset`, which
                    // removes all variables that begin with `A_`.
                    _ if key.text.contains('*')
                        && !(node.tag == Some(Tag::Reset) && key.text.ends_with('*')) =>
                    {
                        by_pattern(
                            reader,
                            &at.inner(&key.text),
                            (&key.text, key.span),
                            node,
                            &mut out,
                        );
                    }
                    _ if node.tag == Some(Tag::Reset) => {
                        out.push(Variable::Removed(key.text.to_string()));
                    }
                    Kind::Null => out.extend(pass_on(reader, &key.text)),
                    Kind::Mapping(_) => {
                        let name = key.text.to_string();
                        match FromFileKeys::read(reader, &at.inner(&key.text), node) {
                            Some(From::File(file)) => out.push(Variable::FromFile { name, file }),
                            Some(From::Text(text)) => out.push(set(name, text)),
                            Some(From::Nowhere) => out.push(Variable::Removed(name)),
                            None => {}
                        }
                    }
                    _ => {
                        if let Some(value) = reader.text(node, &key.text) {
                            reader.check_dollars(node, "environment", Some(&value.text));
                            out.push(set(&*key.text, value.text));
                        }
                    }
                }
            }
        }
        Kind::Sequence(items) => {
            out.extend(items.iter().filter_map(|one| item(reader, one)));
        }
        Kind::Null | Kind::Scalar { .. } => {
            let problem = reader.problems.error(
                Rule::WrongType,
                node.span,
                "`environment` must be a mapping, or a list of `NAME=VALUE`",
            );
            problem.help("write `{NAME: VALUE}`");
        }
    }
    out
}

/// Reads an item of a list: `NAME=VALUE`, or the name of a variable of the container.
fn item(reader: &mut Reader<'_>, node: &Node) -> Option<Variable> {
    let text = reader.text(node, "environment")?;
    let (name, value) = match text.text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text.text, None),
    };
    reader.check_dollars(node, "environment", Some(value.as_deref().unwrap_or_default()));
    if !variable_name(reader, &name, node.span) {
        return None;
    }
    match value {
        Some(value) => Some(set(name, value)),
        None => pass_on(reader, &name),
    }
}

fn pass_on(reader: &Reader<'_>, name: &str) -> Option<Variable> {
    Some(set(name, reader.variables.container().get(name)?))
}

/// Reads `"A_*": {file: "A_*_FILE"}`: adds a variable for each variable of the container whose name
/// matches `A_*_FILE`.
fn by_pattern(
    reader: &mut Reader<'_>,
    at: &At<'_>,
    (name, span): (&str, Span),
    node: &Node,
    out: &mut Variables,
) {
    let found = match &node.kind {
        Kind::Mapping(_) => FromFileKeys::read(reader, at, node),
        _ => None,
    };
    let text = node.find("file").and_then(|file| file.scalar()).unwrap_or_default();
    let (Some(From::File(file)), Some((start, end)), Some((before, after))) =
        (found, text.split_once('*'), name.split_once('*'))
    else {
        let message =
            format!("{} stands for several variables, and this is one value", quote(name));
        let help = format!(
            "write `{name}: !reset`, or `{name}: {{file: \"{name}_FILE\"}}` for all files that such variables name"
        );
        reader.problems.error(Rule::InvalidValue, span, message).help(help);
        return;
    };
    let container = reader.variables.container();
    for (other, path) in container.iter().filter(|(_, path)| !path.is_empty()) {
        let part = other.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            let path = reader.resolve_path(node.span, Path::new(path));
            let file = ValueFile { path, required: file.required, late: None };
            out.push(Variable::FromFile { name: format!("{before}{part}{after}"), file });
        }
    }
}

fn set(name: impl Into<Text>, value: impl Into<Text>) -> Variable {
    Variable::Set { name: name.into(), value: value.into() }
}

/// Where the value of a variable comes from.
enum From {
    File(ValueFile),
    Text(Text),
    /// There is no value, and `required: false` allows that.
    Nowhere,
}

/// A variable of `environment` whose value is in a file, or which may be missing.
#[derive(Table)]
#[table(settle = From)]
struct FromFileKeys {
    /// The file with the value. <!-- C277 --> Example: `file: /run/secrets/token`
    // The path may be empty, because it may come from a variable.
    #[key(form = Plain, default = "none")]
    file: Option<Text>,
    /// The value itself, instead of `file`. With `required: false`, an empty value removes the
    /// variable from the process. <!-- S379 --> Example: `value: "${PROXY:-}"`
    #[key(form = Plain, default = "none")]
    value: Option<Text>,
    /// `false`: if the file is missing or the path is empty, the process gets the container's
    /// value, as without this entry. <!-- C278 --> Example: `required: false`
    #[key(default = "true")]
    required: bool,
}

/// A text with marks, in which `$NAME` is not expected.
struct Plain;

impl Form for Plain {
    type Out = Text;
    const SHAPE: Shape = Shape::Text;

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Text> {
        let text = Marked::read(reader, at, node)?;
        reader.check_dollars(node, at.key, None);
        Some(text)
    }
}

impl FromFileKeys {
    /// Returns `None` after an error, or if the path is empty. If the file is required, an empty
    /// path is an error.
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<From> {
        let Self { file, value, required } = self;
        let span = fields.value("file");
        let file = match (file, value, fields.has_unknown) {
            (Some(file), None, _) => file,
            (None, Some(text), _) if text.is_empty() && !required => return Some(From::Nowhere),
            (None, Some(text), _) => return Some(From::Text(text)),
            (None, None, true) => return None,
            _ => {
                let message = format!("`{}` needs one of `file` and `value`", fields.at);
                reader
                    .problems
                    .error(Rule::MissingKey, fields.span, message)
                    .help("write `{file: PATH}`, or the value itself without braces");
                return None;
            }
        };
        if !file.is_empty() {
            let path = reader.resolve_path(span, Path::new(&*file));
            let late = file.has_share().then(|| (reader.resolve_path(span, Path::new("")), file));
            return Some(From::File(ValueFile { late: late.map(Box::new), path, required }));
        }
        if required {
            reader
                .problems
                .error(Rule::InvalidValue, span, "`file` is empty: an empty path")
                .help("write the path, and `required: false` beside it if the file may be missing");
        }
        None
    }
}

/// One file, or a list of files. A relative path is resolved from the directory of the config.
pub(crate) type EnvFiles = OneOrMore<EnvFileKeys>;

#[derive(Table)]
#[table(settle = Variables, short = "path")]
pub(crate) struct EnvFileKeys {
    /// The file. <!-- C265 --> Example: `path: /run/app.env`
    #[key(required = "write `{path: PATH}`")]
    path: PathBuf,
    /// Whether a missing file is an error. <!-- C266 --> Example: `required: false`
    #[key(default = "true")]
    required: bool,
    /// When drainit reads the file. `config`: together with the config. `start`: whenever the
    /// process starts. <!-- C267 --> Example: `read: start`
    #[key(default = "config")]
    read: Option<ReadAt>,
}

impl EnvFileKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Variables> {
        let Self { path, required, read } = self;
        let span = fields.value("path");
        let path = reader.resolve_path(span, &path);
        if fields.get("read").is_some() && read? == ReadAt::Start {
            return Some(vec![Variable::EnvFile(ValueFile { path, required, late: None })]);
        }
        let mut out = Vec::new();
        match reader.problems.reads.read(&path, &ENV_FILE) {
            Ok(source) => {
                reader.with_share(span, |reader| read_file(reader, source, span, &mut out));
            }
            Err(why) if why.is_missing && !required => {}
            Err(why) => {
                let path = reader.problems.written(fields.get("path"), &path.to_string_lossy());
                let message = format!("`env_file` {} {}", quote(&path), why.message);
                let help = || {
                    "check the path: a relative one starts at the directory of this config; a file that is written \
                     later needs `{path: PATH, read: start}`, one that may be missing `required: false`"
                        .to_owned()
                };
                reader.problems.error(Rule::UnreadableFile, span, message).help(why.help_or(help));
            }
        }
        reader.variables.end_of_file();
        Some(out)
    }
}

fn read_file(reader: &mut Reader<'_>, source: Source, span: Span, out: &mut Variables) {
    let Some((file, text)) = reader.add_file(span, source) else { return };
    for entry in env_file::parse(&text) {
        let at = Span::new(file, entry.line, 1, 1);
        let (name, value) = match entry.variable(&mut reader.variables) {
            Ok(Some(variable)) => variable,
            Ok(None) => continue,
            Err(bad) => {
                reader.problems.error(Rule::InvalidValue, at, bad.why).help(bad.help);
                continue;
            }
        };
        if reader.charge(span, name.len() + value.len()).is_none() {
            return;
        }
        reader.variables.set_in_file(name, &value);
        out.push(set(name, value));
    }
}

/// Checks whether a variable can have this name, and reports the name if not.
fn variable_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let right = !name.is_empty() && !name.contains(['=', '\0']);
    if !right {
        let shown = quote(&reader.problems.for_message(name));
        let problem = reader.problems.error(
            Rule::InvalidName,
            span,
            format!("{shown} cannot be the name of a variable"),
        );
        problem.help("write a name that is not empty and has no `=`");
    }
    right
}
