//! The report of the shutdown as text, for the log and `/dev/termination-log`.

use core::fmt::Write as _;
use core::time::Duration;

use crate::counts::{Counts, Ends, RequestData};
use crate::data::label;
use crate::history::{DrainHistory, History, Stop, Tally};
use crate::prelude::*;
use crate::timeline::{ShutdownStep, StepKind, part};
use crate::{Journal, messages};
use drainit_core::types::{ProcessId, Signal, Time, human};

/// The end of a line whose counts nobody knows.
const UNKNOWN: &str = "; connections unknown";
/// Shorter waits get no line.
const SHORTEST: Duration = Duration::from_millis(1);

impl Journal {
    /// The report; empty if there was no shutdown. The first line is a summary. The other lines are
    /// steps, the number of killed processes, and remarks.
    pub fn text(&self, now: Time, code: u8) -> String {
        let Some((t0, cause, window)) = self.shutdown else { return String::new() };
        let mut text = format!(
            "stopped in {} of {}, exit code {code}: {}",
            human(now.since(t0)),
            human(window),
            messages::why(cause, &self.names)
        );
        let slots = || (0..).map(ProcessId).zip(&self.slots);
        let drains = slots().filter_map(|(slot, of)| {
            let drain = of.drain.as_ref().filter(|drain| !drain.is_past)?;
            Some((
                drain.place,
                format!("drain {}: {}", self.name_of(slot), drain.text(t0, of.drained())),
            ))
        });
        let stops = slots().filter_map(|(slot, of)| {
            let stop = of.stop.as_ref()?;
            Some((stop.place, format!("stop {}: {}", self.name_of(slot), stop.text(of))))
        });
        let mut drains: Vec<_> = drains.collect();
        let mut stops: Vec<_> = stops.collect();
        drains.sort_unstable();
        stops.sort_unstable();
        let others = |kind: StepKind, place: u8| {
            let is_one = |step: &ShutdownStep| step.kind == kind && part(step.key()) == place;
            let mut steps: Vec<_> = self.all_steps().filter(is_one).collect();
            steps.sort_by_key(|step| (step.begins, step.key()));
            let lines = steps.into_iter().filter_map(|step| self.line_of(t0, step));
            lines.collect::<Vec<_>>()
        };
        let lines = others(StepKind::ReadinessDelay, 0).into_iter();
        let lines = lines.chain(others(StepKind::PreStop, 0));
        let lines = lines.chain(drains.into_iter().map(|(_, line)| line));
        let lines = lines.chain(others(StepKind::PreStop, 3));
        let count = stops.len();
        let lines = lines.chain(stops.into_iter().map(|(_, line)| line));
        let lines = lines.chain(others(StepKind::PostStop, 3));
        for line in lines.chain(others(StepKind::PostStop, 5)) {
            let _ = write!(text, "\n  {line}");
        }
        let killed = self.killed();
        if killed > 0 {
            let _ = write!(text, "\n  killed: {killed} of {count}");
        }
        let count = |of: fn(&Tally) -> u64| {
            let counts = self.tallies.iter().map(|(name, tally)| (name, of(tally)));
            let counts = counts.filter(|(_, count)| *count > 0);
            counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let restarts = count(|tally| u64::from(tally.restarts));
        for (what, counts) in [("restarts", restarts), ("OOM kills", count(Tally::oom_kills))] {
            if !counts.is_empty() {
                let _ = write!(text, "\n  {what}: {counts}");
            }
        }
        for remark in &self.remarks {
            let _ = write!(text, "\n  {remark}");
        }
        text
    }

    /// The line of a step that is neither a drain nor a stop. `None` if the step took less than
    /// [`SHORTEST`], or was over before `t0`.
    fn line_of(&self, t0: Time, step: ShutdownStep) -> Option<String> {
        let name = step.process.map(|process| self.name_of(process));
        let took = match step.ends {
            Some(ends) if ends < t0 || ends.since(step.begins) < SHORTEST => return None,
            Some(ends) => human(ends.since(step.begins)).to_string(),
            None => "not over".to_owned(),
        };
        Some(format!("{}: {took}", label(step.kind, name.as_deref())))
    }
}

impl DrainHistory {
    fn text(&self, t0: Time, counts: Option<Counts>) -> String {
        let Some((_, why, took, last)) = self.over else { return "not over".to_owned() };
        // A requested drain may be over long before the shutdown begins, so the line says when the
        // drain began.
        let before = match t0.since(self.began) {
            Duration::ZERO => String::new(),
            before => format!(", begun {} before the shutdown", human(before)),
        };
        let why = messages::drain_end(why, last);
        let mut text = format!("{}{before}, {why}", human(took));
        let Some(counts) = counts else {
            let is_unknown = self.counted || self.last.is_some();
            text.push_str(if is_unknown { UNKNOWN } else { "" });
            return text;
        };
        let is_early = counts.2.is_some();
        text + &described(counts, is_early)
    }
}

/// Describes counts, as the last part of a sentence. `is_early` says whether the requests in flight
/// were counted before the stop signal.
fn described((connections, requests, age): Counts, is_early: bool) -> String {
    let count =
        |count: Option<u64>| count.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
    // If the last poll was made before the end of the drain, nobody knows what happened between
    // the poll and the end.
    let at = match age {
        None => "at the end".to_owned(),
        Some(age) => format!("when last seen {} before the end", human(age)),
    };
    let (start, end) = (count(connections.start), count(connections.end));
    let mut text = format!("; connections {start} at the start, {end} {at}");
    if let Some(accepted) = connections.new {
        let _ = write!(text, ", {accepted} new");
    }
    if let Some(requests) = requests {
        let before = match (requests.completed, requests.start) {
            (Some(completed), _) => format!("{completed} completed, "),
            (None, Some(start)) => {
                let perhaps = messages::perhaps(requests.start_unsure.unwrap_or_default());
                format!("{start} at the start{perhaps}, ")
            }
            (None, None) => String::new(),
        };
        let _ = write!(text, "; requests {before}{}", requests.outcome(is_early));
        if let Some(upgrades @ 1..) = requests.upgrades_ended {
            let _ = write!(text, "; upgrades {upgrades} ended");
        }
    }
    text
}

impl RequestData {
    /// Says how many requests were cut. `is_early` is as for [`described`].
    pub(super) fn outcome(&self, is_early: bool) -> String {
        let is_of_kernel = self.unsure.is_some();
        let after = messages::perhaps(self.unsure.unwrap_or_default());
        let (number, what) = match (self.cut, self.in_flight.unwrap_or_default()) {
            (Some(cut), _) if is_of_kernel || !is_early => (cut, "cut"),
            (in_flight, or) if is_early => (in_flight.unwrap_or(or), "in flight when last seen"),
            (_, in_flight) => (in_flight, "in flight at the stop signal"),
        };
        let mut text = format!("{number} {what}{after}");
        if let Some(reset @ 1..) = self.reset {
            let _ = write!(text, "; {reset} reset");
        }
        if let Some(unaccepted @ 1..) = self.unaccepted {
            let _ = write!(text, ", {unaccepted} of them before they were accepted");
        }
        text
    }
}

impl Stop {
    fn text(&self, of: &History) -> String {
        let mut text = match of.end {
            Some((_, end)) if of.ended_first => messages::ended_first(end),
            Some((_, end)) if of.was_asked || self.killed => end.to_string(),
            Some((_, end)) if of.handed_over => messages::after_handover(end),
            Some((_, end)) => format!("{end}{}", of.unasked(end)),
            None => "not seen to end".to_owned(),
        };
        if self.in_drain {
            text.push_str(" in its drain");
        }
        if of.was_asked && !of.ended_first && of.end.is_some_and(|(_, end)| of.is_uncaught(end)) {
            text.push_str(", which it does not catch");
        }
        match self.took {
            _ if self.in_drain => {}
            Some(took) if self.ends.is_some() => text = format!("{}, {text}", human(took)),
            _ if self.ends.is_none() && of.end.is_some() => {
                text.push_str("; the rest of its process group was not seen to end");
            }
            _ => {}
        }
        if self.killed {
            // If SIGKILL ended the process, the text already says that it was killed.
            let is_said = of.end.is_some_and(|(_, end)| end.signal() == Some(Signal::KILL));
            match of.asked.filter(|(_, signal, _)| *signal != Signal::KILL) {
                Some((_, signal, _)) if is_said => {
                    let _ = write!(text, "; {signal} had not ended it");
                }
                _ if is_said => {}
                _ => text.push_str(" (killed)"),
            }
        }
        let is_seen = |(connections, ..): &Counts| connections.start.max(connections.end) > Some(0);
        let has_ended = of.ends().is_some_and(|ends| ends != Ends::default());
        if let Some(counts) = of.cut().filter(|counts| is_seen(counts) || has_ended) {
            text.push_str(&described(counts, of.is_counted_early()));
        }
        text.push_str(if of.is_unknown() { UNKNOWN } else { "" });
        text
    }
}
