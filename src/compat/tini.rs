//! drainit as tini 0.19: its options, variables, messages and exit codes.
//!
//! There are three differences. drainit does not wake up every second. drainit also forwards
//! signals that tini leaves to the kernel, such as SIGABRT. And options end at the command, as in
//! builds of tini with musl, so that `tini ls -l` works.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;

use crate::commands::exec::ExecOptions;
use crate::compat::getopt::Getopt;
use crate::compat::{PrintedAnswer, describe, leading_number, to_text};
use crate::exec::event_loop::{CommandLoop, Jobs, Told};
use crate::os::Pid;
use crate::os::boot;
use crate::os::reap::{Reaped, reap_next};
use crate::os::signal;
use crate::os::signal::mask::{BlockedSignals, only};
use crate::os::spawn::single::{ChildPlace, ChildSetup, start_like_execvp};
use crate::os::stdio::say;
use crate::os::terminal::Terminal;
use crate::types::{Signal, Stream};

const VERSION: &str = "tini version 0.19.0";
/// The exit code for failures of tini itself.
const FAILURE: u8 = 1;

const LETTERS: &str = "p:hvwgle:s";

/// The levels of messages, the most severe first. `Fatal` and `Warn` go to standard error, the
/// other levels go to standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verbosity {
    Fatal,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug)]
pub(crate) struct Tini {
    verbosity: i64,
    warn_on_reap: bool,
    options: ExecOptions,
}

/// Runs as tini. `called` is `argv[0]`, and `name` is its last part.
pub(super) fn run(called: &OsStr, name: &str, args: &[OsString]) -> u8 {
    let mut tini = match parse(called, name, args) {
        Ok(tini) => tini,
        Err(answer) => return answer.give(),
    };
    tini.read_environment();
    tini.supervise().unwrap_or_else(|error| {
        tini.log(Verbosity::Fatal, &describe(&error));
        FAILURE
    })
}

/// Reads the options and the command.
pub(crate) fn parse(called: &OsStr, name: &str, args: &[OsString]) -> Result<Tini, PrintedAnswer> {
    let misused = |text: String| PrintedAnswer { stream: Stream::Stderr, text, code: FAILURE };
    let explained = |text: String| PrintedAnswer { stream: Stream::Stdout, text, code: 0 };
    if let [only] = args
        && only == "--version"
    {
        return Err(explained(format!("{VERSION}\n")));
    }
    let mut tini =
        Tini { verbosity: 1, warn_on_reap: false, options: ExecOptions::forwarding_all() };
    // tini ignores these signals, which a terminal sends to background processes.
    for signal in [Signal::TTIN, Signal::TTOU] {
        tini.options.rewrites.set(signal, None);
    }
    let mut options = Getopt::new(LETTERS, &[], args);
    while let Some((letter, argument)) = options
        .next()
        .map_err(|message| misused(format!("{}: {message}\n{}", to_text(called), usage(name))))?
    {
        let argument = argument.unwrap_or_default();
        match letter {
            'h' => return Err(explained(usage(name))),
            'l' => return Err(explained(LICENSE.to_owned())),
            _ if tini.set(letter, argument).is_none() => {
                let message = format!("Not a valid option for -{letter}: ");
                return Err(misused(line("FATAL", &(message + &to_text(argument)))));
            }
            _ => {}
        }
    }
    let mut command = options.rest().to_vec();
    // A `--` right after the program is removed, too, because tini's usage shows
    // `PROGRAM -- ARGS`, and glibc's getopt removes the first `--` at any position.
    if !options.is_ended() && command.get(1).is_some_and(|second| second == "--") {
        command.remove(1);
    }
    if command.is_empty() {
        return Err(misused(usage(name)));
    }
    tini.options.command = command;
    Ok(tini)
}

