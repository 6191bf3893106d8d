//! The rules of the seam between the core and the supervisor, where the simulation of the core
//! ends. Debug builds check them at every step; a breach is a panic, which shows the last steps and
//! ends the run with 70.
//!
//! - The core is pure: a second one that gets the same events at the same times decides the same.
//! - Its actions are carried out in its order, each once.
//! - Each [`Fact`] is reported once, and nothing of an instance that is gone.
//! - Nothing begins after a stop signal that has arrived, whether drainit has read it or not.
//! - Time does not go back.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::machine::Machine;
use crate::core::slots::Placed;
use crate::core::spec::{HookId, Spec, Stage};
use crate::os::sys;
use crate::os::sys::SignalSet;
use crate::types::{ProcessId, Time};

/// The number of steps that a failure shows.
const SHOWN: usize = 40;

pub(crate) struct Rules {
    replica: Machine,
    now: Time,
    /// Decided and not carried out yet.
    left: VecDeque<Action>,
    /// How often each fact may still be reported.
    due: BTreeMap<Fact, usize>,
    /// The next event answers a sweep.
    sweeps: bool,
    stop_arrived: bool,
    last: VecDeque<(Time, Step)>,
}

/// A fact that is reported at most once each time that it becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fact {
    Start,
    Condition(ProcessId),
    /// It was started.
    Spawned(ProcessId),
    /// It was not started: a stop signal has arrived before.
    Unstarted(ProcessId),
    HookEnded(HookId),
    Ready(ProcessId),
    DrainAnswered(ProcessId),
    ListenersClosed(ProcessId),
    /// Due as long as the instance lives.
    Exited(ProcessId),
    GroupGone(ProcessId),
}

#[derive(Debug)]
enum Step {
    #[expect(dead_code, reason = "shown by a failure")]
    Event(Event, Vec<Action>),
    #[expect(dead_code, reason = "shown by a failure")]
    Reload(Vec<Placed>, Vec<Action>),
}

impl Rules {
    /// Begins with a machine that has handled nothing.
    pub(crate) fn new(machine: &Machine) -> Self {
        let state = machine.state();
        Self {
            replica: Machine::new(state.spec.clone(), state.now),
            now: state.now,
            left: VecDeque::new(),
            due: BTreeMap::from([(Fact::Start, 1)]),
            sweeps: false,
            stop_arrived: false,
            last: VecDeque::new(),
        }
    }

    /// Checks an event that the machine has just handled, perhaps early.
    pub(crate) fn event(&mut self, now: Time, event: Event, is_early: bool, machine: &Machine) {
        let actions = match is_early {
            true => self.replica.handle_early(now, event),
            false => self.replica.handle(now, event),
        };
        self.step(now, Step::Event(event, actions.clone()), actions, machine);
        let is_answer = matches!(event, Event::Leftovers(_) | Event::Tick);
        let swept = std::mem::take(&mut self.sweeps);
        self.require(is_answer || !swept, "the next event after a sweep is its answer");
        self.report(event);
    }

    /// Checks a reload that the machine has just taken.
    pub(crate) fn reload(&mut self, now: Time, spec: &Spec, plan: &[Placed], machine: &Machine) {
        let actions = self.replica.reload(now, spec, plan).unwrap_or_default();
        self.step(now, Step::Reload(plan.to_vec(), actions.clone()), actions, machine);
    }

    fn step(&mut self, now: Time, step: Step, actions: Vec<Action>, machine: &Machine) {
        self.last.truncate(SHOWN - 1);
        self.last.push_front((now, step));
        self.require(self.left.is_empty(), "all actions are carried out before the next step");
        self.left = actions.into();
        self.require(now >= self.now, "time does not go back");
        self.now = now;
        let (is, should) = (machine.state(), self.replica.state());
        let differs = |id: &ProcessId| is.life(*id) != should.life(*id);
        let is_same = machine.next_wakeup() == self.replica.next_wakeup()
            && is.touched == should.touched
            && !is.touched.iter().any(differs);
        self.require(is_same, "the same events lead to the same state");
        // All of it takes too long at every step.
        let is_last = self.left.iter().any(|action| matches!(action, Action::Exit(_)));
        let is_same = || format!("{machine:?}") == format!("{:?}", self.replica);
        self.require(!is_last || is_same(), "the same events lead to the same end");
    }

    /// Whether a stop signal was read just now. The core need not know it yet.
    pub(crate) fn stop_arrived(&mut self, arrived: bool) {
        self.stop_arrived |= arrived;
    }

