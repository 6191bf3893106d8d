//! Each row fails for an init that makes the mistake of this row, and passes for an init that does
//! not.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pid1_probe::rows::{Level, ROWS, Row};
use serde_json::Value;

fn probe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pid1-probe")).args(arguments).output().unwrap()
}

/// The results of the rows by their names: `pass`, or what was found.
fn judge(options: &[&str], init: &[&str]) -> BTreeMap<String, (String, String)> {
    let arguments = [&["run", "--format=json"], options, &["--"], init].concat();
    let output = probe(&arguments);
    let said: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = said["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| (text(&row["name"]), (text(&row["result"]), text(&row["found"]))))
        .collect()
}

/// The command of the init of these tests, with a fault.
fn init_with<'a>(fault: &'a str, row: &Row) -> [&'a str; 2] {
    let path = match row.level {
        Level::Supervisor => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/supervisor.py"),
        _ => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/init.py"),
    };
    [path, fault]
}

/// Whether namespaces are permitted. Where they are not, no row can be judged; CI permits them.
fn is_possible() -> bool {
    let options = ["--row=term-child"];
    let (result, why) = judge(&options, &init_with("none", &ROWS[3])).remove("term-child").unwrap();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(result != "skip" || !ci, "a test would be skipped, and this is CI: {why}");
    if result == "skip" {
        // `eprintln` cannot be used, because the test harness captures its output.
        let _ = writeln!(std::io::stderr(), "skipped: {why}");
    }
    result != "skip"
}

/// Runs a test of each row, a few at the same time, and returns what they say.
fn of_each(rows: &[&Row], test: impl Fn(&Row) -> Option<String> + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let row = || rows.get(next.fetch_add(1, Ordering::Relaxed));
        std::iter::from_fn(row).filter_map(|row| test(row)).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn each_row_passes_for_a_right_init_and_fails_for_a_wrong_init() {
    if !is_possible() {
        return;
    }
    let rows: Vec<_> = ROWS.iter().collect();
    let wrong = of_each(&rows, |row| {
        let result = |fault| {
            let option = format!("--row={}", row.name);
            judge(&[&option], &init_with(fault, row)).remove(row.name).unwrap()
        };
        let (right, broken) = (result("none"), result(row.name));
        let is_good = right.0 == "pass" && broken.0 == "fail";
        (!is_good).then(|| {
            format!("{}: {right:?} for a right init, {broken:?} for its mistake", row.name)
        })
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn published_inits_miss_the_rows_of_the_table() {
    // The rows that each init misses. All others pass.
    let inits: [(&[&str], &[&str]); 2] = [
        (&["/usr/bin/tini", "--"], &["closed-descriptors", "idle", "survivor-term", "term-group"]),
        (
            &["/usr/bin/catatonit", "--"],
            &["no-program", "signal-mask", "survivor-term", "term-group"],
        ),
    ];
    if !is_possible() {
        return;
    }
    for (init, missed) in inits.into_iter().filter(|(init, _)| Path::new(init[0]).exists()) {
        let results = judge(&[], init);
        let failed: Vec<_> = results.iter().filter(|(_, (result, _))| result != "pass").collect();
        let names: Vec<_> = failed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, missed, "{init:?}: {failed:?}");
    }
}

#[test]
fn rows_are_judged_from_below_where_an_init_is_above() {
    if !is_possible() {
        return;
    }
    let program = env!("CARGO_BIN_EXE_pid1-probe");
    let unshare = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let run =
        |command: &[&str]| Command::new("unshare").args(unshare).args(command).output().unwrap();
    let init = init_with("none", &ROWS[0]);
    // The descriptors of this test stay out of the namespace.
    let clean = "import os, sys; os.closerange(3, 4096); os.execvp(sys.argv[1], sys.argv[1:])";
    let below = run(&["/usr/bin/python3", "-c", clean, init[0], init[1], program]);
    let said = String::from_utf8_lossy(&below.stdout);
    assert!(said.starts_with("TAP version 14\n1..5\nok 1 - double-fork\n"), "{said}");
    assert_eq!(below.status.code(), Some(0), "{said}");
    let own = run(&[program]);
    let said = String::from_utf8_lossy(&own.stderr);
    assert!(said.contains("itself is PID 1 here"), "{said}");
    assert_eq!(own.status.code(), Some(2));
    let shell = run(&["sh", "-c", r#""$0"; exit $?"#, program]);
    // The shell is PID 1, and an init, although a bad one.
    assert!(String::from_utf8_lossy(&shell.stdout).starts_with("TAP version 14\n"));
}
