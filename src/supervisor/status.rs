//! The data of `/status` and `/metrics`.

use std::time::Duration;

use crate::control::status::{
    DrainStatus, InnerStatus, ProcessStatus, ShutdownStatus, StartupStatus, Status, TrafficStatus,
};
use crate::core::phase::Phase;
use crate::core::spec::Stage;
use crate::core::state::{Lifecycle, Shutdown};
use crate::journal::messages;
use crate::journal::state::{ContainerPhase, Part, ProcessState};
use crate::supervisor::processes::Processes;
use crate::types::suggest::shortened;
use crate::types::{ProcessId, Reason, Time};

impl Processes {
    /// The status without the numbers of dropped lines, which only the writers of the output know,
    /// and without the notes about the container.
    pub(crate) fn status(&self, now: Time) -> Status {
        let (machine, journal, slots) = (self.machine(), &self.journal, &self.slots);
        let world = machine.state();
        let (phase, ready) = ContainerPhase::of(machine);
        // After the machine has decided to exit, too, while drainit writes its last lines.
        let shutdown = world.shutdown.as_ref();
        let is_held = shutdown.is_some_and(Shutdown::is_held);
        let rows = self.rows().into_iter().map(|(slot, part)| {
            let (history, spec) = (journal.of(slot), world.process(slot));
            let last = journal.last_drain(slot);
            let drained_by =
                journal.others(slot).chain([slot]).filter_map(|id| world.drained_by(id));
            let outcome = last.map(|(drained, _)| journal.of(drained).outcome_after_drain());
            let drain = last.map(|(_, drain)| DrainStatus {
                traffic: TrafficStatus::new(drain.traffic(), outcome.unwrap_or_default()),
                elapsed: drain.elapsed(now),
                over: drain.over(),
                left: drained_by.max().map_or(Duration::ZERO, |until| until.since(now)),
            });
            // After a request for a drain without a stop, the status also shows the drain of a
            // process that has ended, unless the drain of the process was over before the request.
            let is_told = last.is_some_and(|(drained, drain)| {
                drained == slot && (history.start.pid.is_some() || is_held && !drain.is_past)
            });
            // A process that has ended has no open connections and no requests.
            let now_open = |of: TrafficStatus| match history.start.pid {
                Some(_) => of,
                None => TrafficStatus { connections: None, requests: None, ..of },
            };
            let shown = drain.clone().filter(|_| is_told);
            // During a request of an operator, the counts are those of the request.
            let stop = history.stop_traffic().filter(|_| shutdown.is_some() && !is_held);
            let warnings = history.drain_warnings.iter().flat_map(|all| all.iter().cloned());
            let said = history.why().into_iter().chain(self.waits_for(slot).map(Reason::from));
            let message = said.reduce(|why, waits_for| {
                let own = [why.own(), waits_for.own()].into_iter().flatten().collect::<Vec<_>>();
                Reason::with_full(own.join("; "), format!("{}; {}", why.full(), waits_for.full()))
            });
            let is_missed = part == Part::Current
                && (machine.waits_for(slot) || spec.required && !history.state.is_settled());
            ProcessStatus {
                name: journal.names.of(slot).to_owned(),
                replaces: part == Part::New,
                replaced: part == Part::Old,
                state: history.state,
                start: history.start.clone(),
                readiness: history.readiness,
                ready: history.state == ProcessState::Ready,
                last_exit: history.end.last_exit(),
                warnings: warnings.chain(slots[slot].drop_warning()).collect(),
                drain: shown.map(|it| DrainStatus { traffic: now_open(it.traffic), ..it }),
                stop: stop.map(|(last, outcome)| now_open(TrafficStatus::new(last, outcome))),
                restarts: world[slot].restarts.count,
                probe_failures: world[slot].probe_failures.count,
                since: now.since(history.since),
                message: message.as_ref().and_then(Reason::own).map(str::to_owned),
                inner: InnerStatus {
                    slot,
                    rank: world.spec.rank(slot),
                    is_missed,
                    full_message: message.map(|message| message.full().to_owned()),
                    drain_warnings: history.drain_warnings.clone(),
                    has_closed_admin: slots[slot].instance.has_closed_admin(),
                    tally: journal.counted(slot),
                    last_drain: drain,
                    has_drain: spec.is_drained(),
                    has_liveness: spec.liveness_retries.is_some(),
                },
                ..ProcessStatus::default()
            }
        });
        let shutdown = shutdown.map(|shutdown| {
            // A drain that was requested without a stop has no deadline after its end, because a
            // later stop gets a grace period of its own.
            let has_deadline = !is_held || phase != ContainerPhase::Drained;
            ShutdownStatus {
                cause: messages::why(shutdown.cause, &journal.names),
                elapsed: now.since(shutdown.t0),
                deadline_in: has_deadline.then(|| shutdown.deadline.since(now)),
                waits_for: journal.waits_for(),
                is_held,
            }
        });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            pid_namespace: self.pid_namespace,
            phase,
            ready,
            uptime: now.since(journal.began),
            startup: journal.start_took().map(|took| StartupStatus { took }),
            processes: rows.collect(),
            shutdown,
            phases: journal.phases(now),
            notes: Vec::new(),
            dropped_lines: Vec::new(),
            reaped_orphans: journal.orphans,
        }
    }

    /// Says which hook of a process runs, or what the process waits for before its start.
    fn waits_for(&self, slot: ProcessId) -> Option<String> {
        let machine = self.machine();
        let stage = match (machine.state().life(slot), machine.phase()) {
            (Lifecycle::PreStart { .. }, _)
                if self.slots[slot].definition.process.is_validated() =>
            {
                return Some("Envoy checks its config".to_owned());
            }
            (Lifecycle::Clearing { asked: Some(_), .. }, _) => {
                return Some("waiting for what an earlier instance left behind".to_owned());
            }
            (Lifecycle::PreStart { .. }, _) => Stage::PreStart,
            (Lifecycle::PreStop { .. }, _) => Stage::PreStop,
            (Lifecycle::PostStop { .. }, _) => Stage::PostStop,
            (Lifecycle::Waiting, Phase::Running(running)) if running.runs_hook() => {
                return Some("waiting for the container's pre_start hook".to_owned());
            }
            _ => {
                let on: Vec<_> =
                    machine.state().missing(slot).map(|id| self.journal.names.of(id)).collect();
                return (!on.is_empty()).then(|| format!("waiting for {}", shortened(&on)));
            }
        };
        Some(format!("its {} hook is running", stage.name()))
    }
}
