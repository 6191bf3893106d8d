//! Helpers for tests that load configs.
#![allow(clippy::unwrap_used)]

use crate::check::image::ImageLookup;
use crate::keys::{Config, Process, ValueFile, Variable};
use crate::language::diagnostics::problems::Problems;
use crate::language::moment::Reads;
use crate::language::source::Source;
use crate::load::{Diagnostic, Environment, Loaded, Roots};

/// Loads one config, and panics if it has errors.
pub fn config(text: &str) -> Config {
    load(&[text], &[]).unwrap().config
}

/// Loads several texts as if they were the files `0.yaml`, `1.yaml`, and so on.
pub fn load(texts: &[&str], environment: &[(&str, &str)]) -> Result<Loaded, Vec<Diagnostic>> {
    load_in(texts, &environment.iter().copied().collect())
}

/// Like [`load`], but takes an [`Environment`].
pub fn load_in(texts: &[&str], environment: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    let (problems, roots) = parse(texts);
    crate::load::finish(problems, roots, environment, None)
}

/// Like [`load_in`], but loads as `check --pod` does. `is_held_back` says whether a `preStop`
/// hook of the pod delays the stop signal.
pub fn load_of_pod(
    text: &str,
    environment: &Environment,
    is_held_back: bool,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut problems = Problems::of(&Reads::default(), true);
    let roots = vec![crate::load::parse_source(&mut problems, Source::new("0.yaml", text.into()))];
    let lookup = ImageLookup { find: &|_| Vec::new(), is_held_back };
    crate::load::finish(problems, roots, environment, Some(lookup))
}

/// Parses several texts as if they were the files `0.yaml`, `1.yaml`, and so on.
fn parse(texts: &[&str]) -> (Problems, Roots) {
    let mut problems = Problems::default();
    let named = texts.iter().enumerate().map(|(number, text)| (format!("{number}.yaml"), text));
    let sources = named.map(|(name, text)| Source::new(name, (*text).to_owned()));
    let roots = sources.map(|source| crate::load::parse_source(&mut problems, source)).collect();
    (problems, roots)
}

/// The problems that `check` finds in a config, without a search of the image.
pub fn checked(text: &str, environment: &[(&str, &str)]) -> Vec<Diagnostic> {
    crate::load::check_text(text, &environment.iter().copied().collect())
}

fn text_of(file: &ValueFile) -> String {
    format!("{}{}", file.path.display(), if file.required { "" } else { "?" })
}

/// The variables of a process, each as text: `A=1`; `!A` for a variable that the process does not
/// get; `A from PATH` for a value in a file; or the path of an `env_file`. If the file may be
/// missing, a `?` follows.
pub fn variables(process: &Process) -> Vec<String> {
    let text = |variable: &Variable| match variable {
        Variable::Set { name, value } => format!("{name}={value}"),
        Variable::Removed(name) => format!("!{name}"),
        Variable::FromFile { name, file } => format!("{name} from {}", text_of(file)),
        Variable::EnvFile(file) => text_of(file),
    };
    process.environment.iter().map(text).collect()
}

/// Reads only `control` from several texts, as if they were the files `0.yaml`, `1.yaml`, and so
/// on.
pub fn find_control(
    texts: &[&str],
    environment: &Environment,
) -> crate::load::control::FoundControl {
    let (problems, roots) = parse(texts);
    crate::load::control::control_in(problems, roots, environment)
}
