//! Tests that the shutdown is in order and within a single deadline, regardless of the processes.

use crate::support::*;

fn start(config: &str, names: &[&str]) -> Option<Running> {
    let drainit = Rig::new()?.start(config);
    drainit.wait_for_start(names);
    Some(drainit)
}

// holds: S106, S107, S200, S234
#[test]
fn a_second_signal_keeps_the_order_and_a_third_kills() {
    let config = "
        processes:
          python: {command: [CHILD, python, 'on=TERM:ignore']}
          policy: {command: [CHILD, policy, 'on=TERM:ignore'], depends_on: [python]}
          router: {command: [CHILD, router, 'on=TERM:ignore'], depends_on: [policy]}
        ";
    let Some(drainit) = start(config, &["python", "policy", "router"]) else { return };
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_event("router", "got SIGTERM");
    drainit.signal_again(Signal::SIGTERM);
    drainit.wait_for_line("the shutdown is already under way");
    drainit.signal_again(Signal::SIGINT);
    drainit.wait_for_line(said::HURRIED);
    assert!(drainit.record().event("policy", "got SIGTERM").is_none());
    let third = drainit.signal_again(Signal::SIGINT);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(137).assert_took(third, ms(0)..ms(8000)).assert_line("third stop signal");
    ended.assert_no_event("python", "got SIGTERM");
}

const SLOW_EXIT: &str = include_str!("../fixtures/slow_exit.py");

// holds: S840
#[test]
fn a_process_that_is_exiting_is_not_killed_and_keeps_the_code() {
    let Some(rig) = Rig::new().filter(|_| is_installed("python3")) else { return };
    rig.write("exits.py", SLOW_EXIT);
    let config = "
        shutdown: {grace_period: 60s, reserve: 1s}
        processes:
          a:
            command: [python3, DIR/exits.py, DIR/ready]
            stop_grace_period: 1s
            readiness: {file: DIR/ready}
        ";
    let drainit = rig.start_ready(config);
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_within(ms(2900)..ms(50_000))
        .assert_line("a: is exiting, and the kernel still frees its memory")
        .assert_line(r"  stop a: \d\S*, exited with code 0$")
        .assert_no_line("SIGKILL to its process group");
}

// holds: S61
#[test]
fn children_of_a_completed_oneshot_are_leftovers() {
    let config = "
        processes:
          a: {command: [CHILD, a, 'spawn=member,on=TERM:exit:0:50', exit=0], type: oneshot}
          b: {command: [CHILD, b], depends_on: [a]}
        ";
    let Some(drainit) = start(config, &["member", "b"]) else { return };
    drainit.stop().assert_code(0).assert_line("left over: .*child").assert_order(&[
        "a exit",
        "b start",
        "b exit",
        "member got SIGTERM",
        "member exit",
    ]);
}

// holds: S68, S823
#[test]
fn an_entered_process_is_left_over_only_if_orphaned() {
    let Some(drainit) = start("processes: {a: {command: [CHILD, a]}}", &["a"]) else { return };
    let pid = drainit.pid().to_string();
    let enter = |command: &[&str]| {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &pid, "--pid", "--mount"]).args(command);
        enter.stdin(Stdio::piped()).spawn().unwrap()
    };
    assert!(enter(&["sh", "-c", "sleep 60 &"]).wait().unwrap().success());
    let mut entered = enter(&["tail", "-f", "/dev/null"]);
    drainit.wait_until("an orphan", || drainit.children().len() == 2);
    drainit.stop().assert_code(0).assert_line(r"left over: \d+ \((sleep|sh)\); sending SIGTERM$");
    entered.wait().unwrap();
}

/// The steps of `a` and of its daemon, which runs as root while drainit does not.
const ROOTS_DAEMON: &str =
    "DIR/root --reuid=0 CHILD b relay=60000000,DIR/relay exit=0; exec CHILD a touch=DIR/a";

/// Returns a rig for an ordinary user, with a setuid program.
fn beside_root() -> Option<Rig> {
    let rig = Rig::as_root("to become another user")?.readable_by_everybody();
    let anybody = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
    let script = "cp \"$(command -v setpriv)\" DIR/root && chmod 4755 DIR/root";
    Some(rig.after(script).wrapper(&anybody))
}

