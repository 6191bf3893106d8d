//! The history of a slot (the place of one instance at a time), and the counts of a process over
//! all of its instances.

use alloc::rc::Rc;
use core::time::Duration;

use crate::counts::{ConnectionData, Cost, CountData, Ends, Outcome, RequestData, newer};
use crate::messages::{self, DrainOver};
use crate::prelude::*;
use crate::state::ProcessState;
use drainit_core::cause::Failure;
use drainit_core::connections::endings::Ending;
use drainit_core::note::{AfterEnd, DrainEnd};
use drainit_core::state::Lifecycle;
use drainit_core::traffic::{Moment, Traffic};
use drainit_core::types::{Disposition, End, EndKind, ProcessId, Reason, Signal, Time, human};

/// If a count is at most this old at the end of a drain, the report shows it as the count at the
/// end. Normally, the stop signal follows a poll within this time. On a slow machine, the stop
/// signal may come later. The report then shows the count with its age.
const FRESH: Duration = Duration::from_millis(50);

/// The history of a slot (the place of one instance at a time): its instances and their state.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The first start of the process.
    pub started: Option<Time>,
    /// The time at which the process was first ready. A oneshot is ready when it has completed. A
    /// service without `readiness` is ready when it has started.
    pub ready: Option<Time>,
    /// The PID of the running instance; `None` once this instance is reaped.
    pub pid: Option<i32>,
    /// The PID of the last instance, even after the end of the instance; `None` after a failed
    /// start.
    pub(super) last_pid: Option<i32>,
    /// The `--restart-epoch` of the last start of an Envoy with `update: hot-restart`.
    pub epoch: Option<u32>,
    /// The Envoy epoch or the PID of the instance, if another instance ran beside it.
    pub instance: Option<String>,
    /// The last signal that drainit has sent to the instance because an operator asked for it. Once
    /// this signal was SIGKILL, the value stays SIGKILL.
    pub sent: Option<Signal>,
    pub state: ProcessState,
    /// The time at which the process entered this state.
    pub since: Time,
    pub(super) is_skipped: bool,
    pub(super) is_draining: bool,
    /// Whether the process stays down after a failure or after `restart_max` restarts, even if its
    /// last exit code was a success code.
    pub(super) gave_up: bool,
    /// Whether drainit asked the instance itself to end, in the shutdown or before it.
    pub(super) was_asked: bool,
    /// Whether a newer instance had taken over from this instance, and was to end this instance.
    pub(super) handed_over: bool,
    /// Whether the last instance has ended without being asked to.
    pub(super) ended_by_itself: bool,
    /// The end of the last instance, and its time; `None` if no instance has ended yet, or if the
    /// next instance has started.
    pub(super) end: Option<(Time, End)>,
    /// The end of the last instance that was ready, once the next instance has started; `None` while
    /// an instance is ready.
    pub(super) down_since: Option<Time>,
    /// The time from the end of the previous instance until this instance was ready; `None` before
    /// that, and if the instance was started beside the previous one.
    pub down: Option<Duration>,
    /// The end of the last instance that has ended. The end is kept while the next instance runs.
    pub last_end: Option<End>,
    /// Whether the process ended because of its stop signal: not before the signal, not by SIGKILL,
    /// and not because of a failure.
    pub is_last_asked: bool,
    /// Whether the instance had already ended by itself when its stop signal was sent.
    pub ended_first: bool,
    /// The reason why the process is down; `None` if drainit knows no reason, or if the process has
    /// started again.
    pub message: Option<Reason>,
    /// A reason that explains an end of the process better than the exit code does. The reason is
    /// set before the journal records this end.
    pub why_ended: Option<Reason>,
    /// The reason why the process is not ready yet, or the text of its `STATUS=`.
    pub failure: Option<Reason>,
    /// The reason why the last liveness probe or the watchdog failed; `None` after a success.
    pub unhealthy: Option<Reason>,
    /// The warnings about risks of the process's drain; `None` while the risks are unknown.
    pub drain_warnings: Option<Rc<[String]>>,
    /// The time of the stop signal, the signal, and the time from the signal to SIGKILL; `None` if
    /// nobody asked the process to end.
    pub(super) asked: Option<(Time, Signal, Duration)>,
    /// The signal that asks the instance to end or to drain, and its effect when drainit last
    /// looked: once the instance had loaded, before this signal, or before SIGKILL. `None` if the
    /// effect is unknown.
    pub disposition: Option<(Signal, Disposition)>,
    /// The stop of the process; `None` until it is stopped in a shutdown.
    pub(super) stop: Option<Stop>,
    /// The traffic of the process in the shutdown, if its drain does not count traffic.
    pub(super) served: Option<Served>,
    /// Whether a count of the shutdown is due, and none was over before the process ended; `false`
    /// if the process listens on nothing.
    pub is_uncounted: bool,
    /// Whether drainit holds sockets of `listen` for the process, in which new connections wait while
    /// no instance runs.
    pub is_held: bool,
    /// The last drain that has begun.
    pub drain: Option<Box<DrainHistory>>,
    /// The time right before drainit first asked the instance to end or to drain.
    pub asked_since: Option<Time>,
    /// The time right before the first SIGKILL of drainit.
    pub killed_since: Option<Time>,
    /// The connections that have ended in the shutdown, and have perhaps owed an answer; `None` if
    /// the kernel does not tell.
    pub(super) endings: Option<Vec<(Time, Ending)>>,
    /// The instance before this one, if a request has replaced it. That instance may also have
    /// replaced one, for the same request or for another request at the same time.
    pub(super) before: Option<Box<Self>>,
}

