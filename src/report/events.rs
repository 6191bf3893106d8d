//! The event for each [`Note`]: one JSON object, for programs that follow what drainit does.
//!
//! Pure. It holds only names of the config, numbers and fixed words, so no value of a variable or
//! an argument gets into an event. `docs/events.md` lists them; a test compares.

use std::time::Duration;

use serde::Serialize;

use crate::config::WatchAction;
use crate::core::event::{Load, Request, Unit};
use crate::core::note::{AfterEnd, Hurry, Note};
use crate::core::spec::HookId;
use crate::report::messages::{Names, request_error, request_name, stage_name, why};
use crate::types::{End, EndKind, ProcessId, Signal, serialize_some_seconds};

/// One event. A field is left out where the event has no such fact.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event<'a> {
    /// RFC 3339, UTC, with milliseconds.
    pub time: &'a str,
    pub event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<&'a str>,
    /// The PID of the instance that was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<&'static str>,
    /// The dependency that a process follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency: Option<&'a str>,
    /// `stop`, `start` or `restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'static str>,
    /// As a shell reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that was sent, or that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The consequence of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
    /// Consecutive restarts, with the one that follows; consecutive failures of a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The number of consecutive failures that are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The time that what is over has taken.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub seconds: Option<Duration>,
    /// The shortest time that what begins will take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub min_seconds: Option<Duration>,
    /// The longest time that what begins may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub max_seconds: Option<Duration>,
    /// Open connections at the end of a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Requests in flight at the end of a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

impl Event<'_> {
    /// The event as a line of JSON.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Strings and numbers can always be written.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// The event of a note. Every note has one.
#[must_use]
pub fn event<'a>(time: &'a str, note: &Note, names: &'a Names) -> Event<'a> {
    let plain = |event: &'static str| Event { time, event, ..Event::default() };
    let of = |event: &'static str, process: ProcessId| Event {
        process: Some(names.of(process)),
        ..plain(event)
    };
    match *note {
        Note::Skipped(process) => of("skipped", process),
        Note::Started(process) => of("started", process),
        Note::Ready { process, after } => Event { seconds: Some(after), ..of("ready", process) },
        Note::AllReady => plain("all_ready"),
        Note::Completed { process, after } => {
            Event { seconds: Some(after), ..ended(of("completed", process), End::Code(0), false) }
        }
        Note::Ended { process, end, next } => {
            follows(ended(of("ended", process), end, false), Some(next))
        }
        Note::NotReady { process, after } => {
            Event { seconds: Some(after), ..of("not_ready", process) }
        }
        Note::TimedOut { process, after } => {
            Event { seconds: Some(after), ..of("timed_out", process) }
        }
        Note::StartFailed { process, next, .. } => follows(of("start_failed", process), Some(next)),
        Note::HookTimedOut(HookId { process, stage }) => Event {
            process: process.map(|process| names.of(process)),
            hook: Some(stage_name(stage)),
            ..plain("hook_timed_out")
        },
        Note::DrainRequested => plain("drain_requested"),
        Note::RequestBegan { process, request } => {
            Event { request: Some(request_name(request)), ..of("request_began", process) }
        }
        Note::FileChanged { process, action, .. } => match action {
            WatchAction::Restart => Event {
                request: Some(request_name(Request::Restart)),
                ..of("file_changed", process)
            },
            WatchAction::Reload => Event { request: Some("reload"), ..of("file_changed", process) },
            WatchAction::Signal(signal) => {
                Event { signal: Some(signal.to_string()), ..of("file_changed", process) }
            }
        },
        Note::RequestDone { process, request } => {
            Event { request: Some(request_name(request)), ..of("request_done", process) }
        }
        Note::RequestFailed { process, request, why } => Event {
            request: Some(request_name(request)),
            cause: Some(request_error(why, names)),
            ..of("request_failed", process)
        },
        Note::Follows { process, on } => {
            Event { dependency: Some(names.of(on)), ..of("follows", process) }
        }
        Note::Replacing { process, .. } => of("replacing", process),
        Note::TakesOver { process, .. } => of("takes_over", process),
        Note::TakenBack { process, why, .. } => {
            Event { cause: Some(request_error(why, names)), ..of("taken_back", process) }
        }
        Note::Adding(process) => of("adding", process),
        Note::Removing(process) => of("removing", process),
        Note::ReloadDone => plain("reload_done"),
        Note::ReloadFailed { why } => {
            Event { cause: Some(request_error(why, names)), ..plain("reload_failed") }
        }
        Note::ProbeFailed { process, failures, retries } => {
            Event { attempt: Some(failures), retries: Some(retries), ..of("probe_failed", process) }
        }
        Note::TimeoutExtended { process, limit } => {
            Event { max_seconds: Some(limit), ..of("timeout_extended", process) }
        }
        Note::Unhealthy { process, next } => follows(of("unhealthy", process), next),
        Note::ShutdownBegan { cause, window } => {
            Event { cause: Some(why(cause, names)), max_seconds: Some(window), ..plain("shutdown") }
        }
        Note::GroupRemains(process) => of("group_remains", process),
        Note::Hurried(hurry) => Event {
            reason: Some(match hurry {
                Hurry::Continue => "continue",
                Hurry::CutWaits => "cut_waits",
                Hurry::KillAll => "kill_all",
            }),
            ..plain("hurried")
        },
        Note::DrainBegan { process, longest, min, .. } => {
            Event { min_seconds: Some(min), max_seconds: Some(longest), ..of("draining", process) }
        }
        Note::NotDrained(process) => of("not_drained", process),
        Note::DrainOver { process, why, took, last } => Event {
            reason: Some(why.name()),
            seconds: Some(took),
            connections: open(last, Unit::Connections),
            requests: open(last, Unit::Requests),
            ..of("drained", process)
        },
        Note::OpenAgain { process, load, longest } => Event {
            max_seconds: Some(longest),
            connections: open(load, Unit::Connections),
            requests: open(load, Unit::Requests),
            ..of("open_again", process)
        },
        Note::EndedUndrained { process, signal, .. } => {
            Event { signal: Some(signal.to_string()), ..of("ended_undrained", process) }
        }
        Note::Stopping { process, signal, limit } => Event {
            signal: Some(signal.to_string()),
            max_seconds: (signal != Signal::KILL).then_some(limit),
            ..of("stopping", process)
        },
        Note::HandedOver { process, limit, .. } => {
            Event { max_seconds: Some(limit), ..of("handed_over", process) }
        }
        Note::EpochDoomed { process, within } => {
            Event { max_seconds: Some(within), ..of("epoch_doomed", process) }
        }
        Note::Killed { process, after } => Event { seconds: after, ..of("killed", process) },
        Note::LeftoversRemain => plain("leftovers_remain"),
        Note::Stopped { process, end, took, killed, .. } => {
            Event { seconds: took, ..ended(of("stopped", process), end, killed) }
        }
        Note::DeadlinePassed => plain("deadline_passed"),
        Note::Unkillable(process) => of("unkillable", process),
    }
}

