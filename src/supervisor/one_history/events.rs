//! Chooses the events of a history at random.

use super::*;

impl Play {
    /// Draws the next event, and the time at which it happens.
    pub(super) fn next(&mut self, steps: u64) -> Event {
        let due = self.processes.machine().next_wakeup();
        let pause = [0, 5, 300, 4000][self.random.below(4) as usize];
        let at = self.now + self.random.millis(1 + pause);
        let mut events = self.events();
        if steps == STEPS {
            events = vec![Event::Signal(Signal::TERM)];
        }
        match due {
            Some(due) if due <= at || events.is_empty() => {
                self.now = self.now.max(due);
                Event::Tick
            }
            _ => {
                self.now = at;
                let place = self.random.below(events.len() as u64) as usize;
                if events.is_empty() { Event::Signal(Signal::TERM) } else { events[place] }
            }
        }
    }

    /// All events that can come now. An event that is to come more often is listed more than once.
    pub(super) fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let machine = self.processes.machine();
        let state = machine.state();
        let random = &mut self.random;
        for &process in &self.spawning {
            events.extend([Event::Spawned(process); 5]);
            if random.one_in(4) {
                events.push(Event::SpawnFailed { process, exit_code: 127 });
            }
        }
        // The history does not tell of an end for which drainit no longer waits.
        let is_over = matches!(machine.phase(), Phase::Finishing(_));
        for (&process, slot) in &self.record.slots {
            if slot.pid.is_none() || is_over {
                continue;
            }
            let life = state.life(process);
            let spec = state.process(process);
            let is_deaf = !slot.killed && slot.asked.is_some() && slot.is_deaf;
            let weight = match (slot.killed, slot.asked.is_some(), spec.oneshot) {
                (true, ..) => 5,
                (_, true, _) => 3,
                (.., true) => 2,
                _ => u64::from(random.one_in(8)),
            };
            for _ in 0..if is_deaf { 0 } else { weight } {
                let end = match random.below(5) {
                    _ if slot.killed && !random.one_in(4) => End::Signal(Signal::KILL),
                    0 => End::Code(7),
                    1 => End::Signal(Signal::TERM),
                    2 if random.one_in(3) => End::OutOfMemory(Duration::from_secs(1)),
                    _ => End::Code(random.pick(&spec.success_codes)),
                };
                let remains = random.one_in(6) && !state.completes(process, end);
                events.push(Event::Exited { process, end, remains });
            }
            if random.one_in(20) {
                let by = random.millis(9000);
                events.push(Event::TimeoutExtended { process, by });
            }
            // The shutdown, or the drain without a stop, has ended the probes.
            if self.record.shutdown.is_some() {
                continue;
            }
            if matches!(life, Lifecycle::Starting { .. }) && spec.readiness_timeout.is_some() {
                events.extend([Event::Ready(process); 4]);
            }
            let is_current = state.role(process) == Role::Current;
            let is_ready = slot.state == Some(ProcessState::Ready) && is_current;
            if is_ready && spec.liveness_retries.is_some() {
                let is_alive = random.one_in(2);
                events.push(Event::LivenessProbed { process, is_alive });
            }
        }
        for (&process, &answered) in &self.drains {
            let counts = state.process(process).drain.is_some_and(|drain| drain.closes);
            let unit = if random.one_in(2) { Unit::Connections } else { Unit::Requests };
            let load = Load { unit, active: Some(random.below(4)), total: Some(9), unsure: 0 };
            events.extend(match (counts, answered) {
                (true, true) => [Event::DrainSample { process, load }; 3],
                (true, false) => [Event::DrainAnswered { process, accepted: !random.one_in(4) }; 3],
                (false, _) if random.one_in(4) => {
                    [Event::DrainAnswered { process, accepted: false }; 3]
                }
                (false, _) => [Event::Drained(process); 3],
            });
        }
        events.extend(self.closing.iter().map(|process| Event::ListenersClosed(*process)));
        events.extend(self.groups.iter().map(|process| Event::GroupGone(*process)));
        for &hook in &self.hooks {
            events.extend([Event::HookEnded { hook, success: !random.one_in(5) }; 2]);
        }
        for &(process, check) in &self.checks {
            events.push(Event::Condition { process, check, holds: random.one_in(2) });
        }
        events.extend(self.sweeping.map(|swept| match swept {
            true => Event::NothingLeft,
            false => Event::Swept { any: false },
        }));
        if random.one_in(4) {
            let current: Vec<_> = self.record.current.values().copied().collect();
            let process = current[random.below(current.len() as u64) as usize];
            let request = [Request::Restart, Request::Restart, Request::Stop, Request::Start];
            let request = request[random.below(4) as usize];
            events.extend([Event::Requested { process, request }; 3]);
        }
        if random.one_in(60) {
            events.push(Event::Signal(Signal::TERM));
        }
        if random.one_in(100)
            && !matches!(machine.phase(), Phase::Stopping(_) | Phase::Finishing(_))
        {
            events.push(Event::DrainRequested);
        }
        events
    }
}
