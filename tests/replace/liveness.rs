//! Tests that a process that no longer works is drained, stopped and restarted, and that a process
//! can ask for more time.

use crate::support::*;

// holds: C229, C230, C236, C239, C249
#[test]
fn a_server_that_hangs_is_drained_stopped_and_restarted() {
    let Some(rig) = Rig::new() else { return };
    // Only the first instance hangs.
    let config = "
        processes:
          base: {command: [CHILD, base]}
          a:
            command:
              - sh
              - -c
              - 'test -e DIR/hang && exec CHILD a http=ADDRESS,0;
                exec CHILD a http=ADDRESS,0 await=DIR/hang die=STOP'
            depends_on: [base]
            readiness: {http: 'http://ADDRESS/', interval: 20ms}
            liveness: {http: 'http://ADDRESS/', interval: 50ms, timeout: 1s, retries: 2}
            drain: {exec: [CHILD, drain, exit=0]}
            restart: on-failure
            restart_delay: 10ms
          b: {command: [CHILD, b], depends_on: [a]}
          c: {command: [CHILD, c], depends_on: {a: {restart: true}}}
        ";
    let drainit = rig.start_ready(&config.replace("ADDRESS", &free_address().to_string()));
    drainit.touch("hang");
    drainit.wait_for_line(r"warning: a: liveness probe failed \(1 of 2\): http://.*: no ");
    drainit.wait_for_line("a: failed its liveness check.*: http://.*: no ");
    drainit.wait_for_events("a", "start", 2);
    drainit.wait_for_events("c", "start", 2);
    let ended = drainit.stop();
    ended.assert_code(0).assert_order(&[
        "a die STOP",
        "drain start",
        "drain exit 0",
        "a got SIGTERM",
    ]);
    // The other processes keep running.
    let others = |name| ended.record.count(name, "start");
    assert_eq!((others("base"), others("b")), (1, 1), "{}", ended.record);
}

// holds: C733
#[test]
fn probes_leave_nothing_in_their_process_group() {
    let Some(rig) = Rig::new() else { return };
    // Each run counts the processes that the earlier runs have left. One that was just killed may
    // still be ending.
    let count = "for _ in 1 2 3 4 5; do pgrep -xf 'sleep 4325' >${0%/*}/pids && sleep 0.1; done\n\
                 echo $(wc -l <${0%/*}/pids) >>${0%/*}/left\nsleep 4325 & exit 0\n";
    rig.write("probe", count);
    let config = r"
        processes:
          a:
            command: [sleep, '4324']
            liveness: {exec: [sh, DIR/probe], interval: 20ms}
        ";
    let drainit = rig.start(config);
    let text = || fs::read_to_string(drainit.path("left")).unwrap_or_default();
    drainit.wait_until("probed", || text().lines().count() > 10);
    assert!(text().lines().all(|line| line == "0"), "{}", text());
    drainit.stop().assert_code(0);
}

// holds: C232, C241, C243, C244, C245, C258
#[test]
fn missing_watchdog_messages_end_the_container_if_nothing_restarts_the_process() {
    let Some(rig) = Rig::new() else { return };
    let fed = "notify=WATCHDOG=1, sleep=400, ".repeat(5);
    let ended = rig.env("WATCHDOG_PID", "1").run(&format!(
        "
        processes:
          a: {{command: [CHILD, a, report=DIR/a, {fed} touch=DIR/fed], liveness: {{notify: 3s}}}}
        "
    ));
    ended
        .assert_code(1)
        .assert_line(r"a: failed its liveness check.*: no WATCHDOG=1 within 3s")
        .assert_line("stopping: a failed its liveness check")
        .assert_order(&["a touch", "a got SIGTERM"]);
    let environment = &ended.report("a")["env"];
    assert_eq!(environment["WATCHDOG_USEC"], "3000000");
    assert_eq!(environment["WATCHDOG_PID"], Value::Null);
}

