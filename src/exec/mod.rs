//! `drainit exec`: one command without a config, in place of tini or dumb-init.
//!
//! Without a drain, `exec` uses no runtime, no thread and no timer, so drainit starts fast. Between
//! two signals, drainit waits in one system call.

pub mod event_loop;
mod machine;
#[cfg(test)]
mod simulation;
pub mod socket_activation;
pub mod with_drain;

use std::fmt::Display;
use std::io;

use crate::commands::exec::ExecOptions;
use crate::exec::event_loop::{CommandLoop, Jobs, Told};
use crate::logging::colour;
use crate::os::oom::OomKills;
use crate::os::reap::Reaped;
use crate::os::signal::mask::{self, BlockedSignals};
use crate::os::spawn::SpawnError;
use crate::os::spawn::single::{ChildPlace, ChildSetup, start};
use crate::os::stdio::say;
use crate::os::terminal::Terminal;
use crate::os::{Pid, boot, panic_hook};
use crate::supervisor::executor::background::left_by;
use crate::types::{End, Signal, Stream, exit_code, harmless};

#[derive(Debug, thiserror::Error)]
enum ExecError {
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    #[error("cannot supervise the command: {0}")]
    System(#[from] io::Error),
}

/// Runs the command. Returns the exit code for drainit: the code of the command, or 128 plus the
/// signal that ended the command. After a failed start, the code is 126 or 127. If the kernel
/// refuses something that drainit itself needs, the code is 70.
pub fn run(options: &ExecOptions) -> u8 {
    panic_hook::handle_panics();
    match supervise(options) {
        Ok(code) => options.code(code),
        Err(error) => {
            let code = match &error {
                ExecError::Spawn(error) => error.exit_code(),
                ExecError::System(_) => exit_code::SOFTWARE,
            };
            fail(&error, code)
        }
    }
}

fn supervise(options: &ExecOptions) -> Result<u8, ExecError> {
    // The signals have been blocked since `main`. A signal that arrives before the command runs is
    // not lost, because drainit forwards the signal later.
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
        mask: signals.inherited_mask(),
        defaults: mask::ALL,
        place: if terminal.is_lent() { ChildPlace::Foreground } else { ChildPlace::Group },
        // If the parent of drainit dies, SIGKILL ends drainit before drainit can stop the command.
        // The kernel then has to kill the command, too.
        dies_with_us: options.parent_death_signal == Some(Signal::KILL),
        listens: handed_over.is_some(),
    };
    let started = start(&options.command, &setup);
    // The command is already starting, so the rest of the preparation does not delay the start.
    panic_hook::keep_memory();
    // The command already has its working directory. drainit itself leaves this directory, so that
    // the file system of the directory can be unmounted.
    let _ = std::env::set_current_dir("/");
    let end = started.map_err(ExecError::from).and_then(|(child, mut exec)| {
        if options.verbose {
            tell(&format!("pid {child}: started"));
        }
        let say = |step| say_step(options, child, step);
        let jobs = Jobs::Follow(&mut terminal);
        let end = CommandLoop::new(options, &signals, child, jobs, &say).run();
        // After an error, drainit stops the command. If drainit is not PID 1, the command would
        // otherwise outlive drainit.
        let end = end.inspect_err(|_| panic_hook::stop_all())?;
        // The command has ended, so the outcome of its exec is known.
        exec.failure().map_or(Ok(end), |failed| Err(failed.diagnose().into()))
    });
    // drainit puts itself into the foreground again, because a script above drainit may continue to
    // use this terminal.
    terminal.take_back();
    end.map(|end| end.exit_code())
}

/// Writes one of drainit's own lines to stderr.
pub(crate) fn tell(message: &str) {
    let line = format!("[drainit] {}\n", harmless(message));
    say(Stream::Stderr, &colour::on(Stream::Stderr, &line));
}

/// Writes an error, and returns the exit code.
pub(crate) fn fail(error: &dyn Display, code: u8) -> u8 {
    tell(&format!("error: {error}"));
    code
}

fn say_step(options: &ExecOptions, child: Pid, step: Told) {
    match step {
        Told::Sent(signal, Err(error)) => {
            tell(&format!("warning: {signal} cannot be sent to pid {child}: {error}"));
        }
        Told::EndedUnasked(End::Signal(Signal::KILL)) => explain_kill(),
        Told::EndedUnasked(End::Code(exit_code::OK)) => {
            if let Some(left) = left_by(child, &options.command) {
                tell(&format!("warning: the command {}; {left}", End::Code(exit_code::OK)));
            }
        }
        Told::Decided(message) if options.verbose || !message.is_verbose() => {
            tell(&message.to_string());
        }
        _ if !options.verbose => {}
        Told::Received(received) if received.is_about_child() => {}
        Told::Received(received) => tell(&received.to_string()),
        Told::Sent(signal, Ok(_)) => tell(&format!("{signal} sent to pid {child}")),
        Told::Reaped(Reaped::Child(pid, end)) => tell(&format!("pid {pid}: {end}")),
        Told::Reaped(_) | Told::Decided(_) | Told::Halting | Told::EndedUnasked(_) => {}
    }
}

/// Reports a kill of the command by the OOM killer. Only PID 1 can know of such a kill, because all
/// kills that the kernel has counted happened after the start of PID 1. Any other process would
/// also have to know the count at its own start.
fn explain_kill() {
    if std::process::id() != 1 {
        return;
    }
    if let Some(end) = OomKills::since_container_start().explain_one() {
        tell(&format!("warning: the command {end}"));
    }
}
