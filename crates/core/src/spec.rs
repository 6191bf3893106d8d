//! The part of a config that the core needs for its decisions.

use core::time::Duration;

use drainit_derive::Named;

use crate::prelude::*;
use crate::types::{
    AFTER_KILL, End, ExitPolicy, OnExit, ProcessId, Restart, Signal, StartCondition, Update,
    WatchAction,
};

/// The longest wait after the deadline: a process with much memory takes longer than [`AFTER_KILL`]
/// to end.
const LONGEST_AFTER_KILL: Duration = Duration::from_millis(500);
/// The shortest pause between two scans for leftovers. A single scan may miss a process that forks
/// and ends all the time.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// How much longer than `--parent-shutdown-time-s` an old epoch of an Envoy may take to end. This
/// is longer than the 5 s between two reads of its statistics.
pub const HANDOVER_MARGIN: Duration = Duration::from_secs(10);

/// The container and its processes.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Time from T0 to the deadline: grace period − reserve.
    pub window: Duration,
    /// Time that is kept free after the deadline.
    pub reserve: Duration,
    /// The time for which `/readyz` answers 503 before the drains begin.
    pub readiness_delay: Duration,
    /// The time from T0 for which `/readyz` stays good and no drain may end.
    pub unready_delay: Duration,
    pub stop_signals: Vec<Signal>,
    /// Hooks of the container.
    pub hooks: HookWaits,
    /// The processes. The index is the [`ProcessId`].
    pub processes: Vec<ProcessSpec>,
    /// All processes, dependencies before dependents.
    pub order: Vec<ProcessId>,
}

/// The time that a process or a hook gets to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The longest wait.
    pub limit: Duration,
    /// The time that earlier waits reserve for it.
    pub need: Duration,
}

impl Wait {
    /// The wait if the config declares no time.
    pub const DEFAULT: Self = Self { limit: Duration::from_secs(10), need: Duration::from_secs(1) };

    /// Whether the config declares the time. A declared time is kept in full if it fits.
    pub fn is_declared(self) -> bool {
        self.limit == self.need
    }

    /// Reserves a declared time in full. Without one, 1 s is reserved, and up to 10 s are used.
    pub fn new(declared: Option<Duration>) -> Self {
        declared.map_or(Self::DEFAULT, |limit| Self { limit, need: limit })
    }
}

/// The time of each hook; `None` if there is no such hook.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookWaits {
    pub pre_start: Option<Wait>,
    pub pre_stop: Option<Wait>,
    pub post_stop: Option<Wait>,
}

#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The dependencies, each with the condition that the start needs.
    pub dependencies: Vec<(ProcessId, StartCondition)>,
    /// The processes that depend on this one.
    pub dependents: Vec<ProcessId>,
    /// The dependents that are restarted when a new instance of this process has met the condition.
    pub followers: Vec<(ProcessId, StartCondition)>,
    pub oneshot: bool,
    /// The exit codes that do not count as a failure.
    pub success_codes: Vec<u8>,
    /// The time after which a oneshot is stopped and has failed.
    pub timeout: Option<Duration>,
    /// Whether its `only_if` can never hold, so that it is never started.
    pub left_out: bool,
    /// Whether it starts with the container, or with the reload that adds it. Otherwise the process
    /// stays down as if a request had stopped it, the container is ready without it, and it is not
    /// `required`.
    pub autostart: bool,
    /// Whether an `only_if` is evaluated at its start.
    pub conditional: bool,
    /// The limit of its readiness probe, if it has one.
    pub readiness_timeout: Option<Duration>,
    /// The number of consecutive failures after which its liveness check has failed, if it has one.
    pub liveness_retries: Option<u32>,
    /// How a new instance replaces it.
    pub update: Update,
    /// With `hot-restart`: how long an old epoch lives beside this one, before this one ends it.
    pub handover: Option<Duration>,
    /// The base ID of an Envoy with `hot-restart`, by which its epochs find each other.
    pub base_id: Option<String>,
    pub restart: Restart,
    pub on_exit: OnExit,
    /// Whether the container is not ready once this process has failed for good.
    pub required: bool,
    pub stop_signal: Signal,
    /// The time from `stop_signal` to SIGKILL.
    pub stop: Wait,
    pub hooks: HookWaits,
    pub drain: Option<DrainSpec>,
    /// Whether drainit holds listening sockets for it.
    pub listens: bool,
    pub forward_signals: Vec<Signal>,
    /// For each watched file, the action that follows a change.
    pub watch: Vec<WatchAction>,
}

