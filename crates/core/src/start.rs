//! The start of one process: its dependencies, `only_if`, the leftovers of earlier instances, its
//! `pre_start` hook, the spawn, and its readiness.

use crate::action::Action;
use crate::budget::{MOST_KEPT, UNHURRIED_AFTER_KILL};
use crate::drain::progress::Progress;
use crate::family;
use crate::note::Note;
use crate::prelude::*;
use crate::spec::Stage;
use crate::state::{EndFacts, Lifecycle, State};
use crate::types::{ProcessId, Signal, StartCondition, Time};

impl State {
    /// Starts a waiting process if its dependencies have met their conditions.
    pub(crate) fn begin_if_possible(&mut self, process: ProcessId) {
        let mut needs = self.process(process).dependencies.iter();
        if self.life(process) == Lifecycle::Waiting
            && needs.all(|&(on, condition)| self.reached(on) >= Some(condition))
        {
            self.begin(process);
        }
    }

    /// The direct dependents of `process` that wait for their dependencies.
    pub(crate) fn waiting_dependents(&self, process: ProcessId) -> impl Iterator<Item = ProcessId> {
        let above = self.process(process).dependents.iter().copied();
        above.filter(|id| self.life(*id) == Lifecycle::Waiting)
    }

    /// The direct dependents of `process` that wait to be started, because `process` has not met
    /// their condition.
    pub fn waiting_for(&self, process: ProcessId) -> Vec<ProcessId> {
        let reached = self.reached(process);
        let waits = |id: &ProcessId| {
            let mut needs = self.process(*id).dependencies.iter();
            needs.any(|&(on, condition)| on == process && reached < Some(condition))
        };
        self.waiting_dependents(process).filter(waits).collect()
    }

    /// The dependencies for which a waiting process still waits, because they have not met their
    /// conditions.
    pub fn missing(&self, process: ProcessId) -> impl Iterator<Item = ProcessId> {
        let is_waiting = self.life(process) == Lifecycle::Waiting;
        let needs = self.process(process).dependencies.iter().filter(move |_| is_waiting);
        let missing = needs.filter(|(on, condition)| self.reached(*on) < Some(*condition));
        missing.map(|(on, _)| *on)
    }

    /// Starts a process. If the process has an `only_if`, drainit evaluates this condition first.
    pub(crate) fn begin(&mut self, process: ProcessId) {
        if self.process(process).conditional {
            self.checks = self.checks.wrapping_add(1);
            let check = self.checks;
            self.set(process, Lifecycle::Checking { check });
            self.step.act(Action::CheckCondition { process, check });
        } else {
            self.prepare(process);
        }
    }

    /// Starts a process whose `only_if` holds, or that has no `only_if`.
    pub(crate) fn prepare(&mut self, process: ProcessId) {
        if !self.begin_clearing(process, true) {
            self.prepare_cleared(process);
        }
    }

    /// Begins to end the leftovers of earlier instances, before a process starts again. Returns
    /// whether the start has to wait for them.
    fn begin_clearing(&mut self, process: ProcessId, anew: bool) -> bool {
        let clears = self[process].may_have_left && self.process(process).ends_leftovers;
        if clears {
            // A search of `/proc` may hang.
            let until = self.now + UNHURRIED_AFTER_KILL;
            let life = Lifecycle::Clearing { until, anew, asked: None, is_killed: false };
            self.set(process, life);
            let signal = self.process(process).stop_signal;
            self.step.act(Action::EndLeftovers { process, signal });
        }
        clears
    }

    /// Handles a search for leftovers of a process that is about to start again. `any` says whether
    /// there are leftovers, which got the signal.
    pub(crate) fn on_leftovers(&mut self, process: ProcessId, any: bool) {
        let Lifecycle::Clearing { anew, asked, is_killed, .. } = self.life(process) else { return };
        match (any, asked) {
            (true, Some(_)) => {}
            (true, None) => {
                // As for the rest of a process group, of which nobody has asked for the end.
                let spec = self.process(process);
                let limit = spec.stop.unwrap_or(self.unset_stop().min(MOST_KEPT));
                let signal = spec.stop_signal;
                let (asked, until) = (Some(self.now), self.now + limit);
                self.set(process, Lifecycle::Clearing { until, anew, asked, is_killed });
                self.step.note(Note::LeftoversFound { process, signal, limit });
            }
            (false, _) => {
                if let Some(asked) = asked {
                    let took = self.now.since(asked);
                    self.step.note(Note::LeftoversGone { process, took });
                }
                self.start_cleared(process, anew);
            }
        }
    }

    /// Handles the end of the time that leftovers have, or of the search for them.
    pub(crate) fn end_clearing(&mut self, process: ProcessId) {
        let Lifecycle::Clearing { anew, asked, is_killed, .. } = self.life(process) else { return };
        match asked.filter(|_| !is_killed) {
            Some(since) => {
                let until = self.now + UNHURRIED_AFTER_KILL;
                self.set(process, Lifecycle::Clearing { until, anew, asked, is_killed: true });
                self.step.act(Action::EndLeftovers { process, signal: Signal::KILL });
                let after = self.now.since(since);
                self.step.note(Note::LeftoversKilled { process, after });
            }
            None => {
                self.step.note(Note::LeftoversIgnored { process, are_known: is_killed });
                self.start_cleared(process, anew);
            }
        }
    }

