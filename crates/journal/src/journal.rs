//! Records what happens to each process and in the shutdown.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::counts::Cost;
use crate::data::label;
use crate::drain::DrainHistory;
use crate::end::{EndHistory, Stop};
use crate::entry::Entry;
use crate::event::{Field, LogEvent};
use crate::history::{CheckHistory, ClientHistory, History};
use crate::messages::Names;
use crate::prelude::*;
use crate::state::ContainerPhase;
use crate::steps::Steps;
use crate::tally::Tally;
use drainit_core::action::Action;
use drainit_core::cause::Cause;
use drainit_core::connections::endings::Ending;
use drainit_core::event::Event;
use drainit_core::machine::Machine;
use drainit_core::note::Note;
use drainit_core::state::{Role, State};
use drainit_core::traffic::{Moment, Traffic};
use drainit_core::types::suggest::shortened;
use drainit_core::types::{ProcessId, Reason, Time, harmless, human};

#[derive(Debug, Default)]
pub struct Journal {
    /// The time at which drainit began.
    pub began: Time,
    pub names: Names,
    pub(crate) slots: Vec<History>,
    /// The counts of each process. The key is the name of the process.
    pub(super) tallies: BTreeMap<String, Tally>,
    /// The slots whose history a note has changed since the last call of [`Self::update`].
    noted: Vec<ProcessId>,
    pub(crate) all_ready: Option<Time>,
    phase: ContainerPhase,
    phase_since: Time,
    /// The total time in each phase, without the time since `phase_since`. The phases are in the
    /// order in which they first began.
    phases: Vec<(ContainerPhase, Duration)>,
    /// The number of orphans that drainit has reaped. An orphan became a child of drainit when its
    /// parent ended.
    pub orphans: u64,
    /// The beginning of the shutdown, its cause, and the time from the beginning to the deadline.
    pub(crate) shutdown: Option<(Time, Cause, Duration)>,
    pub(crate) steps: Steps,
    /// The place of the latest drain or stop in the report. This number only grows.
    pub(crate) places: usize,
    pub(crate) remarks: Vec<String>,
    /// Whether the kernel tells how the connections of the processes end.
    is_told: bool,
    /// The latest lines of each process that [`Self::told`] returns, by its name.
    told: BTreeMap<String, Vec<(Time, String)>>,
    /// The latest line about the drain of each process, by its name, since the shutdown or the
    /// requested drain before it began.
    pub drains: BTreeMap<String, String>,
}

/// The longest list of notes that the answer to a request has of a process. A process may end again
/// and again while a request waits for another process.
const MOST_TOLD: usize = 10;
/// The events that the answer to a request tells.
const TOLD: &str = "skipped started ready completed ended not_ready timed_out unhealthy start_failed \
                    taken_back drained not_drained ended_undrained killed unkillable stopped";
/// The events that the answer to a request to drain tells.
const OF_DRAINS: [&str; 3] = ["draining", "drained", "not_drained"];

impl Journal {
    pub fn new(names: Names, began: Time) -> Self {
        let mut journal = Self { began, phase_since: began, ..Self::default() };
        for (slot, name) in (0..).map(ProcessId).zip(names.0) {
            journal.adopt(began, slot, name, None);
        }
        journal
    }

    /// Gives a slot to a process, and forgets the earlier process of the slot, except what the end of
    /// an earlier instance of the same process has cost. `from` is another slot of the same process,
    /// or `None` if the process is new.
    pub fn adopt(&mut self, now: Time, slot: ProcessId, name: String, from: Option<ProcessId>) {
        let endings = self.is_told.then(Vec::new);
        let clients = ClientHistory { endings, ..ClientHistory::default() };
        let mut history = History { since: now, clients, ..History::default() };
        if from.is_some() && self.names.of(slot) == name {
            let known = self.slots.get_mut(slot.index());
            history.before =
                known.and_then(|known| known.clients.served.map(|_| Box::new(known.clone())));
        }
        if let Some(from) = from.map(|from| self.of(from)) {
            history.start.first = from.start.first;
            history.readiness.first = from.readiness.first;
            history.end = EndHistory::after(&from.end);
        }
        let of_others = self.slots.get(slot.index()).filter(|_| self.names.of(slot) != name);
        let past: Vec<_> =
            of_others.into_iter().flat_map(History::instances).filter_map(History::cost).collect();
        match self.slots.get_mut(slot.index()) {
            Some(known) => *known = history,
            None => self.slots.push(history),
        }
        let old = self.names.of(slot);
        if let Some(tally) = self.tallies.get_mut(old) {
            tally.past_costs.extend(past);
            tally.slots.retain(|known| *known != slot);
            if tally.slots.is_empty() && old != name {
                self.tallies.remove(old);
                self.told.remove(old);
            }
        }
        self.names.set(slot, name);
        let tally = self.tally(slot);
        if from.is_none() {
            *tally = Tally::default();
        }
        tally.slots.push(slot);
    }

