//! The stop of one process: its `pre_stop` hook, the stop signal, SIGKILL, the rest of its process
//! group, and its `post_stop` hook. A shutdown and the requests of the operator share this code.
//! The two differ only in the deadline, which the state knows in a shutdown, and in which processes
//! must be gone first.

use core::time::Duration;

use crate::action::Action;
use crate::budget::{self, LEAST_STOP, UNHURRIED_AFTER_KILL};
use crate::drain::progress::Progress;
use crate::event::Event;
use crate::family::{self, Tie};
use crate::note::{DrainEnd, Note, StopLimit};
use crate::spec::{HookId, Stage};
use crate::state::{Exit, Lifecycle, Shutdown, State};
use crate::types::{AFTER_KILL, End, ProcessId, Signal, Time};

impl State {
    /// Begins to stop a process that runs. If `hurried`, its `pre_stop` hook does not run.
    pub(crate) fn begin_stop(&mut self, process: ProcessId, hurried: bool) {
        self[process].drain = Progress::Over;
        match self.budget().pre_stop(&self.spec, process, self.left_to_stop()) {
            // A new instance that has not taken over gets no `pre_stop` hook, because it serves
            // nobody, but could begin to serve while the hook runs.
            Some(within) if !within.is_zero() && !hurried && !self.has_not_taken_over(process) => {
                let until = self.step.run_hook(Some(process), Stage::PreStop, self.now + within);
                self.set(process, Lifecycle::PreStop { until });
            }
            _ => self.ask_to_end(process),
        }
    }

    pub(crate) fn ask_to_end(&mut self, process: ProcessId) {
        if !family::holds(self, process) {
            let limit = self.stop_time(process);
            self.signal_stop(process, limit);
            // After this share, drainit looks whether the process catches its stop signal.
            let granted = self.asked_until(process).map_or(limit, |(_, at)| at.since(self.now));
            let share = self.stop_time_in_vain(process);
            self.limit_timer(process, share.max(granted.min(LEAST_STOP)));
            family::passes_on(self, process);
        }
        self.kill_if_due(process);
    }

    /// Kills a process, or the rest of its process group, if its time to end is over. Before a
    /// process that declares no time gets more than its share, and before a process is killed that
    /// may be exiting, drainit looks at the process.
    pub(crate) fn kill_if_due(&mut self, process: ProcessId) {
        let is_due = |(_, kill_at): &(Time, Time)| self.is_past(*kill_at);
        let Some((since, _)) = self.asked_until(process).filter(is_due) else { return };
        let exit = self[process].ending.exit;
        let spare = self.spare_until(process, since, exit == Exit::Seen);
        let if_exiting = || self.spare_until(process, since, true);
        let Some(until) = spare.or_else(|| if_exiting().filter(|_| exit != Exit::Seen)) else {
            return self.kill(process, Some(since));
        };
        self.set_timer(process, until);
        let is_unset = self.process(process).stop.is_none();
        if spare.is_none() || exit == Exit::Unknown && is_unset {
            self[process].ending.exit = Exit::Asked;
            self.step.act(Action::LookForExit(process));
        }
    }

    /// The times at which a process, or the rest of its process group, was asked to end and gets
    /// SIGKILL.
    pub(crate) fn asked_until(&self, process: ProcessId) -> Option<(Time, Time)> {
        match self.life(process) {
            Lifecycle::Stopping { since, kill_at } => Some((since, kill_at)),
            Lifecycle::Remains { kill_at } => {
                Some((self[process].ending.asked.unwrap_or(kill_at), kill_at))
            }
            _ => None,
        }
    }

    /// Handles the answer to `Action::LookForExit`. Who is exiting, or does not ignore the stop signal,
    /// keeps the time that the core has given with the question.
    fn on_exit_seen(&mut self, process: ProcessId, exits: bool, ignores: bool) {
        if self[process].ending.exit != Exit::Asked {
            return;
        }
        self[process].ending.exit = if exits { Exit::Seen } else { Exit::Busy };
        let Some((since, _)) = self.asked_until(process).filter(|_| !exits) else { return };
        let is_over = self.spare_until(process, since, false).is_none();
        if ignores && !is_over {
            self[process].ending.exit = Exit::Ignores;
        }
        if ignores || is_over {
            self.kill(process, Some(since));
        }
    }

