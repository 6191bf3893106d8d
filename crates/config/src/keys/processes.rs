//! Reads `processes:`, one entry after the other.

use std::rc::Rc;
use std::sync::Arc;

use crate::keys::key::{At, Form, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::keys::{Process, log};
use crate::keys::{depends_on, scale};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::EntryPlace;
use crate::language::span::Span;
use crate::language::yaml::node::{Kind, Node};

/// Reads every process. A process with errors is also kept, so that a `depends_on` with its name is
/// not reported as unknown.
pub(crate) struct Processes;

impl Form for Processes {
    type Out = Vec<Arc<Process>>;
    const SHAPE: Shape = Shape::Processes(&Process::SHAPE);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out> {
        let entries = reader.entries(node, at)?.into_iter();
        let entries = entries.filter(|(key, _)| !key.text.starts_with("x-"));
        let mut processes = Vec::new();
        let mut scaling = scale::Scaling::default();
        for (key, node) in entries.clone() {
            name(reader, &key.text, key.span);
            let scale = scaling.read(reader, &key.text, node, processes.len());
            // An entry with `scale: 0` makes no process, but is read once, so that its errors are
            // reported.
            for number in 1..=scale.unwrap_or(1).max(1) {
                reader.variables.set_number(scale.map(|_| number.to_string()));
                reader.process = match scale {
                    Some(_) => scale::name_of(&key.text, number),
                    None => key.text.to_string(),
                };
                let entry = EntryPlace { name: key.span, node: Rc::clone(node) };
                let process = process(reader, &at.inner(&key.text), &entry);
                if scale == Some(0) {
                    let route = process.args.map(|route| (key.text.to_string(), route));
                    reader.unused_args.extend(route);
                } else {
                    processes.push(Arc::new(process));
                    reader.places.processes.push(entry);
                }
            }
        }
        reader.variables.set_number(None);
        reader.process.clear();
        let keys: Vec<_> = entries.map(|(key, _)| key).collect();
        scale::check_names(reader, &keys, &scaling);
        depends_on::resolve(reader, &mut processes, &mut scaling);
        Some(processes)
    }
}

fn name(reader: &mut Reader<'_>, name: &str, span: Span) {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        let problem = reader.problems.error(
            Rule::InvalidName,
            span,
            format!("{} cannot be the name of a process", quote(name)),
        );
        problem.help("use letters, digits, `_`, `-` and `.`");
    } else if name == log::OWN {
        let message = format!("{} is the name on drainit's own lines", quote(name));
        reader
            .problems
            .error(Rule::InvalidName, span, message)
            .help("give the process another name");
    }
}

fn process(reader: &mut Reader<'_>, at: &At<'_>, entry: &EntryPlace) -> Process {
    let empty = Fields::empty(*at, entry.name);
    // An entry without a value is read like an empty mapping, so the error says that `command` is
    // missing.
    let fields = match entry.node.kind {
        Kind::Null => Some(empty),
        _ => reader.table(&entry.node, at, Process::KEYS),
    };
    if let Some(fields) = &fields
        && fields.get("command").is_none()
        && !fields.has_unknown
    {
        let message = format!("process {} has no `command`", quote(at.key));
        let problem = reader.problems.error(Rule::MissingKey, entry.name, message);
        problem.help("add `command: [PROGRAM, ARGUMENT, …]`");
    }
    let fields = fields.unwrap_or(empty);
    let read = Process::read_keys(reader, &fields);
    read.and_then(|process| process.settle(reader, &fields)).unwrap_or_default()
}
