//! Tests the lines and counts of the shutdown report.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::core::action::Action;
use crate::core::cause::{Cause, Failure};
use crate::core::connections::endings::Ending;
use crate::core::event::{Event, Load, Request};
use crate::core::machine::Machine;
use crate::core::note::{DrainEnd, DrainTime, Note, StopLimit, WhyUndrained};
use crate::core::spec::{HookId, Stage};
use crate::core::traffic::{Moment, Traffic};
use crate::journal::messages::Names;
use crate::journal::*;
use crate::load::testing::load;
use crate::report::testing::Noted;
use crate::types::{Disposition, End, ProcessId, Signal, Time, human};

const ASKED: Cause = Cause::Signal(Signal::TERM);

fn at(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

/// Reports a drain with these polls, and returns the counts in the report. The times of the polls
/// are in milliseconds. The drain is over at 5 s, and the process gets its stop signal at
/// `stopped`.
fn counts(seen: &[(u64, Traffic, Moment)], stopped: u64) -> String {
    let (process, took) = (ProcessId(0), Duration::from_secs(5));
    let mut report = Noted::of(&["router"]);
    report.shutdown_began(at(0), ASKED, took);
    report.note(at(0), &Note::DrainBegan { process, longest: took, min: took, counted: true });
    for (millis, traffic, moment) in seen.iter().filter(|(millis, ..)| *millis <= 5000) {
        report.traffic(at(*millis), process, *traffic, *moment);
    }
    let why = DrainEnd::TimeOver;
    report.note(
        at(5000),
        &Note::DrainOver {
            process,
            why,
            took,
            time: DrainTime::Set(took),
            unused: Duration::ZERO,
            last: Load::default(),
        },
    );
    for (millis, traffic, moment) in seen.iter().filter(|(millis, ..)| *millis > 5000) {
        report.traffic(at(*millis), process, *traffic, *moment);
    }
    report.stopping(at(stopped), process, took);
    // The counts do not depend on the time that the process takes to end.
    report.stopped(at(stopped + 900), process, End::Code(0), 900);
    let text = report.text(at(stopped + 900), 0);
    let counts = text.lines().find_map(|line| line.split_once("time is over; "));
    counts.map(|(_, counts)| counts.to_owned()).unwrap_or(text)
}

fn seen(connections: u64, received: u64, requests: u64) -> Traffic {
    Traffic {
        connections: Some(connections),
        accepted: Some(7),
        requests: Some(requests),
        completed: Some(received - requests),
        upgrades: Some(3),
        unsure: None,
        connected: None,
    }
}

// holds: S135
#[test]
fn old_count_is_reported_with_age() {
    let start = (0, seen(90, 100, 5), Moment::Start);
    for (millis, moment, stopped, connections, age) in [
        (4990, Moment::Closed, 5000, 73, None),
        // The last poll had no answer, so the report has the previous count, with the age of this
        // count.
        (4900, Moment::Closed, 5000, 73, Some("100ms")),
        // The listeners were open at the last poll, so a client may have connected after this poll.
        (4990, Moment::Meanwhile, 5000, 73, Some("10ms")),
        // The listeners were closed at the last poll, so no client can have connected after a count
        // of 0.
        (3000, Moment::Closed, 5000, 0, None),
        // The process was stopped long after its drain. In the first case below, the process was
        // polled again just before its stop.
        (60_000, Moment::Closed, 60_001, 73, None),
        (4990, Moment::Closed, 60_001, 73, Some("55.01s")),
    ] {
        let counts = counts(&[start, (millis, seen(connections, 120, 3), moment)], stopped);
        let (seen_at, requests) = match age {
            None => ("at the end".to_owned(), "3 cut"),
            Some(age) => {
                (format!("when last seen {age} before the end"), "3 in flight when last seen")
            }
        };
        let connections = format!("connections 90 at the start, {connections} {seen_at}, 0 new");
        assert_eq!(counts, format!("{connections}; requests 22 completed, {requests}"));
    }
}

// holds: S278
#[test]
fn unknown_counts_are_left_out() {
    let start = (0, seen(90, 100, 5), Moment::Start);
    let count = |requests| {
        let last = Traffic { connections: Some(73), requests, ..Traffic::default() };
        counts(&[start, (4990, last, Moment::Closed)], 5000)
    };
    let connections = "connections 90 at the start, 73 at the end";
    assert_eq!(count(None), connections);
    let requests = "requests 5 at the start, 3 cut";
    assert_eq!(count(Some(3)), format!("{connections}; {requests}"));
}

// holds: S133, S583
#[test]
fn upgrades_that_have_ended_are_reported_apart() {
    let ended = |(upgrades, completed)| Traffic { upgrades, completed, ..seen(9, 100, 5) };
    let before = 0_u64.wrapping_sub(6);
    let connections = "connections 9 at the start, 9 at the end, 0 new";
    for ([first, last], text) in [
        ([(Some(3), Some(20)), (Some(7), Some(21))], "1 completed, 5 cut; upgrades 4 ended"),
        ([(Some(3), Some(20)), (Some(3), Some(21))], "1 completed, 5 cut"),
        // Six upgrades end that began in an old Envoy, so the new Envoy has not counted their
        // beginnings.
        ([(Some(before), Some(9)), (Some(0), Some(9))], "0 completed, 5 cut; upgrades 6 ended"),
        // A new Envoy counts from zero.
        ([(Some(3), Some(20)), (Some(0), Some(0))], "0 completed, 5 cut"),
        ([(Some(3), None), (None, None)], "5 at the start, 5 cut"),
    ] {
        let seen = [(0, ended(first), Moment::Start), (4990, ended(last), Moment::Closed)];
        assert_eq!(counts(&seen, 5000), format!("{connections}; requests {text}"));
    }
}

// holds: C845
#[test]
fn the_latest_line_of_each_drain_since_the_request_is_kept() {
    let (limit, why) = (Duration::from_secs(5), DrainEnd::TimeOver);
    let [web, old] = [0, 1].map(ProcessId);
    let mut report = Noted::of(&["web", "old"]);
    let over = |process| Note::DrainOver {
        process,
        why,
        took: limit,
        time: DrainTime::Set(limit),
        unused: Duration::ZERO,
        last: Load::default(),
    };
    report.note(at(0), &over(old));
    report.note(at(10), &Note::DrainRequested);
    let began = Note::DrainBegan { process: web, longest: limit, min: limit, counted: true };
    report.note(at(10), &began);
    assert_eq!(report.drains.values().collect::<Vec<_>>(), ["web: draining for 5s"]);
    report.note(at(5010), &over(web));
    assert_eq!(report.drains["web"], "web: drain over after 5s: its time is over");
}

// holds: S790, S864
#[test]
fn ends_before_a_late_stop_signal_still_count_after_a_restart() {
    let web = ProcessId(0);
    let mut report = Noted::of(&["web"]);
    let cost = |report: &mut Noted| {
        report.sum_up_ends();
        report.counted(web).cost
    };
    report.sees_endings(true);
    let served = Traffic { requests: Some(1), unsure: Some(0), ..Traffic::default() };
    report.of_mut(web).serves(at(0), served);
    report.connection_ended(at(8), web, Ending::Cut);
    let end = &mut report.of_mut(web).end;
    (end.asked_since, end.ended_first) = (Some(at(10)), true);
    report.stopped(at(11), web, End::Code(1), 1);
    assert_eq!(cost(&mut report).as_deref(), Some("requests 1 cut"));
    report.note(at(20), &Note::Started(web));
    assert_eq!(cost(&mut report).as_deref(), Some("requests 1 cut"));
}

// holds: S790, S864
#[test]
fn ends_after_a_restart_count_for_the_replaced_instance() {
    let web = ProcessId(0);
    let mut report = Noted::of(&["web"]);
    let replace = |report: &mut Noted, begins| {
        report.sees_endings(true);
        let asked = Traffic { requests: Some(1), unsure: Some(0), ..Traffic::default() };
        report.of_mut(web).serves(at(begins), asked);
        report.of_mut(web).end.asked_since = Some(at(begins));
        report.stopped(at(begins + 10), web, End::Code(0), 10);
        report.note(at(begins + 20), &Note::Started(web));
    };
    let cost = |report: &mut Noted| {
        report.sum_up_ends();
        report.counted(web).cost
    };
    replace(&mut report, 0);
    report.connection_ended(at(25), web, Ending::Cut);
    assert_eq!(cost(&mut report).as_deref(), Some("requests 1 cut"));
    report.lost_endings();
    let unknown = "requests 1 in flight at the stop signal";
    assert_eq!(cost(&mut report).as_deref(), Some(unknown));
    replace(&mut report, 100);
    assert_eq!(cost(&mut report), None);
    // A later end is that of the new instance, which somebody has asked to end.
    report.of_mut(web).end.asked_since = Some(at(130));
    report.connection_ended(at(135), web, Ending::Cut);
    assert_eq!(cost(&mut report), None);
    // A shutdown that begins before the answer takes no line from the answer.
    report.sees_endings(true);
    let lines = [
        "exited with code 0, 10ms after it was asked to stop",
        "started; down for 10ms: new connections were refused",
    ];
    assert_eq!(report.told(at(100))["web"], lines);
}

// holds: S864
#[test]
fn the_ends_of_all_instances_of_a_process_count() {
    let [web, other] = [0, 1].map(ProcessId);
    // The cuts of the first instance of the first slot, of its second instance, and of the instance
    // in the other slot; `None` if the kernel does not tell.
    let cost = |cuts: Option<[usize; 3]>| {
        let mut report = Noted::of(&["web", "other"]);
        report.adopt(at(0), other, "web".to_owned(), Some(web));
        report.sees_endings(cuts.is_some());
        let [first, second, beside] = cuts.unwrap_or_default();
        let asked = Traffic { requests: Some(2), unsure: Some(0), ..Traffic::default() };
        for (slot, begins, cuts) in [(web, 0, first), (other, 3, beside), (web, 50, second)] {
            report.of_mut(slot).serves(at(begins), asked);
            report.of_mut(slot).end.asked_since = Some(at(begins));
            (0..cuts).for_each(|_| report.connection_ended(at(begins + 1), slot, Ending::Cut));
            report.stopped(at(begins + 10), slot, End::Code(0), 10);
            if begins == 0 {
                report.note(at(begins + 20), &Note::Started(slot));
            }
        }
        report.sum_up_ends();
        report.counted(web).cost
    };
    for (cuts, sum) in [
        (Some([0, 0, 3]), Some("requests 3 cut")),
        (Some([0, 3, 0]), Some("requests 3 cut")),
        (Some([3, 0, 0]), Some("requests 3 cut")),
        (Some([1, 2, 3]), Some("requests 6 cut")),
        (Some([0, 0, 0]), None),
        (None, Some("requests 6 in flight at the stop signal")),
    ] {
        assert_eq!(cost(cuts).as_deref(), sum, "{cuts:?}");
    }
}

// holds: S361, S431, S784, S785, S786, S787, S788, S932
#[test]
fn only_connections_that_have_ended_without_an_answer_are_cut() {
    use Ending::{Answered, Cut, Left, Reset, Sending, Unaccepted, Unknown};
    let (web, limit) = (ProcessId(0), Duration::from_secs(5));
    type Endings<'a> = Option<&'a [(u64, Ending)]>;
    let of_asked = |since: u64, seen: &[(u64, u64, u64)], end: End, endings: Endings<'_>| {
        let mut report = Noted::of(&["web"]);
        report.sees_endings(endings.is_some());
        report.shutdown_began(at(0), ASKED, limit);
        let traffic = |connections, requests| Traffic {
            connections: Some(connections),
            requests: Some(requests),
            unsure: Some(2),
            ..Traffic::default()
        };
        let count = |report: &mut Noted, &(millis, connections, requests): &(u64, u64, u64)| {
            report.of_mut(web).serves(at(millis), traffic(connections, requests));
        };
        seen.iter().filter(|seen| seen.0 < 1000).for_each(|seen| count(&mut report, seen));
        report.of_mut(web).end.asked_since = Some(at(since));
        report.of_mut(web).end.disposition = Some((Signal::TERM, Disposition::Fatal));
        report.stopping(at(1000), web, limit);
        seen.iter().filter(|seen| seen.0 >= 1000).for_each(|seen| count(&mut report, seen));
        for (millis, ending) in endings.unwrap_or_default() {
            report.connection_ended(at(*millis), web, *ending);
        }
        report.stopped(at(1080), web, end, 80);
        let text = report.text(at(1080), 0);
        let line = text.lines().find(|line| line.contains("stop web")).unwrap().to_owned();
        line.split_once("; ").map_or(String::new(), |(_, counts)| counts.to_owned())
    };
    let of = |seen: &[_], end, endings: Endings<'_>| of_asked(1000, seen, end, endings);
    let (term, exited) = (End::Signal(Signal::TERM), End::Code(0));
    let seen = [(500, 5, 5), (990, 9, 4), (1050, 8, 3)];
    let (late, now) = ("when last seen 30ms before the end", "at the end");
    let reset = "0 cut; 3 reset, 2 of them before they were accepted";
    for (end, endings, seen_at, cut) in [
        (term, None, now, "4 in flight at the stop signal (perhaps 2 more)"),
        (exited, Some(&[][..]), late, "0 cut"),
        // Clients that had left before the stop signal were not cut.
        (exited, Some(&[(999, Cut), (1000, Cut), (1070, Cut)]), late, "2 cut"),
        (exited, Some(&[(1001, Answered), (1001, Sending)]), late, "0 cut"),
        (exited, Some(&[(1001, Unknown), (1001, Cut)]), late, "1 cut (perhaps 1 more)"),
        (exited, Some(&[(999, Left), (1001, Left), (1070, Left)]), late, "0 cut; 2 left"),
        (exited, Some(&[(1001, Left), (1001, Cut), (1002, Reset)]), late, "1 cut; 1 left; 1 reset"),
        (exited, Some(&[(1001, Reset), (1001, Unaccepted), (1001, Unaccepted)]), late, reset),
        // The kernel ended the process during a stream, or the rest of its group answered later.
        (term, Some(&[(1079, Sending)]), now, "0 cut (perhaps 1 more)"),
        (term, Some(&[(1900, Sending)]), now, "0 cut"),
    ] {
        let connections = format!("connections 9 at the start, 8 {seen_at}");
        let expected = format!("{connections}; requests 4 at the start (perhaps 2 more), {cut}");
        assert_eq!(of(&seen, end, endings), expected, "{endings:?}");
    }
    // The server closed a connection in the drain, long before a signal that it does not catch.
    let endings: &[_] = &[(700, Sending), (1010, Sending)];
    let counts = of_asked(600, &seen, term, Some(endings));
    assert!(counts.ends_with("0 cut (perhaps 1 more)"), "{counts}");
    assert_eq!(
        of(&[(500, 9, 4)], term, None),
        "connections 9 at the start, 9 when last seen 580ms before the end; \
         requests 4 at the start (perhaps 2 more), 4 in flight when last seen (perhaps 2 more)"
    );
    assert_eq!(of(&[(1001, 0, 0)], term, Some(&[])), "");
    assert_eq!(of(&[], term, None), "");
}

