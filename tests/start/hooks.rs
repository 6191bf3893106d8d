//! Tests hooks: the time at which they run, and the effect of their failure.

use crate::support::*;

// holds: S54, S71, C142, C143, C144, C357, C358
#[test]
fn hooks_run_at_the_documented_moments() {
    let config = "
        hooks:
          pre_start: {command: [CHILD, first, exit=0]}
          pre_stop: {command: [CHILD, ending, exit=0]}
          post_stop: {command: [CHILD, last, exit=0]}
        processes:
          a:
            command: [CHILD, a]
            hooks:
              pre_start: {command: [CHILD, before-a, exit=0]}
              pre_stop: {command: [CHILD, ending-a, exit=0]}
              post_stop: {command: [CHILD, after-a, exit=0]}
          b: {command: [CHILD, b, 'daemon=rest,on=TERM:exit:0:50'], depends_on: [a]}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["a", "b", "rest"]);
    drainit.stop().assert_code(0).assert_order(&[
        "first start",
        "first exit",
        "before-a start",
        "before-a exit",
        "a start",
        "ending start",
        "ending exit",
        "b got SIGTERM",
        "ending-a start",
        "ending-a exit",
        "a got SIGTERM",
        "a exit",
        "after-a start",
        "after-a exit",
        "rest exit",
        "last start",
        "last exit",
    ]);
}

// holds: S114, S122, C142, C145, C290, C357, C614, C637
#[test]
fn a_pre_start_that_fails_is_a_failed_start() {
    for (hook, why) in [
        ("[CHILD, first, exit=3]", "exited with code 3"),
        ("[no-such-program]", "no-such-program"),
        (
            "[CHILD, first, 'on=TERM:ignore', 'spawn=member,on=TERM:ignore'], timeout: 300ms",
            "took too long",
        ),
    ] {
        let Some(rig) = Rig::new() else { return };
        rig.run(&format!(
            "
        hooks: {{pre_start: {{command: {hook}}}}}
        processes: {{a: {{command: [CHILD, a]}}}}
        "
        ))
        .assert_code(1)
        .assert_line(&format!(r"\] \S+ (error|warning): pre_start hook.*{why}"))
        .assert_no_event("a", "start")
        .assert_no_event("member", "got SIGTERM");

        let Some(rig) = Rig::new() else { return };
        rig.run(&format!(
            "
        processes:
          a: {{command: [CHILD, a, touch=DIR/a], readiness: {{file: DIR/a}}}}
          b:
            command: [CHILD, b]
            depends_on: [a]
            hooks: {{pre_start: {{command: {hook}}}}}
        "
        ))
        .assert_code(1)
        .assert_line(&format!("b: pre_start hook.*{why}"))
        .assert_line("error: stopping: the pre_start hook of b failed")
        .assert_stopped_in_order(&["a"])
        .assert_no_event("b", "start");
    }
}

// holds: S71, C147, C657
#[test]
fn hooks_at_the_end_that_fail_or_hang_change_nothing() {
    let config = "
        hooks:
          pre_stop: {command: [CHILD, ending], timeout: 600ms}
          post_stop: {command: [CHILD, last, exit=9]}
        processes:
          a:
            command: [CHILD, a]
            hooks:
              pre_stop: {command: [CHILD, ending-a, exit=8]}
              post_stop: {command: [CHILD, after-a], timeout: 600ms}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["a"]);
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_within(ms(1200)..ms(8000))
        .assert_line("pre_stop hook: took too long")
        .assert_line("warning: a: pre_stop hook: exited with code 8")
        .assert_line("a: post_stop hook: took too long")
        .assert_line("warning: post_stop hook: exited with code 9")
        .assert_order(&[
            "ending start",
            "ending-a exit",
            "a got SIGTERM",
            "after-a start",
            "last exit",
        ]);
}

// holds: S946
#[test]
fn a_hook_that_cannot_be_started_is_in_the_log_and_in_the_report() {
    let lines = |hook: &str, stage: &str, of_process: bool| {
        let rig = Rig::new()?;
        rig.write("plain", "not a program");
        let hooks = format!("hooks: {{{stage}: {{command: {hook}, user: USER}}}}");
        let user = if hook.contains("CHILD") { "nobody-of-this-name" } else { "root" };
        let hooks = match hook.contains("CHILD") {
            true => hooks.replace("USER", user),
            false => hooks.replace(", user: USER", ""),
        };
        let [whole, own] = if of_process { ["", &hooks] } else { [&hooks, ""] };
        let comma = if own.is_empty() { "" } else { ", " };
        let drainit = rig.start_ready(&format!(
            "shutdown: {{report: DIR/report.json}}\n{whole}\n\
             processes: {{a: {{command: [CHILD, a]{comma}{own}}}}}"
        ));
        drainit.wait_for_start(&["a"]);
        let ended = drainit.stop();
        let warnings = ended.report("report.json")["warnings"].clone();
        Some((ended, warnings))
    };
    let cases = [
        ("[no-such-program]", "no-such-program"),
        ("[DIR/plain]", "plain"),
        ("[CHILD, x, exit=0]", "cannot be started: .*nobody-of-this-name"),
    ];
    for (hook, why) in cases {
        for stage in ["pre_stop", "post_stop"] {
            for of_process in [false, true] {
                let Some((ended, warnings)) = lines(hook, stage, of_process) else { return };
                let name = format!("{}{stage} hook: ", if of_process { "a: " } else { "" });
                ended.assert_code(0).assert_line(&format!("error: {name}.*{why}"));
                let warnings: Vec<String> = serde_json::from_value(warnings).unwrap();
                let [warning] = &warnings[..] else { panic!("{hook}, {stage}: {warnings:?}") };
                let pattern = regex_lite::Regex::new(&format!("^{name}.*{why}")).unwrap();
                assert!(pattern.is_match(warning), "{hook}, {stage}: {warning}");
            }
        }
    }
}

