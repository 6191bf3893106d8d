//! Finds the processes that the commands of probes have left behind, even if these processes have a
//! session of their own. Each command gets an environment variable, which its children inherit and
//! by which drainit finds them.
//!
//! Only an orphan counts: a child of drainit that drainit has not started. If the command asks a
//! service to start a process, this process does not count as long as the service lives.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Pid;
use crate::descendants::{Descendant, MOST_READ, as_owner, living_children};
use crate::sweep::send;
use drainit_core::types::Signal;

/// The variable of a probe's command. Its value is the name of the probed process, a slash, and
/// the number of the run.
pub const VARIABLE: &str = "DRAINIT_PROBE";
/// At most this many bytes of a process's environment are read.
const MOST_BYTES: u64 = 1 << 20;

/// The number of the next run of a command.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Returns the number of a new run of a command, and the variable for it.
pub fn mark(process: &str) -> (u64, (OsString, OsString)) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    (number, (VARIABLE.into(), format!("{process}/{number}").into()))
}

/// Kills the orphans of the runs up to `last`, with two exceptions. The orphans of the runs that
/// are `under_way` stay. For each probed process, the orphans of the latest other run with orphans
/// stay, too: a command may start a single daemon that the service needs. `started` has the
/// children that drainit has started, which are not orphans. Looks only at the newest orphans.
/// Returns the killed orphans by the names of the probed processes.
pub fn kill_left(
    last: u64,
    under_way: &BTreeSet<u64>,
    started: &BTreeSet<Pid>,
) -> BTreeMap<String, Vec<Descendant>> {
    let mut left: BTreeMap<String, BTreeMap<u64, Vec<Descendant>>> = BTreeMap::new();
    for orphan in living_children(MOST_READ, |pid| !started.contains(&pid)) {
        let process = orphan.process;
        let Some((name, run)) = mark_of(&process) else { continue };
        if run <= last && !under_way.contains(&run) {
            left.entry(name).or_default().entry(run).or_default().push(process);
        }
    }
    let of_earlier = |mut runs: BTreeMap<u64, Vec<Descendant>>| {
        runs.pop_last();
        let killed = runs.into_values().flatten();
        killed.filter(|one| send(one, Signal::KILL).unwrap_or(false)).collect::<Vec<_>>()
    };
    let killed = left.into_iter().map(|(name, runs)| (name, of_earlier(runs)));
    killed.filter(|(_, killed)| !killed.is_empty()).collect()
}

/// The name and the number in the mark of a process.
fn mark_of(process: &Descendant) -> Option<(String, u64)> {
    let mut environment = Vec::new();
    let read = || -> io::Result<usize> {
        let file = File::open(format!("/proc/{}/environ", process.pid))?;
        file.take(MOST_BYTES).read_to_end(&mut environment)
    };
    as_owner(process.pid, read).ok()?.ok()?;
    let is_it = |word: &[u8]| {
        word.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"=").map(<[u8]>::to_vec)
    };
    let value = environment.split(|byte| *byte == 0).find_map(is_it)?;
    let (name, number) = std::str::from_utf8(&value).ok()?.rsplit_once('/')?;
    Some((name.to_owned(), number.parse().ok()?))
}