    /// Checks an action that is about to be carried out.
    pub(crate) fn action(&mut self, action: &Action, stop_signals: SignalSet) {
        let decided = self.left.pop_front();
        self.require(
            decided.as_ref() == Some(action),
            &format!("{decided:?} is the next action, and not {action:?}"),
        );
        if let Action::Spawn(_) | Action::RunHook(_) = action {
            self.stop_arrived(sys::pending_signals() & stop_signals != 0);
        }
        let fact = match *action {
            Action::CheckCondition(process) => Fact::Condition(process),
            Action::Spawn(process) if self.stop_arrived => Fact::Unstarted(process),
            Action::Spawn(process) => Fact::Spawned(process),
            Action::RunHook(HookId { stage: Stage::PreStart, .. }) if self.stop_arrived => return,
            Action::RunHook(hook) => Fact::HookEnded(hook),
            Action::AbortHook(hook) => {
                self.due.remove(&Fact::HookEnded(hook));
                return;
            }
            Action::Drain { process, .. } => Fact::DrainAnswered(process),
            Action::CloseListeners(process) => Fact::ListenersClosed(process),
            Action::Sweep(_) => return self.sweeps = true,
            Action::Adopt { slot, .. } => return self.forget(slot),
            Action::Exit(_) => {
                let is_answered = |fact: &Fact| {
                    !matches!(fact, Fact::Condition(_) | Fact::Spawned(_) | Fact::Unstarted(_))
                };
                let is_over = self.left.is_empty() && self.due.keys().all(is_answered);
                return self.require(is_over, "the exit comes last, with every start answered");
            }
            _ => return,
        };
        self.becomes_due(fact);
    }

    /// Checks that an event may be reported, and what may be reported after it.
    fn report(&mut self, event: Event) {
        match event {
            Event::Start => self.take(&[Fact::Start]),
            Event::Condition { process, .. } => self.take(&[Fact::Condition(process)]),
            Event::Spawned(process) => {
                self.take(&[Fact::Spawned(process)]);
                self.forget(process);
                self.becomes_due(Fact::Ready(process));
                self.becomes_due(Fact::Exited(process));
            }
            Event::SpawnFailed { process, .. } => {
                let hook = HookId { process: Some(process), stage: Stage::PreStart };
                let facts = [Fact::Spawned(process), Fact::Unstarted(process)];
                self.take(&[facts[0], facts[1], Fact::HookEnded(hook)]);
            }
            Event::HookEnded { hook, .. } => self.take(&[Fact::HookEnded(hook)]),
            Event::Ready(process) => self.take(&[Fact::Ready(process)]),
            Event::DrainAnswered { process, .. } => self.take(&[Fact::DrainAnswered(process)]),
            Event::ListenersClosed(process) => self.take(&[Fact::ListenersClosed(process)]),
            Event::Exited { process, remains, .. } => {
                self.take(&[Fact::Exited(process)]);
                self.forget(process);
                if remains {
                    self.becomes_due(Fact::GroupGone(process));
                }
            }
            Event::GroupGone(process) => self.take(&[Fact::GroupGone(process)]),
            Event::Drained(process)
            | Event::DrainSample { process, .. }
            | Event::LivenessProbed { process, .. }
            | Event::Unhealthy(process)
            | Event::NotLive(process)
            | Event::TimeoutExtended { process, .. } => {
                let lives = self.due.contains_key(&Fact::Exited(process));
                self.require(lives, "nothing is reported of an instance that is gone");
            }
            Event::FileChanged { process, watch } => {
                let watched = self.replica.state().process(process).watch.len();
                self.require(watch < watched, "only a watched file is reported");
            }
            Event::Signal(_)
            | Event::SignalHandled
            | Event::DrainRequested
            | Event::Requested { .. }
            | Event::Leftovers(_)
            | Event::Tick => {}
        }
    }

    fn becomes_due(&mut self, fact: Fact) {
        *self.due.entry(fact).or_default() += 1;
    }

    /// Takes the first of these facts that is due.
    fn take(&mut self, facts: &[Fact]) {
        let due = facts.iter().find_map(|fact| Some((fact, self.due.remove(fact)?)));
        self.require(due.is_some(), &format!("one of {facts:?} is due"));
        if let Some((fact, count)) = due
            && count > 1
        {
            self.due.insert(*fact, count - 1);
        }
    }

    /// Forgets what an instance could report.
    fn forget(&mut self, process: ProcessId) {
        for fact in [Fact::Ready, Fact::DrainAnswered, Fact::ListenersClosed, Fact::Exited] {
            self.due.remove(&fact(process));
        }
        self.due.remove(&Fact::GroupGone(process));
    }