// holds: S865
#[test]
fn a_count_that_comes_too_late_is_unknown() {
    let (web, window) = (ProcessId(0), Duration::from_secs(5));
    let of = |count: fn(&mut Noted)| {
        let mut report = Noted::of(&["web"]);
        report.of_mut(web).clients.is_uncounted = true;
        report.shutdown_began(at(0), ASKED, window);
        count(&mut report);
        report.stopping(at(250), web, window);
        report.stopped(at(330), web, End::Code(0), 80);
        let text = report.text(at(330), 0);
        let line = text.lines().find(|line| line.contains("stop web")).unwrap();
        let counts = line.split_once("; ").map_or("", |(_, counts)| counts).to_owned();
        (counts, report.ledger(&text).contains("; connections -, requests -, cut -,"))
    };
    assert_eq!(of(|_| {}), ("connections unknown".to_owned(), true));
    let nothing = |report: &mut Noted| report.of_mut(ProcessId(0)).listens_on_nothing(at(9));
    assert_eq!(of(nothing), (String::new(), true));
    // holds: S949
    let late = |report: &mut Noted| {
        let web = report.of_mut(ProcessId(0));
        web.end.asked_since = Some(at(9));
        web.listens_on_nothing(at(9));
    };
    assert_eq!(of(late), ("connections unknown".to_owned(), true));
    let counted = |report: &mut Noted| {
        let [connections, requests] = [Some(0); 2];
        let traffic = Traffic { connections, requests, unsure: Some(0), ..Traffic::default() };
        report.of_mut(ProcessId(0)).serves(at(9), traffic);
    };
    assert_eq!(of(counted), (String::new(), false));
}

