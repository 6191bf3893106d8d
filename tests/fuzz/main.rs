//! The targets of `drainit::fuzzing` under libFuzzer; `DRAINIT_FUZZ_TARGET` names one.
#![no_main]

use std::sync::OnceLock;

use drainit::fuzzing::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<Target> = OnceLock::new();

fn target() -> Target {
    let name = std::env::var("DRAINIT_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    let names = TARGETS.map(|(known, _)| known).join(", ");
    found.unwrap_or_else(|| panic!("DRAINIT_FUZZ_TARGET is one of {names}")).1
}

fuzz_target!(|bytes: &[u8]| TARGET.get_or_init(target)(bytes));
