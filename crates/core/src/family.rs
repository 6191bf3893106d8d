//! The family of an Envoy that is hot-restarted: the order in which its epochs may end.
//!
//! An *epoch* is one Envoy of a chain of hot restarts. For all other modules, an epoch is an
//! instance like any other. The other modules report to this module what happens to an instance,
//! and mostly ask one question: which [`Tie`] does an instance have to another one?
//!
//! A new epoch takes over the sockets and the admin interface of the old epoch. The new epoch reads
//! the statistics of the old epoch as long as the old epoch lives. The new epoch ends the old epoch
//! after `--parent-shutdown-time-s`, or at once when somebody asks the new epoch to end. If the old
//! epoch ends earlier, Envoy aborts the new epoch 10 to 15 s later. [`states`] has these rules as a
//! table, and `docs/dev/hot-restart.md` has the table with the measurements.

pub(crate) mod states;

use core::time::Duration;

use crate::family::states::{Epoch, EpochEvent, EpochState};
use crate::note::{DrainEnd, Note, RequestError};
use crate::prelude::*;
use crate::spec::{HANDOVER_MARGIN, Stage};
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, Time, Update};

/// The longest time from the end of the older epoch until Envoy aborts the newer epoch.
const ABORTS_WITHIN: Duration = Duration::from_secs(15);

/// The way in which an instance can be ended, and whether its end also ends the other instance of
/// the process. An instance that is not part of a chain of hot restarts always has [`Tie::None`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tie {
    /// The stop signal ends this instance only.
    None,
    /// The stop signal would end another instance, too. SIGKILL ends only this instance.
    KillOnly,
    /// A newer instance ends this one, which drains by itself and gets no signal.
    LeftToNewer,
    /// As with `LeftToNewer`, this instance drains by itself, but no newer instance will end it.
    /// [`settle`] sends the stop signal to this instance.
    LeftToDrainit,
    /// A newer instance was asked to end, and has asked this one to end in turn.
    Passed,
    /// The newer instance must be gone before this one gets its stop signal from [`settle`].
    Delayed,
}

impl Tie {
    /// Whether a newer instance has taken over from this one, which drains by itself.
    pub(crate) fn is_handed_over(self) -> bool {
        matches!(self, Self::LeftToNewer | Self::LeftToDrainit)
    }
}

pub(crate) fn tie(state: &State, process: ProcessId) -> Tie {
    match state.family.state(process) {
        EpochState::Free => Tie::None,
        EpochState::Pending | EpochState::Doomed { .. } => Tie::KillOnly,
        EpochState::Passed => Tie::Passed,
        EpochState::Delayed => Tie::Delayed,
        EpochState::HandedOver | EpochState::Orphaned => {
            let newer = newer_of(state, process);
            match newer.is_some_and(|newer| delays_older(state, newer, true)) {
                true => Tie::LeftToNewer,
                false => Tie::LeftToDrainit,
            }
        }
    }
}

/// Whether this instance was started beside an older one and, as far as drainit knows, has not
/// taken over yet. The instance may take over at any moment.
pub(crate) fn is_pending(state: &State, process: ProcessId) -> bool {
    let state = state.family.state(process);
    matches!(state, EpochState::Pending | EpochState::Doomed { was_live: false, .. })
}

/// Whether this instance has taken over from an older instance, which now waits for this instance
/// to end.
pub(crate) fn is_awaited(state: &State, process: ProcessId) -> bool {
    older_of(state, process).is_some_and(|older| tie(state, older).is_handed_over())
}

/// The instances that Envoy is about to abort, each with the error for a request that needs the
/// instance.
pub(crate) fn doomed(state: &State) -> Vec<(ProcessId, RequestError)> {
    let error = |(process, until): (ProcessId, Time)| {
        (process, RequestError::Doomed { process, left: until.since(state.now) })
    };
    state.family.doomed().map(error).collect()
}

/// Whether Envoy is about to abort this instance.
pub(crate) fn is_doomed(state: &State, process: ProcessId) -> bool {
    matches!(state.family.state(process), EpochState::Doomed { .. })
}

/// Handles the start of an instance.
pub(crate) fn on_start(state: &mut State, process: ProcessId) {
    let spec = state.process(process);
    let handover = spec.handover.filter(|_| spec.update == Update::HotRestart);
    let readiness_timeout = spec.readiness_timeout.unwrap_or_default();
    let Some(handover) = handover else { return state.family.forget(process) };
    let other = state[process].beside.filter(|other| state.family.all.contains_key(other));
    let is_beside = other.is_some_and(|other| lives(state, other));
    if let Some(survivor) = other.filter(|_| !is_beside) {
        // The other epoch has ended, or survives SIGKILL. The other epoch is recorded as live. If
        // it ends later, its end then does not count as the failure of a newer epoch to take over.
        state.family.happens(survivor, EpochEvent::Live);
    }
    let begins = if is_beside { EpochState::Pending } else { EpochState::Free };
    let epoch = Epoch { state: begins, started: state.now, handover, is_drained: false };
    state.family.all.insert(process, epoch);
    renew_handover(state, process, readiness_timeout);
}

