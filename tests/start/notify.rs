//! Tests which senders of sd_notify(3) messages drainit accepts, and how it prints their text.

use std::fs;
use std::os::unix::net::UnixDatagram;

use crate::support::namespace::is_root_for;
use crate::support::said;
use crate::support::{LONG, Rig, Signal, Stream};

const REFUSED: &str = r"warning: a: .*=.* is ignored: it comes from pid \d+ \(\w+\), which is neither the process itself";

// holds: C217, C405
#[test]
fn a_process_cannot_report_another_process_as_ready() {
    for rig in Rig::both() {
        let ended = rig.run(
            "
            processes:
              a: {command: [CHILD, a, touch=DIR/a], readiness: {notify: true, timeout: 3s}}
              b: {command: [CHILD, b, await=DIR/a, forge=READY=1, forge=STATUS=lies, forge=READY=1, touch=DIR/b]}
            ",
        );
        ended
            .assert_code(1)
            .assert_line("a: not ready after")
            .assert_line(REFUSED)
            .assert_no_line(&said::ready("a"))
            .assert_no_line("lies")
            .event("b", "touch");
        let warnings = ended.text(Stream::Stderr).matches("is ignored").count();
        assert_eq!(warnings, 1, "{}", ended.record);
    }
}

// holds: C404
#[test]
fn descendants_of_a_process_may_notify() {
    for command in [
        "[CHILD, a, notify=READY=1]",
        // The process becomes ready once, even if it reports that twice.
        "[CHILD, a, notify=READY=1, notify=READY=1]",
        "[CHILD, a, 'spawn=c,notify=READY=1']",
        // The sender is in a separate session, and below that session's leader.
        "[sh, -c, 'setsid CHILD c notify=READY=1 & wait']",
        // The sender has lost its parent, but is still in its session.
        "[sh, -c, '(CHILD c notify=READY=1 &); exec sleep 60']",
        // The sender ends as soon as drainit has read its message.
        "[sh, -c, 'systemd-notify --ready; exec sleep 60']",
    ] {
        for rig in Rig::both() {
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
            drainit.wait_for_line(said::ALL_READY);
            drainit.stop().assert_no_line("is ignored");
        }
    }
}

/// A program that becomes an orphan, tries to join the process group of a leader, and sends its
/// other arguments to every notify socket of PID 1. The first argument of the program is a file
/// with the PID of the leader. The program lives as long as the leader.
const ATTACK: &str = "import os, signal, socket, sys, time
leader = int(open(sys.argv[1]).read())
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork():
    os._exit(0)
while os.getppid() != 1:
    time.sleep(0.001)
try:
    os.setpgid(0, leader)
    print('joined', flush=True)
except OSError as error:
    print('cannot join:', error.strerror, flush=True)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for line in open('/proc/net/unix'):
    name = line.rsplit(' @', 1)[-1].strip()
    if name.startswith('drainit/1/'):
        for text in sys.argv[2:]:
            try:
                sender.sendto(text.encode(), '\\0' + name)
            except OSError:
                pass
while os.path.exists(f'/proc/{leader}'):
    time.sleep(0.01)
";

// holds: C404, C405
#[test]
fn another_process_cannot_join_the_group_to_notify() {
    if !has("python3") || !is_root_for("another user") {
        return;
    }
    for (user, why) in [
        ("user: '10001:10001'", "of user 10001, but the process has another user"),
        ("umask: '022'", "which is neither the process itself"),
    ] {
        let Some(rig) = Rig::new() else { return };
        let rig = rig.readable_by_everybody();
        rig.write("attack.py", ATTACK);
        let drainit = rig.start(&format!(
            "
            processes:
              app:
                command: [sh, -c, 'echo $$$$ >DIR/pid; exec CHILD app on=USR1:touch:DIR/told']
                drain: {{notify: {{signal: USR1, time: 3s}}}}
              evil:
                command:
                  - sh
                  - -c
                  - 'until test -e DIR/told; do sleep 0.05; done; exec python3 DIR/attack.py DIR/pid DRAINED=1 WATCHDOG=trigger'
                {user}
            "
        ));
        drainit.wait_for_event("app", "handling");
        drainit.wait_for_line(said::ALL_READY);
        let ended = drainit.stop();
        ended
            .assert_code(0)
            .assert_line("cannot join: Operation not permitted")
            .assert_line(&format!(
                r"app: DRAINED=1 is ignored: it comes from pid \d+ \(python3\), {why}"
            ))
            .assert_line(said::TIME_IS_OVER);
    }
}

