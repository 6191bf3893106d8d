//! The report's lines and counts.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::core::action::Action;
use crate::core::event::{Event, Request};
use crate::core::machine::Machine;
use crate::core::spec::{HookId, Spec, Stage};
use crate::load::testing::load;
use crate::report::startup::Startup;
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
                handed_over: false,
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
fn the_end_of_an_old_epoch_reads_alike_in_the_log_and_the_report() {
    let names = Names(vec!["router".to_owned()]);
    let at = Time(Duration::from_secs(1));
    for (end, text) in [
        (End::Code(0), "exited with code 0, after the new instance had taken over"),
        (End::Signal(Signal::KILL), "was ended by SIGKILL, after the new instance had taken over"),
    ] {
        let mut report = Report::new(names.clone());
        let cause = Cause::Signal(Signal::TERM);
        report.note(at, &Note::ShutdownBegan { cause, window: Duration::from_secs(9) });
        let process = ProcessId(0);
        let note = Note::Stopped { process, end, took: None, killed: false, handed_over: true };
        report.note(at, &note);
        assert_eq!(messages::line(&note, &names).1, format!("router: {text}"));
        let report = report.text(at, 0);
        assert!(report.ends_with(&format!("\n  stop router: {text}")), "{report}");
    }
}

#[test]
fn what_went_wrong_comes_after_the_stops() {
    let mut report = Report::new(Names(vec!["app".to_owned()]));
    let (at, process, limit) = (Time(Duration::from_secs(1)), ProcessId(0), Duration::from_secs(2));
    let hook = |stage| Note::HookTimedOut(HookId { process: Some(process), stage });
    report.note(at, &Note::ShutdownBegan { cause: Cause::Signal(Signal::TERM), window: limit });
    report.note(at, &hook(Stage::PreStop));
    report.remark("app: POST /drain_listeners: answered 403 Forbidden".to_owned());
    report.note(at, &Note::Stopping { process, signal: Signal::TERM, limit });
    report.note(at, &Note::Killed { process, after: Some(limit) });
    report.note(at, &hook(Stage::PostStop));
    report.note(at, &Note::LeftoversRemain);
    let text = report.text(at, 137);
    let lines: Vec<_> = text.lines().skip(1).map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert_eq!(lines, ["stop", "killed:", "app:", "app:", "app:", "leftover"], "{text}");
    let words = ["pre_stop", "403 Forbidden", "post_stop", "leftover processes survive KILL"];
    for (line, word) in text.lines().skip(3).zip(words) {
        assert!(line.contains(word), "{word}: {text}");
    }
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
        &Note::Stopped {
            process: router,
            end: End::Code(0),
            took: None,
            killed: false,
            handed_over: false,
        },
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
    let cause =
        Cause::Ended { process, end, is_success: false, before_ready: false, is_failure: false };
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

#[test]
fn a_report_does_not_grow_with_the_life_of_the_container() {
    let mut report = Report::new(Names(vec!["a".to_owned(), "b".to_owned()]));
    let sizes = [1, 100].map(|replacements| {
        for process in std::iter::repeat_n([ProcessId(0), ProcessId(1)], replacements).flatten() {
            let (now, limit) = (Time(Duration::ZERO), Duration::from_secs(1));
            report.adopt(process, "app".to_owned());
            let hook = HookId { process: Some(process), stage: Stage::PreStop };
            report.action(now, &Action::RunHook(hook));
            report.event(now, Event::HookEnded { hook, success: true }, &Phase::Done);
            let (took, last) = (limit, Load::default());
            for note in [
                Note::Started(process),
                Note::DrainBegan { process, longest: limit, min: limit, counted: true },
                Note::DrainOver { process, why: DrainEnd::Quiet, took, last },
                Note::Stopping { process, signal: Signal::TERM, limit },
                Note::Stopped {
                    process,
                    end: End::Code(0),
                    took: Some(took),
                    killed: false,
                    handed_over: false,
                },
                Note::NotDrained(process),
            ] {
                report.note(now, &note);
            }
        }
        (report.drains.all.len(), report.steps.all().count(), report.remarks.len())
    });
    assert_eq!(sizes, [(2, 2, 1); 2]);
}

/// Plays a shutdown of this config, and returns its report as data.
#[track_caller]
fn played(config: &str, events: impl Fn(&mut Played)) -> data::ShutdownReport {
    let loaded = load(&[config], &[]).unwrap();
    let spec = Rc::new(Spec::new(&loaded.config, &loaded.graph));
    let names: Vec<_> = loaded.config.processes.iter().map(|one| one.name.clone()).collect();
    let start = Time(Duration::from_secs(100));
    let startup = Startup::new(Names(names.iter().map(|name| (*name).to_owned()).collect()), start);
    let mut played = Played {
        machine: Machine::new(Rc::clone(&spec), start),
        report: Report::new(Names(names)),
        startup,
        spec,
        now: start,
        code: None,
    };
    events(&mut played);
    let code = played.code.expect("it did not exit");
    let Played { report, spec, startup, now, .. } = played;
    let stamp = |at: Time| format!("at {}", human(at.since(start)));
    report.data(now, code, &spec, &startup, stamp).unwrap()
}

/// The core, with what the supervisor does for the report.
struct Played {
    machine: Machine,
    report: Report,
    startup: Startup,
    spec: Rc<Spec>,
    now: Time,
    code: Option<u8>,
}

impl Played {
    /// Handles an event, at a time in milliseconds since the start. Every process can be started.
    fn at(&mut self, millis: u64, event: Event) {
        self.now = Time(Duration::from_secs(100) + Duration::from_millis(millis));
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.startup.event(self.now, event);
            let actions = self.machine.handle(self.now, event);
            self.report.event(self.now, event, self.machine.phase());
            for action in actions {
                self.report.action(self.now, &action);
                match action {
                    Action::Note(note) => {
                        self.startup.note(self.now, &note, &self.spec);
                        self.report.note(self.now, &note);
                    }
                    Action::Spawn(process) => events.push_back(Event::Spawned(process)),
                    Action::Sweep(_) => events.push_back(Event::Leftovers(0)),
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

fn gateway() -> data::ShutdownReport {
    played(GATEWAY, |gateway| {
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

#[test]
fn the_report_as_data_has_every_process_and_every_step_beside_its_plan() {
    let report = serde_json::to_value(gateway()).unwrap();
    let expected = serde_json::json!({
        "version": 1,
        "drainit": env!("CARGO_PKG_VERSION"),
        "cause": {"kind": "signal", "process": null, "text": "SIGTERM received"},
        "exit_code": 137,
        "started": "at 0ms",
        "t0": "at 5s",
        "grace_period": 12.0,
        "deadline": 10.0,
        "took": 6.0,
        "killed": 1,
        "phases": [
            {"phase": "draining", "begins": 0.0, "ends": 3.5},
            {"phase": "stopping", "begins": 3.5, "ends": 5.801},
            {"phase": "finishing", "begins": 5.801, "ends": 6.0},
        ],
        "start": {
            "ready": 1.21,
            "chain": [{"name": "engine", "takes": 1.21}],
        },
        "processes": [
            {
                "name": "engine", "started": 0.01, "ready": 1.21, "ready_within": 10.0, "restarts": 0,
                "end": {"at": 5.801, "code": null, "signal": "SIGKILL", "text": "was ended by SIGKILL"},
                "drain": null,
                "stop": {"begins": 3.8, "ends": 5.801, "signal": "SIGTERM", "limit": 2.0, "killed": true},
            },
            {
                "name": "router", "started": 1.21, "ready": 1.21, "ready_within": null, "restarts": 0,
                "end": {"at": 3.8, "code": 0, "signal": null, "text": "exited with code 0"},
                "drain": {
                    "begins": 1.0, "ends": 3.5, "min": 1.0, "longest": 4.0,
                    "why": "reported", "text": "reported by the process",
                    "connections": null, "requests": null, "counted_before_end": null,
                },
                "stop": {"begins": 3.7, "ends": 3.8, "signal": "SIGTERM", "limit": 1.0, "killed": false},
            },
        ],
        "steps": [
            {
                "name": "readiness_delay", "step": "readiness_delay", "process": null,
                "begins": 0.0, "ends": 1.0, "planned": {"begins": 0.0, "ends": 1.0},
            },
            {
                "name": "drain router", "step": "drain", "process": "router",
                "begins": 1.0, "ends": 3.5, "planned": {"begins": 1.0, "ends": 5.0},
            },
            {
                "name": "pre_stop router", "step": "pre_stop", "process": "router",
                "begins": 3.5, "ends": 3.7, "planned": {"begins": 5.0, "ends": 6.0},
            },
            {
                "name": "stop router", "step": "stop", "process": "router",
                "begins": 3.7, "ends": 3.8, "planned": {"begins": 6.0, "ends": 7.0},
            },
            {
                "name": "stop engine", "step": "stop", "process": "engine",
                "begins": 3.8, "ends": 5.801, "planned": {"begins": 7.0, "ends": 9.0},
            },
            {
                "name": "leftover processes", "step": "leftovers", "process": null,
                "begins": 5.801, "ends": 5.801, "planned": {"begins": 9.0, "ends": 10.0},
            },
            {
                "name": "post_stop of the container", "step": "post_stop", "process": null,
                "begins": 5.801, "ends": 6.0, "planned": {"begins": 10.0, "ends": 10.5},
            },
        ],
        "warnings": [],
    });
    assert_eq!(report, expected, "{report:#}");
}

#[test]
fn an_unasked_end_names_its_process_and_plans_short_drains() {
    let report = played(GATEWAY, |gateway| {
        gateway.at(0, Event::Start);
        gateway.at(100, Event::Ready(ProcessId(0)));
        gateway.exits(2000, 0, End::Code(7));
        gateway.at(3000, Event::Tick);
        gateway.exits(3500, 1, End::Code(1));
        let hook = HookId { process: None, stage: Stage::PostStop };
        gateway.at(3600, Event::HookEnded { hook, success: true });
    });
    assert_eq!(
        (report.cause.kind.as_ref(), report.cause.process.as_deref()),
        ("ended", Some("engine"))
    );
    assert_eq!(report.exit_code, 7);
    let end = report.processes[0].end.as_ref().unwrap();
    assert_eq!((end.at, end.code, &report.processes[0].stop), (0.0, Some(7), &None));
    let drain = report.steps.iter().find(|step| step.step == "drain").unwrap();
    let planned = data::PlannedData { begins: 1.0, ends: 2.0 };
    assert_eq!((drain.ends, drain.planned), (Some(1.5), Some(planned)));
    assert_eq!(report.processes[1].drain.as_ref().unwrap().why.as_deref(), Some("process_gone"));
}

#[test]
fn each_cause_has_its_word_and_its_process() {
    let (process, end) = (ProcessId(0), End::Code(7));
    let ended =
        Cause::Ended { process, end, is_success: false, before_ready: false, is_failure: false };
    let loaded = load(&["processes: {app: {command: [a]}}"], &[]).unwrap();
    let spec = Spec::new(&loaded.config, &loaded.graph);
    let (at, names) = (Time(Duration::from_secs(1)), Names(vec!["app".to_owned()]));
    for (cause, kind, process) in [
        (Cause::Signal(Signal::TERM), "signal", None),
        (ended, "ended", Some("app")),
        (Cause::NotReady(process), "not_ready", Some("app")),
        (Cause::TimedOut(process), "timed_out", Some("app")),
        (Cause::SpawnFailed { process, exit_code: 126 }, "not_started", Some("app")),
        (Cause::Unhealthy(process), "unhealthy", Some("app")),
        (Cause::HookFailed(Some(process)), "hook_failed", Some("app")),
        (Cause::HookFailed(None), "hook_failed", None),
        (Cause::AllEnded, "all_ended", None),
    ] {
        let mut report = Report::new(names.clone());
        report.note(at, &Note::ShutdownBegan { cause, window: Duration::from_secs(9) });
        let startup = Startup::new(names.clone(), at);
        let data = report.data(at, 0, &spec, &startup, |_| String::new()).unwrap();
        let found = data.cause;
        assert_eq!((&*found.kind, found.process.as_deref()), (kind, process), "{cause:?}");
        assert_eq!(found.text, messages::why(cause, &names));
    }
}

#[test]
fn what_did_not_happen_is_missing_and_processes_are_in_file_order() {
    let config = "
shutdown: {grace_period: 12s, reserve: 2s}
processes:
  router: {command: [a], depends_on: [engine]}
  engine: {command: [a], restart: always, restart_delay: 1s}
  extra: {command: [a], readiness: {unix: /run/x.sock, timeout: 60s}}
";
    let report = played(config, |app| {
        app.at(0, Event::Start);
        app.exits(500, 1, End::Code(3));
        app.at(1500, Event::Tick);
        app.at(5000, Event::Signal(Signal::TERM));
        app.exits(5100, 2, End::Code(0));
        app.at(5200, Event::Signal(Signal::TERM));
        app.exits(5300, 0, End::Code(0));
        app.exits(5400, 1, End::Code(0));
    });
    let names: Vec<_> = report.processes.iter().map(|process| &*process.name).collect();
    assert_eq!(names, ["router", "engine", "extra"]);
    let engine = &report.processes[1];
    assert_eq!((engine.started, engine.restarts), (Some(0.0), 1), "the first start");
    assert_eq!((report.processes[0].restarts, report.processes[2].ready), (0, None));
    assert_eq!((report.start.ready, report.start.chain.len()), (None, 0));
    // There was nothing to drain.
    let phases: Vec<_> = report.phases.iter().map(|phase| &*phase.phase).collect();
    assert_eq!(phases, ["stopping", "finishing"]);
    assert_eq!(report.warnings, ["second stop signal: waits are cut short, the order is kept"]);
}

#[test]
fn an_instance_is_named_where_another_ran_beside_it() {
    let report = played(GATEWAY, |gateway| {
        gateway.report.name_instance(ProcessId(1), Some("epoch 1".to_owned()));
        gateway.at(0, Event::Start);
        gateway.at(100, Event::Signal(Signal::TERM));
        gateway.exits(200, 0, End::Code(0));
        let hook = HookId { process: None, stage: Stage::PostStop };
        gateway.at(300, Event::HookEnded { hook, success: true });
    });
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(report["processes"][0].get("instance"), None);
    assert_eq!(report["processes"][1]["instance"], "epoch 1");
}

/// The gateway is drained on request, and stopped much later.
fn drained_before() -> data::ShutdownReport {
    played(GATEWAY, |gateway| {
        gateway.at(0, Event::Start);
        gateway.at(100, Event::Ready(ProcessId(0)));
        gateway.at(2000, Event::DrainRequested);
        gateway.at(3000, Event::Tick);
        gateway.at(4500, Event::Drained(ProcessId(1)));
        gateway.at(60_000, Event::Signal(Signal::TERM));
        let hook = HookId { process: Some(ProcessId(1)), stage: Stage::PreStop };
        gateway.at(60_100, Event::HookEnded { hook, success: true });
        gateway.exits(60_200, 1, End::Code(0));
        gateway.exits(60_300, 0, End::Code(0));
        let hook = HookId { process: None, stage: Stage::PostStop };
        gateway.at(60_400, Event::HookEnded { hook, success: true });
    })
}

#[test]
fn a_drain_that_was_requested_earlier_has_negative_times() {
    let report = drained_before();
    let drain = report.processes[1].drain.as_ref().unwrap();
    assert_eq!((drain.begins, drain.ends), (-57.0, Some(-55.5)));
    assert_eq!((report.phases[0].begins, report.phases[0].ends), (-58.0, 0.0));
    assert_eq!(report.steps[0].begins, Some(-57.0), "there was no readiness_delay");
}

#[test]
fn a_drain_without_time_has_no_begin() {
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
    let drain = &report.steps[0];
    assert_eq!((&*drain.step, drain.begins, drain.ends), ("drain", None, None));
    assert!(drain.planned.is_some() && report.processes[1].drain.is_none());
    assert_eq!(report.warnings, ["router: not drained, the stop needs all the remaining time"]);
}

#[test]
fn the_counts_of_envoys_are_in_the_data() {
    let config = "
shutdown: {grace_period: 12s, reserve: 2s}
processes:
  first: {command: [a], drain: {envoy: {admin: 'unix:/run/a.sock', time: 4s, min: 1s}}}
  second: {command: [a], drain: {envoy: {admin: 'unix:/run/b.sock', time: 4s, min: 1s}}}
";
    let (first, second) = (ProcessId(0), ProcessId(1));
    let report = played(config, |envoys| {
        let at = |millis| Time(Duration::from_secs(100) + Duration::from_millis(millis));
        let quiet = Load { active: Some(0), total: Some(7), ..Load::default() };
        envoys.at(0, Event::Start);
        envoys.at(5000, Event::Signal(Signal::TERM));
        for process in [first, second] {
            envoys.at(5000, Event::DrainAnswered { process, accepted: true });
            envoys.report.traffic(at(5000), process, seen(9, 100, 5), Moment::Start);
        }
        for millis in [5750, 6000] {
            envoys.at(millis, Event::DrainSample { process: first, load: quiet });
        }
        envoys.at(6010, Event::ListenersClosed(first));
        envoys.at(6020, Event::DrainSample { process: first, load: quiet });
        let last = Traffic { accepted: Some(11), ..seen(2, 130, 1) };
        envoys.report.traffic(at(8000), second, last, Moment::Meanwhile);
        envoys.at(9000, Event::Tick);
        envoys.at(9010, Event::ListenersClosed(second));
        envoys.report.traffic(at(9010), first, seen(0, 120, 3), Moment::Closed);
        envoys.at(9020, Event::ListenersClosed(first));
        envoys.exits(9100, 0, End::Code(0));
        envoys.exits(9100, 1, End::Code(0));
    });
    let drains = report.processes.iter().map(|process| {
        let drain = serde_json::to_value(process.drain.as_ref().unwrap()).unwrap();
        ["why", "ends", "connections", "requests", "counted_before_end"]
            .map(|key| drain[key].clone())
    });
    let json = |value: serde_json::Value| value;
    let expected = [
        [
            json("quiet".into()),
            json(1.02.into()),
            serde_json::json!({"start": 9, "end": 0, "new": 0}),
            serde_json::json!({"completed": 22, "cut": 3}),
            serde_json::Value::Null,
        ],
        [
            json("time_over".into()),
            json(4.01.into()),
            serde_json::json!({"start": 9, "end": 2, "new": 4}),
            serde_json::json!({"completed": 34, "cut": 1}),
            json(1.02.into()),
        ],
    ];
    assert_eq!(drains.collect::<Vec<_>>(), expected);
    // The close of a drain is part of it, and the last count a step of its own.
    let of = |name| {
        let of_it = report.steps.iter().filter(move |step| step.process.as_deref() == Some(name));
        of_it.collect::<Vec<_>>()
    };
    let names: Vec<_> = of("second").iter().map(|step| &*step.name).collect();
    assert_eq!(names, ["drain second", "stop second"], "it was counted at the end of its drain");
    let steps: Vec<_> = of("first")
        .iter()
        .map(|step| (&*step.name, step.begins, step.ends, step.planned.map(|planned| planned.ends)))
        .collect();
    assert_eq!(
        steps,
        [
            ("drain first", Some(0.0), Some(1.02), Some(4.25)),
            ("count first", Some(4.01), Some(4.02), None),
            ("stop first", Some(4.02), Some(4.1), Some(10.0)),
        ]
    );
}

#[cfg(feature = "tools")]
mod drawn {
    use super::*;
    use crate::report::data::ShutdownReport;
    use crate::report::{read, svg, text};

    /// The report in JSON, with one value changed.
    fn changed(pointer: &str, value: serde_json::Value) -> String {
        let mut json = serde_json::to_value(gateway()).unwrap();
        *json.pointer_mut(pointer).unwrap() = value;
        json.to_string()
    }

    #[test]
    fn a_report_is_found_in_a_file_and_in_a_log() {
        let report = gateway();
        let (json, mut value) = (report.json(), serde_json::to_value(&report).unwrap());
        let line = |json: &str| format!("{{\"time\":\"t\",\"message\":\"m\",\"report\":{json}}}");
        value["exit_code"] = 3.into();
        for text in [
            json.clone(),
            format!("{json}\n"),
            format!("{value:#}").replace("\"exit_code\": 3", "\"exit_code\": 137"),
            line(&json),
            format!("{:#}\n", serde_json::from_str::<serde_json::Value>(&line(&json)).unwrap()),
            // The last one counts, and lines of processes may follow it.
            format!(
                "starting\n{}\ngw-1  | {}\n{{\"message\":\"bye\"}}\n{{\"report\":7\n",
                line(&value.to_string()),
                line(&json)
            ),
        ] {
            assert_eq!(read::find(&text).as_ref(), Ok(&report), "{text}");
        }
        // A later version may add fields.
        value["exit_code"] = 137.into();
        value["more"] = serde_json::json!({"a": [1]});
        assert_eq!(read::find(&value.to_string()), Ok(report));
    }

    #[test]
    fn what_was_written_is_read_whatever_is_missing_or_was_before() {
        for report in [gateway(), drained_before(), stuck()] {
            assert_eq!(read::find(&report.json()), Ok(report));
        }
    }

    #[test]
    fn what_is_no_report_is_refused_with_the_reason() {
        let deep = "[".repeat(100_000);
        for (text, reason) in [
            (String::new(), "there is no report: it takes the file of `shutdown: {report: FILE}`"),
            ("a log\nin text\n".to_owned(), "there is no report"),
            ("{\"message\":\"a\"}\n{\"message\":\"b\"}\n".to_owned(), "there is no report"),
            (deep, "there is no report"),
            ("{\"version\": 1,".to_owned(), "no JSON: EOF"),
            ("{}".to_owned(), "it has no `version`"),
            ("{\"report\": {}}".to_owned(), "it has no `version`"),
            ("{\"version\": 1}".to_owned(), "missing field `drainit`"),
            (changed("/version", 2.into()), "version 2, and this drainit reads version 1"),
            (changed("/version", "1".into()), "it has no `version`"),
            (changed("/took", "long".into()), "invalid type: string \"long\""),
            (changed("/took", 1e300.into()), "1e300 is not a time in seconds"),
            (changed("/steps/1/ends", (-1e9).into()), "-1e9 is not a time in seconds"),
            (changed("/steps/0/planned/begins", 1e9.into()), "1e9 is not a time in seconds"),
            (changed("/processes/0/ready", 1e9.into()), "1e9 is not a time in seconds"),
        ] {
            let error = read::find(&text).unwrap_err();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn the_text_has_what_happened_above_what_was_planned() {
        let shown = text::text(&gateway());
        assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
        let expected = "\
Stopped in 6s of 10s, exit code 137: SIGTERM received
T0 at 5s, drainit VERSION

Start

  engine              1.2s   #######################################################################
  router               0ms                                                                         #

  Everything was ready after 1.21s.

  Critical chain: engine 1.21s

Shutdown

  # real, ! killed or late, - planned at most; deadline at 10s: grace_period 12s less reserve 2s

  readiness_delay                     1s of 1s  ####
                                                ----
  drain router                      2.5s of 4s      ###########
                                                    ------------------
  pre_stop router                  200ms of 1s                 #
                                                                      ----
  stop router                      100ms of 1s                  |
                                                                          ----
  stop engine                         2s of 2s                  !!!!!!!!!
                                                                              ---------
  post_stop of the container    199ms of 500ms                           #
                                                                                           ---
  reserve                                   2s                                             .........

  router: drain over, reported by the process
  router: exited with code 0
  engine: was ended by SIGKILL (killed)
";
        assert_eq!(shown, expected.replace("VERSION", env!("CARGO_PKG_VERSION")), "{shown}");
    }

    #[test]
    fn a_drawing_is_harmless_whatever_the_names_are() {
        let mut report = gateway();
        let name = "</text><script>\u{1b}[31m\u{202e}&amp;".repeat(20);
        for process in &mut report.processes {
            process.name.clone_from(&name);
        }
        report.steps[1].name.clone_from(&name);
        report.warnings.push(name.clone());
        report.cause.text.clone_from(&name);
        report.t0.clone_from(&name);
        report.start.chain[0].name = name;
        for shown in [text::text(&report), svg::svg(&report)] {
            assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        }
        let shown = svg::svg(&report);
        assert!(!shown.contains("<script") && !shown.contains("</text></text>"), "{shown}");
    }

    #[test]
    fn strange_reports_are_drawn() {
        let empty = ShutdownReport {
            processes: Vec::new(),
            steps: Vec::new(),
            phases: Vec::new(),
            took: 0.0,
            deadline: 0.0,
            grace_period: 0.0,
            ..gateway()
        };
        let mut backwards = gateway();
        backwards.deadline = 20.0;
        for step in &mut backwards.steps {
            (step.begins, step.ends) = (step.ends, step.begins.map(|begins| begins - 100.0));
            step.planned = None;
        }
        let mut unfinished = gateway();
        unfinished.start.ready = None;
        for (step, process) in unfinished.steps.iter_mut().zip(&mut unfinished.processes) {
            (step.ends, process.ready, process.end) = (None, None, None);
        }
        for report in [empty, backwards, unfinished] {
            let (text, svg) = (text::text(&report), svg::svg(&report));
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            assert!(
                svg.starts_with("<svg ") && !svg.contains("NaN") && !svg.contains("inf"),
                "{svg}"
            );
            assert!(!svg.contains("width=\"-"), "{svg}");
        }
    }
}

#[test]
fn every_word_of_the_data_is_on_the_page() {
    let page = include_str!("../../docs/shutdown.md");
    let arm = regex_lite::Regex::new(r#"=> \(?"([a-z_]+)""#).unwrap();
    let words = arm.captures_iter(include_str!("data.rs")).map(|found| found[1].to_owned());
    let words: Vec<_> = words.chain(DrainEnd::ALL.map(|why| why.name().to_owned())).collect();
    assert!(words.len() > 14, "{words:?}");
    // A drain that is requested has no report before there is a reason to stop.
    for word in words.iter().filter(|word| *word != "drain_requested") {
        assert!(page.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn a_count_that_is_unknown_is_null() {
    let config = "
shutdown: {grace_period: 12s, reserve: 2s}
processes:
  app: {command: [a], drain: {envoy: {admin: 'unix:/run/a.sock', time: 4s, min: 1s}}}
";
    let app = ProcessId(0);
    let of = |first: Option<Traffic>, last: Option<Traffic>| {
        let report = played(config, |envoy| {
            let at = |millis| Time(Duration::from_millis(millis));
            envoy.at(0, Event::Start);
            envoy.at(5000, Event::Signal(Signal::TERM));
            envoy.at(5000, Event::DrainAnswered { process: app, accepted: true });
            if let Some(first) = first {
                envoy.report.traffic(at(105_000), app, first, Moment::Start);
            }
            envoy.at(9000, Event::Tick);
            envoy.at(9010, Event::ListenersClosed(app));
            if let Some(last) = last {
                envoy.report.traffic(at(109_010), app, last, Moment::Closed);
            }
            envoy.exits(9100, 0, End::Code(0));
        });
        let drain = serde_json::to_value(report.processes[0].drain.as_ref().unwrap()).unwrap();
        ["connections", "requests"].map(|key| drain[key].clone())
    };
    let unknown = serde_json::Value::Null;
    let none_at_start = [
        serde_json::json!({"start": unknown, "end": 2, "new": unknown}),
        serde_json::json!({"completed": unknown, "cut": 1}),
    ];
    assert_eq!(of(None, Some(seen(2, 130, 1))), none_at_start);
    let none_at_end =
        [serde_json::json!({"start": 9, "end": unknown, "new": unknown}), unknown.clone()];
    assert_eq!(of(Some(seen(9, 100, 5)), Some(Traffic::default())), none_at_end);
    assert_eq!(of(None, None), [unknown.clone(), unknown]);
}

#[test]
fn what_is_killed_without_being_asked_has_no_begin() {
    let config = "
processes:
  engine: {command: [a]}
  router: {command: [a], depends_on: [engine]}
";
    let report = played(config, |app| {
        app.at(0, Event::Start);
        for millis in [5000, 5100, 5200] {
            app.at(millis, Event::Signal(Signal::TERM));
        }
        app.exits(5300, 1, End::Signal(Signal::KILL));
        app.exits(5300, 0, End::Signal(Signal::KILL));
    });
    let stops = report.processes.iter().map(|process| process.stop.as_ref().unwrap());
    let found: Vec<_> = stops.map(|stop| (stop.begins, stop.ends, stop.killed)).collect();
    assert_eq!(found, [(None, Some(0.3), true), (Some(0.0), Some(0.3), true)]);
}

/// The engine is never ready, so that the router is not started, and survives KILL.
fn stuck() -> data::ShutdownReport {
    let config = "
processes:
  engine: {command: [a], readiness: {unix: /run/x.sock, timeout: 60s}}
  router: {command: [a], depends_on: [engine]}
";
    played(config, |app| {
        app.at(0, Event::Start);
        for millis in [5000, 5100, 5200] {
            app.at(millis, Event::Signal(Signal::TERM));
        }
        app.at(40_000, Event::Tick);
    })
}

#[test]
fn what_never_came_has_no_time() {
    let report = serde_json::to_value(stuck()).unwrap();
    let null = serde_json::Value::Null;
    let [engine, router] = [0, 1].map(|place| &report["processes"][place]);
    assert_eq!((&engine["ready"], &engine["end"]), (&null, &null), "{report:#}");
    assert_eq!((&engine["stop"]["begins"], &engine["stop"]["ends"]), (&0.0.into(), &null));
    let stop = report["steps"].as_array().unwrap().iter().find(|step| step["step"] == "stop");
    assert_eq!((&stop.unwrap()["begins"], &stop.unwrap()["ends"]), (&0.0.into(), &null));
    for key in ["started", "ready", "ready_within", "end", "drain", "stop"] {
        assert_eq!(router[key], null, "{key}: {report:#}");
    }
}

/// The report of one process with these notes, actions and times, as data.
fn noted(record: impl Fn(&mut Report, ProcessId)) -> data::ShutdownReport {
    let config = "processes: {app: {command: [a], drain: {exec: {command: [b], time: 9s}}}}";
    let loaded = load(&[config], &[]).unwrap();
    let spec = Spec::new(&loaded.config, &loaded.graph);
    let (start, names) = (Time(Duration::ZERO), Names(vec!["app".to_owned()]));
    let (mut report, startup) = (Report::new(names.clone()), Startup::new(names, start));
    let cause = Cause::Signal(Signal::TERM);
    report.note(start, &Note::ShutdownBegan { cause, window: Duration::from_secs(28) });
    let (process, longest, min) = (ProcessId(0), Duration::from_secs(9), Duration::ZERO);
    report.note(start, &Note::DrainBegan { process, longest, min, counted: true });
    record(&mut report, process);
    report.data(Time(Duration::from_secs(9)), 0, &spec, &startup, |_| String::new()).unwrap()
}

#[test]
fn a_drain_that_is_not_over_has_no_end() {
    let report = noted(|_, _| ());
    let drain = report.processes[0].drain.as_ref().unwrap();
    assert_eq!((drain.begins, drain.ends, &drain.why), (0.0, None, &None));
    assert_eq!((report.steps[0].begins, report.steps[0].ends), (Some(0.0), None));
}

#[test]
fn of_several_counts_the_last_one_is_the_step() {
    let report = noted(|report, process| {
        let at = |millis| Time(Duration::from_millis(millis));
        let (why, took, last) = (DrainEnd::Quiet, Duration::from_secs(1), Load::default());
        report.note(at(1000), &Note::DrainOver { process, why, took, last });
        for begins in [2000, 4000] {
            report.action(at(begins), &Action::CloseListeners(process));
            report.action(at(begins + 10), &Action::EndDrain(process));
        }
    });
    let count = report.steps.iter().find(|step| step.step == "count").unwrap();
    assert_eq!((count.begins, count.ends, count.planned), (Some(4.0), Some(4.01), None));
}

#[test]
fn each_link_of_the_critical_chain_is_in_the_data() {
    let config = "
hooks: {pre_start: [a]}
processes:
  engine: {command: [a], readiness: {unix: /run/a.sock, timeout: 10s}}
  fast: {command: [a]}
  router: {command: [a], depends_on: [fast, engine], readiness: {unix: /run/b.sock, timeout: 10s}}
";
    let report = played(config, |app| {
        app.at(0, Event::Start);
        let hook = HookId { process: None, stage: Stage::PreStart };
        app.at(200, Event::HookEnded { hook, success: true });
        app.at(600, Event::Ready(ProcessId(0)));
        app.at(1600, Event::Ready(ProcessId(2)));
        app.at(5000, Event::Signal(Signal::TERM));
        for process in [2, 1, 0] {
            app.exits(5100, process, End::Code(0));
        }
    });
    let chain: Vec<_> = report.start.chain.iter().map(|link| (&*link.name, link.takes)).collect();
    assert_eq!(chain, [("pre_start hook", 0.2), ("engine", 0.4), ("router", 1.0)]);
}

#[test]
fn a_stop_has_what_was_granted_and_nothing_where_nothing_was_asked() {
    let config = "
shutdown: {grace_period: 6s, reserve: 2s}
processes:
  engine: {command: [a], stop_signal: INT, stop_grace_period: 10s}
  other: {command: [a]}
  router: {command: [a], depends_on: [engine, other], stop_grace_period: 10s}
";
    let (other, request) = (ProcessId(1), Request::Restart);
    let report = played(config, |app| {
        app.at(0, Event::Start);
        // A stop of an earlier instance is not of this shutdown.
        app.at(1000, Event::Requested { process: other, request });
        app.exits(1100, 1, End::Code(0));
        app.at(5000, Event::Signal(Signal::TERM));
        // By itself: what needs it is still alive.
        app.exits(5050, 1, End::Code(0));
        app.exits(5100, 2, End::Code(0));
        app.exits(5200, 0, End::Code(0));
    });
    let stops = report.processes.iter().map(|process| serde_json::to_value(&process.stop).unwrap());
    let null = serde_json::Value::Null;
    let stop = |begins: serde_json::Value,
                ends,
                signal: serde_json::Value,
                limit: serde_json::Value| {
        serde_json::json!({"begins": begins, "ends": ends, "signal": signal, "limit": limit, "killed": false})
    };
    let expected = [
        stop(0.1.into(), 0.2, "SIGINT".into(), 3.9.into()),
        stop(null.clone(), 0.05, null.clone(), null),
        stop(0.0.into(), 0.1, "SIGTERM".into(), 2.0.into()),
    ];
    assert_eq!(stops.collect::<Vec<_>>(), expected);
}
