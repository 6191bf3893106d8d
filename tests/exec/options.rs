//! The options of `drainit exec` for exit codes, times and leftover processes.

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::*;

pub(crate) fn exec(rig: Rig, options: &[&str], command: &[&str]) -> Running {
    rig.start_with(&[&["exec"], options, &["--"], command].concat())
}

#[test]
fn leftovers_of_a_command_get_sigterm_and_after_the_time_sigkill() {
    // The first leftover process ends after SIGTERM, so drainit does not wait for the whole grace
    // period. The second one ignores SIGTERM. drainit still ends after the grace period, with the
    // exit code of the command.
    for (reaction, grace_period, least) in [("exit:0:100", "8s", 100), ("ignore", "300ms", 300)] {
        for rig in Rig::both() {
            let spawn = format!("spawn=b,on=TERM:{reaction}");
            let command = ["CHILD", "a", &spawn, "await=DIR/go", "exit=3"];
            let drainit = exec(rig, &["--grace-period", grace_period], &command);
            drainit.wait_for_start(&["a", "b"]);
            drainit.touch("go");
            let ended = drainit.wait_exit(LONG);
            let gone = ended.event("a", "exit 3").at;
            ended.assert_code(3).assert_took(gone, ms(least)..ms(6000)).assert_nothing_left();
            ended.assert_order(&["a exit 3", "b got SIGTERM"]);
            assert_eq!(ended.record.event("b", "exit 0").is_some(), reaction != "ignore");
        }
    }
}

/// Leaves its process group, in which another process stays, and ignores SIGTERM.
const LEAVES_ITS_GROUP: &str = r#"
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stays = os.fork()
if stays == 0:
    while True: signal.pause()
leads = os.fork()
if leads == 0:
    os.setpgid(0, 0)
    while True: signal.pause()
while os.getpgid(leads) != leads: pass
os.setpgid(0, leads)
open(sys.argv[1], "w").close()
while True: signal.pause()
"#;

#[test]
fn a_command_that_has_left_the_group_is_killed_after_the_time() {
    for rig in Rig::both().filter(|_| is_installed("python3")) {
        let command = ["python3", "-c", LEAVES_ITS_GROUP, "DIR/left"];
        let drainit = exec(rig, &["--grace-period", "300ms"], &command);
        drainit.wait_until("another group", || drainit.path("left").exists());
        let stop = drainit.signal(Signal::SIGTERM);
        drainit.wait_exit(LONG).assert_code(137).assert_took(stop, ms(300)..ms(30_000));
    }
}

