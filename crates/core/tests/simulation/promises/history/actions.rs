//! Records actions.

use super::*;

impl History<'_> {
    pub(crate) fn record_action(&mut self, action: &Action) {
        let (now, is_unready) = (self.now, self.is_unready());
        match *action {
            Action::Adopt { slot, of, is_newer } => self.adopt(slot, of, is_newer),
            Action::Redefine(slot) => {
                if let Some(slot) = self.begins_anew(action) {
                    self[slot].begin_anew();
                }
                self.slots.redefine(slot);
            }
            Action::CheckCondition { process, .. } | Action::EndLeftovers { process, .. } => {
                self.begin_start(process);
            }
            Action::Spawn(process) => {
                let other = self.other_epoch(process);
                self.starts += 1;
                let starts = self.starts;
                self[process].start(starts);
                let is_epoch = self.of(process).update == Update::HotRestart;
                self[process].pending = other.is_some() && is_epoch;
            }
            Action::RunHook(hook) => {
                self.hooks.insert(hook);
                match (hook.process, hook.stage) {
                    (Some(process), Stage::PreStart) => {
                        self.begin_start(process);
                        self[process].stops_early = false;
                    }
                    (Some(process), Stage::PreStop) => {
                        self[process].serves = false;
                        self[process].stops_early |= !is_unready;
                    }
                    _ => {}
                }
            }
            Action::Stop { process, signal } => {
                // An instance that has not taken over is stopped before all others.
                let is_early = !is_unready || self.has_not_taken_over(process);
                let seen = &mut self[process];
                seen.stops_early |= is_early;
                (seen.signalled, seen.serves) = (true, false);
                if seen.asked.is_none() || seen.handed_over {
                    seen.asked = Some((now, Duration::MAX));
                }
                if signal != Signal::KILL {
                    self.pass_stop_on(process);
                }
            }
            Action::StopOrphans { process, .. } => {
                self[process].rest_signalled = true;
                self[process].orphans_gone = Some(false);
            }
            Action::StopGroup { process, .. } => self[process].rest_signalled = true,
            Action::Kill(process) => {
                let survivor_at = self.survivor_at();
                let (is_rest, is_shutdown) = (self.proc(process).group, self.shutdown.is_some());
                let seen = &mut self[process];
                seen.group_killed |= !is_rest;
                seen.killed_in_shutdown |= is_shutdown;
                seen.survives_at = Some(survivor_at);
            }
            Action::AbortHook(hook) => drop(self.hooks.remove(&hook)),
            Action::StayReady => {
                self.begin_unready();
                self.stays_ready = true;
            }
            Action::Unready if self.stays_ready => self.stays_ready = false,
            Action::Unready => self.begin_unready(),
            Action::AbortSpawn(process) => drop(self.aborted.insert(process)),
            Action::Sweep(signal) => self.sweeping = Some(signal),
            Action::Drain { process, .. } => {
                let ended = if is_unready { self.ended_before } else { self.count_ends };
                let seen = &mut self[process];
                (seen.serves, seen.drained, seen.draining) = (false, true, true);
                seen.ended_before_drain = ended;
            }
            Action::ReleaseSockets(process) => self[process].released = true,
            Action::CloseListeners(process) => {
                // Without a deadline, the closing may take 250 ms even if the window is shorter. A
                // reload does not change the limit of a closing under way.
                let closing = (self.window / 4).max(Duration::from_millis(250));
                let ended = self.count_ends;
                let seen = &mut self[process];
                (seen.closing, seen.ended_before_closing, seen.draining) = (closing, ended, true);
            }
            Action::EndDrain(process) => self[process].draining = false,
            Action::Note(note) => self.record_note(note),
            Action::Exit(code) => self.exit = Some(code),
            _ => {}
        }
    }

    /// Records that the start of a process begins, with `only_if`, the leftovers of earlier
    /// instances, or the `pre_start` hook.
    fn begin_start(&mut self, process: ProcessId) {
        self[process].follows = false;
        self[process].on_its_way = true;
    }

    /// Records the begin of the shutdown, or of a drain without a stop, and the processes for which
    /// the core keeps time.
    fn begin_unready(&mut self) {
        self.unready_since = Some(self.now);
        self.ended_before = self.count_ends;
        let is_alive = |id: &ProcessId| self.is_alive(*id) && self[*id].survives_at.is_none();
        self.planned = self.slots.all().filter(is_alive).map(|id| self.slots.process(id)).collect();
    }

    /// If drainit sends SIGKILL now: the time from which the core no longer waits for the end of
    /// the process.
    fn survivor_at(&self) -> Time {
        let held = self.is_unready().then_some(self.window);
        match self.deadline().map(|deadline| deadline.since(self.now)).or(held) {
            Some(left) => self.now + wait_after_kill(left),
            None => self.now + Duration::from_secs(5),
        }
    }

    /// Shortens the waits for the ends of killed processes, because the deadline is only `left`
    /// away.
    pub(super) fn fit_survivors(&mut self, left: Duration) {
        let latest = self.now + wait_after_kill(left);
        for at in self.at.iter_mut().filter_map(|seen| seen.survives_at.as_mut()) {
            *at = latest.min(*at);
        }
    }

    /// Records that an epoch which drainit asks to end also asks the older epoch to end.
    fn pass_stop_on(&mut self, slot: ProcessId) {
        let Some(other) = self.other_epoch(slot).filter(|other| self[*other].handed_over) else {
            return;
        };
        let limit = match self.shutdown {
            Some(_) if self.has_reloaded => Duration::ZERO,
            Some(_) => self.share(other),
            None => self.stop_limit(other),
        };
        let now = self.now;
        self[other].asked = self[other].asked.map(|(at, before)| {
            let left = (at + before.min(FOREVER)).since(now);
            (now, left.min(limit))
        });
    }
}

/// How long the core waits for the end of a process after SIGKILL, if `left` is left until the
/// deadline.
fn wait_after_kill(left: Duration) -> Duration {
    (left / 8).max(Duration::from_millis(200)).min(left / 4)
}