    pub fn of(&self, slot: ProcessId) -> &History {
        &self.slots[slot.index()]
    }

    pub fn of_mut(&mut self, slot: ProcessId) -> &mut History {
        &mut self.slots[slot.index()]
    }

    /// The counts of the process to which `slot` belongs, to be changed by the caller.
    pub fn tally(&mut self, slot: ProcessId) -> &mut Tally {
        self.tallies.entry(self.names.of(slot).to_owned()).or_default()
    }

    /// A copy of the counts of the process to which `slot` belongs.
    pub fn counted(&self, slot: ProcessId) -> Tally {
        self.tallies.get(self.names.of(slot)).cloned().unwrap_or_default()
    }

    /// The last drain of the process to which `slot` belongs; `None` if the process has not been
    /// drained since its last start.
    pub fn last_drain(&self, slot: ProcessId) -> Option<(ProcessId, &DrainHistory)> {
        let drained = self.tallies.get(self.names.of(slot))?.drained?;
        Some((drained, self.of(drained).drain.as_ref()?))
    }

    /// Records a failed attempt of the `readiness` of a process.
    pub fn not_ready(&mut self, slot: ProcessId, why: Reason) {
        *self.tally(slot).readiness_failures.get_or_insert(0) += 1;
        self.of_mut(slot).checks.failure = Some(why);
    }

    /// Records the start of an instance, and forgets why checks of the earlier instance failed.
    pub fn spawned(&mut self, slot: ProcessId, pid: i32, epoch: Option<u32>) {
        self.has_main(slot, pid);
        let history = self.of_mut(slot);
        history.start.epoch = epoch;
        history.checks = CheckHistory::default();
        (history.end.message, history.drain_warnings) = (None, None);
    }

    /// Records the main process of an instance.
    pub fn has_main(&mut self, slot: ProcessId, pid: i32) {
        let history = self.of_mut(slot);
        (history.start.pid, history.start.last_pid) = (Some(pid), Some(pid));
        history.end.requested = None;
    }

    /// Records the end of an instance.
    pub fn reaped(&mut self, slot: ProcessId) {
        let history = self.of_mut(slot);
        (history.start.pid, history.drain_warnings) = (None, None);
    }

    /// Records an event that the core has handled, and the phase after this event.
    pub fn event(&mut self, now: Time, event: Event, machine: &Machine) {
        if let Event::SpawnFailed { process, .. } = event {
            // No instance runs, so the PID of the last instance must not appear in later notes.
            self.of_mut(process).start.last_pid = None;
        }
        self.steps.event(now, event);
        self.steps.phase(now, machine);
    }

    /// Records an action of the core that is not a note.
    pub fn action(&mut self, now: Time, action: &Action) {
        self.steps.action(now, action);
    }

    /// The steps of the container that are under way, as people read them.
    pub fn waits_for(&self) -> Vec<String> {
        let open = self.steps.all().filter(|step| step.ends.is_none() && step.process.is_none());
        open.map(|step| label(step.kind, None)).collect()
    }

    /// Records a note of the core, and returns its text. `detail` is a fact that only the
    /// supervisor knows, such as the path of the file that has changed or the last lines of a
    /// process.
    pub fn note(&mut self, now: Time, note: &Note, state: &State, detail: Option<&str>) -> Entry {
        let mut entry = self.take(now, note, state, detail);
        if let Some(slot) = entry.instance {
            entry.event.fields.extend(self.of(slot).start.last_pid.map(Field::Pid));
            entry.beside = self.beside(slot, state);
            if entry.beside.is_some() {
                self.of_mut(slot).start.label.clone_from(&entry.beside);
            }
        }
        // Each line is kept only once, because drainit may give up a process many times in the life
        // of a container.
        if entry.is_remark && !self.remarks.contains(&entry.line()) {
            self.remarks.push(entry.line());
        }
        self.tell(now, &entry);
        entry
    }

    /// Keeps the line of a note for the answers to requests, if the note says how a process started
    /// or ended, or is drained.
    fn tell(&mut self, now: Time, entry: &Entry) {
        let LogEvent { event, process: Some(name), .. } = &entry.event else { return };
        if self.steps.is_shutdown && OF_DRAINS.contains(event) {
            self.drains.insert(name.clone(), entry.line());
        }
        if !TOLD.split(' ').any(|told| told == *event) {
            return;
        }
        let line = entry.line();
        let text = line.strip_prefix(name.as_str()).unwrap_or(&line).trim_start_matches([':', ' ']);
        let is_up = ["started", "ready"].contains(event);
        let up = entry.instance.filter(|_| is_up);
        let down = up.map(|slot| self.of(slot).text_of_down()).unwrap_or_default();
        let told = self.told.entry(name.clone()).or_default();
        told.push((now, format!("{text}{down}")));
        told.drain(..told.len().saturating_sub(MOST_TOLD));
    }

