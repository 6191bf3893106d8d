//! Hooks run only in a container that has started, and each at most once at a time. After T0, no
//! `pre_start` hook begins, and after a third stop signal not the last `post_stop` hook. A process
//! that has run gets its `post_stop` hook once, when its last instance has ended.
//!
//! State: which processes have run since their last `post_stop` hook. Checked when a hook begins,
//! and at the exit.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Hooks {
    /// Whether `Event::Start` came before the shutdown.
    has_begun: bool,
    /// Processes that have run and whose `post_stop` hook must still run.
    owes_post_stop: BTreeSet<usize>,
    /// Slots whose `pre_start` hook or instance has run since the last `post_stop` hook.
    has_run: BTreeSet<ProcessId>,
}

impl Promise for Hooks {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        match event {
            Event::Start => self.has_begun |= run.shutdown.is_none(),
            Event::Exited { process, .. } | Event::GroupGone(process)
                if run.deadline().is_some_and(|at| at.since(run.now) <= run.window / 4) =>
            {
                // In the last quarter of the window, drainit may skip the `post_stop` hook: the
                // stops of the dependencies may need all of this time.
                self.owes_post_stop.remove(&run.slots.process(process));
            }
            Event::HookEnded {
                hook: HookId { process: Some(process), stage: Stage::PreStart },
                success: true,
            } => drop(self.has_run.insert(process)),
            _ => {}
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        run.begins_anew(action).map(|slot| self.has_run.remove(&slot));
        match *action {
            Action::RunHook(hook) => {
                // holds: S7
                run.hold(self.has_begun, "a hook before the start");
                // holds: C657
                run.hold(!run.hooks.contains(&hook), "a hook starts that is running already");
                self.holds_hook(run, hook);
            }
            Action::Exit(_) => self.holds_none_owed(run),
            Action::Note(Note::Started(process)) => {
                self.owes_post_stop.insert(run.slots.process(process));
                self.has_run.insert(process);
            }
            _ => {}
        }
    }
}

impl Hooks {
    fn holds_hook(&mut self, run: &History<'_>, HookId { process, stage }: HookId) {
        match (process, stage) {
            (_, Stage::PreStart) => {
                // holds: S5
                run.hold(!run.is_unready(), "a pre_start hook after the shutdown has begun");
            }
            (Some(process), Stage::PreStop) => {
                let takes_over = !run.has_not_taken_over(process);
                run.hold(takes_over, "a `pre_stop` hook of a new instance");
            }
            (Some(process), Stage::PostStop) => {
                self.owes_post_stop.remove(&run.slots.process(process));
                self.holds_last_hook(run, process);
                let continues = run
                    .slots_of(run.slots.process(process))
                    .any(|id| run.is_alive(id) && !run.survives(id));
                // After a reload, a new instance may run already when the old instance ends, and
                // the hook of the old definition runs at that end.
                let is_last = !continues || run.has_reloaded;
                // holds: C347, C359
                run.hold(is_last, "a `post_stop` hook of a process that continues");
            }
            (None, Stage::PostStop) => {
                // holds: S107, S201, C657
                run.hold(run.stop_signals < 3, "a last hook after a third signal");
            }
            (None, Stage::PreStop) => {}
        }
    }

    /// Checks that no `post_stop` hook runs twice without a run of the process in between. One hook
    /// is enough for all instances with the same definition.
    fn holds_last_hook(&mut self, run: &History<'_>, slot: ProcessId) {
        let process = run.slots.process(slot);
        let is_own = |id: &ProcessId| run.slots.process(*id) == process;
        // holds: C359
        run.hold(self.has_run.iter().any(is_own), "a second `post_stop` hook in a row");
        match run.has_reloaded {
            true => drop(self.has_run.remove(&slot)),
            false => self.has_run.retain(|id| !is_own(id) || run.lives(*id)),
        }
    }

    fn holds_none_owed(&self, run: &History<'_>) {
        // A process that got SIGKILL may have exited by itself, and late.
        let is_hurried = exit::was_killing(run) || run.stop_signals >= 2 || run.is_past_deadline();
        let has_hook = |of: &usize| run.scenario.spec.processes[*of].hooks.post_stop.is_some();
        if run.shutdown.is_some() && !is_hurried && !run.has_reloaded {
            let is_owed = self.owes_post_stop.iter().any(has_hook);
            // holds: C359
            run.hold(!is_owed, "a process has ended for good without its `post_stop` hook");
        }
    }
}
