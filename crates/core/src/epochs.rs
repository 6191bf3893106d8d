//! Hot restarts: the order in which the epochs of an Envoy may end.
//!
//! A new epoch takes over the sockets and the admin interface of the old epoch. It reads the
//! statistics of the old epoch as long as the old epoch lives. The new epoch ends the old epoch
//! after `--parent-shutdown-time-s`, or at once when somebody asks the new epoch to end. If the old
//! epoch ends earlier, Envoy aborts the new epoch 10 to 15 s later, together with any third epoch.
//! [`states`] has these rules as a table, and `docs/dev/hot-restart.md` has the table with the
//! measurements.

pub(crate) mod states;

use core::time::Duration;

use crate::action::Action;
use crate::epochs::states::{Epoch, EpochState, Event};
use crate::note::{DrainEnd, Note, RequestError};
use crate::prelude::*;
use crate::spec::{HANDOVER_MARGIN, Stage};
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, Time, Update};

/// The longest wait for the last probe of an epoch that is not ready in time. A probe takes at most
/// 1 s.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// The longest time from the end of the older epoch until Envoy aborts the newer epoch.
const ABORTS_WITHIN: Duration = Duration::from_secs(15);

/// These methods handle the events of an epoch.
impl State {
    /// Handles the start of an instance.
    pub(crate) fn epoch_started(&mut self, process: ProcessId) {
        let spec = self.process(process);
        let handover = spec.handover.filter(|_| spec.update == Update::HotRestart);
        let readiness_timeout = spec.readiness_timeout.unwrap_or_default();
        let Some(handover) = handover else { return self.epochs.forget(process) };
        let other = self[process].beside.filter(|other| self.epochs.all.contains_key(other));
        let is_beside = other.is_some_and(|other| self.lives(other));
        if let Some(survivor) = other.filter(|_| !is_beside) {
            // The other epoch has ended, or survives SIGKILL. If drainit learns of its end later,
            // this must not count as the end of an epoch that is newer than this one.
            self.epochs.happens(survivor, Event::Live);
        }
        let state = match is_beside {
            true => EpochState::Pending,
            false => EpochState::Free,
        };
        let started = self.now;
        let epoch = Epoch { state, started, overdue: None, handover, is_drained: false };
        self.epochs.all.insert(process, epoch);
        self.renew_handover(process, readiness_timeout);
    }

    /// Handles a new epoch that has become ready, which shows that it has taken over.
    pub(crate) fn epoch_is_live(&mut self, process: ProcessId) {
        if !self.is_pending(process) {
            return;
        }
        self.epochs.happens(process, Event::Live);
        if let Some(older) = self[process].beside {
            self.epochs.happens(older, Event::NewerLive);
            self.set_drained(older, false);
        }
        self.renew_handover(process, Duration::ZERO);
    }

    /// Gives an old epoch its whole hand-over time again, because another epoch has started and
    /// will end the old epoch.
    fn renew_handover(&mut self, newer: ProcessId, more: Duration) {
        let Some(old) = self[newer].beside else { return };
        if matches!(self.life(old), Lifecycle::Stopping { .. }) && self.is_handed_over(old) {
            let limit = self.handover_of(old) + more;
            self.note(Note::HandedOver { process: old, to: newer, limit });
            self.set_timer(old, self.now + limit);
        }
    }

    /// Probes an epoch once more after its readiness timeout. The epoch may have taken over since
    /// its last probe: killing it would then leave no Envoy that listens. Returns whether the core
    /// waits for the answer.
    pub(crate) fn ask_epoch(&mut self, process: ProcessId) -> bool {
        let Lifecycle::Starting { ready_by, .. } = self.life(process) else { return false };
        if !self.is_pending(process) || self.overdue(process).is_some() {
            return false;
        }
        if let Some(epoch) = self.epochs.all.get_mut(&process) {
            epoch.overdue = Some(ready_by);
        }
        self.act(Action::AskEpoch(process));
        self.set_timer(process, self.now + LAST_ANSWER);
        true
    }

