//! The history of one slot.

use std::ops::{Index, IndexMut};

use super::*;

/// The history of a slot, and of the instance in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotHistory {
    /// The value of [`History::starts`] after the last start; 0 before the first.
    pub(crate) started_as: u32,
    /// Whether the instance became ready before `unready_since`.
    pub(crate) was_serving: bool,
    /// Whether drainit lets the instance end without a drain: no time was left, or a newer epoch
    /// has taken over.
    pub(crate) not_drained: bool,
    /// Whether a note has said that the instance is not drained because its drain is off.
    pub(crate) told_off: bool,
    pub(crate) asked: Option<(Time, Duration)>,
    /// Whether drainit has seen that the instance ignores its stop signal.
    pub(crate) ignores: bool,
    /// Whether drainit has granted the instance more time to end.
    pub(crate) extended: bool,
    pub(crate) group_killed: bool,
    pub(crate) killed_in_shutdown: bool,
    /// After SIGKILL: the time from which the core no longer waits for the instance's end.
    pub(crate) survives_at: Option<Time>,
    pub(crate) drain: Option<(Time, Duration)>,
    /// The shortest time of this drain, from its beginning.
    pub(crate) drain_min: Duration,
    /// Whether the instance's drain began before the shutdown, or before the drain without a stop.
    pub(crate) drained_early: bool,
    pub(crate) draining: bool,
    pub(crate) drained: bool,
    /// Whether the instance's drain is finished: the drain was over while the instance still ran,
    /// or drainit skipped the drain because no time was left.
    pub(crate) drain_over: bool,
    /// Whether the instance's drain was over because no connection or request was open.
    pub(crate) was_quiet: bool,
    /// Whether the drain was over when the stop signal came.
    pub(crate) is_held: bool,
    /// The longest time that the last closing of the instance's listeners may take.
    pub(crate) closing: Duration,
    /// The number of processes that had ended when that closing began.
    pub(crate) ended_before_closing: usize,
    /// Whether the instance is an Envoy that was never live, so that it has nothing to drain
    /// (`Event::NothingToDrain`).
    pub(crate) not_live: bool,
    /// The number of processes that had already ended when the instance's drain began, or at
    /// `unready_since` if the drain began later.
    pub(crate) ended_before_drain: usize,
    pub(crate) last_active: Option<u64>,
    pub(crate) accepted: Option<bool>,
    /// Whether the instance is ready, and drainit has not begun to stop it.
    pub(crate) serves: bool,
    /// Whether a restart of the instance has failed because it survives SIGKILL. A new start clears
    /// this flag, even if `only_if` skips the start.
    pub(crate) stuck: bool,
    /// Whether drainit stops the instance without its dependents: for a restart, or after a failed
    /// start or liveness check.
    pub(crate) alone: bool,
    /// Whether an operator's request stops the instance. Its dependents stop first.
    pub(crate) by_request: bool,
    /// Whether the instance has failed its liveness check, so that its drain lasts for `min` only.
    pub(crate) unhealthy: bool,
    /// Whether the instance's stop began before the shutdown.
    pub(crate) stops_early: bool,
    /// Whether drainit has released the instance's held sockets.
    pub(crate) released: bool,
    /// Whether the instance has ended, and no new instance runs in the slot.
    pub(crate) gone: bool,
    /// Whether the instance is an epoch that has not taken over from the older epoch beside it.
    pub(crate) pending: bool,
    /// Whether the instance is an epoch that a newer epoch has to end in place of drainit
    /// (`Note::HandedOver`).
    pub(crate) handed_over: bool,
    /// Whether the instance is an old epoch: a newer epoch has taken over from it.
    pub(crate) taken_over: bool,
    /// Whether the instance has ended, and its `restart` policy does not start it again.
    pub(crate) given_up: bool,
    /// Whether the instance is an epoch that Envoy will abort, because the older epoch beside it
    /// has ended too early.
    pub(crate) doomed: bool,
    /// Whether the instance got its stop signal.
    pub(crate) signalled: bool,
    /// Whether drainit has sent a signal to the other members of the instance's process group,
    /// which outlive the instance.
    pub(crate) rest_signalled: bool,
    /// Whether the orphans of this group are gone; `None` if drainit has not asked them to end.
    pub(crate) orphans_gone: Option<bool>,
    /// Whether `Note::Started` was given for the instance.
    pub(crate) started: bool,
    /// Whether the kernel has shown that the instance listens on nothing.
    pub(crate) listens_on_nothing: bool,
    /// Whether the instance must be restarted to follow a dependency: the dependency has a new
    /// instance, which has met the condition of `depends_on`.
    pub(crate) behind: bool,
    /// Whether the instance is restarted to follow a dependency, and its new start has not begun.
    pub(crate) follows: bool,
    /// Whether the instance is on its way up. The way begins with a start or with an end, and lasts
    /// until the instance is ready, complete or skipped.
    pub(crate) on_its_way: bool,
}

impl SlotHistory {
    /// Forgets the previous instance, because a new instance starts.
    pub(super) fn start(&mut self, started_as: u32) {
        let Self { killed_in_shutdown, released, .. } = *self;
        *self =
            Self { started_as, killed_in_shutdown, released, on_its_way: true, ..Self::default() };
    }

    /// Forgets all instances that the slot has had.
    pub(super) fn begin_anew(&mut self) {
        self.released = false;
        self.start(0);
    }

    /// Whether the instance has a drain that is not over.
    pub(crate) fn is_in_drain(&self) -> bool {
        self.draining && !self.drain_over
    }
}

impl Index<ProcessId> for History<'_> {
    type Output = SlotHistory;
    fn index(&self, slot: ProcessId) -> &SlotHistory {
        &self.at[slot.index()]
    }
}

impl IndexMut<ProcessId> for History<'_> {
    fn index_mut(&mut self, slot: ProcessId) -> &mut SlotHistory {
        &mut self.at[slot.index()]
    }
}
