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
//! itself. If the old one is gone before, the new one aborts 10 to 15 s later. So an old epoch is not
//! signalled while a newer one lives, and one that has not taken over is ended by KILL, which it
//! cannot pass on.
//!
//! Measured with Envoy 1.37.0, 1.38.3 and 1.40.0; `docs/envoy.md` has the details.

use std::time::Duration;

use crate::config::Update;
use crate::core::action::Action;
use crate::core::note::Note;
use crate::core::slots::Role;
use crate::core::state::{Lifecycle, State};
use crate::types::{ProcessId, Signal, Time};

/// The running instance of a slot, as one of two epochs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epoch {
    /// The longest time that it lives beside a newer one; `None` if it is no epoch.
    handover: Option<Duration>,
    /// It was started beside an older one, and has not taken over from it.
    is_pending: bool,
    /// A newer one has ended before it took over: Envoy lets no other take over from this one.
    was_failed_on: bool,
}

/// Why an epoch that is to end is not signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The newer one serves, and ends it.
    HandedOver,
    /// The newer one was asked to end, and passes that on.
    Passed,
    /// The newer one has not taken over, and is being killed.
    Delayed,
}

impl State {
    /// The other slot of the process, if both are epochs and that one is the newer one.
    fn newer(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self.beside[process.index()]?;
        let is_newer =
            self.role(process) == Role::Leaving || matches!(self.role(other), Role::New { .. });
        let are_epochs = [process, other].iter().all(|id| self.epoch(*id).handover.is_some());
        (is_newer && are_epochs).then_some(other)
    }