impl History {
    /// Records that the instance is ready.
    pub(super) fn on_ready(&mut self, now: Time) {
        self.ready.get_or_insert(now);
        self.down = self.down_since.take().map(|since| now.since(since));
    }

    /// Records the end of the instance.
    pub(super) fn on_end(&mut self, now: Time, end: End) {
        (self.end, self.last_end) = (Some((now, end)), Some(end));
        self.is_last_asked = false;
    }

    /// Records the start of a new instance, and keeps what is still to be found out about the
    /// previous one.
    pub(super) fn on_start(&mut self, now: Time) {
        let ended = self.end.map(|(at, _)| at);
        (self.down_since, self.down) = (self.down_since.or(ended), None);
        (self.is_skipped, self.gave_up) = (false, false);
        (self.ended_by_itself, self.ended_first) = (false, false);
        // While two instances run, each has a label. An instance keeps its label after the other
        // instance is gone, and the next instance begins without a label.
        self.instance = None;
        if self.served.is_some() {
            let before = self.before.take();
            self.before = Some(Box::new(Self { before, ..self.clone() }));
        }
        (self.end, self.asked, self.why_ended) = (None, None, None);
        (self.asked_since, self.killed_since) = (None, None);
        (self.was_asked, self.handed_over) = (false, false);
        (self.served, self.drain, self.is_uncounted) = (None, None, false);
        self.endings.iter_mut().for_each(Vec::clear);
        self.started.get_or_insert(now);
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
            Lifecycle::PostStop { .. } | Lifecycle::Done if self.is_skipped => {
                ProcessState::Skipped
            }
            // While the `post_stop` hook runs, the stop of the process is not over.
            Lifecycle::PostStop { .. } if self.state == ProcessState::Stopping => {
                ProcessState::Stopping
            }
            Lifecycle::PostStop { .. } | Lifecycle::Done => match (self.end, self.state) {
                _ if self.gave_up => ProcessState::Failed,
                // An operator stopped the process before the shutdown began, or `autostart` is false
                // and nobody started it.
                (_, ProcessState::Stopped) => ProcessState::Stopped,
                (None, _) => ProcessState::Done,
                _ if succeeded => ProcessState::Done,
                // The stop signal has ended the process.
                (_, ProcessState::Stopping | ProcessState::Done) if !self.ended_by_itself => {
                    ProcessState::Done
                }
                _ => ProcessState::Failed,
            },
        }
    }

    /// How the process failed, and why its last probe failed.
    pub(crate) fn text_of_failure(&self, why: Failure) -> Reason {
        let of_probe = match why {
            Failure::NotReady { .. } => &self.failure,
            _ => &self.unhealthy,
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
        let Some(down) = self.down else { return String::new() };
        let clients = match &self.before {
            Some(_) if self.is_held => ": new connections waited",
            Some(_) => ": new connections were refused",
            None => "",
        };
        format!("; down for {}{clients}", human(down))
    }

    /// The text that the status shows. In some states, the text is the `STATUS=` of the process. In
    /// others, the text says why the process is not ready, why its last liveness probe failed, or
    /// how it ended.
    pub fn why(&self) -> Option<Reason> {
        match self.state {
            ProcessState::Starting | ProcessState::Draining => self.failure.clone(),
            ProcessState::Ready | ProcessState::Stopping if self.pid.is_some() => {
                let probe = self.unhealthy.as_ref().map(|why| why.behind("liveness"));
                probe.or_else(|| self.failure.clone().or_else(|| self.message.clone()))
            }
            _ => self.message.clone(),
        }
    }
}

