//! The final sweep: signals the descendants of drainit that outlive all processes and their process
//! groups.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::core::event::Event;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::{Descendant, hidden_children, list};
use crate::os::kill::{group_of, kill_child};
use crate::os::on_thread::{self, Share, locked};
use crate::os::reap::{has_children, is_living_child};
use crate::os::sweep::{Scanned, Sweep, Swept};
use crate::supervisor::children::ChildRole;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::types::Signal;

/// Stands for the name of a process that `/proc` hides.
const HIDDEN: &str = "hidden by the hidepid of /proc";

/// The longest scan on the event loop's thread. Signals wait during this scan.
const LONGEST_HERE: Duration = Duration::from_millis(250);

/// The sweep that sends one signal to all leftover processes.
pub(super) struct FinalSweep {
    signal: Signal,
    sweep: Arc<Mutex<Sweep>>,
    /// The process groups that drainit had already killed before the sweep. These groups may have
    /// members that are not reaped yet, and such members are not leftovers.
    killed: BTreeSet<Pid>,
    /// Whether no leftover has been found yet.
    is_new: bool,
    /// Whether no scan has begun yet.
    is_unscanned: bool,
    /// The scan that runs on a thread. Once the `Arc` is dropped, the scan signals no further
    /// process.
    scan: Option<(Option<Arc<()>>, LocalTask)>,
}

impl FinalSweep {
    fn new(signal: Signal, killed: BTreeSet<Pid>) -> Self {
        Self {
            signal,
            sweep: Arc::new(Mutex::new(Sweep::new(signal))),
            killed,
            is_new: true,
            is_unscanned: true,
            scan: None,
        }
    }
}

fn scan(sweep: &Mutex<Sweep>, is_first: bool, is_over: &dyn Fn() -> bool) -> Scanned {
    let swept = locked(sweep).scan(is_over);
    Scanned { swept, hidden: if is_first { hidden_children() } else { Vec::new() } }
}

impl Executor {
    pub(crate) const fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Begins a scan that signals every living descendant that has not got this signal yet. The
    /// scan runs on a thread of its own. If no thread can be started, for example because the
    /// leftovers have used up the pids limit, the scan runs on this thread. Returns the event of
    /// the scan if the result is already known.
    pub(crate) fn sweep(&mut self, signal: Signal) -> Option<Event> {
        if self.sweep.as_ref().is_none_or(|sweep| sweep.signal != signal) {
            self.sweep = Some(FinalSweep::new(signal, self.killed_groups()));
        }
        // Without children, drainit has no descendants either, so there is nothing to signal.
        if !has_children() {
            return Some(Event::NothingLeft);
        }
        let current = self.sweep.as_mut()?;
        let (sweep, wanted) = (Arc::clone(&current.sweep), Arc::new(()));
        let is_wanted = Arc::downgrade(&wanted);
        let is_over = move || Weak::strong_count(&is_wanted) == 0;
        let is_first = std::mem::take(&mut current.is_unscanned);
        let share = Share::Stop(None);
        let Ok(swept) = on_thread::begin(share, move || scan(&sweep, is_first, &is_over)) else {
            let end = clock::now() + LONGEST_HERE;
            let swept = scan(&current.sweep, is_first, &|| clock::now() >= end);
            return self.on_swept(signal, swept);
        };
        let sender = self.sender.clone();
        let task = LocalTask::begin(async move {
            if let Ok(swept) = swept.await {
                let _ = sender.send(Message::Swept(signal, Box::new(swept)));
            }
        });
        current.scan = Some((Some(wanted), task));
        None
    }

    /// Whether there is a sweep whose last scan is over. Call this function when drainit has no
    /// children any more. This function ends a scan that is still under way, because without
    /// children, there is nothing to find.
    pub(crate) fn has_swept(&mut self) -> bool {
        let scan = self.sweep.as_mut().map(|sweep| &mut sweep.scan);
        scan.is_some_and(|scan| scan.as_mut().map(|(wanted, _)| *wanted = None).is_none())
    }

    /// The children that drainit has killed and not reaped yet. Each child leads a process group.
    fn killed_groups(&self) -> BTreeSet<Pid> {
        let is_killed = |pid: Pid, role: &ChildRole| match role {
            // The command was killed together with its hook, probe or drain.
            ChildRole::Command { .. } => true,
            // drainit has killed this child if the child is not the current instance and is not
            // starting. An example is an instance whose start was given up.
            ChildRole::Process(process) => {
                let current = self.instance(*process);
                ![current.pid, current.launching_pid()].contains(&Some(pid))
            }
        };
        let children = &self.children;
        let killed = children.all().filter(|(pid, role)| is_killed(*pid, role));
        killed.map(|(pid, _)| pid).collect()
    }

    /// Handles the result of a scan, and reports the processes that it has signalled. Returns
    /// `None` for a scan of a sweep that is over.
    pub(crate) fn on_swept(&mut self, signal: Signal, scanned: Scanned) -> Option<Event> {
        let Scanned { mut swept, hidden } = scanned;
        let report = &mut self.processes.journal;
        let sweep = self.sweep.as_mut().filter(|sweep| sweep.signal == signal)?;
        sweep.scan = None;
        let refusal = locked(&sweep.sweep).refusal();
        if let Some(refusal) = refusal {
            let line = format!("left over: {refusal}");
            tracing::warn!("{line}");
            report.remark(&line);
        }
        if let Swept::Signalled(found) = &mut swept {
            found.extend(signal_hidden(hidden, signal));
        }
        match swept {
            Swept::Signalled(mut found) => {
                let any = !found.is_empty();
                found.retain(|left| !sweep.killed.contains(&left.group));
                if !found.is_empty() {
                    let line = format!("left over: {}", list(&found));
                    // Only the first line has the level `info`, because a process that forks all
                    // the time would fill the log.
                    if std::mem::take(&mut sweep.is_new) {
                        tracing::info!("{line}; sending {signal}");
                        report.remark(&format!("{line}; {signal} sent"));
                    } else {
                        tracing::debug!("{line}; sending {signal}");
                    }
                }
                // The scan may have missed a descendant, but the reaper notices when the last child
                // is gone.
                Some(Event::Swept { any })
            }
            Swept::Everything => {
                let line = format!(
                    "there is no /proc; sending {signal} to every process in this PID namespace"
                );
                tracing::info!("{line}");
                report.remark(&line);
                // Without /proc, drainit cannot find the descendants. The reaper notices when no
                // child is left.
                Some(Event::Swept { any: true })
            }
        }
    }
}

/// Signals the children that `/proc` hides, and returns them as leftovers. A scan of `/proc` cannot
/// find these children.
fn signal_hidden(hidden: Vec<Pid>, signal: Signal) -> impl Iterator<Item = Descendant> {
    // Nothing is reaped between this check and the signal, so each pid still belongs to its child.
    let hidden: Vec<_> = hidden.into_iter().filter(|pid| is_living_child(*pid)).collect();
    for pid in &hidden {
        if let Err(error) = kill_child(*pid, signal) {
            tracing::warn!("left over: {pid}: cannot send {signal}: {error}");
        }
    }
    hidden.into_iter().map(|pid| Descendant {
        pid,
        name: HIDDEN.to_owned(),
        started: 0,
        group: group_of(pid).unwrap_or(pid),
    })
}
