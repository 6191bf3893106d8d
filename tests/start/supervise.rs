//! Tests supervision: the environment of a process, the meaning of its end, and restarts.

use crate::support::*;

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
    let config = "
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
        ";
    let drainit = rig.start(config);
    drainit.wait_for_start(&["app"]);
    assert!(!drainit.path("out.sock").exists());
    let ended = drainit.stop();
    ended.assert_code(0).assert_line("out: left out").assert_no_event("out", "start");
    ended.assert_line("off: left out").assert_no_event("off", "start");
    ended.assert_order(&["in start", "app start"]);
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

/// drainit is suspended for a while. It reads the message of readiness only when the process has
/// ended, or when the timeout of the readiness is over.
// holds: C217
#[test]
fn readiness_is_seen_before_what_came_after() {
    let cases = [("notify=READY=1", "notify: true"), ("print=up", "log: ^up$")];
    let cases = cases.into_iter().flat_map(|case| [(case, true), (case, false)]);
    in_parallel(cases, |((says, readiness), ends)| {
        let Some(rig) = Rig::new() else { return };
        let then = if ends { "exit=0" } else { "touch=DIR/sent" };
        let drainit = rig.start(&format!(
            "processes: {{a: {{command: [CHILD, a, await=DIR/go, {says}, {then}], \
             readiness: {{{readiness}, timeout: 2s}}}}}}"
        ));
        drainit.wait_for_start(&["a"]);
        drainit.signal(Signal::SIGSTOP);
        drainit.touch("go");
        drainit.wait_until("over", || match ends {
            true => drainit.children_in_state('Z') == 1,
            false => drainit.path("sent").exists(),
        });
        // The timeout of the readiness passes while drainit is suspended.
        std::thread::sleep(ms(if ends { 0 } else { 2100 }));
        drainit.signal(Signal::SIGCONT);
        drainit.wait_for_line(&said::ready("a"));
        let ended = if ends { drainit.wait_exit(LONG) } else { drainit.stop() };
        ended.assert_code(0).assert_no_line("before it was ready|not ready after");
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
    let message = drainit.processes(&["d"])[0]["message"].to_string();
    assert!(message.contains("may still be running"), "{message}");
    drainit
        .stop()
        .assert_no_line("a: exited .* are still running")
        .assert_no_line("that it started are still running");
}

// holds: C80, C146, C261, C262, C1011
#[test]
fn the_environment_of_the_config_reaches_processes_hooks_and_probes() {
    let Some(rig) = Rig::new() else { return };
    rig.write("a.env", "FROM_FILE=file\nSTAYS=file\n");
    let rig = rig.env("GIVEN", "container").env("ALSO", "container").env("NOTIFY_SOCKET", "/other");
    let config = "
        env: {DEFAULT: default, ALSO: default}
        hooks: {pre_stop: [CHILD, all, report=DIR/container.json, exit=0]}
        processes:
          a:
            command: [CHILD, a, report=DIR/process.json, '--${ALSO}-${DEFAULT}-$$HOME']
            env_file: DIR/a.env
            environment: {GIVEN: !reset , DEFAULT: !reset , FROM_FILE: !reset , OWN: 'is ${ALSO}'}
            readiness: {exec: [CHILD, probe, report=DIR/readiness.json, exit=0]}
            hooks:
              pre_start: [CHILD, before, report=DIR/pre_start.json, exit=0]
              post_stop: [CHILD, after, report=DIR/post_stop.json, exit=0]
            drain: {exec: {command: [CHILD, drain, report=DIR/drain.json, exit=0], time: 5s}}
          b: {command: [CHILD, b, report=DIR/other.json], depends_on: [a]}
          none:
            command: [/usr/bin/env]
            user: '0'
            environment: {ONLY: this, '*': !reset }
            log: {prefix: none}
            on_exit: ignore
        ";
    let drainit = rig.start_ready(config);
    drainit.wait_for_start(&["a", "b"]);
    let ended = drainit.stop();
    let env = |file: &str, name: &str| {
        let value = ended.report(&format!("{file}.json"))["env"][name].clone();
        value.as_str().map(str::to_owned)
    };
    for file in ["process", "readiness", "pre_start", "post_stop", "drain"] {
        for (name, value) in [
            ("GIVEN", None),
            ("DEFAULT", None),
            ("FROM_FILE", None),
            ("NOTIFY_SOCKET", None),
            ("ALSO", Some("container")),
            ("STAYS", Some("file")),
            ("OWN", Some("is container")),
        ] {
            assert_eq!(env(file, name).as_deref(), value, "{name} of {file}");
        }
    }
    for (file, has_mark) in [("process", true), ("readiness", false), ("pre_start", false)] {
        assert_eq!(env(file, "DRAINIT_INSTANCE").is_some(), has_mark, "{file}");
    }
    for file in ["other", "container"] {
        let found = ["GIVEN", "DEFAULT", "OWN"].map(|name| env(file, name));
        assert_eq!(found, [Some("container".into()), Some("default".into()), None], "{file}");
    }
    assert_eq!(ended.report("process.json")["args"][1], "--container-default-$HOME");
    let mut none = ended.assert_code(0).lines_of(Stream::Stdout, "none");
    none.sort();
    let mark = none.remove(0);
    assert!(mark.starts_with("DRAINIT_INSTANCE=") && mark.contains("/none/"), "{mark}");
    assert_eq!(none, ["HOME=/root", "LOGNAME=root", "ONLY=this", "USER=root"]);
}

/// An instance of `app` that leaves a daemon behind, and fails when there is a file `go`. Its next
/// instance also leaves a daemon behind, and stays.
fn leaving(steps: &str, keys: &str) -> String {
    format!(
        "
        processes:
          other: {{command: [CHILD, other, 'daemon=own']}}
          app:
            command:
              - sh
              - -c
              - 'CHILD a daemon=worker{steps} exit=0; touch DIR/left; test -e DIR/first || exec CHILD app;
                while ! test -e DIR/go; do sleep 0.02; done; rm DIR/first; exit 3'
            restart: on-failure
            restart_delay: 20ms
            {keys}
        "
    )
}

/// Starts `app`, and waits until its second instance has left its daemon behind.
fn started_again(steps: &str, keys: &str) -> Option<Running> {
    let rig = Rig::new()?;
    rig.write("first", "");
    let drainit = rig.start(&leaving(steps, keys));
    drainit.wait_for_event("other", "daemon");
    drainit.wait_until("the first daemon", || drainit.path("left").exists());
    // A process that somebody starts by `docker exec`, and that leaves its session.
    let entered = ["--target", &drainit.pid().to_string(), "--pid", "--mount", "sh", "-c"];
    let leaves = "setsid sleep 50 </dev/null >/dev/null 2>&1 &";
    assert!(Command::new("nsenter").args(entered).arg(leaves).status().unwrap().success());
    fs::remove_file(drainit.path("left")).unwrap();
    drainit.touch("go");
    drainit.wait_until("the second daemon", || drainit.path("left").exists());
    Some(drainit)
}

// holds: S900, S902, S903
#[test]
fn a_restart_ends_what_the_earlier_instance_left_behind_and_nothing_else() {
    let Some(drainit) = started_again("", "") else { return };
    let record = drainit.record();
    assert_eq!(record.count("worker", "got SIGTERM"), 1);
    assert_eq!(record.count("own", "got SIGTERM"), 0);
    drainit
        .stop()
        .assert_code(0)
        .assert_lines_in_order(&[
            "app: exited with code 3; restart 1",
            r"app: left running, because their owner is unknown: \d+ \((sleep|sh)\)$",
            r"app: left behind by an earlier instance: \d+ \(child\); sending SIGTERM; SIGKILL after 10s",
            "app: what an earlier instance left behind is gone after",
            "app: started",
            r"left over: \d+ \(.*\), \d+ \(.*\), \d+ \(.*\); sending SIGTERM",
        ])
        .assert_nothing_left();
}

// holds: S983
#[test]
fn a_descendant_that_drainit_has_seen_is_left_behind_without_a_mark() {
    let Some(rig) = Rig::new() else { return };
    // The daemon has no mark, as a program that writes its title over its environment. It is a child
    // of the main process until this ends, which is after the look at the loaded program.
    let main = "env -i setsid sleep 600 & echo $! > DIR/daemon; until test -e DIR/end; do sleep 0.1; done; exit 3";
    rig.write("main.sh", rig.fill(&main.replace("sleep 0.1", "/bin/sleep 0.1")));
    let drainit = rig.start(
        "
        processes:
          app: {command: [sh, DIR/main.sh], restart: on-failure, restart_delay: 100ms}
        ",
    );
    drainit.wait_for_line("app: its main process, .* does not catch SIGTERM");
    let daemon: String = fs::read_to_string(drainit.path("daemon")).unwrap();
    drainit.touch("end");
    let line =
        format!(r"app: left behind by an earlier instance: {} \(sleep\); sending", daemon.trim());
    drainit.wait_for_line(&line);
    drainit.stop().assert_nothing_left();
}

// holds: S901
#[test]
fn what_is_left_behind_gets_sigkill_after_the_time_of_a_stop() {
    let Some(drainit) = started_again(",on=TERM:ignore", "stop_grace_period: 300ms") else {
        return;
    };
    // The second daemon ignores SIGTERM, too, so the test does not wait for a stop.
    for line in [
        "app: left behind by .*; sending SIGTERM; SIGKILL after 300ms",
        r"app: what an earlier instance left behind is still alive after \d+ms; sending SIGKILL",
        "app: what an earlier instance left behind is gone after",
    ] {
        drainit.wait_for_line(line);
    }
}

// holds: C1010
#[test]
fn what_is_left_behind_is_kept_if_the_config_says_so() {
    let Some(drainit) = started_again("", "leftovers: keep") else { return };
    assert_eq!(drainit.record().count("worker", "got SIGTERM"), 0);
    drainit.stop().assert_no_line("left behind").assert_nothing_left();
}

// holds: S904
#[test]
fn a_stop_signal_does_not_wait_for_what_an_earlier_instance_left_behind() {
    let Some(rig) = Rig::new() else { return };
    rig.write("first", "");
    let drainit = rig.start(&leaving(",on=TERM:ignore", "stop_grace_period: 25s"));
    drainit.wait_until("the daemon", || drainit.path("left").exists());
    drainit.touch("go");
    drainit.wait_for_line("app: left behind by an earlier instance: ");
    drainit.wait_until("the status says what the start waits for", || {
        drainit.status(&["app"]).to_string().contains("an earlier instance left behind")
    });
    drainit.signal_again(Signal::SIGTERM);
    drainit.wait_for_line(r"left over: \d+ \(child\)");
}
