//! Tests that processes start in the order of the graph without delay, and tests failed starts.

use crate::support::Rig;
use crate::support::record::Stream;
use crate::support::said;

#[test]
fn a_failed_start_ends_the_others_in_order_and_gives_the_exit_code() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.run(
        "
        processes:
          base:
            command: [CHILD, base, unix=DIR/base.sock]
            readiness: {unix: DIR/base.sock}
          side:
            command: [CHILD, side, touch=DIR/side]
            depends_on: [base]
            readiness: {file: DIR/side}
          broken:
            command: [CHILD, broken, 'lines=15,out', 'elines=15,err', exit=3]
            depends_on: [side]
            readiness: {unix: DIR/broken.sock}
            log: {file: DIR/brk.log}
          never: {command: [CHILD, never], depends_on: [broken]}
        ",
    );
    ended
        .assert_code(3)
        .assert_line(r"^\[drainit\].*broken: exited with code 3")
        .assert_line(r"^\[drainit\].*broken exited with code 3 before it was ready")
        .assert_stopped_in_order(&["side", "base"])
        .assert_no_event("never", "start");
    // The lines are in a file, so drainit's own log has the last 20 of them.
    let is_repeated =
        |line: &str| ended.record.line(&format!(r"^\[drainit\] .* {line}$")).is_some();
    assert!(is_repeated("out 14") && is_repeated("err 14"), "{}", ended.record);
    let number = |line: &&str| is_repeated(line);
    let all: Vec<String> = (0..15).flat_map(|n| [format!("out {n}"), format!("err {n}")]).collect();
    assert_eq!(all.iter().map(String::as_str).filter(number).count(), 20, "{}", ended.record);
    // Lines that stand right above are not repeated.
    let Some(rig) = Rig::new() else { return };
    let ended =
        rig.run("processes: {a: {command: [CHILD, a, 'lines=3,out', exit=3], log: {prefix: a}}}");
    ended.assert_line(r"^\[a\] out 2").assert_no_line(r"^\[drainit\].*out 2|last lines");
}

/// A program that blocks SIGTERM, sends SIGTERM to itself and executes the command, so that SIGTERM
/// is pending at the start.
const PENDING: &str = "
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
os.execv(sys.argv[1], sys.argv[1:])
";

// holds: S6, S7
#[test]
fn after_a_stop_signal_nothing_is_started() {
    let rig = Rig::not_init().wrapper(&["python3", "-c", PENDING]);
    rig.run(
        "
        hooks:
          pre_start: [touch, DIR/pre_start]
          post_stop: [touch, DIR/post_stop]
        processes: {a: {command: [CHILD, a]}}
        ",
    )
    .assert_code(0)
    .assert_line(said::STOPPING)
    .assert_no_event("a", "start")
    .assert_gone("pre_start")
    .assert_gone("post_stop");
}

// holds: S6
#[test]
fn a_stop_signal_is_noticed_between_two_starts_of_a_step() {
    let Some(rig) = Rig::new() else { return };
    // The first process stops the container. Without the stop, the others would start in the same
    // step.
    let others = (0..500).map(|n| format!("  x{n}: {{command: [sleep, '60']}}\n"));
    let config = format!(
        "processes:\n  first: {{command: [sh, -c, 'kill -TERM 1; exec sleep 60'], log: {{mode: inherit}}}}\n{}",
        others.collect::<String>()
    );
    let ended = rig.run(&config);
    ended.assert_code(0).assert_line(said::STOPPING);
    ended.assert_line(r"SIGTERM received from pid \d+ \(uid 0\)");
    let started = ended.text(Stream::Stderr).matches(": started").count();
    // A step starts up to 64 processes, which takes longer than `first` needs to send the signal.
    assert!(started < 50, "{started} were started");
}
