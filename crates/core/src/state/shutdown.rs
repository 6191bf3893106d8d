//! A shutdown, or a drain that was requested without a stop: its cause, its deadline, the signals
//! that hurry it, and what it has to kill.

use alloc::collections::BTreeSet;
use core::time::Duration;

use crate::cause::Cause;
use crate::types::{ONE_SIGNAL, ProcessId, Signal, Time};

/// drainit notices a deadline this late only if it could not run, for example because it was
/// suspended. The event loop is never busy for so long.
const PAUSED: Duration = Duration::from_millis(100);
/// If the grace period of the stop counts from an earlier `POST /drain`, the stop keeps the
/// deadline of the drain, but gets at least this time. This time is shorter than the 2 s that the
/// kubelet gives to a container whose `preStop` hook has used up the grace period
/// (`minimumGracePeriodInSeconds` in `pkg/kubelet/kuberuntime/kuberuntime_container.go`).
const LEAST: Duration = Duration::from_secs(1);

/// A shutdown, or a drain that was requested without a stop. Such a drain is *held*, until there is
/// a reason to stop.
///
/// Only a shutdown has a deadline. Outside of it, [`State::shutdown`] is `None`, and the limits of
/// a step are its own. After the exit, the value stays.
///
/// [`State::shutdown`]: crate::state::State::shutdown
#[derive(Clone, Debug)]
pub struct Shutdown {
    pub cause: Cause,
    /// The time at which the shutdown began.
    pub t0: Time,
    pub deadline: Time,
    /// The number of stop signals so far, as [`Self::count_signal`] counts them.
    pub(crate) signals: u32,
    last_signal: Option<Time>,
    /// The reason why all processes are killed at once, in no order. `None` before the killing.
    pub(crate) killing: Option<Killing>,
    /// The processes that were killed since the shutdown began, themselves or the rest of their
    /// process group.
    killed: BTreeSet<ProcessId>,
    killed_leftovers: bool,
}

/// The reason why all processes are killed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Killing {
    /// A third stop signal has come.
    Hurried,
    /// The deadline has come.
    Deadline,
    /// drainit could not run when the deadline came. Everyone who was not asked to end is asked
    /// before SIGKILL.
    SleptThrough,
}

impl Shutdown {
    pub(crate) fn new(cause: Cause, now: Time, window: Duration) -> Self {
        Self {
            cause,
            t0: now,
            deadline: now + window,
            signals: u32::from(cause.is_stop()),
            last_signal: cause.is_stop().then_some(now),
            killing: None,
            killed: BTreeSet::new(),
            killed_leftovers: false,
        }
    }

    /// Whether this is a drain that was requested without a stop, and there is no reason to stop
    /// yet.
    pub fn is_held(&self) -> bool {
        self.cause == Cause::DrainRequested
    }

    /// Turns a held drain into a shutdown with this cause. If `counts_from_drain`, the grace period
    /// counts from the request to drain. Otherwise, the stop gets a grace period of its own.
    pub(crate) fn stop(
        &mut self,
        cause: Cause,
        now: Time,
        window: Duration,
        counts_from_drain: bool,
    ) {
        if counts_from_drain {
            self.deadline = self.deadline.max(now + LEAST.min(window));
        } else {
            (self.t0, self.deadline) = (now, now + window);
        }
        self.cause = cause;
        self.killed.clear();
    }

    /// Counts a stop signal, and returns the new count. If the signal came within [`ONE_SIGNAL`]
    /// after the last stop signal, it counts as a repetition, and the function returns `None`. For
    /// a SIGTERM that is not the first signal, the function returns 1 and counts nothing. Node
    /// shutdowns, systemd and wrappers send SIGTERM more than once without a wish to hurry.
    pub(crate) fn count_signal(&mut self, now: Time, signal: Signal) -> Option<u32> {
        let last = self.last_signal.replace(now);
        if last.is_some_and(|last| now.since(last) < ONE_SIGNAL) {
            return None;
        }
        if signal == Signal::TERM && self.signals > 0 {
            return Some(1);
        }
        self.signals += 1;
        Some(self.signals)
    }

    /// Begins anew the time within which another stop signal counts as a repetition.
    pub(crate) fn on_signal_handled(&mut self, now: Time) {
        self.last_signal = self.last_signal.map(|_| now);
    }

    /// The time that is left until the deadline. Once all processes are killed, no time is left for
    /// any wait or hook.
    pub(crate) fn left(&self, now: Time) -> Duration {
        if self.killing.is_some() { Duration::ZERO } else { self.deadline.since(now) }
    }

    /// Whether this time is so long after the deadline that drainit could not run meanwhile.
    pub(crate) fn is_late(&self, at: Time) -> bool {
        at >= self.deadline + PAUSED
    }

    /// Whether drainit could not run when the deadline came.
    pub(crate) fn has_slept(&self, now: Time) -> bool {
        match self.killing {
            Some(why) => why == Killing::SleptThrough,
            None => !self.is_held() && self.is_late(now),
        }
    }

    /// Begins to kill all processes at the deadline. If drainit could not run when the deadline came,
    /// returns how late this is.
    pub(crate) fn on_deadline(&mut self, now: Time) -> Option<Duration> {
        let late = self.has_slept(now).then(|| now.since(self.deadline));
        self.killing = Some(late.map_or(Killing::Deadline, |_| Killing::SleptThrough));
        late
    }

    /// Begins to kill all processes at a third stop signal.
    pub(crate) fn cut_short(&mut self) {
        self.killing = Some(Killing::Hurried);
    }

    pub(crate) fn is_cut_short(&self) -> bool {
        self.killing == Some(Killing::Hurried)
    }

    pub(crate) fn on_killed(&mut self, process: ProcessId) {
        self.killed.insert(process);
    }

    /// Takes back a process that turns out to have exited by itself.
    pub(crate) fn on_own_exit(&mut self, process: ProcessId) {
        self.killed.remove(&process);
    }

    pub(crate) fn on_leftovers(&mut self, are_killed: bool) {
        self.killed_leftovers |= are_killed;
    }

    /// Whether anything was killed.
    pub(crate) fn has_killed(&self) -> bool {
        self.killed_leftovers || !self.killed.is_empty()
    }
}