// holds: S67
#[test]
fn processes_that_may_not_be_signalled_are_reported() {
    let Some(rig) = beside_root() else { return };
    let drainit = rig.start_ready(&format!(
        "
        shutdown: {{grace_period: 3s, reserve: 1s}}
        processes: {{a: {{command: [sh, -c, '{ROOTS_DAEMON}'], readiness: {{file: DIR/a}}}}}}
        "
    ));
    drainit
        .stop()
        .assert_code(137)
        .assert_stopped_within(ms(1000)..ms(3000))
        .assert_line(r"warning: left over: not allowed to send SIGTERM to \d+ \(child\), ")
        .assert_line(
            r"^\[drainit\] \S+   left over: not allowed to send SIGTERM to \d+ \(child\), ",
        )
        .assert_line("error: leftover processes survive SIGKILL");
}

// holds: S67
#[test]
fn processes_that_proc_hides_are_signalled_and_named() {
    let Some(rig) = Rig::as_root("to become another user") else { return };
    // Hides the processes of other users from drainit, although drainit is root: drainit lacks
    // CAP_SYS_PTRACE, and is not in the group `gid`.
    let rig = rig.readable_by_everybody().after("mount -o remount,hidepid=2,gid=54321 /proc");
    let config = "
        processes:
          a:
            stop_grace_period: 10s
            command: [sh, -c, 'setsid CHILD b touch=DIR/b on=TERM:ignore & exec CHILD a']
            user: '12345:12345'
            readiness: {file: DIR/b}
        ";
    let drainit = rig.wrapper(&["setpriv", "--bounding-set=-sys_ptrace"]).start_ready(config);
    let ended = drainit.stop();
    ended
        .assert_code(137)
        .assert_line(r"left over: \d+ \(hidden by the hidepid of /proc\); sending SIGTERM");
}

// holds: S59, S720, S721
#[test]
fn a_job_behind_two_shells_gets_no_signal_while_the_pool_runs() {
    // Only the shells die of SIGTERM at once. `rest` is in the group, but its parent is not.
    let pool = "CHILD pool 'spawn=job,await=DIR/go,touch=DIR/done,exit=0' on=TERM:ignore await=DIR/done exit=0";
    let config = format!(
        r#"
        processes:
          pool:
            command:
            - sh
            - -c
            - |
              CHILD keeper spawn=rest group & sh -c "{pool}; true"; true
        "#
    );
    let Some(drainit) = start(&config, &["keeper", "rest", "pool", "job"]) else { return };
    drainit.wait_for_event("keeper", "group");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_event("pool", "got SIGTERM");
    drainit.touch("go");
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_no_event("job", "got SIGTERM");
    ended.event("job", "exit 0");
    ended.assert_order(&["pool exit 0", "rest got SIGTERM", "rest exit 0"]);
}

// holds: S58, S171
#[test]
fn a_group_of_zombies_that_nobody_reaps_is_gone() {
    // The parent of `true` becomes a daemon that does not reap its child.
    let config = "
        processes:
          db: {command: [CHILD, db]}
          app:
            command: [sh, -c, '(true & exec setsid CHILD keeper) & exec CHILD app']
            depends_on: [db]
            stop_grace_period: 20s
            leftovers: keep
        ";
    let Some(drainit) = start(config, &["db", "app", "keeper"]) else { return };
    drainit.wait_for_line(said::ALL_READY);
    drainit.exec(&["restart", "app"]).assert(0, "");
    let asked = drainit.wait_for_line("app: sending SIGTERM; SIGKILL after").at;
    let took = drainit.wait_for_line(&said::restarted("app")).at - asked;
    assert!((ms(50)..ms(4000)).contains(&took), "{took:?}");
    drainit
        .stop()
        .assert_code(0)
        .assert_order(&["app exit 0", "db got SIGTERM", "keeper got SIGTERM"])
        .assert_line("app: other processes of its process group are still alive")
        .assert_no_line("sending SIGKILL to its process group");
}

