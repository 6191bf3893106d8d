//! Runs drainit's column of the fault matrix, `benches/faults`. Its rows for the peers are tried by
//! `make faults` only.

use std::process::{Command, Output};

use testkit::envoy::checkout;

use crate::support::{child, namespace};

fn matrix(options: &[&str]) -> Output {
    let mut python = Command::new("python3");
    python.args(["-B", "benches/faults/main.py"]).args(options).current_dir(checkout());
    python.env("DRAINIT", env!("CARGO_BIN_EXE_drainit")).env("CHILD", child()).output().unwrap()
}

#[test]
fn drainit_passes_every_row() {
    if !nix::unistd::geteuid().is_root() {
        namespace::skip_unless(Err("the fault matrix needs root".to_owned()));
        return;
    }
    if !namespace::is_possible() {
        return;
    }
    let tried = matrix(&["--tool", "drainit"]);
    let said = String::from_utf8_lossy(&tried.stdout);
    let failed: Vec<_> = said.lines().filter(|line| !line.contains(": pass, ")).collect();
    assert!(tried.status.success(), "{failed:#?}\n{}", String::from_utf8_lossy(&tried.stderr));
    assert!(said.lines().count() > 50, "{said}");
}

#[test]
fn the_tests_that_it_names_exist() {
    let tests = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let tests = String::from_utf8_lossy(&tests.stdout).into_owned();
    for name in String::from_utf8_lossy(&matrix(&["--tests"]).stdout).lines() {
        assert!(tests.lines().any(|line| line == format!("{name}: test")), "no test {name}");
    }
}
