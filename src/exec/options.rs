//! The options of `exec`.

use std::ffi::OsString;
use std::time::Duration;

use crate::exec::rewrite::Rewrites;
use crate::types::{Signal, exit_code};

/// The options of `exec`, without its drain.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub command: Vec<OsString>,
    /// Signals go to the whole process group of the command.
    pub group: bool,
    pub rewrites: Rewrites,
    /// Exit codes of the command that become 0.
    pub remap_exit: Vec<u8>,
    /// The signal to drainit when its parent dies.
    pub parent_death_signal: Option<Signal>,
    pub stop_signals: Vec<Signal>,
    /// The time from the stop signal to KILL, for the command and what is left of its process
    /// group.
    pub grace_period: Option<Duration>,
    /// drainit inherits orphans although it is not PID 1.
    pub subreaper: bool,
    pub verbose: bool,
}

impl ExecOptions {
    /// A command with the default options.
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            group: false,
            rewrites: Rewrites::default(),
            remap_exit: Vec::new(),
            parent_death_signal: None,
            stop_signals: vec![Signal::TERM, Signal::INT, Signal::QUIT],
            grace_period: None,
            subreaper: true,
            verbose: false,
        }
    }

    /// As tini and dumb-init have it: every signal but CHLD is just forwarded.
    pub fn forwarding_all() -> Self {
        let mut options = Self::new(Vec::new());
        options.stop_signals.clear();
        options.subreaper = false;
        options.rewrites.set(Signal::CHLD, None);
        options
    }

    /// Whether this signal stops the command: one that is dropped begins nothing.
    pub fn stops(&self, signal: Signal) -> bool {
        self.stop_signals.contains(&signal) && self.rewrites.of(signal).is_some()
    }

    pub(crate) fn code(&self, code: u8) -> u8 {
        if self.remap_exit.contains(&code) { exit_code::OK } else { code }
    }
}
