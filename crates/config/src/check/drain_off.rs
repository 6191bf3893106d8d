//! Names each drain that the config has, but that is off: its process is stopped like a process
//! without a drain.

use std::rc::Rc;

use crate::check::running;
use crate::core::spec::DrainOff;
use crate::keys::Config;
use crate::language::diagnostics::diagnostic::Severity;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::Environment;
use crate::language::expand;
use crate::language::places::{EntryPlace, Places};
use crate::language::yaml::node::{Node, NodeKey};
use crate::types::suggest::list;

/// Warns of each drain that is off, because the drain may be on where its author has tried it. If
/// the files alone turn it off, by a `time` of 0 or by `env`, that is on purpose, and only a note.
/// Returns whether there was a warning.
pub(crate) fn check(
    problems: &mut Problems,
    config: &Config,
    places: &Places,
    environment: &Environment,
) -> bool {
    let mut is_warned = false;
    for (index, process, place) in running(config, places) {
        let off = process.drain_off.filter(|_| !places.is_further_copy(index));
        let Some((off, (key, node))) = off.and_then(|off| Some((off, cause(off, place)?))) else {
            continue;
        };
        let names = names(node);
        let sources: Vec<_> =
            names.iter().map(|name| Source::of(name, places, environment)).collect();
        let is_literal = off == DrainOff::Time && names.is_empty();
        let is_meant =
            is_literal || !names.is_empty() && sources.iter().all(|source| *source == Source::Env);
        let variables = names.iter().zip(&sources);
        let variables = variables.map(|(name, source)| format!("{name} {}", source.text()));
        let why: Vec<_> = std::iter::once(written(node)).chain(variables).collect();
        let why = if is_literal { String::new() } else { format!(" ({})", why.join("; ")) };
        let (is, help) = match off {
            DrainOff::Time if is_literal => {
                ("is 0", "remove it if requests in flight should end before the stop: with it, nothing else \
                 warns of them"
                    .to_owned())
            }
            DrainOff::Time => {
                let names = list(names.iter().map(String::as_str));
                let set = format!("set {names} to the longest time of a request");
                ("is 0", format!("{set}, or write `time: 0` if it shall not be drained"))
            }
            DrainOff::Condition => {
                let help = "check it with the files and the variables of the container, or write \
                            `time: 0` if it shall not be drained";
                ("does not hold", help.to_owned())
            }
        };
        let message = format!("`{}` is not drained: its `{key}` {is}{why}", process.name);
        let severity = if is_meant { Severity::Note } else { Severity::Warning };
        is_warned |= !is_meant;
        problems.push(Rule::DrainOff, severity, node.span, message).help(help);
    }
    is_warned
}

/// The key that turns the drain off, and its value.
fn cause(off: DrainOff, place: &EntryPlace) -> Option<(String, &Node)> {
    let drain = place.find("drain")?;
    if off == DrainOff::Condition {
        return Some(("drain.only_if".to_owned(), drain.find("only_if")?));
    }
    let mut methods = drain.entries().iter();
    methods.find_map(|(key, node)| Some((format!("drain.{}.time", key.text), node.find("time")?)))
}

/// The variables of all values in a node, each once.
fn names(node: &Node) -> Vec<String> {
    let own = node.scalar().map(expand::names).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in own.into_iter().chain(node.inner().flat_map(self::names)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Where the value of a variable comes from. The value itself may be secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Environment,
    /// The mapping `env:` of the config.
    Env,
    Empty,
    Nowhere,
}

impl Source {
    fn of(name: &str, places: &Places, environment: &Environment) -> Self {
        match environment.get(name) {
            Some(value) if !value.is_empty() => Self::Environment,
            _ if places.find(&format!("env.{name}")).is_some() => Self::Env,
            Some(_) => Self::Empty,
            None => Self::Nowhere,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Environment => "is set in the environment",
            Self::Env => "is set by `env`",
            Self::Empty => "is empty",
            Self::Nowhere => "is not set",
        }
    }
}

/// A value as the file has it, on one line.
fn written(node: &Node) -> String {
    if let Some(text) = node.scalar() {
        return format!("`{text}`");
    }
    let entry = |(key, node): &(NodeKey, Rc<Node>)| format!("{}: {}", key.text, written(node));
    let entries = node.entries().iter().map(entry).collect::<Vec<_>>().join(", ");
    let items = node.items().iter().map(|item| written(item)).collect::<Vec<_>>().join(" or ");
    entries + &items
}