/// The totals of a router that Envoy counts at a time in milliseconds, and of a web server that the
/// kernel counts. The router gets its stop signal at 5 s.
fn totals(envoy: &[(u64, u64)], kernel: Option<(u64, u64)>, endings: Option<&[Ending]>) -> String {
    let [router, web] = [0, 1].map(ProcessId);
    let mut report = Noted::of(&["router", "web"]);
    report.sees_endings(endings.is_some());
    let (took, counted) = (Duration::from_secs(5), !envoy.is_empty());
    report.shutdown_began(at(0), ASKED, took);
    let began = Note::DrainBegan { process: router, longest: took, min: took, counted };
    if counted {
        report.note(at(0), &began);
    }
    for (millis, requests) in envoy {
        let moment = if *millis == 0 { Moment::Start } else { Moment::Last };
        report.traffic(at(*millis), router, seen(9, 100, *requests), moment);
    }
    let (why, last) = (DrainEnd::TimeOver, Load::default());
    report.note(
        at(5000),
        &Note::DrainOver {
            process: router,
            why,
            took,
            time: DrainTime::OnlyMin,
            unused: Duration::ZERO,
            last,
        },
    );
    if let Some((connections, requests)) = kernel {
        let (connections, requests) = (Some(connections), Some(requests));
        let traffic = Traffic { connections, requests, unsure: Some(0), ..Traffic::default() };
        report.of_mut(web).serves(at(4999), traffic);
    }
    for process in [router, web] {
        report.stopping(at(5000), process, took);
        for ending in endings.filter(|_| process == web).unwrap_or_default() {
            report.connection_ended(at(5001), web, *ending);
        }
        report.stopped(at(5010), process, End::Code(0), 5000);
    }
    let text = report.text(at(5010), 0);
    let ledger = report.ledger(&text);
    assert!(ledger.lines().skip(1).eq(text.lines().skip(1)), "{ledger}{text}");
    let head = "stopped in 5.01s of 5s, exit code 0: SIGTERM received; ";
    let line = ledger.lines().next().unwrap().strip_prefix(head).unwrap().to_owned();
    assert_eq!(line, totals_line(&report.totals_data()), "the JSON says the same");
    line
}

