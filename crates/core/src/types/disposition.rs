//! The effect of a signal on a process, as far as the kernel shows it.

/// The effect of a signal on a process (the "disposition" of signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The process has no handler for the signal, so the signal ends the process at once.
    Fatal,
    Ignored,
    /// The process has a handler, or blocks the signal and may wait for it, as with sigwait(3).
    Caught,
    /// The process is exiting, and runs none of its code any more.
    Exiting,
}
