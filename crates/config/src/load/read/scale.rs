//! `scale:` of an entry: the number of processes that drainit makes from the entry. Once the config
//! is read, these are ordinary processes.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use crate::config::{Process, Variable};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::forms::leaf;
use crate::load::key::{At, Form, Shape};
use crate::load::read::reader::Reader;
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Key, Node};

/// The variable with the number of the process, for `${…}` in the entry and for the environment of
/// the process.
pub(crate) const VARIABLE: &str = "SCALE_INDEX";

/// The limit for the processes of one entry.
const MOST_OF_ONE: u32 = 1000;
/// The limit for the processes of a config: the highest number of a
/// [`ProcessId`](crate::types::ProcessId).
const MOST_PROCESSES: usize = u16::MAX as usize;
/// The limit for the values of all copies, including dependencies between copies, so that a small
/// config stays cheap to read.
const MOST_VALUES: u64 = 1_000_000;

/// The entries with `scale`.
#[derive(Default)]
pub(crate) struct Scaling {
    values: u64,
    /// The names of the processes of each entry with `scale`.
    groups: HashMap<String, Vec<String>>,
}

impl Scaling {
    /// Reads `scale:`; `None` if the entry does not have the key. `so_far` is the number of
    /// processes before the entry.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        key: &str,
        node: &Node,
        so_far: usize,
    ) -> Option<u32> {
        let scale = node.find("scale")?;
        let number = self.allowed(reader, scale, node, so_far).unwrap_or(1);
        let names = (1..=number).map(|index| name_of(key, index)).collect();
        self.groups.insert(key.to_owned(), names);
        Some(number)
    }

    fn allowed(
        &mut self,
        reader: &mut Reader<'_>,
        scale: &Node,
        entry: &Node,
        so_far: usize,
    ) -> Option<u32> {
        let number = Copies::read(reader, &At::ROOT.inner("scale"), scale)?;
        if so_far + number as usize > MOST_PROCESSES {
            let message = format!("more than {MOST_PROCESSES} processes");
            let problem = reader.problems.error(scale.span, message);
            problem.help("split them over several containers");
            return None;
        }
        let values = u64::from(number) * u64::from(entry.extent.size);
        self.take(reader, values, scale.span).then_some(number)
    }

    /// Counts values of copies. Returns whether the total is within the limit.
    pub(crate) fn take(&mut self, reader: &mut Reader<'_>, values: u64, span: Span) -> bool {
        self.values += values;
        let fits = self.values <= MOST_VALUES;
        if !fits {
            let message = format!("more than {MOST_VALUES} values in all copies");
            reader.problems.error(span, message).help("split them over several containers");
        }
        fits
    }

    /// The names of all processes of an entry; `None` if it has no `scale`.
    pub(crate) fn names(&self, entry: &str) -> Option<&[String]> {
        self.groups.get(entry).map(Vec::as_slice)
    }
}

/// The number of copies.
pub(crate) struct Copies;

leaf! {
    Copies => u32: Shape::Count, number;
}

fn number(text: &str) -> Result<u32, Invalid> {
    let number = values::number(text)?;
    match number {
        ..=MOST_OF_ONE => Ok(number),
        _ => Err(Invalid::new(
            format!("more than {MOST_OF_ONE} copies"),
            "split them over several containers",
        )),
    }
}

/// The name of a process of an entry with `scale`.
pub(crate) fn name_of(entry: &str, number: impl Display) -> String {
    format!("{entry}-{number}")
}

/// The variable with the number of a process.
pub(crate) fn variable(number: &str) -> Variable {
    Variable::Set { name: VARIABLE.to_owned(), value: number.to_owned() }
}

/// The number of a process that was read from an entry with `scale`.
pub(crate) fn number_of(process: &Process) -> Option<String> {
    match process.environment.first()? {
        Variable::Set { name, value } if name == VARIABLE => Some(value.clone()),
        _ => None,
    }
}

/// Reports each entry whose name a process of another entry also has.
pub(crate) fn check_names(reader: &mut Reader<'_>, keys: &[&Key], scaling: &Scaling) {
    let copies: HashSet<&str> = scaling.groups.values().flatten().map(String::as_str).collect();
    for key in keys.iter().filter(|key| copies.contains(&*key.text)) {
        let message = format!("{} is the name of a copy, which `scale` makes", quote(&key.text));
        reader.problems.error(key.span, message).help("give one of them another name");
    }
}
