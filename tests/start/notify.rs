//! Tests which senders of sd_notify(3) messages drainit accepts, and how it prints their text.

use crate::support::*;

const REFUSED: &str = r"warning: a: .*=.* is ignored: it comes from pid \d+ \(\w+\), which is neither the process itself";

// holds: C217, C405
#[test]
fn a_process_cannot_report_another_process_as_ready() {
    for rig in Rig::both() {
        let config = "
            processes:
              a: {command: [CHILD, a, touch=DIR/a], readiness: {notify: true, timeout: 3s}}
              b: {command: [CHILD, b, await=DIR/a, forge=READY=1, forge=STATUS=lies, forge=READY=1, touch=DIR/b]}
            ";
        let ended = rig.run(config);
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
        // More messages than may wait for the event loop at the same time.
        &format!("[CHILD, a, {}notify=READY=1]", "notify=STATUS=a, ".repeat(20)),
        "[CHILD, a, 'spawn=c,notify=READY=1']",
        // The sender is in a separate session, and below that session's leader.
        "[sh, -c, 'setsid CHILD c notify=READY=1 & wait']",
        // The sender has lost its parent, but is still in its session.
        "[sh, -c, '(CHILD c notify=READY=1 &); exec sleep 60']",
        // The sender ends as soon as drainit has read its message.
        "[sh, -c, 'systemd-notify --ready; exec sleep 60']",
    ] {
        if command.contains("systemd-notify") && !is_installed("systemd-notify") {
            continue;
        }
        for rig in Rig::both() {
            let drainit = rig.start(&format!(
                "
                processes:
                  a: {{command: {command}, readiness: {{notify: true}}}}
                  b: {{command: [CHILD, b]}}
                "
            ));
            drainit.wait_for_line(said::ALL_READY);
            drainit.stop().assert_no_line("is ignored");
        }
    }
}

// holds: C404
#[test]
fn only_the_user_of_a_process_may_notify() {
    const BECOME: &str = "setpriv --reuid 10002 --clear-groups";
    for (script, is_believed) in [
        // The process itself becomes another user, like an entrypoint with gosu.
        (format!("exec {BECOME} CHILD a notify=READY=1"), true),
        (format!("exec {BECOME} CHILD a spawn=c,notify=READY=1"), true),
        // A descendant of the process becomes another user.
        (format!("{BECOME} CHILD c notify=READY=1 & wait"), false),
    ] {
        let Some(rig) = Rig::as_root("another user") else { return };
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
        drainit.stop().assert_no_line(if is_believed { "is ignored" } else { "a: ready" });
    }
}

// holds: C406
#[test]
fn a_sender_that_has_ended_is_trusted_only_if_the_process_is_certain() {
    const GONE: &str = "which had ended before drainit could see to which process it belonged";
    let config = "
        processes:
          a:
            command: [sh, -c, 'until test -e DIR/go; do sleep 0.05; done; CHILD c notify=STATUS=warm exit=0; touch DIR/sent; exec sleep 60']
            drain: {notify: {signal: USR1, time: 1s}}
        ";
    let other = "  b: {command: [CHILD, b]}";
    for (at_first, after_reload, is_believed) in
        [("", None, true), (other, None, false), ("", Some(""), true), ("", Some(other), false)]
    {
        let Some(drainit) = Rig::ready(&format!("{config}{at_first}")) else { return };
        if let Some(other) = after_reload {
            drainit.write_config(&format!("{config}{other}"));
            drainit.exec(&["reload"]).assert(0, "");
        }
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("sent", || drainit.path("sent").exists());
        drainit.signal(Signal::SIGCONT);
        if is_believed {
            drainit.wait_until("believed", || drainit.exec(&["status"]).stdout.contains("warm"));
        } else {
            drainit.wait_for_line(GONE);
        }
        drainit.stop().assert_code(0);
    }
}
