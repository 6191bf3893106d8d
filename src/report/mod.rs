//! The report of the shutdown, phase by phase, for the log and `/dev/termination-log`, and as data.
//!
//! Pure: it takes each [`Note`], each count and whatever else happens with its time, and writes
//! text ([`Report::text`]) and JSON ([`data`]). [`read`], [`drawing`], [`text`] and [`svg`] are for
//! `drainit report`, which draws such a JSON.

pub mod data;
#[cfg(feature = "tools")]
pub mod drawing;
pub mod events;
pub mod messages;
#[cfg(feature = "tools")]
pub mod read;
pub mod startup;
mod steps;
#[cfg(feature = "tools")]
pub mod svg;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
#[cfg(feature = "tools")]
pub mod text;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::cause::Cause;
use crate::core::event::{Event, Load};
use crate::core::note::{AfterEnd, DrainEnd, Note};
use crate::core::phase::Phase;
use crate::report::messages::Names;
use crate::report::steps::Steps;
use crate::types::{End, ProcessId, Signal, Time, harmless, human};

#[derive(Debug)]
pub struct Report {
    names: Names,
    /// The epoch or PID of each instance of which there were two at a time.
    instances: BTreeMap<ProcessId, String>,
    began: Option<(Time, Cause, Duration)>,
    drains: Lines<DrainLine>,
    stops: Lines<StopLine>,
    remarks: Vec<String>,
    draining_since: Option<Time>,
    /// A shutdown has begun, or the drain that precedes one.
    is_open: bool,
    /// How the current instance of a process ended before the shutdown.
    ended_before: HashMap<ProcessId, End>,
    steps: Steps,
    /// When and how the last instance of a process ended.
    ends: HashMap<ProcessId, (Time, End)>,
    restarts: HashMap<ProcessId, u32>,
    /// When the current instance of a process was asked to end, by which signal, and the time until
    /// KILL.
    asked: HashMap<ProcessId, (Time, Signal, Duration)>,
    /// The drain was requested before the shutdown.
    drain_requested: bool,
}

/// The traffic of a drained process. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections.
    pub connections: Option<u64>,
    /// Accepted connections since its start.
    pub accepted: Option<u64>,
    /// Requests in flight.
    pub requests: Option<u64>,
    /// Received requests since its start.
    pub received: Option<u64>,
}

/// When a [`Traffic`] was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the drain.
    Start,
    /// During the drain, or after it.
    Meanwhile,
    /// The same, with closed listeners: no connection can be added.
    Closed,
}

/// A count at most this long before the end is reported as the count at the end: the time from a
/// poll to the signal that follows it.
const FRESH: Duration = Duration::from_millis(50);

/// At most one line for each process, in the order in which they were begun.
#[derive(Debug)]
struct Lines<T> {
    all: Vec<T>,
    places: HashMap<ProcessId, usize>,
}

impl<T> Lines<T> {
    /// Begins the line of a process, if it has none yet.
    fn push(&mut self, process: ProcessId, line: T) -> &mut T {
        let place = *self.places.entry(process).or_insert(self.all.len());
        if place == self.all.len() {
            self.all.push(line);
        }
        &mut self.all[place]
    }

    /// Removes the line of a process, if it has one.
    fn forget(&mut self, process: ProcessId) {
        if let Some(gone) = self.places.remove(&process) {
            self.all.remove(gone);
            self.places.values_mut().filter(|place| **place > gone).for_each(|place| *place -= 1);
        }
    }

    fn get(&self, process: ProcessId) -> Option<&T> {
        self.places.get(&process).and_then(|place| self.all.get(*place))
    }

