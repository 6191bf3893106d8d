//! A process starts only when its `depends_on` conditions hold, its `only_if` was true, and its
//! `pre_start` hook has succeeded. No process starts after the shutdown has begun, or if only a
//! request may start it.
//!
//! State: what the start of each slot has already passed, and what each process has reached. Checked
//! when a process is spawned.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    /// For each slot, the number of the last evaluation of its `only_if`.
    checks: BTreeMap<ProcessId, u32>,
    /// Slots whose last evaluation of `only_if` was true, so that the next start does not evaluate
    /// it again. A slot leaves this set when it gets a stop signal, or when its `post_stop` hook
    /// runs.
    admitted: BTreeSet<ProcessId>,
    /// Slots whose `pre_start` hook has succeeded and need not run again at the next start. A
    /// slot leaves this set when it gets a stop signal, or when its `post_stop` hook runs.
    prepared: BTreeSet<ProcessId>,
    /// Processes of which an instance in any slot was started, and so on.
    started: BTreeSet<usize>,
    skipped: BTreeSet<usize>,
    ready: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    /// Processes of which a start has failed.
    failed: BTreeSet<usize>,
}

impl Promise for Starts {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        match event {
            Event::Spawned(slot) => drop(self.started.insert(run.slots.process(slot))),
            Event::Ready(slot) => drop(self.ready.insert(run.slots.process(slot))),
            Event::Exited { process, .. } => drop(self.ended.insert(run.slots.process(process))),
            Event::Condition { process, check, holds: true } => {
                let is_last = self.checks.get(&process) == Some(&check);
                self.admitted.extend(is_last.then_some(process));
            }
            Event::HookEnded {
                hook: HookId { process: Some(process), stage: Stage::PreStart },
                success: true,
            } => drop(self.prepared.insert(process)),
            _ => {}
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let over = match *action {
            Action::RunHook(HookId { process, stage: Stage::PostStop }) => process,
            Action::Stop { process, .. } => Some(process),
            _ => run.begins_anew(action),
        };
        // The last start counts no longer.
        if let Some(over) = over {
            self.admitted.remove(&over);
            self.prepared.remove(&over);
        }
        match *action {
            Action::CheckCondition { process, check } => {
                // Only the answer to this check admits the start.
                self.admitted.remove(&process);
                self.checks.insert(process, check);
            }
            Action::Spawn(process) => self.holds_start(run, process),
            Action::Note(Note::Skipped(process)) => {
                self.skipped.insert(run.slots.process(process));
            }
            Action::Note(Note::Failed { process, why, .. }) if why != Failure::Unhealthy => {
                self.failed.insert(run.slots.process(process));
            }
            _ => {}
        }
    }
}

impl Starts {
    fn holds_start(&self, run: &History<'_>, slot: ProcessId) {
        run.hold(!run.lives(slot), "a start of a process that is alive");
        // holds: S4, C118, C660
        run.hold(!run.is_unready(), "a start after the shutdown has begun");
        let is_down = run.down.contains(&run.slots.process(slot));
        // holds: C684, C686
        run.hold(!is_down, "a process starts by itself that only a request may start");
        let has_run = run[slot].started_as > 0;
        let is_prepared = self.prepared.contains(&slot);
        let is_first = !has_run && !run.is_new(slot) && !is_prepared;
        // A restart does not wait for dependencies that only a newer config has.
        let is_again = run.has_reloaded && (run.is_new(slot) || has_run);
        for (on, condition) in run.of(slot).dependencies.iter().filter(|_| !is_again) {
            // holds: C159, C193, C194
            run.hold(self.is_reached(run, *on, *condition), "a start before its dependency");
            // holds: C571
            run.hold(!run.down.contains(&on.index()), "a start without its dependency");
            let is_stuck = run.slots.current(on.index()).is_some_and(|on| run[on].stuck);
            let is_right = !(is_first && is_stuck);
            // holds: C571
            run.hold(is_right, "a start without a dependency that a restart has left down");
        }
        let is_admitted = !run.of(slot).conditional || self.admitted.contains(&slot);
        // holds: C481
        run.hold(is_admitted, "a start although `only_if` was not evaluated");
        let is_prepared = is_prepared || run.of(slot).hooks.pre_start.is_none();
        // holds: C481
        run.hold(is_prepared, "a start without its pre_start hook");
    }

    fn is_reached(&self, run: &History<'_>, on: ProcessId, condition: StartCondition) -> bool {
        let Some(current) = run.slots.current(on.index()) else { return true };
        let spec = run.of(current);
        let behaviours = [&run.scenario.behaviours, &run.scenario.variants];
        let may_be_left_out = run.scenario.starts.may_change_conditions()
            || behaviours.iter().any(|of| !of[on.index()].condition);
        let skipped = spec.conditional && may_be_left_out;
        let has = |processes: &BTreeSet<usize>| processes.contains(&on.index());
        let OnExit { success, failure, signal } = spec.on_exit;
        let may_be_ignored = [success, failure, signal].contains(&ExitPolicy::Ignore);
        let is_missing = has(&self.failed) && failure == ExitPolicy::Ignore;
        skipped
            || has(&self.skipped)
            || is_missing
            || match condition {
                StartCondition::Started => has(&self.started),
                StartCondition::Ready if spec.readiness_timeout.is_none() && !spec.oneshot => {
                    has(&self.started)
                }
                StartCondition::Ready => {
                    has(&self.ready) || has(&self.ended) && (spec.oneshot || may_be_ignored)
                }
                StartCondition::Completed => has(&self.ended),
            }
    }
}
