//! The only module with `unsafe`: system calls that std and nix do not offer, or offer only without
//! real-time signals. Each function is memory safe. The caller is responsible for the effect on
//! other processes.

#![allow(unsafe_code)]

pub mod allocator;
mod child;
mod file_rights;

use std::borrow::Borrow;
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) use crate::sys::child::{ChildLimit, ChildPlan, NewUser, PendingExec, start};
pub use crate::sys::child::{ChildPlace, ChildSetup};
pub(crate) use crate::sys::file_rights::{
    has_acl, may_access, permitted_capabilities, take_file_rights,
};
#[cfg(test)]
pub(crate) use crate::sys::file_rights::{keep_capabilities, set_acl};
use drainit_core::types::Signal;

/// Converts a result of -1 into the error in `errno`.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `waitpid(-1, WNOHANG)`: a child that has ended, or `None` if all children still run; `ECHILD`
/// without a child. If a real-time signal has ended the child, nix's `waitpid` would reap the
/// child, but return `EINVAL` and not the pid.
pub(crate) fn wait_any() -> io::Result<Option<(i32, ExitStatus)>> {
    let mut raw = 0;
    // SAFETY: `raw` is a valid, writable c_int for the duration of the call.
    let pid = checked(unsafe { libc::waitpid(-1, &raw mut raw, libc::WNOHANG) })?;
    Ok((pid > 0).then(|| (pid, ExitStatus::from_raw(raw))))
}

/// The signals that are blocked and pending.
pub fn pending_signals() -> SignalSet {
    let mut pending: SignalSet = 0;
    // SAFETY: `pending` is valid to write for the duration of the call, and as large as the last
    // argument says. The kernel documents no other error than a bad address.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, SET_BYTES) };
    pending
}

/// `kill(2)`, with its special meanings of 0, -1 and other negative targets.
pub fn kill(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: takes two integers and no memory of ours.
    checked(unsafe { libc::kill(target, signal.number()) }).map(drop)
}

/// Lets a socket receive only the messages that this program of the classic BPF accepts.
pub(crate) fn attach_filter(
    socket: BorrowedFd,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let Ok(len) = program.len().try_into() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let filter = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: `filter` is valid for the duration of the call, and describes `program` exactly. The
    // kernel checks and copies the program, and keeps no pointer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    checked(result).map(drop)
}

/// A descriptor that keeps referring to a process after the kernel has reused its pid (Linux 5.3).
pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = checked(RawFd::try_from(result).unwrap_or(-1))?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `kill(2)` for a descriptor made by [`pidfd_open`] (Linux 5.1).
pub(crate) fn pidfd_send_signal(process: &OwnedFd, signal: Signal) -> io::Result<()> {
    let no_info: *const libc::siginfo_t = ptr::null();
    // SAFETY: the descriptor is open, and the null pointer asks the kernel to fill in the siginfo
    // as kill(2) does.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal.number(), no_info, 0)
    };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Sets close-on-exec on every descriptor from `first` on, in one call (Linux 5.11).
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: takes three integers. The descriptors stay open; the call changes only what happens
    // to them at an exec.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Sets close-on-exec on one descriptor; `EBADF` if it is not open.
pub(crate) fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: takes three integers; the descriptor stays open. FD_CLOEXEC is the only flag there
    // is.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Restores the default disposition of an ignored signal. Returns `false` if it was not ignored.
pub(crate) fn stop_ignoring(signal: i32) -> io::Result<bool> {
    // SAFETY: all zeroes is a valid sigaction: SIG_DFL, an empty mask, no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `action` is valid and writable; the null pointer leaves the disposition as it is.
    checked(unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) })?;
    if action.sa_sigaction != libc::SIG_IGN {
        return Ok(false);
    }
    action.sa_sigaction = libc::SIG_DFL;
    // SAFETY: `action` is a valid sigaction with the default disposition, which runs no code of
    // ours.
    checked(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) })?;
    Ok(true)
}

