//! Plays the clients of the processes, and checks the number of requests that were cut: in the
//! status after a request of an operator, and in the totals of the report.

use std::collections::BTreeSet;

use super::*;
use crate::core::connections::endings::Ending;

/// The clients of an instance, as far as drainit knows them, since the beginning of the requests or of the
/// shutdown.
#[derive(Clone, Debug, Default)]
struct Clients {
    process: String,
    /// The number of connections, and of requests in flight, at the last look.
    connections: u64,
    in_flight: u64,
    looked: Time,
    asked: Option<Time>,
    cut: u64,
    has_ended: bool,
    /// Whether the next instance of the slot has started.
    has_next: bool,
}

impl Clients {
    /// Whether the last look was too long before the stop signal.
    fn is_early(&self) -> bool {
        self.asked.is_some_and(|asked| asked.since(self.looked) > Duration::from_millis(50))
    }

    /// The number of the requests that the end of the instance has cut, and what is known of it.
    fn cost(&self, is_told: bool) -> Option<(u64, &'static str)> {
        let (number, what) = match (is_told, self.is_early()) {
            (true, _) => (self.cut, "cut"),
            (false, true) => (self.in_flight, "in flight when last seen"),
            (false, false) => (self.in_flight, "in flight at the stop signal"),
        };
        (self.has_ended && number > 0).then_some((number, what))
    }
}

/// The clients of all instances.
#[derive(Default)]
pub(super) struct AllClients {
    /// The requests of operators that are under way.
    open: Vec<(String, Request)>,
    /// The requests that were answered in this step.
    pub(super) answered: Vec<(ProcessId, Request)>,
    /// How often each request for a process was done.
    pub(super) done: BTreeMap<(ProcessId, &'static str), usize>,
    /// Whether the kernel tells how connections end.
    is_told: bool,
    /// The instances that somebody has looked at, with the slot of each.
    of: Vec<(ProcessId, Clients)>,
}

impl AllClients {
    fn begin(&mut self, is_told: bool) {
        (self.is_told, self.of) = (is_told, Vec::new());
    }

    /// The requests that were done for the same process more than once, by name.
    pub(super) fn repeated(&self) -> BTreeSet<String> {
        let repeated = self.done.iter().filter(|(_, count)| **count > 1);
        repeated.map(|((_, request), _)| (*request).to_owned()).collect()
    }

    /// The last instance of a slot, if somebody has looked at it.
    fn last(&mut self, slot: ProcessId) -> Option<&mut Clients> {
        self.of.iter_mut().rev().find(|(of, _)| *of == slot).map(|(_, clients)| clients)
    }
}

impl Play {
    /// Whether the kernel counts the clients of the instance, and not Envoy.
    pub(super) fn is_looked_at(&self, process: ProcessId) -> bool {
        let state = self.processes.machine().state();
        !state.process(process).drain.is_some_and(|drain| drain.closes)
    }

    /// Looks at the clients of all instances that run.
    fn look(&mut self) {
        let alive = self.record.slots.iter().filter(|(_, slot)| slot.pid.is_some());
        let alive: Vec<_> = alive.map(|(id, _)| *id).collect();
        for process in alive.into_iter().filter(|id| self.is_looked_at(*id)).collect::<Vec<_>>() {
            if self.random.one_in(4) {
                continue;
            }
            let now = self.now;
            let in_flight = self.random.below(4);
            let connections = in_flight + self.random.below(3);
            let traffic = Traffic {
                connections: Some(connections),
                requests: Some(in_flight),
                unsure: Some(0),
                ..Traffic::default()
            };
            self.processes.history(process).serves(now, traffic);
            let slot = &self.record.slots[&process];
            let seen = Clients {
                process: slot.name.clone(),
                connections,
                in_flight,
                looked: now,
                asked: slot.asked.map(|(at, _)| at),
                ..Clients::default()
            };
            let known = self.clients.last(process).filter(|known| !known.has_ended);
            match known {
                // The first count at the signal stays.
                Some(known) if known.asked.is_some() && !known.is_early() => {}
                Some(known) => (known.in_flight, known.looked) = (in_flight, now),
                None => self.clients.of.push((process, seen)),
            }
        }
    }

