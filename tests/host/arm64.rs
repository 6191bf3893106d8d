//! Tests the static binary for arm64 with an emulator.
#![cfg(target_arch = "x86_64")]

use crate::support::fake_admin::Admin;
use crate::support::*;

/// Returns the path where `make static ARCH=aarch64` leaves the binary.
fn binary() -> PathBuf {
    checkout().join("target/static/aarch64/drainit")
}

/// Returns a rig with drainit as PID 1 of a namespace under the emulator. Returns `None` if the
/// namespace, the emulator or the binary is missing; the test is then skipped.
fn rig() -> Option<Rig> {
    let drainit = binary();
    let emulator = PathBuf::from("/usr/bin/qemu-aarch64-static");
    // Without Rust's standard library for arm64 there is no binary to test, not even in CI.
    if !drainit.exists()
        && let Ok(reason) = std::fs::read_to_string(drainit.with_file_name("missing"))
    {
        skip(&format!("the binary for arm64: {}", reason.trim()));
        return None;
    }
    let missing = [&drainit, &emulator].into_iter().find(|path| !path.exists());
    let possible = missing.map_or(Ok(()), |path| Err(format!("no {}", path.display())));
    skip_unless(possible).then(Rig::new)?.map(|rig| rig.emulated(emulator, drainit))
}

#[test]
fn a_graph_is_started_drained_and_stopped() {
    let admin = Admin::tcp(2);
    let Some(rig) = rig() else { return };
    let drainit = rig.start_ready(&format!(
        "
processes:
  base:
    command: [CHILD, base, print=hello, 'storm=100', unix=DIR/base]
    readiness: {{unix: DIR/base}}
    log: {{prefix: base}}
  router:
    command: [CHILD, router]
    depends_on: [base]
    drain: {{envoy: {{admin: 'http://{}', time: 20s, min: 0s}}}}
",
        admin.address()
    ));
    drainit.wait_for_start(&["base", "router"]);
    drainit.signal(Signal::SIGTERM);
    admin.wait_for("POST /healthcheck/fail");
    admin.set_connections(0);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_stopped_in_order(&["router", "base"]).assert_nothing_left();
    ended.assert_line(r"^\[base\] hello$");
}

#[test]
fn the_binary_is_a_static_pie_with_full_relro() {
    if rig().is_some() {
        elf::assert_hardened(&binary());
    }
}