    fn epoch(&self, process: ProcessId) -> Epoch {
        self.epochs[process.index()]
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

    /// Whether this epoch drains by itself, because a newer one has taken over.
    pub(crate) fn is_handed_over(&self, process: ProcessId) -> bool {
        let is_live = |newer| self.lives(newer) && !self.epoch(newer).is_pending;
        self.role(process) == Role::Leaving && self.newer(process).is_some_and(is_live)
    }

    /// Whether this epoch was started beside an older one, and has not taken over from it.
    pub(crate) fn is_pending(&self, process: ProcessId) -> bool {
        self.epoch(process).is_pending
    }

    /// The new epoch that is about to take over from this process, started or not.
    pub(crate) fn pending_beside(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self.beside[process.index()]?;
        let is_new = matches!(self.role(other), Role::New { .. });
        (is_new && self.process(other).update == Update::HotRestart).then_some(other)
    }

    /// An instance is started.
    pub(crate) fn begin_epoch(&mut self, process: ProcessId) {
        let spec = self.process(process);
        let handover = spec.handover.filter(|_| spec.update == Update::HotRestart);
        let other = self.beside[process.index()].filter(|other| {
            handover.is_some() && self.epoch(*other).handover.is_some() && self.lives(*other)
        });
        self.epochs[process.index()] =
            Epoch { handover, is_pending: other.is_some(), was_failed_on: false };
        let start = self.process(process).readiness_timeout.unwrap_or_default();
        self.renew_handover(process, start);
    }

    /// The time of an old epoch counts anew from the start of another one that ends it.
    fn renew_handover(&mut self, newer: ProcessId, more: Duration) {
        let Some(old) = self.beside[newer.index()] else { return };
        if let Lifecycle::Stopping { since, .. } = self.life(old)
            && self.is_left_to_newer(old)
        {
            let limit = self.epoch(old).handover.unwrap_or_default() + more;
            self.note(Note::HandedOver { process: old, to: newer, limit });
            self.set(old, Lifecycle::Stopping { since, kill_at: self.now + limit });
        }
    }

    /// A new epoch is ready: it has taken over.
    pub(crate) fn epoch_took_over(&mut self, process: ProcessId) {
        if std::mem::take(&mut self.epochs[process.index()].is_pending) {
            self.renew_handover(process, Duration::ZERO);
        }
    }

    /// An epoch has ended.
    pub(crate) fn end_epoch(&mut self, process: ProcessId) {
        if let Some(other) = self.beside[process.index()]
            && self.epoch(process).is_pending
        {
            self.epochs[other.index()].was_failed_on = true;
        }
    }

    /// The signal that ends a process, and no other one. TERM to an epoch that has not taken over
    /// ends the older one, too.
    pub(crate) fn stop_signal(&self, process: ProcessId) -> Signal {
        let is_pending = self.epoch(process).is_pending;
        if is_pending { Signal::KILL } else { self.process(process).stop_signal }
    }

    /// Waits for the end of an epoch that is to end, in place of a signal, if a newer one lives or is
    /// started again. Returns whether that is so. `limit`: its own time to end.
    pub(crate) fn hold(&mut self, process: ProcessId, limit: Duration) -> bool {
        let Some(newer) = self.newer(process) else { return false };
        let is_back_soon = matches!(self.life(newer), Lifecycle::Backoff { .. });
        if !self.lives(newer) && !is_back_soon || self.epoch(process).was_failed_on {
            return false;
        }
        // What is still the current one is asked only if the new one is not wanted any more.
        let ends =
            matches!(self.life(newer), Lifecycle::Stopping { .. } | Lifecycle::Killed { .. });
        let (hold, limit) = if ends || self.role(process) != Role::Leaving {
            let signal = self.stop_signal(process);
            self.note(Note::Stopping { process, signal, limit });
            (Hold::Delayed, limit)
        } else {
            let limit = self.epoch(process).handover.unwrap_or_default();
            self.note(Note::HandedOver { process, to: newer, limit });
            (Hold::HandedOver, limit)
        };
        self.holds.insert(process, hold);
        self.set(process, Lifecycle::Stopping { since: self.now, kill_at: self.now + limit });
        true
    }

    /// An epoch was asked to end: an older one that it has to end is asked with it.
    pub(crate) fn pass_on(&mut self, process: ProcessId, deadline: Time) {
        let Some(older) = self.beside[process.index()] else { return };
        if self.newer(older) != Some(process) || self.epoch(process).is_pending {
            return;
        }
        if let Lifecycle::Stopping { .. } = self.life(older)
            && self.is_left_to_newer(older)
        {
            self.holds.insert(older, Hold::Passed);
            let limit = self.budget.stop(&self.spec, older, self.now, deadline);
            // Not since its hand-over: more than its own limit is time that it has asked for.
            let since = self.now;
            self.set(older, Lifecycle::Stopping { since, kill_at: since + limit });
        }
    }

    /// Whether a newer epoch serves, and ends this one.
    pub(crate) fn is_left_to_newer(&self, process: ProcessId) -> bool {
        self.holds.get(&process) == Some(&Hold::HandedOver)
    }

    /// Asks the epochs to end that no newer one ends any more, and starts those that have waited for
    /// the end of another one. `may_stop`: no drain goes on for which an old epoch has to live.
    pub(crate) fn settle_epochs(&mut self, may_stop: bool, deadline: Time) {
        for (process, hold) in self.holds.clone() {
            let Lifecycle::Stopping { kill_at, .. } = self.life(process) else { continue };
            let newer = self.newer(process);
            let comes_back = newer.is_some_and(|newer| self.comes_back(newer));
            let is_due = match hold {
                _ if newer.is_some_and(|newer| self.lives(newer)) => false,
                Hold::Passed | Hold::Delayed => true,
                Hold::HandedOver => may_stop && (self.epoch(process).was_failed_on || !comes_back),
            };
            if is_due {
                self.holds.remove(&process);
                let signal = self.stop_signal(process);
                self.act(Action::Stop { process, signal });
                if hold != Hold::Delayed {
                    let own = self.budget.stop(&self.spec, process, self.now, deadline);
                    let limit = kill_at.since(self.now).min(own);
                    self.note(Note::Stopping { process, signal, limit });
                    let (since, kill_at) = (self.now, self.now + limit);
                    self.set(process, Lifecycle::Stopping { since, kill_at });
                }
            }
        }
        for process in std::mem::take(&mut self.delayed_starts) {
            if let Lifecycle::Backoff { until: Time::NEVER, anew } = self.life(process) {
                self.start_again(process, anew);
            }
        }
    }

    /// Starts a process after its pause, once no other epoch of it is about to end: that one could
    /// neither hand over nor be taken over from. `anew`: from its `only_if` on.
    pub(crate) fn start_again(&mut self, process: ProcessId, anew: bool) {
        let is_epoch = self.process(process).update == Update::HotRestart;
        let waits = self.beside[process.index()].filter(|other| {
            let life = self.life(*other);
            let ends = matches!(life, Lifecycle::Stopping { .. } | Lifecycle::Killed { .. });
            let is_epoch = is_epoch && self.epoch(*other).handover.is_some();
            let serves = self.is_left_to_newer(*other);
            is_epoch && self.lives(*other) && (ends || life.has_rest()) && !serves
        });
        if waits.is_some() {
            self.set(process, Lifecycle::Backoff { until: Time::NEVER, anew });
            self.delayed_starts.insert(process);
        } else if anew {
            self.begin(process);
        } else {
            self.spawn(process);
        }
    }
}