    /// The time until which a process that was asked to end at `since` may still run, because the
    /// later steps of its path need less time than when it was asked, or because it `exits`. `None`
    /// if there is no such time.
    fn spare_until(&self, process: ProcessId, since: Time, exits: bool) -> Option<Time> {
        let limit = since + self.stop_limit(process);
        let until = match self.left_to_stop() {
            // SIGKILL cannot end a process that exits, so its exit gets the time that the end of a
            // killed process gets.
            None if exits => limit + UNHURRIED_AFTER_KILL,
            None => limit,
            Some(left) => {
                let kept = self.budget().after_stop(&self.spec, process).kept;
                let spare = self.now + left.saturating_sub(kept);
                // Only the deadline limits such an exit. In a shutdown that somebody asked for, only
                // the deadline also limits a stop without a declared time, even if the stop began
                // before.
                let is_unset = self.process(process).stop.is_none();
                let is_unlimited = is_unset && self.unset_stop() >= self.spec.window;
                if exits || is_unlimited { spare } else { spare.min(limit) }
            }
        };
        let is_awaited = self.life(process).has_rest() && family::is_awaited(self, process);
        let is_free = family::tie(self, process) == Tie::None && !is_awaited;
        (is_free && !self.is_past(until)).then_some(until)
    }

    /// Sends the stop signal. SIGKILL follows after `limit`. An instance with [`Tie::KillOnly`] is
    /// stopped by SIGKILL, and so has the time to end of a killed process.
    ///
    /// If drainit could not run when the deadline came, nobody could ask the process before, so the
    /// process gets [`LEAST_STOP`].
    pub(crate) fn signal_stop(&mut self, process: ProcessId, limit: Duration) {
        let signal = self.stop_signal(process);
        let has_slept = self.shutdown.as_ref().is_some_and(|it| it.has_slept(self.now));
        let limit = match has_slept {
            true => limit.max(self.stop_limit(process).min(LEAST_STOP)),
            false => limit,
        };
        let limit = match family::tie(self, process) {
            Tie::KillOnly => limit.min(self.killed_limit()),
            _ => limit,
        };
        self.step.act(Action::Stop { process, signal });
        self.step.note(Note::Stopping { process, signal, limit });
        let (since, kill_at) = (self.now, self.now + limit);
        self.set(process, Lifecycle::Stopping { since, kill_at });
    }

    /// Asks a process to end at a deadline that drainit has slept through, and returns the time
    /// at which the process gets SIGKILL. If the process was asked after the deadline already,
    /// returns the time that it has got. `None` if the process gets SIGKILL now, because it was
    /// asked in time, or because its stop depends on another instance.
    pub(crate) fn ask_late(&mut self, process: ProcessId) -> Option<Time> {
        let shutdown = self.shutdown.as_ref()?;
        if shutdown.is_cut_short() || family::tie(self, process) != Tie::None {
            return None;
        }
        if let Some((since, kill_at)) = self.asked_until(process) {
            return (shutdown.is_late(since) && kill_at > self.now).then_some(kill_at);
        }
        match self.life(process) {
            Lifecycle::PreStop { .. } => self.step.abort_hook(Some(process), Stage::PreStop),
            Lifecycle::Starting { .. } | Lifecycle::Ready { .. } => {}
            _ => return None,
        }
        self[process].drain = Progress::Over;
        self.signal_stop(process, Duration::ZERO);
        self.asked_until(process).map(|(_, kill_at)| kill_at)
    }

    /// The signal that stops this process: its stop signal, or SIGKILL if the stop signal would
    /// also end another instance.
    fn stop_signal(&self, process: ProcessId) -> Signal {
        match family::tie(self, process) {
            Tie::KillOnly => Signal::KILL,
            _ => self.process(process).stop_signal,
        }
    }

