//! Reads `scale:` of an entry: how many processes (copies) drainit makes from the entry. For all
//! other code, a copy is an ordinary process.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use crate::keys::forms::leaf;
use crate::keys::key::{At, Form, Shape};
use crate::keys::reader::Reader;
use crate::keys::values;
use crate::keys::{Process, Variable};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::SCALE_INDEX;
use crate::language::invalid::Invalid;
use crate::language::span::Span;
use crate::language::yaml::node::{Node, NodeKey};

/// One entry may make at most this many processes.
const MOST_OF_ONE: u32 = 1000;
/// A config may have at most this many processes, because a [`ProcessId`](crate::types::ProcessId)
/// has 16 bits.
const MOST_PROCESSES: usize = u16::MAX as usize;
/// All copies together may have at most this many values, including the dependencies on copies.
/// Without this limit, a small config could take long to read.
const MOST_VALUES: u64 = 1_000_000;

/// The entries with `scale` that were read so far.
#[derive(Default)]
pub(crate) struct Scaling {
    values: u64,
    /// For the name of each entry with `scale`: the names of its processes.
    groups: HashMap<String, Vec<String>>,
}

impl Scaling {
    /// Reads `scale:`. Returns `None` if the entry does not have the key. `so_far` is the number of
    /// processes that the entries before this one have made.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        key: &str,
        node: &Node,
        so_far: usize,
    ) -> Option<u32> {
        let scale = node.find("scale")?;
        let number = self.allowed_number(reader, scale, node, so_far).unwrap_or(1);
        let names = (1..=number).map(|index| name_of(key, index)).collect();
        self.groups.insert(key.to_owned(), names);
        Some(number)
    }

    fn allowed_number(
        &mut self,
        reader: &mut Reader<'_>,
        scale: &Node,
        entry: &Node,
        so_far: usize,
    ) -> Option<u32> {
        let number = Copies::read(reader, &At::ROOT.inner("scale"), scale)?;
        if so_far + number as usize > MOST_PROCESSES {
            let message = format!("more than {MOST_PROCESSES} processes");
            let problem = reader.problems.error(Rule::TooLarge, scale.span, message);
            problem.help("split them over several containers");
            return None;
        }
        let values = u64::from(number) * u64::from(entry.extent.size);
        self.take(reader, values, scale.span).then_some(number)
    }

    /// Adds `values` to the number of values of all copies. If there are too many, reports an error
    /// and returns false.
    pub(crate) fn take(&mut self, reader: &mut Reader<'_>, values: u64, span: Span) -> bool {
        self.values += values;
        let fits = self.values <= MOST_VALUES;
        if !fits {
            let message = format!("more than {MOST_VALUES} values in all copies");
            reader
                .problems
                .error(Rule::TooLarge, span, message)
                .help("split them over several containers");
        }
        fits
    }

    /// The names of all processes of an entry with `scale`; `None` for other entries.
    pub(crate) fn names(&self, entry: &str) -> Option<&[String]> {
        self.groups.get(entry).map(Vec::as_slice)
    }
}

leaf! {
    /// The form of `scale`: the number of processes that the entry makes.
    struct Copies => u32: Shape::Count, number;
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

/// The name of a copy: the name of its entry, and its number.
pub(crate) fn name_of(entry: &str, number: impl Display) -> String {
    format!("{entry}-{number}")
}

/// The variable that tells a process its number.
pub(crate) fn variable(number: &str) -> Variable {
    Variable::Set { name: SCALE_INDEX.into(), value: number.into() }
}

/// The number of this process among the copies of its entry; `None` if its entry has no `scale`.
pub fn number_of(process: &Process) -> Option<String> {
    match process.environment.first()? {
        Variable::Set { name, value } if name == SCALE_INDEX => Some(value.to_string()),
        _ => None,
    }
}

/// Reports each entry that has the same name as a copy of another entry.
pub(crate) fn check_names(reader: &mut Reader<'_>, keys: &[&NodeKey], scaling: &Scaling) {
    let copies: HashSet<&str> = scaling.groups.values().flatten().map(String::as_str).collect();
    for key in keys.iter().filter(|key| copies.contains(&*key.text)) {
        let message = format!("{} is the name of a copy, which `scale` makes", quote(&key.text));
        reader
            .problems
            .error(Rule::InvalidName, key.span, message)
            .help("give one of them another name");
    }
}
