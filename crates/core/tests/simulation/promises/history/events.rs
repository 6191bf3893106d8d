//! Records events.

use super::*;

impl History<'_> {
    pub(crate) fn record_event(&mut self, event: Event) {
        self.before = None;
        match event {
            Event::Signal(signal) if self.scenario.spec.stop_signals.contains(&signal) => {
                let is_again = self.last_signal.is_some_and(|last| {
                    self.now.since(last) < Duration::from_millis(5) && self.shutdown.is_some()
                });
                self.last_signal = Some(self.now);
                let is_further = signal == Signal::TERM && self.stop_signals > 0;
                self.stop_signals += u32::from(!is_again && !is_further);
            }
            Event::ShutdownRequested if self.shutdown.is_none() => {
                self.last_signal = Some(self.now);
                self.stop_signals += 1;
            }
            Event::Exited { process, end, remains } => {
                self.count_ends += 1;
                if self[process].asked.is_none() || self[process].stops_early {
                    self.planned.remove(&self.slots.process(process));
                }
                let seen = &mut self[process];
                // holds: S840
                if end.signal() != Some(Signal::KILL) && !remains {
                    seen.killed_in_shutdown = false;
                }
                (seen.gone, seen.on_its_way) = (true, true);
                (seen.serves, seen.behind) = (false, false);
            }
            Event::Spawned(process) => self[process].gone = false,
            Event::Requested { process, request } => {
                self.asked_for.insert((self.slots.process(process), request));
            }
            Event::HookEnded { hook, .. } => drop(self.hooks.remove(&hook)),
            Event::OrphansGone(process) => self[process].orphans_gone = Some(true),
            Event::Swept { any: true } => {
                self.has_killed_leftovers |= self.sweeping == Some(Signal::KILL);
            }
            Event::TimeoutExtended { process, by } => self.extend(process, by),
            Event::DrainAnswered { process, accepted } => self[process].accepted = Some(accepted),
            Event::ListensOnNothing(process) => self[process].listens_on_nothing = true,
            Event::ExitSeen { process, ignores, .. } => self[process].ignores = ignores,
            Event::NothingToDrain(process) => self[process].not_live = true,
            Event::DrainSample { process, load } => self[process].last_active = load.active,
            _ => {}
        }
    }

    /// Grants a process that is being stopped the time that it asks for. In a shutdown, the process
    /// gets only the time that the later stops and hooks do not need before the deadline.
    fn extend(&mut self, process: ProcessId, by: Duration) {
        let now = self.now;
        let later = if self.has_reloaded { Duration::ZERO } else { self.kept_after(process) };
        // drainit stops these processes with SIGKILL, so they cannot ask for more time.
        let seen = &self[process];
        let is_killed = seen.group_killed || seen.pending || seen.doomed;
        let is_in_time = |at: Time| now < at || self.was_paused(at) && now <= self.seen_at(at);
        if let Some((asked, limit)) = seen.asked
            && is_in_time(asked + limit)
            && !is_killed
        {
            let spare = |deadline: Time| deadline.since(now).saturating_sub(later);
            let granted = by.min(self.deadline().map_or(Duration::MAX, spare));
            let longer = (now + granted).since(asked);
            self[process].extended |= longer > limit;
            self[process].asked = Some((asked, limit.max(longer)));
        }
    }
}
