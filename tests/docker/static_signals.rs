//! Tests the static binary: its linking, its missing features, and every signal, because its C
//! library reserves other signals than glibc.

use std::process::Command;

use crate::drain::run_signals;
use crate::exec::signals;
use crate::host::minimal_environment;
use crate::support::docker_images::static_drainit;
use crate::support::elf;
use crate::support::{Rig, Said};

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

/// The image has the binary without the feature `tools`.
#[test]
fn a_binary_without_the_tools_names_the_missing_feature() {
    let Some(drainit) = static_drainit() else { return };
    let rig = Rig::not_init();
    rig.write("drainit.yaml", "processes: {a: {command: [\"true\"]}}\n");
    let config = rig.fill("DIR/drainit.yaml");
    let run = |args: &str| {
        let args = args.replace("CONFIG", &config);
        Said::of(Command::new(drainit).args(args.split(' ')).output().unwrap())
    };
    let formats = "the formats of `plan` other than `text`";
    for (args, left_out) in [
        ("import --format procfile Procfile", "`import`"),
        ("schema", "`schema`"),
        ("completions bash", "`completions`"),
        ("man", "`man`"),
        ("report report.json", "`report`"),
        ("check -c CONFIG --pod pod.yaml --container a", "`check --pod`"),
        ("plan -c CONFIG --format json", formats),
    ] {
        let says =
            format!("error: this binary was built without {left_out}; use one with the tools");
        run(args).assert(2, &says);
    }
    for args in ["check -c CONFIG", "plan -c CONFIG --format text"] {
        run(args).assert(0, "");
    }
    assert!(
        !run("help").stdout.contains("import") && !run("check --help").stdout.contains("--pod")
    );
}

#[test]
fn the_binary_is_a_static_pie_with_full_relro() {
    let Some(drainit) = static_drainit() else { return };
    elf::assert_hardened(drainit);
}
