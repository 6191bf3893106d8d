//! The static binary: how it is linked, and every signal, because its C library reserves other
//! signals than glibc.

use crate::support::Rig;
use crate::support::docker_images::static_drainit;
use crate::support::elf;
use crate::{exec_signals, minimal_environment, run_signals};

/// Returns a rig with the static binary as PID 1, where that is possible, and one with it as an
/// ordinary process.
fn both() -> impl Iterator<Item = Rig> {
    let drainit = static_drainit();
    let rigs = [Rig::new(), Some(Rig::not_init())].into_iter().flatten();
    rigs.filter_map(move |rig| Some(rig.drainit(drainit?)))
}

#[test]
fn exec_passes_every_signal_on() {
    both().for_each(exec_signals::all_are_passed_on);
}

#[test]
fn run_passes_every_signal_on() {
    both().for_each(run_signals::all_are_passed_on);
}

#[test]
fn every_signal_can_stop_the_container_and_a_process() {
    for number in [1, 13, 20, 32, 33, 34, 64] {
        both().for_each(|rig| run_signals::stops_the_container(rig, number));
    }
    both().for_each(run_signals::all_stop_a_process);
}

#[test]
fn every_signal_can_be_an_end() {
    both().for_each(run_signals::all_can_end_a_process);
    for number in [1, 9, 11, 15, 32, 33, 34, 64] {
        both().for_each(|rig| exec_signals::can_end(rig, number));
    }
}

#[test]
fn it_starts_without_a_dev_null() {
    let Some(drainit) = static_drainit() else { return };
    minimal_environment::works_with_nothing(|rig| rig.drainit(drainit));
}

#[test]
fn it_is_a_static_pie_with_full_relro() {
    let Some(drainit) = static_drainit() else { return };
    elf::assert_hardened(drainit);
}