    /// Looks at the clients before a request of an operator.
    pub(super) fn before_request(&mut self, process: ProcessId, request: Request) {
        if !matches!(self.processes.machine().phase(), Phase::Running(_)) {
            return;
        }
        if self.clients.open.is_empty() {
            let is_told = !self.random.one_in(4);
            self.clients.begin(is_told);
            self.processes.journal.sees_endings(is_told);
        }
        self.clients.open.push((self.record.slots[&process].name.clone(), request));
        self.look();
    }

    pub(super) fn asked_to_end(&mut self, process: ProcessId) {
        let now = self.now;
        self.processes.history(process).end.asked_since.get_or_insert(now);
        let clients = self.clients.last(process).filter(|clients| !clients.has_ended);
        clients.into_iter().for_each(|clients| _ = clients.asked.get_or_insert(now));
    }

    pub(super) fn has_ended(&mut self, process: ProcessId) {
        let clients = self.clients.last(process).filter(|clients| !clients.has_next);
        clients.into_iter().for_each(|clients| clients.has_ended = true);
    }

    pub(super) fn has_started(&mut self, process: ProcessId) {
        let clients = self.clients.last(process);
        clients.into_iter().for_each(|clients| clients.has_next = true);
    }

    /// Cuts a request of an instance that was asked to end, or has ended.
    pub(super) fn may_cut(&mut self) {
        let Self { random, clients, record, processes, .. } = self;
        if !clients.is_told || clients.of.is_empty() || !random.one_in(2) {
            return;
        }
        let place = random.below(clients.of.len() as u64) as usize;
        let is_last = !clients.of[place + 1..].iter().any(|(of, _)| *of == clients.of[place].0);
        let (process, of) = &mut clients.of[place];
        let slot = &record.slots[process];
        // Once another instance was asked to end, a connection belongs to that instance.
        let is_its = is_last && (!of.has_next || slot.asked.is_none());
        let is_its = is_its && (of.asked.is_some() || of.has_ended);
        if is_its {
            let now = self.now;
            processes.journal.connection_ended(now, *process, Ending::Cut);
            of.cut += 1;
        }
    }

    /// Ends the requests that were answered in this step, and checks what their answers say.
    pub(super) fn after_requests(&mut self) {
        let answered = std::mem::take(&mut self.clients.answered);
        // A shutdown has the costs in its report.
        if answered.is_empty() || !matches!(self.processes.machine().phase(), Phase::Running(_)) {
            return;
        }
        self.processes.journal.sum_up_ends();
        for (process, request) in answered {
            let answered = (self.record.slots[&process].name.clone(), request);
            self.clients.open.retain(|open| *open != answered);
        }
        let AllClients { is_told, of, .. } = &self.clients;
        for name in self.record.of.keys() {
            let costs = of.iter().filter(|(_, clients)| clients.process == *name);
            let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
            for (number, what) in costs.filter_map(|(_, clients)| clients.cost(*is_told)) {
                *sums.entry(what).or_default() += number;
            }
            let mut expected: Vec<_> =
                sums.iter().map(|(what, number)| format!("requests {number} {what}")).collect();
            let shown =
                self.processes.journal.counted(self.record.current[name]).cost.unwrap_or_default();
            let mut shown: Vec<_> = shown.split("; ").filter(|it| !it.is_empty()).collect();
            expected.sort();
            shown.sort_unstable();
            // holds: S790, S864
            assert_eq!(shown, expected, "the cost of {name}");
        }
    }

    /// Looks at the clients at the beginning of a shutdown.
    pub(super) fn count_clients(&mut self) {
        let is_told = !self.random.one_in(4);
        self.clients.begin(is_told);
        self.processes.journal.sees_endings(is_told);
        let alive = self.record.slots.iter().filter(|(_, slot)| slot.pid.is_some());
        let alive: Vec<_> = alive.map(|(id, _)| *id).collect();
        for process in alive {
            if self.is_looked_at(process) {
                self.processes.history(process).clients.is_uncounted = true;
            }
        }
        self.look();
    }

