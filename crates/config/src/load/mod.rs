//! Reads YAML into a [`Config`], or reports all problems together, each with its place.
//!
//! ```text
//! source ──▶ yaml ──▶ overlay ──▶ keys (expand, values) ──▶ graph ──▶ check
//!  text      Node      Node        Config                    Graph
//! ```

pub mod args;
pub mod at_start;
pub mod control;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::mem;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

pub use crate::language::diagnostics::diagnostic::{Diagnostic, Severity};
pub use crate::language::environment::Environment;

use crate::check;
use crate::check::image::{Find, ImageLookup};
use crate::graph::{Graph, GraphError};
use crate::keys::neighbours::{IMPORT, foreign};
use crate::keys::reader::Reader;
use crate::keys::{self, Account, Accounts, Config, Variable, overlay, share};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::Variables;
pub use crate::language::moment::AsRead;
use crate::language::moment::{Reads, of_one_moment};
use crate::language::places::Places;
use crate::language::source::{CONFIG, Source, Unreadable};
use crate::language::span::Span;
use crate::language::yaml::node::{Kind, Node};
use crate::language::{expand, yaml};
use crate::plan::Plan;
use drainit_os::users;

/// A config without errors, which drainit can run.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub config: Config,
    pub graph: Graph,
    /// The names of the variables that the value of `grace_period` uses.
    pub grace_variables: Vec<String>,
    /// Whether a file sets `grace_period`; otherwise it has its default.
    pub has_grace_period: bool,
    /// True if the config or the pod says how the traffic leaves, for example by a `drain`, or if
    /// `check` has already warned about the traffic. Always false if the config is not loaded for
    /// `check`.
    pub says_how_traffic_leaves: bool,
    /// The warnings in file order.
    pub warnings: Vec<Diagnostic>,
    /// The files that the config was read from.
    pub files: AsRead,
}

/// Reads all files, and merges each file over the files before it. If a path is a directory, reads
/// the files in it.
///
/// The call takes milliseconds and little memory, whatever the files contain. The call can wait for
/// only two things, for at most two seconds each: a pipe that has a writer, and the end of changes
/// to the files.
///
/// # Errors
/// If there is an error, returns all errors and warnings in file order.
pub fn load(paths: &[PathBuf], environment: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, false, None)
}

/// Like [`load`], but for a reload: `find` searches for the files that the reload needs.
///
/// # Errors
/// As for [`load`].
pub fn load_to_reload(
    paths: &[PathBuf],
    environment: &Environment,
    find: Find<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, false, Some(ImageLookup { find, is_held_back: false }))
}

/// Like [`load`], but for `check`: probable mistakes count as errors, and `lookup` searches the
/// image for the files that the config names.
pub fn load_to_check(
    paths: &[PathBuf],
    environment: &Environment,
    lookup: ImageLookup<'_>,
) -> Result<Loaded, Vec<Diagnostic>> {
    read(paths, environment, true, Some(lookup))
}

/// The problems that [`load_to_check`] would find in a text, without a search of the image.
pub fn check_text(text: &str, environment: &Environment) -> Vec<Diagnostic> {
    let mut problems = Problems::of(&Reads::default(), true);
    let roots = vec![parse_source(&mut problems, Source::new("0.yaml", text.to_owned()))];
    finish(problems, roots, environment, None).map_or_else(|problems| problems, |it| it.warnings)
}

fn read(
    paths: &[PathBuf],
    environment: &Environment,
    is_check: bool,
    lookup: Option<ImageLookup<'_>>,
) -> Result<Loaded, Vec<Diagnostic>> {
    users::find_with(Accounts::of_number);
    let read = of_one_moment(|reads| {
        let mut problems = Problems::of(reads, is_check);
        let roots = read_roots(&mut problems, paths, environment);
        finish(problems, roots, environment, lookup)
    });
    let (loaded, files) = read.map_err(changed_meanwhile)?;
    Ok(Loaded { files: files.into(), ..loaded? })
}

/// The problem of a file that has changed again and again.
fn changed_meanwhile((path, why): (PathBuf, Unreadable)) -> Vec<Diagnostic> {
    let mut problems = Problems::default();
    problems.unreadable(&path, why, String::new);
    problems.finish()
}

/// The tree of each file; `None` in place of a file that cannot be read or parsed.
type Roots = Vec<Option<Rc<Node>>>;

fn read_roots(problems: &mut Problems, paths: &[PathBuf], environment: &Environment) -> Roots {
    let mut roots = Vec::with_capacity(paths.len());
    for path in paths {
        let files = problems.reads.list(path).unwrap_or_else(|| Ok(vec![path.clone()]));
        let files = files.unwrap_or_else(|bad| {
            problems.unreadable(path, bad, String::new);
            roots.push(None);
            Vec::new()
        });
        for path in files {
            match problems.reads.read(&path, &CONFIG) {
                Ok(source) => roots.push(parse_source(problems, source)),
                Err(bad) => {
                    problems.unreadable(&path, bad, || path_help(&path, environment));
                    roots.push(None);
                }
            }
        }
    }
    roots
}

