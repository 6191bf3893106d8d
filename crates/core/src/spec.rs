//! The part of a config that decisions need.

use core::time::Duration;

use drainit_derive::Named;

use crate::prelude::*;
use crate::types::{
    AFTER_KILL, End, ExitPolicy, OnExit, ProcessId, Restart, Signal, StartCondition, Update,
    WatchAction,
};

/// A process with much memory needs more than [`AFTER_KILL`].
const LONGEST_AFTER_KILL: Duration = Duration::from_millis(500);
/// The shortest pause between two scans for leftover descendants. A single scan may miss a process
/// that forks and ends all the time.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// The time after `--parent-shutdown-time-s` in which an old epoch of an Envoy has to end. Longer than
/// the 5 s between two reads of its statistics.
pub const HANDOVER_MARGIN: Duration = Duration::from_secs(10);

/// The container.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Time from T0 to the deadline: grace period − reserve.
    pub window: Duration,
    /// Time that is kept free after the deadline.
    pub reserve: Duration,
    /// `/readyz` answers 503 this long before the drain begins.
    pub readiness_delay: Duration,
    /// `/readyz` stays good this long after T0, and no drain is over before.
    pub unready_delay: Duration,
    pub stop_signals: Vec<Signal>,
    /// Hooks of the container.
    pub hooks: HookWaits,
    /// By [`ProcessId`].
    pub processes: Vec<ProcessSpec>,
    /// Dependencies before dependents.
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
    /// Without a declared time.
    pub const DEFAULT: Self = Self { limit: Duration::from_secs(10), need: Duration::from_secs(1) };

    /// Whether the config declares it, so that it is kept in full if it fits.
    pub fn is_declared(self) -> bool {
        self.limit == self.need
    }

    /// A declared time is reserved in full; otherwise 1 s is reserved, and up to 10 s are used.
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
    /// The processes that it needs before its start.
    pub dependencies: Vec<(ProcessId, StartCondition)>,
    /// The processes that need it.
    pub dependents: Vec<ProcessId>,
    /// Those of them that are restarted when a new instance of it has met the condition.
    pub followers: Vec<(ProcessId, StartCondition)>,
    pub oneshot: bool,
    /// The exit codes that do not count as a failure.
    pub success_codes: Vec<u8>,
    /// The time after which a oneshot is stopped and has failed.
    pub timeout: Option<Duration>,
    /// Its `only_if` cannot hold: it is never started.
    pub left_out: bool,
    /// It starts with the container, or with the reload that adds it. Otherwise it is held as if a
    /// request had stopped it, and the container is ready without it; it is not `required` then.
    pub autostart: bool,
    /// It has an `only_if` that is evaluated at its start.
    pub conditional: bool,
    /// The limit of its readiness probe, if it has one.
    pub readiness_timeout: Option<Duration>,
    /// The number of failures in a row after which its liveness check has failed, if it has one.
    pub liveness_retries: Option<u32>,
    /// How a new instance replaces it.
    pub update: Update,
    /// With hot-restart: the longest time that an old instance lives beside this one, which ends it.
    pub handover: Option<Duration>,
    /// The base ID of an Envoy that is hot-restarted, by which its epochs find each other.
    pub base_id: Option<String>,
    pub restart: Restart,
    pub on_exit: OnExit,
    /// The container is not ready once this process has ended for good with a failure.
    pub required: bool,
    pub stop_signal: Signal,
    /// Time from `stop_signal` to SIGKILL.
    pub stop: Wait,
    pub hooks: HookWaits,
    pub drain: Option<DrainSpec>,
    /// drainit holds listening sockets for it.
    pub listens: bool,
    pub forward_signals: Vec<Signal>,
    /// The action that follows a change, for each watched file.
    pub watch: Vec<WatchAction>,
}

/// The bounds of a drain; `min` is at most `time`.
#[derive(Clone, Copy, Debug)]
pub struct DrainSpec {
    /// The longest wait.
    pub time: Duration,
    /// The shortest wait.
    pub min: Duration,
    /// Its connections can be counted, and it can be made to refuse new ones (Envoy).
    pub closes: bool,
    /// It is quiet with at most this number of connections (or requests).
    pub exit_at: u64,
    /// The signal that asks the process to drain, if the process may answer by its end.
    pub signal: Option<Signal>,
}

impl Spec {
    /// The wait after the deadline for a process that survives SIGKILL: half of the reserve, but
    /// long enough to reap.
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

    /// All slots; without a replacement the processes in file order.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len()).filter_map(|index| u16::try_from(index).ok()).map(ProcessId)
    }
}

impl ProcessSpec {
    /// Whether an end does not count as a failure.
    pub fn is_success(&self, end: End) -> bool {
        matches!(end, End::Code(code) if self.success_codes.contains(&code))
    }

    /// Whether the container continues without the process even if its start fails.
    pub fn may_be_missing(&self) -> bool {
        !self.required && self.on_exit.failure == ExitPolicy::Ignore
    }

    /// Whether an instance of it starts beside one of this definition, to replace it. An Envoy takes
    /// over from one that has the same base ID, and was started for it.
    pub fn overlaps(&self, old: &Self) -> bool {
        self.update.overlaps() && !self.oneshot && !self.is_apart(old)
    }

    /// Whether it is an Envoy that cannot take over from one of this definition.
    pub fn is_apart(&self, old: &Self) -> bool {
        self.update == Update::HotRestart && self.base_id != old.base_id
    }

    /// Makes this the definition of a slot without a process.
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
