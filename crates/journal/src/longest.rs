//! Finds the longest shutdown by a simulation with the real state machine. In the simulation, every
//! process becomes ready at once, and every hook, drain and stop takes all of its time. The steps
//! are recorded as in a real shutdown.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use core::mem::replace;

use crate::prelude::*;
use crate::steps::Steps;
use crate::timeline::{StepKind, Timeline};
use drainit_core::action::Action;
use drainit_core::event::Event;
use drainit_core::machine::Machine;
use drainit_core::note::{Note, WhyUndrained};
use drainit_core::spec::{ProcessSpec, Spec, Stage};
use drainit_core::types::{
    End, OnExit, ProcessId, RestartPolicy, Signal, StartCondition, Time, Update, exit_code,
};

impl Timeline {
    /// The longest shutdown when every process is ready and every oneshot is complete. If `asked`,
    /// a stop signal is the cause. If not, the end of a process is the cause, and drains wait for
    /// `min` only.
    pub fn worst(spec: &Spec, asked: bool) -> Self {
        Play::of(spec, None, asked)
    }

    /// The oneshot during which a shutdown takes longest, and this shutdown; `None` if no oneshot
    /// can run. All processes that do not depend on the oneshot are running as well.
    pub fn worst_in_oneshot(spec: &Spec, asked: bool) -> Option<(ProcessId, Self)> {
        let runs = |id: &ProcessId| {
            let process = &spec.processes[id.index()];
            process.oneshot && !process.left_out
        };
        let each = spec.ids().filter(runs);
        let each = each.map(|id| (id, Play::of(spec, Some(id), asked)));
        each.reduce(|a, b| if b.1.total > a.1.total { b } else { a })
    }
}

/// A simulated shutdown in which every wait takes all of its time.
struct Play {
    spec: Arc<Spec>,
    machine: Machine,
    steps: Steps,
    /// The simulated time. The shutdown begins at zero.
    now: Time,
    events: VecDeque<Event>,
    /// The oneshots that still run when the shutdown begins.
    running: BTreeSet<ProcessId>,
    has_begun: bool,
    has_swept: bool,
}

impl Play {
    /// Simulates a shutdown. `running` is a oneshot that is not complete when the shutdown begins.
    /// `asked` has the same meaning as for [`Timeline::worst`].
    fn of(spec: &Spec, running: Option<ProcessId>, asked: bool) -> Timeline {
        // The oneshot may depend on another oneshot with `condition: started`. The other oneshot
        // may then still run, too.
        let mut running = BTreeSet::from_iter(running);
        for id in spec.order.iter().rev() {
            if running.contains(id) {
                let needed = spec.processes[id.index()].dependencies.iter();
                let started = needed.filter(|(_, condition)| *condition == StartCondition::Started);
                running.extend(started.map(|(on, _)| *on));
            }
        }
        let mut played = spec.clone();
        for process in &mut played.processes {
            (process.autostart, process.timeout) = (true, None);
            process.success_codes = vec![exit_code::OK];
        }
        // An additional process keeps the container alive until the shutdown begins. The end of the
        // additional process can be the cause of the shutdown. This process needs no time to stop.
        let cause = ProcessId(u16::try_from(played.processes.len()).unwrap_or(u16::MAX));
        let Some(first) = spec.processes.first() else { return Timeline::default() };
        played.processes.push(cause_of_shutdown(first.clone()));
        played.order.push(cause);
        played.link();
        let played = Arc::new(played);
        let mut play = Self {
            machine: Machine::new(Arc::clone(&played), Time::default()),
            steps: Steps::default(),
            spec: played,
            now: Time::default(),
            events: [Event::Start].into(),
            running,
            has_begun: false,
            has_swept: false,
        };
        play.settle();
        play.has_begun = true;
        play.events.push_back(match asked {
            true => Event::Signal(play.spec.stop_signals.first().copied().unwrap_or(Signal::TERM)),
            false => Event::Exited { process: cause, end: End::Code(0), remains: false },
        });
        play.settle();
        while let Some(due) = play.machine.next_wakeup().filter(|due| *due > play.now) {
            play.now = due;
            play.events.push_back(Event::Tick);
            play.settle();
        }
        let mut steps: Vec<_> = play.steps.all().collect();
        steps.retain(|step| step.process != Some(cause));
        // The timeline shows the closing of the listeners as a step of its own. The drain ends when
        // this step begins.
        let closes = steps.iter().filter(|step| step.kind == StepKind::Close);
        let closes: BTreeMap<_, _> = closes.map(|step| (step.process, step.begins)).collect();
        for step in steps.iter_mut().filter(|step| step.kind == StepKind::Drain) {
            step.ends = closes.get(&step.process).copied().or(step.ends);
        }
        Timeline::new(&play.spec, steps, play.now.0)
    }

