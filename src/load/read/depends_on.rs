//! `depends_on:`: a list of names, or a mapping with a condition for each.

use std::collections::{HashMap, HashSet};

use crate::config::{Dependency, Process, ProcessKind, StartCondition};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::places::ProcessPlaces;
use crate::load::read::reader::Reader;
use crate::load::read::scale::{Dependencies, Scaling};
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Kind, Node};

/// A list of names, or a mapping with a condition for each.
pub(crate) const SHAPE: Shape =
    Shape::Either(&[Shape::List(&Shape::Path), Shape::Processes(&Shape::Table(&KEYS))]);

static KEYS: Keys = Keys::new(&[
    Key::new(
        "condition",
        Shape::Word(&CONDITIONS),
        "What must be true of it. Default: `ready`, or `completed` for a oneshot.",
    ),
    Key::new(
        "restart",
        Shape::Bool,
        "Whether this process is restarted after that one was. Default: false.",
    ),
]);

const CONDITIONS: &[(&str, StartCondition)] = &[
    ("started", StartCondition::Started),
    ("ready", StartCondition::Ready),
    ("completed", StartCondition::Completed),
];

/// Lists of at most this length are searched without hashing.
const FEW: usize = 16;

/// A dependency before the kind of its process is known.
pub(crate) struct RawDependency {
    process: String,
    span: Span,
    condition: Option<(StartCondition, Span)>,
    restart: bool,
}

/// Reads `depends_on:` without duplicates.
pub(crate) fn read(reader: &mut Reader<'_>, node: &Node) -> Vec<RawDependency> {
    let count = match &node.kind {
        Kind::Mapping(entries) => entries.len(),
        Kind::Sequence(items) => items.len(),
        Kind::Null | Kind::Scalar { .. } => 0,
    };
    let mut wanted: Vec<RawDependency> = Vec::with_capacity(count);
    match &node.kind {
        Kind::Mapping(entries) => {
            for (key, node) in entries.iter().filter(|(key, _)| !key.text.starts_with("x-")) {
                let (condition, restart) = match node.kind {
                    Kind::Null => (None, false),
                    _ => terms(reader, node, &key.text),
                };
                wanted.push(RawDependency {
                    process: key.text.to_string(),
                    span: key.span,
                    condition,
                    restart,
                });
            }
        }
        Kind::Sequence(items) => {
            let mut seen = HashSet::new();
            for item in items {
                let Some(name) = reader.text(item, "depends_on") else { continue };
                let is_new = match items.len() {
                    ..=FEW => wanted.iter().all(|other| other.process != name.text),
                    _ => seen.insert(name.text.clone()),
                };
                if is_new {
                    wanted.push(RawDependency {
                        process: name.text,
                        span: item.span,
                        condition: None,
                        restart: false,
                    });
                }
            }
        }
        Kind::Null | Kind::Scalar { .. } => {
            let problem =
                reader.problems.error(node.span, "`depends_on` must be a list or a mapping");
            problem.help("put the name into brackets: `[NAME]`");
        }
    }
    wanted
}

/// Reads the mapping of one dependency.
fn terms(
    reader: &mut Reader<'_>,
    node: &Node,
    name: &str,
) -> (Option<(StartCondition, Span)>, bool) {
    let Some(fields) = reader.fields(node, &format!("depends_on.{name}"), &KEYS) else {
        return (None, false);
    };
    let condition = fields.get("condition").and_then(|node| condition(reader, node));
    (condition, reader.field(&fields, "restart", values::boolean).unwrap_or_default())
}

fn condition(reader: &mut Reader<'_>, node: &Node) -> Option<(StartCondition, Span)> {
    let condition = reader.typed(node, "condition", |text| {
        let ours = match text {
            "service_started" => "started",
            "service_healthy" => "ready",
            "service_completed_successfully" => "completed",
            _ => return values::choice(text, CONDITIONS),
        };
        Err(Invalid::new("its name in Compose", format!("write `{ours}`")))
    })?;
    Some((condition, node.span))
}

/// Replaces each process with `scale` by all of its copies, which may be none.
fn with_copies(
    reader: &mut Reader<'_>,
    processes: &[Process],
    wanted: Vec<Vec<RawDependency>>,
    scaling: &Scaling,
) -> Vec<Vec<RawDependency>> {
    let mut limit = Dependencies::default();
    let mut replace = |process: &Process, wanted: Vec<RawDependency>| {
        let mut out = Vec::with_capacity(wanted.len());
        for one in wanted {
            let Some(copies) = scaling.copies(&one.process) else {
                out.push(one);
                continue;
            };
            if process.copy_of.as_ref().is_some_and(|copy| copy.process == one.process) {
                let message = format!("process {} depends on itself", quote(&one.process));
                reader.problems.error(one.span, message).help("remove it here");
                continue;
            }
            if !limit.fit(reader, copies.len(), one.span) {
                continue;
            }
            let copy = |name: &String| RawDependency { process: name.clone(), ..one };
            out.extend(copies.iter().map(copy));
        }
        out
    };
    processes.iter().zip(wanted).map(|(process, wanted)| replace(process, wanted)).collect()
}

/// Sets `depends_on` of all processes. The default condition depends on the kind of the other one.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    processes: &mut [Process],
    wanted: Vec<Vec<RawDependency>>,
    places: &mut [ProcessPlaces],
    scaling: &Scaling,
) {
    let wanted = with_copies(reader, processes, wanted, scaling);
    let kinds: HashMap<&str, (ProcessKind, &str)> = processes
        .iter()
        .map(|process| (process.name.as_str(), (process.kind, process.key())))
        .collect();
    let mut resolve = |one: RawDependency, place: &mut ProcessPlaces| {
        let RawDependency { process, span, condition, restart } = one;
        let known = kinds.get(&*process);
        if let (Some((StartCondition::Completed, at)), Some((ProcessKind::Service, written))) =
            (condition, known)
        {
            let message = format!("{} is a service, which never completes", quote(written));
            let help = "wait for `ready`, or set its `type: oneshot`";
            reader.problems.error(at, message).help(help);
        }
        let default = match known {
            Some((ProcessKind::Oneshot, _)) => StartCondition::Completed,
            _ => StartCondition::Ready,
        };
        place.depends_on.push(span);
        let condition = condition.map_or(default, |(condition, _)| condition);
        Dependency { process, condition, restart }
    };
    let resolved: Vec<Vec<_>> = wanted
        .into_iter()
        .zip(places)
        .map(|(wanted, place)| {
            place.depends_on.reserve_exact(wanted.len());
            wanted.into_iter().map(|one| resolve(one, place)).collect()
        })
        .collect();
    for (process, depends_on) in processes.iter_mut().zip(resolved) {
        process.depends_on = depends_on;
    }
}
