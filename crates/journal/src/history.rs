//! The history of a slot (the place of one instance at a time): how its instances have started, were
//! ready, drained and ended.

use alloc::rc::Rc;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::counts::{ConnectionData, Cost, CountData, Ends, FRESH, Outcome, RequestData};
use crate::drain::DrainHistory;
use crate::end::{EndHistory, Ended, EndedBy, Stop};
use crate::messages;
use crate::prelude::*;
use crate::state::ProcessState;
use drainit_core::cause::Failure;
use drainit_core::connections::endings::Ending;
use drainit_core::state::Lifecycle;
use drainit_core::traffic::Traffic;
use drainit_core::types::{Disposition, End, Reason, Signal, Time, as_some_seconds, human};

/// The history of a slot (the place of one instance at a time): its instances and their state. The
/// log, the status, the metrics and the report read this record.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub state: ProcessState,
    /// The time at which the process entered this state.
    pub since: Time,
    pub start: StartHistory,
    pub readiness: ReadinessHistory,
    pub checks: CheckHistory,
    pub(super) is_draining: bool,
    /// The last drain that has begun.
    pub drain: Option<Box<DrainHistory>>,
    /// The warnings about risks of the process's drain; `None` while the risks are unknown.
    pub drain_warnings: Option<Rc<[String]>>,
    pub end: EndHistory,
    /// The stop of the process; `None` until it is stopped in a shutdown.
    pub(super) stop: Option<Stop>,
    pub clients: ClientHistory,
    /// The instance before this one, if a request has replaced it. That instance may also have
    /// replaced one, for the same request or for another request at the same time.
    pub(super) before: Option<Box<Self>>,
}

/// The starts of a slot, and the instance that was started last. The status has the fields that are
/// not skipped, with these names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartHistory {
    /// The PID of the running instance; `None` once this instance is reaped.
    pub pid: Option<i32>,
    /// The PID of the last instance, even after the end of the instance; `None` after a failed
    /// start.
    #[serde(skip)]
    pub last_pid: Option<i32>,
    /// The `--restart-epoch` of the last start of an Envoy with `update: hot-restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// The time from the start of drainit until the process was first started.
    #[serde(rename = "started_after_seconds", with = "as_some_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Duration>,
    #[serde(skip)]
    pub is_skipped: bool,
    /// The Envoy epoch or the PID of the instance, if another instance ran beside it.
    #[serde(skip)]
    pub label: Option<String>,
    /// Whether drainit holds sockets of `listen` for the process, in which new connections wait while
    /// no instance runs.
    #[serde(skip)]
    pub is_held: bool,
}

/// The times at which a process was ready. The status has the fields that are not skipped, with
/// these names.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadinessHistory {
    /// The time from the start of drainit until the process was first ready. A oneshot is ready when
    /// it has completed. A service without `readiness` is ready when it has started.
    #[serde(rename = "ready_after_seconds", with = "as_some_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<Duration>,
    /// The end of the last instance that was ready, once the next instance has started; `None` while
    /// an instance is ready.
    #[serde(skip)]
    down_since: Option<Time>,
    /// The time from the end of the previous instance until this instance was ready; `None` before
    /// that, and if the instance was started beside the previous one.
    #[serde(rename = "down_seconds", with = "as_some_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down: Option<Duration>,
}

/// Why the last checks of a process failed.
#[derive(Clone, Debug, Default)]
pub struct CheckHistory {
    /// The reason why the process is not ready yet, or the text of its `STATUS=`.
    pub failure: Option<Reason>,
    /// The reason why the last liveness probe or the watchdog failed; `None` after a success.
    pub unhealthy: Option<Reason>,
}

/// The clients of a process in a shutdown or during a request: the counts of their connections, and
/// how these ended.
#[derive(Clone, Debug, Default)]
pub struct ClientHistory {
    /// The traffic of the process in the shutdown, if its drain does not count traffic.
    pub(super) served: Option<Served>,
    /// Whether a count of the shutdown is due, and none was over before the process ended; `false`
    /// if the process listens on nothing.
    pub is_uncounted: bool,
    /// The connections that have ended in the shutdown, and have perhaps owed an answer; `None` if
    /// the kernel does not tell.
    pub(super) endings: Option<Vec<(Time, Ending)>>,
}

