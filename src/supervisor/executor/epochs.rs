//! The epochs of an Envoy that is replaced by its own hot restart.
//!
//! A new epoch takes the sockets and the admin over from the old one, reads its statistics as long
//! as it lives, and ends it: after `--parent-shutdown-time-s`, and at once when it is asked to end
//! itself. If the old one is gone before, the new one waits for it without an answer from its
//! admin, and aborts 10 to 15 s later. So drainit never signals an old epoch while a newer one
//! lives, and ends one that has not taken over by KILL, which it cannot pass on.
//!
//! Measured with Envoy 1.37.0, 1.38.3 and 1.40.0; `docs/envoy.md` has the details.

use std::time::Duration;

use tokio::task::spawn_local;

use crate::config::{Address, DrainMethod, Process};
use crate::core::event::Event;
use crate::core::note::Note;
use crate::core::spec::{HookId, Stage};
use crate::os::clock;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::validation::validate;
use crate::supervisor::launch;
use crate::supervisor::launch::StartError;
use crate::supervisor::message::Message;
use crate::types::{ProcessId, Signal, Time, exit_code, human};

/// The time after `--parent-shutdown-time-s` in which an old epoch has to end. Longer than the 5 s
/// between two reads of its statistics.
const MARGIN: Duration = Duration::from_secs(10);

/// One epoch, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) number: u32,
    /// It lives this long after the start of the next one.
    handover: Duration,
    started: Time,
    /// It has not taken over yet.
    pub(super) is_new: bool,
    /// A newer epoch has ended before it took over.
    was_failed_on: bool,
    /// The signal that it gets when no newer epoch lives.
    held_back: Option<Signal>,
}

/// The number of an epoch that starts while these live.
fn next(living: impl Iterator<Item = u32>) -> u32 {
    living.max().map_or(0, |newest| newest + 1)
}

impl Executor {
    /// The other epochs of the process that live.
    fn others(&self, process: ProcessId) -> impl Iterator<Item = (ProcessId, Epoch)> {
        let owner = self.owner(process);
        let is_other = move |id: &ProcessId| *id != process && self.owner(*id) == owner;
        self.slots().filter(is_other).filter_map(|id| Some((id, self.living_epoch(id)?)))
    }

