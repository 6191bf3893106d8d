//! Plays the worst case with the core and compares every step with the plan.

use std::rc::Rc;
use std::time::Duration;

use crate::scenario::Scenario;
use drainit_core::action::Action;
use drainit_core::event::Event;
use drainit_core::machine::Machine;
use drainit_core::spec::{HookId, HookWaits, Spec, Stage, Wait};
use drainit_core::timeline::{StepKind, Timeline};
use drainit_core::types::{End, OnExit, ProcessId, RestartPolicy, Signal, StartCondition, Time};

type Key = (StepKind, Option<ProcessId>);

/// A run in which every process becomes ready at once and nothing ends before it must.
struct Worst {
    spec: Rc<Spec>,
    machine: Machine,
    now: Time,
    t0: Option<Time>,
    events: std::collections::VecDeque<Event>,
    began: Vec<(Key, Time)>,
    took: Vec<(Key, Duration, Duration)>,
    ended: Option<Time>,
    /// The oneshots that are not complete at T0.
    running: Vec<ProcessId>,
}

impl Worst {
    /// Returns each step with its begin and duration, and the time from T0 to the exit. `cause`: a
    /// stop signal, or the end of a process.
    fn play(spec: Spec, cause: Event) -> (Vec<(Key, Duration, Duration)>, Duration) {
        Self::play_while(spec, cause, Vec::new())
    }

    fn play_while(
        spec: Spec,
        cause: Event,
        running: Vec<ProcessId>,
    ) -> (Vec<(Key, Duration, Duration)>, Duration) {
        let spec = Rc::new(spec);
        let now = Time(Duration::from_secs(1000));
        let mut worst = Self {
            machine: Machine::new(Rc::clone(&spec), now),
            spec,
            now,
            t0: None,
            events: [Event::Start].into(),
            began: Vec::new(),
            took: Vec::new(),
            ended: None,
            running,
        };
        worst.settle();
        worst.t0 = Some(now);
        worst.events.push_back(cause);
        worst.settle();
        while worst.ended.is_none() {
            let due = worst.machine.next_wakeup().unwrap();
            assert!(due > worst.now, "it wants to be woken again at once");
            worst.now = due;
            worst.events.push_back(Event::Tick);
            worst.settle();
        }
        (worst.took, worst.now.since(now))
    }

    /// Handles all events of this moment.
    fn settle(&mut self) {
        while let Some(event) = self.events.pop_front() {
            for action in self.machine.handle(self.now, event) {
                self.carry_out(&action);
            }
        }
    }

    fn begin(&mut self, kind: StepKind, process: Option<ProcessId>) {
        self.began.push(((kind, process), self.now));
    }

    fn end(&mut self, kind: StepKind, process: Option<ProcessId>) {
        let place = self.began.iter().position(|(key, _)| *key == (kind, process));
        let Some(place) = place else { return };
        let (key, since) = self.began.swap_remove(place);
        let t0 = self.t0.unwrap();
        self.took.push((key, since.since(t0), self.now.since(since)));
    }

    fn carry_out(&mut self, action: &Action) {
        match *action {
            Action::CheckCondition(process) => {
                let holds = !self.spec.processes[process.index()].left_out;
                self.events.push_back(Event::Condition { process, holds });
            }
            Action::Spawn(process) => {
                self.events.push_back(Event::Spawned(process));
                let spec = &self.spec.processes[process.index()];
                if self.running.contains(&process) {
                } else if spec.oneshot {
                    let end = End::Code(0);
                    self.events.push_back(Event::Exited { process, end, remains: false });
                } else if spec.readiness_timeout.is_some() {
                    self.events.push_back(Event::Ready(process));
                }
            }
            Action::RunHook(hook) => match hook.stage {
                Stage::PreStart => {
                    self.events.push_back(Event::HookEnded { hook, success: true });
                }
                Stage::PreStop => self.begin(StepKind::PreStop, hook.process),
                Stage::PostStop => {
                    if self.t0.is_none() {
                        // The hook of a completed oneshot.
                        self.events.push_back(Event::HookEnded { hook, success: true });
                    } else {
                        self.begin(StepKind::PostStop, hook.process);
                    }
                }
            },
            Action::AbortHook(HookId { process, stage }) => match stage {
                Stage::PreStart => {}
                Stage::PreStop => self.end(StepKind::PreStop, process),
                Stage::PostStop => self.end(StepKind::PostStop, process),
            },
            Action::Drain { process, .. } => {
                self.begin(StepKind::Drain, Some(process));
                self.events.push_back(Event::DrainAnswered { process, accepted: true });
            }
            Action::CloseListeners(process) => {
                let drain = (StepKind::Drain, Some(process));
                let is_again = self.took.iter().any(|(key, ..)| *key == drain);
                self.end(StepKind::Drain, Some(process));
                self.begin(if is_again { StepKind::Count } else { StepKind::Close }, Some(process));
            }
            Action::EndDrain(process) => {
                for kind in [StepKind::Drain, StepKind::Close, StepKind::Count] {
                    self.end(kind, Some(process));
                }
            }
            Action::Stop { process, .. } => self.begin(StepKind::Stop, Some(process)),
            Action::Kill(process) => {
                self.end(StepKind::Stop, Some(process));
                let end = End::Signal(Signal::KILL);
                self.events.push_back(Event::Exited { process, end, remains: false });
            }
            Action::Sweep(Signal::KILL) => {
                self.end(StepKind::Leftovers, None);
                self.events.push_back(Event::Leftovers(0));
            }
            Action::Sweep(_) => {
                self.begin(StepKind::Leftovers, None);
                self.events.push_back(Event::Leftovers(1));
            }
            Action::Exit(_) => self.ended = Some(self.now),
            _ => {}
        }
    }
}