impl Tini {
    /// Applies one option; `None` if its argument is not valid.
    fn set(&mut self, letter: char, argument: &OsStr) -> Option<()> {
        match letter {
            's' => self.options.subreaper = true,
            'p' => self.options.parent_death_signal = Some(by_full_name(argument)?),
            'v' => self.verbosity += 1,
            'w' => self.warn_on_reap = true,
            'g' => self.options.group = true,
            _ => self.options.remap_exit.push(exit_code(argument)?),
        }
        Some(())
    }

    fn read_environment(&mut self) {
        // Any value counts, even an empty value.
        self.options.subreaper |= env::var_os("TINI_SUBREAPER").is_some();
        self.options.group |= env::var_os("TINI_KILL_PROCESS_GROUP").is_some();
        if let Some(verbosity) = env::var_os("TINI_VERBOSITY") {
            let verbosity = to_text(&verbosity);
            self.verbosity = match leading_number(&verbosity).map_or(0, |(number, _)| number) {
                // tini reads an unsigned number, so a negative number means a very large number.
                ..=-1 => i64::MAX,
                verbosity => verbosity,
            };
        }
    }

    fn supervise(&self) -> io::Result<u8> {
        let options = &self.options;
        let signals = BlockedSignals::block()?;
        if let Some(signal) = options.parent_death_signal {
            boot::set_parent_death_signal(signal)?;
        }
        if options.subreaper {
            boot::become_subreaper()?;
            self.log(Verbosity::Trace, "Registered as child subreaper");
        }
        if std::process::id() != 1 && !boot::is_subreaper() {
            self.log(Verbosity::Warn, NO_REAPER);
        }
        let place =
            if Terminal::find().is_lent() { ChildPlace::Foreground } else { ChildPlace::Group };
        let setup = ChildSetup {
            mask: signals.inherited_mask(),
            // Rust's runtime ignores SIGPIPE, so the child gets the default action back. Other
            // signals that were ignored before drainit began stay ignored, as `nohup` needs.
            defaults: only(Signal::PIPE),
            place,
            dies_with_us: false,
            listens: false,
        };
        let name = to_text(options.command.first().map_or(OsStr::new(""), OsString::as_os_str));
        let failed = |error: &io::Error| {
            let text = format!("exec {name} failed: {}", describe(error));
            self.log(Verbosity::Fatal, &text);
            options.code(match error.raw_os_error() {
                Some(libc::ENOENT) => 127,
                Some(libc::EACCES) => 126,
                _ => FAILURE,
            })
        };
        let (child, mut exec) = match start_like_execvp(&options.command, &setup) {
            Ok(started) => started,
            Err(error) => return Ok(failed(&error)),
        };
        self.log(Verbosity::Info, &format!("Spawned child process '{name}' with pid '{child}'"));
        let say = |step| self.say(child, step);
        let end = CommandLoop::new(options, &signals, child, Jobs::Ignore, &say).run()?;
        // All children that have ended are reaped before the exit.
        loop {
            let reaped = reap_next()?;
            say(Told::Reaped(reaped));
            if !matches!(reaped, Reaped::Child(..)) {
                break;
            }
        }
        if let Some(failure) = exec.failure() {
            return Ok(failed(&failure.error()));
        }
        self.log(Verbosity::Trace, "Exiting: child has exited");
        Ok(options.code(end.exit_code()))
    }

    fn say(&self, child: Pid, step: Told) {
        match step {
            Told::Received(received) if received.signal == Signal::CHLD => {
                self.log(Verbosity::Debug, "Received SIGCHLD");
            }
            Told::Sent(signal, sent) => {
                let text = format!("Passing signal: '{}'", signal::describe(signal));
                self.log(Verbosity::Debug, &text);
                match sent {
                    Ok(true) => {}
                    Ok(false) => self.log(Verbosity::Warn, "Child was dead when forwarding signal"),
                    Err(error) => {
                        let error = describe(&error);
                        let text = format!("Unexpected error when forwarding signal: '{error}'");
                        self.log(Verbosity::Fatal, &text);
                    }
                }
            }
            Told::Reaped(Reaped::NoneNow) => self.log(Verbosity::Trace, "No child to reap"),
            Told::Reaped(Reaped::NoChildren) => self.log(Verbosity::Trace, "No child to wait"),
            Told::Reaped(Reaped::Child(pid, end)) => {
                self.log(Verbosity::Debug, &format!("Reaped child with pid: '{pid}'"));
                if pid == child {
                    let text = match end.signal() {
                        None => format!("exited normally (with status '{}')", end.exit_code()),
                        Some(by) => {
                            format!("exited with signal (with signal '{}')", signal::describe(by))
                        }
                    };
                    self.log(Verbosity::Info, &format!("Main child {text}"));
                } else if self.warn_on_reap {
                    self.log(Verbosity::Warn, &format!("Reaped zombie process with pid={pid}"));
                }
            }
            Told::Received(_) | Told::Halting | Told::EndedUnasked(_) | Told::Decided(_) => {}
        }
    }

