//! What happened during the shutdown, phase by phase: one report, for the log and `/dev/termination-log`.
//!
//! Pure: it is told each [`Note`] with its time, and what was counted, and writes text.

pub mod words;

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
    drains: Vec<DrainLine>,
    stops: Vec<StopLine>,
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
    /// While it drains.
    Meanwhile,
    /// No connection can be added any more: what is in flight ends by itself or is cut.
    End,
}

#[derive(Debug)]
struct DrainLine {
    process: ProcessId,
    /// Its traffic is looked at.
    counted: bool,
    over: Option<(DrainEnd, Duration, Load)>,
    first: Option<Traffic>,
    last: Option<(Traffic, Moment)>,
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
            drains: Vec::new(),
            stops: Vec::new(),
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
                let line = DrainLine { process, counted, over: None, first: None, last: None };
                self.drains.push(line);
            }
            Note::DrainOver { process, why, took, last } => {
                if let Some(line) = self.drain(process) {
                    line.over = Some((why, took, last));
                }
            }
            Note::Stopping { process, .. } => {
                self.stop(process);
            }
            Note::Killed { process, .. } => {
                self.stop(process).killed = true;
            }
            Note::Stopped { process, end, took, .. } => {
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

    /// A look at a process that is being drained.
    pub fn traffic(&mut self, process: ProcessId, traffic: Traffic, moment: Moment) {
        if let Some(line) = self.drain(process) {
            if moment == Moment::Start {
                line.first = Some(traffic);
            }
            line.last = Some((traffic, moment));
        }
    }

    /// Something that only the shell knows, worth a line at the end.
    pub fn remark(&mut self, remark: String) {
        if self.began.is_some() || !self.drains.is_empty() {
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
        for line in &self.drains {
            let _ = write!(text, "\n  drain {}: {}", self.names.of(line.process), line.text());
        }
        for line in &self.stops {
            let _ = write!(text, "\n  stop {}: {}", self.names.of(line.process), line.text());
        }
        let killed = self.stops.iter().filter(|line| line.killed).count();
        if killed > 0 {
            let _ = write!(text, "\n  killed: {killed} of {}", self.stops.len());
        }
        for remark in &self.remarks {
            let _ = write!(text, "\n  {remark}");
        }
        text
    }

    fn drain(&mut self, process: ProcessId) -> Option<&mut DrainLine> {
        self.drains.iter_mut().find(|line| line.process == process)
    }

    fn stop(&mut self, process: ProcessId) -> &mut StopLine {
        let found = self.stops.iter().position(|line| line.process == process);
        let index = found.unwrap_or_else(|| {
            self.stops.push(StopLine { process, end: None, took: None, killed: false });
            self.stops.len() - 1
        });
        &mut self.stops[index]
    }
}

impl DrainLine {
    fn text(&self) -> String {
        let Some((why, took, last)) = self.over else { return "not over".to_owned() };
        let mut text = format!("{}, {}", human(took), words::drain_end(why, last));
        // Only an Envoy can be looked into.
        let Some((last, moment)) = self.last else {
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
        // Where the end came unforeseen, nobody knows what happened after the last look.
        let is_known = moment == Moment::End || why == DrainEnd::Quiet;
        let (at, cut) = if is_known {
            ("at the end", "cut")
        } else {
            ("when last seen", "in flight when last seen")
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
        report.traffic(router, seen(100, 2, 1000), Moment::Start);
        report.traffic(router, seen(50, 1, 1100), Moment::Meanwhile);
        report.traffic(router, Traffic { accepted: Some(103), ..seen(0, 0, 1240) }, Moment::End);
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

    /// The counts in the report of a drain in which this was seen.
    fn counts(seen: &[(Traffic, Moment)]) -> String {
        let router = ProcessId(0);
        let mut report = Report::new(Names(vec!["router".to_owned()]));
        let cause = Cause::Signal(Signal::TERM);
        let (now, took) = (Time(Duration::ZERO), Duration::from_secs(5));
        for note in [
            Note::ShutdownBegan { cause, window: took },
            Note::DrainBegan { process: router, longest: took, min: took, counted: true },
        ] {
            report.note(now, &note);
        }
        for (traffic, moment) in seen {
            report.traffic(router, *traffic, *moment);
        }
        let why = DrainEnd::ProcessGone;
        report.note(now, &Note::DrainOver { process: router, why, took, last: Load::default() });
        let text = report.text(now, 0);
        text.split_once("ended; ").map(|(_, counts)| counts.to_owned()).unwrap_or(text)
    }

    #[test]
    fn each_request_is_counted_once_or_unknown() {
        let seen = |connections, received, requests| Traffic {
            connections: Some(connections),
            accepted: Some(7),
            requests: Some(requests),
            received: Some(received),
        };
        let start = (seen(9, 100, 5), Moment::Start);
        for (seen, text) in [
            // 5 in flight at the start and 20 that came, of which 3 are left.
            (
                vec![start, (seen(4, 120, 3), Moment::End)],
                "connections 9 at the start, 4 at the end, 0 new; requests 22 completed, 3 cut",
            ),
            (
                vec![start, (seen(4, 120, 3), Moment::Meanwhile)],
                "connections 9 at the start, 4 when last seen, 0 new; \
                 requests 22 completed, 3 in flight when last seen",
            ),
            (
                vec![(seen(4, 120, 3), Moment::Meanwhile), (seen(4, 120, 2), Moment::End)],
                "connections unknown at the start, 4 at the end; requests unknown completed, 2 cut",
            ),
            (
                vec![start, (Traffic { connections: Some(0), ..Traffic::default() }, Moment::End)],
                "connections 9 at the start, 0 at the end",
            ),
            (vec![(Traffic::default(), Moment::Start)], "connections unknown"),
        ] {
            assert_eq!(counts(&seen), text);
        }
    }
}
