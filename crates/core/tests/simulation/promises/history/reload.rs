//! Records reloads and replacements.

use super::*;

impl History<'_> {
    pub(crate) fn record_reload(&mut self, config: &NewConfig, plan: &[Placed]) {
        let changed = plan.iter().zip(&config.processes);
        let changed = changed.filter(|(placed, _)| !matches!(placed, Placed::Same(_)));
        let left = changed.map(|(_, (process, _))| *process).collect();
        self.slots.reload(config, plan);
        let added = config.processes.iter().zip(&config.spec.processes).zip(plan);
        for ((process, of), _) in added.filter(|(_, placed)| matches!(placed, Placed::New(_))) {
            self.set_down(process.0, !of.autostart);
        }
        self.reload = Some(Reloading { plan: plan.to_vec(), left, ..Reloading::default() });
        self.has_reloaded = true;
        self.window = config.spec.window;
    }

    /// Frees slots before an action to which they must be free.
    pub(crate) fn free_slots(&mut self, action: &Action) {
        match action {
            Action::Adopt { .. }
            | Action::Note(
                Note::Adding(_)
                | Note::Removing(_)
                | Note::Follows { .. }
                | Note::Replacing { overlaps: false, .. },
            ) => self.retire(),
            Action::Note(Note::ReloadDone | Note::ReloadFailed { .. }) => {
                self.retire();
                // The slots of processes that the reload has not added are free.
                for slot in self.reserved().collect::<Vec<_>>() {
                    self.roles[slot.index()] = Role::Retired;
                }
            }
            _ => {}
        }
    }

    /// Frees the slots whose instances are gone for good.
    pub(crate) fn retire(&mut self) {
        for slot in self.slots.all().filter(|_| self.unready_since.is_none()) {
            let has_hook = self.hooks.iter().any(|hook| hook.process == Some(slot));
            let role = self.roles[slot.index()];
            if role == Role::Leaving && !self.lives(slot) && !has_hook {
                self.roles[slot.index()] = Role::Retired;
            }
        }
    }

    /// Records that a slot comes into use, for a process that a reload adds or for a new instance
    /// beside that in the slot `of`.
    pub(super) fn adopt(&mut self, slot: ProcessId, of: ProcessId, is_newer: bool) {
        self.slots.adopt(slot, of, is_newer);
        if slot.index() == self.roles.len() {
            self.roles.push(Role::Retired);
            self.at.push(SlotHistory::default());
        }
        self[slot].begin_anew();
        let is_added = of == slot;
        self.roles[slot.index()] = if is_added { Role::Reserved } else { Role::New { old: of } };
        if is_newer && !is_added {
            self.begin_step(slot);
        }
    }

    /// Records that the step of the reload for this process begins.
    fn begin_step(&mut self, slot: ProcessId) {
        let process = self.slots.process(slot);
        if let Some(reload) = &mut self.reload {
            reload.begun.insert(process);
        }
        // The step may also start dependencies of the process, even if a request had stopped them.
        let mut below: Vec<_> = self.slots.index_of(process).into_iter().collect();
        while let Some(index) = below.pop() {
            for (on, _) in &self.slots.definition(index).dependencies {
                self.down.remove(&on.index());
                below.extend(self.slots.index_of(on.index()));
            }
        }
    }

    /// Records that a process matches the new config.
    pub(super) fn stepped(&mut self, slot: ProcessId) {
        let process = self.slots.process(slot);
        if let Some(reload) =
            self.reload.as_mut().filter(|_| self.roles[slot.index()] == Role::Current)
        {
            reload.left.remove(&process);
        }
    }

    /// Records the begin of a replacement. If the two instances overlap, nothing happens to the
    /// running instance yet. Otherwise the process keeps its slot.
    pub(super) fn replace(&mut self, new: ProcessId, old: ProcessId, overlaps: bool) {
        if overlaps {
            for slot in [new, old] {
                self[slot].alone = false;
                self[slot].follows = false;
            }
            self[old].on_its_way = false;
            return;
        }
        self.begin_step(old);
        let seen = &mut self[old];
        (seen.alone, seen.behind, seen.follows) = (true, false, false);
        // If a request has stopped the process, it may stay down, and the step of the reload is
        // over at once.
        let stays_down = self[old].by_request || self[old].started_as == 0;
        let index = self.slots.in_config(old);
        let autostart = index.is_some_and(|index| self.slots.definition(index).autostart);
        if !self.lives(old) && (stays_down || !autostart) {
            self.stepped(old);
        }
    }

    /// Records that a reload adds a process.
    pub(super) fn add(&mut self, process: ProcessId) {
        self.slots.take_over(process);
        self.roles[process.index()] = Role::Current;
        self.begin_step(process);
        if !self.of(process).autostart {
            self.stepped(process);
        }
    }

    /// Records the removal of a process that is no longer in the config.
    pub(super) fn remove(&mut self, slot: ProcessId) {
        self.reload.iter_mut().for_each(|reload| reload.has_removed = true);
        self.slots.remove(slot);
        // A later config may add another process with the same name. The request that stopped the
        // removed process does not concern the added process.
        self.down.remove(&self.slots.process(slot));
        self.leave(slot);
    }

    pub(super) fn end_reload(&mut self) {
        let followed = self.reload.take().map(|reload| reload.followed).unwrap_or_default();
        for process in followed {
            let Some(process) = self.slots.current(process) else { continue };
            // A process that is alive at the end of the reload has survived SIGKILL, so the reload
            // does not start it again.
            self[process].follows &= !self.is_alive(process);
        }
    }

    /// Records that a new instance takes over from the old instance.
    pub(super) fn take_over(&mut self, new: ProcessId, old: ProcessId) {
        self.slots.take_over(new);
        self.roles[new.index()] = Role::Current;
        self.leave(old);
        // The old epoch drains by itself from now on.
        let are_epochs = self.proc(old).is_epoch && self.proc(new).is_epoch;
        self[old].taken_over = are_epochs;
        self[old].not_drained |= are_epochs;
        if self[new].serves {
            self.meet(new, StartCondition::Started);
            self.meet(new, StartCondition::Ready);
        }
        self.stepped(new);
    }

    /// Records that drainit stops the old instance in this slot, even if other processes still need
    /// this instance. A drain may come before the stop.
    pub(super) fn leave(&mut self, slot: ProcessId) {
        self.roles[slot.index()] = Role::Leaving;
        let seen = &mut self[slot];
        (seen.alone, seen.by_request) = (true, false);
        (seen.behind, seen.follows, seen.on_its_way) = (false, false, false);
    }
}
