//! `drainit exec` with one process, which it runs as tini and dumb-init do.

use crate::support::{LONG, Rig, Running, ms};

fn exec(rig: Rig, command: &[&str]) -> Running {
    let args: Vec<_> = ["exec", "--"].iter().chain(command).copied().collect();
    rig.start_with(&args)
}

#[test]
fn the_code_is_the_commands() {
    for (command, code) in [
        (&["CHILD", "a", "exit=0"][..], 0),
        (&["CHILD", "a", "exit=42"], 42),
        (&["CHILD", "a", "die=KILL"], 137),
        (&["no-such-program"], 127),
        (&["/etc/passwd"], 126),
    ] {
        let Some(rig) = Rig::new() else { return };
        exec(rig, command).wait_exit(LONG).assert_code(code);
        exec(Rig::not_init(), command).wait_exit(LONG).assert_code(code);
    }
}

#[test]
fn the_end_of_the_command_is_the_end() {
    let Some(rig) = Rig::new() else { return };
    let drainit = exec(rig, &["CHILD", "a", "daemon=b,on=TERM:ignore", "exit=3"]);
    let gone = drainit.wait_for_event("a", "exit 3").at;
    drainit.wait_exit(LONG).assert_code(3).assert_took(gone, ms(0)..ms(8000));
}

#[test]
fn its_own_descriptors_are_the_commands() {
    let Some(rig) = Rig::new() else { return };
    let ended = exec(rig, &["CHILD", "a", "print=out", "eprint=err", "exit=0"]).wait_exit(LONG);
    ended.assert_code(0).assert_line("^out$").assert_line("^err$");
    assert_eq!(ended.record.lines.len(), 2, "{}", ended.record);
}
