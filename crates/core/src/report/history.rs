//! What has happened to a process: in one of its slots, and over all of its instances.

use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use crate::event::Load;
use crate::note::DrainEnd;
use crate::prelude::*;
use crate::report::data::{ConnectionData, RequestData};
use crate::report::state::ProcessState;
use crate::types::{End, EndKind, ProcessId, Signal, Time};

/// A count at most this long before the end is reported as the count at the end: the time from a
/// poll to the signal that follows it.
const FRESH: Duration = Duration::from_millis(50);

/// Why something fails; whoever asks a process keeps it up to date. `None` after a success.
pub type Reason = Rc<RefCell<Option<String>>>;

/// The events in a slot.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The first start of the process.
    pub started: Option<Time>,
    /// A oneshot is ready when it has completed, a service without `readiness` when it is started.
    /// The first time counts.
    pub ready: Option<Time>,
    /// `None` once it is reaped.
    pub pid: Option<i32>,
    /// The same, also after its end, until a start fails.
    pub(super) last_pid: Option<i32>,
    /// The number of the last start of an Envoy that is hot-restarted.
    pub epoch: Option<u32>,
    /// The epoch or PID of an instance beside which another one ran.
    pub instance: Option<String>,
    /// drainit has sent it SIGKILL, because somebody asked for it.
    pub is_killed: bool,
    pub state: ProcessState,
    /// Since when it is in its state.
    pub since: Time,
    pub(super) is_skipped: bool,
    pub(super) is_draining: bool,
    /// `restart_max` is reached, or it has failed its liveness check: the process stays down,
    /// whatever its last exit code.
    pub(super) gave_up: bool,
    /// When and how the last instance ended; `None` while the next one runs.
    pub(super) end: Option<(Time, End)>,
    /// How it ended, also while the next one runs.
    pub last_end: Option<End>,
    /// Why it is down, as far as drainit knows.
    pub message: Option<String>,
    /// Better than how it will end, or has just ended: why.
    pub why_ended: Option<String>,
    /// Why it is not ready yet, or its `STATUS=`.
    pub failure: Reason,
    /// Why its last liveness probe failed.
    pub unhealthy: Reason,
    /// What speaks against its drain; `None` as long as that is not known.
    pub drain_warnings: Option<Rc<[String]>>,
    /// When it was asked to end, by which signal, and the time until SIGKILL.
    pub(super) asked: Option<(Time, Signal, Duration)>,
    /// Its stop, once a shutdown has begun.
    pub(super) stop: Option<Stop>,
    /// The drain that was begun last.
    pub drain: Option<Drain>,
}

impl History {
    /// Why it is not ready yet, or its last liveness probe failed, how it ended, or its `STATUS=`.
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
    /// Its place among the drains and stops.
    pub(super) place: usize,
    pub(super) took: Option<Duration>,
    pub(super) killed: bool,
    /// It was an epoch that a newer one had taken over from.
    pub(super) handed_over: bool,
}

/// What is counted of a process, over all of its instances.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Its slots, retired ones too.
    pub(super) slots: Vec<ProcessId>,
    /// The code of its last end, as a shell reports it; `None` before its first end.
    pub last_exit_code: Option<u8>,
    /// Its ends, by [`EndKind::ALL`].
    pub ends: [u64; EndKind::ALL.len()],
    /// Failed attempts of its `readiness`; `None` where it has none.
    pub readiness_failures: Option<Rc<Cell<u64>>>,
    /// The time from its last start until it was ready, or complete.
    pub start: Option<Duration>,
    /// Its drains that are over, by [`DrainEnd::ALL`].
    pub drains: [u64; DrainEnd::ALL.len()],
    /// The slot of the drain that was begun last, unless the process was started anew since.
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

/// The traffic of a drained process. `None` is unknown.
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
    /// The same, with closed listeners: no connection can be added.
    Closed,
}

/// A drain, and its traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drain {
    /// As for [`Stop`].
    pub(super) place: usize,
    pub(super) began: Time,
    pub(super) min: Duration,
    pub(super) longest: Duration,
    /// Its traffic is polled.
    pub(super) counted: bool,
    /// When it was over and why, how long it took, and the last sample.
    pub(super) over: Option<(Time, DrainEnd, Duration, Load)>,
    pub(super) first: Option<Traffic>,
    pub(super) last: Option<(Time, Traffic, Moment)>,
    /// The poll after `last` has failed.
    pub(super) is_unknown: bool,
    /// The end of the drain; later, when the process was asked to end, or ended.
    pub(super) end: Option<Time>,
    pub(super) is_stopped: bool,
    /// It was over before the shutdown began.
    pub(super) is_past: bool,
}

/// The counts of a drain, and the age of the last one at the end; `None` if it still holds there.
pub(super) type Counts = (ConnectionData, Option<RequestData>, Option<Duration>);

impl Drain {
    /// The traffic at the last poll.
    pub fn traffic(&self) -> Traffic {
        let last = self.last.filter(|_| !self.is_unknown);
        last.map(|(_, traffic, _)| traffic).unwrap_or_default()
    }

    /// The time since its begin, at most until it was over.
    pub fn elapsed(&self, now: Time) -> Duration {
        self.over.map_or_else(|| now.since(self.began), |(_, _, took, _)| took)
    }

    /// The age of a count at the end; `None` if it still holds there.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = matches!(self.over, Some((_, DrainEnd::Quiet, ..)));
        let is_last = match moment {
            // The end was not foreseen, unless this poll led to it.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // The listeners are closed: after 0 no connection can come.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
        };
        (!is_last).then_some(age)
    }

    /// Only an Envoy can be polled; `None` if nothing is known.
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
