//! `env:` of the config, and `environment:` and `env_file:` of a process.

use crate::load::diagnostics::diagnostic::quote;
use crate::load::env_file;
use crate::load::expand::expand;
use crate::load::read::reader::Reader;
use crate::load::source::Source;
use crate::load::span::Span;
use crate::load::values;
use crate::load::yaml::node::{Kind, Node, Tag};

/// Names and values; `None` keeps the variable from the process, even where the container has it.
type Variables = Vec<(String, Option<String>)>;

/// Reads `env:`. Each entry is visible to the following values; those that the container overrides
/// are not exported.
pub(crate) fn env(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, String)> {
    let mut exported = Vec::new();
    for (key, node) in reader.entries(node, &"env").unwrap_or_default() {
        if matches!(node.kind, Kind::Null) || !variable_name(reader, &key.text, key.span) {
            continue;
        }
        let Some(value) = reader.text(node, &key.text) else { continue };
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
                    _ if node.tag == Some(Tag::Reset) => out.push((key.text.to_string(), None)),
                    Kind::Null => pass_on(reader, &key.text, &mut out),
                    _ => {
                        let first = reader.dollars();
                        let value = reader.text(node, &key.text);
                        reader.check_environment_dollars(
                            first,
                            value.as_ref().map(|value| value.text.as_str()),
                        );
                        out.extend(value.map(|v| (key.text.to_string(), Some(v.text))));
                    }
                }
            }
        }
        Kind::Sequence(items) => {
            for item in items {
                let first = reader.dollars();
                let text = reader.text(item, "environment");
                let value = text.as_ref().and_then(|text| text.text.split_once('='));
                reader.check_environment_dollars(first, value.map(|(_, value)| value));
                let Some(text) = text else { continue };
                let (name, value) = match text.text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (text.text.as_str(), None),
                };
                if !variable_name(reader, name, item.span) {
                    continue;
                }
                match value {
                    Some(value) => out.push((name.to_owned(), Some(value.to_owned()))),
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
        out.push((name.to_owned(), Some(value.to_owned())));
    }
}

/// Reads `env_file:`, one file or a list, relative to the config.
pub(crate) fn env_files(reader: &mut Reader<'_>, node: &Node) -> Variables {
    let paths = match node.kind {
        Kind::Scalar { .. } => {
            let path = reader.typed(node, "env_file", values::path);
            path.into_iter().map(|path| (path, node.span)).collect()
        }
        _ => reader.list(node, "env_file", values::path),
    };
    let mut out = Vec::new();
    for (path, span) in paths {
        let path = reader.resolve_path(span, &path);
        match Source::read(&path) {
            Ok(source) => read_file(reader, source, span, &mut out),
            Err(why) => {
                let message =
                    format!("`env_file` {} {}", quote(&path.to_string_lossy()), why.message);
                let help = || "a relative path starts at the directory of this config".to_owned();
                reader.problems.error(span, message).help(why.help_or(help));
            }
        }
        reader.variables.end_of_file();
    }
    out
}

fn read_file(reader: &mut Reader<'_>, source: Source, span: Span, out: &mut Variables) {
    let text = source.text.clone();
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
            env_file::Value::Template(template) => match expand(&template, &reader.variables) {
                Ok(expanded) => expanded.text,
                Err(malformed) => {
                    reader.problems.error(at, malformed.message).help(malformed.help);
                    continue;
                }
            },
        };
        if reader.charge(span, name.len() + value.len()).is_none() {
            return;
        }
        reader.variables.set_in_file(name, &value);
        out.push((name.to_owned(), Some(value)));
    }
}

/// Whether a variable can have this name; else reports it.
fn variable_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let right = !name.is_empty() && !name.contains(['=', '\0']);
    if !right {
        let problem = reader
            .problems
            .error(span, format!("{} cannot be the name of a variable", quote(name)));
        problem.help("a name is not empty and has no `=`");
    }
    right
}
