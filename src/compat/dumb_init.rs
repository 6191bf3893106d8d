//! drainit as dumb-init 1.2.5: its options, variables, messages and exit codes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;

use crate::commands::exec::ExecOptions;
use crate::compat::getopt::{Getopt, LongName};
use crate::compat::{PrintedAnswer, describe, leading_number, to_text};
use crate::exec::event_loop::{CommandLoop, Jobs, Told};
use crate::os::kill::{Group, kill_group, left_group};
use crate::os::reap::Reaped;
use crate::os::signal::mask::{BlockedSignals, FIRST_31};
use crate::os::spawn::single::{ChildPlace, ChildSetup, start_like_execvp};
use crate::os::stdio::say;
use crate::os::terminal::Terminal;
use crate::types::{Signal, Stream};

const VERSION: &str = "dumb-init v1.2.5";
const USAGE: u8 = 1;
const NOT_STARTED: u8 = 2;
/// The highest signal that can be rewritten.
const LAST: i64 = 31;

const LETTERS: &str = "hcr:vV";
const LONG_NAMES: [LongName; 5] =
    [("help", 'h'), ("single-child", 'c'), ("rewrite", 'r'), ("verbose", 'v'), ("version", 'V')];

#[derive(Debug)]
pub(crate) struct DumbInit {
    debug: bool,
    /// The options. With `group`, the child leads a session, and signals go to its whole process
    /// group.
    options: ExecOptions,
}

/// Runs as dumb-init. `called` is `argv[0]`.
pub(super) fn run(called: &OsStr, args: &[OsString]) -> u8 {
    let mut init = match parse(&to_text(called), args) {
        Ok(init) => init,
        Err(answer) => return answer.give(),
    };
    init.read_environment();
    init.supervise().unwrap_or_else(|error| {
        tell(&describe(&error));
        USAGE
    })
}

/// Reads the options and the command.
pub(crate) fn parse(called: &str, args: &[OsString]) -> Result<DumbInit, PrintedAnswer> {
    let answer = |text, code| PrintedAnswer { stream: Stream::Stderr, text, code };
    let mut init = DumbInit { debug: false, options: ExecOptions::forwarding_all() };
    init.options.group = true;
    let mut options = Getopt::new(LETTERS, &LONG_NAMES, args);
    loop {
        let (message, code) = match options.next() {
            Ok(None) => break,
            Ok(Some((letter, argument))) => match letter {
                'h' => (help(called), 0),
                'V' => (format!("{VERSION}\n"), 0),
                'v' => {
                    init.debug = true;
                    continue;
                }
                'c' => {
                    init.options.group = false;
                    continue;
                }
                _ if init.rewrite(&to_text(argument.unwrap_or_default())) => continue,
                _ => (BAD_REWRITE.to_owned(), USAGE),
            },
            Err(message) => (format!("{called}: {message}\n"), USAGE),
        };
        return Err(answer(message, code));
    }
    let command = options.rest();
    if command.is_empty() {
        let text = format!(
            "Usage: {called} [option] program [args]\nTry {called} --help for full usage.\n"
        );
        return Err(answer(text, USAGE));
    }
    init.options.command = command.to_vec();
    Ok(init)
}

impl DumbInit {
    /// Parses `S:R` like `sscanf("%d:%d")`. Returns whether the text is valid.
    fn rewrite(&mut self, spec: &str) -> bool {
        let pair = leading_number(spec).and_then(|(from, rest)| {
            let (to, _) = leading_number(rest.strip_prefix(':')?)?;
            Some((from, to))
        });
        let Some((from @ 1..=LAST, to @ 0..=LAST)) = pair else { return false };
        let signal = |number| Signal::from_number(i32::try_from(number).ok()?);
        // SIGCHLD is never forwarded.
        if let Some(from) = signal(from).filter(|from| *from != Signal::CHLD) {
            self.options.rewrites.set(from, signal(to));
        }
        true
    }

    fn read_environment(&mut self) {
        if env::var_os("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
            self.debug = true;
            self.debug("Running in debug mode.");
        }
        if env::var_os("DUMB_INIT_SETSID").is_some_and(|value| value == "0") {
            self.options.group = false;
            self.debug("Not running in setsid mode.");
        }
        if self.options.group {
            // The child leads a session, so its process group is orphaned. SIGTSTP, SIGTTIN and
            // SIGTTOU stop no member of an orphaned group, so drainit sends SIGSTOP in place of
            // each.
            for signal in [Signal::TSTP, Signal::TTIN, Signal::TTOU] {
                if self.options.rewrites.rule(signal).is_none() {
                    self.options.rewrites.set(signal, Some(Signal::STOP));
                }
            }
        }
    }

