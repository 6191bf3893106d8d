//! Tests that `drainit simulate` plays a config without starting anything.

use crate::plan::read;
use crate::support::Ended;

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