    /// The samples of the metrics about the clients of an instance that the shutdown stops.
    pub(super) fn metrics_of_stop(&self, process: ProcessId) -> Vec<(&'static str, u64)> {
        let is_stop = self.record.shutdown.as_ref().is_some_and(|(.., is_held)| !is_held);
        let looked = self.clients.of.iter().find(|(of, _)| is_stop && *of == process);
        let Some((_, of)) = looked else { return Vec::new() };
        let mut all = vec![("drain_requests_unsure", 0)];
        match (of.has_ended, self.clients.is_told) {
            (false, _) => {
                all.push(("drain_connections_active", of.connections));
                all.push(("drain_requests_active", of.in_flight));
            }
            (true, true) => {
                all.extend([("drain_requests_cut", of.cut), ("drain_requests_left", 0)])
            }
            (true, false) => {}
        }
        all
    }

    /// Checks that each total is the sum of the lines of the report.
    pub(super) fn check_totals(&self, text: &str, report: &Value) {
        let ledger = self.processes.journal.ledger(text);
        let (head, ledger) = (text.lines().next().unwrap(), ledger.lines().next().unwrap());
        let totals = ledger.strip_prefix(head).unwrap().strip_prefix("; ").unwrap();
        let total = |name: &str| {
            let mut all = totals.split(", ").filter_map(|total| total.split_once(' '));
            all.find(|(of, _)| *of == name).unwrap().1.to_owned()
        };
        let warnings = report["warnings"].as_array().unwrap();
        let is_step = |line: &&str| {
            (line.starts_with("  drain ") || line.starts_with("  stop "))
                && !warnings.iter().any(|warning| warning == &line[2..])
        };
        let lines: Vec<_> = text.lines().filter(is_step).collect();
        let (mut connections, mut cut) = (Sum::default(), Sum::default());
        for line in &lines {
            if line.ends_with("; connections unknown") {
                (connections.is_whole, cut.is_whole) = (false, false);
                continue;
            }
            let Some((_, counts)) = line.split_once("; connections ") else { continue };
            connections.add(counts.split(' ').next().unwrap().parse().ok());
            let words = counts.split_once("; requests ").map_or("", |(_, requests)| requests);
            let words: Vec<_> = words.split([' ', ';', ',']).collect();
            let place = words.iter().position(|word| *word == "cut");
            cut.add(place.map(|place| words[place - 1].parse().unwrap()));
            let perhaps = place.and_then(|place| words.get(place + 1));
            cut.is_whole &= perhaps != Some(&"(perhaps");
        }
        let mut requests = Sum::default();
        for process in report["processes"].as_array().unwrap() {
            for counts in [&process["drain"], &process["stop"]] {
                if !counts["connections"].is_null() {
                    requests.add(counts["requests"]["start"].as_u64());
                }
            }
        }
        requests.is_whole &= !lines.iter().any(|line| line.ends_with("; connections unknown"));
        // holds: S775, S776
        for (name, sum) in [("connections", connections), ("requests", requests), ("cut", cut)] {
            let shown = total(name);
            assert!(sum.is(&shown), "{name} {shown}, not {sum:?}, in {totals}\n{text}");
        }
        let killed = self.record.slots.values().filter(|slot| slot.killed_in_shutdown).count();
        assert_eq!(total("killed"), killed.to_string(), "{text}");
    }
}

/// The sum of the numbers in the lines of a report.
#[derive(Debug)]
struct Sum {
    sum: u64,
    is_whole: bool,
}

impl Default for Sum {
    fn default() -> Self {
        Self { sum: 0, is_whole: true }
    }
}

impl Sum {
    fn add(&mut self, number: Option<u64>) {
        self.sum += number.unwrap_or_default();
        self.is_whole &= number.is_some();
    }

    /// Whether a total shows this sum.
    fn is(&self, total: &str) -> bool {
        match (self.sum, self.is_whole) {
            // A line leaves out counts of 0, so nothing may have been counted.
            (0, true) => ["0", "-"].contains(&total),
            (0, false) => total == "-",
            (sum, true) => total == sum.to_string(),
            (sum, false) => total == format!("{sum}+"),
        }
    }
}
