//! Tests options of a process for its start and its output.

use std::os::unix::fs::PermissionsExt;

use crate::support::*;

// holds: C326, C327, C360
#[test]
fn limits_hold_for_the_process_and_the_hooks_only() {
    let Some(rig) = Rig::new() else { return };
    let rig = rig.after("ulimit -Sn 300 && ulimit -Hn 400");
    let config = "
        processes:
          max:
            command: [sh, -c, 'echo max $(ulimit -Sn) $(ulimit -Hn) $(ulimit -Sc)']
            type: oneshot
            ulimits: {nofile: max, core: 0}
            hooks: {pre_start: [sh, -c, 'echo hook $(ulimit -Sn) $(ulimit -Hn)']}
          lower:
            command: [sh, -c, 'echo lower $(ulimit -Sn) $(ulimit -Hn)']
            type: oneshot
            ulimits: {nofile: {soft: max, hard: 350}}
            depends_on: [max]
          other:
            command: [sh, -c, 'echo other $(ulimit -Sn) $(ulimit -Hn)']
            type: oneshot
            depends_on: [lower]
        ";
    let ended = rig.run(config);
    let text = ended.assert_code(0).text(Stream::Stdout);
    let expected = "hook 400 400\nmax 400 400 0\nlower 350 350\nother 300 400\n";
    assert_eq!(text, expected, "{}", ended.record);
}

// holds: C721
#[test]
fn another_user_gets_no_capability_of_drainit() {
    if !nix::unistd::geteuid().is_root() {
        return; // only root can give capabilities to another user
    }
    // systemd starts a service in this way (`User=` and `AmbientCapabilities=`).
    let user = ["setpriv", "--reuid=5000", "--regid=5000", "--clear-groups"];
    let capabilities = ["--inh-caps=+setuid,+setgid", "--ambient-caps=+setuid,+setgid"];
    for (process, has_capabilities) in [("1000:1000", false), ("5000:5000", true)] {
        let Some(rig) = Rig::new() else { return };
        let rig = rig.readable_by_everybody().wrapper(&user).wrapper(&capabilities);
        let ended = rig.run(&format!(
            "
            processes:
              a:
                command: [grep, -E, '^Cap(Inh|Prm|Eff|Amb)', /proc/self/status]
                type: oneshot
                user: '{process}'
            "
        ));
        let text = ended.assert_code(0).text(Stream::Stdout);
        let are_none = |line: &str| line.ends_with("\t0000000000000000");
        assert_eq!(text.lines().count(), 4, "{}", ended.record);
        assert_eq!(text.lines().all(are_none), !has_capabilities, "{process}: {text}");
    }
}

// holds: C328, C329
#[test]
fn a_limit_that_may_not_be_raised_is_named_by_a_failed_start() {
    let Some(rig) = Rig::new() else { return };
    rig.after("ulimit -n 400")
        .without_privileges()
        .run("processes: {a: {command: [CHILD, a], ulimits: {core: 0, nofile: {soft: max, hard: 500}}}}")
        .assert_code(126)
        .assert_line("a: the limit `nofile` cannot be set to 500, because drainit's own hard limit is 400; write `max`")
        .assert_no_event("a", "start");
}

// holds: C736
#[test]
fn a_program_that_changes_the_user_can_open_dev_stdout() {
    let Some(rig) = Rig::as_root("another user") else { return };
    let config = "
        processes:
          a:
            command: [setpriv, --reuid=65534, --clear-groups, sh, -c,
              'echo to stdout >/dev/stdout; echo to stderr >/dev/stderr; cat </dev/stdout || echo no']
            log: {}
        ";
    let ended = rig.run(config);
    ended.assert_line("^.a. to stdout").assert_line("^.a. to stderr").assert_line("^.a. no$");
}

// holds: C431, C441, C444, C445, C446, C886
#[test]
fn a_log_file_is_appended_and_created_again_after_a_rotation() {
    let Some(rig) = Rig::new() else { return };
    rig.write("a.log", "of before\n");
    // drainit itself opens the log file, in a directory that this user may not write to.
    let user = if nix::unistd::geteuid().is_root() { ", user: '65534:65534'" } else { "" };
    let drainit = rig.after("umask 022").start(
        &"
        processes:
          a:
            command: [CHILD, a, print=1, eprint=2, touch=DIR/first, await=DIR/rotated, print=3, eprint=4]
            log: {file: DIR/a.log, stderr: stdout}
            hooks: {pre_start: [CHILD, hook, print=0, exit=0]}
          b:
            command: [CHILD, b, print=of b, raw=tail, eprint=1, await=DIR/rotated, eprint=2]
            log: {file: DIR/new.log, stderr: {file: DIR/err.log}, prefix: pb}
            depends_on: [c]
          c: {command: [echo, of c], type: oneshot, log: {file: DIR/new.log}USER}
          d: {command: [CHILD, d, print=out, eprint=of d], log: {stderr: {file: DIR/err.log}}}
        "
        .replace("USER", user),
    );
    let read = |name: &str| fs::read_to_string(drainit.path(name)).unwrap_or_default();
    drainit.wait_until("written", || read("a.log") == "of before\n0\n1\n2\n");
    drainit.wait_until("errors", || read("err.log").lines().count() == 2);
    fs::rename(drainit.path("a.log"), drainit.path("a.log.1")).unwrap();
    // A restart of one process does not change the file of the other process.
    drainit.exec(&["restart", "d"]).assert(0, "; started");
    drainit.touch("rotated");
    drainit.wait_until("made anew", || read("a.log") == "3\n4\n");
    assert_eq!(read("a.log.1"), "of before\n0\n1\n2\n");
    // The two processes write at the same time.
    let count = |line: &str| read("err.log").matches(line).count();
    drainit.wait_until("errors", || (count("[pb] 2\n"), count("of d\n")) == (1, 2));
    let ended = drainit.stop();
    ended.assert_code(0).assert_line("^out").assert_no_line("^of [bd]|^[0-4]$");
    let new = ended.path("new.log");
    assert_eq!(fs::read_to_string(&new).unwrap(), "of c\n[pb] of b\n[pb] tail\n");
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o7777, 0o640);
}