    fn of(&mut self, process: ProcessId) -> Option<&mut T> {
        self.places.get(&process).and_then(|place| self.all.get_mut(*place))
    }
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

#[derive(Clone, Copy, Debug)]
struct DrainLine {
    process: ProcessId,
    began: Time,
    min: Duration,
    longest: Duration,
    /// Its traffic is polled.
    counted: bool,
    over: Option<(DrainEnd, Duration, Load)>,
    over_at: Option<Time>,
    first: Option<Traffic>,
    last: Option<(Time, Traffic, Moment)>,
    /// The end of the drain; later, when the process was asked to end, or ended.
    end: Option<Time>,
    is_stopped: bool,
}

/// The traffic of a drain, by its counts. `None` is unknown.
#[derive(Clone, Copy, Debug)]
struct Counts {
    at_start: Option<u64>,
    at_end: Option<u64>,
    new: Option<u64>,
    completed: Option<u64>,
    in_flight: Option<u64>,
    /// The age of the last count at the end; `None` if it still holds there.
    age: Option<Duration>,
}

#[derive(Debug)]
struct StopLine {
    process: ProcessId,
    end: Option<End>,
    took: Option<Duration>,
    killed: bool,
    /// It was an epoch that a newer one had taken over from.
    handed_over: bool,
}

impl Report {
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            instances: BTreeMap::new(),
            began: None,
            drains: Lines::default(),
            stops: Lines::default(),
            remarks: Vec::new(),
            draining_since: None,
            is_open: false,
            ended_before: HashMap::new(),
            steps: Steps::default(),
            ends: HashMap::new(),
            restarts: HashMap::new(),
            asked: HashMap::new(),
            drain_requested: false,
        }
    }

    /// Forgets what it knows of a slot, which has another process from now on.
    pub fn adopt(&mut self, slot: ProcessId, name: String) {
        self.names.set(slot, name);
        self.instances.remove(&slot);
        self.drains.forget(slot);
        self.stops.forget(slot);
        self.ended_before.remove(&slot);
        self.ends.remove(&slot);
        self.restarts.remove(&slot);
        self.asked.remove(&slot);
    }

    /// Names an instance, beside which another one of its process runs. `None` if it is alone: the
    /// name that the slot had is that of an earlier instance.
    pub fn name_instance(&mut self, slot: ProcessId, instance: Option<String>) {
        match instance {
            Some(instance) => self.instances.insert(slot, instance),
            None => self.instances.remove(&slot),
        };
    }

    /// The name of a process, and which of its instances it is.
    fn name_of(&self, slot: ProcessId) -> String {
        match self.instances.get(&slot) {
            Some(instance) => format!("{} ({instance})", self.names.of(slot)),
            None => self.names.of(slot).to_owned(),
        }
    }

    fn line(&self, note: &Note) -> String {
        let instance = note.instance().and_then(|process| self.instances.get(&process));
        messages::line_of(note, &self.names, instance.map(String::as_str)).1
    }

    /// Takes an event that the core has handled, and the phase that followed.
    pub fn event(&mut self, now: Time, event: Event, phase: &Phase) {
        self.steps.event(now, event);
        self.steps.phase(now, phase);
    }

    /// Takes an action of the core other than a note.
    pub fn action(&mut self, now: Time, action: &Action) {
        self.steps.action(now, action);
    }

    pub fn note(&mut self, now: Time, note: &Note) {
        self.steps.note(now, note);
        match *note {
            Note::DrainRequested => {
                self.open();
                self.drain_requested = true;
            }
            Note::ShutdownBegan { cause, window } => {
                self.open();
                self.began = Some((now, cause, window));
            }
            Note::DrainBegan { process, counted, min, longest } => {
                self.draining_since.get_or_insert(now);
                let line = DrainLine { min, longest, ..DrainLine::new(process, counted, now) };
                // Not one of an earlier instance.
                *self.drains.push(process, line) = line;
            }
            Note::DrainOver { process, why, took, last } => {
                if let Some(line) = self.drain(process) {
                    line.over = Some((why, took, last));
                    line.over_at = Some(now);
                    line.end.get_or_insert(now);
                }
            }
            Note::Stopping { process, signal, limit } => {
                self.stopped(now, process);
                self.asked.insert(process, (now, signal, limit));
                if self.is_open {
                    self.stop(process);
                }
            }
            // A KILL for a restart, before the shutdown, is not part of it.
            Note::Killed { process, .. } if self.began.is_some() => {
                self.stopped(now, process);
                let ended_before = self.ended_before.get(&process).copied();
                let line = self.stop(process);
                line.killed = true;
                // Only the rest of its process group was killed.
                line.end = line.end.or(ended_before);
            }
            Note::Started(process) => {
                self.ended_before.remove(&process);
                self.ends.remove(&process);
                self.asked.remove(&process);
            }
            Note::TakesOver { process, old } => {
                let before = self.restarts.remove(&old).unwrap_or_default();
                *self.restarts.entry(process).or_default() += before;
            }
            Note::Stopped { process, end, .. } if !self.is_open => {
                self.ended_before.insert(process, end);
                self.ends.insert(process, (now, end));
            }
            Note::Stopped { process, end, took, handed_over, .. } => {
                self.stopped(now, process);
                self.ends.insert(process, (now, end));
                let line = self.stop(process);
                line.end = Some(end);
                (line.took, line.handed_over) = (took, handed_over);
            }
            // That it gave up explains much, and the log may have rotated.
            Note::Ended { process, end, next } => {
                self.ended_before.insert(process, end);
                self.ends.insert(process, (now, end));
                if let AfterEnd::Restart { .. } = next {
                    *self.restarts.entry(process).or_default() += 1;
                }
                if next == AfterEnd::GivesUp {
                    self.remark_once(note);
                }
            }
            Note::Unhealthy { process, next: Some(AfterEnd::Restart { .. }) }
            | Note::StartFailed { process, next: AfterEnd::Restart { .. }, .. } => {
                *self.restarts.entry(process).or_default() += 1;
            }
            Note::Unhealthy { next: Some(AfterEnd::GivesUp | AfterEnd::StaysDown), .. }
            | Note::StartFailed { .. }
            | Note::NotDrained(_)
            | Note::EndedUndrained { .. } => self.remark_once(note),
            Note::Hurried(_)
            | Note::HookTimedOut(_)
            | Note::DeadlinePassed
            | Note::Unkillable(_)
            | Note::LeftoversRemain
                if self.began.is_some() =>
            {
                self.remark_once(note);
            }
            _ => {}
        }
    }

    /// Adds the line of a note, unless there is the same already: a process may give up any number
    /// of times in the life of a container.
    fn remark_once(&mut self, note: &Note) {
        let line = self.line(note);
        if !self.remarks.contains(&line) {
            self.remarks.push(line);
        }
    }

    /// Drops what requests have drained before; a drain under way belongs to the shutdown now.
    fn open(&mut self) {
        if std::mem::replace(&mut self.is_open, true) {
            return;
        }
        let drains = std::mem::take(&mut self.drains);
        self.draining_since = None;
        for line in drains.all.into_iter().filter(|line| line.over.is_none()) {
            self.drains.push(line.process, line);
        }
    }

    /// Takes the result of a poll that began at `began`.
    pub fn traffic(&mut self, began: Time, process: ProcessId, traffic: Traffic, moment: Moment) {
        if let Some(line) = self.drain(process) {
            if moment == Moment::Start {
                line.first = Some(traffic);
            }
            line.last = Some((began, traffic, moment));
        }
    }

    /// Adds a line about a fact that only the supervisor knows.
    pub fn remark(&mut self, remark: String) {
        if self.is_open {
            self.remarks.push(harmless(&remark).into_owned());
        }
    }

    /// The time since T0; `None` before it.
    #[must_use]
    pub fn took(&self, now: Time) -> Option<Duration> {
        self.began.map(|(t0, ..)| now.since(t0))
    }

    /// The number of processes that were killed in the shutdown.
    pub(crate) fn killed(&self) -> usize {
        self.stops.all.iter().filter(|line| line.killed).count()
    }

    /// The cause of the shutdown, once it has begun.
    pub(crate) fn stopped_by(&self) -> Option<Cause> {
        self.began.map(|(_, cause, _)| cause)
    }

    /// The report: a summary in the first line, then a line for each step.
    #[must_use]
    pub fn text(&self, now: Time, code: u8) -> String {
        let Some((t0, cause, window)) = self.began else { return String::new() };
        let mut text = format!(
            "stopped in {} of {}, exit code {code}: {}",
            human(now.since(t0)),
            human(window),
            messages::why(cause, &self.names)
        );
        if let Some(since) =
            self.draining_since.filter(|since| since.since(t0) >= Duration::from_millis(1))
        {
            let _ = write!(text, "\n  before the drain: {}", human(since.since(t0)));
        }
        for line in &self.drains.all {
            let _ = write!(text, "\n  drain {}: {}", self.name_of(line.process), line.text());
        }
        for line in &self.stops.all {
            let _ = write!(text, "\n  stop {}: {}", self.name_of(line.process), line.text());
        }
        let killed = self.killed();
        if killed > 0 {
            let _ = write!(text, "\n  killed: {killed} of {}", self.stops.all.len());
        }
        for remark in &self.remarks {
            let _ = write!(text, "\n  {remark}");
        }
        text
    }

    /// Records the first of: asked to end, killed, ended. The age of the last count refers to it.
    fn stopped(&mut self, now: Time, process: ProcessId) {
        if let Some(line) = self.drain(process).filter(|line| !line.is_stopped) {
            line.is_stopped = true;
            line.end = Some(now);
        }
    }

    fn drain(&mut self, process: ProcessId) -> Option<&mut DrainLine> {
        self.drains.of(process)
    }

    fn stop(&mut self, process: ProcessId) -> &mut StopLine {
        let line = StopLine { process, end: None, took: None, killed: false, handed_over: false };
        self.stops.push(process, line)
    }
}

