//! The history of a slot, and the counts of a process over all of its instances.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use crate::event::Load;
use crate::note::DrainEnd;
use crate::prelude::*;
use crate::report::data::{ConnectionData, RequestData};
use crate::report::state::ProcessState;
use crate::types::{End, EndKind, ProcessId, Signal, Time};

/// A count that is at most this old at the end is reported as the count at the end. This is longer
/// than the time from a poll to the signal that follows it.
const FRESH: Duration = Duration::from_millis(50);

/// Why a check of a process fails; `None` after a success. The task that checks keeps it up to
/// date.
pub type Reason = Rc<RefCell<Option<String>>>;

/// The history of a slot: its instances and their state.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The first start of the process.
    pub started: Option<Time>,
    /// When the process was first ready. A oneshot is ready when it has completed, a service
    /// without `readiness` when it has started.
    pub ready: Option<Time>,
    /// The PID of the running instance; `None` once it is reaped.
    pub pid: Option<i32>,
    /// The PID of the last instance, which stays after its end; `None` after a failed start.
    pub(super) last_pid: Option<i32>,
    /// The epoch of the last start of an Envoy with `hot-restart`.
    pub epoch: Option<u32>,
    /// The epoch or PID of the instance, if another instance ran beside it.
    pub instance: Option<String>,
    /// Whether drainit has sent the instance SIGKILL for a request of an operator.
    pub is_killed: bool,
    pub state: ProcessState,
    /// Since when the process is in this state.
    pub since: Time,
    pub(super) is_skipped: bool,
    pub(super) is_draining: bool,
    /// Whether the process stays down after `restart_max` restarts or a failure, whatever its last
    /// exit code.
    pub(super) gave_up: bool,
    /// When and how the last instance ended; `None` while another instance runs.
    pub(super) end: Option<(Time, End)>,
    /// How the last instance ended. This stays while the next instance runs.
    pub last_end: Option<End>,
    /// Why the process is down, as far as drainit knows.
    pub message: Option<String>,
    /// A reason that explains more than the end that will follow or has just come.
    pub why_ended: Option<String>,
    /// Why the process is not ready yet, or the text of its `STATUS=`.
    pub failure: Reason,
    /// Why its last liveness probe failed.
    pub unhealthy: Reason,
    /// The risks of its drain; `None` while they are unknown.
    pub drain_warnings: Option<Rc<[String]>>,
    /// When the process was asked to end, by which signal, and the time from then to SIGKILL.
    pub(super) asked: Option<(Time, Signal, Duration)>,
    /// Its stop, once a shutdown has begun.
    pub(super) stop: Option<Stop>,
    /// The last drain that has begun.
    pub drain: Option<Drain>,
}

impl History {
    /// The reason that the status shows: why the process is not ready, why its last liveness probe
    /// failed, how it ended, or its `STATUS=`.
    pub fn why(&self) -> Option<String> {
        let of = |reason: &Reason| reason.borrow().clone();
        match self.state {
            ProcessState::Starting | ProcessState::Draining => of(&self.failure),
            ProcessState::Ready | ProcessState::Stopping if self.pid.is_some() => {
                let why = of(&self.unhealthy).or_else(|| of(&self.failure));
                why.or_else(|| self.message.clone())
            }
            _ => self.message.clone(),
        }
    }
}

/// A stop in the shutdown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    /// The position among all drains and stops.
    pub(super) place: usize,
    pub(super) took: Option<Duration>,
    pub(super) killed: bool,
    /// Whether this was an epoch from which a newer epoch had taken over.
    pub(super) handed_over: bool,
}

