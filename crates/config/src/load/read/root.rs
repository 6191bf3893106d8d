//! Reads the whole config, or only its `control` mapping.

use std::rc::Rc;

use crate::config::{Config, Control, LogFormat};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::expand;
use crate::load::key::{At, Form, Leaf, Table};
use crate::load::read::environment::Env;
use crate::load::read::reader::{Fields, Reader};
use crate::load::span::Span;
use crate::load::yaml::node::{Kind, Node};
use crate::types::suggest::nearest;

pub(crate) fn config(reader: &mut Reader<'_>, node: &Node) -> Config {
    let at = &At::ROOT;
    let Some(fields) = reader.table(node, at, Config::KEYS) else { return Config::default() };
    let mut config = Config::read_keys(reader, &fields).unwrap_or_default();
    config.unused_args = std::mem::take(&mut reader.unused_args);
    let entries = fields.get("processes").map_or(&[][..], Node::entries);
    let is_mapping = fields.get("processes").is_none_or(|it| matches!(it.kind, Kind::Mapping(_)));
    if config.processes.is_empty() && is_mapping && !fields.has_unknown {
        let has_key = fields.entries().iter().any(|(key, _)| &*key.text == "processes");
        let span = if has_key { fields.key("processes") } else { Span::whole(node.span.file()) };
        if entries.iter().all(|(key, node)| key.text.starts_with("x-") || node.is_reset()) {
            let problem = reader.problems.error(span, "the config has no processes");
            problem.help("add one: `processes: {NAME: {command: [PROGRAM, ARGUMENT]}}`");
        } else {
            let message = "there is nothing to start: every `scale` is 0";
            let problem = reader.problems.warning(span, message);
            problem.help("set one to 1 or more; without a process drainit exits with 0 at once");
        }
    }
    unknown_profiles(reader, node, &config);
    if let Some(format) = log_format(reader, node) {
        config.logging.format = format;
    }
    config
}

/// Warns of each enabled profile that no process of the config has, because its name is probably a
/// typing error.
fn unknown_profiles(reader: &mut Reader<'_>, root: &Node, config: &Config) {
    let known: Vec<_> = config.processes.iter().flat_map(|process| &process.profiles).collect();
    for enabled in reader.variables.container().profiles() {
        if enabled == "*" || known.iter().any(|profile| *profile == enabled) {
            continue;
        }
        let message =
            format!("no process has the profile {} of `DRAINIT_PROFILES`", quote(enabled));
        let problem = reader.problems.warning(Span::whole(root.span.file()), message);
        problem.help(match nearest(enabled, known.iter().map(|profile| profile.as_str())) {
            Some(profile) => format!("did you mean `{profile}`?"),
            None => "remove it, or add it to the `profiles` of a process".to_owned(),
        });
    }
}

/// The format of the log that the container's environment sets (`DRAINIT_LOG_FORMAT`).
fn log_format(reader: &mut Reader<'_>, root: &Node) -> Option<LogFormat> {
    let wanted = reader.variables.container().get_non_empty("DRAINIT_LOG_FORMAT")?;
    let format = LogFormat::parse(wanted).map_err(|bad| {
        let span = root.find("logging.format").map(|node| node.span);
        let message = format!(
            "`DRAINIT_LOG_FORMAT` in the container's environment is {}: {}",
            quote(wanted),
            bad.why
        );
        let span = span.unwrap_or(Span::whole(root.span.file()));
        reader.problems.error(span, message).help(bad.help);
    });
    format.ok()
}

/// Reads `control`, and the entries of `env` that it uses. Also returns the names of the variables
/// that `control` uses and that are not set.
pub(crate) fn control_alone(reader: &mut Reader<'_>, node: &Node) -> (Control, Vec<String>) {
    let fields = Fields::unchecked(node);
    let mut used = Vec::new();
    if let Some(node) = fields.get("control") {
        names(node, &mut used);
    }
    let mut defaults = Vec::new();
    if let Some(node) = fields.get("env") {
        // An entry can use the entries before it. Therefore the last entry is read first, so that
        // the entries that it uses are known.
        for (key, value) in node.entries().iter().rev() {
            let is_set = reader.variables.container().get_non_empty(&key.text).is_some();
            if !is_set && used.iter().any(|name| **name == *key.text) {
                names(value, &mut used);
                defaults.push((key.clone(), Rc::clone(value)));
            }
        }
        defaults.reverse();
        let env = Node::new(node.span, Kind::Mapping(defaults));
        Env::read(reader, &At::ROOT.inner("env"), &env);
    }
    let control = reader.key::<Control>(&fields, "control").unwrap_or_default();
    used.retain(|name| reader.variables.get_non_empty(name).is_none());
    (control, used)
}

/// Adds the names of all variables that a node and the nodes in it use.
fn names(node: &Node, out: &mut Vec<String>) {
    for name in node.scalar().map(expand::names).unwrap_or_default() {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    node.inner().for_each(|inner| names(inner, out));
}
