//! Records the steps of a shutdown: each wait with its beginning and its end.
//!
//! The longest possible shutdown is simulated, and recorded like a real one, so that drainit can
//! show both side by side.

use alloc::collections::BTreeMap;

use crate::prelude::*;
use crate::timeline::{Key, ShutdownStep, StepKind};
use drainit_core::action::Action;
use drainit_core::event::Event;
use drainit_core::machine::Machine;
use drainit_core::note::Note;
use drainit_core::phase::Phase;
use drainit_core::spec::{HookId, Stage};
use drainit_core::types::{ProcessId, Time};

#[derive(Debug, Default)]
pub(crate) struct Steps {
    over: Vec<ShutdownStep>,
    open: BTreeMap<Key, ShutdownStep>,
    /// The times at which the container began to drain, to stop, and to finish.
    phases: [Option<Time>; 3],
    /// Whether the shutdown, or a requested drain, has begun.
    pub(super) is_shutdown: bool,
}

impl Steps {
    /// The names of the phases so far, and the times at which they began.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&'static str, Time)> {
        let named = ["draining", "stopping", "finishing"].into_iter().zip(self.phases);
        named.filter_map(|(name, begins)| Some((name, begins?)))
    }

    /// All steps. The steps that are not over come last.
    pub(crate) fn all(&self) -> impl Iterator<Item = ShutdownStep> {
        self.over.iter().chain(self.open.values()).copied()
    }

    /// Records the phase of the core after an event.
    pub(crate) fn phase(&mut self, now: Time, machine: &Machine) {
        let (delays, counts) = match machine.phase() {
            Phase::Draining(draining) => (draining.delays(machine.state()), draining.counts()),
            _ => (false, false),
        };
        for (kind, waits) in [(StepKind::ReadinessDelay, delays), (StepKind::Count, counts)] {
            match waits {
                true => self.begin(now, (kind, None)),
                false => self.end(now, Some((kind, None))),
            }
        }
        let place = match machine.phase() {
            Phase::Running(_) | Phase::Done => return,
            Phase::Draining(_) => 0,
            Phase::Stopping(_) => 1,
            Phase::Finishing(_) => 2,
        };
        self.phases[place].get_or_insert(now);
    }

    pub(crate) fn event(&mut self, now: Time, event: Event) {
        match event {
            Event::HookEnded { hook, .. } => self.end(now, hook_key(hook)),
            Event::NothingLeft => self.end(now, Some((StepKind::Leftovers, None))),
            _ => {}
        }
    }

    pub(crate) fn action(&mut self, now: Time, action: &Action) {
        match *action {
            Action::RunHook(hook) => {
                if let Some(key) = hook_key(hook) {
                    // The container's `post_stop` hook runs only after the wait for leftover
                    // processes.
                    if key == (StepKind::PostStop, None) {
                        self.end(now, Some((StepKind::Leftovers, None)));
                    }
                    self.begin(now, key);
                }
            }
            Action::AbortHook(hook) => self.end(now, hook_key(hook)),
            Action::CloseListeners(process) => {
                let is_draining = self.open.contains_key(&(StepKind::Drain, Some(process)));
                let kind = if is_draining { StepKind::Close } else { StepKind::Count };
                self.begin(now, (kind, Some(process)));
            }
            Action::EndDrain(process) => {
                self.end(now, Some((StepKind::Close, Some(process))));
                self.end(now, Some((StepKind::Count, Some(process))));
            }
            Action::Sweep(_) => self.begin(now, (StepKind::Leftovers, None)),
            _ => {}
        }
    }

    pub(crate) fn note(&mut self, now: Time, note: &Note) {
        match *note {
            Note::DrainRequested | Note::ShutdownBegan { .. } => self.begin_shutdown(),
            Note::Started(process) => self.started(process),
            Note::DrainBegan { process, .. } => self.begin(now, (StepKind::Drain, Some(process))),
            Note::DrainOver { process, .. } => {
                self.end(now, Some((StepKind::Drain, Some(process))))
            }
            Note::Stopping { process, .. } | Note::Killed { process, .. } => {
                self.begin(now, (StepKind::Stop, Some(process)));
            }
            Note::GroupRemains(process) => self.remains(now, process),
            Note::Stopped { process, .. } | Note::GroupGone { process, .. } => {
                self.end(now, Some((StepKind::Stop, Some(process))));
            }
            _ => {}
        }
    }

    /// Begins the record of a shutdown, or of a drain that is requested before it. A step that is
    /// already over is forgotten, because it belongs to an earlier request. A step that is under
    /// way belongs to the shutdown.
    fn begin_shutdown(&mut self) {
        if !core::mem::replace(&mut self.is_shutdown, true) {
            self.over.clear();
        }
    }

    /// Forgets the earlier stop of a process that has started again.
    fn started(&mut self, process: ProcessId) {
        self.over.retain(|step| step.key() != (StepKind::Stop, Some(process)));
    }

    /// Continues the stop of a process: the process has ended, but other members of its process
    /// group live. If no stop is known, a new one begins at `began`.
    pub(super) fn remains(&mut self, began: Time, process: ProcessId) {
        let key = (StepKind::Stop, Some(process));
        match self.over.iter().rposition(|step| step.key() == key) {
            Some(place) => {
                let step = self.over.swap_remove(place);
                self.open.insert(key, ShutdownStep { ends: None, ..step });
            }
            None => self.begin(began, key),
        }
    }

    /// Begins a step. Does nothing if this step is already under way.
    pub(super) fn begin(&mut self, now: Time, (kind, process): Key) {
        let step = ShutdownStep { kind, process, begins: now, ends: None };
        self.open.entry(step.key()).or_insert(step);
    }

    pub(super) fn end(&mut self, now: Time, key: Option<Key>) {
        let step = key.and_then(|key| self.open.remove(&key));
        // Before a shutdown, only stops are kept after their end, because a stop may continue with
        // the other members of the process group.
        let step = step.filter(|step| self.is_shutdown || step.kind == StepKind::Stop);
        self.over.extend(step.map(|step| ShutdownStep { ends: Some(now), ..step }));
    }
}

/// The step of a hook; `None` for a `pre_start` hook, which is not part of a shutdown.
fn hook_key(hook: HookId) -> Option<Key> {
    match hook.stage {
        Stage::PreStart => None,
        Stage::PreStop => Some((StepKind::PreStop, hook.process)),
        Stage::PostStop => Some((StepKind::PostStop, hook.process)),
    }
}
