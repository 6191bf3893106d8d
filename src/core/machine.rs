//! The machine: which phase it is, and the one door for events.

use std::rc::Rc;
use std::time::Duration;

use super::at_once::AtOnce;
use super::draining::Draining;
use super::event::{Action, Event};
use super::exit::Cause;
use super::finishing::Finishing;
use super::running::Running;
use super::spec::Spec;
use super::stopping::Stopping;
use super::world::{Life, World};
use crate::vocab::{ProcessId, Signal, Time};

/// Stop signals that come closer than this are one: some send each signal to a process and then to its group, and the
/// kernel merges those that come closer still.
pub(crate) const ONE_SIGNAL: Duration = Duration::from_millis(5);

/// See the picture in [`super`].
#[derive(Debug)]
pub struct Machine {
    world: World,
    phase: Phase,
    at_once: AtOnce,
}

/// Where the container is.
#[derive(Debug)]
pub enum Phase {
    /// Starting and supervising.
    Running(Running),
    /// The traffic is taken away.
    Draining(Draining),
    /// The processes are stopped.
    Stopping(Stopping),
    /// What is left over is cleared.
    Finishing(Finishing),
    /// [`Action::Exit`] was given.
    Done,
}

/// What is true of a shutdown from its first moment on.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// Why.
    pub cause: Cause,
    /// The first stop signal or the unasked end.
    pub t0: Time,
    /// When everything must be gone.
    pub deadline: Time,
    /// Stop signals so far.
    pub signals: u32,
    /// When the last of them came.
    pub last_signal: Option<Time>,
    /// Something had to be killed.
    pub killed: bool,
}

impl Shutdown {
    /// Counts a further stop signal. How many there are now; `None` if it is the last one once more.
    pub(super) fn count_signal(&mut self, now: Time) -> Option<u32> {
        let is_again = self.last_signal.is_some_and(|last| now.since(last) < ONE_SIGNAL);
        self.last_signal = Some(now);
        self.signals += u32::from(!is_again);
        (!is_again).then_some(self.signals)
    }

    /// When not even a process that survived KILL is waited for: half of the reserve, but time enough to reap.
    #[must_use]
    pub fn hard_end(&self, world: &World) -> Time {
        self.deadline + world.spec.after_deadline()
    }
}

impl Machine {
    /// A machine to which nothing has happened yet; [`Event::Start`] begins.
    #[must_use]
    pub fn new(spec: Rc<Spec>, now: Time) -> Self {
        Self {
            world: World::new(spec, now),
            phase: Phase::Running(Running::default()),
            at_once: AtOnce::default(),
        }
    }

    /// Takes one event, and gives back what is to be done, in this order.
    ///
    /// `now` must not go back. Moments that have come by `now` are dealt with in the same step.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.world.now = now.max(self.world.now);
        let world = &mut self.world;
        world.touched.clear();
        world.arrived.clear();
        if let Event::Signal(signal) = event
            && !world.spec.stop_signals.contains(&signal)
        {
            forward(world, signal);
        }
        self.hear(event);
        let world = &mut self.world;
        self.phase = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(running) => running.handle(world, event),
            Phase::Draining(draining) => draining.handle(world, event),
            Phase::Stopping(stopping) => stopping.handle(world, event),
            Phase::Finishing(finishing) => finishing.handle(world, event),
            Phase::Done => Phase::Done,
        };
        // Nothing comes after the exit, and there is nothing to be told of a life that goes on.
        if self.phase.shutdown().is_some() {
            for note in self.at_once.notes() {
                self.world.note(note);
            }
        }
        std::mem::take(&mut self.world.actions)
    }

    /// Remembers what may show that a stop signal was sent to every process at once.
    fn hear(&mut self, event: Event) {
        let world = &self.world;
        match event {
            Event::Signal(signal) if world.spec.stop_signals.contains(&signal) => {
                self.at_once.asked(world.now, signal);
            }
            // It is back, and will be drained.
            Event::Spawned(process) => self.at_once.started(process),
            Event::Exited { process, end, .. } if world.told[process.index()].is_none() => {
                let (life, spec) = (world.life(process), world.process(process));
                let is_missed = match &self.phase {
                    Phase::Running(_) => true,
                    Phase::Draining(draining) => draining.is_undrained(process),
                    _ => false,
                };
                let is_drained = spec.drain.is_some_and(|drain| !drain.time.is_zero());
                if let Life::Starting { .. } | Life::Ready { .. } = life {
                    let undrained = is_drained && is_missed && matches!(life, Life::Ready { .. });
                    self.at_once.ended(world.now, process, spec, end, undrained);
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
            Phase::Draining(draining) => draining.wakes_at(self.world.now),
            Phase::Stopping(stopping) => stopping.wakes_at(),
            Phase::Finishing(finishing) => finishing.wakes_at(),
            Phase::Done => return None,
        };
        of_phase.into_iter().chain(self.world.wakes_at()).min()
    }

    /// Where the container is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How far each process is.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }
}

impl Phase {
    /// The shutdown, once it has begun.
    #[must_use]
    pub fn shutdown(&self) -> Option<&Shutdown> {
        match self {
            Self::Running(_) | Self::Done => None,
            Self::Draining(draining) => Some(&draining.shutdown),
            Self::Stopping(stopping) => Some(&stopping.shutdown),
            Self::Finishing(finishing) => Some(&finishing.shutdown),
        }
    }
}

/// Passes a signal on to those who ask for it.
fn forward(world: &mut World, signal: Signal) {
    let spec = Rc::clone(&world.spec);
    let wants = |id: &ProcessId| spec.processes[id.index()].forward_signals.contains(&signal);
    for process in spec.ids().filter(wants) {
        if world.life(process).is_alive() {
            world.act(Action::Signal { process, signal });
        }
    }
}