#[test]
fn a_suspended_command_gets_the_stop_signal() {
    let Some(rig) = Rig::new() else { return };
    let script = "sh -c 'trap \"echo bye; exit\" TERM; echo $$; kill -STOP $$; echo woken' & read go <DIR/go";
    nix::unistd::mkfifo(&rig.path("go"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
    let go = rig.path("go");
    let drainit = exec(rig, &["--grace-period", "5s"], &["sh", "-c", script]);
    drainit.wait_for_line("^[0-9]+$");
    fs::write(go, "\n").unwrap();
    drainit.wait_exit(LONG).assert_code(0).assert_line("^bye$");
}

/// The state and the parent of a process. `None` if the process is gone.
fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[test]
fn the_death_of_the_parent_sends_the_chosen_signal() {
    for (signal, hears) in [("TERM", true), ("RTMIN+2", false), ("KILL", false)] {
        let rig = Rig::not_init().wrapper(&["sh", "-c", "\"$@\" & wait", "sh"]);
        let drainit = exec(rig, &["-p", signal], &["CHILD", "a"]);
        drainit.wait_for_start(&["a"]);
        let pids = [drainit.pid().as_raw(), drainit.wait_for_event("a", "start").pid];
        let (_, parent) = state_and_parent(pids[0]).unwrap();
        kill(Pid::from_raw(parent), Signal::SIGKILL).unwrap();
        for pid in pids {
            let is_gone = || state_and_parent(pid).is_none_or(|(state, _)| state == 'Z');
            drainit.wait_until(&format!("ended by {signal}"), is_gone);
        }
        let has_heard = drainit.record().event("a", "got SIGTERM").is_some();
        assert_eq!(has_heard, hears, "{signal}");
    }
}

#[test]
fn orphans_go_to_another_process_without_subreaper() {
    for (options, here) in [(&[][..], true), (&["-s"], true), (&["--no-subreaper"], false)] {
        let drainit =
            exec(Rig::not_init(), options, &["CHILD", "a", "daemon=b,await=DIR/x,exit=0"]);
        drainit.wait_for_start(&["a", "b"]);
        let (_, parent) = state_and_parent(drainit.wait_for_event("b", "start").pid).unwrap();
        assert_eq!(parent == drainit.pid().as_raw(), here, "{options:?}");
        drainit.touch("x");
        drainit.stop().assert_code(0);
    }
}

#[test]
fn a_program_that_puts_itself_into_the_background_is_reported() {
    let daemon = "daemon=b,await=DIR/x";
    let hint = r"^\[drainit\] warning: the command exited with code 0; processes that it started are still running: \d+ \(.*\); .* foreground$";
    for (steps, is_stopped, is_hint) in [
        (&[daemon, "exit=0"][..], false, true),
        (&[daemon, "exit=3"], false, false),
        // drainit does not warn of processes in the command's group: they may end with the command,
        // as `tee` does.
        (&["spawn=b", "exit=0"], false, false),
        (&[daemon], true, false),
    ] {
        let Some(rig) = Rig::new() else { return };
        let drainit = exec(rig, &[], &[&["CHILD", "a"], steps].concat());
        let ended = if is_stopped {
            drainit.wait_for_start(&["a", "b"]);
            drainit.stop()
        } else {
            drainit.wait_exit(LONG)
        };
        match is_hint {
            true => ended.assert_code(0).assert_line(hint),
            false => ended.assert_no_line("still running"),
        };
    }
}

#[test]
fn a_program_that_leaves_the_group_of_the_command_late_is_reported() {
    // The program has 100 ms for this, which is little on a slow machine.
    let is_reported = (0..20).any(|_| {
        let Some(rig) = Rig::new() else { return true };
        let program = "(sleep 0.08; exec setsid sleep 60) & exit 0";
        let ended = exec(rig, &[], &["sh", "-c", program]).wait_exit(LONG);
        ended.text(Stream::Stderr).contains("are still running")
    });
    assert!(is_reported);
}

// holds: C423, C427
#[test]
fn wrong_usage_is_reported_and_nothing_is_started() {
    for (options, message) in [
        ("--bogus", "unexpected argument '--bogus'"),
        ("-r TREM:INT", "did you mean `TERM`?"),
        ("-r TERM", "write SIGNAL:SIGNAL"),
        ("-r KILL:TERM", "SIGKILL never arrives"),
        ("-e 256", "not an exit code; write a number from 0 to 255"),
        ("-e -1", "invalid value '-1'"),
        ("-p 0", "not a signal"),
        ("--stop-signal STOP", "a signal that no process can catch"),
        ("--stop-signal CHLD", "the exit of every child"),
        ("--grace-period 0", "must be longer than 0"),
        ("--grace-period soon", "not a duration"),
        ("--no-subreaper --grace-period 1", "cannot be used with"),
        ("--drain-time 5s", "--drain-time needs --drain-envoy ADMIN"),
        ("--readiness 5s", "--readiness needs --drain-envoy ADMIN"),
        ("--unready-delay 5s", "--unready-delay needs --drain-envoy ADMIN"),
        ("--drain-until never", "not a known value"),
        ("--drain-envoy envoy", "not a URL"),
        ("NOBODY --group", "--group cannot be used with a drain"),
        ("NOBODY --no-subreaper", "--no-subreaper cannot be used with a drain"),
        ("NOBODY --parent-death-signal=SIGKILL", "SIGKILL cannot be used with a drain"),
        ("NOBODY --rewrite INT:TERM", "--rewrite cannot be used with a drain"),
        ("NOBODY --drain-time 2s --drain-min 3s", "is longer than"),
        ("NOBODY --drain-min 9s --grace-period 9s", "(DRAINIT_DRAIN_MIN) 9s does not fit"),
        ("NOBODY --grace-period 9s --unready-delay 9s", "(9s) leaves nothing of the 8.1s"),
    ] {
        let words = options.replace("NOBODY", "--drain-envoy unix:/nobody");
        let words: Vec<_> = words.split(' ').collect();
        let ended = exec(Rig::not_init(), &words, &["CHILD", "a", "exit=0"]).wait_exit(LONG);
        ended.assert_code(2).assert_no_event("a", "start");
        let said = ended.text(Stream::Stderr);
        assert!(said.contains(message), "{options}: {said}");
    }
    for words in [&["exec"][..], &["exec", "--"], &["exec", "-g"]] {
        Rig::not_init().run_with(words).assert_code(2).assert_line("required arguments");
    }
}

#[test]
fn arguments_after_the_command_belong_to_the_command() {
    for words in [
        &["exec", "echo", "-v", "--group", "--", "x"][..],
        &["exec", "--", "echo", "-v", "--group", "--", "x"],
        &["exec", "-s", "echo", "-v", "--group", "--", "x"],
        &["exec", "-s", "--", "echo", "-v", "--group", "--", "x"],
    ] {
        Rig::not_init().run_with(words).assert_code(0).assert_line("^-v --group -- x$");
    }
}

#[test]
fn a_closed_or_full_output_delays_nothing() {
    let (_reader, full) = crate::support::rig::full_pipe();
    let closed = std::io::pipe().unwrap().1.into();
    for output in [full, closed] {
        let rig = Rig::not_init().stdout(output);
        let rig = rig.wrapper(&["sh", "-c", "exec \"$@\" 2>&1", "sh"]);
        let drainit = exec(rig, &["-v"], &["CHILD", "a", "on=TERM:exit:0:0"]);
        drainit.wait_for_start(&["a"]);
        drainit.signal(Signal::SIGUSR1);
        drainit.wait_for_event("a", "got SIGUSR1");
        // drainit did not pass on the SIGPIPE that it had caused itself.
        drainit.stop().assert_code(0).assert_no_event("a", "got SIGPIPE");
    }
}

#[test]
fn descriptors_of_a_service_manager_are_handed_over() {
    // LISTEN_FDS covers the first two descriptors, and not descriptor 9.
    let hand_over = |pid: &str| {
        format!(
            "export LISTEN_PID={pid} LISTEN_FDS=2 LISTEN_FDNAMES=http:admin; exec \"$@\" 3</etc/passwd 4</etc/group 9</etc/passwd"
        )
    };
    for (pid, is_meant) in [("$$", true), ("999999", false)] {
        for rig in Rig::both() {
            let rig = rig.wrapper(&["sh", "-c", &hand_over(pid), "sh"]);
            let ended = rig.run_with(&["exec", "--", "CHILD", "a", "report=DIR/report", "exit=4"]);
            ended.assert_code(4);
            let report = ended.report("report");
            let fds: Vec<_> =
                report["fds"].as_object().unwrap().keys().map(String::as_str).collect();
            let expected: &[&str] =
                if is_meant { &["0", "1", "2", "3", "4"] } else { &["0", "1", "2"] };
            assert_eq!(fds, expected, "{report}");
            let own = if is_meant { report["pid"].to_string() } else { pid.to_owned() };
            assert_eq!(report["env"]["LISTEN_PID"], own, "{report}");
            assert_eq!(report["env"]["LISTEN_FDNAMES"], "http:admin", "{report}");
            assert_eq!(report["pid"], report["pgid"], "{report}");
        }
    }
}