/// The bounds of a drain; `min` is at most `time`.
#[derive(Clone, Copy, Debug)]
pub struct DrainSpec {
    /// The longest wait.
    pub time: Duration,
    /// The shortest wait.
    pub min: Duration,
    /// Whether its connections can be counted, and it can be made to refuse new ones (Envoy).
    pub closes: bool,
    /// The drain is over at this number of open connections, or requests.
    pub exit_at: u64,
    /// The signal that asks the process to drain, if its end may be the answer.
    pub signal: Option<Signal>,
}

impl Spec {
    /// The wait after the deadline for a process that survives SIGKILL: half of the reserve, within
    /// limits.
    pub fn after_deadline(&self) -> Duration {
        (self.reserve / 2).clamp(AFTER_KILL, LONGEST_AFTER_KILL)
    }

    /// All direct and indirect dependents.
    pub fn above(&self, of: ProcessId) -> Vec<ProcessId> {
        let mut seen = vec![false; self.processes.len()];
        let mut found = vec![of];
        let mut next = 0;
        while let Some(&id) = found.get(next) {
            for &dependent in &self.processes[id.index()].dependents {
                if !core::mem::replace(&mut seen[dependent.index()], true) {
                    found.push(dependent);
                }
            }
            next += 1;
        }
        found.remove(0);
        found
    }

    /// All slots. Without replacements these are the processes in file order.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len()).filter_map(|index| u16::try_from(index).ok()).map(ProcessId)
    }
}

impl ProcessSpec {
    /// Whether this end does not count as a failure.
    pub fn is_success(&self, end: End) -> bool {
        matches!(end, End::Code(code) if self.success_codes.contains(&code))
    }

    /// Whether the container continues without the process even if its start fails.
    pub fn may_be_missing(&self) -> bool {
        !self.required && self.on_exit.failure == ExitPolicy::Ignore
    }

    /// Whether a new instance with this definition starts beside an instance with the `old`
    /// definition. An Envoy takes over only from an Envoy with `hot-restart` and the same base ID.
    pub fn overlaps(&self, old: &Self) -> bool {
        self.update.overlaps() && !self.oneshot && !self.is_apart(old)
    }

    /// Whether this is an Envoy that cannot take over from an instance with the `old` definition.
    pub fn is_apart(&self, old: &Self) -> bool {
        self.update == Update::HotRestart && self.base_id != old.base_id
    }

    /// Turns this definition into that of a free slot.
    pub(crate) fn retire(&mut self) {
        self.leave_out();
        self.dependencies.clear();
        self.dependents.clear();
        self.followers.clear();
        self.forward_signals.clear();
        self.watch.clear();
        (self.listens, self.required, self.liveness_retries) = (false, false, None);
    }

    /// Reserves no time for a process that is never started.
    pub fn leave_out(&mut self) {
        self.left_out = true;
        self.autostart = true;
        self.readiness_timeout = None;
        self.hooks = HookWaits::default();
        self.drain = None;
        self.stop = Wait::new(Some(Duration::ZERO));
    }
}

/// The stage of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Named)]
pub enum Stage {
    PreStart,
    PreStop,
    PostStop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId {
    /// `None` for a hook of the container.
    pub process: Option<ProcessId>,
    pub stage: Stage,
}
