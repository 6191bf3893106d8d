//! Kernel primitives: signals, processes, descriptors, clocks. The only code with `unsafe` is in
//! `sys`.

pub mod boot;
pub mod clock;
pub mod descendants;
pub(crate) mod fingerprint;
pub mod held_sockets;
pub(crate) mod inherited;
pub mod kill;
pub mod notify_socket;
pub mod oom;
pub mod panic_hook;
pub mod path_watch;
pub(crate) mod private_socket;
pub mod reap;
pub(crate) mod replace_file;
pub(crate) mod service_manager;
pub mod signal;
pub mod spawn;
pub mod stale_socket;
pub mod stdio;
pub mod sweep;
pub mod sys;
pub mod terminal;
pub mod termination_log;

use std::io;

use nix::errno::Errno;

/// Whether drainit itself had no descriptor or no memory for it.
pub(crate) fn is_own_lack(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS))
}

/// A process id as the kernel counts them.
pub type Pid = i32;
