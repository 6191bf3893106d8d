//! Tests the drain of an Envoy whose admin works, and of an Envoy whose admin fails in various
//! ways, before and during the drain. drainit bounds each failure in time and memory, and reports
//! it. A simulation of the dialogue between drainit and Envoy tests which calls drainit makes, and
//! how often.

use std::thread;

use crate::support::http::{free_address, post_unix};
use crate::support::said;
use crate::support::{Admin, Answer, LONG, Rig, Running, Signal, in_parallel, ms};

const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  engine: {command: [CHILD, engine, touch=DIR/engine], readiness: {file: DIR/engine}}
  router:
    command: [CHILD, router, 'on=TERM:touch:DIR/told', await=DIR/told, await=DIR/measured, exit=0]
    depends_on: [engine]
    drain: {envoy: {admin: 'ADMIN', time: 18s, min: 3s}}
";
/// The requests of a single drain of an Envoy.
pub(crate) const ONCE: [&str; 3] =
    ["POST /drain_listeners?graceful&skip_exit", "POST /healthcheck/fail", "POST /drain_listeners"];
/// The limit for drainit's memory, in kB: more than drainit needs (a debug build has about 12 MB),
/// and far less than the admin sends.
const MOST_MEMORY_KB: u64 = 40_000;

fn start(admin: &str) -> Option<Running> {
    let drainit = Rig::new()?.start_ready(&CONFIG.replace("ADMIN", admin));
    drainit.wait_for_start(&["router"]);
    Some(drainit)
}

fn start_with(admin: &Admin) -> Option<Running> {
    start(&format!("http://{}", admin.address()))
}

// holds: S26, S44, S88, C361, C381
#[test]
fn envoy_is_drained_then_polled_then_closed_and_only_then_stopped() {
    let admin = Admin::tcp(5);
    let Some(drainit) = start_with(&admin) else { return };
    drainit.touch("measured");
    admin.wait_verified();
    assert!(admin.seen().is_empty(), "a healthy Envoy is left alone");
    drainit.signal(Signal::SIGTERM);
    admin.wait_for(ONCE[1]);
    // The connections are still open after several polls.
    drainit.wait_until("polled", || {
        admin.seen().iter().filter(|seen| seen.what.starts_with("GET /stats")).count() >= 5
    });
    assert!(drainit.record().event("router", "got SIGTERM").is_none());
    admin.set_connections(0);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_stopped_in_order(&["router", "engine"]);
    assert_eq!(admin.posts(), ONCE);
    assert!(admin.wait_for(ONCE[2]) <= ended.event("router", "got SIGTERM").at);
    ended.assert_line(
        "drain router: .*no connection left; connections 5 at the start, 0 at the end",
    );
}

/// Returns the peak memory of drainit, and lets the router end.
fn peak_memory_kb(drainit: &Running) -> u64 {
    let peak = drainit.kilobytes("VmHWM");
    drainit.touch("measured");
    peak
}

/// Stops drainit while the admin fails from T0 on. Asserts that the drain lasts for `min` and not
/// longer, that the stop is in order, and that the report gives the reason.
#[track_caller]
fn is_bounded_and_reported(drainit: Running, reason: &str) {
    let t0 = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&format!(r"warning: router: POST /healthcheck/fail: {reason}"));
    let memory = peak_memory_kb(&drainit);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_stopped_in_order(&["router", "engine"])
        .assert_took(t0, ms(3000)..ms(9000))
        .assert_line(
            "drain router: .*it did not accept the drain, so drainit only waited for `min`",
        )
        .assert_line(&format!(r"Z   router: POST /drain_listeners\?graceful&skip_exit: {reason}"));
    assert!(memory < MOST_MEMORY_KB, "{memory} kB:\n{}", ended.record);
}

/// An admin that answers so may only be slow.
const SLOW: [(Answer, &str); 2] =
    [(Answer::Hang, "no answer for 1s"), (Answer::Trickle, "no answer for 1s")];

const FAULTS: [(Answer, &str); 6] = [
    (Answer::Status(403), "answered 403 Forbidden"),
    (Answer::Status(500), "answered 500 Internal Server Error"),
    (Answer::Gigabyte, "answered more than 4096 bytes"),
    (Answer::Endless, "answered more than 4096 bytes"),
    (Answer::HalfWay, "closed the connection before its answer was complete"),
    (Answer::Close, "closed the connection before its answer was complete"),
];

