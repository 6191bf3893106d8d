//! Tests `drainit kill`, and signals that drainit gets but does not pass on to any process.

use crate::support::*;

// holds: C895
#[test]
fn a_signal_goes_to_the_process_alone() {
    let config = "
        processes:
          a: {command: [CHILD, a, 'on=HUP:print:reloaded']}
          b: {command: [CHILD, b, 'on=HUP:print:wrong']}
          task: {type: oneshot, command: [CHILD, task, exit=0]}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_start(&["a", "b"]);
    drainit.exec(&["kill", "-s", "HUP", "a"]).assert(0, "");
    drainit.wait_for_line("reloaded");
    // kill(1) and Docker write signals in these forms.
    let forms = [&["kill", "-HUP", "a"][..], &["kill", "-1", "a"], &["kill", "a", "-SIGHUP"]];
    for (before, words) in (1..).zip(forms) {
        // Two equal signals that are pending at the same time count as one signal.
        drainit.wait_for_lines("reloaded", before);
        drainit.exec(words).assert(0, "SIGHUP");
    }
    drainit.wait_for_lines("reloaded", 4);
    drainit.wait_for_line(r"a: SIGHUP sent, requested by pid \d+ \(uid 0\)");
    drainit.exec(&["kill", "-s", "1", "task"]).assert(1, "task is not running: it is done");
    drainit.exec(&["kill", "-s", "NONE", "a"]).assert(2, "write a name such as `TERM`");
    drainit.exec(&["kill", "-s", "HUP"]).assert(2, "NAME");
    drainit.exec(&["kill", "c"]).assert(1, "there is no process `c`");
    drainit.exec(&["kill", "-HPU", "a"]).assert(2, "did you mean `HUP`?");
    drainit.exec(&["kill", "-9", "a"]).assert(0, "SIGKILL");
    drainit
        .wait_exit(LONG)
        .assert_code(137)
        .assert_line("a: was ended by SIGKILL after SIGKILL was requested")
        .assert_no_line("wrong");
}

#[test]
fn a_signal_to_drainit_without_effect_is_reported() {
    let Some(rig) = Rig::new() else { return };
    // drainit must not have the terminal of whoever runs the tests.
    let drainit = rig.wrapper(&["setsid"]).start_ready(
        "processes: {a: {command: [CHILD, a, 'on=USR1:print:got'], forward_signals: [USR1]}}",
    );
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("got");
    drainit.signal(Signal::SIGCONT);
    drainit.signal(Signal::SIGHUP);
    drainit.wait_for_line(
        "warning: SIGHUP has no effect: no running process has it in forward_signals; `drainit kill -s SIGHUP NAME` sends it to \
         one; if it is the image's STOPSIGNAL, add it to `shutdown.signals`",
    );
    drainit.signal(Signal::SIGWINCH);
    drainit.wait_for_line("warning: SIGWINCH has no effect");
    let ended = drainit.stop();
    ended
        .assert_code(0)
        .assert_line("SIGHUP received from outside the container")
        .assert_no_line(&said::without_effect("SIGUSR1"))
        .assert_no_line(&said::without_effect("SIGCONT"));
    ended.assert_no_line(&said::without_effect("SIGTERM"));
}
