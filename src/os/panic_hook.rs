//! Handles a panic of drainit itself: reports it, stops all processes and exits with 70.
//!
//! All of it happens inside the panic hook, because a release build aborts after it. An abort of
//! PID 1 shows as exit code 139, and kills all processes without a message.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::os::reap::{Reaped, reap_next};
use crate::os::stdio::say;
use crate::os::sweep::Sweep;
use crate::os::{clock, sys, termination_log};
use crate::types::{AFTER_KILL, Signal, Stream, exit_code};

/// The time between TERM and KILL. There is no order here, and no drain.
const STOP_TIME: Duration = Duration::from_secs(2);
/// The pause between two scans for living processes.
const PAUSE: Duration = Duration::from_millis(10);

/// A panic is being handled.
static FAILING: AtomicBool = AtomicBool::new(false);

/// Handles panics from now on, on every thread.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        // Another thread that panics meanwhile must neither interfere nor abort before this is
        // over.
        while FAILING.swap(true, Ordering::Relaxed) {
            std::thread::park();
        }
        report(info);
        stop_all();
        sys::exit_now(exit_code::SOFTWARE);
    }));
}

/// Does not return while a panic of another thread is being handled: the processes that it stops
/// must not be restarted.
pub(crate) fn wait_if_failing() {
    while FAILING.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// Stops all descendants where drainit cannot go on: TERM, then KILL after [`STOP_TIME`].
pub(crate) fn stop_all() {
    bring_down(Signal::TERM, STOP_TIME);
    bring_down(Signal::KILL, AFTER_KILL);
}

/// Writes directly, because the output queues may be what has failed.
fn report(info: &PanicHookInfo<'_>) {
    let text = format!(
        "[drainit] error: drainit itself has failed, which is a bug; all processes are stopped. {info}\n"
    );
    say(Stream::Stderr, &text);
    termination_log::write(&text);
}

/// Signals all descendants, and waits at most `within` until none is left.
fn bring_down(signal: Signal, within: Duration) {
    let mut sweep = Sweep::new(signal);
    sweep.scan();
    let end = clock::now() + within;
    loop {
        match reap_next() {
            // Orphans may arrive as fast as they are reaped.
            Ok(Reaped::Child(..)) if clock::now() < end => {}
            Ok(Reaped::NoneNow) if clock::now() < end => {
                std::thread::sleep(PAUSE);
                sweep.scan();
            }
            _ => return,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::zombie_processes)]
mod tests {
    use super::*;
    use std::io;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    const MARK: &str = "DRAINIT_TEST_PANIC";

    /// Runs the test binary again, which starts children and panics.
    #[test]
    fn a_panic_brings_everything_down_and_is_70() {
        if std::env::var_os(MARK).is_some() {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            install();
            let script = "trap 'echo told; exit 0' TERM; echo up; while :; do sleep 0.01; done";
            let mut child = Command::new("sh");
            child.args(["-c", script]).stdout(io::stderr());
            let _child = child.spawn().unwrap();
            let stubborn = "trap '' TERM; setsid sleep 60 >/dev/null 2>&1 & echo daemon $!";
            Command::new("sh").args(["-c", stubborn]).stdout(io::stderr()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(300));
            panic!("on purpose");
        }
        let name = "os::panic_hook::tests::a_panic_brings_everything_down_and_is_70";
        #[allow(clippy::disallowed_methods)]
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(MARK, "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(70), "{:?}: {said}", output.status.signal());
        assert!(said.contains("which is a bug"), "{said}");
        assert!(said.contains("on purpose") && said.contains("told"), "{said}");
        let daemon = said.lines().find_map(|line| line.strip_prefix("daemon ")).unwrap();
        assert!(!std::path::Path::new("/proc").join(daemon).exists(), "the daemon is left");
    }
}
