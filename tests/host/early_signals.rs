//! Tests signals that come right after the exec, before drainit has read its command line or its
//! config.

use nix::unistd::Pid;

use crate::support::*;

/// The number of arguments. Reading them takes much longer than all work before the reading.
const MANY: usize = 20_000;

/// The config of one process that claims all arguments and ignores them.
const CLAIMS: &str = "
processes:
  a: {command: [sh, -c, 'exec sleep 60', sh], args: {prefix: '--a.'}}
";

/// Returns the blocked signals of a process, in the format of proc(5).
fn blocked(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    mask.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap())
}

/// All signals but SIGKILL and SIGSTOP, which cannot be blocked.
const FULL: u64 = !(1 << 8 | 1 << 18);

fn wait_for_full(drainit: &Running) {
    let pid = drainit.pid();
    while blocked(pid) != FULL {
        assert!(drainit.record().ended.is_none(), "{}", drainit.record());
        thread::sleep(Duration::from_micros(50));
    }
}

fn with_many_arguments(rig: Rig) -> Running {
    rig.args(&["--"]).args(&["--a.x"; MANY]).start(CLAIMS)
}

// holds: S3
#[test]
fn a_signal_while_drainit_reads_the_command_line_is_handled() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT] {
        let Some(rig) = Rig::new() else { return };
        let drainit = with_many_arguments(rig);
        wait_for_full(&drainit);
        drainit.signal(signal);
        drainit.wait_exit(LONG).assert_code(0).assert_line(&format!("stopping: {signal} received"));
    }
    // The command gets the signal as soon as it runs.
    let Some(rig) = Rig::new() else { return };
    let mut args = vec!["exec"];
    args.extend(["--remap-exit=9"; MANY]);
    args.extend(["--", "sleep", "60"]);
    let drainit = rig.start_with(&args);
    wait_for_full(&drainit);
    drainit.stop().assert_code(128 + 15);
}

#[test]
fn a_signal_ends_a_command_that_does_not_supervise() {
    let drainit = Rig::not_init().start_with(&["health", "--wait", "60s", "--socket", "DIR/none"]);
    let fds = format!("/proc/{}/fd", drainit.pid());
    let polls = |fd: fs::DirEntry| {
        fs::read_link(fd.path()).is_ok_and(|target| target.ends_with("anon_inode:[eventpoll]"))
    };
    let waits = || fs::read_dir(&fds).unwrap().flatten().any(polls);
    drainit.wait_until("waiting", waits);
    let ended = drainit.stop();
    assert!(ended.record.to_string().contains("signal: 15"), "{}", ended.record);
}
