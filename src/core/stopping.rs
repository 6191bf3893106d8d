//! The third phase: every process is asked to end, each only when all its dependents are gone.

use std::collections::BinaryHeap;
use std::rc::Rc;

use super::event::{Action, Event, Hurry, Note};
use super::finishing::Finishing;
use super::machine::{Phase, Shutdown};
use super::spec::{AFTER_KILL, HookId, Stage};
use super::world::{Life, World};
use crate::vocab::{ProcessId, Time};

/// See the module.
#[derive(Debug)]
pub struct Stopping {
    /// What is true since T0.
    pub shutdown: Shutdown,
    /// No order any more: everything was killed, by a third signal or at the deadline.
    no_mercy: bool,
    /// When not even a process that survived KILL is waited for.
    gives_up_at: Time,
    /// Every process must be looked at, and not only those that something has happened to.
    look_at_all: bool,
    /// For each process, how many hold it back: dependents that are still there, directly or behind one that has died
    /// already.
    holders: Vec<usize>,
    /// Those that hold nobody back any more.
    released: Vec<bool>,
}

/// The processes to look at, dependents first.
type Queue = BinaryHeap<(u16, ProcessId)>;

impl Stopping {
    /// The drains are over.
    pub(super) fn enter(shutdown: Shutdown, world: &mut World) -> Phase {
        let gives_up_at = shutdown.hard_end(world);
        let count = world.spec.processes.len();
        let mut holders = vec![0; count];
        for (on, _) in world.spec.processes.iter().flat_map(|process| &process.dependencies) {
            holders[on.index()] += 1;
        }
        let released = vec![false; count];
        Self { shutdown, no_mercy: false, gives_up_at, look_at_all: true, holders, released }
            .advance(world)
    }

    /// Takes one event.
    pub(super) fn handle(mut self, world: &mut World, event: Event) -> Phase {
        // Without mercy there is no time for hooks either.
        let deadline = if self.no_mercy { world.now } else { self.shutdown.deadline };
        world.news_in_shutdown(event, deadline);
        match event {
            Event::Signal(signal) if world.spec.stop_signals.contains(&signal) => {
                match self.shutdown.count_signal(world.now) {
                    None => {}
                    Some(1) => world.note(Note::Hurried(Hurry::Continue)),
                    Some(2) => self.cut_waits(world),
                    Some(_) => {
                        world.note(Note::Hurried(Hurry::KillAll));
                        self.lose_mercy();
                    }
                }
            }
            Event::HookEnded {
                hook: HookId { process: Some(process), stage: Stage::PreStop },
                ..
            } if matches!(world.life(process), Life::PreStop { .. }) => {
                self.ask(world, process);
            }
            _ => {}
        }
        self.advance(world)
    }