/// Handles a new instance that has become ready. If the instance is an epoch, its readiness shows
/// that it has taken over.
pub(crate) fn on_ready(state: &mut State, process: ProcessId) {
    if !is_pending(state, process) {
        return;
    }
    state.family.happens(process, EpochEvent::Live);
    if let Some(older) = state[process].beside {
        state.family.happens(older, EpochEvent::NewerLive);
        set_drained(state, older, false);
    }
    renew_handover(state, process, Duration::ZERO);
}

/// Gives an old epoch its whole hand-over time again, plus `more`, because another epoch has
/// started and will end the old epoch.
fn renew_handover(state: &mut State, newer: ProcessId, more: Duration) {
    let Some(old) = state[newer].beside else { return };
    if matches!(state.life(old), Lifecycle::Stopping { .. }) && tie(state, old).is_handed_over() {
        let limit = handover_of(state, old) + more;
        state.step.note(Note::HandedOver { process: old, to: newer, limit });
        state.set_timer(old, state.now + limit);
    }
}

/// If a newer instance will end this instance, or if [`settle`] will send the stop signal later,
/// begins the stop without a stop signal, and returns `true`. Otherwise does nothing, and returns
/// `false`.
pub(crate) fn holds(state: &mut State, process: ProcessId) -> bool {
    let is_there = |newer: &ProcessId| lives(state, *newer) || pauses(state, *newer);
    let newer = newer_of(state, process).filter(is_there);
    match (state.family.state(process), newer) {
        (EpochState::Free, Some(_)) => state.family.happens(process, EpochEvent::ToEnd),
        (EpochState::HandedOver | EpochState::Orphaned, _) => {}
        _ => return false,
    }
    let mut kill_at = Time::NEVER;
    if let Some(newer) = newer.filter(|newer| !is_asked(state, *newer))
        && state.family.state(process) == EpochState::HandedOver
    {
        let limit = handover_of(state, process);
        state.step.note(Note::HandedOver { process, to: newer, limit });
        kill_at = state.now + limit;
    }
    state.set(process, Lifecycle::Stopping { since: state.now, kill_at });
    true
}

/// Records that the stop signal of an instance also ends the older instance, because Envoy asks the
/// older epoch to end, too.
pub(crate) fn passes_on(state: &mut State, process: ProcessId) {
    let older = older_of(state, process).filter(|older| tie(state, *older).is_handed_over());
    let Some(older) = older.filter(|_| tie(state, process) != Tie::KillOnly) else { return };
    // The limit counts from now. If it counted from the hand-over, it would be longer than the
    // limit of a stop. `fit_waits` would then assume that the older instance has asked for more
    // time.
    let since = state.now;
    let kill_at = since + state.stop_time(older);
    let life = match state.life(older) {
        Lifecycle::PreStop { .. } => {
            state.step.abort_hook(Some(older), Stage::PreStop);
            let limit = kill_at.since(since);
            state.step.note(Note::HandedOver { process: older, to: process, limit });
            Lifecycle::Stopping { since, kill_at }
        }
        Lifecycle::Stopping { .. } => Lifecycle::Stopping { since, kill_at },
        Lifecycle::Remains { .. } => Lifecycle::Remains { kill_at },
        _ => return,
    };
    state.family.happens(older, EpochEvent::NewerAsked);
    state.set(older, life);
    state.kill_if_due(older);
}

/// Handles the end of an instance. `remains` says whether another member of its process group
/// lives. If the process was a wrapper, this member may be the Envoy. Returns the latest time at
/// which [`settle`] stops the remaining members; `None` if it does not stop them.
pub(crate) fn on_ended(state: &mut State, process: ProcessId, remains: bool) -> Option<Time> {
    let is_killed = matches!(state.life(process), Lifecycle::Killed { .. });
    if !remains
        && !is_killed
        && let Some(newer) = newer_of(state, process)
        && needs_older(state, newer)
    {
        let until = state.now + ABORTS_WITHIN;
        state.family.happens(newer, EpochEvent::OlderLost { until });
        state.step.note(Note::Doomed { process: newer, within: ABORTS_WITHIN });
    }
    if let Some(other) = state[process].beside
        && is_pending(state, process)
    {
        state.family.happens(other, EpochEvent::NewerFailed);
    } else if let Some(older) = older_of(state, process)
        && state[process].drain.is_drained()
    {
        set_drained(state, older, true);
    }
    state.family.happens(process, EpochEvent::Ended);
    if !remains || is_killed {
        state.family.happens(process, EpochEvent::Gone);
    }
    state.family.state(process).is_held().then(|| match state.life(process) {
        Lifecycle::Stopping { kill_at, .. } => kill_at,
        _ => state.now + handover_of(state, process),
    })
}

