//! The options of `exec`.

use std::ffi::OsString;
use std::time::Duration;

use crate::exec::rewrite::Rewrites;
use crate::types::{Signal, exit_code};

/// The options of `exec`, without the options of the drain.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub command: Vec<OsString>,
    /// Whether signals go to the whole process group of the command.
    pub group: bool,
    pub rewrites: Rewrites,
    /// The exit codes of the command that become 0.
    pub remap_exit: Vec<u8>,
    /// The signal that drainit gets when its parent dies, if any.
    pub parent_death_signal: Option<Signal>,
    pub stop_signals: Vec<Signal>,
    /// The time from the stop signal to SIGKILL, for the command and the rest of its process group.
    /// `None` means that drainit waits for the command only, without a limit.
    pub grace_period: Option<Duration>,
    /// Whether drainit inherits orphans although it is not PID 1.
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

    /// The options of tini and dumb-init before their command line is read. Every signal except
    /// SIGCHLD is forwarded, and none counts as a stop signal.
    pub fn forwarding_all() -> Self {
        let mut options = Self::new(Vec::new());
        options.stop_signals.clear();
        options.subreaper = false;
        options.rewrites.set(Signal::CHLD, None);
        options
    }

    /// Whether this signal stops the command. A signal that a rule drops does not stop the command.
    pub fn stops(&self, signal: Signal) -> bool {
        self.stop_signals.contains(&signal) && self.rewrites.of(signal).is_some()
    }

    pub(crate) fn code(&self, code: u8) -> u8 {
        if self.remap_exit.contains(&code) { exit_code::OK } else { code }
    }
}