    /// When something is due that is not the matter of one process.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        Some(if self.no_mercy { self.gives_up_at } else { self.shutdown.deadline })
    }

    /// A second stop signal: hooks are not waited for any longer. The processes keep their time.
    fn cut_waits(&mut self, world: &mut World) {
        world.note(Note::Hurried(Hurry::CutWaits));
        for process in world.spec.ids() {
            if let Life::PreStop { .. } = world.life(process) {
                world.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PreStop,
                }));
                self.ask(world, process);
            }
        }
    }

    fn advance(mut self, world: &mut World) -> Phase {
        if !self.no_mercy && world.is_past(self.shutdown.deadline) && !world.is_done() {
            world.note(Note::DeadlinePassed);
            self.lose_mercy();
            // A container that was paused, or a machine that slept, may find itself long after the deadline.
            self.gives_up_at = self.gives_up_at.max(world.now + AFTER_KILL);
        }
        // Without mercy nobody waits for anybody.
        let deadline = if self.no_mercy { world.now } else { self.shutdown.deadline };
        self.shutdown.killed |= world.kill_late_rests(deadline);
        let ranked = |id| (world.rank(id), id);
        let mut queue: Queue = if std::mem::take(&mut self.look_at_all) {
            world.spec.ids().map(ranked).collect()
        } else {
            world.touched.iter().copied().chain(world.due()).map(ranked).collect()
        };
        while let Some(next) = queue.pop() {
            while queue.peek() == Some(&next) {
                queue.pop();
            }
            if self.no_mercy {
                self.end_at_once(world, next.1);
            } else {
                self.look_at(world, next.1, &mut queue);
            }
        }
        if world.is_done() {
            return Finishing::enter(self.shutdown, self.no_mercy, world);
        }
        if world.is_past(self.gives_up_at) {
            for process in
                world.spec.ids().filter(|id| world.life(*id) != Life::Done).collect::<Vec<_>>()
            {
                world.note(Note::Unkillable(process));
            }
            return Finishing::enter(self.shutdown, true, world);
        }
        Phase::Stopping(self)
    }

    fn lose_mercy(&mut self) {
        self.no_mercy = true;
        self.look_at_all = true;
    }

    /// Stops a process that nobody holds back, ends a wait that is over, and lets go of dependencies.
    fn look_at(&mut self, world: &mut World, process: ProcessId, queue: &mut Queue) {
        let is_free = self.holders[process.index()] == 0;
        match world.life(process) {
            Life::Starting { .. } | Life::Ready { .. } if is_free => self.begin(world, process),
            Life::PreStop { until } if world.is_past(until) => {
                world.abort_hook(Some(process), Stage::PreStop);
                self.ask(world, process);
            }
            life if life.lets_go()
                && is_free
                && !std::mem::replace(&mut self.released[process.index()], true) =>
            {
                let spec = Rc::clone(&world.spec);
                for &(on, _) in &spec.processes[process.index()].dependencies {
                    self.holders[on.index()] -= 1;
                    if self.holders[on.index()] == 0 {
                        queue.push((world.rank(on), on));
                    }
                }
            }
            _ => {}
        }
        if let Life::Stopping { since, kill_at } = world.life(process)
            && world.is_past(kill_at)
        {
            self.kill(world, process, Some(since));
        }
    }

    fn begin(&mut self, world: &mut World, process: ProcessId) {
        let within = world.budget.pre_stop(&world.spec, process, world.now, self.shutdown.deadline);
        match within {
            Some(within) if self.shutdown.signals < 2 => {
                let until = world.run_hook(Some(process), Stage::PreStop, within);
                world.set(process, Life::PreStop { until });
            }
            _ => self.ask(world, process),
        }
    }

    fn ask(&mut self, world: &mut World, process: ProcessId) {
        let signal = world.process(process).stop_signal;
        let limit = world.budget.stop(&world.spec, process, world.now, self.shutdown.deadline);
        world.act(Action::Stop { process, signal });
        world.note(Note::Stopping { process, signal, limit });
        world.set(process, Life::Stopping { since: world.now, kill_at: world.now + limit });
    }

    fn kill(&mut self, world: &mut World, process: ProcessId, asked: Option<Time>) {
        world.act(Action::Kill(process));
        world.note(Note::Killed { process, after: asked.map(|asked| world.now.since(asked)) });
        let deadline = if self.no_mercy { world.now } else { self.shutdown.deadline };
        let holds_until = world.after_kill(deadline);
        world.set(process, Life::Killed { asked, holds_until });
        self.shutdown.killed = true;
    }

    fn end_at_once(&mut self, world: &mut World, process: ProcessId) {
        match world.life(process) {
            Life::Stopping { since, .. } => self.kill(world, process, Some(since)),
            Life::Starting { .. } | Life::Ready { .. } => self.kill(world, process, None),
            Life::PreStop { .. } => {
                world.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PreStop,
                }));
                self.kill(world, process, None);
            }
            Life::Remains { restart, .. } => {
                world.kill_rest(process, restart, world.now);
                self.shutdown.killed = true;
            }
            Life::PostStop { .. } => {
                world.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PostStop,
                }));
                world.set(process, Life::Done);
            }
            _ => {}
        }
    }
}
