//! Runs drainit's column of the fault matrix, `tests/faults`. The columns of the peers are run only
//! by `make faults`.

use crate::support::*;

fn matrix(options: &[&str]) -> Command {
    let mut python = Command::new("python3");
    python.args(["-B", "tests/faults/main.py"]).args(options).current_dir(checkout());
    python.env("DRAINIT", env!("CARGO_BIN_EXE_drainit")).env("CHILD", child());
    python
}

#[test]
fn drainit_passes_every_row() {
    if !namespace::is_root_for("the fault matrix") {
        return;
    }
    if !namespace::is_possible() {
        return;
    }
    let tried = matrix(&["--tool", "drainit"]).output().unwrap();
    let said = String::from_utf8_lossy(&tried.stdout);
    let failed: Vec<_> = said.lines().filter(|line| !line.contains(": pass, ")).collect();
    assert!(tried.status.success(), "{failed:#?}\n{}", String::from_utf8_lossy(&tried.stderr));
    assert!(said.lines().count() > 50, "{said}");
}

#[test]
fn the_tests_named_by_the_matrix_exist() {
    let tests = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let tests = String::from_utf8_lossy(&tests.stdout).into_owned();
    let named = matrix(&["--tests"]).output().unwrap();
    let is_simulated = |name: &str| {
        let (file, test) = name.strip_prefix("simulation::")?.split_once("::")?;
        let file = checkout().join(format!("crates/core/tests/simulation/{file}.rs"));
        Some(fs::read_to_string(file).unwrap().contains(&format!("fn {test}()")))
    };
    for name in String::from_utf8_lossy(&named.stdout).lines() {
        let is_here = tests.lines().any(|line| line == format!("{name}: test"));
        assert!(is_here || is_simulated(name) == Some(true), "no test {name}");
    }
}
