//! Questions that several promises ask the history.

use super::*;

impl History<'_> {
    /// When drainit notices that the time `at` has come. If drainit is paused at that time, it
    /// notices this only at the end of the pause.
    pub(crate) fn seen_at(&self, at: Time) -> Time {
        self.start + self.scenario.seen_at(at.since(self.start))
    }

    /// Whether drainit was paused between this time and now.
    pub(crate) fn was_paused(&self, from: Time) -> bool {
        let from = from.since(self.start);
        let is_within =
            |(begin, end): &(Duration, Duration)| from < *end && self.start + *begin < self.now;
        self.scenario.pauses.iter().any(is_within)
    }

    /// Whether drainit was paused after the shutdown, or the drain without a stop, has begun.
    pub(crate) fn has_lost_time(&self) -> bool {
        self.held_at.or(self.t0()).is_some_and(|from| self.was_paused(from))
    }

    pub(crate) fn is_unready(&self) -> bool {
        self.unready_since.is_some()
    }

    pub(crate) fn t0(&self) -> Option<Time> {
        self.shutdown.map(|shutdown| shutdown.t0)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.shutdown.map(|shutdown| shutdown.deadline)
    }

    /// Whether the deadline has come.
    pub(crate) fn is_past_deadline(&self) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= self.now)
    }

    /// Whether somebody has requested the shutdown. True without a shutdown, too.
    pub(crate) fn is_asked(&self) -> bool {
        self.shutdown.is_none_or(|shutdown| shutdown.cause.is_asked())
    }

    /// Whether the shutdown began after the time of faults, so that every process obeys.
    pub(crate) fn has_faultless_shutdown(&self) -> bool {
        let from = self.scenario.faults_end.map(|after| self.start + after);
        self.t0().is_some_and(|t0| from.is_some_and(|from| from <= t0))
    }

    pub(crate) fn of(&self, slot: ProcessId) -> &ProcessSpec {
        self.slots.of(slot)
    }

    /// The definition of a slot's process in the first config.
    pub(crate) fn of_config(&self, slot: ProcessId) -> &ProcessSpec {
        &self.scenario.spec.processes[self.slots.process(slot)]
    }

    pub(crate) fn proc(&self, slot: ProcessId) -> Proc {
        self.procs.get(slot.index()).copied().unwrap_or_default()
    }

    pub(crate) fn is_alive(&self, slot: ProcessId) -> bool {
        self.proc(slot).alive
    }

    /// Whether the process or another member of its process group is alive.
    pub(crate) fn lives(&self, slot: ProcessId) -> bool {
        let proc = self.proc(slot);
        proc.alive || proc.group
    }

    /// Whether the core has given up the wait for the end of a killed process.
    pub(crate) fn survives(&self, slot: ProcessId) -> bool {
        self[slot].survives_at.is_some_and(|at| at <= self.now)
    }

    /// Whether a hook of a process runs, or of the container.
    pub(crate) fn runs_hook(&self, process: impl Into<Option<ProcessId>>, stage: Stage) -> bool {
        self.hooks.contains(&HookId { process: process.into(), stage })
    }

    pub(crate) fn is_current(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Current
    }

    pub(crate) fn is_new(&self, slot: ProcessId) -> bool {
        matches!(self.roles[slot.index()], Role::New { .. })
    }

    /// Whether this instance has not taken over from an instance beside it.
    pub(crate) fn has_not_taken_over(&self, slot: ProcessId) -> bool {
        self.is_new(slot) || self[slot].pending
    }

    /// Whether a newer epoch has taken over from this epoch. Since then this epoch drains by
    /// itself.
    pub(crate) fn is_taken_over(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Leaving && self[slot].taken_over
    }

    /// The slots of a process, without free (retired) slots.
    pub(crate) fn slots_of(&self, process: usize) -> impl Iterator<Item = ProcessId> {
        let slots = self.slots.all().filter(move |id| self.slots.process(*id) == process);
        slots.filter(|id| self.roles[id.index()] != Role::Retired)
    }

    /// The other slots of the process of this slot, without free slots.
    pub(crate) fn beside(&self, slot: ProcessId) -> impl Iterator<Item = ProcessId> {
        self.slots_of(self.slots.process(slot)).filter(move |id| *id != slot)
    }

    /// Whether the process of this slot is being replaced, so that it has two slots.
    pub(crate) fn is_replaced(&self, slot: ProcessId) -> bool {
        self.slots_of(self.slots.process(slot)).count() > 1
    }

    pub(crate) fn is_replacing(&self) -> bool {
        self.slots.all().any(|slot| self.is_replaced(slot))
    }

    /// The slots of the processes that a reload has yet to add.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = ProcessId> {
        self.slots.all().filter(|slot| self.roles[slot.index()] == Role::Reserved)
    }

    /// The slot that begins anew with this action, so that the history of its instances is over.
    pub(crate) fn begins_anew(&self, action: &Action) -> Option<ProcessId> {
        match *action {
            Action::Adopt { slot, .. } => Some(slot),
            Action::Redefine(slot) => Some(slot).filter(|_| self.plans(Placed::Changed(slot))),
            _ => None,
        }
    }

    /// Whether the reload under way has this plan.
    pub(crate) fn plans(&self, placed: Placed) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.plan.contains(&placed))
    }

    /// The slots of all direct and indirect dependents of a slot's process.
    pub(crate) fn above(&self, slot: ProcessId) -> Vec<ProcessId> {
        let mut found = vec![slot];
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            let process = self.slots.process(id);
            for other in self.slots.all() {
                let mut needs = self.of(other).dependencies.iter();
                let is_in_use = self.roles[other.index()] != Role::Retired;
                let is_above = is_in_use && needs.any(|(on, _)| on.index() == process);
                if is_above && !found.contains(&other) {
                    found.push(other);
                }
            }
            next += 1;
        }
        found.split_off(1)
    }

    /// The other living epoch of the process. An epoch that survives SIGKILL counts as long as the
    /// core waits for its end.
    pub(crate) fn other_epoch(&self, slot: ProcessId) -> Option<ProcessId> {
        let is_living =
            |id: &ProcessId| self.proc(*id).is_epoch && self.is_alive(*id) && !self.survives(*id);
        self.beside(slot).find(is_living)
    }

    /// Whether this process follows a process that is being replaced, or for which `waits` is true.
    /// It may follow that process directly or through other running processes.
    pub(crate) fn waits_to_follow(
        &self,
        slot: ProcessId,
        waits: impl Fn(ProcessId) -> bool,
    ) -> bool {
        let mut found = vec![self.slots.process(slot)];
        let mut next = 0;
        while let Some(process) = found.get(next).copied() {
            for on in 0..self.slots.processes() {
                let is_followed = self.slots.current(on).is_some()
                    && self.slots_of(process).any(|slot| self.slots.follows_any(slot, on));
                if is_followed && !found.contains(&on) {
                    let slots: Vec<_> = self.slots_of(on).collect();
                    if slots.len() > 1 || slots.iter().any(|slot| waits(*slot)) {
                        return true;
                    }
                    found.extend(slots.iter().any(|slot| self.is_alive(*slot)).then_some(on));
                }
            }
            next += 1;
        }
        false
    }
}
