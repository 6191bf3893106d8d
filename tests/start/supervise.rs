//! Tests supervision: the environment of a process, the meaning of its end, restarts, tasks and
//! forwarded signals.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::support::namespace::is_root_for;
use crate::support::rig::NOBODY;
use crate::support::said;
use crate::support::{LONG, Rig, Signal, in_parallel, leave_socket, ms};

// holds: S110, S112, S121, S203, C353, C654
#[test]
fn the_container_ends_with_the_code_of_the_process_that_ended() {
    for (step, code, words) in [
        ("exit=0", 0, "a: exited with code 0"),
        ("exit=7", 7, "a: exited with code 7"),
        ("exit=255", 255, "a: exited with code 255"),
        ("die=KILL", 137, "a: was ended by SIGKILL"),
        ("die=ABRT", 134, "a: was ended by SIGABRT"),
        ("die=ALRM", 142, "a: was ended by SIGALRM"),
    ] {
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "
            processes:
              base: {{command: [CHILD, base, touch=DIR/base], readiness: {{file: DIR/base}}}}
              a: {{command: [CHILD, a, {step}], depends_on: [base]}}
            "
        );
        rig.run(&config).assert_code(code).assert_line(words).assert_stopped_in_order(&["base"]);
    }
}

// holds: C349
#[test]
fn a_program_that_is_missing_at_a_restart_is_tried_again() {
    let Some(rig) = Rig::new() else { return };
    for (name, script) in [("app", "rm \"$0\"; exit 3"), ("next", "exec sleep 60")] {
        rig.write_program(name, format!("#!/bin/sh\n{script}\n"));
    }
    let drainit = rig.start(
        "processes: {a: {command: [DIR/app], restart: on-failure, restart_delay: 20ms, restart_max: 1000, \
         success_codes: [0, 126, 127]}}",
    );
    drainit.wait_for_line("a: exited with code 127; restart 2 in");
    fs::rename(drainit.path("next"), drainit.path("app")).unwrap();
    drainit.wait_for_lines("a: started", 2);
    drainit.stop().assert_code(0);
    // If the first start fails, drainit does not try again, because it cannot know whether the file
    // can ever be executed.
    let Some(rig) = Rig::new() else { return };
    rig.run("processes: {a: {command: [DIR/none], restart: always}}")
        .assert_code(127)
        .assert_no_line("restart 1");
}

// holds: C62, C65, C155, C197
#[test]
fn only_if_leaves_a_process_out_and_the_dependents_start() {
    let Some(rig) = Rig::new() else { return };
    rig.write("there", "");
    // Makes the socket that an earlier run would have left. drainit must remove it, so that no
    // client connects to it and waits for an answer.
    leave_socket(rig.fill("DIR/out.sock"));
    let drainit = rig.start(
        "
        processes:
          out:
            command: [CHILD, out]
            only_if: {path_exists: DIR/not-there}
            sockets: [DIR/out.sock]
            readiness: {unix: DIR/out.sock}
          off: {command: [CHILD, off], only_if: {value: 'no', is: 'yes'}}
          in:
            command: [CHILD, in, touch=DIR/in]
            only_if: {path_exists: DIR/there}
            readiness: {file: DIR/in}
          app: {command: [CHILD, app], depends_on: [out, off, in]}
        ",
    );
    drainit.wait_for_start(&["app"]);
    assert!(!drainit.path("out.sock").exists());
    let ended = drainit.stop();
    ended.assert_code(0).assert_line("out: left out").assert_no_event("out", "start");
    ended.assert_line("off: left out").assert_no_event("off", "start");
    ended.assert_order(&["in start", "app start"]);
}