    /// How the processes have started and ended since then, in the words of the log, by their names.
    pub fn told(&self, since: Time) -> BTreeMap<String, Vec<String>> {
        let told = self.told.iter().map(|(name, told)| {
            let recent = told.iter().filter(|(at, _)| *at >= since);
            (name.clone(), recent.map(|(_, text)| text.clone()).collect())
        });
        told.filter(|(_, texts): &(_, Vec<_>)| !texts.is_empty()).collect()
    }

    /// The history of a slot that a note changes.
    pub(crate) fn noted(&mut self, process: ProcessId) -> &mut History {
        self.noted.push(process);
        self.of_mut(process)
    }

    /// Records the time at which the process was asked to end, was killed or ended, whichever came
    /// first. The age of the last sample is measured up to this time.
    pub(crate) fn mark_stopped(&mut self, now: Time, process: ProcessId) {
        let drain = self.of_mut(process).drain.as_mut();
        if let Some(drain) = drain.filter(|drain| !drain.is_stopped) {
            drain.is_stopped = true;
            drain.end = Some(now);
        }
    }

    /// The record of a process's stop in the shutdown. The first call makes the record.
    pub(crate) fn stop(&mut self, process: ProcessId) -> &mut Stop {
        self.places += 1;
        let place = self.places;
        self.of_mut(process).stop.get_or_insert(Stop { place, ..Stop::default() })
    }

    /// Begins the record of a shutdown, or of a requested drain before it. A drain that is already
    /// over does not belong to the shutdown; a drain that is under way does.
    pub(crate) fn begin_shutdown(&mut self) {
        if !self.steps.is_shutdown {
            for drain in self.slots.iter_mut().filter_map(|history| history.drain.as_mut()) {
                drain.is_past = drain.over.is_some();
            }
        }
    }

    /// The label of an instance, if its process has another instance at the same time.
    fn beside(&self, slot: ProcessId, state: &State) -> Option<String> {
        let label = |slot| self.of(slot).label();
        let is_there = |other| state.role(other) != Role::Retired && label(other).is_some();
        self.others(slot).any(is_there).then(|| label(slot))?
    }

    /// The slots that the process with this name has or had.
    pub fn slots_of(&self, name: &str) -> impl Iterator<Item = ProcessId> {
        let tally = self.tallies.get(name);
        tally.map(|tally| tally.slots.as_slice()).unwrap_or_default().iter().copied()
    }

    /// All other slots that the process of `slot` has or had.
    pub fn others(&self, slot: ProcessId) -> impl Iterator<Item = ProcessId> {
        self.slots_of(self.names.of(slot)).filter(move |other| *other != slot)
    }

    /// The name of a process, with the label of the instance if two instances ran at the same time.
    pub(crate) fn name_of(&self, slot: ProcessId) -> String {
        match &self.of(slot).start.label {
            Some(instance) => format!("{} ({instance})", self.names.of(slot)),
            None => self.names.of(slot).to_owned(),
        }
    }

    /// Records a sample of the traffic. `began` is the time at which the poll began.
    pub fn traffic(&mut self, began: Time, process: ProcessId, traffic: Traffic, moment: Moment) {
        if let Some(drain) = &mut self.of_mut(process).drain {
            if moment == Moment::Start {
                drain.first = Some(traffic);
            }
            if let (Some(total), None) = (traffic.accepted.or(traffic.connected), drain.over) {
                drain.arrivals.note(began, total);
            }
            drain.last = Some((began, traffic, moment));
            drain.is_unknown = false;
        }
    }

    /// Begins to record how the connections of each process end, in the shutdown or for a request.
    /// `is_told` says whether the kernel tells.
    pub fn sees_endings(&mut self, is_told: bool) {
        self.is_told = is_told;
        for tally in self.tallies.values_mut() {
            (tally.cost, tally.past_costs) = (None, Vec::new());
        }
        for of in &mut self.slots {
            of.before = None;
            (of.clients.endings, of.clients.served) = (is_told.then(Vec::new), None);
        }
    }

    /// Keeps for the status what the ends of all instances have cost during a request.
    pub fn sum_up_ends(&mut self) {
        for tally in self.tallies.values_mut() {
            let slots = tally.slots.iter().map(|slot| &self.slots[slot.index()]);
            let costs = slots.flat_map(History::instances).filter_map(History::cost);
            tally.cost = Cost::words(tally.past_costs.iter().copied().chain(costs));
        }
    }

