//! The report's lines and counts.

use crate::report::*;
use crate::types::Signal;

#[test]
fn the_report_has_each_phase() {
    let mut report = Report::new(Names(vec!["engine".to_owned(), "router".to_owned()]));
    let at = |millis| Time(Duration::from_millis(millis));
    let (engine, router) = (ProcessId(0), ProcessId(1));
    let mut note = |millis, note| report.note(at(millis), &note);
    note(
        0,
        Note::ShutdownBegan { cause: Cause::Signal(Signal::TERM), window: Duration::from_secs(28) },
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

#[test]
fn a_drain_without_time_is_reported() {
    let mut report = Report::new(Names(vec!["router".to_owned()]));
    let at = Time(Duration::from_secs(1));
    let window = Duration::from_secs(2);
    report.note(at, &Note::ShutdownBegan { cause: Cause::Signal(Signal::TERM), window });
    report.note(at, &Note::NotDrained(ProcessId(0)));
    assert_eq!(
        report.text(at, 0),
        "stopped in 0ms of 2s, exit code 0: SIGTERM received\n  \
         router: not drained, the stop needs all the remaining time"
    );
}

/// The counts in the report of a drain with these polls, at times in milliseconds. The drain is
/// over at 5 s, and the process is asked to end at `stopped`.
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
    report.note(at(5000), &Note::DrainOver { process: router, why, took, last: Load::default() });
    for (millis, traffic, moment) in seen.iter().filter(|(millis, ..)| *millis > 5000) {
        report.traffic(at(*millis), router, *traffic, *moment);
    }
    let signal = Signal::TERM;
    report.note(at(stopped), &Note::Stopping { process: router, signal, limit: took });
    // The time that the process takes to end makes no difference.
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
        // 5 in flight at the start, 20 came, 3 are left.
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
        (vec![start, (4990, nothing, Moment::Closed)], "connections 9 at the start, 0 at the end"),
        (vec![(0, Traffic::default(), Moment::Start)], "connections unknown"),
    ] {
        assert_eq!(counts(&seen, 5000), text);
    }
}

#[test]
fn an_old_count_is_reported_with_its_age() {
    let start = (0, seen(90, 100, 5), Moment::Start);
    for (millis, moment, stopped, connections, text) in [
        (4990, Moment::Closed, 5000, 73, "73 at the end, 0 new; requests 22 completed, 3 cut"),
        // The last poll was not answered: the one before is reported with its age.
        (
            4900,
            Moment::Closed,
            5000,
            73,
            "73 when last seen 100ms before the end, 0 new; requests 22 completed, 3 in flight when last seen",
        ),
        // The listeners are open: a connection may come at any time.
        (
            4990,
            Moment::Meanwhile,
            5000,
            73,
            "73 when last seen 10ms before the end, 0 new; requests 22 completed, 3 in flight when last seen",
        ),
        // The listeners are closed: after 0 no connection can come.
        (3000, Moment::Closed, 5000, 0, "0 at the end, 0 new; requests 22 completed, 3 cut"),
        // It was drained long before its stop, and then polled again, or not.
        (60_000, Moment::Closed, 60_001, 73, "73 at the end, 0 new; requests 22 completed, 3 cut"),
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

#[test]
fn a_group_without_its_leader_is_reported_with_the_end_of_the_leader() {
    let mut report = Report::new(Names(vec!["app".to_owned()]));
    let (process, end) = (ProcessId(0), End::Code(3));
    let cause = Cause::Ended { process, end, before_ready: false, is_failure: false };
    let window = Duration::from_secs(6);
    let next = AfterEnd::Shutdown;
    for note in [
        Note::Started(process),
        Note::Ended { process, end, next },
        Note::ShutdownBegan { cause, window },
        Note::Killed { process, after: None },
    ] {
        report.note(Time(Duration::ZERO), &note);
    }
    let text = report.text(Time(Duration::from_secs(3)), 3);
    assert!(text.contains("\n  stop app: exited with code 3 (killed)\n"), "{text}");
}
