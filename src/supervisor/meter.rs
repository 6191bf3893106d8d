//! Counts what happens, for `/metrics`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::control::measures::{DrainMeasures, LastDrain, Measures, ProcessMeasures};
use crate::control::status::ContainerPhase;
use crate::core::note::{DrainEnd, Note};
use crate::report::Traffic;
use crate::types::{End, EndKind, ProcessId, Time};

/// Takes every note, every phase and every poll of a drain.
#[derive(Debug)]
pub(crate) struct Meter {
    phase: ContainerPhase,
    phase_since: Time,
    /// The time in the phases before, in their order.
    phases: Vec<(ContainerPhase, Duration)>,
    orphans: u64,
    /// By process, whatever its slot.
    processes: BTreeMap<ProcessId, ProcessMeter>,
    /// The process of each slot.
    identities: Vec<ProcessId>,
}

#[derive(Debug, Default)]
struct ProcessMeter {
    last_exit_code: Option<u8>,
    ends: [u64; EndKind::ALL.len()],
    /// Failed attempts of its `readiness`, if it has one.
    readiness_failures: Option<Rc<Cell<u64>>>,
    start: Option<Duration>,
    /// `None` without a `drain`.
    over: Option<[u64; DrainEnd::ALL.len()]>,
    drain: Option<DrainMeter>,
}

/// The drain that was begun last.
#[derive(Debug)]
struct DrainMeter {
    began: Time,
    /// How long it took, once it is over.
    took: Option<Duration>,
    traffic: Traffic,
}

impl Meter {
    /// Begins in the first phase. `drains`: whether each process has a `drain`.
    pub(crate) fn new(now: Time, drains: impl Iterator<Item = bool>) -> Self {
        let mut meter = Self {
            phase: ContainerPhase::Starting,
            phase_since: now,
            phases: Vec::new(),
            orphans: 0,
            processes: BTreeMap::new(),
            identities: Vec::new(),
        };
        for (slot, drains) in (0..).map(ProcessId).zip(drains) {
            meter.adopt(slot, slot, drains);
        }
        meter
    }

    /// Takes what happens in a slot for this process. `drains`: whether it has a `drain`.
    pub(crate) fn adopt(&mut self, slot: ProcessId, identity: ProcessId, drains: bool) {
        match self.identities.get_mut(slot.index()) {
            Some(known) => *known = identity,
            None => self.identities.push(identity),
        }
        let meter = self.processes.entry(identity).or_default();
        if drains {
            meter.over.get_or_insert_default();
        }
    }

    /// Counts from 0 for a new process with this number.
    pub(crate) fn forget(&mut self, identity: ProcessId) {
        self.processes.remove(&identity);
    }

    fn of(&mut self, slot: ProcessId) -> &mut ProcessMeter {
        self.processes.entry(self.identities[slot.index()]).or_default()
    }

    /// The counter of failed attempts of the `readiness` of a process that has one.
    pub(crate) fn readiness_failures(&mut self, process: ProcessId) -> Rc<Cell<u64>> {
        let counter = &mut self.of(process).readiness_failures;
        Rc::clone(counter.get_or_insert_default())
    }

    /// Counts a reaped process that drainit did not start.
    pub(crate) fn orphan(&mut self) {
        self.orphans += 1;
    }

    /// Takes the current phase, after each step of the core.
    pub(crate) fn phase(&mut self, now: Time, phase: ContainerPhase) {
        if self.phase != phase {
            self.phases = self.phases(now);
            self.phase = phase;
            self.phase_since = now;
        }
    }

    /// Takes the result of a poll of a process that drains.
    pub(crate) fn traffic(&mut self, process: ProcessId, traffic: Traffic) {
        if let Some(drain) = &mut self.of(process).drain {
            drain.traffic = traffic;
        }
    }

