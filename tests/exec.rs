//! `drainit exec` with one process, which it runs as tini and dumb-init do.

use crate::support::{LONG, Rig, Running, Signal, ms};

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
fn signals_go_to_the_command() {
    let Some(rig) = Rig::new() else { return };
    let drainit = exec(rig, &["CHILD", "a", "on=TERM:exit:5:0"]);
    drainit.wait_for_start(&["a"]);
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        drainit.signal(signal);
        drainit.wait_for_event("a", &format!("got {signal}"));
    }
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(5);
}

#[test]
fn orphans_are_reaped() {
    for init in [true, false] {
        let rig = if init { Rig::new() } else { Some(Rig::not_init()) };
        let Some(rig) = rig else { return };
        let drainit = exec(rig, &["CHILD", "a", "storm=200", "daemon=b,exit=0"]);
        drainit.wait_for_event("b", "exit 0");
        drainit.wait_for_event("a", "daemon");
        drainit.wait_until("reaped", || drainit.children_in_state('Z') == 0);
        drainit.signal(Signal::SIGTERM);
        drainit.wait_exit(LONG).assert_code(0);
    }
}

#[test]
fn the_end_of_the_command_is_the_end() {
    let Some(rig) = Rig::new() else { return };
    let drainit = exec(rig, &["CHILD", "a", "daemon=b,on=TERM:ignore", "exit=3"]);
    let gone = drainit.wait_for_event("a", "exit 3").at;
    drainit.wait_exit(LONG).assert_code(3).assert_took(gone, ms(0)..ms(1500));
}

#[test]
fn its_own_descriptors_are_the_commands() {
    let Some(rig) = Rig::new() else { return };
    let ended = exec(rig, &["CHILD", "a", "print=out", "eprint=err", "exit=0"]).wait_exit(LONG);
    ended.assert_code(0).assert_line("^out$").assert_line("^err$");
    assert_eq!(ended.record.lines.len(), 2, "{}", ended.record);
}
