//! Prepares drainit's own process: makes it a subreaper, and sets close-on-exec on the descriptors
//! that drainit has inherited, so that children do not get these descriptors.
//!
//! If descriptor 0, 1 or 2 is closed at the start, Rust opens `/dev/null` in its place before
//! `main`.

use std::fs::DirEntry;
use std::io;
use std::os::fd::RawFd;

use crate::{is_own_lack, sys};
use drainit_core::types::Signal;

/// The first descriptor after standard input, output and error.
const FIRST_INHERITED: RawFd = 3;

/// The default of `fs.nr_open`: the number of every descriptor is below this limit. System calls
/// for all these numbers take less than 0.1 s together.
const MOST_DESCRIPTORS: RawFd = 1 << 20;

/// Prepares drainit's own process, except for its signals. Call this once, before drainit has a
/// child.
///
/// # Errors
/// Fails if drainit cannot become a subreaper, and so would lose orphans.
pub fn prepare() -> io::Result<()> {
    keep_descriptors_from_children(0);
    become_subreaper()
}

/// Makes drainit the new parent of its descendants whose parent ends.
///
/// # Errors
/// Fails if the kernel does not support subreapers (before Linux 3.4).
pub fn become_subreaper() -> io::Result<()> {
    if std::process::id() != 1 {
        // PID 1 inherits orphans anyway. Any other process would lose its orphans to the nearest
        // subreaper above it, or to PID 1.
        nix::sys::prctl::set_child_subreaper(true).map_err(|error| {
            refused("prctl(PR_SET_CHILD_SUBREAPER)", error.into(), SUBREAPER_REMEDY)
        })?;
    }
    Ok(())
}

/// The need for a subreaper, and how to do without.
const SUBREAPER_REMEDY: &str = "a drainit that is not PID 1 needs it to reap orphans; run drainit as \
                                PID 1, or use `drainit exec --no-subreaper` without a drain";

/// The calls by which tokio's event loop waits.
pub const RUNTIME_CALLS: &str = "epoll_create1 or eventfd2";
/// The need for [`RUNTIME_CALLS`].
pub const RUNTIME_REMEDY: &str =
    "drainit waits for events by them; permit them in the seccomp profile";

/// The error of a call that drainit itself needs. Its text names the call, what needs the call, and
/// how to do without. If drainit lacks a descriptor or memory, the text leaves out the remedy.
pub fn refused(call: &str, error: io::Error, remedy: &str) -> io::Error {
    let remedy = if is_own_lack(&error) { String::new() } else { format!("; {remedy}") };
    io::Error::new(error.kind(), format!("the kernel refuses {call}: {error}{remedy}"))
}

/// Lets the kernel send this signal to drainit when drainit's parent ends.
///
/// # Errors
/// Fails if the kernel forbids it.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    let remedy = "only the signal for the end of drainit's parent needs it; leave out that option";
    sys::set_parent_death_signal(signal)
        .map_err(|error| refused("prctl(PR_SET_PDEATHSIG)", error, remedy))
}

pub fn is_subreaper() -> bool {
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// Sets close-on-exec on the descriptors that drainit has inherited. Leaves out 0, 1, 2 and the
/// next `but` numbers, which are for the child. drainit opens its own descriptors close-on-exec
/// anyway.
pub fn keep_descriptors_from_children(but: u16) {
    let first = FIRST_INHERITED + RawFd::from(but);
    if sys::close_on_exec_from(first.unsigned_abs()).is_ok() {
        return;
    }
    // The call fails with ENOSYS or EINVAL on an old kernel, and with EPERM under an old seccomp
    // profile.
    keep_each_from_children(first, "/proc/self/fd");
}

/// Sets close-on-exec on every open descriptor from `first` on, with one system call for each.
/// `listing` is the directory that lists the descriptors.
fn keep_each_from_children(first: RawFd, listing: &str) {
    // The only possible error is that the descriptor is not open.
    let keep = |fd| drop(sys::close_on_exec(fd));
    match std::fs::read_dir(listing) {
        Ok(entries) => {
            let name = |entry: DirEntry| entry.file_name().to_str()?.parse().ok();
            entries.flatten().filter_map(name).filter(|fd| *fd >= first).for_each(keep);
        }
        // Without `/proc`, nothing lists the descriptors, so drainit tries every possible number.
        Err(_) => (first..MOST_DESCRIPTORS).for_each(keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::testing::isolated::in_own_process;
    use nix::fcntl::{FcntlArg, fcntl};
    use std::fs::File;
    use std::os::fd::AsRawFd;

    // holds: C150
    #[test]
    fn an_old_kernel_marks_each_descriptor() {
        in_own_process(|| {
            for listing in ["/proc/self/fd", "/no/proc"] {
                let file = File::open("/").unwrap();
                let [below, first] = [(); 2].map(|()| nix::unistd::dup(&file).unwrap());
                keep_each_from_children(first.as_raw_fd(), listing);
                let is_kept = |fd| fcntl(fd, FcntlArg::F_GETFD).unwrap() == 1;
                assert!(!is_kept(&below) && is_kept(&first), "{listing}");
            }
        });
    }
}
