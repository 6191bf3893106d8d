//! Hot restarts: in which order the epochs of an Envoy may end.
//!
//! ```text
//!  old:  Current ─────────────────────▶ Leaving: is ended by the new one ─▶ Retired
//!  new:  New: starts ─ takes over ────▶ Current
//!                    └ does not: KILL ─▶ Retired
//! ```
//!
//! A new epoch takes the sockets and the admin over from the old one, reads its statistics as long
//! as it lives, and ends it: after `--parent-shutdown-time-s`, and at once when it is asked to end
//! itself. If the old one is gone before, the new one aborts 10 to 15 s later, and would take a
//! third one with it: it is doomed. So an old epoch is not signalled while a newer one lives, and
//! none starts beside a doomed one. One that has not taken over is ended by KILL, which it cannot pass
//! on; so is a doomed one, which hears no other signal. An old one that no newer one ends any more is
//! asked, once its drain is over where there is one: a stop begins it, or that no newer one comes.
//!
//! Measured with Envoy 1.36.4, 1.37.0, 1.38.3, 1.39.3 and 1.40.0; `docs/hot-restart.md` has the details.

use core::time::Duration;

use crate::action::Action;
use crate::note::{DrainEnd, Note, RequestError};
use crate::prelude::*;
use crate::slots::Role;
use crate::spec::{HANDOVER_MARGIN, Stage};
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, Signal, Time, Update};

/// The longest wait for the last answer of an epoch that is not ready in time. A probe takes at
/// most 1 s.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// The longest time between KILL and the end of an epoch: its memory is freed meanwhile.
const LONGEST_END: Duration = Duration::from_secs(1);

/// Envoy aborts a doomed epoch at most this long after the end of the older epoch.
const ABORTS_WITHIN: Duration = Duration::from_secs(15);

/// The running instance of a slot, as one of two epochs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epoch {
    /// The longest time that an older one lives beside it; `None` if it is no epoch.
    handover: Option<Duration>,
    /// When it was started.
    started: Option<Time>,
    /// It was started beside an older one, and has not taken over from it.
    is_pending: bool,
    /// It was not ready until then, and is asked once more whether it has taken over.
    pub(super) overdue: Option<Time>,
    /// A newer one has ended before it took over: Envoy lets no other take over from this one.
    was_failed_on: bool,
    /// Its connections have counted in a drain of the newer one that is over, or its own drain has
    /// begun.
    is_drained: bool,
}

/// Why an epoch that is to end is not signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The newer one serves, and ends it.
    HandedOver,
    /// The newer one was asked to end, and passes that on.
    Passed,
    /// The newer one was asked to end, or is being killed because it has not taken over; this one
    /// is asked once it is gone.
    Delayed,
}

impl State {
    /// The other slot of the process, if both are epochs and that one is the newer one.
    pub(crate) fn newer(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self[process].beside?;
        let is_newer =
            self.role(process) == Role::Leaving || matches!(self.role(other), Role::New { .. });
        let are_epochs = [process, other].iter().all(|id| self.epoch(*id).handover.is_some());
        (is_newer && are_epochs).then_some(other)
    }

    fn epoch(&self, process: ProcessId) -> Epoch {
        self[process].epoch
    }

    /// Whether there is a process, or a part of one, that KILL has not failed to end.
    fn lives(&self, process: ProcessId) -> bool {
        let life = self.life(process);
        let exists = life.is_alive() || life.has_rest() || life == Lifecycle::Spawning;
        exists && !life.releases_dependencies()
    }

    /// Whether a process that does not live is about to be started again.
    fn comes_back(&self, process: ProcessId) -> bool {
        matches!(
            self.life(process),
            Lifecycle::Backoff { .. } | Lifecycle::Checking | Lifecycle::PreStart { .. }
        )
    }

    /// Whether a process that was started has ended, but for the rest of its process group, and is not
    /// started again by itself.
    pub(crate) fn has_given_up(&self, process: ProcessId) -> bool {
        match self.life(process) {
            life if life.has_rest() => self[process].restart_after.is_none(),
            _ => !self.lives(process) && !self.comes_back(process),
        }
    }