/// The totals of the report in JSON, as the termination log writes them.
fn totals_line(totals: &Value) -> String {
    let sum = |name: &str| match (&totals[name], totals["may_be_more"].to_string().contains(name)) {
        (Value::Null, true) => "-".to_owned(),
        (Value::Null, false) => panic!("{name} is unknown, and is not named"),
        (sum, true) => format!("{sum}+"),
        (sum, false) => sum.to_string(),
    };
    let by = totals["counted_by"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let by = Vec::from_iter(by).join(" and ");
    let by = if by.is_empty() { "-" } else { &by };
    let left = totals["left"].as_u64().filter(|left| *left > 0);
    let left = left.map_or(String::new(), |left| format!("; left {left}"));
    let [connections, requests, cut] = ["connections", "requests", "cut"].map(sum);
    format!(
        "connections {connections}, requests {requests}, cut {cut}, killed 0, counted by {by}{left}"
    )
}

// holds: S775, S776, S931, S985
#[test]
fn the_first_line_of_the_termination_log_has_totals_and_unknown_is_never_zero() {
    use Ending::{Cut, Left, Unknown};
    let (early, late) = ((0, 5), (4990, 3));
    for (envoy, kernel, endings, counts, by) in [
        (&[][..], None, None, "-, requests -, cut -", "-"),
        (&[early, late], None, None, "9, requests 5, cut 3", "envoy"),
        // Nobody has seen the end of the drain, or how the connections ended.
        (&[early], None, None, "9, requests 5, cut -", "envoy"),
        (&[], Some((2, 1)), None, "2, requests 1, cut -", "kernel"),
        (&[], Some((0, 0)), Some(&[][..]), "0, requests 0, cut 0", "kernel"),
        (&[early, late], Some((2, 1)), Some(&[Cut]), "11, requests 6, cut 4", "envoy and kernel"),
        (&[early], Some((2, 1)), Some(&[Cut]), "11, requests 6, cut 1+", "envoy and kernel"),
        (&[], Some((2, 1)), Some(&[Unknown]), "2, requests 1, cut -", "kernel"),
        // Clients that have left were not cut.
        (&[], Some((2, 1)), Some(&[Left]), "2, requests 1, cut 0", "kernel; left 1"),
        (
            &[early, late],
            Some((2, 2)),
            Some(&[Left, Left]),
            "11, requests 7, cut 3",
            "envoy and kernel; left 2",
        ),
        (&[], Some((2, 2)), Some(&[Cut, Left]), "2, requests 2, cut 1", "kernel; left 1"),
    ] {
        let expected = format!("connections {counts}, killed 0, counted by {by}");
        assert_eq!(totals(envoy, kernel, endings), expected);
    }
}

/// Runs a shutdown of this config, and returns its report as data.
#[track_caller]
fn played(config: &str, events: impl Fn(&mut Played)) -> Value {
    reported(config, events).0
}

/// Like [`played`], and also returns the report as text.
#[track_caller]
fn reported(config: &str, events: impl Fn(&mut Played)) -> (Value, String) {
    let loaded = load(&[config], &[]).unwrap();
    let spec = Arc::new(loaded.config.spec(&loaded.graph));
    let names: Vec<_> = loaded.config.processes.iter().map(|one| one.name.clone()).collect();
    let start = Time(Duration::from_secs(100));
    let mut played = Played {
        machine: Machine::new(spec, start),
        report: Journal::new(Names(names), start),
        now: start,
        code: None,
    };
    events(&mut played);
    let code = played.code.expect("drainit did not exit");
    let Played { report, machine, now, .. } = played;
    let stamp = |at: Time| format!("at {}", human(at.since(start)));
    let text = report.text(now, code);
    (report.data(now, code, machine.state(), ProcessId::index, stamp).unwrap(), text)
}

/// The core, with the parts of the supervisor that matter for the report.
struct Played {
    machine: Machine,
    report: Journal,
    now: Time,
    code: Option<u8>,
}

impl Played {
    /// Handles an event, at a time in milliseconds since the start. Every process starts
    /// successfully.
    fn at(&mut self, millis: u64, event: Event) {
        self.now = Time(Duration::from_secs(100) + Duration::from_millis(millis));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let actions = self.machine.handle(self.now, event);
            self.report.event(self.now, event, &self.machine);
            for action in actions {
                self.report.action(self.now, &action);
                match action {
                    Action::Note(note) => {
                        self.report.note(self.now, &note, self.machine.state(), None);
                    }
                    Action::Spawn(process) => events.push_back(Event::Spawned(process)),
                    Action::EndLeftovers { process, .. } => {
                        events.push_back(Event::Leftovers { process, any: false });
                    }
                    Action::Sweep(_) => events.push_back(Event::NothingLeft),
                    Action::LookForExit(process) => {
                        events.push_back(Event::ExitSeen { process, exits: false, ignores: false });
                    }
                    Action::Exit(code) => self.code = Some(code),
                    _ => {}
                }
            }
        }
    }

    fn exits(&mut self, millis: u64, process: u16, end: End) {
        self.at(millis, Event::Exited { process: ProcessId(process), end, remains: false });
    }
}

