//! Tests that `drainit simulate` plays a config without starting anything.

use std::fs;

use crate::docs::{root, split};
use crate::plan::{CONFIG, read};
use crate::support::{Ended, Rig};

/// Plays the config, and returns the result and its lines.
fn simulate(options: &[&str]) -> (Ended, Vec<String>) {
    let ended = read("simulate", options);
    ended.assert_code(0);
    let lines = ended.record.lines.iter().map(|line| line.text.clone()).collect();
    (ended, lines)
}

#[test]
fn a_seed_is_one_run_with_its_log_and_its_report() {
    let (ended, lines) = simulate(&["--seed", "7"]);
    ended
        .assert_line(r"^Seed 7, in simulated time$")
        .assert_line(r"^ +[0-9.]+  stopping: .*; 28s until the deadline$")
        .assert_line(r"^T0 .* after the start, drainit ")
        .assert_line(r"deadline at 28s: grace_period 30s less reserve 2s$")
        .assert_no_event("router", "start");
    assert_eq!(simulate(&["--seed", "7"]).1, lines);
}

#[test]
fn the_run_of_the_page_is_true() {
    let page = fs::read_to_string(root().join("docs/simulation.md")).unwrap();
    let (_, blocks) = split(&page);
    let (command, shown) = blocks[0].1.split_once('\n').unwrap();
    let options: Vec<_> = command.strip_prefix("$ drainit ").unwrap().split(' ').collect();
    let ended = Rig::not_init().cwd(root()).run_with(&options);
    ended.assert_code(0);
    let mut lines = ended.record.lines.iter().map(|line| line.text.as_str());
    // "…" stands for any lines.
    for part in shown.split("…\n") {
        let mut part = part.lines();
        if let Some(first) = part.next() {
            let found = lines.any(|line| line == first);
            assert!(found, "the page has `{first}`, the run not there:\n{}", ended.record);
        }
        part.for_each(|line| assert_eq!(lines.next(), Some(line), "{}", ended.record));
    }
}

#[test]
fn many_runs_are_counted_the_same_by_any_number_of_threads() {
    let (ended, lines) = simulate(&["--runs", "2500", "--jobs", "1"]);
    ended
        .assert_line(r"^2500 runs in ")
        .assert_line(r"^  planned at most +[0-9.]+s$")
        .assert_line(r"^  longest +[0-9.]+s \(seed [0-9]+\)$")
        .assert_line(r"^  runs with broken promises +0$");
    // The first line has the time that it took.
    assert_eq!(simulate(&["--runs", "2500", "--jobs", "3"]).1[1..], lines[1..]);
}

#[test]
fn seeds_that_could_overflow_are_refused() {
    for options in [["--seed", "18446744073709551000"], ["--runs", "18446744073709551615"]] {
        let ended = read("simulate", &options);
        ended.assert_code(2).assert_line(r"is not in [01]\.\.9223372036854775808");
    }
    simulate(&["--seed", "9223372036854775807", "--runs", "5"]).0.assert_line("^5 runs in ");
}

#[test]
fn runs_are_counted_by_the_threads_that_can_be_started() {
    let rig = Rig::not_init();
    rig.write("drainit.yaml", CONFIG);
    // There is no room for the stack of a further thread.
    let rig = rig.env("RUST_MIN_STACK", &(1_u64 << 60).to_string());
    let command = ["simulate", "-c", "DIR/drainit.yaml", "--runs", "2500", "--jobs", "1024"];
    rig.run_with(&command).assert_code(0).assert_line(r"^2500 runs in ");
}
