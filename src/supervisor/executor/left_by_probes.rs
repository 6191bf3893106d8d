//! Kills the processes that the commands of probes leave behind. The rest of a command's process
//! group is killed at once. Processes outside the group are killed only when a later run of the
//! command has left such processes, too.

use std::collections::BTreeMap;

use crate::local_task;
use crate::os::descendants::{Descendant, list};
use crate::os::on_thread::{self, Share};
use crate::os::probe_mark::kill_left;
use crate::os::sweep::signal_left_group;
use crate::supervisor::children::Ended;
use crate::supervisor::executor::Executor;
use crate::supervisor::message::{ChildRole, Message, Rest};
use crate::types::Signal;

impl Executor {
    /// Kills processes that ended commands have left behind. The [`Rest`] of each command says
    /// which processes.
    pub(crate) fn kill_left_by_probes(&self, ended: &[Ended]) {
        let mut last = None;
        for one in ended {
            let Some(ChildRole::Command { rest, .. }) = one.role else { continue };
            if rest == Rest::Lives {
                continue;
            }
            // The result is ignored, because usually no process is left in the group.
            let _ = signal_left_group(one.pid, Signal::KILL);
            if let Rest::Marked(run) = rest {
                last = last.max(Some(run));
            }
        }
        let Some(last) = last else { return };
        let run_of = |role: &ChildRole| match role {
            ChildRole::Command { rest: Rest::Marked(run), .. } => Some(*run),
            _ => None,
        };
        let children = &self.children;
        let under_way = children.all().filter_map(|(_, role)| run_of(role)).collect();
        let started = children.all().map(|(pid, _)| pid).collect();
        // If no thread can be started, the next run of a probe looks again.
        let look =
            on_thread::begin(Share::Container, move || kill_left(last, &under_way, &started));
        let Ok(killed) = look else { return };
        let sender = self.sender.clone();
        local_task::spawn(async move {
            // The send fails only if the event loop has ended.
            let _ = sender.send(Message::LeftByProbes(killed.await.unwrap_or_default()));
        });
    }

    /// Reports the processes that probes have left behind, and that were killed.
    pub(crate) fn report_left_by_probes(&mut self, killed: BTreeMap<String, Vec<Descendant>>) {
        for (name, killed) in killed {
            let line = format!(
                "{name}: the command of its probe leaves processes behind outside its process \
                 group; killed those of earlier runs: {}",
                list(&killed)
            );
            if self.reported.insert(name) {
                tracing::warn!("{line}; let the command wait for them, or end them itself");
            } else {
                tracing::debug!("{line}");
            }
        }
    }
}
