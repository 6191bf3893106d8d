//! Tests drainit without privileges, file systems, devices or descriptors. `run` and `exec`, as PID
//! 1 and as an ordinary process, start and stop in order if descriptors are missing, and if
//! everything else is missing. `tests/faults` takes everything away from `run`, one thing at a time.

use std::io;

use crate::support::namespace::is_possible;
use crate::support::rig::REFUSING;
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

// holds: S947
#[test]
fn a_call_that_the_kernel_refuses_is_named_with_a_purpose_and_a_way_without() {
    // The numbers of the call on x86-64 and arm64, the offset of an argument, its value, the error.
    let subreaper = ["157", "167", "16", "36", "EINVAL"];
    let signalfd = ["289", "74", "16", "4294967295", "EPERM"];
    let timer = ["283", "85", "16", "7", "ENOSYS"];
    let epoll = ["291", "20", "16", "524288", "EPERM"];
    let rows = [
        (
            subreaper,
            "error: cannot set up: the kernel refuses prctl(PR_SET_CHILD_SUBREAPER): Invalid argument (os error 22); a drainit that is not PID 1 needs it to reap orphans; run drainit as PID 1, or use `drainit exec --no-subreaper` without a drain",
        ),
        (
            signalfd,
            "error: cannot set up: the kernel refuses signalfd4: Operation not permitted (os error 1); drainit receives its signals by it; permit it in the seccomp profile, or use `drainit exec` without a drain, which needs no signalfd4",
        ),
        (
            timer,
            "error: drainit cannot continue: the kernel refuses timerfd_create(CLOCK_BOOTTIME): Function not implemented (os error 38); each time limit needs it; permit it in the seccomp profile, or use `drainit exec` without a drain, which needs no timerfd; all processes are stopped",
        ),
        (
            epoll,
            "error: drainit cannot continue: the kernel refuses epoll_create1 or eventfd2: Operation not permitted (os error 1); drainit waits for events by them; permit them in the seccomp profile; all processes are stopped",
        ),
    ];
    for (call, said) in rows {
        let wrapper = [&["python3", "-c", REFUSING][..], &call].concat();
        let ended = Rig::not_init().wrapper(&wrapper).run(PAIR);
        ended.assert_code(70).assert_line(&regex_lite::escape(said));
        // The command line that the message names works.
        if said.contains("drainit exec") {
            let rig = Rig::not_init().wrapper(&wrapper);
            rig.run_with(&["exec", "--no-subreaper", "--", "CHILD", "a", "exit=0"]).assert_code(0);
        }
    }
}
