//! A conformance suite for inits. `docs/probe.md` says how to use it.

use std::process::exit;

fn main() {
    exit(pid1_probe::main());
}
