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
use nix::unistd::{ForkResult, fork, getpid, getppid, pipe, read, setsid};

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
    let status = again([name, "detach"].into_iter().chain(steps)).status().unwrap();
    assert!(status.success());
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
#[allow(unsafe_code)] // no safe function forks, and 2,000 execs would take seconds
pub(crate) fn storm(count: u32) {
    // SAFETY: the forked processes only close, read, fork, write and `_exit`.
    let parent = unsafe { fork() }.unwrap();
    if let ForkResult::Parent { child } = parent {
        waitpid(child, None).unwrap();
        return;
    }
    let (end, held) = pipe().unwrap_or_else(|_| quit());
    for _ in 0..count {
        // SAFETY: as above.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                drop(held);
                let _ = read(&end, &mut [0]);
                quit();
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(_) => break,
        }
    }
    quit();
}

/// How many orphans run at the same time, not counting zombies.
const CHAINS: u32 = 4;

/// Leaves `count` orphans without a pause: each forks the next orphan and ends. Records that the
/// torrent has begun, and waits until the last one has ended.
#[allow(unsafe_code)] // as above
pub(crate) fn torrent(me: &Me, count: u32) {
    let (end, held) = pipe().unwrap();
    for _ in 0..CHAINS {
        // SAFETY: the forked processes only set a disposition, fork, close and `_exit`.
        if let ForkResult::Child = unsafe { fork() }.unwrap() {
            // SAFETY: the default disposition runs no code.
            let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigDfl) };
            for _ in 0..count / CHAINS {
                // SAFETY: as above.
                match unsafe { fork() } {
                    Ok(ForkResult::Child) => {}
                    // A failed fork also ends the chain here, and the test then fails.
                    _ => quit(),
                }
            }
            quit();
        }
    }
    drop(held);
    me.note("torrent begins");
    // The read ends when the last process has closed the pipe.
    let _ = read(&end, &mut [0]);
}

/// Leaves `count` orphans that wait for SIGTERM, each in its own session.
#[allow(unsafe_code)] // as above
pub(crate) fn horde(count: u32) {
    // SAFETY: the forked processes only set a disposition, fork, sleep and `_exit`.
    if let ForkResult::Parent { child } = unsafe { fork() }.unwrap() {
        waitpid(child, None).unwrap();
        return;
    }
    // SAFETY: the default disposition runs no code.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigDfl) };
    for _ in 0..count {
        // SAFETY: as above.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                let _ = setsid();
                sleep(LONGEST_LIFE);
                quit();
            }
            Ok(ForkResult::Parent { .. }) => {}
            Err(_) => break,
        }
    }
    quit();
}

/// Leaves a chain of orphans, each of which forks its successor and ends. Each orphan lives for the
/// given microseconds, in its own session, and ignores SIGTERM. While an orphan lives, `path` is
/// locked.
#[allow(unsafe_code)] // as above
pub(crate) fn relay(micros: u64, path: &str) {
    let lock = Flock::lock(File::create(path).unwrap(), FlockArg::LockExclusiveNonblock).unwrap();
    // The lock is forgotten, so that the first process that ends does not unlock the file.
    std::mem::forget(lock);
    // SAFETY: the forked processes only set a disposition, sleep, fork and `_exit`.
    if let ForkResult::Parent { child } = unsafe { fork() }.unwrap() {
        waitpid(child, None).unwrap();
        return;
    }
    // SAFETY: ignoring a signal runs no code.
    let _ = unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) };
    let end = Instant::now() + LONGEST_LIFE;
    while Instant::now() < end {
        // SAFETY: as above.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {}
            _ => quit(),
        }
        let _ = setsid();
        sleep(Duration::from_micros(micros));
    }
    quit();
}

#[allow(unsafe_code)]
fn quit() -> ! {
    // SAFETY: ends the process without the exit handlers of its parent.
    unsafe { nix::libc::_exit(0) }
}