// holds: C150
#[test]
fn a_process_starts_with_default_signals_and_descriptors() {
    let Some(rig) = Rig::new() else { return };
    // A careless parent leaves an open descriptor and ignored signals.
    let rig = rig.wrapper(&["sh", "-c", "trap '' HUP USR1; exec 7</etc/passwd; exec \"$@\"", "sh"]);
    let ended = rig.run(
        "
        processes:
          status: {type: oneshot, command: [cp, /proc/self/status, DIR/status]}
          a: {command: [CHILD, a, report=DIR/a.json, exit=0], depends_on: [status]}
        ",
    );
    ended.assert_code(0);
    let status = fs::read_to_string(ended.path("status")).unwrap();
    let mask = |name: &str| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    };
    // The C library uses the signals 32 and 33 itself, and posix_spawn leaves them ignored.
    assert_eq!(mask("SigIgn:") & !(0b11 << 31), 0, "{status}");
    assert_eq!(mask("SigBlk:"), 0, "{status}");
    let report = ended.report("a.json");
    assert_eq!(report["pgid"], report["pid"], "{report}");
    assert_eq!(report["sid"], report["pid"], "{report}");
    assert_eq!(report["ppid"], 1);
    let descriptors: Vec<_> = report["fds"].as_object().unwrap().keys().collect();
    assert_eq!(descriptors, ["0", "1", "2"], "{report}");
    assert_eq!(report["fds"]["0"], "/dev/null");
}

// holds: C165
#[test]
fn a_user_has_the_groups_of_the_account_and_nothing_of_root() {
    if !is_root_for("another user") {
        return;
    }
    for (user, gid, groups) in [
        ("'10001:10002'", 10002, json!([10002])),
        // This user has no account, so it gets the group that Docker would give it.
        ("'10001'", 0, json!([0])),
        ("nobody", NOBODY, json!([NOBODY])),
    ] {
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "processes: {{a: {{command: [CHILD, a, report=DIR/a.json, exit=0], user: {user}}}}}"
        );
        let ended = rig.readable_by_everybody().run(&config);
        ended.assert_code(0);
        let report = ended.report("a.json");
        assert_eq!(report["gid"], gid, "{user}: {report}");
        assert_ne!(report["uid"], 0, "{user}: {report}");
        // The supplementary groups may or may not contain the primary group.
        assert!(report["groups"] == groups || report["groups"] == json!([]), "{user}: {report}");
    }
}

