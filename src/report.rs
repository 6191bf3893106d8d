//! What happened during the shutdown, phase by phase: one report, for the log and `/dev/termination-log`.
//!
//! Pure: it is told each [`Note`] with its time, and what was counted, and writes text.

pub mod words;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::core::event::{DrainEnd, Load, Note};
use crate::core::exit::Cause;
use crate::vocab::{End, ProcessId, Time, human};
use words::Names;

/// Collects, then tells.
#[derive(Debug)]
pub struct Report {
    names: Names,
    began: Option<(Time, Cause, Duration)>,
    drains: Lines<DrainLine>,
    stops: Lines<StopLine>,
    remarks: Vec<String>,
    draining_since: Option<Time>,
}

/// What a drained process carries at one moment. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that are open.
    pub connections: Option<u64>,
    /// Connections ever accepted.
    pub accepted: Option<u64>,
    /// Requests in flight.
    pub requests: Option<u64>,
    /// Requests ever received.
    pub received: Option<u64>,
}

/// When a [`Traffic`] was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the drain has begun to change it.
    Start,
    /// While it drains, or is drained.
    Meanwhile,
    /// The same, and its listeners are closed: no connection can be added any more.
    Closed,
}

/// What was seen this long before the end, or less, is told as what was there then: the time from a look to the signal that
/// follows it. In more of it much can happen.
const FRESH: Duration = Duration::from_millis(50);

/// Lines, one a process at most, in the order in which they were begun.
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

    fn of(&mut self, process: ProcessId) -> Option<&mut T> {
        self.places.get(&process).and_then(|place| self.all.get_mut(*place))
    }
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { all: Vec::new(), places: HashMap::new() }
    }
}

#[derive(Debug)]
struct DrainLine {
    process: ProcessId,
    /// Its traffic is looked at.
    counted: bool,
    over: Option<(DrainEnd, Duration, Load)>,
    first: Option<Traffic>,
    last: Option<(Time, Traffic, Moment)>,
    /// When it was over, and from the moment when the process is asked to end, or ends, that.
    end: Option<Time>,
    is_stopped: bool,
}

#[derive(Debug)]
struct StopLine {
    process: ProcessId,
    end: Option<End>,
    took: Option<Duration>,
    killed: bool,
}

impl Report {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(names: Names) -> Self {
        Self {
            names,
            began: None,
            drains: Lines::default(),
            stops: Lines::default(),
            remarks: Vec::new(),
            draining_since: None,
        }
    }

    /// Takes note.
    pub fn note(&mut self, now: Time, note: &Note) {
        match *note {
            Note::ShutdownBegan { cause, window } => self.began = Some((now, cause, window)),
            Note::DrainBegan { process, counted, .. } => {
                self.draining_since.get_or_insert(now);
                self.drains.push(process, DrainLine::new(process, counted));
            }
            Note::DrainOver { process, why, took, last } => {
                if let Some(line) = self.drain(process) {
                    line.over = Some((why, took, last));
                    line.end.get_or_insert(now);
                }
            }
            Note::Stopping { process, .. } => {
                self.stopped(now, process);
                self.stop(process);
            }
            Note::Killed { process, .. } => {
                self.stopped(now, process);
                self.stop(process).killed = true;
            }
            Note::Stopped { process, end, took, .. } => {
                self.stopped(now, process);
                let line = self.stop(process);
                line.end = Some(end);
                line.took = took;
            }
            Note::Hurried(_)
            | Note::HookTimedOut(_)
            | Note::DeadlinePassed
            | Note::Unkillable(_)
                if self.began.is_some() =>
            {
                self.remarks.push(words::line(note, &self.names).1);
            }
            _ => {}
        }
    }

    /// What a look, that began then, has shown of a process that is being drained.
    pub fn traffic(&mut self, began: Time, process: ProcessId, traffic: Traffic, moment: Moment) {
        if let Some(line) = self.drain(process) {
            if moment == Moment::Start {
                line.first = Some(traffic);
            }
            line.last = Some((began, traffic, moment));
        }
    }

    /// Something that only the shell knows, worth a line at the end.
    pub fn remark(&mut self, remark: String) {
        if self.began.is_some() || !self.drains.all.is_empty() {
            self.remarks.push(remark);
        }
    }

    /// The report: a first line that says it all, then a line a phase.
    #[must_use]
    pub fn text(&self, now: Time, code: u8) -> String {
        let Some((t0, cause, window)) = self.began else { return String::new() };
        let mut text = format!(
            "stopped in {} of {}, exit code {code}: {}",
            human(now.since(t0)),
            human(window),
            words::why(cause, &self.names)
        );
        if let Some(since) =
            self.draining_since.filter(|since| since.since(t0) >= Duration::from_millis(1))
        {
            let _ = write!(text, "\n  before the drain: {}", human(since.since(t0)));
        }
        for line in &self.drains.all {
            let _ = write!(text, "\n  drain {}: {}", self.names.of(line.process), line.text());
        }
        for line in &self.stops.all {
            let _ = write!(text, "\n  stop {}: {}", self.names.of(line.process), line.text());
        }
        let killed = self.stops.all.iter().filter(|line| line.killed).count();
        if killed > 0 {
            let _ = write!(text, "\n  killed: {killed} of {}", self.stops.all.len());
        }
        for remark in &self.remarks {
            let _ = write!(text, "\n  {remark}");
        }
        text
    }