    /// Kills all `pre_stop` hooks, and asks their processes to end.
    pub(crate) fn cut_pre_stops(&mut self) {
        for process in self.spec.ids() {
            if let Lifecycle::PreStop { .. } = self.life(process) {
                self.step.abort_hook(Some(process), Stage::PreStop);
                self.ask_to_end(process);
            }
        }
    }

    /// Kills a process, or the rest of its process group. If the process still runs and was asked
    /// to end, `asked` is the time at which it was asked.
    pub(crate) fn kill(&mut self, process: ProcessId, asked: Option<Time>) {
        self.step.act(Action::Kill(process));
        let rest_asked = self[process].ending.asked.filter(|_| self.life(process).has_rest());
        let asked = asked.or(rest_asked);
        let after = asked.map(|asked| self.now.since(asked));
        let why = self.stop_limited_by(process, after);
        self.step.note(Note::Killed { process, after, why });
        let holds_until = self.after_kill();
        let life = match self.life(process).has_rest() {
            true => Lifecycle::RestKilled { holds_until },
            false => Lifecycle::Killed { asked, holds_until },
        };
        self.set(process, life);
        self.shutdown.iter_mut().for_each(|shutdown| shutdown.on_killed(process));
    }

    /// The limit that ends the time of a process that was asked to end this long ago.
    fn stop_limited_by(&self, process: ProcessId, after: Option<Duration>) -> StopLimit {
        let is_declared = self.process(process).stop.is_some();
        let is_spent = after.is_some_and(|after| after >= self.stop_limit(process));
        let is_cut_short = self.shutdown.as_ref().is_some_and(Shutdown::is_cut_short);
        let left = self.left_to_stop();
        match left.and_then(|left| self.keeper(process, left, is_spent)) {
            _ if is_cut_short => StopLimit::Other,
            _ if self[process].ending.exit == Exit::Ignores => StopLimit::Ignored,
            _ if is_declared && is_spent => StopLimit::Own { is_declared },
            _ if left == Some(Duration::ZERO) => StopLimit::Deadline { is_declared },
            Some((by, time)) => StopLimit::Kept { by, time, is_declared },
            None if is_spent => StopLimit::Own { is_declared },
            None => StopLimit::Other,
        }
    }

    /// The later steps that end the time of a process, if its own limit does not, and the time that
    /// they keep of what is `left`. [`Budget::keeper`](budget::Budget::keeper) says whose they are.
    /// `is_spent` says whether the own limit is over, too.
    fn keeper(
        &self,
        process: ProcessId,
        left: Duration,
        is_spent: bool,
    ) -> Option<(Option<ProcessId>, Duration)> {
        let needed = self.budget().after_stop(&self.spec, process).kept;
        let keeper = self.budget().keeper(&self.spec, process);
        let (by, kept) = keeper.filter(|_| !is_spent || left <= needed)?;
        // A part of what was kept may be over.
        Some((by, if kept > left + LEAST_STOP { left } else { kept }))
    }

    /// Cancels the start of a process. A process that does not run is not started. If the process
    /// runs, nothing waits for its readiness any longer.
    pub(crate) fn cancel_start(&mut self, process: ProcessId) {
        match self.life(process) {
            Lifecycle::Waiting
            | Lifecycle::Checking { .. }
            | Lifecycle::Backoff { anew: true, .. }
            | Lifecycle::Clearing { anew: true, .. }
            | Lifecycle::Stopped { .. } => self.set(process, Lifecycle::Done),
            Lifecycle::Backoff { anew: false, .. } | Lifecycle::Clearing { anew: false, .. } => {
                self.after_end(process)
            }
            Lifecycle::Starting { .. } => self.set_timer(process, Time::NEVER),
            Lifecycle::PreStart { .. } => {
                self.step.abort_hook(Some(process), Stage::PreStart);
                self.set(process, Lifecycle::Done);
            }
            // The lifecycle changes only with the answer to this action, which comes at once.
            Lifecycle::Spawning => self.step.act(Action::AbortSpawn(process)),
            life if life.has_rest() => {
                self[process].restarts.after_rest = None;
                self.step.touched.push(process);
            }
            _ => {}
        }
    }