/// A stop in the shutdown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    /// The position among all drains and stops, in the order in which they began.
    pub(super) place: usize,
    /// The time from the stop signal until the whole process group was gone.
    pub(super) took: Option<Duration>,
    /// The time at which the whole process group was gone.
    pub(super) ends: Option<Time>,
    /// Whether the process was only asked to drain, and has ended for that reason. The time that
    /// this took is that of the drain.
    pub(super) in_drain: bool,
    pub(super) killed: bool,
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
        match self.disposition.filter(|(of, _)| *of == signal && self.pid.is_some()) {
            None => "",
            Some((_, Disposition::Fatal)) => {
                ", which it does not catch, so the kernel has not ended it yet"
            }
            Some((_, Disposition::Ignored)) => ", which it ignores",
            Some((_, Disposition::Caught)) => ", which it catches, so it may still be busy",
            Some((_, Disposition::Exiting)) => ", and already exiting",
        }
    }

    /// Whether the signal that asked the instance to end has ended it, because the instance does
    /// not catch this signal.
    pub(crate) fn is_uncaught(&self, end: End) -> bool {
        let is_it = |(signal, effect)| effect == Disposition::Fatal && end == End::Signal(signal);
        self.disposition.is_some_and(is_it)
    }

    /// The words that follow an end for which drainit did not ask. If an operator had requested a
    /// signal that probably led to the end, the words name this signal.
    pub(crate) fn unasked(&self, end: End) -> String {
        let ends = |signal: &Signal| {
            end == End::Signal(*signal)
                || [Signal::TERM, Signal::INT, Signal::QUIT].contains(signal)
        };
        match self.sent.filter(ends) {
            Some(signal) => format!(" after {signal} was requested"),
            None => " without being asked to".to_owned(),
        }
    }

    /// Records a count in the shutdown. The count began at `began`, and was over before the process
    /// ended.
    pub fn serves(&mut self, began: Time, traffic: Traffic) {
        let seen = (began, traffic);
        let is_early = |first: Time| {
            self.asked.is_none_or(|(asked, ..)| first < asked && asked.since(first) > FRESH)
        };
        let known = self.served.map(|served| served.first);
        let first = known.filter(|(first, _)| !is_early(*first)).unwrap_or(seen);
        self.served = Some(Served { first, last: seen });
        self.is_uncounted = false;
    }

    /// Records that a look has found no listening socket, and was over at this time. A process that
    /// was asked to end or to drain before may have closed its sockets, and its connections stay
    /// unknown.
    pub fn listens_on_nothing(&mut self, seen: Time) {
        let is_late = self.asked_since.is_some_and(|asked| asked <= seen);
        self.is_uncounted &= is_late;
    }

    /// The counts of the stop; `None` if nothing was counted, or if the drain has counted.
    pub(super) fn cut(&self) -> Option<CountData> {
        let Served { first: (_, first), last: (seen, last) } = self.counted_by_stop()?;
        let (start, end) = (first.connections, last.connections);
        let requests = RequestData::of(first, first, self.ends());
        // If a signal ended the process, the process closed nothing after the signal. If the
        // process ended in another way, it may have closed connections after the count.
        let age = self.end.map(|(at, _)| at.since(seen)).unwrap_or_default();
        let is_last = matches!(self.end, Some((_, End::Signal(_)))) && age <= FRESH;
        let connections = Some(ConnectionData { start, end, new: None });
        Some(CountData { connections, requests, age: (!is_last).then_some(age) })
    }

    /// Whether no count came after the stop signal, or right before it.
    pub(super) fn is_counted_early(&self) -> bool {
        let both = self.asked.zip(self.served);
        both.is_some_and(|((asked, ..), served)| asked.since(served.first.0) > FRESH)
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
        self.served.filter(|_| self.end.is_some())?;
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
        let since = self.asked_since.filter(|_| !self.ended_first).unwrap_or_default();
        let mut ends = Ends::default();
        for (at, ending) in self.endings.as_ref()?.iter().filter(|(at, _)| *at >= since) {
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
        let signalled = self.asked.map(|(at, ..)| at).or(self.asked_since);
        let is_fatal = |(ended, end): (Time, End)| {
            let is_killed = ended.since(at) <= FRESH && end.signal() == Some(Signal::KILL);
            let is_after_signal = signalled.is_none_or(|signalled| signalled <= at);
            at.since(ended) <= FRESH && (is_killed || is_after_signal && self.is_uncaught(end))
        };
        self.killed_since.is_some_and(|killed| killed <= at) || self.end.is_some_and(is_fatal)
    }

    fn counted_by_stop(&self) -> Option<Served> {
        self.served.filter(|_| !self.is_counted_by_drain())
    }

    /// Whether the counts of the stop are unknown, and no drain has counted in its place.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_uncounted && !self.is_counted_by_drain()
    }

    fn is_counted_by_drain(&self) -> bool {
        self.drain.as_deref().is_some_and(|drain| drain.counted && !drain.is_past)
    }

    /// The last count of the stop, and how the requests have ended, which is unknown while the
    /// process runs, and if the kernel does not tell. `None` if nothing was counted, or if the drain
    /// has counted.
    pub fn stop_traffic(&self) -> Option<(Traffic, Outcome)> {
        let (_, last) = self.counted_by_stop()?.last;
        let ends = self.ends().filter(|_| self.end.is_some());
        let of = |ends: Ends| Outcome { cut: Some(ends.cut), left: Some(ends.left) };
        Some((last, ends.map(of).unwrap_or_default()))
    }

    /// The Envoy epoch or the PID by which people distinguish the last instance from the other
    /// instance of its process.
    pub(super) fn label(&self) -> Option<String> {
        let epoch = self.epoch.map(|epoch| format!("epoch {epoch}"));
        epoch.or_else(|| Some(format!("PID {}", self.last_pid?)))
    }
}