    /// Whether this epoch drains by itself, because a newer one has taken over.
    pub(crate) fn is_handed_over(&self, process: ProcessId) -> bool {
        let is_live = |newer| self.lives(newer) && !self.epoch(newer).is_pending;
        self.role(process) == Role::Leaving && self.newer(process).is_some_and(is_live)
    }

    /// Whether this epoch was started beside an older one, and has not taken over from it.
    pub(crate) fn is_pending(&self, process: ProcessId) -> bool {
        self.epoch(process).is_pending
    }

    /// Whether this instance was to replace another one, and has not taken over from it.
    pub(super) fn has_not_taken_over(&self, process: ProcessId) -> bool {
        self.is_pending(process) || matches!(self.role(process), Role::New { .. })
    }

    /// The new epoch that is about to take over from this process, started or not.
    pub(crate) fn pending_beside(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self[process].beside?;
        let is_new = matches!(self.role(other), Role::New { .. });
        (is_new && self.process(other).update == Update::HotRestart).then_some(other)
    }

    /// An instance is started.
    pub(crate) fn begin_epoch(&mut self, process: ProcessId) {
        let spec = self.process(process);
        let handover = spec.handover.filter(|_| spec.update == Update::HotRestart);
        let other = self[process].beside.filter(|other| {
            handover.is_some() && self.epoch(*other).handover.is_some() && self.lives(*other)
        });
        if let (None, Some(survivor)) = (other, self[process].beside) {
            // It has survived its KILL. Its end, whenever that comes, says nothing about this one,
            // which was started after it.
            self[survivor].epoch.is_pending = false;
        }
        self[process].epoch = Epoch {
            handover,
            started: Some(self.now),
            is_pending: other.is_some(),
            ..Epoch::default()
        };
        let start = self.process(process).readiness_timeout.unwrap_or_default();
        self.renew_handover(process, start);
    }

    /// The time of an old epoch counts anew from the start of another one that ends it.
    fn renew_handover(&mut self, newer: ProcessId, more: Duration) {
        let Some(old) = self[newer].beside else { return };
        if let Lifecycle::Stopping { since, .. } = self.life(old)
            && self.is_left_to_newer(old)
        {
            let limit = self.epoch(newer).handover.unwrap_or_default() + more;
            self.note(Note::HandedOver { process: old, to: newer, limit });
            self.set(old, Lifecycle::Stopping { since, kill_at: self.now + limit });
        }
    }

    /// Asks an epoch that is not ready in time once more: it may have taken over since the last
    /// probe, and nobody would listen in its place. Returns whether its answer is waited for.
    pub(crate) fn ask_epoch(&mut self, process: ProcessId) -> bool {
        let Lifecycle::Starting { since, ready_by } = self.life(process) else { return false };
        let epoch = &mut self[process].epoch;
        if !epoch.is_pending || epoch.overdue.is_some() {
            return false;
        }
        epoch.overdue = Some(ready_by);
        self.act(Action::AskEpoch(process));
        self.set(process, Lifecycle::Starting { since, ready_by: self.now + LAST_ANSWER });
        true
    }

    /// When the time of a process to get ready was over.
    pub(crate) fn overdue(&self, process: ProcessId) -> Option<Time> {
        self.epoch(process).overdue
    }

    /// An epoch that was asked once more has not taken over.
    pub(crate) fn not_live(&mut self, process: ProcessId) {
        if let Lifecycle::Starting { since, .. } = self.life(process)
            && self.overdue(process).is_some()
        {
            self.set(process, Lifecycle::Starting { since, ready_by: self.now });
        }
    }

    /// A new epoch is ready: it has taken over.
    pub(crate) fn epoch_took_over(&mut self, process: ProcessId) {
        if core::mem::take(&mut self[process].epoch.is_pending) {
            if let Some(old) = self[process].beside {
                self[old].epoch.is_drained = false;
            }
            self.renew_handover(process, Duration::ZERO);
        }
    }

