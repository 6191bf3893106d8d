//! `render:` of a process: templates that are written to files before each start.

use std::fmt::Display;
use std::path::PathBuf;

use crate::config::{Process, Render, Variable};
use crate::load::at_start::expand_template;
use crate::load::check::own_address::is_same;
use crate::load::environment::{Environment, Variables};
use crate::load::expand::check_syntax;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::places::ProcessPlaces;
use crate::load::read::reader::Reader;
use crate::load::source::Source;
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::Node;

/// An entry of `render:`.
pub(crate) static KEYS: Keys = Keys::new(&[
    Key::new("from", Shape::Path, "The template, in which variables of the process are put in."),
    Key::new("to", Shape::Path, "The file that is written."),
    Key::new(
        "mode",
        Shape::Number("^0?[0-7]{3}$"),
        "Its permissions in octal; it belongs to the process's user. Default: 0600.",
    ),
]);

/// Reads `render:`, a list of mappings. `from` is relative to the config.
pub(crate) fn render(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    place: &mut ProcessPlaces,
) -> Vec<Render> {
    let what = format!("{what}.render");
    let mut out = Vec::new();
    for item in reader.items(node, "render").unwrap_or_default() {
        let Some(fields) = reader.fields(item, &what, &KEYS) else { continue };
        for key in ["from", "to"] {
            reader.required(&fields, &what, key, "write `{from: TEMPLATE, to: PATH}`");
        }
        let from = reader.field(&fields, "from", values::path);
        let to = reader.field(&fields, "to", target);
        let mode = reader.field(&fields, "mode", mode).unwrap_or(Render::DEFAULT_MODE);
        let (Some(from), Some(to), Some(at), Some(to_at)) =
            (from, to, fields.get("from"), fields.get("to"))
        else {
            continue;
        };
        let from = reader.resolve_path(at.span, &from);
        if is_same(&from, &to) {
            let message = "`from` and `to` are the same file: the template would be overwritten";
            reader.problems.error(to_at.span, message).help("write another path to `to`");
        }
        out.push(Render { from, to, mode });
        place.templates.push(at.span);
        place.rendered.push(to_at.span);
    }
    out
}

/// The path of a file that is written, which a directory cannot be.
fn target(text: &str) -> Result<PathBuf, Invalid> {
    let path = values::path(text)?;
    match path.file_name() {
        Some(_) if !text.ends_with('/') => Ok(path),
        _ => Err(Invalid::new("not the path of a file", "end it with the name of the file")),
    }
}

/// Permissions in octal, as chmod(1) has them.
fn mode(text: &str) -> Result<u32, Invalid> {
    let help = "write three octal digits, such as `0640`";
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let is_octal = digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    let mode = is_octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.ok_or_else(|| Invalid::new("not permissions", help))
}

/// Checks the templates of a process that exist already, for `check`. `run` reads them at the
/// start, when they may be other ones.
pub(crate) fn check_templates(
    reader: &mut Reader<'_>,
    env: &[(String, String)],
    process: &Process,
    place: &ProcessPlaces,
) {
    if !reader.problems.is_check() {
        return;
    }
    for (render, span) in process.render.iter().zip(&place.templates) {
        // The check of the image reports a template that is missing.
        let Ok(source) = Source::read_at_start(&render.from) else { continue };
        if reader.charge(*span, source.text.len()).is_none() {
            return;
        }
        check_template(reader, env, process, source);
    }
}

fn check_template(
    reader: &mut Reader<'_>,
    env: &[(String, String)],
    process: &Process,
    source: Source,
) {
    let environment = known_variables(reader.variables.container(), env, process);
    let (malformed, unset) = match &environment {
        Some(environment) => {
            let mut variables = Variables::new(environment);
            variables.are_secret = true;
            match expand_template(&source, &variables) {
                Ok(expanded) => (None, expanded.unset),
                Err(malformed) => (Some(malformed), Vec::new()),
            }
        }
        None => (check_syntax(&source.text).err(), Vec::new()),
    };
    let file = reader.problems.add_source(source);
    let place = |reader: &Reader<'_>, at| {
        reader.problems.source(file).map_or(Span::whole(file), |source| source.place(file, at))
    };
    if let Some(malformed) = malformed {
        let span = place(reader, malformed.at);
        reader.problems.error(span, malformed.message).help(malformed.help);
    }
    for (name, at) in unset {
        let span = place(reader, at);
        reader.unset(&name, span);
    }
}

/// The variables of a process, each that is read at its start with some value; `None` if it may
/// have any.
fn known_variables(
    container: &Environment,
    env: &[(String, String)],
    process: &Process,
) -> Option<Environment> {
    let mut known = container.clone();
    env.iter().for_each(|(name, value)| known.set(name, Some(value)));
    for variable in &process.environment {
        match variable {
            Variable::Set { name, value } => known.set(name, Some(value)),
            Variable::Removed(name) => known.set(name, None),
            Variable::FromFile { name, .. } => known.set(name, Some("x")),
            Variable::EnvFile(_) => return None,
        }
    }
    Some(known)
}