    fn require(&self, holds: bool, rule: &str) {
        let story = || {
            self.last.iter().rev().fold(String::new(), |mut story, (at, step)| {
                let _ = writeln!(story, "{:>12.6} {step:?}", at.0.as_secs_f64());
                story
            })
        };
        assert!(holds, "a rule is broken: {rule}; the last steps:\n{}", story());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;
    use std::time::Duration;

    use super::*;
    use crate::core::event::Load;
    use crate::load::testing::load;
    use crate::types::{End, Signal};

    const A: ProcessId = ProcessId(0);
    const B: ProcessId = ProcessId(1);

    struct Run {
        machine: Machine,
        rules: Rules,
        now: Time,
    }

    impl Run {
        /// Begins with a process that runs.
        fn new() -> Self {
            let text = "processes: {a: {command: [a], readiness: {unix: /a}, liveness: {unix: /a}}, b: {command: [b]}}";
            let loaded = load(&[text], &[]).unwrap();
            let spec = Rc::new(Spec::new(&loaded.config, &loaded.graph));
            let now = Time(Duration::from_secs(1000));
            let machine = Machine::new(spec, now);
            let mut run = Self { rules: Rules::new(&machine), machine, now };
            let actions = run.handle(Event::Start);
            run.carry_out(&actions);
            run.all(Event::Spawned(A));
            run
        }

        fn handle(&mut self, event: Event) -> Vec<Action> {
            let actions = self.machine.handle(self.now, event);
            self.rules.event(self.now, event, false, &self.machine);
            actions
        }

        fn carry_out<'a>(&mut self, actions: impl IntoIterator<Item = &'a Action>) {
            actions.into_iter().for_each(|action| self.rules.action(action, 0));
        }

        fn all(&mut self, event: Event) {
            let actions = self.handle(event);
            self.carry_out(&actions);
        }
    }

    /// The words of a rule, and steps that break it.
    type Breach = (&'static str, fn(&mut Run));

    const GONE: Event = Event::Exited { process: A, end: End::Code(0), remains: false };

    const BREACHES: &[Breach] = &[
        ("lead to the same state", |run| {
            run.machine.handle(run.now, Event::Ready(A));
            run.all(Event::Tick);
        }),
        ("all actions are carried out", |run| {
            run.handle(Event::Ready(A));
            run.handle(Event::Tick);
        }),
        ("is the next action", |run| {
            let actions = run.handle(Event::Signal(Signal::TERM));
            run.carry_out(actions.iter().rev());
        }),
        ("is the next action", |run| {
            let actions = run.handle(Event::Ready(A));
            run.carry_out(actions.iter().chain(&actions));
        }),
        ("[Start] is due", |run| run.all(Event::Start)),
        ("[Spawned(ProcessId(0))] is due", |run| run.all(Event::Spawned(A))),
        ("[Ready(ProcessId(0))] is due", |run| {
            run.all(Event::Ready(A));
            run.all(Event::Ready(A));
        }),
        ("[Exited(ProcessId(0))] is due", |run| {
            run.all(GONE);
            run.all(GONE);
        }),
        ("[GroupGone(ProcessId(0))] is due", |run| {
            run.all(GONE);
            run.all(Event::GroupGone(A));
        }),
        ("an instance that is gone", |run| {
            run.all(GONE);
            run.all(Event::DrainSample { process: A, load: Load::default() });
        }),
        ("[Spawned(ProcessId(1))] is due", |run| {
            // The start of `b`, which a stop signal has overtaken.
            let actions = [Action::Spawn(B)];
            run.rules.left = actions.clone().into();
            run.rules.due.clear();
            run.rules.stop_arrived(true);
            run.carry_out(&actions);
            run.all(Event::Spawned(B));
        }),
        ("the exit comes last", |run| run.rules.left = [Action::Exit(0), Action::Unready].into()),
        ("lead to the same end", |run| {
            run.all(Event::Ready(A));
            // Only counted.
            let probed = Event::LivenessProbed { process: A, is_alive: false };
            run.machine.handle(run.now, probed);
            run.all(Event::Spawned(B));
            run.all(Event::Signal(Signal::TERM));
            run.all(GONE);
            run.all(Event::Exited { process: B, end: End::Code(0), remains: false });
            run.all(Event::Leftovers(0));
        }),
        ("time does not go back", |run| {
            run.now = Time(Duration::from_secs(999));
            run.all(Event::Tick);
        }),
    ];

    #[test]
    fn each_rule_can_be_broken() {
        for (rule, breach) in BREACHES {
            let mut run = Run::new();
            let broken = catch_unwind(AssertUnwindSafe(|| {
                breach(&mut run);
                let left: Vec<_> = run.rules.left.iter().cloned().collect();
                run.carry_out(&left);
            }));
            let message = broken.err().and_then(|panic| panic.downcast::<String>().ok());
            let message = message.unwrap_or_default();
            assert!(message.contains(rule), "not {rule}: {message}");
        }
    }
}