    fn slots(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.instances.len()).filter_map(|index| u16::try_from(index).ok()).map(ProcessId)
    }

    fn living_epoch(&self, process: ProcessId) -> Option<Epoch> {
        let instance = &self.instances[process.index()];
        instance.epoch.filter(|_| instance.pid.is_some())
    }

    /// Whether another epoch of the process lives. It has the same sockets in the file system.
    pub(super) fn has_other_epoch(&self, process: ProcessId) -> bool {
        self.others(process).next().is_some()
    }

    /// Whether an epoch lives that has begun after this one.
    pub(super) fn has_newer_epoch(&self, process: ProcessId) -> bool {
        let own = self.instances[process.index()].epoch;
        own.is_some_and(|own| self.others(process).any(|(_, other)| other.number > own.number))
    }

    /// Whether a newer epoch serves in place of this one, which drains by itself. One that has not
    /// taken over yet serves nobody: then this one is drained like any Envoy.
    pub(super) fn is_handed_over(&self, process: ProcessId) -> bool {
        let own = self.instances[process.index()].epoch;
        own.is_some_and(|own| {
            self.others(process).any(|(_, other)| other.number > own.number && !other.is_new)
        })
    }

    /// The epoch that starts now; `None` if the process is not hot-restarted.
    pub(super) fn next_epoch(&self, process: ProcessId) -> Result<Option<Epoch>, StartError> {
        let Some(flags) = self.process(process).hot_restart() else { return Ok(None) };
        if let Some((other, _)) = self.others(process).find(|(_, other)| other.was_failed_on) {
            // An old one is not needed any more: the next attempt is epoch 0.
            self.release_epoch(other);
            return Err(StartError::Unprepared(
                "an earlier hot restart of the running Envoy failed, and Envoy permits no other one; `drainit stop` \
                 and `drainit start` replace it, with a gap"
                    .to_owned(),
            ));
        }
        let is_foreign = |(id, _): (ProcessId, Epoch)| {
            self.process(id).hot_restart().is_some_and(|other| other.base_id != flags.base_id)
        };
        if self.others(process).any(is_foreign) {
            return Err(StartError::Unprepared(
                "its --base-id is not that of the running Envoy, which it cannot replace; `drainit stop` it before \
                 the reload, and start it then"
                    .to_owned(),
            ));
        }
        let number = next(self.others(process).map(|(_, other)| other.number));
        Ok(Some(Epoch {
            number,
            handover: flags.parent_shutdown,
            started: clock::now(),
            is_new: number > 0,
            was_failed_on: false,
            held_back: None,
        }))
    }

    /// The admin that a new epoch has to take over.
    pub(super) fn admin_to_take_over(
        process: &Process,
        epoch: Option<Epoch>,
    ) -> Option<(Address, u32)> {
        let epoch = epoch.filter(|epoch| epoch.is_new)?;
        match &process.drain.as_ref()?.method {
            DrainMethod::Envoy { admin, .. } => Some((admin.clone(), epoch.number)),
            _ => None,
        }
    }

    /// An epoch was started. The time of those before it counts anew.
    pub(super) fn epoch_started(&self, process: ProcessId) {
        for (old, epoch) in self.others(process) {
            if epoch.held_back.is_some() {
                self.wait_for_epoch(old, epoch);
            }
        }
    }

    /// The newest epoch serves.
    pub(super) fn epoch_took_over(&mut self, process: ProcessId) {
        if let Some(epoch) = &mut self.instances[process.index()].epoch {
            epoch.is_new = false;
        }
    }

    /// Asks an epoch to end. Returns whether the signal is not to be sent.
    pub(super) fn stop_epoch(&mut self, process: ProcessId, signal: Signal) -> bool {
        let Some(epoch) = self.living_epoch(process) else { return false };
        if self.has_newer_epoch(process) {
            let epoch = Epoch { held_back: Some(signal), ..epoch };
            self.instances[process.index()].epoch = Some(epoch);
            self.wait_for_epoch(process, epoch);
            return true;
        }
        let passes_it_on = epoch.is_new && self.has_other_epoch(process);
        if passes_it_on {
            self.kill(process);
        }
        passes_it_on
    }

    /// Has the core wait until a newer epoch has ended this one.
    fn wait_for_epoch(&self, process: ProcessId, epoch: Epoch) {
        let (by, instance) = (epoch.handover + MARGIN, self.instances[process.index()].number);
        let _ = self.sender.send(Message::TimeoutExtended { process, instance, by });
    }

    /// An epoch has ended.
    pub(super) fn epoch_ended(&mut self, process: ProcessId) {
        let was_asked = self.instances[process.index()].is_asked;
        let Some(ended) = self.instances[process.index()].epoch.take() else { return };
        let others: Vec<_> = self.others(process).collect();
        for (id, other) in others {
            if other.number > ended.number {
                let is_early = clock::now().since(other.started) < other.handover;
                if is_early && !self.instances[id.index()].is_asked {
                    tracing::warn!(
                        "{}: epoch {} has ended before epoch {} has ended it: Envoy aborts that one, too, within 15s",
                        self.names.of(process),
                        ended.number,
                        other.number
                    );
                }
                continue;
            }
            if ended.is_new
                && let Some(epoch) = &mut self.instances[id.index()].epoch
            {
                epoch.was_failed_on = true;
            }
            if was_asked {
                self.release_epoch(id);
            }
        }
    }

    /// The line for a note about an epoch, in place of the usual one; an empty one for a note that
    /// says what is not so.
    pub(super) fn epoch_line(&self, note: &Note, line: &str) -> Option<String> {
        let (Note::Started(process)
        | Note::DrainBegan { process, .. }
        | Note::DrainOver { process, .. }
        | Note::Stopping { process, .. }
        | Note::TimeoutExtended { process, .. }) = *note
        else {
            return None;
        };
        let epoch = self.instances[process.index()].epoch?;
        if let Note::Started(_) = note {
            return Some(format!("{line}, epoch {}", epoch.number));
        }
        if let Note::Stopping { .. } = note
            && epoch.is_new
            && self.has_other_epoch(process)
        {
            return Some(format!("{}: SIGKILL", self.names.of(process)));
        }
        let newer = self.others(process).map(|(_, other)| other.number).max();
        let newer = newer.filter(|newer| *newer > epoch.number)?;
        let is_first = matches!(note, Note::DrainBegan { .. });
        let is_drain = is_first || matches!(note, Note::DrainOver { .. });
        if is_drain && !self.is_handed_over(process) {
            return None;
        }
        Some(if is_first {
            format!(
                "{}: epoch {} drains by itself, until epoch {newer} ends it {} after its own start",
                self.names.of(process),
                epoch.number,
                human(epoch.handover)
            )
        } else {
            String::new()
        })
    }

    /// Ends the old epochs that no newer one ends.
    pub(super) fn release_epochs(&self) {
        for id in self.slots() {
            self.release_epoch(id);
        }
    }

    fn release_epoch(&self, process: ProcessId) {
        if let Some(signal) = self.living_epoch(process).and_then(|epoch| epoch.held_back)
            && !self.has_newer_epoch(process)
        {
            self.signal(process, signal);
        }
    }

    /// Lets Envoy check its config in place of a `pre_start` hook, if another epoch runs. Returns
    /// the event of the end where there is nothing to check.
    pub(super) fn validate(&mut self, hook: HookId, process: ProcessId) -> Option<Event> {
        if !self.has_other_epoch(process) {
            return Some(Event::HookEnded { hook, success: true });
        }
        let wanted = self.with_values(process);
        let (args, base) = (self.args[process.index()].clone(), self.base.clone());
        let (children, sender) = (self.children.clone(), self.sender.clone());
        let status_board = self.status_board.clone();
        let task = spawn_local(async move {
            let request = |stderr| launch::validation(&wanted, &args, &base, stderr);
            let event = match validate(request, children).await {
                Ok(()) => Event::HookEnded { hook, success: true },
                Err(reason) => {
                    let reason = format!("Envoy refuses its config: {reason}");
                    tracing::error!("{}: {reason}", wanted.name);
                    status_board.set_message(process, Some(reason));
                    Event::SpawnFailed { process, exit_code: exit_code::NOT_READY }
                }
            };
            let _ = sender.send(Message::Validated { process, task: tokio::task::id(), event });
        });
        self.instances[process.index()].validation = Some(task.abort_handle());
        None
    }

    /// Ends the check of a config, if one is under way. Returns whether the hook is one.
    pub(super) fn abort_validation(&mut self, hook: HookId) -> bool {
        let task = match hook {
            HookId { process: Some(process), stage: Stage::PreStart } => {
                self.instances[process.index()].validation.take()
            }
            _ => None,
        };
        task.inspect(tokio::task::AbortHandle::abort).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_epoch_follows_the_newest_that_lives() {
        assert_eq!(next([].into_iter()), 0);
        assert_eq!(next([0].into_iter()), 1);
        // The newest has crashed while the one before it drains.
        assert_eq!(next([3].into_iter()), 4);
        assert_eq!(next([3, 4].into_iter()), 5);
    }
}
