//! `env:` of the config, and `environment:` and `env_file:` of a process.

use std::path::PathBuf;

use crate::config::{ValueFile, Variable};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::env_file;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::source::Source;
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Kind, Node, Tag};

type Variables = Vec<Variable>;

/// A variable of `environment` whose value is in a file.
pub(crate) static FROM_FILE: Keys = Keys::new(&[
    Key::new("file", Shape::Text, "The file, which is read at each start of the process."),
    Key::new("required", Shape::Bool, "Whether the start fails without the file. Default: true."),
]);

/// An entry of `env_file`.
pub(crate) static ENV_FILE: Keys = Keys::new(&[
    Key::new("path", Shape::Path, "The file."),
    Key::new("required", Shape::Bool, "Whether it is an error if it is missing. Default: true."),
    Key::new(
        "read",
        Shape::Word(&MOMENTS),
        "When it is read: with the `config`, or at each `start` of the process. Default: config.",
    ),
]);

const MOMENTS: &[(&str, Moment)] = &[("config", Moment::Config), ("start", Moment::Start)];

/// Each file counts as at least this many bytes, so that a small config cannot read files without
/// end.
const LEAST_FILE: usize = 4096;

/// `read:` of an `env_file`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Moment {
    /// Together with the config.
    #[default]
    Config,
    /// At each start of the process.
    Start,
}

/// Reads `env:`. Each entry is visible to the following values; those that the container overrides
/// are not exported.
pub(crate) fn env(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, String)> {
    let mut exported = Vec::new();
    for (key, node) in reader.entries(node, &"env").unwrap_or_default() {
        if matches!(node.kind, Kind::Null) || !variable_name(reader, &key.text, key.span) {
            continue;
        }
        let first = reader.dollars();
        let Some(value) = reader.text(node, &key.text) else { continue };
        reader.check_value_dollars(first, "env", Some(&value.text));
        reader.variables.set_default(&key.text, &value.text);
        if reader.variables.container().get_non_empty(&key.text).is_none() {
            exported.push((key.text.to_string(), value.text));
        }
    }
    exported
}

/// Reads `environment:`, a mapping or a list of `NAME=VALUE`. A name alone passes the container's
/// variable on; in a mapping, `NAME: !reset` keeps it from the process.
pub(crate) fn environment(reader: &mut Reader<'_>, node: &Node) -> Variables {
    let mut out = Vec::new();
    match &node.kind {
        Kind::Mapping(entries) => {
            for (key, node) in entries {
                if !variable_name(reader, &key.text, key.span) {
                    continue;
                }
                match node.kind {
                    _ if node.tag == Some(Tag::Reset) => {
                        out.push(Variable::Removed(key.text.to_string()));
                    }
                    Kind::Null => pass_on(reader, &key.text, &mut out),
                    Kind::Mapping(_) => out.extend(from_file(reader, &key.text, node)),
                    _ => {
                        let first = reader.dollars();
                        let value = reader.text(node, &key.text);
                        let text = value.as_ref().map(|value| &*value.text);
                        reader.check_value_dollars(first, "environment", text);
                        out.extend(value.map(|v| set(&key.text, v.text)));
                    }
                }
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                let first = reader.dollars();
                let text = reader.text(item, "environment");
                let value = text.as_ref().and_then(|text| text.text.split_once('='));
                reader.check_value_dollars(first, "environment", value.map(|(_, value)| value));
                let Some(text) = text else { continue };
                let (name, value) = match text.text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (text.text.as_str(), None),
                };
                if !variable_name(reader, name, item.span) {
                    continue;
                }
                match value {
                    Some(value) => out.push(set(name, value.to_owned())),
                    None => pass_on(reader, name, &mut out),
                }
            }
        }
        Kind::Null | Kind::Scalar { .. } => {
            let problem = reader
                .problems
                .error(node.span, "`environment` must be a mapping, or a list of `NAME=VALUE`");
            problem.help("write `{NAME: VALUE}`");
        }
    }
    out
}

fn pass_on(reader: &Reader<'_>, name: &str, out: &mut Variables) {
    if let Some(value) = reader.variables.container().get(name) {
        out.push(set(name, value.to_owned()));
    }
}

fn set(name: &str, value: String) -> Variable {
    Variable::Set { name: name.to_owned(), value }
}

