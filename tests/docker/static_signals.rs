//! Tests the static binary: its linking, and every signal, because its C library reserves other
//! signals than glibc.

use crate::drain::run_signals;
use crate::exec::signals;
use crate::host::minimal_environment;
use crate::support::*;

/// Returns a rig with the static binary as PID 1, if that is possible, and a rig with the static
/// binary as an ordinary process.
fn both() -> impl Iterator<Item = Rig> {
    let drainit = static_drainit();
    Rig::both().filter_map(move |rig| Some(rig.drainit(drainit?)))
}

#[test]
fn every_signal_works_with_the_static_binary() {
    both().for_each(signals::all_are_passed_on);
    both().for_each(run_signals::all_are_passed_on);
    both().for_each(run_signals::all_stop_a_process);
    both().for_each(run_signals::all_can_end_a_process);
    for number in [1, 13, 20, 32, 33, 34, 64] {
        both().for_each(|rig| run_signals::stops_the_container(rig, number));
    }
    for number in [1, 9, 11, 15, 32, 33, 34, 64] {
        both().for_each(|rig| signals::can_end(rig, number));
    }
}

#[test]
fn the_static_binary_starts_without_dev_null() {
    let Some(drainit) = static_drainit() else { return };
    minimal_environment::works_with_nothing(|rig| rig.drainit(drainit));
}

#[test]
fn the_binary_is_a_static_pie_with_full_relro() {
    let Some(drainit) = static_drainit() else { return };
    elf::assert_hardened(drainit);
}
