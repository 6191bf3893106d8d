//! Tests the pages, manifests and rules of the docs: links lead somewhere, configs pass, and each
//! promise has a test.

mod known_programs;
mod logs;
mod losses;
mod manifests;
mod pages;
mod prometheus;
mod recipes;
mod workflow;

use crate::support::*;

/// The output of a script beside this file. `tool` is the directory with the YAML library that the
/// script needs.
fn script(tool: &Path, name: &str, files: &[PathBuf]) -> Vec<u8> {
    let mut command = Command::new("python3");
    command.arg(checkout().join("tests/docs").join(name)).args(files).env("PYTHONPATH", tool);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{files:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