/// The width of the terminal on stderr (without `is_stderr`: on stdout); `None` if this stream is
/// not a terminal, or has no known width.
pub fn terminal_width(is_stderr: bool) -> Option<usize> {
    Some(terminal_size(is_stderr)?.0)
}

/// The columns and rows of the terminal on stderr (without `is_stderr`: on stdout); `None` if this
/// stream is not a terminal, or has no known width.
pub fn terminal_size(is_stderr: bool) -> Option<(usize, usize)> {
    let stream = if is_stderr { libc::STDERR_FILENO } else { libc::STDOUT_FILENO };
    // SAFETY: all zeroes is a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: `size` is valid and writable for the duration of the call.
    let result = unsafe { libc::ioctl(stream, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Sends a signal to the calling thread only.
#[cfg(test)]
pub fn raise(signal: Signal) -> io::Result<()> {
    // SAFETY: takes integers.
    let result = unsafe {
        let (process, thread) = (libc::getpid(), libc::gettid());
        libc::syscall(libc::SYS_tgkill, process, thread, signal.number())
    };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Sends a signal to the calling thread only, with this `si_code` and no other data.
#[cfg(test)]
pub(crate) fn raise_with(signal: Signal, code: i32) -> io::Result<()> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    (info.si_signo, info.si_code) = (signal.number(), code);
    // SAFETY: `info` is valid to read for the duration of the call; the rest are integers.
    let result = unsafe {
        let (process, thread, call) = (libc::getpid(), libc::gettid(), libc::SYS_rt_tgsigqueueinfo);
        libc::syscall(call, process, thread, signal.number(), &raw const info)
    };
    checked(libc::c_int::try_from(result).unwrap_or(-1)).map(drop)
}

/// Ignores a signal, as a careless parent might.
#[cfg(test)]
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: ignoring a signal runs no code of ours.
    let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Registers a descriptor with tokio. Call it inside a runtime with I/O enabled.
pub fn watch<D: AsRawFd + Borrow<OwnedFd>>(
    descriptor: D,
    interest: Interest,
) -> io::Result<AsyncFd<D>> {
    // SAFETY: an OwnedFd keeps its descriptor open until the OwnedFd is dropped. The AsyncFd
    // deregisters the descriptor before this drop.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(watched?)
}

/// The kernel's set of signals: bit `n - 1` is signal `n`. The functions of the C libraries leave
/// out the signals that they reserve (32, 33 and under musl 34); the functions here do not.
pub type SignalSet = u64;

/// `sizeof(sigset_t)` of the kernel.
const SET_BYTES: usize = size_of::<SignalSet>();

/// Replaces the signal mask of the calling thread, and returns the old mask.
pub(crate) fn set_mask(mask: SignalSet) -> io::Result<SignalSet> {
    let mut before: SignalSet = 0;
    // SAFETY: both sets are valid for the duration of the call, and as long as the last argument
    // says.
    let result = unsafe {
        let how = libc::SIG_SETMASK;
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const mask, &raw mut before, SET_BYTES)
    };
    checked(libc::c_int::try_from(result).unwrap_or(-1))?;
    Ok(before)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub number: i32,
    pub sender: Sender<(i32, u32)>,
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender<P> {
    /// The kernel itself, for example because of a terminal or the end of a child.
    Kernel,
    /// The process whose pid and real user id the kernel has noted.
    Process(P),
    /// A process that has written the pid and the user id itself (rt_sigqueueinfo(2)), so that they
    /// prove nothing.
    Unproven,
}

/// The sender of a signal with this `si_code`. A process that signals another process may choose
/// any negative code except `SI_TKILL`. With such a code, the process also chooses the pid.
fn sender<P>(code: i32, process: impl FnOnce() -> P) -> Sender<P> {
    match code {
        libc::SI_USER | libc::SI_TKILL => Sender::Process(process()),
        ..0 => Sender::Unproven,
        _ => Sender::Kernel,
    }
}

/// Duplicates a descriptor to the lowest free number from `least` on. The duplicate is
/// close-on-exec.
pub fn duplicate(descriptor: &impl AsRawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes integers.
    let fd = unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) };
    let fd = checked(fd)?;
    // SAFETY: the kernel has just opened this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor that is readable while a signal of `set` is pending. These signals must be blocked.
pub(crate) fn signal_fd(set: SignalSet) -> io::Result<OwnedFd> {
    const NONE_YET: RawFd = -1;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: the set is valid to read, and as long as the third argument says.
    let result =
        unsafe { libc::syscall(libc::SYS_signalfd4, NONE_YET, &raw const set, SET_BYTES, flags) };
    let fd = checked(RawFd::try_from(result).unwrap_or(-1))?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes the next signal from a descriptor of [`signal_fd`]; `None` if no signal is pending.
pub(crate) fn read_signal(descriptor: impl AsFd) -> io::Result<Option<Arrived>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
    let length = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is valid to write, for as many bytes as are asked for.
    let read =
        unsafe { libc::read(descriptor.as_fd().as_raw_fd(), info.as_mut_ptr().cast(), length) };
    match checked(libc::c_int::try_from(read).unwrap_or(-1)) {
        Ok(_) => {
            // SAFETY: all zeroes is valid, and the kernel writes whole structures only.
            let info = unsafe { info.assume_init() };
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            let pid = i32::try_from(info.ssi_pid).unwrap_or(0);
            let sender = sender(info.ssi_code, || (pid, info.ssi_uid));
            Ok(Some(Arrived { number, sender }))
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for a signal of `set` and takes it; `None` after `timeout`. These signals must be blocked.
pub(crate) fn wait_signal(
    set: SignalSet,
    timeout: Option<Duration>,
) -> io::Result<Option<Arrived>> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the set and the timeout (or none) are valid to read, and `info` to write, for the
    // duration of the call.
    let result = unsafe {
        let set = &raw const set;
        libc::syscall(libc::SYS_rt_sigtimedwait, set, info.as_mut_ptr(), timeout, SET_BYTES)
    };
    match checked(libc::c_int::try_from(result).unwrap_or(-1)) {
        Ok(number) => {
            // SAFETY: all zeroes is a valid siginfo_t, and the kernel has written to it.
            let info = unsafe { info.assume_init() };
            // SAFETY: the closure is called only for a signal of a process, and for such a signal
            // the kernel fills in both fields.
            let sender = sender(info.si_code, || unsafe { (info.si_pid(), info.si_uid()) });
            Ok(Some(Arrived { number, sender }))
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks the kernel to send `signal` to drainit when drainit's parent dies. nix does not support
/// real-time signals.
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    // SAFETY: takes integers and no memory of ours.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.number()) }).map(drop)
}

/// Gives up the controlling terminal, which must be on stdin. If drainit leads its session, the
/// whole session loses the terminal.
pub(crate) fn detach_terminal() -> io::Result<()> {
    // SAFETY: takes two integers.
    checked(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCNOTTY) }).map(drop)
}

/// The C library's description of a signal, such as `Terminated`.
pub fn describe(signal: Signal) -> String {
    let number = signal.number();
    // SAFETY: the result is null or a string that ends with NUL, and stays valid until the next
    // call on this thread.
    let text = unsafe { libc::strsignal(number).as_ref().map(|text| CStr::from_ptr(text)) };
    text.map_or_else(|| number.to_string(), |text| text.to_string_lossy().into_owned())
}

/// Exits at once: runs no destructors or exit handlers, and does not wait for threads that block in
/// a write.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

#[cfg(test)]
mod tests {
    use nix::pty::{Winsize, openpty};
    use nix::unistd::{dup, dup2_stdout};

    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn width_is_that_of_the_terminal_on_stdout() {
        in_own_process(|| {
            let stdout = dup(io::stdout()).unwrap();
            let widths = [0, 100].map(|ws_col| {
                let size = Winsize { ws_row: 30, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
                let pty = openpty(&size, None).unwrap();
                dup2_stdout(&pty.slave).unwrap();
                terminal_width(false)
            });
            dup2_stdout(&stdout).unwrap();
            assert_eq!((widths, terminal_width(false)), ([None, Some(100)], None));
        });
    }
}