// holds: C404
#[test]
fn only_the_user_of_a_process_may_notify() {
    if !is_root_for("another user") {
        return;
    }
    const BECOME: &str = "setpriv --reuid 10002 --clear-groups";
    for (script, is_believed) in [
        // The process itself becomes another user, like an entrypoint with gosu.
        (format!("exec {BECOME} CHILD a notify=READY=1"), true),
        (format!("exec {BECOME} CHILD a spawn=c,notify=READY=1"), true),
        // A descendant of the process becomes another user.
        (format!("{BECOME} CHILD c notify=READY=1 & wait"), false),
    ] {
        let Some(rig) = Rig::new() else { return };
        let drainit = rig.readable_by_everybody().start(&format!(
            "
            processes:
              a: {{command: [sh, -c, '{script}'], readiness: {{notify: true, timeout: 4s}}}}
              b: {{command: [CHILD, b]}}
            "
        ));
        let refused =
            r"it comes from pid \d+ \(child\), of user 10002, but the process has another user";
        drainit.wait_for_line(if is_believed { said::ALL_READY } else { refused });
        let ended = drainit.stop();
        ended.assert_no_line(if is_believed { "is ignored" } else { "a: ready" });
    }
}

#[test]
fn drainit_notifies_a_service_manager_when_everything_is_ready() {
    let rig = Rig::not_init().env("NOTIFY_SOCKET", "DIR/manager");
    let manager = UnixDatagram::bind(rig.path("manager")).unwrap();
    manager.set_read_timeout(Some(LONG)).unwrap();
    let drainit = rig.start("processes: {a: {command: [CHILD, a]}}");
    let mut message = [0; 8];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
    drainit.stop().assert_code(0);
}

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).exists())
}

// holds: C406
#[test]
fn a_sender_that_has_ended_is_trusted_only_if_the_process_is_certain() {
    const GONE: &str = "which had ended before drainit could see to which process it belonged";
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
        drainit.wait_for_line(if is_believed { said::ALL_READY } else { GONE });
        drainit.stop().assert_code(0);
    }
}

// holds: C406
#[test]
fn a_sender_that_has_ended_is_not_trusted_after_a_reload_that_adds_a_process() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        processes:
          a:
            command: [sh, -c, 'touch DIR/waits; until test -e DIR/go; do sleep 0.05; done; CHILD c notify=WATCHDOG=trigger exit=0; touch DIR/sent; exec sleep 60']
            liveness: {notify: 60s}
        ",
    );
    let path = drainit.path("drainit.yaml");
    let before = fs::read_to_string(&path).unwrap();
    for config in [format!("{before}\n          b: {{command: [sleep, '60']}}\n"), before] {
        fs::write(&path, config).unwrap();
        drainit.exec(&["reload"]).assert(0, "");
    }
    drainit.wait_until("waiting", || drainit.path("waits").exists());
    drainit.signal(Signal::SIGSTOP);
    drainit.touch("go");
    drainit.wait_until("sent", || drainit.path("sent").exists());
    drainit.signal(Signal::SIGCONT);
    drainit.wait_for_line("which had ended before drainit could see to which process it belonged");
    drainit.stop().assert_code(0).assert_no_line("failed its liveness check");
}

// holds: C139
#[test]
fn control_characters_in_names_and_last_lines_are_escaped() {
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
            log: {file: DIR/b.log}
        "#,
    );
    drainit.wait_for_event("c", "touch");
    drainit.wait_until("line", || {
        std::fs::read_to_string(drainit.path("b.log")).is_ok_and(|text| text.contains("two"))
    });
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