    /// Handles a last probe that did not show that the epoch has taken over.
    pub(crate) fn not_live(&mut self, process: ProcessId) {
        if matches!(self.life(process), Lifecycle::Starting { .. })
            && self.overdue(process).is_some()
        {
            self.set_timer(process, self.now);
        }
    }

    /// Begins the stop of this epoch without a stop signal, if a newer epoch will end this epoch or
    /// must be gone before it. Returns whether it has begun the stop.
    pub(crate) fn hold_epoch(&mut self, process: ProcessId) -> bool {
        let newer = self.newer(process).filter(|newer| self.lives(*newer) || self.pauses(*newer));
        match (self.epochs.state(process), newer) {
            (EpochState::Free, Some(_)) => self.epochs.happens(process, Event::ToEnd),
            (EpochState::HandedOver | EpochState::Orphaned, _) => {}
            _ => return false,
        }
        let mut kill_at = Time::NEVER;
        if let Some(newer) = newer.filter(|newer| !self.is_asked(*newer))
            && self.epochs.state(process) == EpochState::HandedOver
        {
            let limit = self.handover_of(process);
            self.note(Note::HandedOver { process, to: newer, limit });
            kill_at = self.now + limit;
        }
        self.set(process, Lifecycle::Stopping { since: self.now, kill_at });
        true
    }

    /// Records what the stop signal of an epoch does to the older epoch: Envoy asks the older epoch
    /// to end, too.
    pub(crate) fn pass_stop_on(&mut self, process: ProcessId, deadline: Time) {
        let older = self.older(process).filter(|older| self.is_handed_over(*older));
        let Some(older) = older.filter(|_| !self.needs_kill(process)) else { return };
        // The limit counts from now, not from the hand-over. Otherwise `fit_waits` would take the
        // older epoch for a process that has asked for more time.
        let since = self.now;
        let kill_at = since + self.budget.stop(self.process(older), deadline.since(self.now));
        let life = match self.life(older) {
            Lifecycle::PreStop { .. } => {
                self.abort_hook(Some(older), Stage::PreStop);
                let limit = kill_at.since(since);
                self.note(Note::HandedOver { process: older, to: process, limit });
                Lifecycle::Stopping { since, kill_at }
            }
            Lifecycle::Stopping { .. } => Lifecycle::Stopping { since, kill_at },
            Lifecycle::Remains { .. } => Lifecycle::Remains { kill_at },
            _ => return,
        };
        self.epochs.happens(older, Event::NewerAsked);
        self.set(older, life);
        self.kill_if_due(older, deadline);
    }

    /// Handles the end of an epoch. `remains` says whether another member of its process group
    /// lives. If the process was a wrapper, this member may be the Envoy. Returns the time by which
    /// the newer epoch has to end the remaining members; `None` if the newer epoch does not end
    /// them.
    pub(crate) fn epoch_ended(&mut self, process: ProcessId, remains: bool) -> Option<Time> {
        let is_killed = matches!(self.life(process), Lifecycle::Killed { .. });
        if !remains
            && !is_killed
            && let Some(newer) = self.newer(process)
            && self.needs_older(newer)
        {
            let until = self.now + ABORTS_WITHIN;
            self.epochs.happens(newer, Event::OlderLost { until });
            self.note(Note::EpochDoomed { process: newer, within: ABORTS_WITHIN });
        }
        if let Some(other) = self[process].beside
            && self.is_pending(process)
        {
            self.epochs.happens(other, Event::NewerFailed);
        } else if let Some(older) = self.older(process)
            && self[process].drain.is_drained()
        {
            self.set_drained(older, true);
        }
        self.epochs.happens(process, Event::Ended);
        if !remains || is_killed {
            self.epochs.happens(process, Event::Gone);
        }
        self.epochs.state(process).is_held().then(|| match self.life(process) {
            Lifecycle::Stopping { kill_at, .. } => kill_at,
            _ => self.now + self.handover_of(process),
        })
    }