    pub(crate) fn note(&mut self, now: Time, note: &Note) {
        match *note {
            Note::Started(process) => {
                let meter = self.of(process);
                (meter.start, meter.drain) = (None, None);
            }
            Note::Ready { process, after } => {
                self.of(process).start = Some(after);
            }
            Note::Completed { process, after } => {
                self.of(process).start = Some(after);
                self.ended(process, End::Code(0), false);
            }
            Note::Ended { process, end, .. } => self.ended(process, end, false),
            Note::Stopped { process, end, killed, .. } => self.ended(process, end, killed),
            Note::DrainBegan { process, .. } => {
                let drain = DrainMeter { began: now, took: None, traffic: Traffic::default() };
                self.of(process).drain = Some(drain);
            }
            Note::DrainOver { process, why, took, .. } => {
                let meter = self.of(process);
                if let Some(over) = &mut meter.over {
                    over[why as usize] += 1;
                }
                if let Some(drain) = &mut meter.drain {
                    drain.took = Some(took);
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, process: ProcessId, end: End, killed: bool) {
        let meter = self.of(process);
        meter.last_exit_code = Some(end.exit_code());
        meter.ends[EndKind::of(end, killed) as usize] += 1;
    }

    /// The time in each phase until now. A phase may come again.
    fn phases(&self, now: Time) -> Vec<(ContainerPhase, Duration)> {
        let mut phases = self.phases.clone();
        let lasted = now.since(self.phase_since);
        match phases.iter_mut().find(|(phase, _)| *phase == self.phase) {
            Some((_, before)) => *before += lasted,
            None => phases.push((self.phase, lasted)),
        }
        phases
    }

    /// Everything so far, except what the core and the output know, of the processes of these slots.
    /// How much time is left for a drain is known to the core.
    pub(crate) fn measures(&self, now: Time, slots: &[ProcessId]) -> Measures {
        let of = |slot: &ProcessId| {
            let process = *self.identities.get(slot.index())?;
            Some(self.processes.get(&process)?.measures(now, process))
        };
        Measures {
            phase: Some(self.phase),
            phases: self.phases(now),
            reaped_orphans: self.orphans,
            processes: slots.iter().filter_map(of).collect(),
            ..Measures::default()
        }
    }
}

impl ProcessMeter {
    fn measures(&self, now: Time, process: ProcessId) -> ProcessMeasures {
        let drain = self.over.map(|over| DrainMeasures {
            over: DrainEnd::ALL.iter().map(|why| (why.name(), over[*why as usize])).collect(),
            last: self.drain.as_ref().map(|drain| drain.now(now)),
        });
        ProcessMeasures {
            process,
            is_replaced: false,
            last_exit_code: self.last_exit_code,
            ends: self.ends,
            readiness_failures: self.readiness_failures.as_ref().map(|counter| counter.get()),
            liveness_failures: None,
            start: self.start,
            drain,
        }
    }
}

impl DrainMeter {
    fn now(&self, now: Time) -> LastDrain {
        LastDrain {
            connections: self.traffic.connections,
            requests: self.traffic.requests,
            elapsed: self.took.unwrap_or_else(|| now.since(self.began)),
            left: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Load;
    use crate::core::note::AfterEnd;
    use crate::types::Signal;

    const ONE: ProcessId = ProcessId(0);

    fn second(number: u64) -> Time {
        Time(Duration::from_secs(number))
    }

    #[test]
    fn a_drain_is_shown_to_the_end_and_forgotten_by_the_next_start() {
        let mut meter = Meter::new(second(0), [true].into_iter());
        meter.traffic(ONE, Traffic { connections: Some(9), ..Traffic::default() });
        let last =
            |meter: &Meter, now| meter.measures(second(now), &[ONE]).processes[0].drain.clone();
        assert_eq!(last(&meter, 0).and_then(|drain| drain.last), None);

        let (longest, min) = (Duration::from_secs(10), Duration::from_secs(5));
        meter.note(second(1), &Note::DrainBegan { process: ONE, longest, min, counted: true });
        meter.traffic(ONE, Traffic { connections: Some(3), ..Traffic::default() });
        let expected = LastDrain {
            connections: Some(3),
            requests: None,
            elapsed: Duration::from_secs(2),
            left: Duration::ZERO,
        };
        assert_eq!(last(&meter, 3).and_then(|drain| drain.last), Some(expected));

        let (why, took) = (DrainEnd::DeadlineNeedsIt, Duration::from_secs(4));
        meter.note(second(5), &Note::DrainOver { process: ONE, why, took, last: Load::default() });
        let expected = LastDrain { elapsed: took, ..expected };
        assert_eq!(last(&meter, 60).and_then(|drain| drain.last), Some(expected));
        let over = last(&meter, 60).map(|drain| drain.over).unwrap_or_default();
        assert!(over.contains(&("deadline", 1)) && over.contains(&("quiet", 0)), "{over:?}");

        meter.note(second(7), &Note::Started(ONE));
        assert_eq!(last(&meter, 60).and_then(|drain| drain.last), None);
    }

    #[test]
    fn ends_are_counted_by_kind_and_the_last_code_stays() {
        let mut meter = Meter::new(second(0), [false].into_iter());
        let code = |meter: &Meter| meter.measures(second(9), &[ONE]).processes[0].last_exit_code;
        assert_eq!(code(&meter), None);
        for end in [End::Code(0), End::Code(3), End::OutOfMemory, End::Signal(Signal::TERM)] {
            meter.note(second(1), &Note::Ended { process: ONE, end, next: AfterEnd::Nothing });
            assert_eq!(code(&meter), Some(end.exit_code()));
        }
        let end = End::Signal(Signal::KILL);
        meter.note(
            second(1),
            &Note::Stopped { process: ONE, end, took: None, killed: true, handed_over: false },
        );
        meter.note(second(2), &Note::Started(ONE));
        assert_eq!(code(&meter), Some(137));
        assert_eq!(meter.measures(second(2), &[ONE]).processes[0].ends, [1; 5]);
    }

    #[test]
    fn phases_add_up() {
        let mut meter = Meter::new(second(1), [].into_iter());
        meter.phase(second(2), ContainerPhase::Starting);
        meter.phase(second(3), ContainerPhase::Running);
        meter.phase(second(9), ContainerPhase::Draining);
        let seconds = Duration::from_secs;
        assert_eq!(
            meter.measures(second(10), &[]).phases,
            [
                (ContainerPhase::Starting, seconds(2)),
                (ContainerPhase::Running, seconds(6)),
                (ContainerPhase::Draining, seconds(1))
            ]
        );
    }
}