    /// Continues a start after the leftovers of earlier instances have ended.
    fn start_cleared(&mut self, process: ProcessId, anew: bool) {
        if anew {
            self.prepare_cleared(process);
        } else {
            self.spawn(process);
        }
    }

    fn prepare_cleared(&mut self, process: ProcessId) {
        match self.process(process).hooks.pre_start {
            Some(wait) => {
                self.changes.forget_all(process);
                let until =
                    self.step.run_hook(Some(process), Stage::PreStart, self.now + wait.limit);
                self.set(process, Lifecycle::PreStart { until });
            }
            None => self.spawn(process),
        }
    }

    pub(crate) fn spawn(&mut self, process: ProcessId) {
        // If the process has a `pre_start` hook, `prepare` has forgotten the changes of watched
        // files before the hook began. A later change must be kept, because the hook may have
        // copied the old content.
        if self.process(process).hooks.pre_start.is_none() {
            self.changes.forget_all(process);
        }
        self[process].overdue = None;
        family::on_start(self, process);
        self.set(process, Lifecycle::Spawning);
        self.step.act(Action::Spawn(process));
    }

    /// Starts a process again after its pause. `anew` says whether `only_if` and the `pre_start`
    /// hook come first. The start may have to wait until the other instance of the process is gone.
    pub(crate) fn start_again(&mut self, process: ProcessId, anew: bool) {
        if family::delays_start(self, process) {
            self.set(process, Lifecycle::Backoff { until: Time::NEVER, anew });
        } else if anew {
            self.begin(process);
        } else if !self.begin_clearing(process, false) {
            self.spawn(process);
        }
    }

    /// Probes a new instance of a hot restart once more after its readiness timeout. Since its last
    /// probe, the instance may have taken over from the older one. The end of the new instance
    /// would then leave no instance that listens. Returns whether the core waits for the answer.
    pub(crate) fn probe_once(&mut self, process: ProcessId) -> bool {
        let Lifecycle::Starting { ready_by, .. } = self.life(process) else { return false };
        if !family::is_pending(self, process) || self[process].overdue.is_some() {
            return false;
        }
        self[process].overdue = Some(ready_by);
        self.step.act(Action::ProbeOnce(process));
        // The wait is twice the limit of the probe, because the supervisor may run late.
        self.set_timer(process, self.now + self.process(process).last_probe() * 2);
        true
    }

    /// Handles a failed last probe: the probe has not shown that the instance has taken over.
    pub(crate) fn on_not_live(&mut self, process: ProcessId) {
        if matches!(self.life(process), Lifecycle::Starting { .. })
            && self[process].overdue.is_some()
        {
            self.set_timer(process, self.now);
        }
    }

    /// Handles the answer to [`Action::Spawn`].
    pub(crate) fn on_spawned(&mut self, process: ProcessId) {
        let since = self.now;
        self.begin_life(process);
        self.meet(process, StartCondition::Started);
        let spec = self.process(process);
        if spec.oneshot || spec.readiness_timeout.is_some() {
            let limit = spec.readiness_timeout.or(spec.timeout);
            let ready_by = limit.map_or(Time::NEVER, |limit| since + limit);
            self.set(process, Lifecycle::Starting { since, ready_by });
        } else {
            self.on_ready(process, since);
        }
    }

    /// Records that the program of an instance runs now.
    pub(crate) fn begin_life(&mut self, process: ProcessId) {
        if self.process(process).readiness_timeout.is_none() {
            self.step.act(Action::Serves(process));
        }
        self.step.note(Note::Started(process));
        self.family.on_spawned(process, self.now);
        self[process].has_run = true;
        self[process].may_have_left = true;
        self[process].listens_on_nothing = false;
        self[process].ending = EndFacts::default();
    }

    /// Records that an instance has met a condition. Dependents with `restart: true` do not restart
    /// before the instance is the current one, because until then the instance can be rolled back.
    fn meet(&mut self, process: ProcessId, condition: StartCondition) {
        self.reach(process, self.reached(process).max(Some(condition)));
        if self.is_current(process) {
            self.step.met.push((process, condition));
        }
    }

    pub(crate) fn on_ready(&mut self, process: ProcessId, since: Time) {
        self.set(process, Lifecycle::Ready { since });
        let has_drain = self.process(process).is_drained();
        self[process].drain = if has_drain { Progress::NotDue } else { Progress::Over };
        family::on_ready(self, process);
        if self.process(process).liveness_retries.is_some() {
            self[process].probe_failures.in_a_row = 0;
            self.step.act(Action::WatchLiveness(process));
        }
        self.meet(process, StartCondition::Ready);
        if self.process(process).readiness_timeout.is_some() {
            self.step.act(Action::Serves(process));
            self.step.note(Note::Ready { process, after: self.now.since(since) });
        }
    }
}
