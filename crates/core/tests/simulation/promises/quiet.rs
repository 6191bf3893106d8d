//! Time alone causes no line: while every process is ready, stopped or done, and drainit does
//! nothing that somebody has asked for, a tick has no note.
//!
//! State: whether everything was at rest after the last step, and whether a tick came then. Checked
//! for each note.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    is_at_rest: bool,
    is_only_time: bool,
}

impl Quiet {
    /// A reload is more than time, although it is not an event.
    pub(super) fn on_reload(&mut self) {
        self.is_only_time = false;
    }
}

impl Promise for Quiet {
    fn on_event(&mut self, _: &History<'_>, event: Event) {
        self.is_only_time = self.is_at_rest && event == Event::Tick;
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let is_line = matches!(action, Action::Note(_));
        run.hold(!(is_line && self.is_only_time), "time alone causes a line");
    }

    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let state = machine.state();
        let is_at_rest = |slot: ProcessId| {
            let life = state.life(slot);
            let rests = matches!(
                life,
                Lifecycle::Ready { .. } | Lifecycle::Stopped { .. } | Lifecycle::Done
            );
            rests && !run[slot].draining
        };
        let slots = state.spec.ids().all(is_at_rest);
        let is_running = matches!(machine.phase(), Phase::Running(_));
        self.is_at_rest = slots && run.hooks.is_empty() && is_running;
    }
}