    /// Records how a connection has ended.
    pub fn connection_ended(&mut self, at: Time, process: ProcessId, ending: Ending) {
        let History { before, clients, end, .. } = self.of_mut(process);
        // Until the new instance is asked to end, such a connection was that of the instance before.
        let before = before.as_mut().filter(|_| end.asked_since.is_none());
        let clients = before.map_or(clients, |before| &mut before.clients);
        let endings = clients.endings.as_mut().filter(|_| ending != Ending::Answered);
        endings.into_iter().for_each(|endings| endings.push((at, ending)));
    }

    /// Records that the ends of some connections are unknown.
    pub fn lost_endings(&mut self) {
        self.is_told = false;
        for of in &mut self.slots {
            of.clients.endings = None;
            let mut before = &mut of.before;
            while let Some(of) = before {
                of.clients.endings = None;
                before = &mut of.before;
            }
        }
    }

    /// Records a poll that has failed.
    pub fn traffic_unknown(&mut self, process: ProcessId) {
        if let Some(drain) = &mut self.of_mut(process).drain {
            drain.is_unknown = true;
        }
    }

    /// Adds a line to the report of the shutdown, about a fact that only the supervisor knows. Does
    /// nothing before the beginning of a shutdown or of a drain without a stop.
    pub fn remark(&mut self, remark: &str) {
        if self.steps.is_shutdown {
            self.remarks.push(harmless(remark).into_owned());
        }
    }

    /// Records the new state of the container, and of each process that the last event has changed.
    pub fn update(&mut self, now: Time, machine: &Machine) {
        let (phase, _) = ContainerPhase::of(machine);
        if self.phase != phase {
            self.phases = self.phases(now);
            (self.phase, self.phase_since) = (phase, now);
        }
        let state = machine.state();
        let noted = core::mem::take(&mut self.noted);
        for id in noted.into_iter().chain(state.step.touched.iter().copied()) {
            let history = self.of_mut(id);
            let end = history.end.over.map(|end| end.how);
            let is_success = |end| state.process(id).is_success(end) || state.is_answer(id, end);
            let (life, restarts) = (state.life(id), state[id].restarts.after_rest.is_some());
            let new = history.state_after(life, restarts, end.is_some_and(is_success));
            if new != history.state {
                (history.state, history.since) = (new, now);
            }
        }
    }

    /// The time from the start of drainit until every process was ready; `None` before that.
    pub fn start_took(&self) -> Option<Duration> {
        Some(self.all_ready?.since(self.began))
    }

    /// The line of the log for `AllReady`: `everything is ready after 3.2s; router took longest:
    /// 1.7s`.
    pub(crate) fn start_line(&self) -> String {
        let took = human(self.start_took().unwrap_or_default());
        let times = self.tallies.iter().filter_map(|(name, of)| Some((of.start?, name)));
        let slowest =
            times.max().map(|(time, name)| format!("; {name} took longest: {}", human(time)));
        let unprobed = self.unprobed();
        let unprobed = match unprobed.is_empty() {
            true => String::new(),
            false => format!("; started, but not probed: {}", shortened(&unprobed)),
        };
        format!("everything is ready after {took}{}{unprobed}", slowest.unwrap_or_default())
    }

    /// The processes that have started, and have nobody who says whether they are ready.
    fn unprobed(&self) -> Vec<&str> {
        let slots = (0..).map(ProcessId).zip(&self.slots);
        let started = slots.filter(|(_, of)| of.start.first.is_some() && of.end.over.is_none());
        let names = started.map(|(slot, _)| self.names.of(slot));
        // A process that was probed, or a oneshot, has the duration of its start.
        let is_probed = |name: &str| self.tallies.get(name).is_some_and(|of| of.start.is_some());
        names.filter(|name| !is_probed(name)).collect()
    }

    /// The total time in each phase until now. The container can enter a phase more than once.
    pub fn phases(&self, now: Time) -> Vec<(ContainerPhase, Duration)> {
        let mut phases = self.phases.clone();
        let lasted = now.since(self.phase_since);
        match phases.iter_mut().find(|(phase, _)| *phase == self.phase) {
            Some((_, before)) => *before += lasted,
            None => phases.push((self.phase, lasted)),
        }
        phases
    }

    /// The time since the shutdown began; `None` before that.
    pub fn took(&self, now: Time) -> Option<Duration> {
        self.shutdown.map(|(t0, ..)| now.since(t0))
    }

    /// The number of processes that were killed in the shutdown.
    pub fn killed(&self) -> usize {
        self.slots.iter().filter(|of| of.stop.is_some_and(|stop| stop.killed)).count()
    }

    /// The cause of the shutdown; `None` before the shutdown has begun.
    pub fn stopped_by(&self) -> Option<Cause> {
        self.shutdown.map(|(_, cause, _)| cause)
    }
}
