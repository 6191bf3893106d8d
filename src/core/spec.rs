//! What the core knows of a config: only what decisions need.

use std::time::Duration;

use crate::config::{
    Config, Drain, DrainMethod, Hook, Hooks, OnExit, OnlyIf, ProcessKind, Restart, StartCondition,
};
use crate::graph::Graph;
use crate::types::{ProcessId, Signal};

/// The kernel needs a moment to end what was killed; more of it for much memory.
pub(crate) const AFTER_KILL: Duration = Duration::from_millis(200);
const LONGEST_AFTER_KILL: Duration = Duration::from_millis(500);
/// The least pause between two looks for descendants that are left: who forks and ends all the time may be missed by one.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// The whole, from [`Spec::new`].
#[derive(Clone, Debug)]
pub struct Spec {
    /// From T0 to the deadline: grace period − reserve.
    pub window: Duration,
    /// What is kept free after the deadline.
    pub reserve: Duration,
    /// How long not-ready is shown before the drain begins.
    pub readiness_delay: Duration,
    /// The signals that stop the container.
    pub stop_signals: Vec<Signal>,
    /// The container's hooks.
    pub hooks: HookWaits,
    /// One entry a process, by [`ProcessId`].
    pub processes: Vec<ProcessSpec>,
    /// Dependencies before dependents.
    pub order: Vec<ProcessId>,
}

/// What somebody is given to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// At most.
    pub limit: Duration,
    /// What is kept for it by the waits before it.
    pub need: Duration,
}

impl Wait {
    /// Where nothing is declared.
    const DEFAULT: Self = Self { limit: Duration::from_secs(10), need: Duration::from_secs(1) };

    /// Whether it was declared, and is to be kept where there is time.
    #[must_use]
    pub fn is_declared(self) -> bool {
        self.limit == self.need
    }

    /// What was declared is kept in full; else it is up to 10 s of what there is, and 1 s is kept.
    #[must_use]
    pub fn new(declared: Option<Duration>) -> Self {
        declared.map_or(Self::DEFAULT, |limit| Self { limit, need: limit })
    }
}

/// Which hooks there are, and what each is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookWaits {
    /// Before the first start.
    pub pre_start: Option<Wait>,
    /// Before the stop.
    pub pre_stop: Option<Wait>,
    /// After the end.
    pub post_stop: Option<Wait>,
}

/// One process.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// What it needs before it starts.
    pub dependencies: Vec<(ProcessId, StartCondition)>,
    /// Who needs it.
    pub dependents: Vec<ProcessId>,
    /// It is a task that must complete.
    pub oneshot: bool,
    /// It has an `only_if` that cannot hold: it is never started.
    pub left_out: bool,
    /// It has an `only_if`.
    pub conditional: bool,
    /// It has a readiness probe; how long that may take.
    pub readiness_timeout: Option<Duration>,
    /// What its end leads to first.
    pub restart: Restart,
    /// What its end leads to for the container.
    pub on_exit: OnExit,
    /// The container is not ready once it has ended for good with a failure.
    pub required: bool,
    /// Asks it to end.
    pub stop_signal: Signal,
    /// How long it may take to.
    pub stop: Wait,
    /// Its hooks.
    pub hooks: HookWaits,
    /// How long it may be drained.
    pub drain: Option<DrainSpec>,
    /// Signals passed on to it.
    pub forward_signals: Vec<Signal>,
}

/// The bounds of a drain; `min` is never above `time`.
#[derive(Clone, Copy, Debug)]
pub struct DrainSpec {
    /// The longest wait.
    pub time: Duration,
    /// The shortest.
    pub min: Duration,
    /// It can be looked into, and made to refuse new connections at the end.
    pub closes: bool,
    /// The signal that tells it, where its end may be the answer.
    pub told_by: Option<Signal>,
}

impl Spec {
    /// Takes from the config what the core needs.
    #[must_use]
    pub fn new(config: &Config, graph: &Graph) -> Self {
        let processes = config
            .processes
            .iter()
            .zip(graph.dependencies.iter().zip(&graph.dependents))
            .map(|(process, (dependencies, dependents))| ProcessSpec {
                dependencies: dependencies.clone(),
                dependents: dependents.clone(),
                left_out: false,
                oneshot: process.kind == ProcessKind::Oneshot,
                conditional: process.only_if.is_some(),
                readiness_timeout: process.readiness.as_ref().map(|readiness| readiness.timeout),
                restart: process.restart,
                on_exit: process.on_exit,
                required: process.required,
                stop_signal: process.stop_signal,
                stop: Wait::new(process.stop_grace_period),
                hooks: HookWaits::new(&process.hooks),
                drain: process.drain.as_ref().map(DrainSpec::new),
                forward_signals: process.forward_signals.clone(),
            })
            .collect();
        let mut spec = Self {
            window: config.shutdown.window(),
            reserve: config.shutdown.reserve,
            readiness_delay: config.shutdown.readiness_delay,
            stop_signals: config.shutdown.signals.clone(),
            hooks: HookWaits::new(&config.hooks),
            processes,
            order: graph.order.clone(),
        };
        for (process, written) in spec.processes.iter_mut().zip(&config.processes) {
            if written.only_if == Some(OnlyIf::Never) {
                process.leave_out();
            }
        }
        spec
    }

    /// How long after the deadline what survives KILL is still waited for: half of the reserve, but time enough to reap.
    #[must_use]
    pub fn after_deadline(&self) -> Duration {
        (self.reserve / 2).clamp(AFTER_KILL, LONGEST_AFTER_KILL)
    }

    /// Every process id, in file order.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len()).filter_map(|index| u16::try_from(index).ok()).map(ProcessId)
    }
}

impl ProcessSpec {
    /// What is never started takes no time, and no time is kept for it.
    pub fn leave_out(&mut self) {
        self.left_out = true;
        self.readiness_timeout = None;
        self.hooks = HookWaits::default();
        self.drain = None;
        self.stop = Wait::new(Some(Duration::ZERO));
    }
}

impl HookWaits {
    fn new(hooks: &Hooks) -> Self {
        let wait = |hook: &Option<Hook>| hook.as_ref().map(|hook| Wait::new(hook.timeout));
        Self {
            pre_start: wait(&hooks.pre_start),
            pre_stop: wait(&hooks.pre_stop),
            post_stop: wait(&hooks.post_stop),
        }
    }
}

impl DrainSpec {
    fn new(drain: &Drain) -> Self {
        let closes = matches!(drain.method, DrainMethod::Envoy { .. });
        let told_by = match drain.method {
            DrainMethod::Signal(signal) | DrainMethod::Notify(signal) => Some(signal),
            _ => None,
        };
        Self { time: drain.time, min: drain.min, closes, told_by }
    }
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Before the first start.
    PreStart,
    /// Before the stop.
    PreStop,
    /// After the end.
    PostStop,
}

/// Which hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId {
    /// Of which process; `None`: of the container.
    pub process: Option<ProcessId>,
    /// When.
    pub stage: Stage,
}
