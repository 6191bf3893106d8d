//! `watch:` of a process.

use std::path::PathBuf;

use crate::types::Signal;

/// One entry of `watch:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// A file, or a directory with files. It need not exist.
    pub path: PathBuf,
    pub action: WatchAction,
}

/// `action:` of a [`Watch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAction {
    /// The process is replaced as by `drainit restart`.
    Restart,
    /// The config is read again, as by `drainit reload`.
    Reload,
    /// The process gets this signal.
    Signal(Signal),
}
