//! Tests the drain of an Envoy whose admin works, and of an Envoy whose admin fails in various
//! ways, before and during the drain. drainit bounds each failure in time and memory, and reports
//! the failure. A simulation of the dialogue between drainit and Envoy tests which calls drainit
//! makes, and how often.

use crate::support::*;

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

/// Stops drainit while the admin fails from T0 on. The kernel shows that nobody is connected.
/// Asserts that the drain lasts for `min` and not longer, that the stop is in order, and that the report gives the reason of the failure.
#[track_caller]
fn is_bounded_and_reported(drainit: Running, reason: &str) {
    let t0 = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&format!(r"warning: router: POST /healthcheck/fail: {reason}"));
    let memory = drainit.kilobytes("VmHWM");
    drainit.touch("measured");
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_stopped_in_order(&["router", "engine"])
        .assert_took(t0, ms(3000)..ms(9000))
        .assert_line("drain router: .*no request in flight")
        .assert_line("Z   router: its admin did not drain it, so the kernel counted its requests")
        .assert_line(&format!(r"Z   router: POST /drain_listeners\?graceful&skip_exit: {reason}"));
    assert!(memory < MOST_MEMORY_KB, "{memory} kB:\n{}", ended.record);
}

const FAULTS: [(Answer, &str); 3] = [
    (Answer::Status(403), "answered 403 Forbidden"),
    (Answer::Endless, "answered more than 4096 bytes"),
    (Answer::Close, "closed the connection before its answer was complete"),
];

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

// holds: S50
#[test]
fn an_admin_that_never_existed_is_bounded_and_reported() {
    let Some(drainit) = start(&format!("http://{}", free_address())) else { return };
    is_bounded_and_reported(drainit, "connection refused");
    let Some(drainit) = start("unix:DIR/nobody.sock") else { return };
    is_bounded_and_reported(drainit, "no such file or directory");
}