/// Reads `{file: PATH, required: false}`. With an empty path, and not required, it is left out.
fn from_file(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Variable> {
    let fields = reader.fields(node, &format_args!("environment.{name}"), &FROM_FILE)?;
    let required = reader.field(&fields, "required", values::boolean).unwrap_or(true);
    let help = "write `{file: PATH}`; a value stands without braces";
    let file = reader.required(&fields, &name, "file", help)?;
    let path = reader.typed(file, "file", |text| match text {
        "" if !required => Ok(None),
        "" => Err(Invalid::new(
            "an empty path",
            "write the path, and `required: false` beside it if there may be none",
        )),
        text => Ok(Some(PathBuf::from(text))),
    })??;
    let path = reader.resolve_path(file.span, &path);
    let file = ValueFile { path, required };
    Some(Variable::FromFile { name: name.to_owned(), file })
}

/// Reads `env_file:`, one file or a list, relative to the config.
pub(crate) fn env_files(reader: &mut Reader<'_>, node: &Node) -> Variables {
    let mut out = Vec::new();
    match node.kind {
        Kind::Scalar { .. } | Kind::Mapping(_) => env_file(reader, node, &mut out),
        _ => {
            for item in reader.items(node, "env_file").unwrap_or_default() {
                env_file(reader, item, &mut out);
            }
        }
    }
    out
}

/// Reads a path, or `{path: PATH, required: false, read: start}`.
fn env_file(reader: &mut Reader<'_>, node: &Node, out: &mut Variables) {
    let (mut path, mut required, mut moment) = (node, true, Moment::Config);
    if matches!(node.kind, Kind::Mapping(_)) {
        let Some(fields) = reader.fields(node, &"env_file", &ENV_FILE) else { return };
        required = reader.field(&fields, "required", values::boolean).unwrap_or(true);
        let read = reader.field(&fields, "read", |text| values::choice(text, MOMENTS));
        if read.is_none() && fields.get("read").is_some() {
            return;
        }
        moment = read.unwrap_or_default();
        let help = "write `{path: PATH}`";
        let Some(node) = reader.required(&fields, &"env_file", "path", help) else { return };
        path = node;
    }
    let span = path.span;
    let Some(path) = reader.typed(path, "env_file", values::path) else { return };
    let path = reader.resolve_path(span, &path);
    if moment == Moment::Start {
        out.push(Variable::EnvFile(ValueFile { path, required }));
        return;
    }
    match Source::read(&path) {
        Ok(source) => read_file(reader, source, span, out),
        Err(why) if why.is_missing && !required => {}
        Err(why) => {
            let message = format!("`env_file` {} {}", quote(&path.to_string_lossy()), why.message);
            let help = || {
                "check the path: a relative one starts at the directory of this config; a file that is written \
                 later needs `{path: PATH, read: start}`, one that may be missing `required: false`"
                    .to_owned()
            };
            reader.problems.error(span, message).help(why.help_or(help));
        }
    }
    reader.variables.end_of_file();
}

fn read_file(reader: &mut Reader<'_>, source: Source, span: Span, out: &mut Variables) {
    let text = source.text.clone();
    if reader.charge(span, text.len().max(LEAST_FILE)).is_none() {
        return;
    }
    let file = reader.problems.add_source(source.secret());
    for entry in env_file::parse(&text) {
        let at = Span::new(file, entry.line, 1, 1);
        let (name, value) = match entry.content {
            Ok(content) => content,
            Err(bad) => {
                reader.problems.error(at, bad.why).help(bad.help);
                continue;
            }
        };
        let value = match value {
            env_file::Value::PassedOn => {
                pass_on(reader, name, out);
                continue;
            }
            env_file::Value::Literal(value) => value,
            env_file::Value::Template(template) => {
                // A message of `:?` may hold another value of the file.
                reader.variables.are_secret = true;
                let expanded = env_file::expanded(&template, &reader.variables);
                reader.variables.are_secret = false;
                match expanded {
                    Ok(value) => value,
                    Err(bad) => {
                        reader.problems.error(at, bad.why).help(bad.help);
                        continue;
                    }
                }
            }
        };
        if reader.charge(span, name.len() + value.len()).is_none() {
            return;
        }
        reader.variables.set_in_file(name, &value);
        out.push(set(name, value));
    }
}

/// Whether a variable can have this name; else reports it.
fn variable_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let right = !name.is_empty() && !name.contains(['=', '\0']);
    if !right {
        let problem = reader
            .problems
            .error(span, format!("{} cannot be the name of a variable", quote(name)));
        problem.help("write a name that is not empty and has no `=`");
    }
    right
}
