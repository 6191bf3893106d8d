//! The final sweep: signals the descendants of drainit that outlive all processes and their groups.

use crate::core::event::Event;
use crate::os::descendants::list;
use crate::os::kill::group_of;
use crate::os::reap::has_children;
use crate::os::sweep::{Sweep, Swept};
use crate::supervisor::executor::Executor;
use crate::supervisor::message::Role;
use crate::types::Signal;

impl Executor {
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Signals every living descendant that has not had this signal yet, and counts them.
    pub(crate) fn sweep(&mut self, signal: Signal) -> Event {
        let (children, instances) = (self.children.borrow(), &self.instances);
        // Whether drainit has killed a child already.
        let is_killed = |pid| match children.role(pid) {
            // With its hook or drain.
            Some(Role::Command(_)) => true,
            // It was given up.
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
        // Every descendant is below a child of drainit.
        if !has_children() {
            return Event::Leftovers(0);
        }
        let is_new = sweep.is_new();
        let swept = sweep.scan();
        if let Some(refusal) = sweep.refusal() {
            let line = format!("left over: {refusal}");
            tracing::warn!("{line}");
            report.remark(&line);
        }
        match swept {
            // The scan missed a descendant; the reaper notices when the last one is gone.
            Swept::Signalled(found) if found.is_empty() => Event::Tick,
            Swept::Signalled(mut found) => {
                let count = found.len();
                // One that was killed with its process group is not reaped yet, and no leftover.
                found.retain(|left| !is_killed(group_of(left.pid).unwrap_or(left.pid)));
                if !found.is_empty() {
                    let line = format!("left over: {}", list(&found));
                    // A process that flees by forking would fill the log.
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
                // Without /proc they cannot be counted; the reaper notices when none is left.
                Event::Leftovers(AT_LEAST)
            }
        }
    }
}