    /// Asks the rest of the process group of an ended process to end. The orphans come first: for
    /// example, a pool behind a shell, whose children would lose their jobs with a signal of their
    /// own.
    pub fn stop_rest(&mut self, process: ProcessId, kill_at: Time) {
        let (signal, now) = (self.stop_signal(process), self.now);
        self[process].ending.asked.get_or_insert(now);
        self[process].ending.exit = Exit::Unknown;
        self.step.act(match signal {
            Signal::KILL => Action::StopGroup { process, signal },
            _ => Action::StopOrphans { process, signal },
        });
        self.step.note(Note::GroupRemains(process));
        self.set(process, Lifecycle::Remains { kill_at });
    }

    /// Asks the other members of a process group to end, because its orphans are gone.
    pub(crate) fn on_orphans_gone(&mut self, process: ProcessId) {
        if let Lifecycle::Remains { .. } = self.life(process) {
            let signal = self.stop_signal(process);
            self.step.act(Action::StopGroup { process, signal });
        }
    }

    /// Records the end of the rest of a process group.
    fn on_rest_gone(&mut self, process: ProcessId) {
        let took = self[process].ending.asked.map(|asked| self.now.since(asked));
        self.step.note(Note::GroupGone { process, took });
        // If the main process of an old instance ended first, the rest of its process group may
        // have been draining until now. This drain is over now.
        self.end_drain(process, DrainEnd::ProcessGone);
    }

    /// The time in which the rest of a process group has to end. If an older instance waits for
    /// this end, the time is at most half of the time to the deadline.
    fn rest_limit(&self, process: ProcessId) -> Duration {
        let limit = self.stop_time(process);
        let left = self.left_to_stop().filter(|_| family::is_awaited(self, process));
        left.map_or(limit, |left| limit.min(left / 2))
    }

    /// Shortens the waits that began before the shutdown, or during a drain without a stop, so that
    /// they end by the deadline.
    pub(crate) fn fit_waits(&mut self) {
        let Some(left) = self.left_to_stop() else { return };
        for id in self.spec.ids() {
            let limit = match self.life(id) {
                // An older instance that waits for a newer one needs no shorter limit: either the
                // newer instance ends the older one before the deadline, or drainit can still do
                // so.
                Lifecycle::Stopping { .. } | Lifecycle::Remains { .. }
                    if !matches!(
                        family::tie(self, id),
                        Tie::None | Tie::KillOnly | Tie::Passed
                    ) =>
                {
                    continue;
                }
                Lifecycle::PreStop { .. } => {
                    self.budget().pre_stop(&self.spec, id, Some(left)).unwrap_or_default()
                }
                Lifecycle::Stopping { since, kill_at } => {
                    let own = self.stop_time_in_vain(id);
                    // A process that has asked for more time than its limit keeps as much of this
                    // time as the later stops can spare.
                    let is_longer = kill_at.since(since) > self.stop_limit(id);
                    let kept = self.budget().after_stop(&self.spec, id).kept;
                    if is_longer { own.max(left.saturating_sub(kept)) } else { own }
                }
                Lifecycle::Killed { .. } | Lifecycle::RestKilled { .. } => self.killed_limit(),
                Lifecycle::Remains { .. } => self.rest_limit(id),
                Lifecycle::PostStop { .. } => {
                    self.budget().post_stop(&self.spec, id, Some(left)).unwrap_or_default()
                }
                _ => continue,
            };
            self.limit_timer(id, limit);
        }
        self.expire();
    }

