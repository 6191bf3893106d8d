//! `depends_on:`: a list of names, or a mapping with a condition for each.

use std::collections::HashMap;

use super::check::ProcessPlaces;
use super::diagnostic::quote;
use super::node::{Kind, Node, Span};
use super::read::Reader;
use super::schema::{Dependency, Process, ProcessKind, StartCondition};
use super::values::{self, Bad};

/// A dependency as it is written.
pub(super) struct Wanted {
    process: String,
    span: Span,
    condition: Option<(StartCondition, Span)>,
}

/// Reads `depends_on:`; each name once.
pub(super) fn wanted(reader: &mut Reader<'_>, node: &Node) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
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
            let mut seen = std::collections::HashSet::new();
            for item in items {
                let Some(name) = reader.text(item, "depends_on") else { continue };
                if seen.insert(name.text.clone()) {
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
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    processes: &mut [Process],
    wanted: Vec<Vec<Wanted>>,
    places: &mut [ProcessPlaces],
) {
    let kinds: HashMap<String, ProcessKind> =
        processes.iter().map(|p| (p.name.clone(), p.kind)).collect();
    for ((process, wanted), place) in processes.iter_mut().zip(wanted).zip(places) {
        for Wanted { process: name, span, condition } in wanted {
            let kind = kinds.get(&name).copied();
            if let (Some((StartCondition::Completed, at)), Some(ProcessKind::Service)) =
                (condition, kind)
            {
                let message = format!("{} is a service, which never completes", quote(&name));
                let help = "wait for `ready`, or make it a task: `type: oneshot`";
                reader.report.error(at, message).help(help);
            }
            let default = match kind {
                Some(ProcessKind::Oneshot) => StartCondition::Completed,
                _ => StartCondition::Ready,
            };
            let condition = condition.map_or(default, |(condition, _)| condition);
            process.depends_on.push(Dependency { process: name, condition });
            place.depends_on.push(span);
        }
    }
}