impl History {
    /// Records that the instance is ready. drainit began at `began`.
    pub(super) fn on_ready(&mut self, began: Time, now: Time) {
        let readiness = &mut self.readiness;
        readiness.first.get_or_insert(now.since(began));
        readiness.down = readiness.down_since.take().map(|since| now.since(since));
    }

    /// Records the start of a new instance, and keeps what is still to be found out about the
    /// previous one. drainit began at `began`.
    pub(super) fn on_start(&mut self, began: Time, now: Time) {
        let ended = self.end.over.map(|end| end.at);
        let readiness = &mut self.readiness;
        (readiness.down_since, readiness.down) = (readiness.down_since.or(ended), None);
        self.start.is_skipped = false;
        // While two instances run, each has a label. An instance keeps its label after the other
        // instance is gone, and the next instance begins without a label.
        self.start.label = None;
        self.start.first.get_or_insert(now.since(began));
        if self.clients.served.is_some() {
            let before = self.before.take();
            self.before = Some(Box::new(Self { before, ..self.clone() }));
        }
        self.end.on_start();
        self.drain = None;
        (self.clients.served, self.clients.is_uncounted) = (None, false);
        self.clients.endings.iter_mut().for_each(Vec::clear);
    }

    /// The state that follows from a lifecycle. `restarts` says whether the process is started
    /// again once the rest of its group is gone. `succeeded` is false if the last end of the
    /// process counts as a failure.
    pub(super) fn state_after(
        &self,
        life: Lifecycle,
        restarts: bool,
        succeeded: bool,
    ) -> ProcessState {
        match life {
            Lifecycle::Waiting
            | Lifecycle::Checking { .. }
            | Lifecycle::PreStart { .. }
            | Lifecycle::Spawning => ProcessState::Waiting,
            Lifecycle::Starting { .. } => ProcessState::Starting,
            Lifecycle::Ready { .. } if self.is_draining => ProcessState::Draining,
            Lifecycle::Ready { .. } => ProcessState::Ready,
            Lifecycle::Clearing { anew: true, .. } => ProcessState::Waiting,
            Lifecycle::Backoff { .. } | Lifecycle::Clearing { .. } => ProcessState::Restarting,
            Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. } | Lifecycle::Killed { .. } => {
                ProcessState::Stopping
            }
            Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } if restarts => {
                ProcessState::Restarting
            }
            Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } => ProcessState::Stopping,
            Lifecycle::Stopped { failed: true } => ProcessState::Failed,
            Lifecycle::Stopped { failed: false } => ProcessState::Stopped,
            Lifecycle::PostStop { .. } | Lifecycle::Done if self.start.is_skipped => {
                ProcessState::Skipped
            }
            // While the `post_stop` hook runs, the stop of the process is not over.
            Lifecycle::PostStop { .. } if self.state == ProcessState::Stopping => {
                ProcessState::Stopping
            }
            Lifecycle::PostStop { .. } | Lifecycle::Done => match (self.end.over, self.state) {
                _ if self.end.gave_up => ProcessState::Failed,
                // An operator stopped the process before the shutdown began, or `autostart` is false
                // and nobody started it.
                (_, ProcessState::Stopped) => ProcessState::Stopped,
                (None, _) => ProcessState::Done,
                _ if succeeded => ProcessState::Done,
                // The stop signal has ended the process.
                (Some(end), ProcessState::Stopping | ProcessState::Done)
                    if end.by != EndedBy::Process =>
                {
                    ProcessState::Done
                }
                _ => ProcessState::Failed,
            },
        }
    }

    /// How the process failed, and why its last probe failed.
    pub(crate) fn text_of_failure(&self, why: Failure) -> Reason {
        let of_probe = match why {
            Failure::NotReady { .. } => &self.checks.failure,
            _ => &self.checks.unhealthy,
        };
        let own = messages::failure(why);
        match of_probe {
            None => own.into(),
            Some(of_probe) => of_probe.behind(&own),
        }
    }

    /// How long no instance was ready, and what this meant for new connections: the latter only if a
    /// look before the request has found the listeners of the instance before. Empty if an instance
    /// was ready all the time.
    pub(crate) fn text_of_down(&self) -> String {
        let Some(down) = self.readiness.down else { return String::new() };
        let clients = match &self.before {
            Some(_) if self.start.is_held => ": new connections waited",
            Some(_) => ": new connections were refused",
            None => "",
        };
        format!("; down for {}{clients}", human(down))
    }

    /// The text that the status shows. In some states, the text is the `STATUS=` of the process. In
    /// others, the text says why the process is not ready, why its last liveness probe failed, or
    /// how it ended.
    pub fn why(&self) -> Option<Reason> {
        let CheckHistory { failure, unhealthy } = &self.checks;
        match self.state {
            ProcessState::Starting | ProcessState::Draining => failure.clone(),
            ProcessState::Ready | ProcessState::Stopping if self.start.pid.is_some() => {
                let probe = unhealthy.as_ref().map(|why| why.behind("liveness"));
                probe.or_else(|| failure.clone().or_else(|| self.end.message.clone()))
            }
            _ => self.end.message.clone(),
        }
    }
}