    /// An epoch has ended. A newer one that needs it is doomed. `remains`: the Envoy may be one of its
    /// process group that has not ended.
    pub(crate) fn end_epoch(&mut self, process: ProcessId, remains: bool) {
        self.doomed.remove(&process);
        if !remains
            && !matches!(self.life(process), Lifecycle::Killed { .. })
            && let Some(newer) = self.newer(process)
            && self.needs_older(newer)
        {
            self.doomed.insert(newer, self.now + ABORTS_WITHIN);
            self.note(Note::EpochDoomed { process: newer, within: ABORTS_WITHIN });
        }
        if let Some(other) = self[process].beside
            && self.epoch(process).is_pending
        {
            self[other].epoch.was_failed_on = true;
        } else if let Some(older) = self.older(process) {
            self[older].epoch.is_drained |= self[process].drain.is_drained();
        }
    }

    /// Whether Envoy aborts this epoch if the older one ends now, and not because this one has ended
    /// it. That comes some time after this one is live, which may be long before drainit sees it, as
    /// the machine may sleep: its start is known. A new one beside a current one needs it, too, but is
    /// taken back.
    fn needs_older(&self, process: ProcessId) -> bool {
        let Epoch { handover: Some(handover), started: Some(started), .. } = self.epoch(process)
        else {
            return false;
        };
        let needs = match self.life(process) {
            Lifecycle::Starting { .. } => self.is_current(process),
            life => matches!(life, Lifecycle::Ready { .. } | Lifecycle::PreStop { .. }),
        };
        needs && self.now < started + handover.saturating_sub(HANDOVER_MARGIN)
    }

    /// Why no newer epoch may start beside this one.
    pub(crate) fn doomed(&self, process: ProcessId) -> Option<RequestError> {
        let left = self.doomed.get(&process)?.since(self.now);
        Some(RequestError::EpochDoomed { process, left })
    }

    /// Whether only KILL ends this process, and no other one. TERM to an epoch that has not taken
    /// over ends the older one, too; a doomed one does not hear it.
    pub(crate) fn needs_kill(&self, process: ProcessId) -> bool {
        self.is_pending(process) || self.doomed.contains_key(&process)
    }

    /// The signal that ends a process, and no other one.
    pub(crate) fn stop_signal(&self, process: ProcessId) -> Signal {
        if self.needs_kill(process) { Signal::KILL } else { self.process(process).stop_signal }
    }

    /// The longest time that a process has to end, whatever it declares.
    pub(crate) fn longest_end(&self, process: ProcessId) -> Duration {
        if self.needs_kill(process) { LONGEST_END } else { Duration::MAX }
    }

    /// Waits for the end of an epoch that is to end, in place of a signal, if a newer one lives or is
    /// started again. Returns whether that is so.
    pub(crate) fn hold(&mut self, process: ProcessId) -> bool {
        let Some(newer) = self.newer(process) else { return false };
        let is_back_soon = matches!(self.life(newer), Lifecycle::Backoff { .. });
        if !self.lives(newer) && !is_back_soon || self.epoch(process).was_failed_on {
            // Its hook has run meanwhile; a drain may go on.
            let is_left = self.is_left_to_newer(process);
            if is_left {
                let kill_at = Time::NEVER;
                self.set(process, Lifecycle::Stopping { since: self.now, kill_at });
            }
            return is_left;
        }
        // The current one is asked only if the new one is not wanted any more.
        let ends =
            matches!(self.life(newer), Lifecycle::Stopping { .. } | Lifecycle::Killed { .. });
        let (hold, kill_at) = if ends || self.role(process) != Role::Leaving {
            // Its time begins with its signal.
            (Hold::Delayed, Time::NEVER)
        } else {
            let limit = self.handover_of(process);
            self.note(Note::HandedOver { process, to: newer, limit });
            (Hold::HandedOver, self.now + limit)
        };
        self.holds.insert(process, hold);
        self.set(process, Lifecycle::Stopping { since: self.now, kill_at });
        true
    }

