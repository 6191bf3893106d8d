//! `drainit kill`, and signals to drainit itself that nobody gets.

use std::fs;

use crate::support::namespace::is_root_for;
use crate::support::temp_dir::TempDir;
use crate::support::terminal::Terminal;
use crate::support::{LONG, Rig, Signal};

const DRAINIT: &str = env!("CARGO_BIN_EXE_drainit");

#[test]
fn a_signal_goes_to_the_process_alone() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          a: {command: [CHILD, a, 'on=HUP:print:reloaded']}
          b: {command: [CHILD, b, 'on=HUP:print:wrong']}
          task: {type: oneshot, command: [CHILD, task, exit=0]}
        ",
    );
    drainit.wait_for_start(&["a", "b"]);
    drainit.wait_for_line("everything is ready");
    drainit.exec(&["kill", "-s", "HUP", "a"]).assert(0, "");
    drainit.wait_for_line("reloaded");
    drainit.wait_for_line(r"a: SIGHUP sent, requested by pid \d+ \(uid 0\)");
    drainit.exec(&["kill", "-s", "1", "task"]).assert(1, "task does not run: it is done");
    drainit.exec(&["kill", "-s", "NONE", "a"]).assert(2, "write a name such as HUP");
    drainit.exec(&["kill", "-s", "HUP"]).assert(2, "NAME");
    drainit.exec(&["kill", "c"]).assert(1, "there is no process `c`");
    drainit.stop().assert_code(0).assert_no_line("wrong");
}

#[test]
fn without_a_signal_it_kills_and_the_policy_decides() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "processes: {a: {command: [CHILD, a], restart: always, restart_delay: 10ms}, b: {command: [CHILD, b]}}",
    );
    drainit.exec(&["kill", "a"]).assert(0, "");
    drainit.wait_for_line("a: was ended by SIGKILL");
    drainit.wait_until("restarted", || {
        drainit.exec(&["status"]).stdout.contains("last exit: was ended by SIGKILL")
    });
    // The end of PID 1 may be the end of the command, too.
    drainit.exec(&["kill", "b"]);
    drainit.wait_exit(LONG).assert_code(137);
}

// holds: S115
#[test]
fn a_kill_by_request_is_not_blamed_on_the_oom_killer() {
    if !is_root_for("a mount") {
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let cgroup = rig.path("cgroup");
    let count =
        |kills| fs::write(cgroup.join("memory.events"), format!("oom_kill {kills}\n")).unwrap();
    fs::create_dir(&cgroup).unwrap();
    // Kills from before do not count.
    count(3);
    let mount = format!("mount --bind {} /sys/fs/cgroup && exec \"$@\"", cgroup.display());
    let drainit = rig.wrapper(&["sh", "-c", &mount, "sh"]).start(
        "
        processes:
          a: {command: [CHILD, a], on_exit: ignore}
          b: {command: [CHILD, b, await=DIR/go, die=KILL], on_exit: ignore}
          c: {command: [CHILD, c]}
          d: {command: [CHILD, d, await=DIR/first, die=KILL], on_exit: ignore}
        ",
    );
    drainit.wait_for_line("everything is ready");
    drainit.touch("first");
    drainit.wait_for_line(r"d: was ended by SIGKILL \(on_exit");
    // What was killed is none of drainit's children, such as a `docker exec`.
    count(4);
    drainit.exec(&["kill", "a"]).assert(0, "");
    drainit.wait_for_line(r"a: was ended by SIGKILL \(on_exit");
    drainit.touch("go");
    drainit.wait_for_line("b: was ended by SIGKILL, probably by the kernel's OOM killer");
    drainit.stop();
}

#[test]
fn a_signal_to_drainit_that_nobody_gets_is_reported() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {command: [CHILD, a, 'on=USR1:print:got'], forward_signals: [USR1]}}",
    );
    drainit.wait_for_start(&["a"]);
    drainit.wait_for_line("everything is ready");
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("got");
    drainit.signal(Signal::SIGCONT);
    drainit.signal(Signal::SIGHUP);
    drainit.wait_for_line(
        "warning: SIGHUP has no effect: no running process has it in forward_signals; `drainit kill -s SIGHUP NAME` sends it to \
         one; if it is the image's STOPSIGNAL, add it to `shutdown.signals`",
    );
    let ended = drainit.stop();
    ended
        .assert_code(0)
        .assert_no_line("SIGUSR1 has no effect")
        .assert_no_line("SIGCONT has no effect");
    ended.assert_no_line("SIGTERM has no effect");
}

#[test]
fn a_signal_that_a_terminal_sends_is_missed_without_one() {
    let Some(rig) = Rig::new() else { return };
    // The official image of httpd has STOPSIGNAL SIGWINCH.
    let config = "processes: {a: {command: [CHILD, a]}}";
    let drainit = rig.wrapper(&["setsid"]).start(config);
    drainit.wait_for_line("everything is ready");
    drainit.signal(Signal::SIGWINCH);
    drainit.wait_for_line("SIGWINCH has no effect.*add it to `shutdown.signals`");
    drainit.stop().assert_code(0);

    let dir = TempDir::new();
    let send = "kill -WINCH 1; kill -USR2 1; exec sleep 60";
    dir.write("drainit.yaml", format!("processes: {{a: {{command: [sh, -c, '{send}']}}}}"));
    let config = dir.join("drainit.yaml");
    let session = Terminal::init(&[DRAINIT, "run", "-c", config.to_str().unwrap()]);
    session.wait_for("SIGUSR2 has no effect");
    assert_eq!(session.count("SIGWINCH has no effect"), 0, "{}", session.screen());
}
