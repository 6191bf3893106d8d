//! Plays the world around drainit, and the executor: writes the effects of each event and action
//! into the record, and reports them to the journal.

use super::*;

fn told_by(pid: i32) -> String {
    format!("told by {pid}")
}

impl Play {
    /// Reports an event to the journal as the executor would, and writes it into the record.
    pub(super) fn happens(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Requested { process, request } => self.before_request(process, request),
            Event::Exited { process, .. } => self.has_ended(process),
            Event::Spawned(process) => self.has_started(process),
            _ => {}
        }
        let journal = &mut self.processes.journal;
        let record = &mut self.record;
        record.failed_start = None;
        match event {
            Event::Spawned(process) => {
                self.next_pid += 1;
                self.spawning.retain(|one| *one != process);
                journal.spawned(process, self.next_pid, None);
                if self.random.one_in(2) {
                    journal.of_mut(process).checks.failure = Some(told_by(self.next_pid).into());
                }
                let has_shutdown = record.shutdown.is_some();
                let slot = record.slot(process);
                (slot.pid, slot.last_pid) = (Some(self.next_pid), Some(self.next_pid));
                (slot.spawned, slot.killed, slot.asked) = (now, false, None);
                slot.is_deaf = self.random.one_in(4);
                (slot.end, slot.verdict, slot.warnings) = (None, None, None);
                slot.has_failed = false;
                slot.first_start.get_or_insert(now);
                let spec = self.processes.machine().state().process(process).clone();
                let is_ready = spec.readiness_timeout.is_none() && !spec.oneshot;
                // If drainit wanted to give up a start, but the instance had already started, the
                // instance does not become ready.
                let serves = is_ready && !has_shutdown && !std::mem::take(&mut slot.is_given_up);
                slot.state =
                    Some(if serves { ProcessState::Ready } else { ProcessState::Starting });
                if is_ready {
                    slot.first_ready.get_or_insert(now);
                }
                if spec.readiness_timeout.is_some() {
                    let failed = self.random.below(3);
                    let journal = &mut self.processes.journal;
                    *journal.tally(process).readiness_failures.get_or_insert(0) += failed;
                    let counts = record.counts(process);
                    counts.readiness_failures =
                        Some(counts.readiness_failures.unwrap_or(0) + failed);
                }
                let counts = record.counts(process);
                (counts.start, counts.drained) = (None, None);
            }
            Event::SpawnFailed { process, exit_code } => {
                record.failed_start = Some((process, exit_code));
                self.spawning.retain(|one| *one != process);
                journal.of_mut(process).end.message = Some("no such file".into());
                record.slot(process).last_pid = None;
            }
            Event::Ready(process) => {
                let slot = record.slot(process);
                slot.state = Some(ProcessState::Ready);
                if self.random.one_in(2) {
                    let warnings: Rc<[String]> = vec!["it cannot be drained".to_owned()].into();
                    journal.of_mut(process).drain_warnings = Some(Rc::clone(&warnings));
                    record.slot(process).warnings = Some(warnings);
                }
            }
            Event::Exited { process, end, remains } => {
                journal.reaped(process);
                self.drains.remove(&process);
                self.closing.retain(|one| *one != process);
                self.groups.extend(remains.then_some(process));
                let slot = record.slot(process);
                let pid = slot.pid.take().unwrap();
                (slot.state, slot.warnings, slot.last_end) =
                    (None, None, Some(if slot.killed { end.plainly() } else { end }));
                slot.end = Some((now, end));
                slot.has_rest = remains;
                // A process that SIGKILL has not ended has exited by itself.
                let by_kill = remains || end.signal() == Some(Signal::KILL);
                slot.killed_in_shutdown &= by_kill;
                let (killed, code) = (slot.killed && by_kill, end.exit_code());
                let kind = match end {
                    _ if killed => 3,
                    End::Code(0) => 0,
                    End::Code(_) => 1,
                    End::Signal(_) => 2,
                    End::OutOfMemory(_) => 4,
                };
                let reason = ["completed", "error", "signal", "killed", "oom_killed"][kind];
                record.unreported.push((process, Some(pid), code, reason));
                let counts = record.counts(process);
                counts.ends[kind] += 1;
                counts.last_code = Some(code);
            }
            Event::LivenessProbed { process, is_alive } => {
                let pid = record.slot(process).pid.unwrap();
                journal.of_mut(process).checks.unhealthy = (!is_alive).then(|| told_by(pid).into());
                record.counts(process).liveness_failures += u64::from(!is_alive);
            }
            Event::DrainAnswered { process, .. } => {
                self.drains.insert(process, true);
                self.counted(process, Moment::Start);
            }
            Event::DrainSample { process, .. } => {
                self.counted(process, Moment::Meanwhile);
            }
            Event::Drained(process) => drop(self.drains.remove(&process)),
            Event::ListenersClosed(process) => self.closing.retain(|one| *one != process),
            Event::GroupGone(process) => self.groups.retain(|one| *one != process),
            Event::HookEnded { hook, .. } => self.hooks.retain(|one| *one != hook),
            Event::Condition { process, check, .. } => {
                self.checks.retain(|one| *one != (process, check));
            }
            Event::Swept { .. } => self.sweeping = Some(true),
            Event::NothingLeft => self.sweeping = None,
            Event::Tick if self.random.one_in(9) => {
                journal.orphans += 1;
                record.orphans += 1;
            }
            _ => {}
        }
    }

    /// Counts the traffic of an Envoy that drains. At random, the count fails.
    pub(super) fn counted(&mut self, process: ProcessId, moment: Moment) {
        if !self.processes.machine().state().process(process).drain.is_some_and(|one| one.closes) {
            return;
        }
        let random = &mut self.random;
        self.served += random.below(5);
        let traffic = Traffic {
            connections: (!random.one_in(5)).then(|| random.below(9)),
            requests: (!random.one_in(5)).then(|| random.below(9)),
            accepted: Some(self.served),
            completed: (!random.one_in(5)).then_some(2 * self.served),
            upgrades: Some(3 * self.served),
            unsure: None,
            connected: None,
        };
        let is_known = !random.one_in(5);
        let journal = &mut self.processes.journal;
        match is_known {
            true => journal.traffic(self.now, process, traffic, moment),
            false => journal.traffic_unknown(process),
        }
        if let Some(drain) = &mut self.record.slot(process).drain {
            drain.connections = traffic.connections.filter(|_| is_known);
            drain.requests = traffic.requests.filter(|_| is_known);
            if is_known {
                drain.first = drain.first.or(Some(traffic).filter(|_| moment == Moment::Start));
                drain.last = Some(traffic);
            }
        }
    }

    pub(super) fn carry_out(&mut self, action: Action) {
        match action {
            Action::Stop { process, .. } => self.asked_to_end(process),
            Action::Answer { process, request, .. } => {
                self.clients.answered.push((process, request));
            }
            Action::ShutdownBegins { .. } => self.count_clients(),
            _ => {}
        }
        let record = &mut self.record;
        match action {
            Action::Adopt { slot, of: from, .. } => {
                let old = &self.processes.slots[from];
                let (definition, place) = (old.definition.clone(), old.place);
                self.processes.adopt(self.now, slot, definition, place, Some(from));
                let old = &record.slots[&from];
                let new = Slot {
                    name: old.name.clone(),
                    first_start: old.first_start,
                    first_ready: old.first_ready,
                    last_end: old.last_end,
                    is_last_asked: old.is_last_asked,
                    ..Slot::default()
                };
                record.slots.insert(slot, new);
                self.groups.retain(|one| *one != slot);
            }
            Action::CheckCondition { process, check } => self.checks.push((process, check)),
            Action::Spawn(process) => self.spawning.push(process),
            Action::AbortSpawn(process) => {
                let is_late = self.random.one_in(2);
                record.slot(process).is_given_up = is_late;
                self.at_once.push_back(match is_late {
                    true => Event::Spawned(process),
                    false => Event::SpawnFailed { process, exit_code: 1 },
                });
            }
            Action::Stop { process, signal } => {
                let slot = record.slot(process);
                slot.killed |= signal == Signal::KILL;
                slot.asked.get_or_insert((self.now, signal));
                if self.random.one_in(8) {
                    slot.has_failed = true;
                    self.processes.history(process).end.ended_first = true;
                }
                slot.state = Some(ProcessState::Stopping);
            }
            Action::LookForExit(process) => {
                let exits = self.random.one_in(2);
                let ignores = !exits && process.index().is_multiple_of(2);
                self.at_once.push_back(Event::ExitSeen { process, exits, ignores });
            }
            Action::EndLeftovers { process, .. } => {
                self.at_once.push_back(Event::Leftovers { process, any: false });
            }
            Action::Kill(process) => {
                let is_stop = record.shutdown.as_ref().is_some_and(|(.., held)| !held);
                let slot = record.slot(process);
                slot.killed |= slot.pid.is_some();
                slot.killed_in_shutdown |= is_stop;
                slot.state = slot.pid.map(|_| ProcessState::Stopping);
            }
            Action::RunHook(hook) => {
                self.hooks.push(hook);
                if let HookId { process: Some(process), stage: Stage::PreStop } = hook {
                    record.slot(process).state = Some(ProcessState::Stopping);
                }
            }
            Action::AbortHook(hook) => self.hooks.retain(|one| *one != hook),
            Action::Drain { process, .. } => drop(self.drains.insert(process, false)),
            Action::CloseListeners(process) => self.closing.push(process),
            Action::EndDrain(process) => drop(self.drains.remove(&process)),
            Action::Sweep(_) => self.sweeping = Some(false),
            Action::Exit(code) => self.exit = Some(code),
            Action::Note(note) => self.note(note),
            _ => {}
        }
    }
}
