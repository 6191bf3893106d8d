//! The report of the shutdown as text, for the log and `/dev/termination-log`.

use core::fmt::Write as _;
use core::time::Duration;

use crate::counts::{CountData, Ends, RequestData};
use crate::data::label;
use crate::drain::DrainHistory;
use crate::end::{EndedBy, Stop};
use crate::history::History;
use crate::prelude::*;
use crate::tally::Tally;
use crate::timeline::{ShutdownStep, StepKind};
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
        // Each line with its block, and with its order within the block.
        let mut lines = Vec::new();
        for (slot, of) in (0..).map(ProcessId).zip(&self.slots) {
            let name = self.name_of(slot);
            if let Some(drain) = of.drain.as_ref().filter(|drain| !drain.is_past) {
                let text = drain.text(t0, of.drained());
                lines.push(((2, drain.place, None), format!("drain {name}: {text}")));
            }
            if let Some(stop) = &of.stop {
                lines.push(((4, stop.place, None), format!("stop {name}: {}", stop.text(of))));
            }
        }
        for step in self.steps.all() {
            let block = match step.key() {
                (StepKind::ReadinessDelay, _) => 0,
                (StepKind::PreStop, None) => 1,
                (StepKind::PreStop, Some(_)) => 3,
                (StepKind::PostStop, Some(_)) => 5,
                (StepKind::PostStop, None) => 6,
                _ => continue,
            };
            let order = (block, 0, Some((step.begins, step.process)));
            lines.extend(self.line_of(t0, step).map(|line| (order, line)));
        }
        lines.sort();
        for (_, line) in lines {
            let _ = write!(text, "\n  {line}");
        }
        let killed = self.killed();
        if killed > 0 {
            let stops = self.slots.iter().filter(|of| of.stop.is_some()).count();
            let _ = write!(text, "\n  killed: {killed} of {stops}");
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
    fn text(&self, t0: Time, counts: Option<CountData>) -> String {
        let Some((_, over)) = self.over else { return "not over".to_owned() };
        // A requested drain may be over long before the shutdown begins, so the line says when the
        // drain began.
        let before = match t0.since(self.began) {
            Duration::ZERO => String::new(),
            before => format!(", begun {} before the shutdown", human(before)),
        };
        let why = messages::drain_end(&over);
        let text = format!("{}{before}, {why}", human(over.took));
        match counts {
            Some(counts) => text + &described(counts, counts.age.is_some()),
            None if self.counted || self.last.is_some() => text + UNKNOWN,
            None => text,
        }
    }
}

/// Describes counts, as the last part of a sentence. `is_early` says whether the requests in flight
/// were counted before the stop signal.
fn described(CountData { connections, requests, age }: CountData, is_early: bool) -> String {
    let connections = connections.unwrap_or_default();
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
    /// The number of requests that were cut, and what the number counts. `is_early` is as for
    /// [`described`].
    pub(super) fn lost(&self, is_early: bool) -> (u64, &'static str) {
        let is_of_kernel = self.unsure.is_some();
        match (self.cut, self.in_flight.unwrap_or_default()) {
            (Some(cut), _) if is_of_kernel || !is_early => (cut, "cut"),
            (in_flight, or) if is_early => (in_flight.unwrap_or(or), "in flight when last seen"),
            (_, in_flight) => (in_flight, "in flight at the stop signal"),
        }
    }

    /// Says how many requests were cut. `is_early` is as for [`described`].
    pub(super) fn outcome(&self, is_early: bool) -> String {
        let after = messages::perhaps(self.unsure.unwrap_or_default());
        let (number, what) = self.lost(is_early);
        let mut text = format!("{number} {what}{after}");
        if let Some(left @ 1..) = self.left {
            let _ = write!(text, "; {left} left");
        }
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
        let mut text = match of.end.over {
            None => "not seen to end".to_owned(),
            Some(end) => match end.by {
                EndedBy::ProcessFirst => messages::ended_first(end.how),
                EndedBy::Stop | EndedBy::Kill => end.how.to_string(),
                _ if self.killed => end.how.to_string(),
                EndedBy::Newer => messages::after_handover(end.how),
                EndedBy::Process | EndedBy::Completion | EndedBy::Unasked => {
                    format!("{}{}", end.how, of.end.unasked(end.how))
                }
            },
        };
        if self.in_drain {
            text.push_str(" in its drain");
        }
        if of.end.over.is_some_and(|end| end.by.is_asked() && of.end.is_uncaught(end.how)) {
            text.push_str(", which it does not catch");
        }
        match self.took {
            _ if self.in_drain => {}
            Some(took) if self.ends.is_some() => text = format!("{}, {text}", human(took)),
            _ if self.ends.is_none() && of.end.over.is_some() => {
                text.push_str("; the rest of its process group was not seen to end");
            }
            _ => {}
        }
        if self.killed {
            // If SIGKILL ended the process, the text already says that it was killed.
            let is_said = of.end.over.is_some_and(|end| end.how.signal() == Some(Signal::KILL));
            match of.end.asked.filter(|asked| asked.signal != Signal::KILL) {
                Some(asked) if is_said => {
                    let _ = write!(text, "; {} had not ended it", asked.signal);
                }
                _ if is_said => {}
                _ => text.push_str(" (killed)"),
            }
        }
        let is_seen = |counts: &CountData| {
            counts.connections.is_some_and(|of| of.start.max(of.end) > Some(0))
        };
        let has_ended = of.ends().is_some_and(|ends| ends != Ends::default());
        if let Some(counts) = of.cut().filter(|counts| is_seen(counts) || has_ended) {
            text.push_str(&described(counts, of.is_counted_early()));
        }
        text.push_str(if of.is_unknown() { UNKNOWN } else { "" });
        text
    }
}