#[test]
fn a_short_drain_names_the_last_error_of_each_call() {
    let admin = Admin::tcp(0).answer_all(Answer::Status(503)).faulty_throughout();
    let reasons =
        [(admin.address(), "answered 503 Service Unavailable"), (free_address(), "refused")];
    in_parallel(reasons, |(admin, reason)| {
        let config = CONFIG.replace("time: 18s, min: 3s", "time: 1s, min: 0s");
        let config = config.replace("ADMIN", &format!("http://{admin}"));
        let Some(drainit) = Rig::new().map(|rig| rig.start_ready(&config)) else { return };
        drainit.touch("measured");
        let ended = drainit.stop();
        for call in ONCE[..2].iter().map(|call| call.replace('?', r"\?")) {
            let error = format!(r"{call}: .*{reason}.* \(\d attempts\)");
            ended.assert_line(&format!("warning: router: {error}"));
            ended.assert_line(&format!("Z   router: {error}"));
        }
        ended.assert_no_line("had not answered");
    });
}

// holds: S30, S137
#[test]
fn an_admin_that_fails_is_bounded_and_reported() {
    let during = FAULTS.map(|fault| (fault, false));
    in_parallel(
        during.into_iter().chain([(FAULTS[0], true)]),
        |((fault, reason), from_the_start)| {
            let admin = Admin::tcp(0).answer_all(fault);
            let admin = if from_the_start { admin.faulty_throughout() } else { admin };
            let Some(drainit) = start_with(&admin) else { return };
            if !from_the_start {
                admin.wait_verified();
            }
            is_bounded_and_reported(drainit, reason);
        },
    );
}

// holds: S238
#[test]
fn a_slow_admin_has_the_whole_drain_for_an_answer() {
    in_parallel(SLOW.map(|(fault, _)| fault), |fault| {
        let admin = Admin::tcp(0).answer_all(fault);
        let Some(rig) = Rig::new() else { return };
        let config = CONFIG.replace("ADMIN", &format!("http://{}", admin.address()));
        let drainit = rig.start_ready(&config.replace("time: 18s, min: 3s", "time: 4s, min: 1s"));
        admin.wait_verified();
        let t0 = drainit.signal(Signal::SIGTERM);
        drainit
            .wait_for_line("warning: router: its admin had not answered when the drain was over");
        let memory = peak_memory_kb(&drainit);
        let ended = drainit.wait_exit(LONG);
        ended
            .assert_code(0)
            .assert_stopped_in_order(&["router", "engine"])
            .assert_took(t0, ms(4000)..ms(10_000))
            .assert_line("drain router: .*its time is over");
        assert!(memory < MOST_MEMORY_KB, "{memory} kB:\n{}", ended.record);
        assert_eq!(admin.posts(), ONCE[..1], "one question at a time");
    });
}

// holds: S49, S50
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
    in_parallel(FAULTS.into_iter().chain(SLOW), |(fault, reason)| {
        // The limit on the size of an answer is larger for statistics.
        let reason = reason.replace("4096", "16777216");
        // On a busy machine, an answer of that size may be overdue first.
        let reason = format!("({reason}|no answer for)");
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

/// Lets the admin fail while the container is stopped after a requested drain. There is no last
/// count then, so the report has the previous count, with its age.
// holds: S45
#[test]
fn a_failing_last_count_is_bounded_and_reported() {
    in_parallel(FAULTS.into_iter().chain(SLOW), |(fault, _)| {
        let admin = Admin::tcp(3);
        let Some(rig) = Rig::new() else { return };
        let config = CONFIG.replace("ADMIN", &format!("http://{}", admin.address()));
        let config = config.replace("time: 18s", "time: 1s");
        let drainit = rig.start_ready(&format!("control: {{socket: DIR/control.sock}}\n{config}"));
        admin.wait_verified();
        assert_eq!(post_unix(&drainit.path("control.sock"), "/drain").unwrap().0, 202);
        drainit.wait_for_line(said::TIME_IS_OVER);
        admin.answer_polls(fault);
        drainit.touch("measured");
        thread::sleep(ms(300));
        let ended = drainit.stop();
        ended.assert_code(0).assert_stopped_within(ms(0)..ms(6000)).assert_line(
            "drain router: .*connections 3 at the start, 3 when last seen [0-9.]+m?s before the end",
        );
    });
}