    /// Stops the epochs that no newer epoch will end, and starts the epochs that have waited for
    /// the end of another epoch. `may_stop` is false while a drain needs the old epochs alive.
    pub(crate) fn settle_epochs(&mut self, may_stop: bool, deadline: Time) {
        for process in self.held_epochs() {
            if may_stop {
                self.step_drain(process, deadline);
            }
            if self.is_due(process, may_stop) {
                self.stop_held_epoch(process, deadline);
            }
        }
        for process in core::mem::take(&mut self.epochs.delayed_starts) {
            if let Lifecycle::Backoff { until: Time::NEVER, anew } = self.life(process) {
                self.start_again(process, anew);
            }
        }
    }

    /// Stops an epoch, or the rest of its process group. If the newer epoch has already asked this
    /// epoch to end, the time until SIGKILL is not extended.
    fn stop_held_epoch(&mut self, process: ProcessId, deadline: Time) {
        let now = self.now;
        let own = self.budget.stop(self.process(process), deadline.since(now));
        let is_passed = self.epochs.state(process) == EpochState::Passed;
        let limit = |kill_at: Time| if is_passed { own.min(kill_at.since(now)) } else { own };
        self.end_drain(process, DrainEnd::TimeOver);
        self.epochs.happens(process, Event::Asked);
        match self.life(process) {
            Lifecycle::Stopping { kill_at, .. } => self.signal_stop(process, limit(kill_at)),
            Lifecycle::Remains { kill_at } => self.stop_rest(process, now + limit(kill_at)),
            _ => {}
        }
        self.kill_if_due(process, deadline);
    }

    /// Lets an old epoch, or the rest of its process group, run until the drains are over, because
    /// no newer epoch will end it. Returns whether its own drain has to begin.
    pub(crate) fn wait_for_drains_only(&mut self, process: ProcessId) -> bool {
        if let Lifecycle::Stopping { .. } | Lifecycle::Remains { .. } = self.life(process) {
            self.set_timer(process, Time::NEVER);
        }
        !self.set_drained(process, true)
    }

    /// Starts a process again after its pause. If its other epoch is about to end, the start waits
    /// until that epoch is gone. `anew` says whether `only_if` is evaluated first.
    pub(crate) fn start_again(&mut self, process: ProcessId, anew: bool) {
        if self.other_epoch_is_ending(process) {
            self.set(process, Lifecycle::Backoff { until: Time::NEVER, anew });
            self.epochs.delayed_starts.insert(process);
        } else if anew {
            self.begin(process);
        } else {
            self.spawn(process);
        }
    }

    /// Sets whether an epoch is drained, and returns the previous value.
    fn set_drained(&mut self, process: ProcessId, is_drained: bool) -> bool {
        let epoch = self.epochs.all.get_mut(&process);
        epoch.is_some_and(|epoch| core::mem::replace(&mut epoch.is_drained, is_drained))
    }
}

/// These methods answer questions of other modules about an epoch.
impl State {
    /// Whether this epoch was started beside an older epoch, and has not taken over from it.
    fn is_pending(&self, process: ProcessId) -> bool {
        let state = self.epochs.state(process);
        matches!(state, EpochState::Pending | EpochState::Doomed { was_live: false, .. })
    }

    /// Whether this instance was started to replace another instance, and has not taken over from
    /// it.
    pub(super) fn has_not_taken_over(&self, process: ProcessId) -> bool {
        self.is_pending(process) || matches!(self.role(process), Role::New { .. })
    }

    /// The time at which the readiness timeout of an epoch was over; `None` if the timeout is not
    /// over.
    pub(crate) fn overdue(&self, process: ProcessId) -> Option<Time> {
        self.epochs.all.get(&process)?.overdue
    }

