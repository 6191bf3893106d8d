//! The reasons why a reload is refused although the new config has no error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drainit_os::same_path::normal;

use crate::keys::{Config, Process};
use crate::plan::changes;
use crate::plan::placement::{Life, Running};
use crate::types::harmless;

/// Checks whether a reload can bring a running drainit to the config `new`.
///
/// # Errors
/// Returns the reason why a reload cannot do this, as a sentence for the operator.
pub fn check(running: &Running, new: &Config) -> Result<(), String> {
    let differ = changes::differ(&changes::fixed(&running.config, new));
    if !differ.is_empty() {
        return Err(format!("{differ}, which only a restart of the container can change"));
    }
    match moved_socket(running, &new.processes) {
        None => Ok(()),
        Some((process, path, owner)) => Err(format!(
            "{}: `sockets`: {owner} is running and has {}; `drainit stop` that process, reload, \
             and `drainit start` it and its dependents",
            process.name,
            harmless(&path.to_string_lossy())
        )),
    }
}

/// Finds a `sockets` path that would move from a running process to another process. Returns the
/// other process, the path, and the name of the running process.
///
/// A reload refuses this move, because the other process would have to wait until the running
/// process has ended. If two processes exchanged their paths, each of them would wait for the
/// other. Two cases do not count. A new process may take over the path of a process that the reload
/// removes, because the new process waits for the removal. A stopped process (`Life::Stopped`) does
/// not need its path, unless a process that is not stopped depends on the stopped process.
fn moved_socket<'a>(
    running: &'a Running,
    wanted: &'a [impl AsRef<Process>],
) -> Option<(&'a Process, &'a Path, &'a str)> {
    let wanted: Vec<&Process> = wanted.iter().map(AsRef::as_ref).collect();
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    let (mut known, mut stopped) = (BTreeSet::new(), BTreeSet::new());
    for (slot, process, _) in &running.definitions {
        known.insert(process.name.as_str());
        match running.life(*slot) {
            Life::Over | Life::Failed => {}
            Life::Stopped => drop(stopped.insert(process.name.as_str())),
            Life::Runs => {
                let paths = process.sockets.iter().map(|path| normal(path));
                owners.extend(paths.map(|path| (path, process.name.as_str())));
            }
        }
    }
    let stays: BTreeSet<_> = wanted.iter().map(|process| process.name.as_str()).collect();
    let stays_down = |name: &str| {
        let mut others = wanted.iter().filter(|other| !stopped.contains(other.name.as_str()));
        stopped.contains(name)
            && !others.any(|other| other.depends_on.iter().any(|need| need.process == name))
    };
    let starts = wanted.iter().filter(|process| !stays_down(&process.name));
    let mut paths =
        starts.flat_map(|process| process.sockets.iter().map(move |path| (*process, path)));
    paths.find_map(|(process, path)| {
        let owner = *owners.get(&normal(path))?;
        let waits = !known.contains(process.name.as_str()) && !stays.contains(owner);
        (owner != process.name && !waits).then_some((process, path.as_path(), owner))
    })
}
