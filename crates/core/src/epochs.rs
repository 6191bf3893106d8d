//! Hot restarts: in which order the epochs of an Envoy may end.
//!
//! A new epoch takes the sockets and the admin over from the old epoch, reads its statistics as long
//! as it lives, and ends it: after `--parent-shutdown-time-s`, and at once when the new epoch is
//! asked to end itself. If the old epoch is gone before, Envoy aborts the new epoch 10 to 15 s later,
//! together with any third epoch. [`EpochState::after`] is the table of these rules; the same table
//! and the measurements are in `docs/hot-restart.md`.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::action::Action;
use crate::note::{DrainEnd, Note, RequestError};
use crate::prelude::*;
use crate::slots::Role;
use crate::spec::{HANDOVER_MARGIN, Stage};
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, Time, Update};

/// The longest wait for the last answer of an epoch that is not ready in time. A probe takes at
/// most 1 s.
const LAST_ANSWER: Duration = Duration::from_secs(2);

/// Envoy aborts a doomed epoch at most this long after the end of the older epoch.
const ABORTS_WITHIN: Duration = Duration::from_secs(15);

/// The state of an epoch says what may end it. Whether the epoch lives is in its lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpochState {
    /// Its stop signal ends it: no other epoch has a say in that.
    Free,
    /// It has not taken over from the older epoch, so only SIGKILL ends it: SIGTERM would also end
    /// the older one.
    Pending,
    /// A newer epoch has taken over, and ends it in place of drainit. It drains by itself.
    HandedOver,
    /// The same, but no newer epoch ends it any more. Its stop signal follows its drain.
    Orphaned,
    /// The newer epoch was asked to end, and has passed that on.
    Passed,
    /// It is to end, and gets its stop signal once the newer epoch is gone, which is killed.
    Delayed,
    /// The older epoch has ended too early, so Envoy aborts this one by `until`. It hears no signal
    /// but SIGKILL. `was_live`: it had taken over before.
    Doomed { until: Time, was_live: bool },
}

/// An event in a chain of epochs.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// It has taken over from the older epoch.
    Live,
    /// A newer epoch has taken over from it.
    NewerLive,
    /// A newer epoch has ended that had not taken over from it.
    NewerFailed,
    /// A newer epoch that has taken over from it was asked to end.
    NewerAsked,
    /// It is to end while a newer epoch lives.
    ToEnd,
    /// It gets its stop signal: no newer epoch lives.
    Asked,
    /// The older epoch has ended before this one has ended it.
    OlderLost { until: Time },
    /// Envoy would have aborted it by now.
    Survived,
    /// It has ended, but for the rest of its process group.
    Ended,
    /// Nothing of it is left that may be the Envoy.
    Gone,
}

impl EpochState {
    /// The table of `docs/hot-restart.md`. An event that the table does not name changes nothing.
    fn after(self, event: Event) -> Self {
        match (self, event) {
            (Self::Pending, Event::Live) => Self::Free,
            (Self::Free | Self::HandedOver, Event::NewerLive) => Self::HandedOver,
            (Self::HandedOver, Event::NewerFailed) => Self::Orphaned,
            (Self::HandedOver, Event::NewerAsked) => Self::Passed,
            (Self::Free, Event::ToEnd) => Self::Delayed,
            (Self::Free, Event::OlderLost { until }) => Self::Doomed { until, was_live: true },
            (Self::Pending, Event::OlderLost { until }) => Self::Doomed { until, was_live: false },
            (Self::Doomed { until, .. }, Event::Live) => Self::Doomed { until, was_live: true },
            (Self::Doomed { was_live, .. }, Event::Survived | Event::Ended) => match was_live {
                true => Self::Free,
                false => Self::Pending,
            },
            (
                Self::HandedOver | Self::Orphaned | Self::Passed | Self::Delayed,
                Event::Asked | Event::Gone,
            ) => Self::Free,
            (state, _) => state,
        }
    }

    /// Whether it gets no signal, because a newer epoch ends it or has to be gone before.
    fn is_held(self) -> bool {
        matches!(self, Self::HandedOver | Self::Orphaned | Self::Passed | Self::Delayed)
    }
}

/// The last instance of a slot that was started as an epoch.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    state: EpochState,
    started: Time,
    /// When its time to get ready was over, if it was. It is then asked for the last time.
    overdue: Option<Time>,
    /// The longest time that an older epoch lives beside it.
    handover: Duration,
    /// Its connections have counted in a drain of the newer epoch that is over, or its own drain has
    /// begun.
    is_drained: bool,
}

