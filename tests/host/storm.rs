//! Tests tens of thousands of orphans and signals, as fast as the kernel can create them.

use crate::support::*;

/// The maximum number of zombies at a time: a third of the pids that the kernel has by default. We
/// measured 40 to 70, and 1,160 when drainit had to wait for a CPU.
const FEW: usize = 10_000;
/// The time limit of a storm, which is ten times its duration on a slow machine.
const BOUND: Duration = Duration::from_secs(40);

/// Counts the zombies again and again until a condition holds, and returns the maximum.
#[track_caller]
fn most_zombies_until(drainit: &Running, what: &str, has_happened: impl Fn() -> bool) -> usize {
    let until = now() + BOUND;
    let mut most = 0;
    while !has_happened() {
        most = most.max(drainit.children_in_state('Z'));
        assert!(now() < until, "no {what} within {BOUND:?}:\n{}", drainit.record());
    }
    most
}

/// While drainit cannot run, more processes end than drainit reaps in one step. The kernel sends a
/// single SIGCHLD for all of them.
#[test]
fn all_processes_that_end_in_a_pause_are_reaped() {
    let steps = ["a", "await=DIR/go", "storm=1500", "touch=DIR/over"];
    let Some(init) = Rig::new() else { return };
    let run = init.start(&format!("processes: {{a: {{command: [CHILD, {}]}}}}", steps.join(", ")));
    let exec = ["exec", "--", "CHILD"].into_iter().chain(steps).collect::<Vec<_>>();
    for drainit in [run, Rig::not_init().start_with(&exec)] {
        drainit.wait_for_start(&["a"]);
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("over", || drainit.path("over").exists());
        drainit.wait_until("1500 zombies", || drainit.children_in_state('Z') == 1500);
        drainit.signal(Signal::SIGCONT);
        drainit.wait_until("reaped", || drainit.children_in_state('Z') == 0);
        drainit.stop().assert_code(0);
    }
}

#[test]
fn a_storm_holds_up_neither_probes_nor_logs_nor_the_stop() {
    // This storm lasts until it is stopped.
    let config = "
        processes:
          a: {command: [CHILD, a, touch=DIR/a, torrent=1000000], readiness: {file: DIR/a}}
          late:
            command: [CHILD, late, 'await=DIR/go', 'lines=1000,line', touch=DIR/late]
            depends_on: [a]
            readiness: {file: DIR/late}
            log: {prefix: late}
          later:
            command: [CHILD, later]
            depends_on: [late]
            readiness: {exec: [CHILD, probe, exit=0]}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_event("a", "torrent begins");
    drainit.wait_for_start(&["late"]);
    let began = now();
    drainit.touch("go");
    let most = most_zombies_until(&drainit, "readiness", || {
        drainit.record().line(said::ALL_READY).is_some()
    });
    assert!(most < FEW, "{most} zombies at a time");
    let ready = drainit.wait_for_line(said::ALL_READY).at;
    assert!(ready - began < LONG, "ready after {:?}", ready - began);
    // The probe of the process may be answered before the process can handle a signal.
    drainit.wait_for_start(&["later"]);
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(0)..LONG);
    ended.assert_order(&["later exit 0", "late got SIGTERM", "late exit 0", "a got SIGTERM"]);
    assert_eq!(ended.lines_of(Stream::Stdout, "late").len(), 1000);
}

