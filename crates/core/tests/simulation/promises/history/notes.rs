//! Records notes.

use super::*;

impl History<'_> {
    pub(super) fn record_note(&mut self, note: Note) {
        let (now, is_unready) = (self.now, self.is_unready());
        match note {
            // The kernel kills these leftovers when PID 1 ends.
            Note::LeftoversRemain => self.has_killed_leftovers = true,
            Note::ShutdownBegan { cause, window, .. } => {
                self.at.iter_mut().for_each(|seen| seen.is_held = !seen.draining);
                self.shutdown = Some(Shutdown { t0: now, deadline: now + window, cause });
                self.fit_survivors(window);
            }
            Note::DrainRequested => {
                self.held_at = Some(now);
                self.fit_survivors(self.window);
            }
            Note::FileChanged { process, action: WatchAction::Restart, .. } => {
                let key = (self.slots.process(process), Request::Restart);
                self.asked_for.insert(key);
                self.began.insert(key, (self.starts, self.is_alive(process)));
                self[process].alone = true;
            }
            Note::Replacing { process, old, overlaps } => self.replace(process, old, overlaps),
            Note::Adding(process) => self.add(process),
            Note::Removing(process) => self.remove(process),
            Note::ReloadDone | Note::ReloadFailed { .. } => self.end_reload(),
            Note::TakesOver { process, old } => self.take_over(process, old),
            Note::RolledBack { process, .. } => self.leave(process),
            Note::Skipped(process) => {
                self[process].on_its_way = false;
                self[process].stuck = false;
                self.stepped(process);
            }
            Note::Started(process) => self.start(process),
            Note::Ready { process, .. } => {
                let seen = &mut self[process];
                (seen.serves, seen.was_serving, seen.pending) = (true, !is_unready, false);
                self.stepped(process);
                self.meet(process, StartCondition::Ready);
            }
            Note::Completed { process, .. } => {
                self.stepped(process);
                self.meet(process, StartCondition::Ready);
                self.meet(process, StartCondition::Completed);
            }
            Note::Ended { process, next, .. } => {
                self[process].given_up = !matches!(next, AfterEnd::Restart { .. });
            }
            Note::NotDrained { process, why: WhyUndrained::NoTime } => {
                self[process].not_drained = true;
                self[process].drain_over = true;
            }
            Note::NotDrained { process, .. } => self[process].told_off = true,
            Note::Follows { process, .. } => {
                let base = self.slots.process(process);
                if let Some(reload) = &mut self.reload {
                    reload.followed.insert(base);
                }
                let seen = &mut self[process];
                (seen.behind, seen.alone, seen.follows, seen.on_its_way) =
                    (false, true, true, true);
            }
            Note::HandedOver { process, limit, .. } => {
                let seen = &mut self[process];
                seen.handed_over = true;
                seen.stops_early |= !is_unready;
                seen.asked = Some((now, limit));
            }
            Note::Doomed { process, .. } => self[process].doomed = true,
            Note::RequestBegan { process, request } => self.begin_request(process, request),
            Note::RequestDone { process, request } => self.end_request(process, request),
            Note::RequestFailed { process, request, why } => {
                self.fail_request(process, request, why);
            }
            Note::Overdue { process, .. } => self[process].alone = true,
            Note::Unhealthy(process) => {
                let seen = &mut self[process];
                (seen.serves, seen.alone, seen.unhealthy) = (false, true, true);
            }
            Note::Stopping { process, limit, .. } => {
                self[process].asked.get_or_insert((now, limit)).1 = limit;
                self[process].stops_early |= !is_unready;
            }
            Note::Delayed(wait) => self.delayed = wait,
            Note::DrainBegan { process, longest, min, .. } => {
                let is_taken_over = self.is_taken_over(process);
                let seen = &mut self[process];
                seen.drain = Some((now, longest));
                seen.drain_min = min;
                // A taken-over epoch drained by itself before drainit began this drain. The limit
                // for its end counts from the end of this drain.
                seen.drained_early = !is_unready || is_taken_over;
                seen.draining |= is_taken_over;
                // Its `pre_stop` hook may run longer than the drain, so the limit of its stop is
                // not known yet.
                if is_taken_over && seen.handed_over {
                    seen.asked = Some((now, Duration::MAX));
                }
            }
            Note::DrainOver { process, why, .. } => {
                self[process].drain_over = why != DrainEnd::ProcessGone;
                self[process].was_quiet = why == DrainEnd::Quiet;
            }
            _ => {}
        }
    }

    fn start(&mut self, process: ProcessId) {
        let is_unready = self.is_unready();
        if is_unready {
            self.planned.insert(self.slots.process(process));
        }
        self.meet(process, StartCondition::Started);
        let spec = self.of(process);
        let is_ready = spec.readiness_timeout.is_none() && !spec.oneshot;
        // If drainit removes or stops a process before the answer to `Action::Spawn`, the process
        // counts as one that has never served a client.
        let leaves = self.roles[process.index()] == Role::Leaving || self.aborted.remove(&process);
        let seen = &mut self[process];
        seen.serves = is_ready;
        seen.was_serving = is_ready && !is_unready && !leaves;
        seen.started = true;
        if is_ready {
            self.stepped(process);
            self.meet(process, StartCondition::Ready);
        }
    }

    /// Records that a new instance has met a condition, so that its followers must be restarted.
    pub(super) fn meet(&mut self, process: ProcessId, met: StartCondition) {
        if met != StartCondition::Started {
            self[process].on_its_way = false;
        }
        if !self.is_current(process) {
            return;
        }
        let on = self.slots.process(process);
        for slot in self.slots.all() {
            let is_early = self[slot].stops_early
                || matches!(self.roles[slot.index()], Role::Leaving | Role::Retired);
            let runs = self.is_alive(slot) && self[slot].started;
            self[slot].behind |= runs && !is_early && self.slots.follows(slot, on, met);
        }
    }
}
