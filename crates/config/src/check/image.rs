//! Reports what `drainit check` has found in the file system of the image. The module `image` of
//! `crates/advise` makes the search.

use std::collections::BTreeSet;

use crate::keys::Config;
use crate::language::diagnostics::diagnostic::Severity;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;

/// Searches the image for the files that a config names.
pub type Find<'a> = &'a dyn Fn(&Config) -> Vec<Finding>;

/// The search of the image, and a fact about the pod that runs the config.
#[derive(Clone, Copy)]
pub struct ImageLookup<'a> {
    pub find: Find<'a>,
    /// Whether the pod has a `preStop` hook, during which the processes still serve.
    pub is_held_back: bool,
}

/// A part of the config that is looked at: the index of the process (`None` for the container), the
/// path of the key, and the severity of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub index: Option<usize>,
    pub key: &'static str,
    pub severity: Severity,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub rule: Rule,
    pub part: Part,
    pub message: String,
    pub help: String,
}

pub(crate) fn check(
    problems: &mut Problems,
    config: &Config,
    places: &Places,
    lookup: ImageLookup<'_>,
) {
    let mut of_entries = BTreeSet::new();
    let names = config.processes.iter().map(|process| process.name.as_str()).collect();
    for finding in (lookup.find)(config) {
        let Part { index, key, severity } = finding.part;
        let span = match index {
            Some(index) => places.processes[index].at(key),
            None => places.at(key),
        };
        // If copies of an entry with `scale` have the same fault, the fault is reported once.
        if let Some(index) = index
            && let fault = finding.message.replacen(&config.processes[index].name, "", 1)
            && !of_entries.insert((span, fault))
        {
            continue;
        }
        let message = problems.shown_in_quotes(&finding.message, &names);
        problems.push(finding.rule, severity, span, message).help(finding.help);
    }
}