/// The leaders of 20 process groups end at the same time, and the 1,000 other members ignore
/// SIGTERM. drainit looks for these members in `/proc` again and again until the deadline.
// holds: S62, S242
#[test]
fn many_groups_without_a_leader_do_not_hold_up_the_end() {
    let Some(rig) = Rig::new() else { return };
    let members = "trap '' TERM; i=0; while [ $$i -lt 50 ]; do sleep 60 & i=$$((i+1)); done";
    let drainit = rig.start(&format!(
        "
        shutdown: {{grace_period: 6s, reserve: 2s}}
        processes:
          a:
            command: [sh, -c, \"{members}; exec CHILD a\"]
            scale: 20
        "
    ));
    drainit.wait_for_events("a", "handling", 20);
    let ended = drainit.stop();
    ended
        .assert_code(137)
        .assert_stopped_within(ms(4000)..ms(6000))
        .assert_line("killed: 20 of 20");
}

/// 50 processes end with code 0 at the same time, while 2,000 orphans run. drainit looks for
/// processes that the 50 processes may have left behind.
// holds: S242
#[test]
fn many_ends_beside_many_orphans_do_not_hold_up_a_signal() {
    let config = "
        processes:
          a: {command: [CHILD, a, horde=2000, touch=DIR/a], readiness: {file: DIR/a}}
          b:
            command: [CHILD, b, await=DIR/go, exit=0]
            scale: 50
            on_exit: ignore
            required: false
            depends_on: [a]
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_events("b", "handling", 50);
    drainit.wait_for_line(said::ALL_READY);
    drainit.touch("go");
    drainit.wait_for_events("b", "exit 0", 50);
    let sent = drainit.signal(Signal::SIGTERM);
    let heard = drainit.wait_for_line("SIGTERM received").at - sent;
    assert!(heard < ms(1000), "SIGTERM was heard after {heard:?}");
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_flood_of_signals_holds_up_neither_probes_nor_the_drain_nor_the_stop() {
    let Some(rig) = Rig::new() else { return };
    // Real-time signals are queued, so there is always one more. The level `warn` avoids a log line
    // for each.
    let config = "
        processes:
          a:
            command: [sh, -c, 'i=0; while [ $$i -lt 20000000 ]; do kill -40 1; i=$$((i+1)); done']
            stop_signal: USR1
          b:
            command: [CHILD, b, sleep=1000, touch=DIR/b]
            depends_on: [a]
            readiness: {file: DIR/b}
          c:
            command: [CHILD, c]
            depends_on: [b]
            drain: {exec: {command: [CHILD, drain, exit=0], time: 20s}}
          d:
            command: [CHILD, d]
            depends_on: [c]
        ";
    let drainit = rig.env("DRAINIT_LOG_LEVEL", "warn").start(config);
    // `d` starts once a probe is answered and drainit knows that `c` runs.
    drainit.wait_for_start(&["d"]);
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(0)..LONG);
    ended.assert_order(&["drain exit 0", "c got SIGTERM", "c exit 0", "b got SIGTERM"]);
}

// holds: S251
#[test]
fn a_flood_of_notify_messages_holds_up_neither_the_drain_nor_the_stop() {
    let Some(rig) = Rig::new() else { return };
    let flood = "notify=READY=1, swamp=EXTEND_TIMEOUT_USEC=1";
    let drainit = rig.start_ready(&format!(
        "
        hooks: {{pre_stop: [CHILD, hook, exit=0]}}
        processes:
          a: {{command: [CHILD, a, 'on=TERM:ignore', {flood}], readiness: {{notify: true}}, scale: 16, stop_grace_period: 1s}}
          b:
            command: [CHILD, b, touch=DIR/b]
            drain: {{exec: {{command: [CHILD, drain, exit=0], time: 20s}}}}
            liveness: {{exec: [CHILD, probe, exit=0], interval: 100ms}}
        "
    ));
    let before = drainit.kilobytes("VmRSS");
    drainit.wait_for_events("probe", "exit", 50);
    let grown = drainit.kilobytes("VmRSS").saturating_sub(before);
    assert!(grown < 10_000, "{grown} kB more");
    let ended = drainit.stop();
    ended.assert_code(137).assert_stopped_within(ms(1000)..LONG);
    ended.assert_order(&["hook exit 0", "drain exit 0", "b got SIGTERM"]);
}

// holds: S271
#[test]
fn the_last_output_and_messages_of_many_processes_are_read_in_several_steps() {
    // Each process has a task that reads its output. The runtime runs fewer tasks in one turn.
    const COUNT: usize = 90;
    let Some(rig) = Rig::new() else { return };
    let process = |number| {
        let (ready, readiness) = match number % 2 {
            0 => ("", "log: a line"),
            _ => ("notify=READY=1, ", "notify: true"),
        };
        format!(
            "
          p{number}:
            command: [CHILD, p{number}, await=DIR/go, {ready}'lines=1500,a line', exit=0]
            readiness: {{{readiness}, timeout: 60s}}
            on_exit: ignore
            log: {{file: DIR/p{number}.log}}"
        )
    };
    let processes: String = (0..COUNT).map(process).collect();
    let keep = "keep: {command: [CHILD, keep]}";
    let drainit = rig.start(&format!(
        "
        logging: {{format: json}}
        processes:
          {keep}{processes}
        "
    ));
    drainit.wait_until("started", || drainit.children().len() > COUNT);
    drainit.signal(Signal::SIGSTOP);
    drainit.touch("go");
    drainit.wait_until("ended", || drainit.children_in_state('Z') == COUNT);
    drainit.signal(Signal::SIGCONT);
    // A stop signal has precedence over messages of processes that have ended.
    for number in 0..COUNT {
        drainit.wait_for_line(&said::ready(&format!("p{number}")));
    }
    let ended = drainit.stop();
    ended.assert_code(0);
    for number in 0..COUNT {
        let log = std::fs::read_to_string(ended.path(&format!("p{number}.log"))).unwrap();
        assert_eq!(log.lines().count(), 1500, "p{number}");
    }
}
