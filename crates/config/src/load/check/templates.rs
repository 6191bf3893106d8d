//! Checks the templates of `render` that exist already. `run` reads them at the start, when they may
//! be other ones.

use crate::config::{Config, Process, Variable};
use crate::load::at_start::expand_template;
use crate::load::environment::{Environment, Secret, Variables};
use crate::load::expand::check_syntax;
use crate::load::read::reader::Reader;
use crate::load::source::{AT_START, Source};
use crate::load::span::Span;

pub(crate) fn check(reader: &mut Reader<'_>, config: &Config) {
    for (index, process) in config.processes.iter().enumerate() {
        for (number, render) in process.render.iter().enumerate() {
            // The check of the image reports a template that is missing.
            let Ok(source) = Source::read_within(&render.from, &AT_START) else { continue };
            let span = reader.places.processes[index].at(&format!("render.{number}.from"));
            if reader.charge(span, source.text.len()).is_none() {
                return;
            }
            check_template(reader, &config.env, process, source);
        }
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
            variables.secret = Secret::Values;
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