const GATEWAY: &str = "
shutdown: {grace_period: 12s, reserve: 2s, readiness_delay: 1s}
hooks: {post_stop: {command: [x], timeout: 500ms}}
processes:
  engine: {command: [a], readiness: {unix: /run/b.sock, timeout: 10s}, stop_grace_period: 2s}
  router:
    command: [a]
    depends_on: [engine]
    hooks: {pre_stop: {command: [b], timeout: 1s}}
    drain: {exec: {command: [c], time: 4s, min: 1s}}
    stop_grace_period: 1s
";

fn gateway() -> (Value, String) {
    reported(GATEWAY, |gateway| {
        let (engine, router) = (ProcessId(0), ProcessId(1));
        gateway.at(10, Event::Start);
        gateway.at(1210, Event::Ready(engine));
        gateway.at(5000, Event::Signal(Signal::TERM));
        gateway.at(6000, Event::Tick);
        gateway.at(6010, Event::DrainAnswered { process: router, accepted: true });
        gateway.at(8500, Event::Drained(router));
        let hook = HookId { process: Some(router), stage: Stage::PreStop };
        gateway.at(8700, Event::HookEnded { hook, success: true });
        gateway.exits(8800, 1, End::Code(0));
        gateway.at(10_800, Event::Tick);
        gateway.exits(10_801, 0, End::Signal(Signal::KILL));
        let hook = HookId { process: None, stage: Stage::PostStop };
        gateway.at(11_000, Event::HookEnded { hook, success: true });
    })
}