/// The event of a reload that was refused before the core heard of it. Only the last line of `why`:
/// others may hold text of the config.
#[must_use]
pub fn reload_failed<'a>(time: &'a str, why: &str) -> Event<'a> {
    let cause = why.lines().last().map(str::to_owned);
    Event { time, event: "reload_failed", cause, ..Event::default() }
}

/// The last event: drainit exits with this code, so long after T0.
#[must_use]
pub fn exit(time: &str, exit_code: u8, took: Option<Duration>) -> Event<'_> {
    Event { time, event: "exit", exit_code: Some(exit_code), seconds: took, ..Event::default() }
}

fn ended(event: Event<'_>, end: End, killed: bool) -> Event<'_> {
    Event {
        exit_code: Some(end.exit_code()),
        signal: end.signal().map(|signal| signal.to_string()),
        reason: Some(EndKind::of(end, killed).name()),
        ..event
    }
}

/// Adds what follows an end.
fn follows(event: Event<'_>, next: Option<AfterEnd>) -> Event<'_> {
    let event = Event { next: next.map(next_name), ..event };
    match next {
        Some(AfterEnd::Restart { delay, attempt }) => {
            Event { attempt: Some(attempt), min_seconds: Some(delay), ..event }
        }
        _ => event,
    }
}

fn next_name(next: AfterEnd) -> &'static str {
    match next {
        AfterEnd::Restart { .. } => "restart",
        AfterEnd::Nothing | AfterEnd::StaysDown | AfterEnd::GivesUp => "stays_down",
        AfterEnd::Shutdown | AfterEnd::Exhausted => "shutdown",
    }
}

fn open(last: Load, unit: Unit) -> Option<u64> {
    last.active.filter(|_| last.unit == unit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::core::cause::Cause;
    use crate::core::note::{DrainEnd, Evidence, RequestError, StartFailure};
    use crate::core::spec::Stage;

    const SECOND: Duration = Duration::from_secs(1);

    /// A note of every kind.
    fn all() -> Vec<Note> {
        let process = ProcessId(0);
        let (end, signal) = (End::Signal(Signal::TERM), Signal::TERM);
        let last = Load { active: Some(3), ..Load::default() };
        let hook = HookId { process: Some(process), stage: Stage::PreStop };
        vec![
            Note::Skipped(process),
            Note::Started(process),
            Note::Ready { process, after: SECOND },
            Note::AllReady,
            Note::Completed { process, after: SECOND },
            Note::Ended { process, end, next: AfterEnd::Restart { delay: SECOND, attempt: 2 } },
            Note::NotReady { process, after: SECOND },
            Note::TimedOut { process, after: SECOND },
            Note::StartFailed { process, why: StartFailure::Hook, next: AfterEnd::StaysDown },
            Note::HookTimedOut(hook),
            Note::DrainRequested,
            Note::RequestBegan { process, request: Request::Stop },
            Note::FileChanged { process, watch: 0, action: WatchAction::Restart },
            Note::RequestDone { process, request: Request::Stop },
            Note::RequestFailed { process, request: Request::Stop, why: RequestError::Drained },
            Note::Follows { process, on: process },
            Note::Replacing { process, old: process, overlaps: true },
            Note::TakesOver { process, old: process },
            Note::HandedOver { process, to: process, limit: SECOND },
            Note::EpochDoomed { process, within: SECOND },
            Note::TakenBack { process, old: process, why: RequestError::HookFailed(process) },
            Note::Adding(process),
            Note::Removing(process),
            Note::ReloadDone,
            Note::ReloadFailed { why: RequestError::Reloading },
            Note::ProbeFailed { process, failures: 1, retries: 3 },
            Note::TimeoutExtended { process, limit: SECOND },
            Note::Unhealthy { process, next: None },
            Note::ShutdownBegan { cause: Cause::Signal(signal), window: SECOND },
            Note::GroupRemains(process),
            Note::Hurried(Hurry::CutWaits),
            Note::DrainBegan { process, longest: 9 * SECOND, min: SECOND, counted: true },
            Note::NotDrained(process),
            Note::DrainOver { process, why: DrainEnd::TimeOver, took: SECOND, last },
            Note::OpenAgain { process, load: last, longest: SECOND },
            Note::EndedUndrained { process, signal, evidence: Evidence::OtherEnds },
            Note::Stopping { process, signal, limit: SECOND },
            Note::Killed { process, after: None },
            Note::LeftoversRemain,
            Note::Stopped { process, end, took: None, killed: false, handed_over: true },
            Note::DeadlinePassed,
            Note::Unkillable(process),
        ]
    }

    fn value(note: &Note) -> Value {
        let names = Names(vec!["router".to_owned()]);
        serde_json::from_slice(&event("T", note, &names).line()).unwrap()
    }

    #[test]
    fn events_have_the_facts_of_their_note() {
        let process = ProcessId(0);
        let end = End::Code(7);
        let next = AfterEnd::Restart { delay: Duration::from_millis(1500), attempt: 2 };
        assert_eq!(
            value(&Note::Ended { process, end, next }),
            json!({
                "time": "T", "event": "ended", "process": "router", "exit_code": 7,
                "reason": "error", "next": "restart", "attempt": 2, "min_seconds": 1.5,
            })
        );
        let end = End::Signal(Signal::KILL);
        assert_eq!(
            value(&Note::Stopped {
                process,
                end,
                took: Some(SECOND),
                killed: true,
                handed_over: false
            }),
            json!({
                "time": "T", "event": "stopped", "process": "router", "exit_code": 137,
                "signal": "SIGKILL", "reason": "killed", "seconds": 1.0,
            })
        );
        let last = Load { unit: Unit::Requests, active: Some(3), total: None };
        assert_eq!(
            value(&Note::DrainOver { process, why: DrainEnd::TimeOver, took: SECOND, last }),
            json!({
                "time": "T", "event": "drained", "process": "router", "reason": "time_over",
                "seconds": 1.0, "requests": 3,
            })
        );
        let line = String::from_utf8(exit("T", 0, Some(SECOND)).line()).unwrap();
        assert_eq!(line, "{\"time\":\"T\",\"event\":\"exit\",\"exit_code\":0,\"seconds\":1.0}\n");
    }

    /// The words in the first column of the tables of a page.
    fn documented(page: &str) -> BTreeSet<String> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
        let text = fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        rows.map(|(word, _)| word.to_owned()).collect()
    }

    #[test]
    fn every_event_and_every_field_is_documented() {
        let mut known: BTreeSet<String> = ["exit", "dropped", "count"].map(str::to_owned).into();
        for note in all() {
            let value = value(&note);
            known.insert(value["event"].as_str().unwrap().to_owned());
            known.extend(value.as_object().unwrap().keys().cloned());
        }
        // These come in `started` and in the event of a drain that counts requests.
        known.extend(["pid", "requests"].map(str::to_owned));
        assert_eq!(documented("events.md"), known);
    }
}