// holds: S986
#[test]
fn members_of_a_group_are_named_at_their_sigkill() {
    let config = "
        processes:
          app:
            command: [CHILD, app, 'spawn=rest,on=TERM:ignore', 'spawn=more,on=TERM:ignore']
            stop_grace_period: 2s
        ";
    let Some(drainit) = start(config, &["app", "rest", "more"]) else { return };
    drainit
        .stop()
        .assert_code(137)
        .assert_line(r"app: still alive 2.*; sending SIGKILL to its process group; left in it: \d+ \(child\), \d+ \(child\)$");
}

// holds: S2
#[test]
fn times_include_the_sleep_of_the_machine() {
    // drainit must use CLOCK_BOOTTIME, because CLOCK_MONOTONIC stops during a suspend. Here
    // CLOCK_MONOTONIC is far ahead, so the test would notice a wait by the wrong clock.
    let ahead = ["unshare", "--time", "--monotonic", "1000000", "--fork"];
    let can = Command::new("unshare").args(&ahead[1..]).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        skip_unless(Err("a time namespace needs root".to_owned()));
        return;
    }
    let config = "
        processes:
          a: {command: [CHILD, a, await=DIR/b, exit=0]}
          b: {command: [CHILD, b, 'on=TERM:ignore', touch=DIR/b], stop_grace_period: 500ms}
        ";
    let ended = Rig::not_init().wrapper(&ahead).run(config);
    ended
        .assert_code(0)
        .assert_line("b: still alive ([5-9][0-9][0-9]ms|[1-9](\\.[0-9]+)?s) after SIGTERM");
}

// holds: S329
#[test]
fn end_right_after_stop_signal_is_seen_at_once() {
    for _ in 0..20 {
        let config = "processes: {a: {command: [sh, -c, 'sleep 60 & exec CHILD a notify=READY=1'], readiness: {notify: true}}}";
        let Some(drainit) = Rig::started(config) else { return };
        drainit.wait_for_line(&said::ready("a"));
        drainit.stop().assert_code(0);
    }
}

// holds: S880
#[test]
fn a_worker_with_a_drain_is_asked_at_once_and_shortens_no_other_drain() {
    let config = "
        shutdown: {grace_period: 9s, reserve: 1s}
        processes:
          web:
            command: [CHILD, web, 'tcp=127.0.0.1:0']
            depends_on: []
            drain: {exec: {command: ['true'], min: 3s}}
          worker:
            command: [CHILD, worker, 'on=TERM:exit:0:1500']
            depends_on: []
            drain: {signal: {signal: TERM, time: 7s, min: 0s}}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_start(&["web", "worker"]);
    let t0 = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    let asked = |name: &str| ended.event(name, "got SIGTERM").at - t0;
    assert!(asked("worker") < ms(1000), "{:?}", asked("worker"));
    assert!(asked("web") >= ms(3000), "{:?}", asked("web"));
    ended.assert_code(0);
    ended.assert_line("worker: drain over after (1[.][4-9]|2).*: the process has ended");
}

// holds: S371
#[test]
fn a_process_that_had_failed_by_itself_was_not_asked_to_stop() {
    let config =
        "processes: {a: {command: [CHILD, a, await=DIR/go, exit=3]}, b: {command: [CHILD, b]}}";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_start(&["a", "b"]);
    // While drainit is suspended, first `a` fails, and then the stop signal comes.
    drainit.signal(Signal::SIGSTOP);
    drainit.touch("go");
    drainit.wait_for_event("a", "exit 3");
    drainit.wait_until("zombie", || drainit.children_in_state('Z') == 1);
    drainit.signal(Signal::SIGTERM);
    drainit.signal(Signal::SIGCONT);
    let ended = drainit.wait_exit(LONG);
    ended.assert_line(
        "Z a: exited with code 3(, without being asked to| by itself, before the stop signal)$",
    );
    ended.assert_line("stop a: .*exited with code 3 (without being asked to|by itself)");
    ended.assert_no_line("Z a: .*after it");
    ended.assert_line("Z b: exited with code 0, .* after it was asked to stop$");
}