/// The random graph of a seed, changed so that every process can become ready.
fn startable(seed: u64) -> Spec {
    let mut spec = Spec::clone(&Scenario::new(seed).spec);
    for index in 0..spec.processes.len() {
        let mut needs = std::mem::take(&mut spec.processes[index].dependencies);
        for (on, condition) in &mut needs {
            if !spec.processes[on.index()].oneshot {
                *condition = StartCondition::Ready;
            }
        }
        spec.processes[index].dependencies = needs;
        spec.processes[index].autostart = true;
        if spec.processes[index].conditional && seed.is_multiple_of(2) {
            spec.processes[index].leave_out();
        }
    }
    spec
}

#[track_caller]
fn assert_same(seed: u64, spec: &Spec, cause: Event, but: Option<ProcessId>) {
    let asked = matches!(cause, Event::Signal(_));
    let plan = Timeline::worst(spec, asked);
    let (took, total) = Worst::play(spec.clone(), cause);
    let story = || format!("seed {seed}: {spec:#?}\n{plan:#?}\n{took:#?}");
    assert_eq!(plan.total, total, "{}", story());
    assert!(total <= spec.window + spec.after_deadline(), "{}", story());
    for step in plan.steps.iter().filter(|step| !step.takes.is_zero()) {
        if step.kind == StepKind::ReadinessDelay || step.process.is_some() && step.process == but {
            continue; // covered by the steps after it
        }
        let real = ((step.kind, step.process), step.begins, step.takes);
        assert!(took.contains(&real), "{real:?} is not what happens; {}", story());
    }
    for (key, begins, takes) in took.iter().filter(|(_, _, takes)| !takes.is_zero()) {
        let is_planned = |step: &&drainit_core::timeline::Step| (step.kind, step.process) == *key;
        let step = plan.steps.iter().find(is_planned);
        let planned = step.map(|step| (step.begins, step.takes));
        assert_eq!(planned, Some((*begins, *takes)), "{key:?}; {}", story());
    }
}

fn has_service(spec: &Spec) -> bool {
    spec.processes.iter().any(|process| !process.oneshot && !process.left_out)
}

// holds: S11, S12, S16, S21, S38, S71, S92, S93, S219, C149, C615
#[test]
fn the_plan_after_a_stop_signal_is_exact() {
    for seed in 0..5000 {
        let spec = startable(seed);
        if has_service(&spec) {
            assert_same(seed, &spec, Event::Signal(Signal::TERM), None);
        }
    }
}

// holds: S92, S93, S111
#[test]
fn the_plan_after_an_unasked_end_is_exact() {
    for seed in 0..5000 {
        let mut spec = startable(seed);
        if !has_service(&spec) {
            continue; // without a process there is no readiness delay
        }
        // Its end is the cause: one more process without dependents that takes no time to stop.
        let cause = ProcessId(u16::try_from(spec.processes.len()).unwrap());
        let mut process = spec.processes[0].clone();
        process.dependencies.clear();
        process.dependents.clear();
        (process.oneshot, process.drain, process.readiness_timeout) = (false, None, None);
        (process.left_out, process.conditional) = (false, false);
        process.restart.policy = RestartPolicy::No;
        process.on_exit = OnExit::SHUTDOWN;
        process.stop = Wait::new(Some(Duration::ZERO));
        process.hooks = HookWaits::default();
        spec.processes.push(process);
        spec.order.push(cause);
        let ended = Event::Exited { process: cause, end: End::Code(7), remains: false };
        assert_same(seed, &spec, ended, Some(cause));
    }
}

/// The longest of all runs in which some oneshots are not complete when the stop signal comes.
// holds: S173
#[test]
fn the_plan_while_a_oneshot_runs_is_exact() {
    let (mut compared, mut longer) = (0, 0);
    for seed in 0..5000 {
        let mut spec = startable(seed);
        // Its own timeout may stop it before the drains are over.
        spec.processes.iter_mut().for_each(|process| process.timeout = None);
        let oneshots: Vec<_> = spec
            .ids()
            .filter(|id| {
                let process = &spec.processes[id.index()];
                process.oneshot && !process.left_out
            })
            .collect();
        let Some((_, plan)) = Timeline::worst_in_oneshot(&spec, true) else { continue };
        if !has_service(&spec) {
            continue;
        }
        let real = (1..1_u32 << oneshots.len()).map(|some| {
            let running = oneshots.iter().enumerate().filter(|(at, _)| some & (1 << at) != 0);
            let running = running.map(|(_, id)| *id).collect();
            Worst::play_while(spec.clone(), Event::Signal(Signal::TERM), running).1
        });
        let real = real.max().unwrap_or_default();
        let story = || format!("seed {seed}: {spec:#?}\n{plan:#?}");
        assert!(real <= plan.total, "{real:?} is longer; {}", story());
        let is_beside = spec.processes.iter().any(|process| {
            let is_started = |&(on, condition): &(ProcessId, StartCondition)| {
                spec.processes[on.index()].oneshot && condition == StartCondition::Started
            };
            process.dependencies.iter().any(is_started)
        });
        if !is_beside {
            assert_eq!(real, plan.total, "{}", story());
            compared += 1;
            longer += u32::from(plan.total > Timeline::worst(&spec, true).total);
        }
    }
    assert!(compared > 500 && longer > 20, "{compared} compared, {longer} longer");
}