/// Stops the instances that no newer instance will end, and starts the instances that have waited
/// for the end of another instance. `may_stop` is false while a drain still needs the old
/// instances.
pub(crate) fn settle(state: &mut State, may_stop: bool) {
    for process in held(state) {
        if may_stop {
            state.step_drain(process);
        }
        if is_due(state, process, may_stop) {
            stop_held(state, process);
        }
    }
    for process in core::mem::take(&mut state.family.delayed_starts) {
        if let Lifecycle::Backoff { until: Time::NEVER, anew } = state.life(process) {
            state.start_again(process, anew);
        }
    }
}

/// Stops an epoch, or the rest of its process group. If the newer epoch has already asked this
/// epoch to end, the time until SIGKILL is not extended.
fn stop_held(state: &mut State, process: ProcessId) {
    let now = state.now;
    let own = state.stop_time(process);
    let is_passed = state.family.state(process) == EpochState::Passed;
    let limit = |kill_at: Time| if is_passed { own.min(kill_at.since(now)) } else { own };
    state.end_drain(process, DrainEnd::TimeOver);
    state.family.happens(process, EpochEvent::Asked);
    match state.life(process) {
        Lifecycle::Stopping { kill_at, .. } => {
            state.signal_stop(process, limit(kill_at));
        }
        Lifecycle::Remains { kill_at } => state.stop_rest(process, now + limit(kill_at)),
        _ => {}
    }
    state.kill_if_due(process);
}

/// Finds the old instances whose newer instance does not serve, and asks `wants` about each of
/// them. The argument of `wants` is the newer instance, if there is one. If `wants` returns `Some`,
/// the old instance, or the rest of its process group, runs until the drains are over. Returns each
/// old instance whose own drain has to begin, with the result of `wants`.
pub(crate) fn left_to_drain<T>(
    state: &mut State,
    wants: impl Fn(&State, Option<ProcessId>) -> Option<T>,
) -> Vec<(ProcessId, T)> {
    let serves = |newer| state.life(newer).is_alive() && !is_pending(state, newer);
    let mut alone = held(state);
    alone.retain(|id| tie(state, *id).is_handed_over());
    alone.retain(|id| !newer_of(state, *id).is_some_and(serves));
    let mut begun = Vec::new();
    for old in alone {
        let Some(wish) = wants(state, newer_of(state, old)) else { continue };
        if let Lifecycle::Stopping { .. } | Lifecycle::Remains { .. } = state.life(old) {
            state.set_timer(old, Time::NEVER);
        }
        if !set_drained(state, old, true) {
            begun.push((old, wish));
        }
    }
    begun
}

/// Whether the start of a process has to wait, because its other instance is about to end. If so,
/// [`settle`] calls [`State::start_again`] when that instance is gone.
pub(crate) fn delays_start(state: &mut State, process: ProcessId) -> bool {
    let is_delayed = other_is_ending(state, process);
    if is_delayed {
        state.family.delayed_starts.insert(process);
    }
    is_delayed
}

/// Sets whether an epoch is drained, and returns the previous value.
fn set_drained(state: &mut State, process: ProcessId, is_drained: bool) -> bool {
    let epoch = state.family.all.get_mut(&process);
    epoch.is_some_and(|epoch| core::mem::replace(&mut epoch.is_drained, is_drained))
}

/// The other slot of the process, if both slots are epochs and the other slot is the newer epoch.
fn newer_of(state: &State, process: ProcessId) -> Option<ProcessId> {
    let other = state[process].beside?;
    let is_newer =
        state.role(process) == Role::Leaving || matches!(state.role(other), Role::New { .. });
    let are_epochs = [process, other].iter().all(|id| state.family.all.contains_key(id));
    (is_newer && are_epochs).then_some(other)
}

/// The other slot of the process, if both slots are epochs and the other slot is the older epoch.
fn older_of(state: &State, process: ProcessId) -> Option<ProcessId> {
    state[process].beside.filter(|older| newer_of(state, *older) == Some(process))
}

/// The time within which the newer epoch has to end this epoch; zero if there is no newer epoch.
fn handover_of(state: &State, process: ProcessId) -> Duration {
    let newer = newer_of(state, process).and_then(|newer| state.family.all.get(&newer));
    newer.map_or(Duration::ZERO, |newer| newer.handover)
}