/// The epochs of all Envoys that are hot-restarted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Epochs {
    all: BTreeMap<ProcessId, Epoch>,
    /// Processes whose start waits for the end of their other epoch.
    delayed_starts: BTreeSet<ProcessId>,
}

impl Epochs {
    /// A process that is not an epoch is free.
    fn state(&self, process: ProcessId) -> EpochState {
        self.all.get(&process).map_or(EpochState::Free, |epoch| epoch.state)
    }

    fn happens(&mut self, process: ProcessId, event: Event) {
        if let Some(epoch) = self.all.get_mut(&process) {
            epoch.state = epoch.state.after(event);
        }
    }

    /// The slot is free for another process.
    pub(crate) fn forget(&mut self, slot: ProcessId) {
        self.all.remove(&slot);
    }

    /// A doomed epoch whose time is over at `expired`, and whose end was not seen, has survived.
    pub(crate) fn expire(&mut self, expired: Time) {
        for epoch in self.all.values_mut() {
            if matches!(epoch.state, EpochState::Doomed { until, .. } if until <= expired) {
                epoch.state = epoch.state.after(Event::Survived);
            }
        }
    }

    /// The epochs that Envoy is about to abort.
    pub(crate) fn doomed(&self) -> impl Iterator<Item = (ProcessId, Time)> {
        self.all.iter().filter_map(|(process, epoch)| match epoch.state {
            EpochState::Doomed { until, .. } => Some((*process, until)),
            _ => None,
        })
    }
}

