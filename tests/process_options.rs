//! Options of a process: what it is started with, and where its output goes.

use crate::support::{Rig, Stream};

#[test]
fn a_umask_holds_for_the_process_and_its_hooks_only() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.wrapper(&["sh", "-c", "umask 022; exec \"$@\"", "sh"]).run(
        "
        processes:
          a:
            command: [sh, -c, 'echo it $(umask)']
            type: oneshot
            umask: '0137'
            hooks: {pre_start: [sh, -c, 'echo hook $(umask)']}
          b: {command: [sh, -c, 'echo other $(umask)'], type: oneshot, depends_on: [a]}
        ",
    );
    let text = ended.assert_code(0).text(Stream::Stdout);
    assert_eq!(text, "hook 0137\nit 0137\nother 0022\n", "{}", ended.record);
}

#[test]
fn limits_hold_for_the_process_and_its_hooks_only() {
    let Some(rig) = Rig::new() else { return };
    let ended =
        rig.wrapper(&["sh", "-c", "ulimit -Sn 300; ulimit -Hn 400; exec \"$@\"", "sh"]).run(
            "
        processes:
          max:
            command: [sh, -c, 'echo max $(ulimit -Sn) $(ulimit -Hn) $(ulimit -Sc)']
            type: oneshot
            ulimits: {nofile: max, core: 0}
            hooks: {pre_start: [sh, -c, 'echo hook $(ulimit -Sn) $(ulimit -Hn)']}
          two:
            command: [sh, -c, 'echo two $(ulimit -Sn) $(ulimit -Hn)']
            type: oneshot
            ulimits: {nofile: {soft: 200, hard: max}}
            depends_on: [max]
          other:
            command: [sh, -c, 'echo other $(ulimit -Sn) $(ulimit -Hn)']
            type: oneshot
            depends_on: [two]
        ",
        );
    let text = ended.assert_code(0).text(Stream::Stdout);
    let expected = "hook 400 400\nmax 400 400 0\ntwo 200 400\nother 300 400\n";
    assert_eq!(text, expected, "{}", ended.record);
}

#[test]
fn a_limit_may_be_raised_before_the_user_is_changed() {
    if !may_raise_limits() {
        return;
    }
    let Some(rig) = Rig::new() else { return };
    let ended = rig.wrapper(&["sh", "-c", "ulimit -n 400; exec \"$@\"", "sh"]).run(
        "
        processes:
          a:
            command: [sh, -c, 'echo $(id -u) $(ulimit -n)']
            type: oneshot
            user: '65534:65534'
            ulimits: {nofile: 500}
        ",
    );
    assert_eq!(ended.assert_code(0).text(Stream::Stdout), "65534 500\n", "{}", ended.record);
}

#[test]
fn a_limit_that_may_not_be_raised_is_a_failed_start_that_names_it() {
    let Some(rig) = Rig::new() else { return };
    let limited = ["sh", "-c", "ulimit -n 400; exec \"$@\"", "sh"];
    rig.wrapper(&limited)
        .without_privileges()
        .run("processes: {a: {command: [CHILD, a], ulimits: {core: 0, nofile: {soft: max, hard: 500}}}}")
        .assert_code(126)
        .assert_line("a: the limit `nofile` cannot be set to 500, because drainit's own hard limit is 400; write `max`")
        .assert_no_event("a", "start");
}

/// Checks for CAP_SYS_RESOURCE, which many containers lack.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> 24 & 1 == 1
}