// holds: S490
#[test]
fn status_and_log_name_the_hook_or_delay_that_somebody_waits_for() {
    let config = "
        shutdown: {readiness_delay: 20s}
        hooks:
          pre_start: [CHILD, first, await=DIR/first, exit=0]
          pre_stop: [CHILD, leaving]
        processes:
          a:
            command: [CHILD, a]
            hooks:
              pre_start: [CHILD, before, await=DIR/before, exit=0]
              pre_stop: [CHILD, ending, await=DIR/ending, exit=0]
              post_stop: [CHILD, after, await=DIR/after, exit=0]
          b: {command: [CHILD, b]}
          c: {command: [CHILD, c], depends_on: [a]}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    let says = |note: &str| {
        drainit.wait_until(note, || drainit.exec(&["status"]).stdout.contains(note));
    };
    says("waiting for the container's pre_start hook");
    drainit.touch("first");
    says("its pre_start hook is running");
    drainit.wait_for_line("a: pre_start hook: still running after 5s; c waits for it$");
    drainit.touch("before");
    drainit.wait_for_start(&["a", "b"]);
    let stop = drainit.exec_as(None, &["stop", "a"]).stdout(Stdio::piped()).spawn().unwrap();
    says("its pre_stop hook is running");
    drainit.touch("ending");
    says("its post_stop hook is running");
    drainit.touch("after");
    assert!(stop.wait_with_output().unwrap().status.success());
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line("all processes serve for 20s: readiness_delay");
    says("left, waiting for readiness_delay, waiting for pre_stop of the container (drainit");
    drainit.signal(Signal::SIGINT);
    drainit.wait_exit(LONG).assert_code(0);
}

// holds: C510
#[test]
fn a_pre_stop_hook_killed_with_the_process_has_not_failed() {
    // The process ends when its hook has begun. The hook does not end by itself.
    let config = "
        processes:
          a:
            command: [CHILD, a, await=DIR/begun, exit=0]
            hooks:
              pre_stop: [CHILD, ending-a, 'on=TERM:ignore', 'spawn=member,on=TERM:ignore', touch=DIR/begun]
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["a"]);
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_within(ms(0)..ms(8000))
        .assert_line("Z a: pre_stop hook: killed, because its process has ended")
        .assert_no_line("a: pre_stop hook: was ended by SIGKILL|left over")
        .assert_no_event("a", "got SIGTERM");
}

// holds: C164, C166, C214, C327, C360, C395, C898
#[test]
fn hooks_and_probes_have_the_user_directory_limits_and_umask_of_a_process_unless_a_hook_has_a_user()
{
    let Some(rig) = Rig::as_root("another user") else { return };
    let say = "[sh, -c, 'echo $0 $(id -u):$(id -g) $(pwd) $(ulimit -Sn) $(umask)', ";
    let drainit = rig.readable_by_everybody().start_ready(&format!(
        "
        hooks: {{pre_start: {{command: [sh, -c, 'echo all: $(id -un) $(test $HOME = ~nobody && echo home)'], user: nobody}}}}
        processes:
          b:
            command: [CHILD, b]
            user: '65533'
            hooks:
              pre_start: {{command: [sh, -c, 'echo pre: $(id -u) $USER'], user: root}}
              post_stop: {{command: [sh, -c, 'exit 4'], user: '65532:65532'}}
          a:
            command: [CHILD, a]
            user: '10001:10002'
            working_dir: /usr
            umask: '0137'
            ulimits: {{nofile: {{soft: 200, hard: max}}}}
            readiness: {{exec: [sh, -c, 'test $(id -u):$(pwd):$(ulimit -Sn) = 10001:/usr:200'], timeout: 5s}}
            hooks: {{pre_start: {say} before], pre_stop: {say} ending], post_stop: {say} after]}}
            drain: {{exec: {say} drained]}}
            log: {{prefix: a}}
        "
    ));
    let ended = drainit.stop();
    ended.assert_line("^all: nobody home$").assert_line("^pre: 0 root$");
    ended.assert_line("b: post_stop hook: exited with code 4; it ran as 65532:65532$");
    for command in ["before", "ending", "after", "drained"] {
        ended.assert_line(&format!(r"^\[a\] {command} 10001:10002 /usr 200 0137$"));
    }
}
