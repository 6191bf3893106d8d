//! The final sweep: signals the descendants of drainit that outlive all processes and their process
//! groups.

use crate::core::event::Event;
use crate::os::descendants::{Descendant, hidden_children, list};
use crate::os::kill::{group_of, kill_child};
use crate::os::reap::has_children;
use crate::os::sweep::{Sweep, Swept};
use crate::supervisor::executor::Executor;
use crate::supervisor::message::Role;
use crate::types::Signal;

/// Stands for the name of a process that `/proc` hides.
const HIDDEN: &str = "hidden by the hidepid of /proc";

impl Executor {
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Signals every living descendant that has not got this signal yet, and counts them.
    pub(crate) fn sweep(&mut self, signal: Signal) -> Event {
        let (children, instances) = (self.children.borrow(), &self.instances);
        // Whether drainit has already killed a child with this pid.
        let is_killed = |pid| match children.role(pid) {
            // The command was killed together with its hook or drain.
            Some(Role::Command { .. }) => true,
            // The start of the process was given up.
            Some(Role::Process(process)) => {
                let current = &instances[process.index()];
                ![current.pid, current.launching_pid()].contains(&Some(pid))
            }
            None => false,
        };
        let report = &self.status_board;
        let sweep = match &mut self.sweep {
            Some(sweep) if sweep.signal() == signal => sweep,
            other => other.insert(Sweep::new(signal)),
        };
        // Every descendant is a child of drainit, or has a child of drainit above it. Without
        // children, there is nothing to signal.
        if !has_children() {
            return Event::Leftovers(0);
        }
        let is_new = sweep.is_new();
        let mut swept = sweep.scan();
        if let Some(refusal) = sweep.refusal() {
            let line = format!("left over: {refusal}");
            tracing::warn!("{line}");
            report.remark(&line);
        }
        if let Swept::Signalled(found) = &mut swept {
            found.extend(signal_hidden(is_new, signal));
        }
        match swept {
            // The scan missed a descendant. The reaper notices when the last child is gone.
            Swept::Signalled(found) if found.is_empty() => Event::Tick,
            Swept::Signalled(mut found) => {
                let count = found.len();
                // A process that was killed with its process group may not be reaped yet. It is not
                // a leftover.
                found.retain(|left| !is_killed(group_of(left.pid).unwrap_or(left.pid)));
                if !found.is_empty() {
                    let line = format!("left over: {}", list(&found));
                    // Only the first line goes to the log, because a process that forks all the
                    // time would fill the log.
                    if is_new {
                        tracing::info!("{line}; sending {signal}");
                        report.remark(&format!("{line}; {signal} sent"));
                    } else {
                        tracing::debug!("{line}; sending {signal}");
                    }
                }
                Event::Leftovers(count)
            }
            Swept::Everything => {
                const AT_LEAST: usize = 1;
                let line = format!(
                    "there is no /proc; sending {signal} to every process in this PID namespace"
                );
                tracing::info!("{line}");
                report.remark(&line);
                // Without /proc, drainit cannot count the descendants. The reaper notices when no
                // child is left.
                Event::Leftovers(AT_LEAST)
            }
        }
    }
}

/// Signals the children that `/proc` hides, once for each signal. Without this, nobody would see
/// that they are left over.
fn signal_hidden(is_new: bool, signal: Signal) -> Vec<Descendant> {
    let hidden = if is_new { hidden_children() } else { Vec::new() };
    for pid in &hidden {
        if let Err(error) = kill_child(*pid, signal) {
            tracing::warn!("left over: {pid}: cannot send {signal}: {error}");
        }
    }
    let hidden = hidden.into_iter();
    hidden.map(|pid| Descendant { pid, name: HIDDEN.to_owned(), started: 0 }).collect()
}