impl DrainLine {
    fn new(process: ProcessId, counted: bool, began: Time) -> Self {
        Self {
            process,
            began,
            min: Duration::ZERO,
            longest: Duration::ZERO,
            counted,
            over: None,
            over_at: None,
            first: None,
            last: None,
            end: None,
            is_stopped: false,
        }
    }

    /// The age of a count at the end; `None` if it still holds there.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = matches!(self.over, Some((DrainEnd::Quiet, ..)));
        let is_last = match moment {
            // The end was not foreseen, unless this poll led to it.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // The listeners are closed: after 0 no connection can come.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
        };
        (!is_last).then_some(age)
    }

    /// Only an Envoy can be polled; `None` if nothing is known.
    fn counts(&self) -> Option<Counts> {
        let (seen, last, moment) = self.last?;
        let first = self.first.unwrap_or_default();
        first.connections.or(last.connections)?;
        let newer = |a: Option<u64>, b: Option<u64>| Some(b?.saturating_sub(a?));
        let ended = |traffic: Traffic| Some(traffic.received?.saturating_sub(traffic.requests?));
        Some(Counts {
            at_start: first.connections,
            at_end: last.connections,
            new: newer(first.accepted, last.accepted),
            completed: last.requests.and_then(|_| newer(ended(first), ended(last))),
            in_flight: last.requests,
            age: self.age(seen, last, moment),
        })
    }

    fn text(&self) -> String {
        let Some((why, took, last)) = self.over else { return "not over".to_owned() };
        let mut text = format!("{}, {}", human(took), messages::drain_end(why, last));
        let Some(counts) = self.counts() else {
            let is_unknown = self.counted || self.last.is_some();
            text.push_str(if is_unknown { "; connections unknown" } else { "" });
            return text;
        };
        let count = |count: Option<u64>| {
            count.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
        };
        // Without a poll at the end it is unknown what happened after the last one.
        let (at, cut) = match counts.age {
            None => ("at the end".to_owned(), "cut"),
            Some(age) => (
                format!("when last seen {} before the end", human(age)),
                "in flight when last seen",
            ),
        };
        let (start, end) = (count(counts.at_start), count(counts.at_end));
        let _ = write!(text, "; connections {start} at the start, {end} {at}");
        if let Some(accepted) = counts.new {
            let _ = write!(text, ", {accepted} new");
        }
        if let Some(in_flight) = counts.in_flight {
            let completed = count(counts.completed);
            let _ = write!(text, "; requests {completed} completed, {in_flight} {cut}");
        }
        text
    }
}

impl StopLine {
    fn text(&self) -> String {
        let mut text = match (self.end, self.took) {
            (Some(end), Some(took)) => format!("{}, {end}", human(took)),
            (Some(end), None) if self.killed => end.to_string(),
            (Some(end), None) if self.handed_over => messages::after_handover(end),
            (Some(end), None) => format!("{end} without being asked to"),
            (None, _) => "not seen to end".to_owned(),
        };
        if self.killed {
            text.push_str(" (killed)");
        }
        text
    }
}