    /// An epoch was asked to end: an older one that it has to end is asked with it.
    pub(crate) fn pass_on(&mut self, process: ProcessId, deadline: Time) {
        let Some(older) = self.older(process).filter(|_| !self.is_pending(process)) else { return };
        // Not since its hand-over: more than its own limit is time that it has asked for.
        let since = self.now;
        let kill_at = since + self.budget.stop(&self.spec, older, self.now, deadline);
        let life = match self.life(older) {
            Lifecycle::PreStop { .. } => {
                self.abort_hook(Some(older), Stage::PreStop);
                return self.ask(older, deadline);
            }
            _ if !self.is_left_to_newer(older) => return,
            Lifecycle::Stopping { .. } => Lifecycle::Stopping { since, kill_at },
            Lifecycle::Remains { .. } => Lifecycle::Remains { kill_at },
            _ => return,
        };
        self.holds.insert(older, Hold::Passed);
        self.set(older, life);
        self.kill_if_due(older, deadline);
    }

    /// Whether this epoch gets no signal before the end of a newer one.
    pub(crate) fn waits_for_newer(&self, process: ProcessId) -> bool {
        matches!(self.holds.get(&process), Some(Hold::HandedOver | Hold::Delayed))
    }

    /// Whether a newer epoch serves, and ends this one.
    pub(crate) fn is_left_to_newer(&self, process: ProcessId) -> bool {
        self.holds.get(&process) == Some(&Hold::HandedOver)
    }

    /// Leaves an epoch to the newer one that has taken over from it, before its `pre_stop` hook runs.
    pub(crate) fn leave_to_newer(&mut self, process: ProcessId) {
        if self.is_handed_over(process) {
            self.holds.insert(process, Hold::HandedOver);
        }
    }

    /// The old epochs that go on without a newer one that serves.
    pub(crate) fn left_alone(&self) -> Vec<ProcessId> {
        let serves = |newer| self.life(newer).is_alive() && !self.is_pending(newer);
        let is_alone =
            |id: &ProcessId| self.is_left_to_newer(*id) && !self.newer(*id).is_some_and(serves);
        self.holds.keys().copied().filter(is_alone).collect()
    }

    /// The epoch that this one ends.
    pub(crate) fn older(&self, process: ProcessId) -> Option<ProcessId> {
        self[process].beside.filter(|older| self.newer(*older) == Some(process))
    }

    /// The time that the newer epoch has to end this one.
    pub(crate) fn handover_of(&self, process: ProcessId) -> Duration {
        let handover = self.newer(process).and_then(|newer| self.epoch(newer).handover);
        handover.unwrap_or_default()
    }

    /// Whether nobody ends this epoch in place of drainit any more.
    pub(crate) fn is_left_to_nobody(&self, process: ProcessId) -> bool {
        let holds_up = |newer| self.holds_up(newer, true);
        self.is_left_to_newer(process) && !self.newer(process).is_some_and(holds_up)
    }

    /// Waits for the drains before an old epoch, or the rest of it, is asked to end, and not for a
    /// newer one. Returns whether its own drain is to begin.
    pub(crate) fn wait_alone(&mut self, process: ProcessId) -> bool {
        let kill_at = Time::NEVER;
        match self.life(process) {
            Lifecycle::Stopping { since, .. } => {
                self.set(process, Lifecycle::Stopping { since, kill_at });
            }
            Lifecycle::Remains { .. } => self.set(process, Lifecycle::Remains { kill_at }),
            _ => {}
        }
        !core::mem::replace(&mut self[process].epoch.is_drained, true)
    }

