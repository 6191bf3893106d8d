//! Reports what `check` found in the file system of the image; [`crate::image`] does the search.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::config;
use crate::config::Config;
use crate::load::Severity;
use crate::load::diagnostics::problems::Problems;
use crate::load::environment::Environment;
use crate::load::places::Places;

/// Searches for what a config names, in this environment, but not below these paths.
pub(crate) type Find<'a> = &'a dyn Fn(&Config, &Environment, &[PathBuf]) -> Vec<Finding>;

#[derive(Clone, Copy)]
pub struct ImageLookup<'a> {
    pub find: Find<'a>,
    /// Mount points of volumes: their present content means nothing.
    pub mounts: &'a [PathBuf],
}

/// The index of a process, or none for the container, and the path of a key.
pub type At = (Option<usize>, &'static str);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub at: At,
    pub severity: Severity,
    pub message: String,
    pub help: String,
}

pub(crate) fn check(
    problems: &mut Problems,
    config: &config::Config,
    environment: &Environment,
    places: &Places,
    lookup: ImageLookup<'_>,
) {
    let mut of_entries = BTreeSet::new();
    for finding in (lookup.find)(config, environment, lookup.mounts) {
        let (process, key) = finding.at;
        let span = match process {
            Some(index) => places.processes[index].at(key),
            None => places.at(key),
        };
        // Of the processes of an entry with `scale`, one stands for all that have the same fault.
        if let Some(index) = process
            && let fault = finding.message.replacen(&config.processes[index].name, "", 1)
            && !of_entries.insert((span, fault))
        {
            continue;
        }
        let problem = match finding.severity {
            Severity::Error => problems.error(span, finding.message),
            Severity::Warning => problems.warning(span, finding.message),
        };
        problem.help(finding.help);
    }
}