    /// The time until which the core waits for the end of a process that is killed now; `None` if
    /// no time is left.
    pub fn after_kill(&self) -> Option<Time> {
        let wait = self.killed_limit();
        (!wait.is_zero()).then_some(self.now + wait)
    }

    /// The longest wait for the end of a process that gets SIGKILL now. A process that has much
    /// memory and gets only a tenth of a core needs longer than [`AFTER_KILL`] to end.
    fn killed_limit(&self) -> Duration {
        let in_shutdown = |left| budget::hang_limit(AFTER_KILL, left);
        self.left_to_stop().map_or(UNHURRIED_AFTER_KILL, in_shutdown)
    }

    /// Handles expired waits of processes that are being stopped: the next step of each stop
    /// begins. Nothing waits any longer for a process that survives SIGKILL, or for a `post_stop`
    /// hook that takes too long.
    pub(crate) fn expire(&mut self) {
        for process in self.by_rank(self.due()).into_iter().rev() {
            match self.life(process) {
                Lifecycle::PreStop { .. } => {
                    self.step.time_out_hook(Some(process), Stage::PreStop);
                    self.ask_to_end(process);
                }
                // This instance has not got its stop signal yet, and no newer instance will end it.
                // `family::settle` sends the signal, so it is too early for SIGKILL.
                Lifecycle::Stopping { .. } | Lifecycle::Remains { .. }
                    if family::tie(self, process) == Tie::LeftToDrainit => {}
                Lifecycle::Stopping { .. } | Lifecycle::Remains { .. } => {
                    self.kill_if_due(process);
                }
                Lifecycle::RestKilled { .. } => {
                    self.set(process, Lifecycle::RestKilled { holds_until: None });
                }
                Lifecycle::Killed { asked, .. } => {
                    self.set(process, Lifecycle::Killed { asked, holds_until: None });
                }
                Lifecycle::PostStop { .. } => {
                    self.step.time_out_hook(Some(process), Stage::PostStop);
                    self.set(process, Lifecycle::Done);
                }
                _ => {}
            }
        }
    }

    /// Handles the end of a process that is being stopped, or of any process in a shutdown.
    fn on_exited(&mut self, id: ProcessId, end: End, remains: bool) {
        let tie = family::tie(self, id);
        let is_left_to_newer = tie.is_handed_over() || tie == Tie::Passed;
        let in_hook = matches!(self.life(id), Lifecycle::PreStop { .. });
        if in_hook {
            self.step.abort_hook(Some(id), Stage::PreStop);
        }
        let asked = match self.life(id) {
            _ if is_left_to_newer || in_hook => None,
            Lifecycle::Stopping { since, .. } | Lifecycle::Killed { asked: Some(since), .. } => {
                Some(since)
            }
            // The signal of its drain did not end this process.
            Lifecycle::Killed { asked: None, .. } => None,
            _ => self[id].ending.drain_signalled,
        };
        self[id].ending.asked = asked;
        let took = asked.map(|asked| self.now.since(asked));
        let was_killed = matches!(self.life(id), Lifecycle::Killed { .. });
        // The status of a process that SIGKILL has ended says so. Any other process has exited by
        // itself, although drainit had sent SIGKILL.
        let killed = was_killed && (end.signal() == Some(Signal::KILL) || remains);
        if was_killed && !killed {
            self.shutdown.iter_mut().for_each(|shutdown| shutdown.on_own_exit(id));
        }
        // drainit itself sent this SIGKILL, so the note must not name the OOM killer as its sender.
        let end = if killed { end.plainly() } else { end };
        let handed_over = is_left_to_newer && !was_killed;
        self.step.note(Note::Stopped { process: id, end, took, killed, handed_over });
        let held_until = family::on_ended(self, id, remains);
        self.end_drain(id, DrainEnd::ProcessGone);
        if !remains {
            self.after_end(id);
        } else if let Lifecycle::Killed { holds_until, .. } = self.life(id) {
            // drainit has killed the whole group, and some members are not gone yet.
            self.set(id, Lifecycle::RestKilled { holds_until });
        } else if let Some(kill_at) = held_until {
            // The process may have been a wrapper whose Envoy is one of the remaining members, so
            // the group gets no stop signal yet.
            self.set(id, Lifecycle::Remains { kill_at });
        } else {
            let kill_at = match self.life(id) {
                Lifecycle::Stopping { kill_at, .. } => kill_at,
                _ => self.now + self.rest_limit(id),
            };
            self.stop_rest(id, kill_at);
        }
    }