    /// It was asked to end, was killed, or has ended: the first of these is what its drain's last counts are held against.
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
        let line = StopLine { process, end: None, took: None, killed: false };
        self.stops.push(process, line)
    }
}

impl DrainLine {
    fn new(process: ProcessId, counted: bool) -> Self {
        Self { process, counted, over: None, first: None, last: None, end: None, is_stopped: false }
    }

    /// How long before the end this was seen, unless it tells what was there then.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = matches!(self.over, Some((DrainEnd::Quiet, ..)));
        let is_last = match moment {
            // An end that nobody had foreseen, unless it was this look that led to it.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // Nothing can come after nothing.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
        };
        (!is_last).then_some(age)
    }

    fn text(&self) -> String {
        let Some((why, took, last)) = self.over else { return "not over".to_owned() };
        let mut text = format!("{}, {}", human(took), words::drain_end(why, last));
        // Only an Envoy can be looked into.
        let Some((seen, last, moment)) = self.last else {
            text.push_str(if self.counted { "; connections unknown" } else { "" });
            return text;
        };
        let first = self.first.unwrap_or_default();
        if first.connections.or(last.connections).is_none() {
            text.push_str("; connections unknown");
            return text;
        }
        let count = |count: Option<u64>| {
            count.map_or_else(|| "unknown".to_owned(), |count| count.to_string())
        };
        // Where there was no look at the end, nobody knows what happened after the last one.
        let (at, cut) = match self.age(seen, last, moment) {
            None => ("at the end".to_owned(), "cut"),
            Some(age) => (
                format!("when last seen {} before the end", human(age)),
                "in flight when last seen",
            ),
        };
        let _ = write!(
            text,
            "; connections {} at the start, {} {at}",
            count(first.connections),
            count(last.connections)
        );
        let newer = |a: Option<u64>, b: Option<u64>| Some(b?.saturating_sub(a?));
        if let Some(accepted) = newer(first.accepted, last.accepted) {
            let _ = write!(text, ", {accepted} new");
        }
        if let Some(in_flight) = last.requests {
            let ended =
                |traffic: Traffic| Some(traffic.received?.saturating_sub(traffic.requests?));
            let completed = count(newer(ended(first), ended(last)));
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
            (Some(end), None) => format!("{end} without having been asked to"),
            (None, _) => "not seen to end".to_owned(),
        };
        if self.killed {
            text.push_str(" (killed)");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocab::Signal;

    #[test]
    fn it_tells_each_phase() {
        let mut report = Report::new(Names(vec!["engine".to_owned(), "router".to_owned()]));
        let at = |millis| Time(Duration::from_millis(millis));
        let (engine, router) = (ProcessId(0), ProcessId(1));
        let mut note = |millis, note| report.note(at(millis), &note);
        note(
            0,
            Note::ShutdownBegan {
                cause: Cause::Signal(Signal::TERM),
                window: Duration::from_secs(28),
            },
        );
        note(
            500,
            Note::DrainBegan {
                process: router,
                longest: Duration::from_secs(15),
                min: Duration::ZERO,
                counted: true,
            },
        );
        let seen = |connections, requests, received| Traffic {
            connections: Some(connections),
            accepted: Some(connections),
            requests: Some(requests),
            received: Some(received),
        };
        report.traffic(at(500), router, seen(100, 2, 1000), Moment::Start);
        report.traffic(at(600), router, seen(50, 1, 1100), Moment::Meanwhile);
        let last = Traffic { accepted: Some(103), ..seen(0, 0, 1240) };
        report.traffic(at(6800), router, last, Moment::Closed);
        let mut note = |millis, note| report.note(at(millis), &note);
        let took = Duration::from_millis(6400);
        note(
            6900,
            Note::DrainOver { process: router, why: DrainEnd::Quiet, took, last: Load::default() },
        );
        let limit = Duration::from_secs(10);
        for (process, start, end) in
            [(router, 6900, End::Code(0)), (engine, 7000, End::Signal(Signal::KILL))]
        {
            note(start, Note::Stopping { process, signal: Signal::TERM, limit });
            if !end.is_success() {
                note(start + 90, Note::Killed { process, after: Some(limit) });
            }
            note(
                start + 100,
                Note::Stopped {
                    process,
                    end,
                    took: Some(Duration::from_millis(100)),
                    killed: !end.is_success(),
                },
            );
        }
        assert_eq!(
            report.text(at(7200), 137),
            "stopped in 7.2s of 28s, exit code 137: SIGTERM received\n  \
             before the drain: 500ms\n  \
             drain router: 6.4s, no connection left; connections 100 at the start, 0 at the end, 3 new; \
             requests 242 completed, 0 cut\n  \
             stop router: 100ms, exited with code 0\n  \
             stop engine: 100ms, was ended by SIGKILL (killed)\n  \
             killed: 1 of 2"
        );
    }

    /// The counts in the report of a drain of 5 s in which this was seen at these milliseconds. It was over at 5 s, and the
    /// process was asked to end at `stopped`.
    fn counts(seen: &[(u64, Traffic, Moment)], stopped: u64) -> String {
        let router = ProcessId(0);
        let mut report = Report::new(Names(vec!["router".to_owned()]));
        let cause = Cause::Signal(Signal::TERM);
        let at = |millis| Time(Duration::from_millis(millis));
        let took = Duration::from_secs(5);
        for note in [
            Note::ShutdownBegan { cause, window: took },
            Note::DrainBegan { process: router, longest: took, min: took, counted: true },
        ] {
            report.note(at(0), &note);
        }
        for (millis, traffic, moment) in seen.iter().filter(|(millis, ..)| *millis <= 5000) {
            report.traffic(at(*millis), router, *traffic, *moment);
        }
        let why = DrainEnd::TimeOver;
        report
            .note(at(5000), &Note::DrainOver { process: router, why, took, last: Load::default() });
        for (millis, traffic, moment) in seen.iter().filter(|(millis, ..)| *millis > 5000) {
            report.traffic(at(*millis), router, *traffic, *moment);
        }
        let signal = Signal::TERM;
        report.note(at(stopped), &Note::Stopping { process: router, signal, limit: took });
        // That it takes a while to end changes nothing.
        report.note(
            at(stopped + 900),
            &Note::Stopped { process: router, end: End::Code(0), took: None, killed: false },
        );
        let text = report.text(at(stopped + 900), 0);
        let counts = text.lines().find_map(|line| line.split_once("time is over; "));
        counts.map(|(_, counts)| counts.to_owned()).unwrap_or(text)
    }

    fn seen(connections: u64, received: u64, requests: u64) -> Traffic {
        Traffic {
            connections: Some(connections),
            accepted: Some(7),
            requests: Some(requests),
            received: Some(received),
        }
    }

    #[test]
    fn each_request_is_counted_once_or_unknown() {
        let start = (0, seen(9, 100, 5), Moment::Start);
        let nothing = Traffic { connections: Some(0), ..Traffic::default() };
        for (seen, text) in [
            // 5 in flight at the start and 20 that came, of which 3 are left.
            (
                vec![start, (4990, seen(4, 120, 3), Moment::Closed)],
                "connections 9 at the start, 4 at the end, 0 new; requests 22 completed, 3 cut",
            ),
            (
                vec![
                    (1000, seen(4, 120, 3), Moment::Meanwhile),
                    (4990, seen(4, 120, 2), Moment::Closed),
                ],
                "connections unknown at the start, 4 at the end; requests unknown completed, 2 cut",
            ),
            (
                vec![start, (4990, nothing, Moment::Closed)],
                "connections 9 at the start, 0 at the end",
            ),
            (vec![(0, Traffic::default(), Moment::Start)], "connections unknown"),
        ] {
            assert_eq!(counts(&seen, 5000), text);
        }
    }

    #[test]
    fn what_was_seen_a_while_before_the_end_is_not_told_as_the_end() {
        let start = (0, seen(90, 100, 5), Moment::Start);
        for (millis, moment, stopped, connections, text) in [
            (4990, Moment::Closed, 5000, 73, "73 at the end, 0 new; requests 22 completed, 3 cut"),
            // The last look was not answered; the one before is told for what it is.
            (
                4900,
                Moment::Closed,
                5000,
                73,
                "73 when last seen 100ms before the end, 0 new; requests 22 completed, 3 in flight when last seen",
            ),
            // Its listeners are not closed: a connection may be added the next moment.
            (
                4990,
                Moment::Meanwhile,
                5000,
                73,
                "73 when last seen 10ms before the end, 0 new; requests 22 completed, 3 in flight when last seen",
            ),
            // Nothing can come after nothing.
            (3000, Moment::Closed, 5000, 0, "0 at the end, 0 new; requests 22 completed, 3 cut"),
            // It was drained long before it was stopped, and then looked at again; or not.
            (
                60_000,
                Moment::Closed,
                60_001,
                73,
                "73 at the end, 0 new; requests 22 completed, 3 cut",
            ),
            (
                4990,
                Moment::Closed,
                60_001,
                73,
                "73 when last seen 55.01s before the end, 0 new; requests 22 completed, 3 in flight when last seen",
            ),
        ] {
            let counts = counts(&[start, (millis, seen(connections, 120, 3), moment)], stopped);
            assert_eq!(counts, format!("connections 90 at the start, {text}"));
        }
    }
}