/// The counts of a process, over all of its instances.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All slots of the process, including retired slots.
    pub(super) slots: Vec<ProcessId>,
    /// The code of its last end, as a shell reports it; `None` before its first end.
    pub last_exit_code: Option<u8>,
    /// The number of its ends of each kind, in the order of [`EndKind::ALL`].
    pub ends: [u64; EndKind::ALL.len()],
    /// The failed attempts of its `readiness`; `None` if it has no `readiness`.
    pub readiness_failures: Option<Rc<Cell<u64>>>,
    /// The time from its last start until it was ready or complete.
    pub start: Option<Duration>,
    /// The number of its completed drains for each reason, in the order of [`DrainEnd::ALL`].
    pub drains: [u64; DrainEnd::ALL.len()],
    /// The slot of the last drain, unless the process has started again since.
    pub drained: Option<ProcessId>,
    /// The last lines of its last instance that failed.
    pub last_lines: Rc<Vec<String>>,
}

impl Tally {
    pub(super) fn ended(&mut self, end: End, killed: bool) {
        self.last_exit_code = Some(end.exit_code());
        self.ends[EndKind::of(end, killed) as usize] += 1;
    }
}

/// The traffic of a drained process. An unknown number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections.
    pub connections: Option<u64>,
    /// Accepted connections since its start.
    pub accepted: Option<u64>,
    /// Requests in flight.
    pub requests: Option<u64>,
    /// Received requests since its start.
    pub received: Option<u64>,
}

/// When a [`Traffic`] was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the drain.
    Start,
    /// During the drain, or after it.
    Meanwhile,
    /// During the drain or after it, with closed listeners, so that no connection can be added.
    Closed,
}

/// A drain, and its traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// The position among all drains and stops.
    pub(super) place: usize,
    pub(super) began: Time,
    pub(super) min: Duration,
    pub(super) longest: Duration,
    /// Whether its traffic is polled.
    pub(super) counted: bool,
    /// When the drain was over and why, how long it took, and the last sample.
    pub(super) over: Option<(Time, DrainEnd, Duration, Load)>,
    pub(super) first: Option<Traffic>,
    pub(super) last: Option<(Time, Traffic, Moment)>,
    /// Whether the poll after `last` has failed.
    pub(super) is_unknown: bool,
    /// When the drain was over. Once the process was asked to end, or has ended, the time of that.
    pub(super) end: Option<Time>,
    pub(super) is_stopped: bool,
    /// Whether the drain was over before the shutdown began.
    pub(super) is_past: bool,
}

/// The counts of a drain, and the age of the last count at the end; `None` if it still holds there.
pub(super) type Counts = (ConnectionData, Option<RequestData>, Option<Duration>);

impl Drain {
    /// The traffic at the last poll.
    pub fn traffic(&self) -> Traffic {
        let last = self.last.filter(|_| !self.is_unknown);
        last.map(|(_, traffic, _)| traffic).unwrap_or_default()
    }

    /// The time since the drain began, or until it was over.
    pub fn elapsed(&self, now: Time) -> Duration {
        self.over.map_or_else(|| now.since(self.began), |(_, _, took, _)| took)
    }

    /// The age of a count at the end of the drain; `None` if the count still holds there.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = matches!(self.over, Some((_, DrainEnd::Quiet, ..)));
        let is_last = match moment {
            // An end comes unexpectedly, unless this poll has led to it.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // With closed listeners no connection can follow a count of 0.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
        };
        (!is_last).then_some(age)
    }

    /// The counts of this drain; `None` if nothing was counted. Only an Envoy can be polled.
    pub(super) fn counts(&self) -> Option<Counts> {
        let (seen, last, moment) = self.last?;
        let first = self.first.unwrap_or_default();
        first.connections.or(last.connections)?;
        let newer = |a: Option<u64>, b: Option<u64>| Some(b?.saturating_sub(a?));
        let ended = |traffic: Traffic| Some(traffic.received?.saturating_sub(traffic.requests?));
        let connections = ConnectionData {
            start: first.connections,
            end: last.connections,
            new: newer(first.accepted, last.accepted),
        };
        let requests = last
            .requests
            .map(|cut| RequestData { completed: newer(ended(first), ended(last)), cut });
        Some((connections, requests, self.age(seen, last, moment)))
    }
}