/// The counts of a process, over all of its instances.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All slots that the process has or had.
    pub(super) slots: Vec<ProcessId>,
    /// The code of the last end of the process, as a shell reports it; `None` before the first end.
    pub last_exit_code: Option<u8>,
    /// The number of restarts by `restart` since the start of the container.
    pub(super) restarts: u32,
    /// The number of ends of each kind, in the order of [`EndKind::ALL`].
    pub ends: [u64; EndKind::ALL.len()],
    /// The number of failed attempts of the readiness probe; `None` if the process has no
    /// `readiness`.
    pub readiness_failures: Option<u64>,
    /// The time from the last start of the process until it was ready or complete.
    pub start: Option<Duration>,
    /// The number of completed drains for each reason, in the order of [`DrainEnd::ALL`].
    pub drains: [u64; DrainEnd::ALL.len()],
    /// The requests that the ends of the process have cut in the last request of an operator.
    pub cost: Option<String>,
    /// The costs of instances whose slots belong to other processes since then.
    pub(super) past_costs: Vec<Cost>,
    /// The slot of the last drain; `None` if the process has not been drained since its last start.
    pub drained: Option<ProcessId>,
    /// The last lines that the last failed instance has written.
    pub last_lines: Rc<Vec<String>>,
}

impl Tally {
    pub(super) fn on_end(&mut self, end: End, killed: bool) {
        self.last_exit_code = Some(end.exit_code());
        self.ends[EndKind::of(end, killed) as usize] += 1;
    }

