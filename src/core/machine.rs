//! The machine: which phase it is, and the one door for events.

use std::rc::Rc;

use crate::core::action::Action;
use crate::core::broadcast::Broadcast;
use crate::core::event::Event;
use crate::core::phase::Phase;
use crate::core::phase::running::Running;
use crate::core::spec::Spec;
use crate::core::state::{Lifecycle, State};
use crate::types::{ProcessId, Signal, Time};

/// See the picture in [`super`].
#[derive(Debug)]
pub struct Machine {
    state: State,
    phase: Phase,
    broadcast: Broadcast,
}

impl Machine {
    /// A machine to which nothing has happened yet; [`Event::Start`] begins.
    #[must_use]
    pub fn new(spec: Rc<Spec>, now: Time) -> Self {
        Self {
            state: State::new(spec, now),
            phase: Phase::Running(Running::default()),
            broadcast: Broadcast::default(),
        }
    }

    /// Takes one event, and gives back what is to be done, in this order.
    ///
    /// `now` must not go back. Moments that have come by `now` are dealt with in the same step.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.state.now = now.max(self.state.now);
        let state = &mut self.state;
        state.touched.clear();
        state.arrived.clear();
        if let Event::Signal(signal) = event
            && !state.spec.stop_signals.contains(&signal)
        {
            forward(state, signal);
        }
        self.hear(event);
        let state = &mut self.state;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(running) => running.handle(state, event),
            Phase::Draining(draining) => draining.handle(state, event),
            Phase::Stopping(stopping) => stopping.handle(state, event),
            Phase::Finishing(finishing) => finishing.handle(state, event),
            Phase::Done => Phase::Done,
        };
        // Nothing comes after the exit, and there is nothing to be told of a life that goes on.
        if self.phase.shutdown().is_some() {
            for note in self.broadcast.notes() {
                self.state.note(note);
            }
        }
        std::mem::take(&mut self.state.actions)
    }

    /// Remembers what may show that a stop signal was sent to every process at once.
    fn hear(&mut self, event: Event) {
        let state = &self.state;
        match event {
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                self.broadcast.asked(state.now, signal);
            }
            // It is back, and will be drained.
            Event::Spawned(process) => self.broadcast.started(process),
            Event::Exited { process, end, .. } if state.told[process.index()].is_none() => {
                let (life, spec) = (state.life(process), state.process(process));
                let is_missed = match &self.phase {
                    Phase::Running(_) => true,
                    Phase::Draining(draining) => draining.is_undrained(process),
                    _ => false,
                };
                let is_drained = spec.drain.is_some_and(|drain| !drain.time.is_zero());
                if let Lifecycle::Starting { .. } | Lifecycle::Ready { .. } = life {
                    let undrained =
                        is_drained && is_missed && matches!(life, Lifecycle::Ready { .. });
                    self.broadcast.ended(state.now, process, spec, end, undrained);
                }
            }
            _ => {}
        }
    }

    /// When [`Event::Tick`] is due, if nothing happens before. Always later than the last `now`.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Time> {
        let of_phase = match &self.phase {
            Phase::Running(running) => running.wakes_at(),
            Phase::Draining(draining) => draining.wakes_at(self.state.now),
            Phase::Stopping(stopping) => stopping.wakes_at(),
            Phase::Finishing(finishing) => finishing.wakes_at(),
            Phase::Done => return None,
        };
        of_phase.into_iter().chain(self.state.wakes_at()).min()
    }

    /// Where the container is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How far each process is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }
}

/// Passes a signal on to those who ask for it.
fn forward(state: &mut State, signal: Signal) {
    let spec = Rc::clone(&state.spec);
    let wants = |id: &ProcessId| spec.processes[id.index()].forward_signals.contains(&signal);
    for process in spec.ids().filter(wants) {
        if state.life(process).is_alive() {
            state.act(Action::Signal { process, signal });
        }
    }
}
