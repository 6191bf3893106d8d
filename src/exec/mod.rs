//! `exec`: one process and no config, what people use tini or dumb-init for.
//!
//! There is no runtime, no thread and no timer here: between two signals drainit sleeps in one system call. What comes
//! before that is the start-up time that everybody pays, so it is little.

pub mod event_loop;
mod machine;
pub mod rewrite;
#[cfg(test)]
mod simulation;
pub mod socket_activation;
pub mod with_drain;

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use crate::exec::event_loop::CommandLoop;
use crate::exec::rewrite::Rewrites;
use crate::os::signal::mask;
use crate::os::signal::mask::BlockedSignals;
use crate::os::spawn::SpawnError;
use crate::os::spawn::single::{ChildSetup, Place, start};
use crate::os::stdio::{Stream, say};
use crate::os::terminal::Terminal;
use crate::os::{Pid, boot, panic_hook};
use crate::types::{Signal, exit_code, harmless};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Signals go to the child's whole process group.
    pub group: bool,
    /// What is passed on in the place of which signal.
    pub rewrites: Rewrites,
    /// Exit codes of the child that count as 0.
    pub remap_exit: Vec<u8>,
    /// The signal that comes when the parent of drainit dies.
    pub parent_death_signal: Option<Signal>,
    /// The signals that ask drainit to stop.
    pub stop_signals: Vec<Signal>,
    /// How long the stop may take, and what the child leaves behind.
    pub grace_period: Option<Duration>,
    /// The end is the end of the last descendant.
    pub wait_all: bool,
    /// How long a stop signal is held back.
    pub signal_delay: Duration,
    /// Orphans come to drainit although it is not PID 1.
    pub subreaper: bool,
    /// Everything that happens is said.
    pub verbose: bool,
}

impl ExecOptions {
    /// A command, and otherwise what is usual.
    #[must_use]
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            group: false,
            rewrites: Rewrites::default(),
            remap_exit: Vec::new(),
            parent_death_signal: None,
            stop_signals: vec![Signal::TERM, Signal::INT, Signal::QUIT],
            grace_period: None,
            wait_all: false,
            signal_delay: Duration::ZERO,
            subreaper: true,
            verbose: false,
        }
    }

    fn code(&self, code: u8) -> u8 {
        if self.remap_exit.contains(&code) { exit_code::OK } else { code }
    }
}

/// Why there is no exit code of the child.
#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("the system refuses what an init needs: {0}")]
    System(#[from] io::Error),
}

/// Runs the command to its end. Returns the exit code for drainit: the command's own, 128 plus the signal that ended it,
/// or 126 or 127 where it could not be started.
#[must_use]
pub fn run(options: &ExecOptions) -> u8 {
    panic_hook::install();
    match supervise(options) {
        Ok(code) => options.code(code),
        Err(error) => {
            tell(&format!("error: {error}"));
            match error {
                ExecError::Spawn(error) => error.exit_code(),
                ExecError::System(_) => exit_code::SOFTWARE,
            }
        }
    }
}

fn supervise(options: &ExecOptions) -> Result<u8, ExecError> {
    // They are blocked already where drainit is the program. What has come until the child runs is
    // for the child.
    let signals = BlockedSignals::block()?;
    let handed_over = crate::exec::socket_activation::handed_over();
    boot::keep_descriptors_from_children(handed_over.unwrap_or(0));
    if options.subreaper {
        boot::become_subreaper()?;
    }
    if let Some(signal) = options.parent_death_signal {
        boot::set_parent_death_signal(signal)?;
    }
    let mut terminal = Terminal::find();
    let setup = ChildSetup {
        mask: signals.given(),
        defaults: mask::ALL,
        place: if terminal.is_lent() { Place::Foreground } else { Place::Group },
        // A signal that drainit cannot act on would leave the child behind.
        dies_with_us: options.parent_death_signal == Some(Signal::KILL),
        listens: handed_over.is_some(),
    };
    let started = start(&options.command, &setup);
    // The command is where it should be. drainit itself must not keep a file system from being unmounted.
    let _ = std::env::set_current_dir("/");
    let end = started.map_err(ExecError::from).and_then(|child: Pid| {
        if options.verbose {
            tell(&format!("pid {child}: started"));
        }
        let end = CommandLoop::new(options, &signals, child, &mut terminal).run();
        // Without drainit nobody would stop it, unless drainit is PID 1.
        Ok(end.inspect_err(|_| panic_hook::stop_all())?)
    });
    // For a script that goes on with this terminal.
    terminal.take_back();
    end.map(|end| end.exit_code())
}

/// One of drainit's own lines.
pub(crate) fn tell(message: &str) {
    say(Stream::Stderr, &format!("[drainit] {}\n", harmless(message)));
}