/// The help text for a file of the config that does not exist.
fn path_help(path: &Path, environment: &Environment) -> String {
    let name = path.to_string_lossy();
    if environment.get_non_empty("DRAINIT_CONFIG") == Some(&name) {
        "correct $DRAINIT_CONFIG, or name the file with -c".to_owned()
    } else if path == Path::new("/etc/drainit.yaml") {
        "put a config there, or name one with -c or $DRAINIT_CONFIG; there is no ./drainit.yaml either; \
         `drainit exec` runs a program without a config"
            .to_owned()
    } else {
        "check the path; a relative one starts at the working directory".to_owned()
    }
}

/// The end of the message for a file of another program.
pub const FOREIGN: &str = ", and not a config of drainit";

/// Parses a file of the config. An empty file is an error.
pub fn parse_source(problems: &mut Problems, source: Source) -> Option<Rc<Node>> {
    let name = quote(&source.path.to_string_lossy());
    // The lines of a Procfile may be YAML, too, so only the file name shows that it is one.
    let is_procfile = source.path.file_name().is_some_and(|name| name == "Procfile");
    let procfile = is_procfile.then_some((1, "a Procfile", IMPORT));
    let foreign = procfile.or_else(|| foreign(&source.text));
    let file = problems.add_source(source);
    if let Some((line, what, help)) = foreign {
        let message = format!("{name} is {what}{FOREIGN}");
        problems.error(Rule::ForeignFile, Span::new(file, line, 1, 1), message).help(help);
        return None;
    }
    let root = yaml::parse(problems, file)?;
    if matches!(root.kind, Kind::Null) {
        let problem =
            problems.error(Rule::EmptyConfig, Span::whole(file), format!("{name} is empty"));
        problem.help("write at least `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`");
        return None;
    }
    Some(root)
}

/// Merges all files. If there is no file, or a file is missing or invalid, returns `None`, and
/// `problems` has the error.
fn merge_roots(problems: &mut Problems, roots: Roots) -> Option<Rc<Node>> {
    // Do not merge only some of the files: the check would then report problems that the complete
    // config does not have.
    let complete: Option<Vec<_>> = roots.into_iter().collect();
    let merged = complete
        .and_then(|roots| roots.into_iter().reduce(|base, over| overlay::merge(&base, &over)));
    if merged.is_none() && !problems.has_errors() {
        problems
            .error(Rule::EmptyConfig, Span::whole(0), "no config file is given")
            .help("name one with -c");
    }
    merged
}

fn finish(
    mut problems: Problems,
    roots: Roots,
    environment: &Environment,
    lookup: Option<ImageLookup<'_>>,
) -> Result<Loaded, Vec<Diagnostic>> {
    let Some(root) = merge_roots(&mut problems, roots) else { return Err(problems.finish()) };
    let variables = Variables::new(environment);
    let Whole { mut config, places, times_known } = read_whole(&mut problems, &root, variables);
    make_users_known(&config);
    let mut says_how_traffic_leaves = false;
    let graph = match config.graph() {
        Ok(graph) => {
            check::check(&mut problems, &mut config, &graph, &places, times_known);
            if problems.is_check() {
                problems.seek(|rule| !rule.is_of_image() && !rule.is_of_audit());
                let is_held_back = lookup.is_some_and(|lookup| lookup.is_held_back);
                let problems = &mut problems;
                check::shell_child::check(problems, &config, &places);
                check::known_programs::check(problems, &config, &places);
                says_how_traffic_leaves = check::undrained::check(
                    problems,
                    &config,
                    &graph,
                    &places,
                    environment,
                    is_held_back,
                );
                check::inner_broker::check(problems, &config, &graph, &places);
                check::own_work::check(problems, &config, &graph, &places);
            }
            graph
        }
        Err(errors) => {
            errors
                .into_iter()
                .for_each(|error| graph_error(&mut problems, &config, &places, error));
            if times_known {
                check::each_min(&mut problems, &config, &places);
            }
            Graph::default()
        }
    };
    check::unique::check(&mut problems, &config, &places);
    check::shared_addresses::check(&mut problems, &config, &places);
    if let Some(lookup) = lookup {
        check::image::check(&mut problems, &config, &places, lookup);
    }
    problems.keep_written(config.processes.iter().map(|process| process.name.as_str()));
    let failed = problems.has_errors();
    let diagnostics = problems.finish();
    if failed {
        return Err(diagnostics);
    }
    let grace_period = places.find("shutdown.grace_period");
    let grace_variables =
        grace_period.and_then(Node::scalar).map(expand::names).unwrap_or_default();
    let has_grace_period = grace_period.is_some();
    Ok(Loaded {
        config,
        graph,
        grace_variables,
        has_grace_period,
        says_how_traffic_leaves,
        warnings: diagnostics,
        files: AsRead::default(),
    })
}

