//! Handles a panic of drainit itself, and a failure to get memory: reports the failure, stops all
//! processes and exits with 70.
//!
//! All this happens inside the panic hook or the allocator, because a release build of drainit
//! aborts as soon as they return. An abort of PID 1 kills all processes without a message, and
//! shows as exit code 139.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::unistd::gettid;

use crate::reap::{Reaped, reap_next};
use crate::stdio::say;
use crate::sweep::Sweep;
use crate::{clock, sys, termination_log};
use drainit_core::types::{AFTER_KILL, Signal, Stream, exit_code};

/// The time between SIGTERM and SIGKILL. drainit stops all processes at the same time, without a
/// drain.
const STOP_TIME: Duration = Duration::from_secs(2);
/// The pause between two scans for living processes.
const PAUSE: Duration = Duration::from_millis(10);

/// The bytes that the report and the scans of `/proc` may need when there is no memory left. The
/// bytes take only address space, because nothing is ever written to them.
const RESERVE: usize = 1 << 20;
static RESERVED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// The id of the thread that handles a failure, or 0.
static FAILING: AtomicI32 = AtomicI32::new(0);

/// Handles panics on every thread from now on, and reserves memory for `out_of_memory`.
pub fn install() {
    handle_panics();
    keep_memory();
}

/// Reserves memory that `out_of_memory` needs for its report.
pub fn keep_memory() {
    let reserve = Vec::with_capacity(RESERVE);
    if let Ok(mut reserved) = RESERVED.lock() {
        *reserved = reserve;
    }
}

/// Handles panics on every thread from now on.
pub fn handle_panics() {
    std::panic::set_hook(Box::new(|info| {
        if begin() {
            report(&format!(
                "drainit itself has failed, which is a bug; all processes are stopped. {info}"
            ));
            stop_all();
        }
        sys::exit_now(exit_code::SOFTWARE);
    }));
}

/// Handles a refused allocation. Returns only if this thread already handles a failure; in this
/// case, the abort follows.
pub(super) fn out_of_memory(size: usize) {
    if !begin() {
        return;
    }
    if let Ok(mut reserved) = RESERVED.lock() {
        *reserved = Vec::new();
    }
    report(&format!(
        "drainit is out of memory (it asked for {size} bytes); all processes are stopped"
    ));
    stop_all();
    sys::exit_now(exit_code::SOFTWARE);
}

/// Returns whether this thread must handle a failure now; `false` if this thread already handles a
/// failure. If another thread handles a failure, this thread waits here for ever. The exit or abort
/// of this thread would also end the other thread.
fn begin() -> bool {
    let own = gettid().as_raw();
    let first = FAILING.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
    if first.is_err_and(|other| other != own) {
        wait_if_failing();
    }
    first.is_ok()
}

/// Blocks for ever if another thread handles a failure: this thread must not restart the processes
/// that the other thread stops.
pub fn wait_if_failing() {
    while FAILING.load(Ordering::Relaxed) != 0 {
        std::thread::park();
    }
}

/// Stops all descendants after a failure of drainit itself: sends SIGTERM, and SIGKILL after
/// [`STOP_TIME`].
pub fn stop_all() {
    bring_down(Signal::TERM, STOP_TIME);
    bring_down(Signal::KILL, AFTER_KILL);
}

/// Writes the message directly, because the failure may be in the output queues.
fn report(what: &str) {
    let text = format!("[drainit] error: {what}\n");
    say(Stream::Stderr, &text);
    termination_log::write(&text, termination_log::LONGEST);
}

/// Signals all descendants, and waits at most `within` until none is left.
fn bring_down(signal: Signal, within: Duration) {
    let mut sweep = Sweep::new(signal);
    let end = clock::now() + within;
    let is_over = || clock::now() >= end;
    sweep.scan(&is_over);
    loop {
        match reap_next() {
            // Orphans may arrive as fast as drainit reaps them, so this arm also checks the time.
            Ok(Reaped::Child(..)) if clock::now() < end => {}
            Ok(Reaped::NoneNow) if clock::now() < end => {
                std::thread::sleep(PAUSE);
                sweep.scan(&is_over);
            }
            _ => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::zombie_processes)]
mod tests {
    use super::*;
    use crate::testing::isolated::end_of_own_process;
    use std::io::Read;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    /// Runs the test binary again, which starts children and panics.
    // holds: S124, S204
    #[test]
    fn panic_stops_all_processes_and_exits_with_70() {
        let output = end_of_own_process("", |_| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            install();
            let script = "trap 'echo told >&2; exit 0' TERM; echo; while :; do sleep 0.01; done";
            let stubborn =
                "trap '' TERM; setsid sleep 60 >/dev/null 2>&1 & echo daemon $! >&2; echo";
            let _children = [script, stubborn].map(|script| {
                let mut child = Command::new("sh");
                let mut child = child.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
                // The shell writes an empty line once it has set its trap.
                child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
                child
            });
            panic!("on purpose");
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{:?}: {said}", output.status.signal());
        assert!(said.contains("which is a bug"), "{said}");
        assert!(said.contains("on purpose") && said.contains("told"), "{said}");
        let daemon = said.lines().find_map(|line| line.strip_prefix("daemon "));
        let daemon = std::path::Path::new("/proc").join(daemon.unwrap());
        // The init of the machine reaps it. It would live for a minute.
        let ended = clock::now();
        while daemon.exists() {
            assert!(clock::now().since(ended) < Duration::from_secs(20), "the daemon is left");
            std::thread::sleep(PAUSE);
        }
    }
}
