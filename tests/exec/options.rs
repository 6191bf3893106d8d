//! The options of `drainit exec` for exit codes, times and leftover processes.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::{LONG, Rig, Running, Signal, Stream, ms};

pub(crate) fn exec(rig: Rig, options: &[&str], command: &[&str]) -> Running {
    let words: Vec<_> =
        ["exec"].iter().chain(options).chain(&["--"]).chain(command).copied().collect();
    rig.start_with(&words)
}

/// Asserts that drainit refuses these options and starts nothing.
#[track_caller]
pub(crate) fn assert_refused(options: &[&str], message: &str) {
    let ended = exec(Rig::not_init(), options, &["CHILD", "a", "exit=0"]).wait_exit(LONG);
    ended.assert_code(2).assert_no_event("a", "start");
    let said = ended.text(Stream::Stderr);
    assert!(said.contains(message), "{options:?}: {said}");
}

#[test]
fn leftovers_of_a_command_get_sigterm_and_after_the_time_sigkill() {
    for rig in Rig::both() {
        // The leftover process ends after SIGTERM, so drainit does not wait for the whole grace
        // period.
        let command = ["CHILD", "a", "spawn=b,on=TERM:exit:0:100", "await=DIR/go", "exit=3"];
        let drainit = exec(rig, &["--grace-period", "8s"], &command);
        drainit.wait_for_start(&["a", "b"]);
        drainit.touch("go");
        let ended = drainit.wait_exit(LONG);
        let gone = ended.event("a", "exit 3").at;
        ended.assert_code(3).assert_took(gone, ms(100)..ms(6000));
        ended.assert_order(&["a exit 3", "b got SIGTERM", "b exit 0"]);
    }
    // The leftover process ignores SIGTERM. drainit still ends after the grace period, with the
    // exit code of the command.
    for rig in Rig::both() {
        let command = ["CHILD", "a", "spawn=b,on=TERM:ignore", "await=DIR/go", "exit=0"];
        let drainit = exec(rig, &["--grace-period", "300ms"], &command);
        drainit.wait_for_start(&["a", "b"]);
        drainit.touch("go");
        let ended = drainit.wait_exit(LONG);
        let gone = ended.event("a", "exit 0").at;
        ended.assert_code(0).assert_took(gone, ms(300)..ms(4000)).assert_nothing_left();
        ended.assert_order(&["a exit 0", "b got SIGTERM"]);
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

/// Returns whether there is a living process with this PID.
fn is_alive(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

#[test]
fn the_death_of_the_parent_sends_the_chosen_signal() {
    for (signal, hears) in [("TERM", true), ("RTMIN+2", false), ("KILL", false)] {
        let rig = Rig::not_init();
        let (out, pids) = (rig.path("out"), rig.path("pids"));
        let child = format!(
            "trap 'echo term >{}; exit' TERM; echo $$ $PPID >{p}.new; mv {p}.new {p}; while [ $((n+=1)) -lt 900 ]; do sleep 0.02; done",
            out.display(),
            p = pids.display()
        );
        let mut parent = Command::new("sh")
            .args([
                "-c",
                "\"$@\" & wait",
                "sh",
                env!("CARGO_BIN_EXE_drainit"),
                "exec",
                "-p",
                signal,
            ])
            .args(["--", "sh", "-c", &child])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let wait = |what: &str, is_so: &dyn Fn() -> bool| {
            let until = std::time::Instant::now() + LONG;
            while !is_so() {
                assert!(std::time::Instant::now() < until, "{signal}: {what}");
                thread::sleep(ms(5));
            }
        };
        wait("start", &|| pids.exists());
        let pids = fs::read_to_string(&pids).unwrap();
        parent.kill().unwrap();
        parent.wait().unwrap();
        for pid in pids.split_whitespace() {
            wait("end", &|| !is_alive(pid));
        }
        assert_eq!(out.exists(), hears, "{signal}");
    }
}

#[test]
fn orphans_go_to_another_process_without_subreaper() {
    for (options, here) in [(&[][..], true), (&["-s"], true), (&["--no-subreaper"], false)] {
        let drainit =
            exec(Rig::not_init(), options, &["CHILD", "a", "daemon=b,await=DIR/x,exit=0"]);
        drainit.wait_for_start(&["a", "b"]);
        let b = drainit.wait_for_event("b", "start").pid;
        let stat = fs::read_to_string(format!("/proc/{b}/stat")).unwrap();
        let parent: i32 =
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
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
fn wrong_usage_is_reported_and_nothing_is_started() {
    for (options, message) in [
        (&["--bogus"][..], "unexpected argument '--bogus'"),
        (&["-r", "TREM:INT"], "did you mean `TERM`?"),
        (&["-r", "TERM"], "write SIGNAL:SIGNAL"),
        (&["-r", "KILL:TERM"], "SIGKILL never arrives"),
        (&["-e", "256"], "256 is not in 0..=255"),
        (&["-e", "-1"], "invalid value '-1'"),
        (&["-p", "0"], "not a signal"),
        (&["--stop-signal", "STOP"], "a signal that no process can catch"),
        (&["--stop-signal", "CHLD"], "the exit of every child"),
        (&["--grace-period", "0"], "must be longer than 0"),
        (&["--grace-period", "soon"], "not a duration"),
        (&["--no-subreaper", "--grace-period", "1"], "cannot be used with"),
    ] {
        assert_refused(options, message);
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
        let ended = Rig::not_init().run_with(words);
        ended.assert_code(0).assert_line("^-v --group -- x$");
    }
}

#[test]
fn a_closed_or_full_output_delays_nothing() {
    let (reader, full) = crate::support::rig::full_pipe();
    let rig = Rig::not_init().stdout(full).wrapper(&["sh", "-c", "exec \"$@\" 2>&1", "sh"]);
    let drainit = exec(rig, &["-v"], &["CHILD", "a"]);
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_event("a", "got SIGUSR1");
    drainit.stop().assert_code(0);
    drop(reader);

    let rig =
        Rig::not_init().stdout(closed_pipe()).wrapper(&["sh", "-c", "exec \"$@\" 2>&1", "sh"]);
    let drainit = exec(rig, &["-v"], &["CHILD", "a", "on=TERM:exit:0:0"]);
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_event("a", "got SIGUSR1");
    drainit.signal(Signal::SIGTERM);
    // drainit did not pass on the SIGPIPE that it had caused itself.
    drainit.wait_exit(LONG).assert_code(0).assert_no_event("a", "got SIGPIPE");
}

fn closed_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
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