// holds: C79, C80, C256, C258
#[test]
fn the_config_adds_variables_to_the_environment_of_the_container() {
    let Some(rig) = Rig::new() else { return };
    rig.write("a.env", "# comment\nFROM_FILE=file\nBOTH=file\nQUOTED='a b'\n");
    let ended = rig
        .env("GIVEN", "container")
        .env("EMPTY", "")
        .env("NOTIFY_SOCKET", "/somebody/elses")
        .run(
            "
            env: {GIVEN: default, EMPTY: default, UNSET: default}
            processes:
              a:
                command: [CHILD, a, report=DIR/a.json, exit=0, '--${GIVEN}-${UNSET}-${NO:-none}-$$HOME']
                env_file: DIR/a.env
                environment: {BOTH: config, OWN: \"is ${GIVEN}\"}
                working_dir: /usr
            ",
        );
    ended.assert_code(0);
    let report = ended.report("a.json");
    let env = &report["env"];
    for (name, value) in [
        ("GIVEN", "container"),
        ("EMPTY", "default"),
        ("UNSET", "default"),
        ("FROM_FILE", "file"),
        ("BOTH", "config"),
        ("QUOTED", "a b"),
        ("OWN", "is container"),
    ] {
        assert_eq!(env[name], value, "{name}: {report}");
    }
    assert!(env["NOTIFY_SOCKET"].is_null(), "{report}");
    assert_eq!(report["cwd"], "/usr");
    assert_eq!(report["args"][2], "--container-default-none-$HOME");
}

// holds: C261, C262, C360, C395, C645
#[test]
fn a_removed_variable_is_missing_in_processes_hooks_and_probes() {
    let Some(rig) = Rig::new() else { return };
    rig.write("a.env", "FROM_FILE=file\nSTAYS=file\n");
    let drainit = rig.env("GIVEN", "container").env("ALSO", "container").start_ready(
        "
        env: {DEFAULT: default}
        processes:
          a:
            command: [CHILD, a, report=DIR/process.json]
            env_file: DIR/a.env
            environment: {GIVEN: !reset , DEFAULT: !reset , FROM_FILE: !reset , NEVER: !reset }
            readiness: {exec: [CHILD, probe, report=DIR/readiness.json, exit=0]}
            hooks:
              pre_start: [CHILD, before, report=DIR/pre_start.json, exit=0]
              pre_stop: [CHILD, ending, report=DIR/pre_stop.json, exit=0]
              post_stop: [CHILD, after, report=DIR/post_stop.json, exit=0]
            drain: {exec: {command: [CHILD, drain, report=DIR/drain.json, exit=0], time: 5s}}
          b:
            command: [CHILD, b, report=DIR/other.json]
            depends_on: [a]
        ",
    );
    drainit.wait_for_start(&["a", "b"]);
    let ended = drainit.stop();
    ended.assert_code(0);
    for file in ["process", "readiness", "pre_start", "pre_stop", "post_stop", "drain"] {
        let report = ended.report(&format!("{file}.json"));
        let env = &report["env"];
        for name in ["GIVEN", "DEFAULT", "FROM_FILE", "NEVER"] {
            assert!(env[name].is_null(), "{name} of {file}: {report}");
        }
        assert_eq!((&env["ALSO"], &env["STAYS"]), (&json!("container"), &json!("file")), "{file}");
    }
    let other = ended.report("other.json");
    assert_eq!(other["env"]["GIVEN"], "container", "{other}");
    assert_eq!(other["env"]["DEFAULT"], "default", "{other}");
}

// holds: S56, C157, C618
#[test]
fn sockets_are_removed_before_the_start_and_after_the_end() {
    let Some(rig) = Rig::new() else { return };
    leave_socket(rig.path("a.sock"));
    rig.write("precious", "no socket");
    // The process can bind its socket only if drainit has removed the old one. It ends without
    // removing the socket, as after a crash.
    let drainit = rig.start_ready(
        "
        processes:
          a:
            command: [CHILD, a, unix=DIR/a.sock]
            sockets: [DIR/a.sock, DIR/precious, DIR/never.sock]
            readiness: {unix: DIR/a.sock, timeout: 5s}
        ",
    );
    let ended = drainit.stop();
    ended.assert_code(0).assert_gone("a.sock").assert_line("precious.*not a socket");
    assert_eq!(fs::read_to_string(ended.path("precious")).unwrap(), "no socket");
}

// holds: C478
#[test]
fn the_socket_of_another_program_is_kept_at_the_first_start() {
    let Some(rig) = Rig::new() else { return };
    let _other = UnixListener::bind(rig.path("a.sock")).unwrap();
    let drainit = rig.start("processes: {a: {command: [CHILD, a], sockets: [DIR/a.sock]}}");
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(1)
        .assert_line("a: cannot be started: .*a.sock: another process listens on it");
    assert!(ended.path("a.sock").exists());
}

// holds: C172
#[test]
fn only_configured_signals_are_forwarded() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          envoy: {command: [CHILD, envoy], forward_signals: [USR1]}
          other: {command: [CHILD, other]}
          # No handlers at all.
          bare: {command: [sleep, '60']}
        ",
    );
    drainit.wait_for_start(&["envoy", "other"]);
    for signal in
        [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGALRM, Signal::SIGUSR1]
    {
        drainit.signal(signal);
    }
    drainit.wait_for_event("envoy", "got SIGUSR1");
    let ended = drainit.stop();
    ended.assert_code(0);
    for name in ["envoy", "other"] {
        for signal in ["SIGHUP", "SIGUSR2"] {
            ended.assert_no_event(name, &format!("got {signal}"));
        }
    }
    ended.assert_no_event("other", "got SIGUSR1");
}

// holds: S54, C161, C620
#[test]
fn a_suspended_process_is_continued_to_end() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start("processes: {a: {command: [CHILD, a, die=STOP]}}");
    drainit.wait_until("stopped", || drainit.children_in_state('T') == 1);
    drainit.stop().assert_code(0).assert_stopped_within(ms(0)..ms(8000));
}

// holds: S121, S202
#[test]
fn a_failure_is_the_reason_if_two_processes_end_together() {
    for failed in ["a", "b"] {
        let Some(rig) = Rig::new() else { return };
        let code = |name| if name == failed { 3 } else { 0 };
        let drainit = rig.start_ready(&format!(
            "
            processes:
              a: {{command: [CHILD, a, await=DIR/end, exit={}]}}
              b: {{command: [CHILD, b, await=DIR/end, exit={}]}}
            ",
            code("a"),
            code("b"),
        ));
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("end");
        drainit.wait_until("ended", || drainit.children_in_state('Z') == 2);
        drainit.signal(Signal::SIGCONT);
        drainit.wait_exit(LONG).assert_code(3);
    }
}