    /// Whether drainit counts the traffic of the process while it drains.
    fn closes(&self, process: ProcessId) -> bool {
        self.spec.processes[process.index()].drain.is_some_and(|drain| drain.closes)
    }

    /// Handles all events of the current time.
    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            let actions = self.machine.handle(self.now, event);
            self.steps.event(self.now, event);
            self.steps.phase(self.now, &self.machine);
            for action in actions {
                self.steps.action(self.now, &action);
                self.answer(&action);
            }
        }
    }

    fn answer(&mut self, action: &Action) {
        let ended = |process, end| Event::Exited { process, end, remains: false };
        let answer = match *action {
            Action::CheckCondition { process, check } => {
                let holds = !self.spec.processes[process.index()].left_out;
                Event::Condition { process, check, holds }
            }
            Action::Spawn(process) => {
                self.events.push_back(Event::Spawned(process));
                let spec = &self.spec.processes[process.index()];
                match (spec.oneshot, spec.readiness_timeout) {
                    (true, _) if self.running.contains(&process) => return,
                    (true, _) => ended(process, End::Code(0)),
                    (false, Some(_)) => Event::Ready(process),
                    (false, None) => return,
                }
            }
            Action::RunHook(hook) if hook.stage == Stage::PreStart || !self.has_begun => {
                Event::HookEnded { hook, success: true }
            }
            // If drainit counts the traffic of a drain, the process must accept the drain.
            // Otherwise the drain would take only `min`. No drain gets a further answer, so each
            // takes all of its time.
            Action::Drain { process, .. } if self.closes(process) => {
                Event::DrainAnswered { process, accepted: true }
            }
            Action::ShutdownBegins { .. } => {
                let processes = self.spec.processes.iter().zip(self.spec.ids());
                let silent = processes.filter(|(process, _)| !process.shows_listener);
                self.events.extend(silent.map(|(_, id)| Event::ListensOnNothing(id)));
                return;
            }
            // A process that hangs is not exiting.
            Action::LookForExit(process) => {
                Event::ExitSeen { process, exits: false, ignores: false }
            }
            Action::Kill(process) => ended(process, End::Signal(Signal::KILL)),
            Action::Sweep(Signal::KILL) => Event::NothingLeft,
            // The second scan does not end, so a long wait for leftovers takes no more steps.
            Action::Sweep(_) if replace(&mut self.has_swept, true) => return,
            Action::Sweep(_) => Event::Swept { any: true },
            Action::Note(note) => {
                if let Note::NotDrained { process, why: WhyUndrained::NoTime } = note {
                    let key = (StepKind::Drain, Some(process));
                    self.steps.begin(self.now, key);
                    self.steps.end(self.now, Some(key));
                }
                self.steps.note(self.now, &note);
                return;
            }
            _ => return,
        };
        self.events.push_back(answer);
    }
}

/// A process without dependencies that needs no time to stop. The end of this process stops the
/// container.
fn cause_of_shutdown(mut process: ProcessSpec) -> ProcessSpec {
    process.retire();
    (process.left_out, process.conditional, process.oneshot) = (false, false, false);
    (process.handover, process.base_id, process.update) = (None, None, Update::default());
    process.restart.policy = RestartPolicy::No;
    process.on_exit = OnExit::SHUTDOWN;
    process
}
