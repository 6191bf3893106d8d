//! The states of the epochs of an Envoy, and the table of their transitions.
//! [`family`](crate::family) explains the rules.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::types::{ProcessId, Time};

/// This state says what may end an epoch. The lifecycle of the process says whether the epoch
/// lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EpochState {
    /// The stop signal ends this epoch only, so no other epoch has to be considered.
    Free,
    /// The epoch has not taken over from the older epoch. Only SIGKILL may end it, because SIGTERM
    /// would also end the older epoch.
    Pending,
    /// A newer epoch has taken over. The newer epoch ends this epoch, so drainit does not. This
    /// epoch drains by itself.
    HandedOver,
    /// A newer epoch has taken over from this epoch, and has ended. Then another new epoch has
    /// ended before it took over. No other epoch will end this epoch, so drainit sends the stop
    /// signal after the drain.
    Orphaned,
    /// A newer epoch was asked to end, and has asked this epoch to end in turn.
    Passed,
    /// The stop of this epoch has begun, but a newer epoch lives and has not taken over. The newer
    /// epoch is killed, and this epoch gets its stop signal when the newer epoch is gone.
    Delayed,
    /// The older epoch has ended too early, so Envoy aborts this epoch by `until`. This epoch
    /// reacts to no signal but SIGKILL. `was_live` says whether this epoch had taken over before.
    Doomed { until: Time, was_live: bool },
}

/// An event that changes the state of an epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EpochEvent {
    /// The epoch has taken over from the older epoch.
    Live,
    /// A newer epoch has taken over from this epoch.
    NewerLive,
    /// A newer epoch has ended before it took over from this epoch.
    NewerFailed,
    /// A newer epoch that has taken over from this epoch was asked to end.
    NewerAsked,
    /// The stop of this epoch begins. A newer epoch lives, and has not taken over from this epoch.
    ToEnd,
    /// drainit sends the stop signal to the epoch, because no newer epoch will end it.
    Asked,
    /// The older epoch has ended by itself, before this epoch could end it. Envoy will abort this
    /// epoch.
    OlderLost { until: Time },
    /// The time within which Envoy would abort this epoch is over, and the epoch still lives.
    Survived,
    /// The epoch has ended; the rest of its process group may live.
    Ended,
    /// The epoch has ended, and no other member of its process group can be the Envoy.
    Gone,
}

impl EpochState {
    /// Returns the state after an event, as in the table of `docs/dev/hot-restart.md`. An event
    /// without an entry for the current state changes nothing.
    fn after(self, event: EpochEvent) -> Self {
        match (self, event) {
            (Self::Pending, EpochEvent::Live) => Self::Free,
            (Self::Free | Self::HandedOver, EpochEvent::NewerLive) => Self::HandedOver,
            (Self::HandedOver, EpochEvent::NewerFailed) => Self::Orphaned,
            (Self::HandedOver, EpochEvent::NewerAsked) => Self::Passed,
            (Self::Free, EpochEvent::ToEnd) => Self::Delayed,
            (Self::Free, EpochEvent::OlderLost { until }) => Self::Doomed { until, was_live: true },
            (Self::Pending, EpochEvent::OlderLost { until }) => {
                Self::Doomed { until, was_live: false }
            }
            (Self::Doomed { until, .. }, EpochEvent::Live) => {
                Self::Doomed { until, was_live: true }
            }
            (Self::Doomed { was_live, .. }, EpochEvent::Survived | EpochEvent::Ended) => {
                match was_live {
                    true => Self::Free,
                    false => Self::Pending,
                }
            }
            (
                Self::HandedOver | Self::Orphaned | Self::Passed | Self::Delayed,
                EpochEvent::Asked | EpochEvent::Gone,
            ) => Self::Free,
            (state, _) => state,
        }
    }

    /// Whether a stop of this epoch sends no stop signal yet. Either a newer epoch ends this epoch,
    /// or `family::settle` sends the signal later.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::HandedOver | Self::Orphaned | Self::Passed | Self::Delayed)
    }
}

/// The epoch of a slot: the last instance that was started in this slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    pub(crate) state: EpochState,
    pub(crate) started: Time,
    /// How long an older epoch may live beside this epoch before drainit ends the older epoch.
    pub(crate) handover: Duration,
    /// Whether this epoch needs no further drain. Either its own drain has begun, or the drain of
    /// the newer epoch is over. The newer epoch's drain waits for the connections of both epochs.
    pub(crate) is_drained: bool,
}

/// The epochs of all Envoys that are hot-restarted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Family {
    pub(crate) all: BTreeMap<ProcessId, Epoch>,
    /// Processes whose start waits for the end of the other epoch.
    pub(crate) delayed_starts: BTreeSet<ProcessId>,
}

impl Family {
    /// The state of an epoch. A process that is not an epoch is `Free`.
    pub(crate) fn state(&self, process: ProcessId) -> EpochState {
        self.all.get(&process).map_or(EpochState::Free, |epoch| epoch.state)
    }

    pub(crate) fn happens(&mut self, process: ProcessId, event: EpochEvent) {
        if let Some(epoch) = self.all.get_mut(&process) {
            epoch.state = epoch.state.after(event);
        }
    }

    /// Records the time at which the program of an epoch has started.
    pub(crate) fn on_spawned(&mut self, process: ProcessId, now: Time) {
        if let Some(epoch) = self.all.get_mut(&process) {
            epoch.started = now;
        }
    }

    /// Forgets the epoch of a slot, because the slot is free or its new instance is not an epoch.
    pub(crate) fn forget(&mut self, slot: ProcessId) {
        self.all.remove(&slot);
    }

    /// Ends the doomed state of each epoch that Envoy would have aborted by `expired`. Such an
    /// epoch has survived.
    pub(crate) fn expire(&mut self, expired: Time) {
        for epoch in self.all.values_mut() {
            if matches!(epoch.state, EpochState::Doomed { until, .. } if until <= expired) {
                epoch.state = epoch.state.after(EpochEvent::Survived);
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