// holds: C217
#[test]
fn a_process_that_ends_right_after_readiness_was_ready() {
    for (says, readiness) in [("notify=READY=1", "{notify: true}"), ("print=up", "{log: ^up$}")] {
        let Some(rig) = Rig::new() else { return };
        let drainit = rig.start(&format!(
            "processes: {{a: {{command: [CHILD, a, await=DIR/go, {says}, exit=0], readiness: {readiness}}}}}"
        ));
        drainit.wait_for_start(&["a"]);
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("ended", || drainit.children_in_state('Z') == 1);
        drainit.signal(Signal::SIGCONT);
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_line(&said::ready("a")).assert_no_line("before it was ready");
    }
}

#[test]
fn readiness_during_a_pause_of_drainit_counts_even_after_the_limit() {
    in_parallel([("notify=READY=1", "notify: true"), ("print=up", "log: ^up$")], |(says, kind)| {
        let Some(rig) = Rig::new() else { return };
        let command = format!("[CHILD, a, await=DIR/go, {says}, touch=DIR/sent]");
        let drainit = rig.start(&format!(
            "processes: {{a: {{command: {command}, readiness: {{{kind}, timeout: 2s}}}}}}"
        ));
        drainit.wait_for_start(&["a"]);
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("sent", || drainit.path("sent").exists());
        std::thread::sleep(ms(2100));
        drainit.signal(Signal::SIGCONT);
        drainit.wait_for_line(said::ALL_READY);
        drainit.stop().assert_code(0).assert_no_line("not ready after");
    });
}

#[test]
fn a_program_that_goes_into_the_background_gets_a_hint() {
    for left in ["daemon=b", "spawn=b"] {
        let Some(rig) = Rig::new() else { return };
        let ended =
            rig.run(&format!("processes: {{a: {{command: [CHILD, a, '{left}', exit=0]}}}}"));
        ended.assert_code(0).assert_line(
            r"error: a: exited with code 0 without being asked to; processes that it started are still running: \d+ \(.*\); .*foreground",
        );
    }
}

#[test]
fn an_orphan_of_another_process_is_not_attributed_to_the_process_that_ends() {
    let Some(rig) = Rig::new() else { return };
    let waits = "[sh, -c, 'while [ ! -e DIR/go ]; do sleep 0.1; done; exit 0']";
    let drainit = rig.start(&format!(
        "
        processes:
          a: {{command: {waits}, on_exit: ignore}}
          b: {{command: [CHILD, b, 'daemon=c']}}
          d: {{command: [CHILD, d, 'await=DIR/go', 'daemon=e', exit=0], on_exit: ignore}}
        "
    ));
    drainit.wait_for_event("b", "daemon");
    drainit.touch("go");
    drainit.wait_for_line("a: exited with code 0");
    drainit.wait_for_line(
        "d: exited with code 0 .*; processes that it started may still be running: ",
    );
    drainit
        .stop()
        .assert_no_line("a: exited .* are still running")
        .assert_no_line("that it started are still running");
}

#[test]
fn a_daemon_of_a_oneshot_or_a_hook_is_not_attributed_to_the_process_that_ends() {
    let waits = "[sh, -c, 'while [ ! -e DIR/end ]; do sleep 0.1; done']";
    for (agent, app, hook, survivors) in [
        // The daemon starts another daemon while the process runs.
        ("daemon=b,await=DIR/go,daemon=c", waits, "exit=0", 2),
        // The daemon ends while the process runs, and leaves two children behind. The daemon and
        // its children run the same program.
        (
            "exit=0",
            "[CHILD, app, await=DIR/end, exit=0]",
            "daemon=b,await=DIR/go,spawn=c,spawn=d,exit=0",
            2,
        ),
    ] {
        let Some(rig) = Rig::new() else { return };
        let drainit = rig.start(&format!(
            "
            processes:
              agent: {{type: oneshot, command: [CHILD, agent, '{agent}', exit=0]}}
              app:
                command: {app}
                depends_on: [agent]
                hooks: {{pre_start: {{command: [CHILD, hook, '{hook}', exit=0]}}}}
            "
        ));
        drainit.wait_for_line("app: started");
        drainit.touch("go");
        drainit.wait_until("left", || drainit.children().len() == survivors + 1);
        drainit.touch("end");
        let hint = "agent: completed after .*; processes that it started are still running: ";
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0).assert_line("app: exited with code 0 without being asked to$");
        match agent {
            "exit=0" => ended.assert_no_line(hint),
            _ => ended.assert_line(hint),
        };
    }
}