    /// Whether a newer epoch has taken over from this epoch, which drains by itself.
    pub(crate) fn is_handed_over(&self, process: ProcessId) -> bool {
        matches!(self.epochs.state(process), EpochState::HandedOver | EpochState::Orphaned)
    }

    /// Whether a newer epoch has taken over from this epoch or has asked it to end. Such a newer
    /// epoch ends this epoch in place of drainit, unless the newer epoch fails.
    pub(crate) fn is_left_to_newer(&self, process: ProcessId) -> bool {
        self.is_handed_over(process) || self.epochs.state(process) == EpochState::Passed
    }

    /// Whether this epoch gets no stop signal while the newer epoch lives.
    pub(crate) fn waits_for_newer(&self, process: ProcessId) -> bool {
        self.is_handed_over(process) || self.epochs.state(process) == EpochState::Delayed
    }

    /// Whether only SIGKILL can end this epoch without ending another epoch.
    pub(crate) fn needs_kill(&self, process: ProcessId) -> bool {
        let state = self.epochs.state(process);
        matches!(state, EpochState::Pending | EpochState::Doomed { .. })
    }

    /// The error for a request while Envoy is about to abort this epoch.
    pub(crate) fn doomed(&self, process: ProcessId) -> Option<RequestError> {
        match self.epochs.state(process) {
            EpochState::Doomed { until, .. } => {
                Some(RequestError::EpochDoomed { process, left: until.since(self.now) })
            }
            _ => None,
        }
    }

    /// The old epochs whose stop has begun and whose newer epoch does not serve. An epoch of which
    /// only the rest of the process group lives is included.
    pub(crate) fn epochs_without_successor(&self) -> Vec<ProcessId> {
        let serves = |newer| self.life(newer).is_alive() && !self.is_pending(newer);
        let mut alone = self.held_epochs();
        alone.retain(|id| self.is_handed_over(*id) && !self.newer(*id).is_some_and(serves));
        alone
    }

    /// The other slot of the process, if both slots are epochs and the other slot is the newer
    /// epoch.
    pub(crate) fn newer(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self[process].beside?;
        let is_newer =
            self.role(process) == Role::Leaving || matches!(self.role(other), Role::New { .. });
        let are_epochs = [process, other].iter().all(|id| self.epochs.all.contains_key(id));
        (is_newer && are_epochs).then_some(other)
    }

    /// The older epoch, which this epoch ends once it has taken over.
    pub(crate) fn older(&self, process: ProcessId) -> Option<ProcessId> {
        self[process].beside.filter(|older| self.newer(*older) == Some(process))
    }

    /// The time within which the newer epoch has to end this epoch; zero if there is no newer
    /// epoch.
    fn handover_of(&self, process: ProcessId) -> Duration {
        let newer = self.newer(process).and_then(|newer| self.epochs.all.get(&newer));
        newer.map_or(Duration::ZERO, |newer| newer.handover)
    }

    /// Whether drainit has to end this epoch, because no newer epoch will end it any more.
    pub(crate) fn is_left_to_drainit(&self, process: ProcessId) -> bool {
        let delays_older = |newer| self.delays_older(newer, true);
        self.is_handed_over(process) && !self.newer(process).is_some_and(delays_older)
    }

    /// Whether a process has ended and drainit starts it again only at a request. Other members of
    /// its process group may still live.
    pub(crate) fn has_given_up(&self, process: ProcessId) -> bool {
        match self.life(process) {
            life if life.has_rest() => self[process].restart_after.is_none(),
            _ => !self.lives(process) && !self.is_about_to_start(process),
        }
    }
}