/// What happens to an epoch.
impl State {
    /// An instance is started.
    pub(crate) fn epoch_started(&mut self, process: ProcessId) {
        let spec = self.process(process);
        let handover = spec.handover.filter(|_| spec.update == Update::HotRestart);
        let readiness_timeout = spec.readiness_timeout.unwrap_or_default();
        let Some(handover) = handover else { return self.epochs.forget(process) };
        let other = self[process].beside.filter(|other| self.epochs.all.contains_key(other));
        let is_beside = other.is_some_and(|other| self.lives(other));
        if let Some(survivor) = other.filter(|_| !is_beside) {
            // Its end, whenever that comes, says nothing about this one, which was started after it.
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

    /// A new epoch is ready: it has taken over.
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

    /// The time of an old epoch counts anew from the start of another epoch that ends it.
    fn renew_handover(&mut self, newer: ProcessId, more: Duration) {
        let Some(old) = self[newer].beside else { return };
        if let Lifecycle::Stopping { since, .. } = self.life(old)
            && self.is_handed_over(old)
        {
            let limit = self.handover_of(old) + more;
            self.note(Note::HandedOver { process: old, to: newer, limit });
            self.set(old, Lifecycle::Stopping { since, kill_at: self.now + limit });
        }
    }

    /// Asks an epoch that is not ready in time once more: it may have taken over since the last
    /// probe, and nobody would listen in its place. Returns whether its answer is waited for.
    pub(crate) fn ask_epoch(&mut self, process: ProcessId) -> bool {
        let Lifecycle::Starting { since, ready_by } = self.life(process) else { return false };
        if !self.is_pending(process) || self.overdue(process).is_some() {
            return false;
        }
        if let Some(epoch) = self.epochs.all.get_mut(&process) {
            epoch.overdue = Some(ready_by);
        }
        self.act(Action::AskEpoch(process));
        self.set(process, Lifecycle::Starting { since, ready_by: self.now + LAST_ANSWER });
        true
    }

    /// An epoch that was asked once more has not taken over.
    pub(crate) fn not_live(&mut self, process: ProcessId) {
        if let Lifecycle::Starting { since, .. } = self.life(process)
            && self.overdue(process).is_some()
        {
            self.set(process, Lifecycle::Starting { since, ready_by: self.now });
        }
    }

    /// An epoch is to end. Returns whether it gets no signal now.
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

    /// An epoch was asked to end: it asks an older epoch that it has to end.
    pub(crate) fn pass_on(&mut self, process: ProcessId, deadline: Time) {
        let older = self.older(process).filter(|older| self.is_handed_over(*older));
        let Some(older) = older.filter(|_| !self.needs_kill(process)) else { return };
        // Not since its hand-over: more than its own limit is time that it has asked for.
        let since = self.now;
        let kill_at = since + self.budget.stop(&self.spec, older, self.now, deadline);
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

    /// An epoch has ended. `remains`: the Envoy may be one of its process group that has not ended.
    /// Returns until when that is left to the newer epoch, if it is.
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

    /// Asks the epochs to end that no newer epoch ends any more, and starts those that have waited
    /// for the end of another one. `may_stop`: no drain is under way for which an old epoch has to
    /// live.
    pub(crate) fn settle_epochs(&mut self, may_stop: bool, deadline: Time) {
        for process in self.held_epochs() {
            if may_stop {
                self.step_drain(process, deadline);
            }
            if self.is_due(process, may_stop) {
                self.ask_alone(process, deadline);
            }
        }
        for process in core::mem::take(&mut self.epochs.delayed_starts) {
            if let Lifecycle::Backoff { until: Time::NEVER, anew } = self.life(process) {
                self.start_again(process, anew);
            }
        }
    }

    /// Asks an epoch to end, or what is left of it. An epoch that the newer one has asked keeps its
    /// time.
    fn ask_alone(&mut self, process: ProcessId, deadline: Time) {
        let now = self.now;
        let own = self.budget.stop(&self.spec, process, now, deadline);
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
        !self.set_drained(process, true)
    }

    /// Starts a process after its pause, once no other epoch of it is about to end. `anew`: from its
    /// `only_if` on.
    pub(crate) fn start_again(&mut self, process: ProcessId, anew: bool) {
        if self.waits_for_end(process) {
            self.set(process, Lifecycle::Backoff { until: Time::NEVER, anew });
            self.epochs.delayed_starts.insert(process);
        } else if anew {
            self.begin(process);
        } else {
            self.spawn(process);
        }
    }

    /// Returns what was known before.
    fn set_drained(&mut self, process: ProcessId, is_drained: bool) -> bool {
        let epoch = self.epochs.all.get_mut(&process);
        epoch.is_some_and(|epoch| core::mem::replace(&mut epoch.is_drained, is_drained))
    }
}

/// What others have to know of an epoch.
impl State {
    /// Whether this epoch was started beside an older epoch, and has not taken over from it.
    fn is_pending(&self, process: ProcessId) -> bool {
        let state = self.epochs.state(process);
        matches!(state, EpochState::Pending | EpochState::Doomed { was_live: false, .. })
    }

    /// Whether this instance was to replace another one, and has not taken over from it.
    pub(super) fn has_not_taken_over(&self, process: ProcessId) -> bool {
        self.is_pending(process) || matches!(self.role(process), Role::New { .. })
    }

    /// When the time of a process to get ready was over.
    pub(crate) fn overdue(&self, process: ProcessId) -> Option<Time> {
        self.epochs.all.get(&process)?.overdue
    }

    /// Whether a newer epoch has taken over from this one, which drains by itself.
    pub(crate) fn is_handed_over(&self, process: ProcessId) -> bool {
        matches!(self.epochs.state(process), EpochState::HandedOver | EpochState::Orphaned)
    }

    /// Whether a newer epoch ends this one, or was to.
    pub(crate) fn is_left_to_newer(&self, process: ProcessId) -> bool {
        self.is_handed_over(process) || self.epochs.state(process) == EpochState::Passed
    }

    /// Whether this epoch gets no signal before the end of a newer one.
    pub(crate) fn waits_for_newer(&self, process: ProcessId) -> bool {
        self.is_handed_over(process) || self.epochs.state(process) == EpochState::Delayed
    }

    /// Whether only SIGKILL ends this process, and no other one.
    pub(crate) fn needs_kill(&self, process: ProcessId) -> bool {
        let state = self.epochs.state(process);
        matches!(state, EpochState::Pending | EpochState::Doomed { .. })
    }

    /// Why no newer epoch may start beside this one.
    pub(crate) fn doomed(&self, process: ProcessId) -> Option<RequestError> {
        match self.epochs.state(process) {
            EpochState::Doomed { until, .. } => {
                Some(RequestError::EpochDoomed { process, left: until.since(self.now) })
            }
            _ => None,
        }
    }

    /// The old epochs, or what is left of them, that go on without a newer one that serves.
    pub(crate) fn left_alone(&self) -> Vec<ProcessId> {
        let serves = |newer| self.life(newer).is_alive() && !self.is_pending(newer);
        let mut alone = self.held_epochs();
        alone.retain(|id| self.is_handed_over(*id) && !self.newer(*id).is_some_and(serves));
        alone
    }

    /// The other slot of the process, if both are epochs and that one is the newer one.
    pub(crate) fn newer(&self, process: ProcessId) -> Option<ProcessId> {
        let other = self[process].beside?;
        let is_newer =
            self.role(process) == Role::Leaving || matches!(self.role(other), Role::New { .. });
        let are_epochs = [process, other].iter().all(|id| self.epochs.all.contains_key(id));
        (is_newer && are_epochs).then_some(other)
    }

    /// The epoch that this one ends.
    pub(crate) fn older(&self, process: ProcessId) -> Option<ProcessId> {
        self[process].beside.filter(|older| self.newer(*older) == Some(process))
    }

    /// The time that the newer epoch has to end this one.
    fn handover_of(&self, process: ProcessId) -> Duration {
        let newer = self.newer(process).and_then(|newer| self.epochs.all.get(&newer));
        newer.map_or(Duration::ZERO, |newer| newer.handover)
    }

    /// Whether nobody ends this epoch in place of drainit any more.
    pub(crate) fn is_left_to_nobody(&self, process: ProcessId) -> bool {
        let holds_up = |newer| self.holds_up(newer, true);
        self.is_handed_over(process) && !self.newer(process).is_some_and(holds_up)
    }

    /// Whether a process that was started has ended and drainit does not start it again without a
    /// request. Other members of its process group may still live.
    pub(crate) fn has_given_up(&self, process: ProcessId) -> bool {
        match self.life(process) {
            life if life.has_rest() => self[process].restart_after.is_none(),
            _ => !self.lives(process) && !self.comes_back(process),
        }
    }
}

/// The conditions of the transitions.
impl State {
    /// The epochs that are to end, or the rests of them, and get no signal now.
    fn held_epochs(&self) -> Vec<ProcessId> {
        let is_to_end = |process: &ProcessId| {
            let life = self.life(*process);
            matches!(life, Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. })
                || matches!(life, Lifecycle::Remains { .. })
        };
        let held = self.epochs.all.iter().filter(|(_, epoch)| epoch.state.is_held());
        held.map(|(process, _)| *process).filter(is_to_end).collect()
    }

    /// Whether an epoch that is to end gets its stop signal now.
    fn is_due(&self, process: ProcessId, may_stop: bool) -> bool {
        let is_overdue = match self.life(process) {
            Lifecycle::Stopping { kill_at, .. } | Lifecycle::Remains { kill_at } => {
                self.is_past(kill_at)
            }
            _ => return false,
        };
        let newer = self.newer(process);
        if newer.is_some_and(|newer| self.holds_up(newer, is_overdue)) {
            return false;
        }
        let is_drained = self[process].drain.is_drained();
        let comes_back = newer.is_some_and(|newer| self.comes_back(newer));
        match self.epochs.state(process) {
            EpochState::HandedOver => may_stop && (is_drained && !comes_back || is_overdue),
            EpochState::Orphaned => may_stop && (is_drained || is_overdue),
            state => state.is_held(),
        }
    }

    /// Whether Envoy aborts this epoch if the older epoch ends now, and not because this one has ended
    /// it. That comes some time after this one is live, which may be long before drainit sees it, as
    /// the machine may sleep: its start is known. A new one beside a current one needs it, too, but is
    /// rolled back.
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

    /// Whether there is a process, or a part of one, that SIGKILL has not failed to end.
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

    /// Whether a process that does not live is about to be started again.
    fn comes_back(&self, process: ProcessId) -> bool {
        let is_beginning =
            matches!(self.life(process), Lifecycle::Checking | Lifecycle::PreStart { .. });
        self.pauses(process) || is_beginning
    }

    /// Whether an older epoch waits for this one, or for what is left of its group, which has been asked
    /// to end. It does not wait for that beyond its own time.
    fn holds_up(&self, newer: ProcessId, is_overdue: bool) -> bool {
        self.lives(newer) && !(is_overdue && self.life(newer).has_rest())
    }

    /// Whether another epoch is about to end: it could neither hand over to this one nor take over
    /// from it.
    fn waits_for_end(&self, process: ProcessId) -> bool {
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
