//! `scale:` of a process: how many copies of it there are.

use std::collections::{HashMap, HashSet};

use crate::config::{CopyOf, LogFile, LogMode, Process};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::read::reader::{Fields, Reader};
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Key, Node};

pub(crate) const KEY: &str = "scale";

/// The limit for the copies of one process.
const MOST_COPIES: u32 = 1000;
/// The limit for the processes of a config, as for a [`ProcessId`](crate::types::ProcessId).
const MOST_PROCESSES: usize = u16::MAX as usize;
/// The limit for the values of all copies together, so that a small config stays cheap to read.
const MOST_VALUES: u64 = 1_000_000;
/// The limit for the dependencies that stand for copies.
const MOST_DEPENDENCIES: usize = 100_000;

/// The names of an entry of `processes:`, each of a process to read.
pub(crate) enum Names {
    /// It has no `scale`.
    One,
    /// The numbers of its copies are those from 1 to this. It is read at least once.
    Copies(u32),
}

/// Counts what all copies cost.
#[derive(Default)]
pub(crate) struct Scaling {
    values: u64,
    /// The names of the copies of each process.
    groups: HashMap<String, Vec<String>>,
}

impl Scaling {
    /// Reads `scale:`, if the entry has one. `so_far` is the number of processes before it.
    pub(crate) fn read(&mut self, reader: &mut Reader<'_>, node: &Node, so_far: usize) -> Names {
        let fields = Fields::unchecked(node);
        let Some(scale) = fields.get(KEY) else { return Names::One };
        let Some(copies) = reader.typed(scale, KEY, number_of_copies) else {
            return Names::Copies(1);
        };
        self.values += u64::from(copies) * u64::from(node.extent().size);
        let too_many = if so_far + copies as usize > MOST_PROCESSES {
            format!("more than {MOST_PROCESSES} processes")
        } else if self.values > MOST_VALUES {
            format!("more than {MOST_VALUES} values in all copies")
        } else {
            return Names::Copies(copies);
        };
        let problem = reader.problems.error(scale.span, too_many);
        problem.help("split them over several containers");
        Names::Copies(1)
    }

    /// Adds the copies of a process, which may be none.
    pub(crate) fn add(&mut self, process: &str, names: Vec<String>) {
        self.groups.insert(process.to_owned(), names);
    }

    /// The names of the copies; `None` if the process has no `scale`.
    pub(crate) fn copies(&self, process: &str) -> Option<&[String]> {
        self.groups.get(process).map(Vec::as_slice)
    }
}

fn number_of_copies(text: &str) -> Result<u32, Invalid> {
    let copies = values::number(text)?;
    match copies {
        ..=MOST_COPIES => Ok(copies),
        _ => Err(Invalid::new(
            format!("more than {MOST_COPIES} copies"),
            "split them over several containers",
        )),
    }
}

/// The name of a copy.
pub(crate) fn name_of(process: &str, index: u32) -> String {
    format!("{process}-{index}")
}

/// Gives the lines of each copy a prefix of their own, unless the config has done so.
pub(crate) fn number_prefix(process: &mut Process, node: &Node) {
    let Some(copy) = &process.copy_of else { return };
    let log = Fields::unchecked(node).get("log").map(|node| Fields::unchecked(node));
    let written = log.and_then(|log| log.get("prefix")).and_then(|node| node.scalar());
    let is_numbered = |text: &str| text.contains(CopyOf::VARIABLE);
    let prefix = match &mut process.log {
        LogMode::Prefix(prefix) | LogMode::File(LogFile { prefix: Some(prefix), .. }) => prefix,
        LogMode::File(_) | LogMode::Inherit | LogMode::None => return,
    };
    if written.is_some_and(|written| !is_numbered(written)) {
        *prefix = name_of(prefix, copy.index);
    }
}

/// Reports each process that has the name of a copy.
pub(crate) fn check_names(reader: &mut Reader<'_>, keys: &[&Key], scaling: &Scaling) {
    let copies: HashSet<&str> = scaling.groups.values().flatten().map(String::as_str).collect();
    for key in keys.iter().filter(|key| copies.contains(&*key.text)) {
        let message = format!("{} is the name of a copy, which `scale` makes", quote(&key.text));
        reader.problems.error(key.span, message).help("give one of them another name");
    }
}

/// Limits the dependencies that stand for copies.
#[derive(Default)]
pub(crate) struct Dependencies(usize);

impl Dependencies {
    /// Counts `more`; reports it where that is too many.
    pub(crate) fn fit(&mut self, reader: &mut Reader<'_>, more: usize, span: Span) -> bool {
        self.0 += more;
        let fits = self.0 <= MOST_DEPENDENCIES;
        if !fits {
            let message = format!("more than {MOST_DEPENDENCIES} dependencies of copies");
            reader.problems.error(span, message).help("let the copies depend on a single process");
        }
        fits
    }
}
