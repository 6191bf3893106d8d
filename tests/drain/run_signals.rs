//! Tests every signal with `drainit run`: as a signal that is forwarded to the processes, as a stop
//! signal, and as the cause of a process's end.

use crate::exec::signals::{SPECIAL, fatal, send};
use crate::support::*;

/// Returns the signals that drainit can catch.
fn heard() -> impl Iterator<Item = i32> {
    (1..=64).filter(|number| !SPECIAL.contains(number))
}

// holds: C72, C172
#[test]
fn every_signal_is_passed_on() {
    Rig::both().for_each(all_are_passed_on);
    // The runs above do not forward signal 28 (WINCH), which is their stop signal.
    let config = "processes: {a: {command: [CHILD, a, record=28], forward_signals: [WINCH], on_exit: shutdown}}";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_line("^ready");
    send(&drainit, 28);
    drainit.wait_exit(LONG).assert_code(0);
}

#[track_caller]
pub(crate) fn all_are_passed_on(rig: Rig) {
    const STOP: i32 = 28;
    let forwarded: Vec<_> = heard().filter(|number| *number != STOP).collect();
    let drainit = rig.start_ready(&format!(
        "
        shutdown: {{signals: [{STOP}]}}
        processes: {{a: {{command: [CHILD, a, record=15], stop_signal: 15, forward_signals: {forwarded:?}}}}}
        "
    ));
    drainit.wait_for_line("^ready");
    for number in forwarded.into_iter().filter(|number| *number != 15) {
        send(&drainit, number);
        drainit.wait_for_line(&format!("^got {number}\\."));
    }
    send(&drainit, STOP);
    drainit.wait_exit(LONG).assert_code(0).assert_line("^got 15\\.");
}

// holds: C72, C85
#[test]
fn every_signal_can_stop_the_container() {
    for number in [1, 11, 13, 20, 21, 22, 32, 33, 34, 64] {
        let Some(rig) = Rig::new() else { return };
        stops_the_container(rig, number);
    }
}

#[track_caller]
pub(crate) fn stops_the_container(rig: Rig, number: i32) {
    let drainit = rig.start_ready(&format!(
        "
        shutdown: {{signals: [{number}]}}
        processes: {{a: {{command: [CHILD, a, record=15]}}}}
        "
    ));
    drainit.wait_for_line("^ready");
    send(&drainit, number);
    drainit.wait_exit(LONG).assert_code(0).assert_line("^got 15\\.");
}

// holds: S54, C161
#[test]
fn every_signal_can_stop_a_process() {
    Rig::both().for_each(all_stop_a_process);
}

/// Runs one process for each signal except STOP, all in one run.
#[track_caller]
pub(crate) fn all_stop_a_process(rig: Rig) {
    let process = |number| {
        format!(
            "  p{number}: {{command: [CHILD, p, record={number}], stop_signal: {number}, readiness: {{log: ready}}}}\n"
        )
    };
    let all: String = (1..=64).filter(|number| *number != 19).map(process).collect();
    // Together with these two, the processes are more than drainit starts in one step.
    let more = "  x: {command: [sleep, '60']}\n  y: {command: [sleep, '60']}\n";
    let drainit = rig.start_ready(&format!("processes:\n{all}{more}"));
    send(&drainit, 15);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_no_line("was killed|still alive");
    ended.assert_line("p9: was ended by SIGKILL").assert_line("p34: exited with code 0");
}

#[test]
fn every_signal_can_end_a_process_and_every_end_is_noticed() {
    Rig::both().for_each(all_can_end_a_process);
}

/// Runs one process for each signal that ends a process, all in one run.
#[track_caller]
pub(crate) fn all_can_end_a_process(rig: Rig) {
    let process = |number: i32| {
        format!(
            "  p{number}: {{command: [sh, -c, 'ulimit -c 0; kill -{number} $$$$'], on_exit: ignore}}\n"
        )
    };
    let ended = rig.run(&format!("processes:\n{}", fatal().map(process).collect::<String>()));
    ended.assert_code(0);
    for number in fatal() {
        let name = drainit::types::Signal::from_number(number).unwrap().to_string();
        ended.assert_line(&format!("p{number}: was ended by {} ", name.replace('+', "\\+")));
    }
}