/// These methods check the conditions of the transitions.
impl State {
    /// The held epochs whose stop has begun. The main process of such an epoch may have ended while
    /// other processes of its group still live.
    fn held_epochs(&self) -> Vec<ProcessId> {
        let is_to_end = |process: &ProcessId| {
            let life = self.life(*process);
            matches!(life, Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. })
                || matches!(life, Lifecycle::Remains { .. })
        };
        let held = self.epochs.all.iter().filter(|(_, epoch)| epoch.state.is_held());
        held.map(|(process, _)| *process).filter(is_to_end).collect()
    }

    /// Whether a held epoch gets its stop signal now.
    fn is_due(&self, process: ProcessId, may_stop: bool) -> bool {
        let is_overdue = match self.life(process) {
            Lifecycle::Stopping { kill_at, .. } | Lifecycle::Remains { kill_at } => {
                self.is_past(kill_at)
            }
            _ => return false,
        };
        let newer = self.newer(process);
        if newer.is_some_and(|newer| self.delays_older(newer, is_overdue)) {
            return false;
        }
        let is_drained = self[process].drain.is_drained();
        let is_about_to_start = newer.is_some_and(|newer| self.is_about_to_start(newer));
        match self.epochs.state(process) {
            EpochState::HandedOver => may_stop && (is_drained && !is_about_to_start || is_overdue),
            EpochState::Orphaned => may_stop && (is_drained || is_overdue),
            state => state.is_held(),
        }
    }

    /// Whether Envoy aborts this epoch if the older epoch ends now. Envoy does so until this epoch
    /// has ended the older one itself, `--parent-shutdown-time-s` after this epoch has become live.
    /// This function counts that time from the start of this epoch, because after a sleep of the
    /// machine drainit may learn late that the epoch is live. Returns false for a new epoch that
    /// has not taken over from the current epoch: Envoy would abort it, too, but drainit rolls it
    /// back.
    fn needs_older(&self, process: ProcessId) -> bool {
        let Some(Epoch { handover, started, .. }) = self.epochs.all.get(&process) else {
            return false;
        };
        let needs = match self.life(process) {
            Lifecycle::Starting { .. } => self.is_current(process),
            life => matches!(life, Lifecycle::Ready { .. } | Lifecycle::PreStop { .. }),
        };
        needs && self.now < *started + handover.saturating_sub(HANDOVER_MARGIN)
    }

    /// Whether the process or a member of its group exists and is not known to survive SIGKILL.
    fn lives(&self, process: ProcessId) -> bool {
        let life = self.life(process);
        let exists = life.is_alive() || life.has_rest() || life == Lifecycle::Spawning;
        exists && !life.releases_dependencies()
    }

    fn pauses(&self, process: ProcessId) -> bool {
        matches!(self.life(process), Lifecycle::Backoff { .. })
    }

    fn is_asked(&self, process: ProcessId) -> bool {
        matches!(self.life(process), Lifecycle::Stopping { .. } | Lifecycle::Killed { .. })
    }

    /// Whether a process that does not live is about to start again.
    fn is_about_to_start(&self, process: ProcessId) -> bool {
        let is_beginning =
            matches!(self.life(process), Lifecycle::Checking { .. } | Lifecycle::PreStart { .. });
        self.pauses(process) || is_beginning
    }

    /// Whether the older epoch has to wait for the newer epoch: either the newer epoch lives, or it
    /// has ended and the rest of its process group lives. If the time of the older epoch is over
    /// (`is_overdue`), it does not wait for such a rest.
    fn delays_older(&self, newer: ProcessId, is_overdue: bool) -> bool {
        self.lives(newer) && !(is_overdue && self.life(newer).has_rest())
    }

    /// Whether the other epoch is about to end. If so, this epoch could neither take over from it
    /// nor hand over to it.
    fn other_epoch_is_ending(&self, process: ProcessId) -> bool {
        let other = self[process].beside.filter(|other| self.epochs.all.contains_key(other));
        let Some(other) = other else { return false };
        let ends = match self.epochs.state(other) {
            EpochState::Free | EpochState::Doomed { .. } => self.is_asked(other),
            EpochState::HandedOver => matches!(self.life(other), Lifecycle::Killed { .. }),
            _ => true,
        };
        self.process(process).update == Update::HotRestart
            && self.lives(other)
            && (ends || self.life(other).has_rest())
    }
}
