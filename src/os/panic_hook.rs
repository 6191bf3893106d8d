//! The end that must not happen: drainit itself panics. It is said, the processes are brought down, and the exit code is 70.
//! So is it where the kernel refuses what drainit needs to go on.
//!
//! Everything happens inside the panic hook, because nothing of what follows can be trusted: a release build aborts after
//! the hook, and an abort of PID 1 shows as 139 and takes all processes down without a word.

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::os::reap::{Reaped, reap_next};
use crate::os::stdio::{Stream, say};
use crate::os::sweep::Sweep;
use crate::os::{clock, sys, termination_log};
use crate::types::{AFTER_KILL, Signal, exit_code};

/// What processes get between TERM and KILL. There is no order here, and no drain.
const MOMENT: Duration = Duration::from_secs(2);
/// The pause between two looks at what is still alive.
const PAUSE: Duration = Duration::from_millis(10);

/// A panic is being taken care of.
static FAILING: AtomicBool = AtomicBool::new(false);

/// Takes care of panics from now on, on every thread.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        // Another thread that panics meanwhile must not get in the way, nor abort before this is over.
        while FAILING.swap(true, Ordering::Relaxed) {
            std::thread::park();
        }
        tell(info);
        stop_all();
        sys::exit_now(exit_code::SOFTWARE);
    }));
}

/// Does not return while a panic of another thread is being taken care of: what that stops must not
/// be started again.
pub(crate) fn wait_if_failing() {
    while FAILING.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// Stops everything below drainit, where drainit itself cannot go on: TERM, a moment, KILL.
pub(crate) fn stop_all() {
    bring_down(Signal::TERM, MOMENT);
    bring_down(Signal::KILL, AFTER_KILL);
}

/// Not through the output's queues, which may be what has failed.
fn tell(info: &PanicHookInfo<'_>) {
    let text = format!(
        "[drainit] error: drainit itself has failed, which is a bug; all processes are stopped. {info}\n"
    );
    say(Stream::Stderr, &text);
    termination_log::write(&text);
}

/// Signals everything below drainit, and waits until nothing is left, at most for `within`.
fn bring_down(signal: Signal, within: Duration) {
    let mut sweep = Sweep::new(signal);
    sweep.look();
    let end = clock::now() + within;
    loop {
        match reap_next() {
            // Orphans may come as fast as they are reaped.
            Ok(Reaped::Child(..)) if clock::now() < end => {}
            Ok(Reaped::NoneNow) if clock::now() < end => {
                std::thread::sleep(PAUSE);
                sweep.look();
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

    /// The test binary once more, with a child of its own, and then a panic.
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
