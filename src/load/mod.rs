//! YAML in, [`schema::Config`] out, or every problem at once, each with its place.
//!
//! ```text
//! source ──▶ parse ──▶ overlay ──▶ read (expand, values) ──▶ graph ──▶ check
//!  text       Node      Node        Config                    Graph
//! ```

pub(crate) mod accounts;
pub(crate) mod args;
pub(crate) mod check;
pub(crate) mod control;
pub(crate) mod diagnostics;
pub(crate) mod env_file;
pub(crate) mod environment;
pub(crate) mod expand;
pub(crate) mod overlay;
pub(crate) mod read;
pub(crate) mod shell_split;
pub(crate) mod source;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
pub(crate) mod values;
pub(crate) mod yaml;

use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(crate) use crate::load::diagnostics::diagnostic::{Diagnostic, Severity};
pub(crate) use crate::load::environment::Environment;

use crate::graph::{Graph, GraphError};
use crate::load::accounts::Accounts;
use crate::load::check::image::ImageLookup;
use crate::load::diagnostics::collector::Collector;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::environment::Variables;
use crate::load::read::places::Places;
use crate::load::read::reader::Reader;
use crate::load::source::Source;
use crate::load::yaml::node::{Kind, Node, Span};

/// A config that can be run.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// What is to be run.
    pub(crate) config: crate::config::Config,
    /// In which order.
    pub(crate) graph: Graph,
    /// The variables from which `grace_period` is made.
    pub(crate) grace_variables: Vec<String>,
    /// What is probably not meant, in file order.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// Reads the files, each on top of those before it.
///
/// Takes milliseconds and little memory whatever the files are, and waits for nothing but, for at most two seconds, a
/// pipe that has a writer.
///
/// # Errors
/// Every problem that was found, warnings too, in file order. At least one is an error.
pub(crate) fn load(
    paths: &[PathBuf],
    environment: &Environment,
) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, false, None)
}

/// As [`load`], for a command that shows something and ends: the trees of the files are left to the kernel. To take them
/// apart would be a fifth of the work.
///
/// # Errors
/// As for [`load`].
pub(crate) fn load_to_show(
    paths: &[PathBuf],
    environment: &Environment,
) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, true, None)
}

/// As [`load_to_show`], for `check`: what will hardly work is an error, and what the config names is looked for.
///
/// # Errors
/// As for [`load`].
pub(crate) fn load_to_check(
    paths: &[PathBuf],
    environment: &Environment,
    looks: ImageLookup<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, true, Some(looks))
}

fn read(
    paths: &[PathBuf],
    environment: &Environment,
    ends_soon: bool,
    looks: Option<ImageLookup<'_>>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut report = Collector::default();
    if looks.is_some() {
        report.be_a_check();
    }
    let roots = trees(&mut report, paths, environment);
    if ends_soon {
        std::mem::forget(roots.clone());
    }
    finish(report, roots, environment, Accounts::new("/etc/passwd", "/etc/group"), looks)
}

/// The tree of each file; nothing where a file cannot be read.
type Roots = Vec<Option<Rc<Node>>>;

fn trees(report: &mut Collector, paths: &[PathBuf], environment: &Environment) -> Roots {
    let mut roots = Vec::with_capacity(paths.len());
    for path in paths {
        match Source::read(path) {
            Ok(source) => roots.push(parsed(report, source)),
            Err(bad) => {
                report.unreadable(path, bad, || whence(path, environment));
                roots.push(None);
            }
        }
    }
    roots
}

/// Where the path of a file that does not exist may come from.
fn whence(path: &Path, environment: &Environment) -> String {
    let name = path.to_string_lossy();
    if environment.get_set("DRAINIT_CONFIG") == Some(&name) {
        "the path comes from $DRAINIT_CONFIG; correct it, or name the file with -c".to_owned()
    } else if path == Path::new("/etc/drainit.yaml") {
        "this is where a config is looked for; put one there, or name it with -c or $DRAINIT_CONFIG"
            .to_owned()
    } else {
        "mind the path; a relative one begins at the working directory".to_owned()
    }
}

/// The tree of a file that has something in it.
fn parsed(report: &mut Collector, source: Source) -> Option<Rc<Node>> {
    let name = quote(&source.path.to_string_lossy());
    let file = report.add_source(source);
    let root = crate::load::yaml::parse(report, file)?;
    if matches!(root.kind, Kind::Null) {
        let problem = report.error(Span::whole(file), format!("{name} is empty"));
        problem.help("the smallest config is `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`");
        return None;
    }
    Some(root)
}

/// All files as one tree; nothing, and at least one error, where one of them is missing.
fn merged(report: &mut Collector, roots: Roots) -> Option<Rc<Node>> {
    // With a part missing, most of what could be said about the rest would be wrong.
    let complete: Option<Vec<_>> = roots.into_iter().collect();
    let merged = complete.and_then(|roots| {
        roots.into_iter().reduce(|base, over| crate::load::overlay::merge(&base, &over))
    });
    if merged.is_none() && !report.has_errors() {
        report.error(Span::whole(0), "no config file is given").help("name one with -c");
    }
    merged.map(|root| crate::load::overlay::without_resets(&root))
}

fn finish(
    mut report: Collector,
    roots: Roots,
    environment: &Environment,
    accounts: Accounts,
    looks: Option<ImageLookup<'_>>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let Some(root) = merged(&mut report, roots) else { return Err(report.finish()) };
    let mut reader = Reader::new(&mut report, Variables::new(environment), accounts);
    let (mut config, places) = crate::load::read::root::root(&mut reader, &root);
    let times_known = reader.durations_known;
    let graph = match Graph::build(&config.processes) {
        Ok(graph) => {
            crate::load::check::check(&mut report, &mut config, &graph, &places, times_known);
            graph
        }
        Err(errors) => {
            errors.into_iter().for_each(|error| graph_error(&mut report, &places, &error));
            if times_known {
                crate::load::check::each_min(&mut report, &config, &places);
            }
            Graph::default()
        }
    };
    crate::load::check::unique::check(&mut report, &config, &places);
    crate::load::check::shared_addresses::check(&mut report, &config, &places);
    if let Some(looks) = looks {
        crate::load::check::image::look(&mut report, &config, environment, &places, looks);
    }
    let failed = report.has_errors();
    let diagnostics = report.finish();
    if failed {
        return Err(diagnostics);
    }
    let grace_variables = places.grace_variables;
    Ok(Loaded { config, graph, grace_variables, warnings: diagnostics })
}

fn graph_error(report: &mut Collector, places: &Places, error: &GraphError) {
    let at = |process: usize, dependency: usize| {
        let place = places.processes.get(process);
        let span =
            place.and_then(|place| place.depends_on.get(dependency).copied().or(Some(place.name)));
        span.unwrap_or(Span::whole(0))
    };
    let (span, help) = match error {
        GraphError::Unknown { process, dependency, suggestion, .. } => {
            let help = match suggestion {
                Some(name) => format!("did you mean `{name}`?"),
                None => "add it under `processes:`, or remove it here".to_owned(),
            };
            (at(*process, *dependency), help)
        }
        GraphError::Itself { process, dependency, .. } => {
            (at(*process, *dependency), "remove it here".to_owned())
        }
        GraphError::Cycle { process, dependency, .. } => {
            (at(*process, *dependency), "remove one of these dependencies".to_owned())
        }
        GraphError::TooMany => (Span::whole(0), "split them over several containers".to_owned()),
    };
    report.error(span, error.to_string()).help(help);
}
