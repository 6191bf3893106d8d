//! Tests drainit in difficult environments: with storms of orphans, without privileges, as an
//! ordinary process, with closed descriptors.

use crate::support::*;

// holds: S124, S204
#[test]
fn all_processes_are_stopped_if_drainit_cannot_continue() {
    let rig = Rig::not_init();
    let child = rig.fill("CHILD");
    let refused = nix::libc::SYS_timerfd_settime.to_string();
    let config = "
        processes:
          base: {command: [CHILD, base]}
          a: {command: [CHILD, a, 'daemon=b', 'on=TERM:ignore'], depends_on: [base]}
        ";
    let drainit =
        rig.wrapper(&[&child, "wrapper", &format!("refuse={refused}")]).start_ready(config);
    drainit.wait_for_start(&["base", "a", "b"]);
    // drainit sets its first timer at SIGTERM, and the kernel refuses this timer.
    let asked = drainit.signal(Signal::SIGTERM);
    // `base` gets SIGTERM although `a`, which depends on it, has not ended.
    let took = drainit.wait_for_event("base", "got SIGTERM").at - asked;
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert_gave_up(drainit, asked, "drainit cannot continue: .*");
}

// holds: S124, S204
#[test]
fn all_processes_are_stopped_if_drainit_gets_no_memory() {
    let as_init = Rig::new();
    for rig in as_init.into_iter().chain([Rig::not_init()]) {
        let config = "
            reload_signal: HUP
            processes:
              base: {command: [CHILD, base]}
              a: {command: [CHILD, a, 'daemon=b', 'on=TERM:ignore'], depends_on: [base]}
            ";
        let drainit = rig.start_ready(config);
        drainit.wait_for_start(&["base", "a", "b"]);
        // The memory is enough for the stack of the thread that reads the file, but not for the
        // file.
        let comment = format!("# {}\n", "x".repeat(3_900_000));
        drainit.write("drainit.yaml", comment);
        let pid = drainit.pid().to_string();
        let size = drainit.kilobytes("VmData");
        let limit = ["--pid", &pid, &format!("--data={}:", size * 1024 + 2_600_000)];
        assert!(Command::new("prlimit").args(limit).status().unwrap().success());
        let asked = drainit.signal(Signal::SIGHUP);
        assert_gave_up(drainit, asked, "drainit is out of memory .it asked for [0-9]+ bytes.");
    }
}

/// Asserts that drainit stops everything, without an order, and exits with 70.
#[track_caller]
fn assert_gave_up(drainit: Running, asked: Duration, why: &str) {
    drainit
        .wait_exit(LONG)
        .assert_code(70)
        .assert_took(asked, Duration::from_secs(2)..LONG)
        .assert_line(&format!("error: {why}; all processes are stopped"))
        .assert_nothing_left()
        .event("b", "got SIGTERM");
}

// holds: S60
#[test]
fn an_unsignallable_group_member_does_not_prevent_a_restart() {
    let Some(rig) = Rig::as_root("another user") else { return };
    let config = "
        shutdown: {grace_period: 5s, reserve: 1s}
        processes:
          a:
            # The substitution is over when the other user's process has begun, and has let go of the pipe.
            command:
              - sh
              - -c
              - up=$( (setpriv --reuid 10001 --clear-groups sh -c 'echo up; exec sleep 60 >/dev/null 2>&1' &) ); exit 3
            restart: on-failure:2
            restart_delay: 20ms
        ";
    let ended = rig.wrapper(&["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"]).run(config);
    let refused =
        r"a: not allowed to signal the processes that are left in its process group \d+ \(sleep\)";
    let times =
        ended.record.lines.iter().filter(|line| line.text.contains("not allowed to signal"));
    // `a` runs three times, and each run ends with one warning. The last warning comes during the
    // shutdown, so the report has it, too.
    assert_eq!(times.filter(|line| line.text.contains("warning: ")).count(), 3, "{}", ended.record);
    // A restart does not wait (up to 10 s) for the rest of the process group. drainit handles the
    // rest as leftovers at the end.
    let ends: Vec<_> =
        ended.record.lines.iter().filter(|line| line.text.contains("a: exited with")).collect();
    for pair in ends.windows(2) {
        let took = pair[1].at - pair[0].at;
        assert!(took < Duration::from_secs(3), "{took:?}\n{}", ended.record);
    }
    ended
        .assert_code(3)
        .assert_line(refused)
        .assert_line(&format!("   *{refused}"))
        .assert_line("a: exited with code 3; restart 2 in")
        .assert_line("left over: not allowed to send SIGTERM .*with the capability KILL");
}
