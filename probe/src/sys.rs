//! The only file of the probe with `unsafe`: what std and nix do not offer, or offer only without
//! real-time signals.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

static PIPE_WAS_IGNORED: AtomicBool = AtomicBool::new(false);
static WAS_OPEN: AtomicU8 = AtomicU8::new(0);

/// Runs before Rust's runtime, which ignores SIGPIPE and opens `/dev/null` for the closed ones of
/// the descriptors 0 to 2.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = look_before_main;

extern "C" fn look_before_main() {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes to `old`, which is large enough, and a
    // zeroed `old` is valid.
    let action = unsafe {
        libc::sigaction(libc::SIGPIPE, ptr::null(), old.as_mut_ptr());
        old.assume_init().sa_sigaction
    };
    PIPE_WAS_IGNORED.store(action == libc::SIG_IGN, Ordering::Relaxed);
    for fd in 0..3 {
        // SAFETY: F_GETFD takes no memory and changes nothing.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
            WAS_OPEN.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

/// Whether SIGPIPE was ignored when this program was executed.
pub fn pipe_was_ignored() -> bool {
    PIPE_WAS_IGNORED.load(Ordering::Relaxed)
}

/// Whether this one of the descriptors 0 to 2 was open when this program was executed.
pub fn was_open(fd: u8) -> bool {
    WAS_OPEN.load(Ordering::Relaxed) & (1 << fd) != 0
}

/// `kill(2)`, also with real-time signals, and with 0, which only asks whether the process exists.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two integers and no memory.
    if unsafe { libc::kill(pid, signal) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Changes the size of a terminal, of which the kernel tells the foreground group by SIGWINCH.
pub fn resize(terminal: BorrowedFd, rows: u16, columns: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize, which lives during the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives every signal its default action, as a container runtime does. libc refuses the two that it
/// keeps for itself.
pub fn default_signals() {
    for signal in 1..=64 {
        // SAFETY: no handler is set, so no code of ours runs in one. Rust's runtime needs none up
        // to the exec that follows.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