    fn log(&self, level: Verbosity, message: &str) {
        let (stream, least, word) = match level {
            Verbosity::Fatal => (Stream::Stderr, i64::MIN, "FATAL"),
            Verbosity::Warn => (Stream::Stderr, 1, "WARN "),
            Verbosity::Info => (Stream::Stdout, 2, "INFO "),
            Verbosity::Debug => (Stream::Stdout, 3, "DEBUG"),
            Verbosity::Trace => (Stream::Stdout, 4, "TRACE"),
        };
        if self.verbosity >= least {
            say(stream, &line(word, message));
        }
    }
}

fn line(word: &str, message: &str) -> String {
    format!("[{word} tini ({})] {message}\n", std::process::id())
}

/// Parses the argument of `-e` like `strtol`, so an empty text is 0.
fn exit_code(argument: &OsStr) -> Option<u8> {
    match leading_number(argument.to_str()?) {
        Some((code, "")) => u8::try_from(code).ok(),
        None if argument.is_empty() => Some(0),
        _ => None,
    }
}

/// Parses the argument of `-p`, which accepts `SIGTERM`, but neither `TERM` nor `15`.
fn by_full_name(argument: &OsStr) -> Option<Signal> {
    let name = argument.to_str()?;
    let is_full = name.starts_with("SIG") && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let signal = if is_full { Signal::parse(name) } else { None };
    signal.filter(|signal| signal.to_string() == name)
}

const NO_REAPER: &str = "Tini is not running as PID 1 and isn't registered as a child subreaper.
Zombie processes will not be re-parented to Tini, so zombie reaping won't work.
To fix the problem, use the -s option or set the environment variable TINI_SUBREAPER to register Tini as a child \
subreaper, or run Tini as PID 1.";

const LICENSE: &str =
    "This is drainit in the place of tini. It is licensed under the Apache License, Version 2.0:
http://www.apache.org/licenses/LICENSE-2.0
";

fn usage(name: &str) -> String {
    format!(
        "{name} ({VERSION})
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Run PROGRAM as the child of an init: drainit, called as {name}

Options:

  --version  Print the version of tini that this stands for, and exit.
  -h         Print this help and exit.
  -s         Adopt orphans although this is not PID 1 (as a subreaper).
  -p SIGNAL  Act on SIGNAL when the parent dies: \"-p SIGKILL\".
  -v         Say more; up to three times.
  -w         Warn about every process that was reaped.
  -g         Send signals to the process group of the child.
  -e CODE    Exit with 0 if the child exits with CODE (0 to 255); may be repeated.
  -l         Print the licence and exit.

Environment:

  TINI_SUBREAPER           Like -s, whatever its value.
  TINI_VERBOSITY           Log level, 0 to 3 (1 unless set).
  TINI_KILL_PROCESS_GROUP  Like -g, whatever its value.

"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parent_death_signal_needs_full_name() {
        assert_eq!(by_full_name(OsStr::new("SIGKILL")), Some(Signal::KILL));
        for text in ["KILL", "9", "sigkill", "SIGCLD", "SIG", "", "SIGRTMIN+1", "SIG9"] {
            assert_eq!(by_full_name(OsStr::new(text)), None, "{text}");
        }
    }
}
