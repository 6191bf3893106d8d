//! drainit acts on a changed file as soon as the file is quiet and the process serves, once for
//! each change, and not after the shutdown has begun. A process that is being stopped or replaced,
//! or waits for a dependency that it follows, acts later.
//!
//! State: the changed files. Checked when an action of a change begins, and after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// The changed files of each slot, each with whether it is quiet (no longer being written). An
    /// entry is removed when drainit acts on the change or starts the process.
    changed: BTreeMap<(ProcessId, usize), bool>,
}

impl Promise for Files {
    fn on_event(&mut self, _: &History<'_>, event: Event) {
        match event {
            Event::FileSeen { process, watch } => {
                self.changed.entry((process, watch)).or_default();
            }
            // If the process has started since the change, the start has read the new content, and
            // has already removed the entry.
            Event::FileQuiet { process, watch, is_new } => {
                let is_change = self.changed.remove(&(process, watch)).map(|seen| seen || is_new);
                self.changed.extend(is_change.filter(|it| *it).map(|it| ((process, watch), it)));
            }
            _ => {}
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let over = match *action {
            Action::Adopt { slot, .. } => slot,
            Action::Spawn(process) if run.of(process).hooks.pre_start.is_none() => process,
            Action::RunHook(HookId { process: Some(process), stage: Stage::PreStart }) => process,
            Action::Note(Note::TakesOver { old, .. }) => old,
            Action::Note(Note::FileChanged { process, watch, action }) => {
                return self.holds_action(run, (process, watch), action);
            }
            _ => return,
        };
        self.changed.retain(|(of, _), _| *of != over);
    }

    // holds: C301
    fn after_step(&mut self, run: &History<'_>, _: &Machine) {
        if run.is_unready() || !run.asked_for.is_empty() || run.reload.is_some() {
            return;
        }
        // A process that survives SIGKILL makes a requested stop fail. `by_request` stays set even
        // then, because the stop continues for the other processes.
        let rests = |id| !run[id].by_request && !run.is_replaced(id) && !run[id].doomed;
        let waits = |id| {
            run.waits_to_follow(id, |on| {
                let moves = run[on].on_its_way || run[on].alone || run[on].by_request;
                moves || self.is_to_restart(run, on)
            })
        };
        let mut due = self.changed.iter().filter(|((id, _), is_quiet)| {
            **is_quiet && run[*id].serves && rests(*id) && !waits(*id)
        });
        run.hold(due.next().is_none(), "a change of a file is forgotten");
    }
}

impl Files {
    fn holds_action(&mut self, run: &History<'_>, of: (ProcessId, usize), action: WatchAction) {
        let process = of.0;
        // holds: C303
        run.hold(!run.is_unready(), "the action of a change after the shutdown has begun");
        let base = run.slots.process(process);
        // holds: C303
        run.hold(!run.down.contains(&base), "a change starts a process that a request has stopped");
        let is_current = run.is_current(process);
        run.hold(is_current, "the action of a change of an instance that was replaced");
        let is_due = self.changed.remove(&of);
        // holds: C302
        run.hold(is_due.is_some(), "an action without a change to follow");
        run.hold(is_due != Some(false), "an action before the file is quiet");
        let mut followed = (0..run.slots.processes())
            .filter(|on| run.slots.follows_any(process, *on))
            .filter_map(|on| run.slots.current(on));
        let is_first = !followed.any(|on| run[on].serves && self.is_to_restart(run, on));
        // holds: C665
        run.hold(is_first, "an action before a dependency that the process follows");
        let (serves, is_alive) = (run[process].serves, run.is_alive(process));
        match action {
            WatchAction::Restart => {
                run.hold(serves || !is_alive, "a restart of a process that is starting");
                let is_only = !run.asked_for.contains(&(base, Request::Restart));
                run.hold(is_only, "two restarts of a process at a time");
            }
            WatchAction::Reload => run.fail("a reload by the core"),
            WatchAction::Signal(_) => {
                run.hold(is_alive && serves, "a signal before the process is ready");
            }
        }
    }

    /// Whether a file has changed for which the slot has the action `restart`, and drainit has not
    /// yet restarted the slot because of this change.
    fn is_to_restart(&self, run: &History<'_>, slot: ProcessId) -> bool {
        let watch = &run.of(slot).watch;
        let mut changes = self.changed.range((slot, 0)..=(slot, usize::MAX));
        changes.any(|((_, place), _)| watch.get(*place) == Some(&WatchAction::Restart))
    }
}
