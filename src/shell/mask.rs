//! The signal mask: drainit's own, and the one it was given, which its children get.
//!
//! drainit blocks TTIN and TTOU for itself: in the background of a terminal with `stty tostop` each line it logs would
//! stop it otherwise. Ignoring them would do as well, but children inherit that; handling them would let the write be
//! repeated for ever. It unblocks everything else, whatever it was started with, so that it can be told to stop.
//!
//! A child inherits the mask of the thread that spawns it, and putting that right after the fork would cost the fast
//! path of `posix_spawn`. So the mask is put back around the spawn, which is two cheap system calls; a signal that
//! arrives in between waits.

use std::io;
use std::sync::OnceLock;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

static GIVEN: OnceLock<SigSet> = OnceLock::new();

/// Sets drainit's own mask, and remembers the one that it was given. Threads started later inherit it.
pub(super) fn take_own() -> io::Result<()> {
    let own: SigSet = [Signal::SIGTTIN, Signal::SIGTTOU].into_iter().collect();
    let given = own.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    GIVEN.get_or_init(|| given);
    Ok(())
}

/// Calls `spawn` under the mask that drainit was given.
pub(super) fn with_given<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some(given) = GIVEN.get() else { return spawn() };
    let own = given.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let spawned = spawn();
    own.thread_set_mask()?;
    spawned
}