/// The epochs that are held (`EpochState::is_held`) and whose stop has begun. The main process of
/// such an epoch may have ended while other processes of its group still live.
fn held(state: &State) -> Vec<ProcessId> {
    let is_to_end = |process: &ProcessId| {
        let life = state.life(*process);
        matches!(life, Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. })
            || matches!(life, Lifecycle::Remains { .. })
    };
    let held = state.family.all.iter().filter(|(_, epoch)| epoch.state.is_held());
    held.map(|(process, _)| *process).filter(is_to_end).collect()
}

/// Whether an epoch whose stop signal was held back (`EpochState::is_held`) gets this signal now.
fn is_due(state: &State, process: ProcessId, may_stop: bool) -> bool {
    let is_overdue = match state.life(process) {
        Lifecycle::Stopping { kill_at, .. } | Lifecycle::Remains { kill_at } => {
            state.is_past(kill_at)
        }
        _ => return false,
    };
    let newer = newer_of(state, process);
    if newer.is_some_and(|newer| delays_older(state, newer, is_overdue)) {
        return false;
    }
    let is_drained = state[process].drain.is_drained();
    let is_about_to_start = newer.is_some_and(|newer| is_about_to_start(state, newer));
    match state.family.state(process) {
        EpochState::HandedOver => may_stop && (is_drained && !is_about_to_start || is_overdue),
        EpochState::Orphaned => may_stop && (is_drained || is_overdue),
        state => state.is_held(),
    }
}

/// Whether Envoy would abort this epoch if the older epoch ended now. The danger is over once this
/// epoch itself has ended the older one, `--parent-shutdown-time-s` after this epoch became live.
/// This function counts the time from the start of this epoch. drainit may learn late that the
/// epoch is live, for example after a sleep of the machine. An epoch that has not taken over is
/// killed by drainit anyway, so it does not need the older one.
fn needs_older(state: &State, process: ProcessId) -> bool {
    let Some(Epoch { handover, started, .. }) = state.family.all.get(&process) else {
        return false;
    };
    let needs = match state.life(process) {
        Lifecycle::Starting { .. } => state.is_current(process),
        life => matches!(life, Lifecycle::Ready { .. } | Lifecycle::PreStop { .. }),
    };
    needs && state.now < *started + handover.saturating_sub(HANDOVER_MARGIN)
}

/// Whether the process or a member of its group exists. A process that survives SIGKILL does not
/// count.
fn lives(state: &State, process: ProcessId) -> bool {
    let life = state.life(process);
    let exists = life.is_alive() || life.has_rest() || life == Lifecycle::Spawning;
    exists && !life.releases_dependencies()
}

fn pauses(state: &State, process: ProcessId) -> bool {
    matches!(state.life(process), Lifecycle::Backoff { .. })
}

fn is_asked(state: &State, process: ProcessId) -> bool {
    matches!(state.life(process), Lifecycle::Stopping { .. } | Lifecycle::Killed { .. })
}

/// Whether a process that does not live is about to start again.
fn is_about_to_start(state: &State, process: ProcessId) -> bool {
    let is_beginning =
        matches!(state.life(process), Lifecycle::Checking { .. } | Lifecycle::PreStart { .. });
    pauses(state, process) || is_beginning
}

/// Whether a process has ended and drainit starts it again only at a request. Other members of its
/// process group may still live.
pub(crate) fn has_given_up(state: &State, process: ProcessId) -> bool {
    match state.life(process) {
        life if life.has_rest() => state[process].restarts.after_rest.is_none(),
        _ => !lives(state, process) && !is_about_to_start(state, process),
    }
}

/// Whether the older epoch has to wait for the newer epoch, or for the rest of the newer epoch's
/// process group. If the time of the older epoch is over (`is_overdue`), it does not wait for that
/// rest.
fn delays_older(state: &State, newer: ProcessId, is_overdue: bool) -> bool {
    lives(state, newer) && !(is_overdue && state.life(newer).has_rest())
}

/// Whether the other epoch is about to end, so that this epoch could neither take over from it nor
/// hand over to it.
fn other_is_ending(state: &State, process: ProcessId) -> bool {
    let other = state[process].beside.filter(|other| state.family.all.contains_key(other));
    let Some(other) = other else { return false };
    let ends = match state.family.state(other) {
        EpochState::Free | EpochState::Doomed { .. } => is_asked(state, other),
        EpochState::HandedOver => matches!(state.life(other), Lifecycle::Killed { .. }),
        _ => true,
    };
    state.process(process).update == Update::HotRestart
        && lives(state, other)
        && (ends || state.life(other).has_rest())
}
