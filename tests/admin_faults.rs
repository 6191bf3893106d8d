//! Every way in which an Envoy's admin can fail, before and during a drain. drainit bounds each
//! failure in time and memory, and reports it.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::http::{free_address, post_unix};
use crate::support::{Admin, Answer, LONG, Rig, Running, Signal, in_parallel, ms};

const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  engine: {command: [CHILD, engine, touch=DIR/engine], readiness: {file: DIR/engine}}
  router:
    command: [CHILD, router, 'on=TERM:touch:DIR/told', await=DIR/told, await=DIR/measured, exit=0]
    depends_on: [engine]
    drain: {envoy: {admin: 'ADMIN', time: 18s, min: 200ms}}
";
/// More than drainit needs (a debug build has about 12 MB), and far less than the admin sends.
const MOST_MEMORY_KB: u64 = 40_000;

fn start(admin: &str) -> Option<Running> {
    let drainit = Rig::new()?.start(&CONFIG.replace("ADMIN", admin));
    drainit.wait_for_start(&["router"]);
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

fn start_with(admin: &Admin) -> Option<Running> {
    start(&format!("http://{}", admin.address()))
}

/// Returns the peak memory of drainit, and lets the router end.
fn peak_memory_kb(drainit: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", drainit.pid())).unwrap();
    drainit.touch("measured");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Fails unless the drain takes two seconds and `min`, the stop is in order, and the report gives
/// the reason, whatever the admin does from T0 on.
#[track_caller]
fn is_bounded_and_reported(drainit: Running, reason: &str) {
    let t0 = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&format!(r"warning: router: POST /healthcheck/fail: {reason}"));
    let memory = peak_memory_kb(&drainit);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_stopped_in_order(&["router", "engine"])
        .assert_took(t0, ms(500)..ms(9000))
        .assert_line("drain router: .*it did not accept the drain, so only min was held")
        .assert_line(&format!(r"Z   router: POST /drain_listeners\?graceful&skip_exit: {reason}"));
    assert!(memory < MOST_MEMORY_KB, "{memory} kB:\n{}", ended.record);
}

const FAULTS: [(Answer, &str); 8] = [
    (Answer::Hang, "no answer within"),
    (Answer::Trickle, "no answer within"),
    (Answer::Status(403), "answered 403 Forbidden"),
    (Answer::Status(500), "answered 500 Internal Server Error"),
    (Answer::Gigabyte, "answered more than 4096 bytes"),
    (Answer::Endless, "answered more than 4096 bytes"),
    (Answer::HalfWay, "closed the connection before its answer was complete"),
    (Answer::Close, "closed the connection before its answer was complete"),
];

// holds: S30, S137
#[test]
fn an_admin_that_fails_is_bounded_and_reported() {
    let during = FAULTS.map(|fault| (fault, false));
    let from_the_start = [FAULTS[0], FAULTS[2]].map(|fault| (fault, true));
    in_parallel(during.into_iter().chain(from_the_start), |((fault, reason), from_the_start)| {
        let admin = Admin::tcp(0).answer_all(fault);
        let admin = if from_the_start { admin.faulty_throughout() } else { admin };
        let Some(drainit) = start_with(&admin) else { return };
        if !from_the_start {
            admin.wait_verified();
        }
        is_bounded_and_reported(drainit, reason);
    });
}

// holds: S49
#[test]
fn an_admin_that_never_existed_is_bounded_and_reported() {
    let Some(drainit) = start(&format!("http://{}", free_address())) else { return };
    is_bounded_and_reported(drainit, "connection refused");
    let Some(drainit) = start("unix:DIR/nobody.sock") else { return };
    is_bounded_and_reported(drainit, "no such file or directory");
}

/// Lets the calls succeed and then the statistics fail: the drain lasts for `time` and no longer.
#[test]
fn statistics_that_fail_during_the_drain_are_bounded_and_reported() {
    in_parallel(FAULTS, |(fault, reason)| {
        // The limit for statistics is larger.
        let reason = reason.replace("4096", "4194304");
        // A busy machine needs longer for so much than drainit waits for an answer.
        let reason = format!("({reason}|no answer within)");
        let admin = Admin::tcp(3).answer("/stats", &[Answer::Ok, Answer::Ok, fault]);
        let Some(rig) = Rig::new() else { return };
        let config = CONFIG.replace("ADMIN", &format!("http://{}", admin.address()));
        let drainit = rig.start_ready(&config.replace("time: 18s", "time: 4s"));
        admin.wait_verified();
        let t0 = drainit.signal(Signal::SIGTERM);
        drainit.wait_for_line(&format!("warning: router: GET /stats: {reason}"));
        let memory = peak_memory_kb(&drainit);
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_took(t0, ms(4000)..ms(12_000)).assert_line(
            "drain router: .*its time is over; connections 3 at the start, 3 when last seen",
        );
        assert!(memory < MOST_MEMORY_KB, "{memory} kB:\n{}", ended.record);
    });
}

/// Lets the admin fail while the container is stopped, after a requested drain is over: there is no
/// last count, so the one before is reported with its age.
// holds: S45
#[test]
fn a_failing_last_count_is_bounded_and_reported() {
    in_parallel(FAULTS, |(fault, _)| {
        let admin = Admin::tcp(3);
        let Some(rig) = Rig::new() else { return };
        let config = CONFIG.replace("ADMIN", &format!("http://{}", admin.address()));
        let config = config.replace("time: 18s", "time: 1s");
        let drainit = rig.start_ready(&format!("control: {{socket: DIR/control.sock}}\n{config}"));
        admin.wait_verified();
        assert_eq!(post_unix(&drainit.path("control.sock"), "/drain").unwrap().0, 202);
        drainit.wait_for_line("router: drain over after .*: its time is over");
        admin.answer_looks(fault);
        drainit.touch("measured");
        thread::sleep(ms(300));
        let t0 = drainit.signal(Signal::SIGTERM);
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_took(t0, ms(0)..ms(6000)).assert_line(
            "drain router: .*connections 3 at the start, 3 when last seen [0-9.]+m?s before the end",
        );
    });
}

// holds: C387
#[test]
fn missing_permissions_are_reported_before_the_drain() {
    let admin = Admin::tcp(0)
        .faulty_throughout()
        .answer("/drainit", &[Answer::Status(403)])
        .answer("/healthcheck/fail", &[Answer::Status(403)])
        .answer("/stats", &[Answer::Status(403)]);
    let Some(drainit) = start_with(&admin) else { return };
    drainit.wait_for_line(
        r"warning: router: its drain will fail, its admin does not allow /healthcheck/fail, /stats\?filter=…; let `admin",
    );
    assert!(admin.posts().is_empty(), "{:?}", admin.posts());
    let quiet = Admin::tcp(0);
    let Some(drainit) = start_with(&quiet) else { return };
    quiet.wait_verified();
    drainit.touch("measured");
    drainit.signal(Signal::SIGTERM);
    // A busy machine may answer the drain itself late.
    drainit.wait_exit(LONG).assert_no_line("warning: router: its");
}

// holds: S43
#[test]
fn a_drain_that_closes_nothing_is_reported() {
    // The admin counts one more request at each poll, and no request closes its connection.
    let admin = Admin::tcp(1).restless();
    let Some(drainit) = start_with(&admin) else { return };
    admin.wait_verified();
    let t0 = drainit.signal(Signal::SIGTERM);
    let line = drainit
        .wait_for_line("warning: router: [0-9]+ requests since the drain began, and no connection was closed: .*MODIFY_ONLY");
    assert!(line.at - t0 >= Duration::from_secs(2), "{:?}", line.at - t0);
    drainit.touch("measured");
    drainit.signal_again(Signal::SIGINT);
    let ended = drainit.wait_exit(LONG);
    ended.assert_line(r"Z   router: [0-9]+ requests since the drain began");
    let told =
        ended.record.lines.iter().filter(|line| line.text.contains("no connection was closed"));
    assert_eq!(told.count(), 2, "once in the log, once in the report:\n{}", ended.record);
}
