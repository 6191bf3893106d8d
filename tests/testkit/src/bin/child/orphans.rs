//! Starts children, and grandchildren that become orphans.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe, read, setsid};

use super::{LONGEST_LIFE, Me};
use testkit::event::{Event, LOG_VARIABLE};

/// `NAME,STEP,…`: starts a child in this process group.
pub(crate) fn spawn(what: &str) {
    let words = what.split(',').map(|word| word.replace(';', ","));
    // This process is not an init, so the child may stay a zombie.
    drop(again(words).spawn().unwrap());
    begun(what.split(',').next().unwrap_or_default());
}

/// `NAME,STEP,…`: starts a daemon.
pub(crate) fn daemon(what: &str) {
    let (name, steps) = what.split_once(',').unwrap_or((what, ""));
    let steps = steps.split(',').filter(|step| !step.is_empty());
    assert!(again([name, "detach"].into_iter().chain(steps)).status().unwrap().success());
    begun(name);
}

/// Waits until a process has recorded that it handles signals. Returns at once if there is no event
/// log.
fn begun(name: &str) {
    let Some(log) = std::env::var_os(LOG_VARIABLE) else { return };
    let is_it = |line: &str| {
        Event::parse(line).is_some_and(|event| event.name == name && event.what == "handling")
    };
    let has_begun = || fs::read_to_string(&log).unwrap_or_default().lines().any(is_it);
    // The wait is limited, because the process may be killed before it records its handling.
    (0..10_000).take_while(|_| !has_begun()).for_each(|_| sleep(Duration::from_millis(1)));
}

/// Runs the middle process of a daemon's double fork.
pub(crate) fn detach(name: &str, steps: &[String]) {
    setsid().unwrap();
    let orphaned = format!("orphaned={}", getpid());
    let steps = [name, &orphaned].into_iter().chain(steps.iter().map(String::as_str));
    drop(again(steps).spawn().unwrap());
}

/// Waits until the parent with this PID has ended, so that a daemon is an orphan when it records
/// its start.
pub(crate) fn orphaned(parent: i32) {
    while getppid().as_raw() == parent {
        sleep(Duration::from_millis(1));
    }
}

fn again(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0("child").args(args);
    command
}

/// Leaves `count` orphans, which end as soon as they are orphans.
pub(crate) fn storm(count: u32) {
    leave(|| {
        let Ok((end, held)) = pipe() else { return };
        let mut held = Some(held);
        fork_each(count, || {
            held.take();
            let _ = read(&end, &mut [0]);
        });
    });
}

/// How many orphans run at the same time, not counting zombies.
const CHAINS: u32 = 4;

/// Leaves `count` orphans without a pause: each forks the next orphan and ends. Records that the
/// torrent has begun, and waits until the last one has ended.
pub(crate) fn torrent(me: &Me, count: u32) {
    let (end, held) = pipe().unwrap();
    fork_each(CHAINS, || {
        on_sigterm(SigHandler::SigDfl);
        (0..count / CHAINS).for_each(|_| continue_in_a_child());
    });
    drop(held);
    me.note("torrent begins");
    // The read ends when the last process has closed the pipe.
    let _ = read(&end, &mut [0]);
}

/// Leaves `count` orphans that wait for SIGTERM, each in its own session.
pub(crate) fn horde(count: u32) {
    leave(|| {
        on_sigterm(SigHandler::SigDfl);
        fork_each(count, || {
            let _ = setsid();
            sleep(LONGEST_LIFE);
        });
    });
}

/// Leaves a chain of orphans, each of which forks its successor and ends. Each orphan lives for the
/// given microseconds, in its own session, and ignores SIGTERM. While an orphan lives, `path` is
/// locked.
pub(crate) fn relay(micros: u64, path: &str) {
    let lock = Flock::lock(File::create(path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    // The lock is forgotten, so that the first process that ends does not unlock the file.
    std::mem::forget(lock);
    leave(|| {
        on_sigterm(SigHandler::SigIgn);
        let end = Instant::now() + LONGEST_LIFE;
        while Instant::now() < end {
            continue_in_a_child();
            let _ = setsid();
            sleep(Duration::from_micros(micros));
        }
    });
}

/// Runs `act` in a child, and waits for the child's end. The processes that `act` forks are then
/// orphans.
fn leave(mut act: impl FnMut()) {
    waitpid(forked(&mut act).unwrap(), None).unwrap();
}

/// Runs `act` in each of `count` children, or in fewer if no further fork is possible.
fn fork_each(count: u32, mut act: impl FnMut()) {
    (0..count).map_while(|_| forked(&mut act)).for_each(drop);
}

/// Runs `act` in a child, which then ends. Returns the PID of the child.
#[allow(unsafe_code)] // no safe function forks, and 2,000 execs would take seconds
fn forked(act: &mut impl FnMut()) -> Option<Pid> {
    // SAFETY: the forked processes only close, read, sleep, fork, set a disposition and `_exit`.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => Some(child),
        Ok(ForkResult::Child) => {
            act();
            quit()
        }
        Err(_) => None,
    }
}

/// Forks, and ends this process. The child continues.
#[allow(unsafe_code)] // as above
fn continue_in_a_child() {
    // SAFETY: as above. A failed fork ends the chain here, and the test then fails.
    let Ok(ForkResult::Child) = (unsafe { fork() }) else { quit() };
}

#[allow(unsafe_code)]
fn on_sigterm(handler: SigHandler) {
    // SAFETY: neither the default disposition nor ignoring a signal runs code.
    let _ = unsafe { signal(Signal::SIGTERM, handler) };
}

#[allow(unsafe_code)]
fn quit() -> ! {
    // SAFETY: ends the process without the exit handlers of its parent.
    unsafe { nix::libc::_exit(0) }
}