/// A config with all its values, before the checks of the whole.
struct Whole {
    config: Config,
    places: Places,
    /// Whether every duration is valid.
    times_known: bool,
}

/// Reads the config once. Then plans it, and puts the shares of the deadline that the plan gives
/// into the values that use them.
fn read_whole(problems: &mut Problems, root: &Rc<Node>, variables: Variables<'_>) -> Whole {
    let (mut config, mut reader) = read_root(problems, root, variables);
    let (places, times_known) = (mem::take(&mut reader.places), reader.durations_known);
    let uses_share = reader.variables.uses_share.get();
    if uses_share || reads_at_start(&config) {
        let graph = config.graph().ok();
        let graph = graph.filter(|_| times_known && !reader.problems.has_errors());
        let shares = graph.map(|graph| {
            // Shorten each default `min` that does not fit into the shutdown, so that each
            // process's share of the deadline is the one that `drainit plan` prints.
            check::shrink_default_minima(reader.problems, &mut config, &graph, &places);
            Plan::new(&config, &graph).shares()
        });
        share::put(&mut reader, &mut config.processes, &shares.unwrap_or_default());
    }
    if uses_share {
        find_stores(&mut config);
    }
    Whole { config, places, times_known }
}

fn read_root<'a>(
    problems: &'a mut Problems,
    root: &Rc<Node>,
    variables: Variables<'a>,
) -> (Config, Reader<'a>) {
    let mut reader = Reader::new(problems, variables);
    reader.places = Places::new(root);
    let mut config = keys::config::read(&mut reader, root);
    find_stores(&mut config);
    (config, reader)
}

/// Sets `Process::is_store` where it makes a difference: other processes depend on the process, and
/// its stop declares no time.
fn find_stores(config: &mut Config) {
    let needs = config.processes.iter().flat_map(|process| &process.depends_on);
    let needed: HashSet<_> = needs.map(|on| on.process.clone()).collect();
    for process in &mut config.processes {
        let is_asked = process.stop_grace_period.is_none() && needed.contains(&process.name);
        let is_store = is_asked && check::known_programs::is_store(process);
        if is_store != process.is_store {
            Arc::make_mut(process).is_store = is_store;
        }
    }
}

/// Makes the users of all processes and hooks known to the guard of paths. A user who is missing in
/// `/etc/passwd` is left out.
fn make_users_known(config: &Config) {
    let hooks = config.processes.iter().map(|process| &process.hooks).chain([&config.hooks]);
    let hooks = hooks.flat_map(|hooks| [&hooks.pre_start, &hooks.pre_stop, &hooks.post_stop]);
    let users = hooks.flatten().filter_map(|hook| hook.user.as_ref());
    let users = users.chain(config.processes.iter().filter_map(|process| process.user.as_ref()));
    let names: BTreeSet<_> = users.map(Account::name).collect();
    let mut accounts = Accounts::default();
    let found = names.into_iter().filter_map(|name| accounts.find(&name).ok());
    users::make_known(found.filter_map(|account| account.found().cloned()));
}

/// Whether any process has templates or an `env_file` that drainit reads when the process starts.
/// These files can use the process's share of the deadline.
fn reads_at_start(config: &Config) -> bool {
    config.processes.iter().any(|process| {
        let is_env_file = |variable: &Variable| matches!(variable, Variable::EnvFile(_));
        !process.render.is_empty() || process.environment.iter().any(is_env_file)
    })
}

fn graph_error(problems: &mut Problems, config: &Config, places: &Places, mut error: GraphError) {
    let at = |process: usize, dependency: usize| {
        let on = &config.processes[process].depends_on[dependency];
        places.processes[process].dependency(&on.process)
    };
    let (rule, span, help) = match &mut error {
        GraphError::Unknown { process, dependency, unknown, suggestion, .. } => {
            let span = at(*process, *dependency);
            let items = places.processes[*process].find("depends_on").map(Node::items);
            let mut items = items.unwrap_or_default().iter();
            if items.len() > 0 && items.all(|item| item.scalar() != Some(unknown)) {
                *unknown = problems.for_message(unknown);
            }
            let help = match suggestion {
                _ if unknown.starts_with("x-") => {
                    "give it another name: keys that begin with `x-` are left alone".to_owned()
                }
                Some(name) => format!("did you mean `{name}`?"),
                None => "add it under `processes:`, or remove it here".to_owned(),
            };
            (Rule::UnknownProcess, span, help)
        }
        GraphError::Itself { process, dependency, .. } => {
            (Rule::DependencyCycle, at(*process, *dependency), "remove it here".to_owned())
        }
        GraphError::Cycle { process, dependency, .. } => {
            let help = "remove one of these dependencies".to_owned();
            (Rule::DependencyCycle, at(*process, *dependency), help)
        }
        GraphError::TooMany => {
            (Rule::TooLarge, Span::whole(0), "split them over several containers".to_owned())
        }
    };
    problems.error(rule, span, error.to_string()).help(help);
}