// holds: C442
#[test]
fn a_log_file_that_cannot_be_opened_is_a_failed_start() {
    for (file, why) in [
        ("DIR/no/such.log", "no such file or directory"),
        ("/dev/zero", "it is not a regular file"),
    ] {
        let Some(rig) = Rig::new() else { return };
        rig.run(&format!("processes: {{a: {{command: [CHILD, a], log: {{file: {file}}}}}}}"))
            .assert_code(126)
            .assert_line(&format!("a: cannot open its log file .*: {why}"))
            .assert_no_event("a", "start");
    }
}

// holds: C350, C352
#[test]
fn log_and_report_say_why_an_optional_process_is_missing() {
    let config = "
        processes:
          missing: {command: [no-such-program], required: false, on_exit: ignore}
          slow:
            command: [CHILD, slow, print=nearly]
            log: {prefix: slow}
            required: false
            on_exit: ignore
            readiness: {file: DIR/never, timeout: 100ms}
          a: {command: [CHILD, a], depends_on: [missing, slow]}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit
        .exec(&["status", "slow"])
        .assert(0, "slow has failed; its last lines were:\n  nearly\n");
    let ended = drainit.stop();
    ended.assert_code(0).event("slow", "got SIGTERM");
    // The first line is from the log, and the second from the report, whose lines are indented.
    for name in ["missing", "slow"] {
        ended.assert_line(&format!(r"Z (error|warning): {name}: .*, and stays down"));
        ended.assert_line(&format!(r"^\[drainit\] \S+   {name}: .*, and stays down"));
    }
}

// holds: S378
#[test]
fn a_user_that_is_not_required_counts_only_for_root() {
    let config = "processes: {a: {command: [sh, -c, 'echo id: $(id -u)'], user: {name: '65531:65531', required: false}}}";
    let Some(rig) = Rig::new() else { return };
    rig.readable_by_everybody().run(config).assert_code(0).assert_line("^id: 65531$");
    let Some(rig) = Rig::new() else { return };
    rig.without_privileges().run(config).assert_code(0).assert_line("^id: 65534$");
    // If the user is required, a drainit without privileges cannot start the process.
    let Some(rig) = Rig::new() else { return };
    let required = config.replace(", required: false", "");
    rig.without_privileges().run(&required).assert_code(126).assert_no_line("^id: ");
}

// holds: C328
#[test]
fn a_limit_may_be_raised_before_the_user_is_changed() {
    if !may_raise_limits() {
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let config = "
        processes:
          a:
            command: [sh, -c, 'echo $(id -u) $(ulimit -n)']
            type: oneshot
            user: '65534:65534'
            ulimits: {nofile: 500}
        ";
    let ended = rig.after("ulimit -n 400").run(config);
    assert_eq!(ended.assert_code(0).text(Stream::Stdout), "65534 500\n", "{}", ended.record);
}

// holds: C448, C449
#[test]
fn a_full_disk_does_not_block_a_process_and_dropped_lines_are_counted() {
    let (address, Some(rig)) = (free_address(), Rig::new()) else { return };
    fs::create_dir(rig.path("disk")).unwrap();
    let drainit = rig.after_mounts("mount -t tmpfs -o size=64k none DIR/disk").start(
        &"
        control: {listen: 'ADDRESS'}
        processes:
          a:
            command:
              - sh
              - -c
              - 'head -c 64K /dev/zero >DIR/disk/filler; seq 3;
                while ! [ -e DIR/free ]; do sleep 0.01; done; rm DIR/disk/filler; echo kept;
                exec CHILD a'
            log: {file: DIR/disk/a.log}
        "
        .replace("ADDRESS", &address.to_string()),
    );
    drainit.wait_for_line(
        "warning: the log file .*a.log cannot be written, and lines are dropped: No space left",
    );
    let said = drainit.exec(&["status"]);
    assert!(said.stdout.contains("3 lines of its log file dropped"), "{said:?}");
    let metrics = get(address, "/metrics").unwrap().1;
    assert!(metrics.contains("/disk/a.log\"} 3\n"), "{metrics}");
    drainit.touch("free");
    drainit.wait_for_line(
        "warning: the log file .*a.log: 3 lines were dropped: No space left on device; it is written again",
    );
    drainit.wait_for_start(&["a"]);
    let inside = format!("/proc/{}/root{}/a.log", drainit.pid(), drainit.path("disk").display());
    let kept = || fs::read_to_string(&inside).is_ok_and(|text| text == "kept\n");
    drainit.wait_until("kept", kept);
    drainit.stop().assert_code(0);
}

/// Whether this process has CAP_SYS_RESOURCE, which many containers lack.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> 24 & 1 == 1
}