// holds: C246
#[test]
fn a_process_can_fail_the_check_itself() {
    let config = "
        processes:
          a:
            command: [CHILD, a, notify=READY=1, await=DIR/broken, notify=WATCHDOG=trigger]
            readiness: {notify: true}
            restart: always
            restart_delay: 4s
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.touch("broken");
    drainit.wait_for_line("a: failed its liveness check.*: it sent WATCHDOG=trigger");
    drainit.wait_until("the reason of the restart", || {
        let a = &drainit.processes(&["a"])[0];
        a["state"] == "restarting"
            && a["message"] == "failed its liveness check: it sent WATCHDOG=trigger"
    });
    drainit.wait_for_events("a", "start", 2);
}

// holds: C230, C235, C238, C240, C250, C693
#[test]
fn a_failed_check_counts_as_a_failure_and_the_others_keep_running() {
    let config = "
        processes:
          a:
            command: [CHILD, a]
            liveness: {exec: [sh, -c, 'echo bad >/dev/stderr; exit 1'], interval: 200ms, retries: 3, start_period: 300ms}
            on_exit: ignore
          b: {command: [CHILD, b], depends_on: [a]}
          c:
            command: [CHILD, c]
            liveness: {exec: [sh, -c, 'yes & exit 1'], interval: 100ms, retries: 1}
            on_exit: ignore
        ";
    let Some(drainit) = Rig::started(config) else { return };
    let failed = drainit
        .wait_for_line("a: failed its liveness check.*: its command exited with code 1: bad");
    // A pause comes before each of the three probes. The test counts from the start of drainit,
    // because it may read the line "ready" late.
    assert!(failed.at - drainit.record().started >= ms(900), "{}", drainit.record());
    // The command has ended, but the `yes` that it started still holds the pipe and writes.
    drainit.wait_for_line("c: failed its liveness check.*: its command exited with code 1");
    drainit.wait_until("the status", || {
        let a = &drainit.processes(&["a"])[0];
        a["state"] == "failed" && a["probe_failures"] == 3
    });
    let why = "a (failed: failed its liveness check: its command";
    drainit.exec(&["health"]).assert(1, why);
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_in_order(&["a", "b"]);
    assert_eq!((ended.record.count("a", "start"), ended.record.count("b", "start")), (1, 1));
}

// holds: C251
#[test]
fn a_process_can_ask_for_more_time_while_saving() {
    let config = "
        processes:
          a:
            command: [CHILD, a, 'on=TERM:touch:DIR/told', MORE, notify=READY=1, await=DIR/told, MORE, exit=0]
            readiness: {notify: true, timeout: 2s}
            stop_grace_period: 2s
        ";
    let more = "notify=EXTEND_TIMEOUT_USEC=20000000, sleep=3000";
    let Some(drainit) = Rig::ready(&config.replace("MORE", more)) else { return };
    drainit
        .stop()
        .assert_code(0)
        .assert_line("a: asked for more time; 20s left")
        .event("a", "exit 0");
}

// holds: C629
#[test]
fn a_command_that_hangs_is_killed_after_the_timeout() {
    // Only the first probe hangs.
    let config = "
        processes:
          a:
            command: [CHILD, a]
            liveness:
              exec: [sh, -c, 'test -e DIR/once && exit; touch DIR/once; exec CHILD probe']
              interval: 10ms
              timeout: 2s
        ";
    let Some(drainit) = Rig::started(config) else { return };
    let began = drainit.wait_for_event("probe", "start").at;
    let ended =
        drainit.wait_for_line(r"a: liveness probe failed \(1 of 3\): .*not ended after 2s").at;
    assert!((ms(1000)..ms(8000)).contains(&(ended - began)), "{:?}", ended - began);
    drainit.wait_until("only a is left", || drainit.children_in_state('S') == 1);
    drainit.stop().assert_code(0).assert_no_event("probe", "exit");
}
