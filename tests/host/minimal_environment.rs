//! Tests drainit without privileges, file systems, devices or descriptors. `run` and `exec`, as PID
//! 1 and as an ordinary process, start and stop in order if descriptors are missing, and if
//! everything else is missing. `tests/faults` takes everything away from `run`, one thing at a time.

use std::io;

use crate::support::namespace::is_possible;
use crate::support::temp_dir::is_locked;
use crate::support::*;

/// Two processes; the order of their ends shows that drainit stopped them.
const PAIR: &str = "
processes:
  base: {command: [CHILD, base, touch=DIR/base], readiness: {file: DIR/base}, log: {prefix: base}}
  a: {command: [CHILD, a, print=hello, eprint=oh, touch=DIR/a], depends_on: [base]}
";

/// A uid without an account.
const ANYBODY: [&str; 4] = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
const NO_CAPABILITIES: [&str; 3] = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
const NO_NEW_PRIVILEGES: [&str; 2] = ["setpriv", "--no-new-privs"];
const NO_PROC: &str = "mount -t tmpfs none /proc";
const NO_DEVICES: &str = "mount -t tmpfs none /dev";
const READ_ONLY: &str = "mount --bind DIR DIR && mount -o remount,bind,ro /";

/// Makes the rig run drainit with these redirections of a shell.
fn redirected(rig: Rig, redirections: &str) -> Rig {
    rig.wrapper(&["sh", "-c", &format!("exec \"$@\" {redirections}"), "sh"])
}

/// Runs and stops `run` and `exec`, as PID 1 and as an ordinary process, in the environment that
/// `lack` makes.
#[track_caller]
fn works(lack: impl Fn(Rig) -> Rig) {
    if !is_root_for("to take things away") {
        return;
    }
    if !is_possible() {
        return;
    }
    for rig in Rig::both() {
        let drainit = lack(rig.readable_by_everybody()).start(PAIR);
        drainit.wait_for_event("a", "touch");
        let ended = drainit.stop();
        ended.assert_code(0).assert_order(&["a exit 0", "base got SIGTERM", "base exit 0"]);
    }
    for rig in Rig::both() {
        let rig = lack(rig.readable_by_everybody());
        let drainit =
            rig.start_with(&["exec", "--", "CHILD", "a", "print=hello", "eprint=oh", "storm=10"]);
        drainit.wait_for_event("a", "storm");
        drainit.wait_until("reaped", || drainit.children_in_state('Z') == 0);
        drainit.signal(Signal::SIGHUP);
        drainit.wait_for_event("a", "got SIGHUP");
        drainit.stop().assert_code(0);
    }
}

#[test]
fn drainit_works_without_descriptors_and_unignored_signals() {
    let all: [fn(Rig) -> Rig; 7] = [
        |rig| rig.after("trap '' TERM INT QUIT HUP"),
        |rig| redirected(rig, "0<&-"),
        |rig| redirected(rig, "1>&-"),
        |rig| redirected(rig, "2>&-"),
        |rig| redirected(rig, "0<&- 1>&- 2>&-"),
        |rig| redirected(rig, ">/dev/full 2>/dev/full"),
        |rig| {
            let (reader, writer) = io::pipe().unwrap();
            drop(reader);
            redirected(rig.stdout(writer), "2>&1")
        },
    ];
    all.into_iter().for_each(works);
}

// holds: C407
#[test]
fn notifications_of_a_process_work_without_proc() {
    if !is_root_for("a mount") || !is_possible() {
        return;
    }
    const CONFIG: &str = "
        processes:
          a:
            command: [CHILD, a, notify=READY=1, 'on=USR1:touch:DIR/told', await=DIR/told, notify=DRAINED=1]
            readiness: {notify: true}
            drain: {notify: {signal: USR1, time: 20s}}
        ";
    for rig in Rig::both() {
        rig.after_mounts(NO_PROC).start_ready(CONFIG).stop().assert_code(0).assert_line("complete");
    }
}

// holds: S69
#[test]
fn pid_1_stops_leftover_processes_without_proc() {
    if !is_root_for("a mount") || !is_possible() {
        return;
    }
    const OBEYS: &str =
        "processes: {a: {command: [CHILD, a, horde=3, touch=DIR/a], readiness: {file: DIR/a}}}";
    const FLEES: &str = "
        shutdown: {grace_period: 3s, reserve: 1s}
        processes: {a: {command: [CHILD, a, 'relay=2000,DIR/relay', touch=DIR/a], readiness: {file: DIR/a}}}
        ";
    if let Some(rig) = Rig::new() {
        let drainit = rig.after_mounts(NO_PROC).start_ready(OBEYS);
        drainit.signal(Signal::SIGTERM);
        // The code would be 137 if drainit had killed the processes.
        drainit.wait_exit(LONG).assert_code(0);
    }
    if let Some(rig) = Rig::new() {
        let drainit = rig.after_mounts(NO_PROC).start_ready(FLEES);
        assert!(is_locked(&drainit.path("relay")), "there is no relay");
        let ended = drainit.stop();
        ended.assert_code(137);
        assert!(!is_locked(&ended.path("relay")), "the relay still runs:\n{}", ended.record);
    }
}

#[test]
fn drainit_works_with_nothing_at_all() {
    works_with_nothing(|rig| rig);
}

#[track_caller]
pub(crate) fn works_with_nothing(choose: impl Fn(Rig) -> Rig) {
    works(|rig| {
        let rig = choose(rig).readable_by_everybody();
        let rig = rig.after_mounts(&format!("{READ_ONLY} && {NO_PROC} && {NO_DEVICES}"));
        rig.wrapper(&ANYBODY).wrapper(&NO_CAPABILITIES).wrapper(&NO_NEW_PRIVILEGES)
    });
}
