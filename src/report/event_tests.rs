//! Compares the events with their page in the docs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::core::cause::{Cause, Failure};
use crate::core::event::{Load, Request};
use crate::core::note::{
    AfterEnd, DrainEnd, DrainTime, Hurry, Note, RequestError, StopLimit, WhyUndrained,
};
use crate::core::spec::{HookId, Stage};
use crate::report::testing::Noted;
use crate::types::{End, ProcessId, Signal, Time, WatchAction};

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
        Note::Completed { process, end: End::Code(3), after: SECOND },
        Note::Ended { process, end, next: AfterEnd::Restart { delay: SECOND, attempt: 2 } },
        Note::LeftoversFound { process, signal, limit: SECOND },
        Note::LeftoversKilled { process, after: SECOND },
        Note::LeftoversGone { process, took: SECOND },
        Note::LeftoversIgnored { process, are_known: true },
        Note::Overdue { process, why: Failure::NotReady { after: SECOND }, after: SECOND },
        Note::Overdue { process, why: Failure::TimedOut { after: SECOND }, after: SECOND },
        Note::Failed { process, why: Failure::Hook, next: AfterEnd::StaysDown },
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
        Note::Doomed { process, within: SECOND },
        Note::RolledBack {
            process,
            old: process,
            why: RequestError::Failed { process, why: Failure::Hook },
        },
        Note::Adding(process),
        Note::Removing(process),
        Note::ReloadDone,
        Note::ReloadFailed { why: RequestError::Reloading },
        Note::ProbeFailed { process, failures: 1, retries: 3 },
        Note::TimeoutExtended { process, limit: SECOND },
        Note::Unhealthy(process),
        Note::ShutdownBegan { cause: Cause::Signal(signal), window: SECOND, drained_for: None },
        Note::Delayed(SECOND),
        Note::GroupRemains(process),
        Note::GroupGone { process, took: None },
        Note::Hurried(Hurry::CutWaits),
        Note::DrainBegan { process, longest: 9 * SECOND, min: SECOND, counted: true },
        Note::NotDrained { process, why: WhyUndrained::NoTime },
        Note::DrainOver {
            process,
            why: DrainEnd::TimeOver,
            took: SECOND,
            time: DrainTime::OnlyMin,
            unused: SECOND,
            last,
        },
        Note::StillDraining { process, load: last, left: SECOND },
        Note::OpenAgain { process, load: last, longest: SECOND },
        Note::EndedUndrained(process),
        Note::Stopping { process, signal, limit: SECOND },
        Note::Killed { process, after: None, why: StopLimit::Other },
        Note::LeftoversRemain,
        Note::Stopped { process, end, took: None, killed: false, handed_over: true },
        Note::DeadlinePassed { late: None },
        Note::Unkillable(process),
    ]
}

fn value(note: &Note) -> Value {
    let entry = Noted::of(&["router"]).note(Time::default(), note);
    serde_json::from_str(&format!("{{{}}}", entry.event.members())).unwrap()
}

/// The words in the first column of a page's tables.
fn documented(page: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(word, _)| word.to_owned()).collect()
}

#[test]
fn events_and_fields_are_documented() {
    let mut known: BTreeSet<String> = ["exit".to_owned()].into();
    for note in all() {
        let value = value(&note);
        known.insert(value["event"].as_str().unwrap().to_owned());
        known.extend(value.as_object().unwrap().keys().cloned());
    }
    // The events in [`all`] lack three members that exist: `pid` of `started`, and `requests` and
    // `unsure` of `drained`, which exist only if the drain counts requests.
    known.extend(["pid", "requests", "unsure"].map(str::to_owned));
    assert_eq!(documented("events.md"), known);
}

// holds: S923
#[test]
fn a_process_that_is_not_drained_has_the_reason() {
    for (why, reason) in [
        (WhyUndrained::NoTime, "no_time"),
        (WhyUndrained::Time, "time"),
        (WhyUndrained::OnlyIf, "only_if"),
    ] {
        let note = Note::NotDrained { process: ProcessId(0), why };
        assert_eq!(value(&note)["reason"], reason);
    }
}