    /// Counts a restart, if it follows an end or a failure.
    pub(super) fn restarted(&mut self, next: AfterEnd) {
        self.restarts += u32::from(matches!(next, AfterEnd::Restart { .. }));
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.ends[EndKind::OomKilled as usize]
    }
}

/// A drain, and its traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainHistory {
    /// The position among all drains and stops, in the order in which they began.
    pub(super) place: usize,
    pub(super) began: Time,
    pub(super) min: Duration,
    pub(super) longest: Duration,
    /// Whether drainit polls the traffic.
    pub(super) counted: bool,
    /// The time and the reason of the end of the drain, its duration, and the last sample of the
    /// traffic.
    pub(super) over: Option<(Time, DrainOver)>,
    pub(super) first: Option<Traffic>,
    pub(super) last: Option<(Time, Traffic, Moment)>,
    /// Whether the poll after `last` has failed.
    pub(super) is_unknown: bool,
    /// The time up to which the age of the last count is measured. At first, this is the end of the
    /// drain. Later, it is the time of the first of three events: the process was asked to end, was
    /// killed, or ended.
    pub(super) end: Option<Time>,
    pub(super) is_stopped: bool,
    /// Whether this drain was already over when the shutdown began, or when a drain of the whole
    /// container was requested. The report leaves out such a drain.
    pub is_past: bool,
}

impl DrainHistory {
    /// The traffic at the last poll. All numbers are `None` if this poll has failed.
    pub fn traffic(&self) -> Traffic {
        let last = self.last.filter(|_| !self.is_unknown);
        last.map(|(_, traffic, _)| traffic).unwrap_or_default()
    }

    /// The time that the drain has taken so far. If the drain is over, this is its whole duration.
    pub fn elapsed(&self, now: Time) -> Duration {
        self.over.map_or_else(|| now.since(self.began), |(_, over)| over.took)
    }

    /// Describes why the drain is over; `None` before its end.
    pub fn over(&self) -> Option<String> {
        self.over.as_ref().map(|(_, over)| messages::drain_end(over))
    }

    /// The age of a count at [`Self::end`]; `None` if the count is still right at that time.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = self.over.is_some_and(|(_, over)| over.why == DrainEnd::Quiet);
        let is_last = match moment {
            // Traffic can change between a poll and the end, unless this poll has led to the end.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // When the listeners are closed, a count of 0 connections cannot rise again.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
            Moment::Last => age <= FRESH,
        };
        (!is_last).then_some(age)
    }

    /// The counts of this drain; `None` if nothing was counted.
    fn counts(&self, ends: Option<Ends>) -> Option<CountData> {
        let (seen, last, moment) = self.last?;
        let first = self.first.unwrap_or_default();
        first.connections.or(last.connections)?;
        let (start, end) = (first.connections, last.connections);
        let new = newer(first.accepted, last.accepted);
        Some(CountData {
            connections: Some(ConnectionData { start, end, new }),
            requests: RequestData::of(first, last, ends),
            age: self.age(seen, last, moment),
        })
    }
}