    /// Asks the epochs to end that no newer one ends any more, and starts those that have waited for
    /// the end of another one. `may_stop`: no drain goes on for which an old epoch has to live.
    pub(crate) fn settle_epochs(&mut self, may_stop: bool, deadline: Time) {
        for (process, hold) in self.holds.clone() {
            let newer = self.newer(process);
            let comes_back = newer.is_some_and(|newer| self.comes_back(newer));
            if may_stop {
                self.step_drain(process, deadline);
            }
            let is_overdue = self.is_overdue(process);
            let is_drained = self[process].drain.is_drained();
            let is_due = match hold {
                _ if newer.is_some_and(|newer| self.holds_up(newer, is_overdue)) => false,
                Hold::Passed | Hold::Delayed => true,
                Hold::HandedOver if !is_drained && !is_overdue => false,
                Hold::HandedOver => {
                    may_stop && (self.epoch(process).was_failed_on || !comes_back || is_overdue)
                }
            };
            if is_due {
                self.end_drain(process, DrainEnd::TimeOver);
            }
            let own = self.budget.stop(&self.spec, process, self.now, deadline);
            // The newer one has asked it, in its own time.
            let limit = |kill_at: Time| match hold {
                Hold::Passed => kill_at.since(self.now).min(own),
                Hold::HandedOver | Hold::Delayed => own,
            };
            match self.life(process) {
                Lifecycle::Stopping { kill_at, .. } if is_due => {
                    let limit = limit(kill_at);
                    self.holds.remove(&process);
                    self.signal_stop(process, limit);
                    self.kill_if_due(process, deadline);
                }
                Lifecycle::Remains { kill_at } if is_due => {
                    let kill_at = self.now + limit(kill_at);
                    self.holds.remove(&process);
                    self.stop_rest(process, kill_at);
                    self.kill_if_due(process, deadline);
                }
                Lifecycle::PreStop { .. }
                | Lifecycle::Stopping { .. }
                | Lifecycle::Remains { .. } => {}
                _ => {
                    self.holds.remove(&process);
                }
            }
        }
        for process in core::mem::take(&mut self.delayed_starts) {
            if let Lifecycle::Backoff { until: Time::NEVER, anew } = self.life(process) {
                self.start_again(process, anew);
            }
        }
    }

    /// Whether an older epoch waits for this one, or for what is left of its group, which has been asked
    /// to end. It does not wait for that beyond its own time.
    fn holds_up(&self, newer: ProcessId, is_overdue: bool) -> bool {
        self.lives(newer) && !(is_overdue && self.life(newer).has_rest())
    }

    /// Whether the time is over in which a newer epoch was to end this one.
    fn is_overdue(&self, process: ProcessId) -> bool {
        match self.life(process) {
            Lifecycle::Stopping { kill_at, .. } | Lifecycle::Remains { kill_at } => {
                self.is_past(kill_at)
            }
            _ => false,
        }
    }

    /// Starts a process after its pause, once no other epoch of it is about to end. `anew`: from its
    /// `only_if` on.
    pub(crate) fn start_again(&mut self, process: ProcessId, anew: bool) {
        if self.waits_for_end(process) {
            self.set(process, Lifecycle::Backoff { until: Time::NEVER, anew });
            self.delayed_starts.insert(process);
        } else if anew {
            self.begin(process);
        } else {
            self.spawn(process);
        }
    }

    /// Whether another epoch is about to end: it could neither hand over to this one nor take over
    /// from it.
    fn waits_for_end(&self, process: ProcessId) -> bool {
        let is_epoch = self.process(process).update == Update::HotRestart;
        self[process].beside.is_some_and(|other| {
            let life = self.life(other);
            let is_spoilt = self.epoch(other).was_failed_on && self.role(other) == Role::Leaving;
            // A new one is taken back when the old one has failed.
            let ends = matches!(life, Lifecycle::Stopping { .. } | Lifecycle::Killed { .. })
                || self.is_pending(other);
            let is_left = ends && self.is_left_to_newer(other);
            let is_epoch = is_epoch && self.epoch(other).handover.is_some();
            let may_start = !ends && !life.has_rest() || is_left;
            is_epoch && self.lives(other) && (is_spoilt || !may_start)
        })
    }
}
