//! `depends_on:`: a list of names, or a mapping with a condition for each.

use std::collections::{HashMap, HashSet};

use crate::config::{Dependency, Process, ProcessKind, StartCondition};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::read::places::ProcessPlaces;
use crate::load::read::reader::Reader;
use crate::load::values;
use crate::load::values::Bad;
use crate::load::yaml::node::{Kind, Node, Span};

/// So many names are looked through one by one.
const FEW: usize = 16;

/// A dependency as it is written.
pub(crate) struct Wanted {
    process: String,
    span: Span,
    condition: Option<(StartCondition, Span)>,
}

/// Reads `depends_on:`; each name once.
pub(crate) fn wanted(reader: &mut Reader<'_>, node: &Node) -> Vec<Wanted> {
    let count = match &node.kind {
        Kind::Mapping(entries) => entries.len(),
        Kind::Sequence(items) => items.len(),
        Kind::Null | Kind::Scalar { .. } => 0,
    };
    let mut wanted: Vec<Wanted> = Vec::with_capacity(count);
    match &node.kind {
        Kind::Mapping(entries) => {
            for (key, node) in entries.iter().filter(|(key, _)| !key.text.starts_with("x-")) {
                let condition = match node.kind {
                    Kind::Null => None,
                    _ => condition(reader, node, &key.text),
                };
                wanted.push(Wanted { process: key.text.to_string(), span: key.span, condition });
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
                    wanted.push(Wanted { process: name.text, span: item.span, condition: None });
                }
            }
        }
        Kind::Null | Kind::Scalar { .. } => {
            let problem =
                reader.report.error(node.span, "`depends_on` must be a list or a mapping");
            problem.help("put the name into brackets: `[NAME]`");
        }
    }
    wanted
}

fn condition(reader: &mut Reader<'_>, node: &Node, name: &str) -> Option<(StartCondition, Span)> {
    let fields = reader.fields(node, &format!("depends_on.{name}"), &["condition"])?;
    let node = fields.get("condition")?;
    let condition = reader.typed(node, "condition", |text| {
        let ours = match text {
            "service_started" => "started",
            "service_healthy" => "ready",
            "service_completed_successfully" => "completed",
            _ => {
                let words = [
                    ("started", StartCondition::Started),
                    ("ready", StartCondition::Ready),
                    ("completed", StartCondition::Completed),
                ];
                return values::choice(text, &words);
            }
        };
        Err(Bad::new("that is Compose's word", format!("write `{ours}`")))
    })?;
    Some((condition, node.span))
}

/// Puts the conditions in, now that it is known what each process is.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    processes: &mut [Process],
    wanted: Vec<Vec<Wanted>>,
    places: &mut [ProcessPlaces],
) {
    let kinds: HashMap<&str, ProcessKind> =
        processes.iter().map(|process| (process.name.as_str(), process.kind)).collect();
    let mut resolve = |Wanted { process, span, condition }, place: &mut ProcessPlaces| {
        let kind = kinds.get(&*process).copied();
        if let (Some((StartCondition::Completed, at)), Some(ProcessKind::Service)) =
            (condition, kind)
        {
            let message = format!("{} is a service, which never completes", quote(&process));
            let help = "wait for `ready`, or make it a task: `type: oneshot`";
            reader.report.error(at, message).help(help);
        }
        let default = match kind {
            Some(ProcessKind::Oneshot) => StartCondition::Completed,
            _ => StartCondition::Ready,
        };
        place.depends_on.push(span);
        Dependency { process, condition: condition.map_or(default, |(condition, _)| condition) }
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