    fn supervise(&self) -> io::Result<u8> {
        let options = &self.options;
        let signals = BlockedSignals::block()?;
        let place = if options.group { self.give_terminal_up(&signals)? } else { ChildPlace::Same };
        // The child starts without blocked signals. Real-time signals that were already ignored
        // when drainit started stay ignored. All other signals have their default actions.
        let setup =
            ChildSetup { mask: 0, defaults: FIRST_31, place, dies_with_us: false, listens: false };
        let not_started = |error: &io::Error| {
            let name = options.command.first().map_or(OsStr::new(""), OsString::as_os_str);
            tell(&format!("{}: {}", to_text(name), describe(error)));
            NOT_STARTED
        };
        let (child, mut exec) = match start_like_execvp(&options.command, &setup) {
            Ok(started) => started,
            Err(error) => return Ok(not_started(&error)),
        };
        self.debug(&format!("Child spawned with PID {child}."));
        match place {
            ChildPlace::Session => {
                let error = io::Error::from_raw_os_error(libc::ENOTTY);
                self.debug(&failure_line("attach to controlling tty", &error));
                self.debug("setsid complete.");
            }
            ChildPlace::SessionWithTerminal => self.debug("setsid complete."),
            _ => {}
        }
        // drainit leaves its working directory, so that the file system of the directory can be
        // unmounted.
        if let Err(error) = env::set_current_dir("/") {
            self.debug(&failure_line("chdir(\"/\")", &error));
        }
        let say = |step| self.say(step);
        let end = CommandLoop::new(options, &signals, child, Jobs::Halt, &say).run()?;
        if let Some(failure) = exec.failure() {
            return Ok(not_started(&failure.error()));
        }
        if let Some(signal) = self.translated(Signal::TERM) {
            if options.group && left_group(child) != Group::Gone {
                // The command has ended. The signal goes to the rest of its group.
                let _ = kill_group(child, signal);
            }
            self.debug(&format!("Forwarded signal {} to children.", signal.number()));
        }
        let code = end.exit_code();
        self.debug(&format!("Child exited with status {code}. Goodbye."));
        Ok(code)
    }

    /// Gives up drainit's terminal, so that the session of the child can take the terminal.
    fn give_terminal_up(&self, signals: &BlockedSignals) -> io::Result<ChildPlace> {
        match Terminal::detach() {
            Ok(()) if Terminal::is_without_shell() => {
                self.debug(
                    "Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.",
                );
                // The kernel has sent these signals because drainit has given the terminal up, so
                // drainit does not forward them.
                for signal in [Signal::HUP, Signal::CONT] {
                    if signals.take(signal)?.is_some() {
                        let number = signal.number();
                        self.debug(&format!("Received signal {number}."));
                        self.debug(&format!("Ignoring tty hand-off signal {number}."));
                    }
                }
            }
            Ok(()) => self.debug("Detached from controlling tty, but was not session leader."),
            Err(error) => self.debug(&failure_line("detach from controlling tty", &error)),
        }
        let has_terminal = io::IsTerminal::is_terminal(&io::stdin());
        Ok(if has_terminal { ChildPlace::SessionWithTerminal } else { ChildPlace::Session })
    }

    fn say(&self, step: Told) {
        match step {
            Told::Received(received) => {
                self.debug(&format!("Received signal {}.", received.signal.number()));
                if received.signal != Signal::CHLD {
                    self.translated(received.signal);
                }
            }
            Told::Sent(signal, _) => {
                self.debug(&format!("Forwarded signal {} to children.", signal.number()));
            }
            Told::Halting => self.debug("Suspending self due to TTY signal."),
            Told::Reaped(Reaped::Child(pid, end)) => {
                let how = match end.signal() {
                    None => format!("exited with exit status {}", end.exit_code()),
                    Some(signal) => format!("was terminated by signal {}", signal.number()),
                };
                self.debug(&format!("A child with PID {pid} {how}."));
            }
            Told::Reaped(_) | Told::EndedUnasked(_) | Told::Decided(_) => {}
        }
    }

    /// The signal that is sent to the child in place of `signal`, if any.
    fn translated(&self, signal: Signal) -> Option<Signal> {
        let to = self.options.rewrites.of(signal);
        let other = to.map_or(0, Signal::number);
        if self.options.rewrites.rule(signal).is_some() {
            self.debug(&format!("Translating signal {} to {other}.", signal.number()));
        }
        if to.is_none() {
            self.debug(&format!("Not forwarding signal {other} to children (ignored)."));
        }
        to
    }

    fn debug(&self, message: &str) {
        if self.debug {
            tell(message);
        }
    }
}

fn failure_line(what: &str, error: &io::Error) -> String {
    let number = error.raw_os_error().unwrap_or(0);
    format!("Unable to {what} (errno={number} {}).", describe(error))
}

fn tell(message: &str) {
    say(Stream::Stderr, &format!("[dumb-init] {message}\n"));
}

const BAD_REWRITE: &str =
    "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.
This option can be specified multiple times.
Use --help for full usage.
";

fn help(called: &str) -> String {
    format!(
        "{VERSION}
Usage: {called} [option] command [[arg] ...]

Run a command as the child of an init: drainit, called as {called}

Options:
   -c, --single-child   Send signals to the command only, and let it be in the session and process group of its init;
                        otherwise it leads a session, and signals go to its whole process group.
   -r, --rewrite s:r    Send signal r where signal s is received; 0 for r drops it. May be repeated.
   -v, --verbose        Report on stderr what happens.
   -h, --help           Print this help and exit.
   -V, --version        Print the version of dumb-init that this stands for, and exit.
"
    )
}