/// This member of each object of a list.
fn each(list: &Value, member: &str) -> Vec<Value> {
    list.as_array().unwrap().iter().map(|one| one[member].clone()).collect()
}

/// Compares a value with the file of this name.
#[track_caller]
fn assert_is_in_file(name: &str, value: &Value) {
    let path = format!("{}/tests/fixtures/report/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let expected: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(*value, expected, "{value:#}");
}

// holds: S131, S137, S143, S144, S145, S147, S148, S149, S150, S151, S152, S153, S154, S155, S156, S157
// holds: S158, S159, S160, S161, S214, S215, S216
#[test]
fn report_data_compares_processes_and_steps_with_the_plan() {
    let (data, text) = gateway();
    let json = data.to_string().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_is_in_file("gateway", &serde_json::from_str(&json).unwrap());
    assert_eq!(
        text,
        "stopped in 6s of 10s, exit code 137: SIGTERM received\n  \
         readiness_delay: 1s\n  \
         drain router: 2.5s, complete\n  \
         pre_stop router: 200ms\n  \
         stop router: 100ms, exited with code 0\n  \
         stop engine: 2s, was ended by SIGKILL; SIGTERM had not ended it\n  \
         post_stop of the container: 199ms\n  \
         killed: 1 of 2"
    );
}

// holds: S240
#[test]
fn a_stop_lasts_until_the_process_group_is_gone() {
    let web = ProcessId(0);
    let (gone, tick) = (Event::GroupGone(web), Event::Tick);
    let unseen = "exited with code 0; the rest of its process group was not seen to end (killed)";
    for (code, events, ends, line) in [
        (0, &[(6610, gone)][..], Some(6.61), "6.61s, exited with code 0"),
        (0, &[(10_000, tick), (10_001, gone)], Some(10.001), "10s, exited with code 0 (killed)"),
        (0, &[(10_000, tick), (28_000, tick), (28_500, tick)], None, unseen),
        // The process ends by itself, 4 ms after the start.
        (7, &[(3004, gone)], Some(3.0), "3s, exited with code 7 without being asked to"),
    ] {
        let config = "processes: {web: {command: [a], stop_grace_period: 10s}}";
        let (report, text) = reported(config, |app| {
            app.at(0, Event::Start);
            if code == 0 {
                app.at(0, Event::Signal(Signal::TERM));
            }
            app.at(4, Event::Exited { process: web, end: End::Code(code), remains: true });
            for (at, event) in events {
                app.at(*at, *event);
            }
        });
        assert!(text.contains(&format!("\n  stop web: {line}")), "{text}");
        assert_eq!(report["processes"][0]["stop"]["ends"], json!(ends), "{text}");
    }
}

// holds: S240
#[test]
fn a_stop_that_began_with_a_restart_before_the_shutdown_was_asked_for() {
    let web = ProcessId(0);
    let end = End::Signal(Signal::TERM);
    let (_, text) = reported("processes: {web: {command: [a]}}", |app| {
        app.at(0, Event::Start);
        app.at(1000, Event::Requested { process: web, request: Request::Restart });
        app.at(1004, Event::Exited { process: web, end, remains: true });
        app.at(2000, Event::Signal(Signal::TERM));
        app.at(7610, Event::GroupGone(web));
    });
    assert_eq!(text.lines().nth(1), Some("  stop web: 6.61s, was ended by SIGTERM"));
}

// holds: S743, S744
#[test]
fn the_effect_of_the_stop_signal_is_named() {
    use Disposition::{Caught, Exiting, Fatal, Ignored};
    let (worker, limit) = (ProcessId(0), Duration::from_secs(2));
    let (signal, at) = (Signal::TERM, Time(limit));
    let asked = |effect: Option<Disposition>, is_alive: bool| {
        let mut report = Noted::of(&["worker"]);
        report.shutdown_began(Time::default(), ASKED, limit);
        report.spawned(worker, 17, None);
        report.of_mut(worker).end.disposition = effect.map(|effect| (signal, effect));
        report.stopping(Time::default(), worker, limit);
        if !is_alive {
            report.reaped(worker);
        }
        report
    };
    let killed = |mut report: Noted| {
        let why = StopLimit::Own { is_declared: true };
        report.note(at, &Note::Killed { process: worker, after: Some(limit), why }).line()
    };
    let stopped = |mut report: Noted, end: End| {
        report.stopped(at, worker, end, 2000);
        report.text(at, 0).lines().nth(1).unwrap().trim_start().to_owned()
    };
    let by_term = End::Signal(signal);
    for (effect, is_alive, after) in [
        (None, true, ""),
        (Some(Ignored), true, ", which it ignores"),
        (Some(Caught), true, ", which it catches, so it may still be busy"),
        (Some(Exiting), true, ", and already exiting"),
        (Some(Fatal), true, ", which it does not catch, so the kernel has not ended it yet"),
        // Only the rest of the process group is alive.
        (Some(Fatal), false, ""),
    ] {
        let line = "worker: still alive 2s after SIGTERM";
        let killed = killed(asked(effect, is_alive));
        let over = "its `stop_grace_period` is over; sending SIGKILL to its process group";
        assert_eq!(killed, format!("{line}{after}: {over}"));
        let end = if effect == Some(Fatal) { ", which it does not catch" } else { "" };
        let stop = stopped(asked(effect, is_alive), by_term);
        assert_eq!(stop, format!("stop worker: 2s, was ended by SIGTERM{end}"), "{effect:?}");
    }
    // The process has ended in its drain, whose signal the rest of the group has got, too.
    for (signal, sent) in [(None, "its stop signal"), (Some(Signal::INT), "SIGINT")] {
        let mut report = Noted::of(&["worker"]);
        report.of_mut(worker).end.disposition = signal.map(|signal| (signal, Caught));
        let line = format!("worker: still alive 2s after {sent}: its `stop_grace_period` is over");
        assert!(killed(report).starts_with(&line), "{sent}");
    }
    // A program that catches a signal may end itself by this signal, or by another one.
    let by_quit = End::Signal(Signal::QUIT);
    for (effect, end) in [(Caught, by_term), (Fatal, by_quit), (Fatal, End::Code(0))] {
        let stop = stopped(asked(Some(effect), true), end);
        assert_eq!(stop, format!("stop worker: 2s, {end}"));
    }
}

// holds: S146, S207, S208
#[test]
fn causes_have_a_kind_and_a_process() {
    let (process, end) = (ProcessId(0), End::Code(7));
    let ended =
        Cause::Ended { process, end, is_success: false, before_ready: false, is_failure: false };
    let failed = |why| Cause::Failed { process, why };
    let after = Duration::from_secs(1);
    for (cause, kind, process) in [
        (Cause::Signal(Signal::TERM), "signal", None),
        (ended, "ended", Some("app")),
        (failed(Failure::NotReady { after }), "not_ready", Some("app")),
        (failed(Failure::TimedOut { after }), "timed_out", Some("app")),
        (failed(Failure::Spawn { exit_code: 126 }), "not_started", Some("app")),
        (failed(Failure::Unhealthy), "unhealthy", Some("app")),
        (failed(Failure::Hook), "hook_failed", Some("app")),
        (Cause::HookFailed, "hook_failed", None),
        (Cause::ShutdownRequested, "requested", None),
        (Cause::AllEnded, "all_ended", None),
    ] {
        let mut report = Noted::of(&["app"]);
        report.shutdown_began(at(1000), cause, Duration::from_secs(9));
        let data =
            report.data(at(1000), 0, &report.state, ProcessId::index, |_| String::new()).unwrap();
        let text = messages::why(cause, &report.names);
        let expected = json!({"kind": kind, "process": process, "text": text});
        assert_eq!(data["cause"], expected, "{cause:?}");
    }
}

// holds: S154, S155, S209, S212, S216
#[test]
fn skipped_drain_has_no_begin_and_no_phase() {
    let config = "
shutdown: {grace_period: 12s, reserve: 2s}
processes:
  engine: {command: [a], stop_grace_period: 5s}
  router:
    command: [a]
    depends_on: [engine]
    drain: {exec: {command: [c], time: 4s, min: 0s}}
    stop_grace_period: 5s
";
    let report = played(config, |app| {
        app.at(0, Event::Start);
        app.at(5000, Event::Signal(Signal::TERM));
        app.exits(5100, 1, End::Code(0));
        app.exits(5200, 0, End::Code(0));
    });
    let drain = &report["steps"][0];
    assert!(drain["step"] == "drain" && drain["begins"].is_null() && drain["ends"].is_null());
    assert!(!drain["planned"].is_null() && report["processes"][1]["drain"].is_null());
    assert_eq!(each(&report["phases"], "phase"), ["stopping", "finishing"]);
    let warning = "router: not drained: stopping needs all the remaining time";
    assert_eq!(report["warnings"], json!([warning]));
}

// holds: S154, S160, S211, S213, S215
#[test]
fn counts_of_envoys_are_in_the_data() {
    let config = "
shutdown: {grace_period: 12s, reserve: 2s}
processes:
  first: {command: [a], drain: {envoy: {admin: 'unix:/run/a.sock', time: 4s, min: 1s}}}
  second: {command: [a], drain: {envoy: {admin: 'unix:/run/b.sock', time: 4s, min: 1s}}}
  third: {command: [a], drain: {envoy: {admin: 'unix:/run/c.sock', time: 4s, min: 1s}}}
";
    let [first, second, third] = [0, 1, 2].map(ProcessId);
    let report = played(config, |envoys| {
        let at = |millis: u64| at(100_000 + millis);
        let quiet = Load { active: Some(0), total: Some(7), ..Load::default() };
        envoys.at(0, Event::Start);
        envoys.at(5000, Event::Signal(Signal::TERM));
        for process in [first, second, third] {
            envoys.at(5000, Event::DrainAnswered { process, accepted: true });
            if process != third {
                envoys.report.traffic(at(5000), process, seen(9, 100, 5), Moment::Start);
            }
        }
        for millis in [5750, 6000] {
            envoys.at(millis, Event::DrainSample { process: first, load: quiet });
        }
        envoys.at(6010, Event::ListenersClosed(first));
        envoys.at(6020, Event::DrainSample { process: first, load: quiet });
        let last = Traffic { accepted: Some(11), upgrades: Some(5), ..seen(2, 130, 1) };
        envoys.report.traffic(at(8000), second, last, Moment::Meanwhile);
        envoys.at(9000, Event::Tick);
        envoys.at(9010, Event::ListenersClosed(second));
        envoys.at(9010, Event::ListenersClosed(third));
        envoys.report.traffic(at(9010), third, seen(2, 130, 1), Moment::Closed);
        envoys.report.traffic(at(9010), first, seen(0, 120, 3), Moment::Closed);
        envoys.at(9020, Event::ListenersClosed(first));
        envoys.exits(9100, 0, End::Code(0));
        envoys.exits(9100, 1, End::Code(0));
        envoys.exits(9100, 2, End::Code(0));
    });
    // In the report, the closing of the listeners at the end of a drain is part of the drain, and
    // the last count is a step of its own.
    let data = json!({"processes": report["processes"], "steps": report["steps"]});
    assert_is_in_file("counts", &data);
}

// holds: S850, S851
#[test]
fn a_drain_that_ends_a_process_is_told_once_and_restarts_are_named() {
    let config = "
processes:
  a:
    command: [a]
    drain: {signal: {signal: TERM, time: 4s, min: 0s}}
    restart: on-failure
    restart_delay: 1s
  b: {command: [b], restart: always, restart_delay: 1s}
  c: {command: [c], restart: always}
";
    let (report, text) = reported(config, |it| {
        it.at(0, Event::Start);
        it.exits(100, 0, End::OutOfMemory(Duration::from_secs(1)));
        it.at(1100, Event::Tick);
        for millis in [2000, 5000] {
            it.exits(millis, 1, End::Code(0));
            it.at(millis + 2500, Event::Tick);
        }
        it.at(10_000, Event::Signal(Signal::TERM));
        it.exits(12_000, 0, End::Code(0));
        it.exits(12_000, 1, End::Code(0));
        it.exits(12_500, 2, End::Code(0));
    });
    for line in [
        "  drain a: 2s, the process has ended",
        "  stop a: exited with code 0 in its drain",
        "  stop c: 500ms, exited with code 0",
        "  restarts: a 1, b 2",
        "  OOM kills: a 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line:?} in {text}");
    }
    assert_eq!(each(&report["processes"], "oom_kills"), [1, 0, 0]);
}

// holds: S146, S160
#[test]
fn words_of_the_data_are_documented() {
    let page = include_str!("../../docs/json.md");
    let arm = regex_lite::Regex::new(r#"=> \(?"([a-z_]+)""#).unwrap();
    let words = arm
        .captures_iter(include_str!("../../crates/journal/src/data.rs"))
        .map(|found| found[1].to_owned());
    let words: Vec<_> = words.chain(DrainEnd::ALL.map(|why| why.name().to_owned())).collect();
    assert!(words.len() > 14, "{words:?}");
    // A drain without a stop gets a report only when a stop follows. The report then has the reason
    // of the stop, and never the word `drain_requested`.
    for word in words.iter().filter(|word| *word != "drain_requested") {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn journal_does_not_grow_over_time() {
    let mut report = Noted::of(&["a", "b"]);
    let sizes = [100, 200].map(|replacements| {
        for process in std::iter::repeat_n([ProcessId(0), ProcessId(1)], replacements).flatten() {
            let (now, limit) = (Time(Duration::ZERO), Duration::from_secs(1));
            report.adopt(now, process, "app".to_owned(), None);
            report.spawned(process, 17, None);
            let hook = HookId { process: Some(process), stage: Stage::PreStop };
            report.action(now, &Action::RunHook(hook));
            let machine = Machine::new(Arc::clone(&report.state.spec), now);
            report.event(now, Event::HookEnded { hook, success: true }, &machine);
            let (took, last) = (limit, Load::default());
            for note in [
                Note::Started(process),
                Note::DrainBegan { process, longest: limit, min: limit, counted: true },
                Note::DrainOver {
                    process,
                    why: DrainEnd::Quiet,
                    took,
                    time: DrainTime::OnlyMin,
                    unused: Duration::ZERO,
                    last,
                },
                Note::Stopping { process, signal: Signal::TERM, limit },
                Note::NotDrained { process, why: WhyUndrained::NoTime },
            ] {
                report.note(now, &note);
            }
            report.stopped(now, process, End::Code(0), 1000);
            report.update(now, &machine);
        }
        format!("{:?}", report.journal).len()
    });
    assert!(sizes[1] < sizes[0] + 50, "{sizes:?}");
}