    /// Whether this end answers the signal that asked the process to drain; such an end is not a
    /// failure. A program that handles the signal, such as a shell or a JVM, may end with the code
    /// that a shell shows for the signal, such as 143 for SIGTERM.
    pub fn is_answer(&self, id: ProcessId, end: End) -> bool {
        let signal = self.process(id).drain.and_then(|drain| drain.signal).map(End::Signal);
        let is_of_signal =
            signal.is_some_and(|signal| end == signal || end == End::Code(signal.exit_code()));
        self[id].ending.drain_signalled.is_some()
            && (self.process(id).is_success(end) || is_of_signal)
    }

    /// Runs the `post_stop` hook of a process that has ended for good, if its `pre_start` hook or
    /// an instance has run since the last `post_stop` hook. If another instance continues the
    /// process, the hook runs only when that instance ends.
    pub fn after_end(&mut self, id: ProcessId) {
        let has_run = core::mem::take(&mut self[id].has_run);
        let heir = self[id].beside.filter(|_| self.continues_beside(id));
        if let Some(heir) = heir {
            // One `post_stop` hook runs for both instances. The hook runs when the other instance
            // is gone, even if that instance never started.
            self[heir].has_run |= has_run;
        }
        let runs = has_run && heir.is_none() && self.process(id).hooks.post_stop.is_some();
        let within = || self.budget().post_stop(&self.spec, id, self.left_to_stop());
        match runs.then(within).flatten() {
            Some(within) if !within.is_zero() => {
                let until = self.step.run_hook(Some(id), Stage::PostStop, self.now + within);
                self.set(id, Lifecycle::PostStop { until });
            }
            _ => self.set(id, Lifecycle::Done),
        }
    }

    /// Handles an event of a process that is being stopped, or any event in a shutdown.
    pub(crate) fn handle_stop(&mut self, event: Event) {
        match event {
            Event::Exited { process, end, remains } if self.life(process).is_alive() => {
                self.on_exited(process, end, remains)
            }
            Event::ExitSeen { process, exits, ignores } => {
                self.on_exit_seen(process, exits, ignores);
            }
            Event::GroupGone(process) if self.life(process).has_rest() => {
                self.on_rest_gone(process);
                // A stop and a shutdown have cancelled this restart.
                if let Some(pause) = self[process].restarts.after_rest.take() {
                    let until = self.now + pause;
                    self.set(process, Lifecycle::Backoff { until, anew: false });
                } else {
                    self.after_end(process);
                }
            }
            Event::HookEnded { hook: HookId { process: Some(process), stage }, .. } => {
                match (stage, self.life(process)) {
                    (Stage::PreStop, Lifecycle::PreStop { .. }) => {
                        self.ask_to_end(process);
                    }
                    (Stage::PostStop, Lifecycle::PostStop { .. }) => {
                        self.set(process, Lifecycle::Done);
                    }
                    _ => {}
                }
            }
            // The stop began after `Action::Spawn` and before its answer.
            Event::Spawned(process) if self.life(process) == Lifecycle::Spawning => {
                self.begin_life(process);
                self.set(process, Lifecycle::Starting { since: self.now, ready_by: Time::NEVER });
                if self.has_not_taken_over(process) {
                    self.begin_stop(process, false);
                }
            }
            Event::SpawnFailed { process, .. } if self.life(process) == Lifecycle::Spawning => {
                if self.reached(process).is_some() {
                    self.after_end(process);
                } else {
                    self.set(process, Lifecycle::Done);
                }
            }
            _ => {}
        }
    }
}
