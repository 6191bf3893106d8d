//! Tests which senders of sd_notify(3) messages drainit accepts, and how it prints their text.

use crate::support::{LONG, Rig, Signal, Stream};

/// Returns a rig with drainit as PID 1 and one with drainit as an ordinary process.
fn both() -> impl Iterator<Item = Rig> {
    [Rig::new(), Some(Rig::not_init())].into_iter().flatten()
}

const REFUSED: &str = r"warning: a: .*=.* is not believed: it comes from pid \d+ \(\w+\), which is neither the process itself";

#[test]
fn one_process_cannot_say_that_another_is_ready() {
    for rig in both() {
        let ended = rig.run(
            "
            processes:
              a: {command: [CHILD, a], readiness: {notify: true, timeout: 4s}}
              b: {command: [CHILD, b, forge=READY=1, forge=STATUS=lies, forge=READY=1, touch=DIR/b]}
            ",
        );
        ended
            .assert_code(1)
            .assert_line("a: not ready after")
            .assert_line(REFUSED)
            .assert_no_line("a: ready")
            .assert_no_line("lies")
            .event("b", "touch");
        let warnings = ended.text(Stream::Stderr).matches("is not believed").count();
        assert_eq!(warnings, 1, "{}", ended.record);
    }
}

#[test]
fn one_process_cannot_say_that_another_is_drained() {
    for rig in both() {
        let drainit = rig.start(
            "
            processes:
              a:
                command: [CHILD, a, 'on=USR1:touch:DIR/told']
                drain: {notify: {signal: USR1, time: 4s}}
              b: {command: [CHILD, b, await=DIR/told, forge=DRAINED=1, touch=DIR/b]}
            ",
        );
        drainit.wait_for_start(&["a", "b"]);
        drainit.signal(Signal::SIGTERM);
        let ended = drainit.wait_exit(LONG);
        ended
            .assert_code(0)
            .assert_line("a: drain over after .*: its time is over")
            .assert_line(REFUSED)
            .event("b", "touch");
    }
}

#[test]
fn descendants_of_a_process_may_notify_for_it() {
    for command in [
        "[CHILD, a, notify=READY=1]",
        // It is ready once, however often it says so.
        "[CHILD, a, notify=READY=1, notify=READY=1]",
        "[CHILD, a, 'spawn=c,notify=READY=1']",
        // The sender is in a separate session, and below that session's leader.
        "[sh, -c, 'setsid CHILD c notify=READY=1 & wait']",
        // The sender has lost its parent, but is still in its process group.
        "[sh, -c, '(CHILD c notify=READY=1 &); exec sleep 60']",
        // The sender ends at once, but only after drainit has read its message.
        "[sh, -c, 'systemd-notify --ready; exec sleep 60']",
    ] {
        for rig in both() {
            let drainit = rig.start(&format!(
                "
                processes:
                  a: {{command: {command}, readiness: {{notify: true}}}}
                  b: {{command: [CHILD, b]}}
                "
            ));
            if command.contains("systemd-notify") && !has("systemd-notify") {
                continue;
            }
            drainit.wait_for_line("everything is ready");
            drainit.signal(Signal::SIGTERM);
            drainit.wait_exit(LONG).assert_no_line("is not believed");
        }
    }
}

#[test]
fn a_message_may_come_with_descriptors() {
    // As sd_pid_notify_with_fds does for FDSTORE=1.
    const SCRIPT: &str = "import array, os, socket, time
fds = array.array('i', [0, 1])
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendmsg(
    [b'READY=1\\nFDSTORE=1\\nFDNAME=a'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)], 0,
    '\\0' + os.environ['NOTIFY_SOCKET'][1:])
time.sleep(60)
";
    if !has("python3") {
        return;
    }
    for rig in both() {
        rig.write("store.py", SCRIPT);
        let drainit = rig
            .start("processes: {a: {command: [python3, DIR/store.py], readiness: {notify: true}}}");
        drainit.wait_for_line("everything is ready");
        drainit.signal(Signal::SIGTERM);
        drainit.wait_exit(LONG);
    }
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

#[test]
fn a_detached_process_may_not_notify() {
    for rig in both() {
        let ended = rig.run(
            "
            processes:
              a: {command: [CHILD, a, 'daemon=c,notify=READY=1'], readiness: {notify: true, timeout: 4s}}
              b: {command: [CHILD, b]}
            ",
        );
        ended.assert_code(1).assert_line(REFUSED).event("c", "notify");
    }
}

#[test]
fn a_sender_that_is_gone_is_believed_only_where_it_can_be_nobody_else() {
    const GONE: &str = "which had ended before drainit could see whose it was";
    let config = "
        processes:
          a:
            command: [sh, -c, 'touch DIR/waits; until test -e DIR/go; do sleep 0.05; done; CHILD c notify=READY=1 exit=0; touch DIR/sent; exec sleep 60']
            readiness: {notify: true, timeout: 5s}
        ";
    for (other, is_believed) in [("", true), ("  b: {command: [CHILD, b]}", false)] {
        let Some(rig) = Rig::new() else { return };
        let drainit = rig.start(&format!("{config}{other}"));
        drainit.wait_until("waiting", || drainit.path("waits").exists());
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("sent", || drainit.path("sent").exists());
        drainit.signal(Signal::SIGCONT);
        drainit.wait_for_line(if is_believed { "everything is ready" } else { GONE });
        drainit.signal(Signal::SIGTERM);
        drainit.wait_exit(LONG).assert_code(0);
    }
}

#[test]
fn a_status_is_one_harmless_line() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.run(
        r#"
        processes:
          a:
            command: [CHILD, a, "notify=STATUS=half\r[drainit] done \e[31mred"]
            readiness: {notify: true, timeout: 3s}
        "#,
    );
    ended.assert_code(1).assert_line("it says: half␍\\[drainit\\] done ␛\\[31mred");
    let raw = ended.text(Stream::Stderr);
    assert!(!raw.contains('\u{1b}') && !raw.contains('\r'), "{raw}");
}

#[test]
fn a_name_and_last_lines_are_harmless() {
    let Some(rig) = Rig::new() else { return };
    // The message is `x`, a newline, and `[drainit] no` after an escape character.
    let drainit = rig.start(
        r#"
        shutdown: {grace_period: 3s, reserve: 500ms}
        processes:
          a: {command: [CHILD, a, 'daemon=c,rename=780a1b5b316d6e6f,touch=DIR/c']}
          b:
            command: [CHILD, b, "print=one\e[2Jtwo", await=DIR/end, exit=3]
            depends_on: [a]
            log: {prefix: b}
        "#,
    );
    drainit.wait_for_event("c", "touch");
    drainit.wait_for_line("two");
    drainit.touch("end");
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(3)
        .assert_line(r"b: exited with code 3.*; its last lines:")
        .assert_line(r"\[drainit\] .*  one␛\[2Jtwo")
        .assert_line(r"left over: \d+ \(x␊␛\[1mno\)");
    let own = ended.text(Stream::Stderr);
    let own: Vec<_> = own.lines().filter(|line| line.starts_with("[drainit]")).collect();
    assert!(!own.concat().contains('\u{1b}'), "{own:?}");
}
