//! `depends_on:`, which is a list of names, or a mapping of names to conditions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::keys::forms::Verbatim;
use crate::keys::forms::{Name, leaf};
use crate::keys::key::{At, Form, Leaf, Shape, Table};
use crate::keys::reader::Reader;
use crate::keys::scale::Scaling;
use crate::keys::{Process, ProcessKind, StartCondition};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::invalid::Invalid;
use crate::language::yaml::node::{Kind, Node, get};

/// One entry of `depends_on:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the process on which this process depends.
    pub process: String,
    pub condition: StartCondition,
    /// Whether this process is restarted when a new instance of the dependency meets the condition.
    pub restart: bool,
}

/// The keys of one dependency.
#[derive(Table)]
#[table(default)]
struct DependencyTerms {
    /// The condition that the dependency must meet. Default: `ready`, or `completed` for a oneshot.
    /// Example: `condition: started`
    #[key(form = Condition)]
    condition: Option<StartCondition>,
    /// Whether a restart of the dependency also restarts this process. <!-- C196 --> Example:
    /// `restart: true`
    #[key(default = "false")]
    restart: bool,
}

leaf! {
    struct Condition => StartCondition: StartCondition::SHAPE, condition;
}

fn condition(text: &str) -> Result<StartCondition, Invalid> {
    let ours = match text {
        "service_started" => StartCondition::Started,
        "service_healthy" => StartCondition::Ready,
        "service_completed_successfully" => StartCondition::Completed,
        _ => return StartCondition::parse(text),
    };
    Err(Invalid::new("its name in Compose", format!("write `{}`", ours.name())))
}

/// Reads the dependencies of a process, without duplicates. If the config gives no condition,
/// [`resolve`] later sets the default condition.
pub(crate) struct DependsOn;

impl Form for DependsOn {
    type Out = Vec<Dependency>;
    const SHAPE: Shape =
        Shape::Either(&[Shape::List(&Name::SHAPE), Shape::Processes(&DependencyTerms::SHAPE)]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<Dependency>> {
        let dependency = |process, DependencyTerms { condition, restart }| Dependency {
            process,
            condition: condition.unwrap_or(StartCondition::Ready),
            restart,
        };
        let mut wanted: Vec<Dependency> = Vec::new();
        match &node.kind {
            Kind::Mapping(_) => {
                let at = At::ROOT.inner(at.key);
                let mut places = HashMap::new();
                let entries = reader.entries(node, &at)?.into_iter();
                for (key, node) in entries.filter(|(key, _)| !key.text.starts_with("x-")) {
                    let kind = Kind::Scalar { text: key.text.to_string(), quoted: true };
                    let name = match key.is_item {
                        true => Verbatim::read(reader, &at, &Node::new(key.span, kind)),
                        false => Some(key.text.to_string()),
                    };
                    let terms = match node.kind {
                        Kind::Null => None,
                        _ => DependencyTerms::read(reader, &at.inner(&key.text), node),
                    };
                    let Some(name) = name else { continue };
                    let place = *places.entry(name.clone()).or_insert(wanted.len());
                    match wanted.get_mut(place) {
                        // A bare name must not replace the conditions that the same name has
                        // elsewhere in the merged files.
                        Some(_) if terms.is_none() => {}
                        Some(same) => *same = dependency(name, terms.unwrap_or_default()),
                        None => wanted.push(dependency(name, terms.unwrap_or_default())),
                    }
                }
            }
            Kind::Sequence(items) => {
                let mut seen = HashSet::new();
                for item in items {
                    let Some(name) = Verbatim::read(reader, at, item) else { continue };
                    if seen.insert(name.clone()) {
                        wanted.push(dependency(name, DependencyTerms::default()));
                    }
                }
            }
            Kind::Null | Kind::Scalar { .. } => {
                let problem = reader.problems.error(
                    Rule::WrongType,
                    node.span,
                    "`depends_on` must be a list or a mapping",
                );
                let name = if let Kind::Scalar { text, .. } = &node.kind { text } else { "" };
                problem.help(match name {
                    "" => "write `depends_on: [NAME]`".to_owned(),
                    name => format!("write `depends_on: [{name}]`"),
                });
            }
        }
        Some(wanted)
    }
}

/// Completes `depends_on` when all processes are read. The name of an entry with `scale` is
/// replaced by the names of its copies. A missing condition gets its default, which depends on the
/// type of the dependency.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    processes: &mut [Arc<Process>],
    scaling: &mut Scaling,
) {
    let kinds: HashMap<String, ProcessKind> =
        processes.iter().map(|process| (process.name.clone(), process.kind)).collect();
    for (index, process) in processes.iter_mut().map(Arc::make_mut).enumerate() {
        let mut depends_on = Vec::with_capacity(process.depends_on.len());
        for one in std::mem::take(&mut process.depends_on) {
            let entry = &reader.places.processes[index];
            let path = ["depends_on", &one.process, "condition"];
            let written = get(&entry.node, &path).map(|node| node.span);
            let names = expand(reader, index, &process.name, &one.process, scaling);
            let kind = names.first().and_then(|name| kinds.get(name));
            let condition = match (kind, written, one.condition) {
                (Some(ProcessKind::Service), Some(at), StartCondition::Completed) => {
                    let process = quote(&reader.problems.for_message(&one.process));
                    let message = format!("{process} is a service, which never completes");
                    let help = "wait for `ready`, or set its `type: oneshot`";
                    reader.problems.error(Rule::DependencyNeverMet, at, message).help(help);
                    one.condition
                }
                (Some(ProcessKind::Oneshot), None, _) => StartCondition::Completed,
                _ => one.condition,
            };
            let restart = one.restart;
            depends_on.extend(names.into_iter().map(|process| Dependency {
                process,
                condition,
                restart,
            }));
        }
        process.depends_on = depends_on;
    }
}

/// The processes that the name `on` in a `depends_on` stands for. `name` is the process that has
/// the `depends_on`.
fn expand(
    reader: &mut Reader<'_>,
    index: usize,
    name: &String,
    on: &str,
    scaling: &mut Scaling,
) -> Vec<String> {
    let Some(names) = scaling.names(on).map(<[String]>::to_vec) else {
        return vec![on.to_owned()];
    };
    let span = reader.places.processes[index].dependency(on);
    if names.contains(name) {
        let on = quote(&reader.problems.for_message(on));
        let message = format!("process {on} depends on itself");
        reader.problems.error(Rule::DependencyCycle, span, message).help("remove it here");
    } else if scaling.take(reader, names.len() as u64, span) {
        return names;
    }
    Vec::new()
}