/// The traffic of a process whose drain does not count traffic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// The first count after the stop signal, or at most [`FRESH`] before it. Until there is such a
    /// count, this is the last count so far.
    pub(super) first: (Time, Traffic),
    /// The last count before the end, and its time.
    pub(super) last: (Time, Traffic),
}

impl History {
    /// Says why the instance is still alive after this signal, as a part of a sentence. Empty if
    /// the reason is unknown, or if only the rest of the process group is alive.
    pub(crate) fn effect_of(&self, signal: Signal) -> &'static str {
        match self.end.disposition.filter(|(of, _)| *of == signal && self.start.pid.is_some()) {
            None => "",
            Some((_, Disposition::Fatal)) => {
                ", which it does not catch, so the kernel has not ended it yet"
            }
            Some((_, Disposition::Ignored)) => ", which it ignores",
            Some((_, Disposition::Caught)) => ", which it catches, so it may still be busy",
            Some((_, Disposition::Exiting)) => ", and already exiting",
        }
    }

    /// Records a count in the shutdown. The count began at `began`, and was over before the process
    /// ended.
    pub fn serves(&mut self, began: Time, traffic: Traffic) {
        let seen = (began, traffic);
        let is_early = |first: Time| {
            self.end.asked.is_none_or(|asked| first < asked.at && asked.at.since(first) > FRESH)
        };
        let known = self.clients.served.map(|served| served.first);
        let first = known.filter(|(first, _)| !is_early(*first)).unwrap_or(seen);
        self.clients.served = Some(Served { first, last: seen });
        self.clients.is_uncounted = false;
    }

    /// Records that a look has found no listening socket, and was over at this time. A process that
    /// was asked to end or to drain before may have closed its sockets, and its connections stay
    /// unknown.
    pub fn listens_on_nothing(&mut self, seen: Time) {
        let is_late = self.end.asked_since.is_some_and(|asked| asked <= seen);
        self.clients.is_uncounted &= is_late;
    }

    /// The counts of the stop; `None` if nothing was counted, or if the drain has counted.
    pub(super) fn cut(&self) -> Option<CountData> {
        let Served { first: (_, first), last: (seen, last) } = self.counted_by_stop()?;
        let (start, end) = (first.connections, last.connections);
        let requests = RequestData::of(first, first, self.ends());
        // If a signal ended the process, the process closed nothing after the signal. If the
        // process ended in another way, it may have closed connections after the count.
        let age = self.end.over.map(|end| end.at.since(seen)).unwrap_or_default();
        let is_signalled = self.end.over.is_some_and(|end| matches!(end.how, End::Signal(_)));
        let is_last = is_signalled && age <= FRESH;
        let connections = Some(ConnectionData { start, end, new: None });
        Some(CountData { connections, requests, age: (!is_last).then_some(age) })
    }

    /// Whether no count came after the stop signal, or right before it.
    pub(super) fn is_counted_early(&self) -> bool {
        let both = self.end.asked.zip(self.clients.served);
        both.is_some_and(|(asked, served)| asked.at.since(served.first.0) > FRESH)
    }

    /// The counts of the last drain; `None` if nothing was counted.
    pub(super) fn drained(&self) -> Option<CountData> {
        self.drain.as_ref()?.counts(self.ends())
    }

    /// This instance, and the earlier instances of the same slot that requests have replaced.
    pub(super) fn instances(&self) -> impl Iterator<Item = &Self> {
        core::iter::successors(Some(self), |history| history.before.as_deref())
    }

    /// The cost of the end of the instance for its clients; `None` if the end has cut no request, or
    /// if nothing was counted.
    pub(super) fn cost(&self) -> Option<Cost> {
        // Every request looks at the instances, so others have ended before this request.
        self.clients.served.filter(|_| self.end.over.is_some())?;
        let drained = self.drained();
        let is_early = drained.map_or(self.is_counted_early(), |counts| counts.age.is_some());
        let requests = drained.or_else(|| self.cut())?.requests?;
        requests.is_any_cut().then_some(Cost { requests, is_early })
    }

    /// How the requests have ended after the drain; unknown if there was no stop yet.
    pub fn outcome_after_drain(&self) -> Outcome {
        let is_stopped = self.drain.as_ref().is_some_and(|drain| drain.is_stopped);
        let requests = self.drained().filter(|_| is_stopped).and_then(|counts| counts.requests);
        requests.map(|it| Outcome { cut: it.cut, left: it.left }).unwrap_or_default()
    }

    /// The connections that have ended without an answer since the process was asked to end or to
    /// drain; `None` if the kernel does not tell. If nobody had asked the process before it ended,
    /// all connections since the beginning of the shutdown count.
    pub(super) fn ends(&self) -> Option<Ends> {
        let since = self.end.asked_since.filter(|_| !self.end.ended_first).unwrap_or_default();
        let mut ends = Ends::default();
        for (at, ending) in self.clients.endings.as_ref()?.iter().filter(|(at, _)| *at >= since) {
            match ending {
                Ending::Answered => {}
                Ending::Sending => ends.perhaps += u64::from(self.is_forced(*at)),
                Ending::Unknown => ends.perhaps += 1,
                Ending::Cut => ends.cut += 1,
                Ending::Left => ends.left += 1,
                Ending::Reset => ends.reset += 1,
                Ending::Unaccepted => {
                    (ends.reset, ends.unaccepted) = (ends.reset + 1, ends.unaccepted + 1)
                }
            }
        }
        Some(ends)
    }

    /// Whether a connection that ended at this time ended because a signal ended the process by
    /// force, and not because the process closed the connection.
    fn is_forced(&self, at: Time) -> bool {
        let end = &self.end;
        let signalled = end.asked.map(|asked| asked.at).or(end.asked_since);
        let is_fatal = |ended: Ended| {
            let is_killed = ended.at.since(at) <= FRESH && ended.how.signal() == Some(Signal::KILL);
            let is_after_signal = signalled.is_none_or(|signalled| signalled <= at);
            let is_uncaught = is_after_signal && end.is_uncaught(ended.how);
            at.since(ended.at) <= FRESH && (is_killed || is_uncaught)
        };
        end.killed_since.is_some_and(|killed| killed <= at) || end.over.is_some_and(is_fatal)
    }

    fn counted_by_stop(&self) -> Option<Served> {
        self.clients.served.filter(|_| !self.is_counted_by_drain())
    }

    /// Whether the counts of the stop are unknown, and no drain has counted in its place.
    pub(super) fn is_unknown(&self) -> bool {
        self.clients.is_uncounted && !self.is_counted_by_drain()
    }

    fn is_counted_by_drain(&self) -> bool {
        self.drain.as_deref().is_some_and(|drain| drain.counted && !drain.is_past)
    }

    /// The last count of the stop, and how the requests have ended, which is unknown while the
    /// process runs, and if the kernel does not tell. `None` if nothing was counted, or if the drain
    /// has counted.
    pub fn stop_traffic(&self) -> Option<(Traffic, Outcome)> {
        let (_, last) = self.counted_by_stop()?.last;
        let ends = self.ends().filter(|_| self.end.over.is_some());
        let of = |ends: Ends| Outcome { cut: Some(ends.cut), left: Some(ends.left) };
        Some((last, ends.map(of).unwrap_or_default()))
    }

    /// The Envoy epoch or the PID by which people distinguish the last instance from the other
    /// instance of its process.
    pub(super) fn label(&self) -> Option<String> {
        let epoch = self.start.epoch.map(|epoch| format!("epoch {epoch}"));
        epoch.or_else(|| Some(format!("PID {}", self.start.last_pid?)))
    }
}
