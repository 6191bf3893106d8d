//! Tests the note that the container's SIGTERM will not reach drainit, because PID 1 does not pass
//! the signal on.

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::*;

const CONFIG: &str = "processes: {a: {command: [CHILD, a]}}";
const NOTE: &str = "SIGTERM will not reach drainit, because sh (pid 1) does not pass it on";

/// Runs drainit as `"$@"` of a shell script that is PID 1.
fn below(script: &str) -> Option<Rig> {
    Some(Rig::new()?.wrapper(&["sh", "-c", script, "sh"]))
}

/// The PID of PID 1 in the namespace of the test.
fn init_of(drainit: &Running) -> Pid {
    let status = fs::read_to_string(format!("/proc/{}/status", drainit.pid())).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    Pid::from_raw(parent.parse().unwrap())
}

// holds: S910, S912
#[test]
fn drainit_below_a_shell_says_that_sigterm_will_not_come() {
    let Some(rig) = below("\"$@\"; true") else { return };
    let drainit = rig.start_ready(CONFIG);
    drainit.wait_for_start(&["a"]);
    drainit.wait_for_line(&format!("warning: {}", NOTE.replace(['(', ')'], ".")));
    let said = drainit.exec(&["status"]).assert(0, &format!("\nnote: {NOTE}")).stdout.clone();
    assert!(said.contains("`exec drainit run`"), "{said}");
    let notes = drainit.status(&[])["notes"].clone();
    assert!(notes[0].as_str().unwrap().starts_with(NOTE), "{notes}");
    let health = drainit.exec(&["health"]);
    health.assert(0, &format!("ready; note: {NOTE}"));
    // The note is true.
    kill(init_of(&drainit), Signal::SIGTERM).unwrap();
    drainit.exec(&["restart", "a"]).assert(0, "a: ready");
    let ended = drainit.stop();
    assert_eq!(ended.record.lines_with(NOTE), 1, "{}", ended.record);
    ended.assert_code(0);
}

// holds: S911
#[test]
fn drainit_says_nothing_where_sigterm_comes_or_a_script_goes_on() {
    for script in ["exec \"$@\"", "\"$@\" & wait", "\"$@\" & trap 'kill $!' TERM; wait; wait"] {
        let Some(rig) = below(script) else { return };
        let drainit = rig.start_ready(CONFIG);
        drainit.wait_for_start(&["a"]);
        assert_eq!(drainit.exec(&["health"]).stdout, "ready\n", "{script}");
        assert_eq!(drainit.status(&[])["notes"], Value::Null, "{script}");
        let ended = drainit.stop();
        assert_eq!(ended.record.lines_with("SIGTERM will not reach"), 0, "{}", ended.record);
        ended.assert_code(0);
    }
}

// holds: S910
#[test]
fn exec_below_a_shell_warns_but_not_as_tini() {
    // In the second case, the whole container runs in the background of a script.
    for script in ["\"$@\"; true", "trap '' INT QUIT; \"$@\"; true"] {
        let Some(rig) = below(script) else { return };
        let ended = rig.run_with(&["exec", "--", "true"]);
        ended.assert_code(0).assert_line("warning: SIGTERM will not reach drainit, because sh");
    }
    let Some(rig) = below("ln -s \"$1\" tini; ./tini -s -- true; true") else { return };
    let ended = rig.run_with(&[]);
    ended.assert_code(0).assert_no_line("SIGTERM will not reach");
}
