//! drainit as dumb-init 1.2.5: its options, variables, messages and exit codes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;

use crate::compat::getopt::{Known, Options};
use crate::compat::{Answer, describe, leading_number, shown};
use crate::os::Pid;
use crate::os::kill::{kill, kill_group};
use crate::os::reap::{Reaped, reap_next};
use crate::os::signal::mask::{BlockedSignals, FIRST_31};
use crate::os::spawn::single::{ChildSetup, Place, start_like_execvp};
use crate::os::stdio::say;
use crate::os::terminal::Terminal;
use crate::types::{Signal, Stream};

const VERSION: &str = "dumb-init v1.2.5";
const USAGE: u8 = 1;
const NOT_STARTED: u8 = 2;
/// The highest signal that can be rewritten.
const LAST: i64 = 31;
/// The signals of job control that stop a job.
const STOPS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

const KNOWN: [Known; 5] = [
    Known { short: b'h', long: Some("help"), takes: false },
    Known { short: b'c', long: Some("single-child"), takes: false },
    Known { short: b'r', long: Some("rewrite"), takes: true },
    Known { short: b'v', long: Some("verbose"), takes: false },
    Known { short: b'V', long: Some("version"), takes: false },
];

#[derive(Debug)]
pub(crate) struct DumbInit {
    debug: bool,
    /// The child leads a session, and signals go to its whole process group.
    session: bool,
    /// The signal to send for signal `n`, at index `n`; `None`: the same.
    rewrites: [Option<i32>; 32],
    /// Signals that are dropped once, at index `n`: the kernel sends them when the terminal is
    /// given up.
    ignored_once: [bool; 32],
}

/// Runs as dumb-init. `called` is `argv[0]`.
pub(super) fn run(called: &OsStr, args: &[OsString]) -> u8 {
    let (mut init, command) = match parse(&shown(called), args) {
        Ok(parsed) => parsed,
        Err(answer) => return answer.give(),
    };
    init.read_environment();
    init.supervise(command).unwrap_or_else(|error| {
        tell(&describe(&error));
        USAGE
    })
}

/// Reads the options and the command.
pub(crate) fn parse<'a>(
    called: &str,
    args: &'a [OsString],
) -> Result<(DumbInit, &'a [OsString]), Answer> {
    let answer = |text, code| Answer { stream: Stream::Stderr, text, code };
    let mut init =
        DumbInit { debug: false, session: true, rewrites: [None; 32], ignored_once: [false; 32] };
    let mut options = Options::new(&KNOWN, args);
    loop {
        let (message, code) = match options.next() {
            Ok(None) => break,
            Ok(Some(given)) => match given.short {
                b'h' => (help(called), 0),
                b'V' => (format!("{VERSION}\n"), 0),
                b'v' => {
                    init.debug = true;
                    continue;
                }
                b'c' => {
                    init.session = false;
                    continue;
                }
                _ if init.rewrite(&shown(given.argument.unwrap_or_default())) => continue,
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
    Ok((init, command))
}

impl DumbInit {
    /// Parses `S:R` as `sscanf("%d:%d")` does. Returns whether it is valid.
    fn rewrite(&mut self, spec: &str) -> bool {
        let pair = leading_number(spec).and_then(|(from, rest)| {
            let (to, _) = leading_number(rest.strip_prefix(':')?)?;
            Some((from, to))
        });
        let Some((from @ 1..=LAST, to @ 0..=LAST)) = pair else { return false };
        let (Ok(from), Ok(to)) = (usize::try_from(from), i32::try_from(to)) else { return false };
        self.rewrites[from] = Some(to);
        true
    }

    fn read_environment(&mut self) {
        if env::var_os("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
            self.debug = true;
            self.debug("Running in debug mode.");
        }
        if env::var_os("DUMB_INIT_SETSID").is_some_and(|value| value == "0") {
            self.session = false;
            self.debug("Not running in setsid mode.");
        }
        if self.session {
            // The group of a session leader is orphaned, and these signals do not stop a member of
            // such a group.
            for signal in STOPS {
                self.rewrites[place(signal)].get_or_insert(libc::SIGSTOP);
            }
        }
    }

    fn supervise(&mut self, command: &[OsString]) -> io::Result<u8> {
        let signals = BlockedSignals::block()?;
        let place = if self.session { self.give_terminal_up() } else { Place::Same };
        // The child starts with nothing blocked or ignored; real-time signals are left as they are.
        let setup =
            ChildSetup { mask: 0, defaults: FIRST_31, place, dies_with_us: false, listens: false };
        let child = match start_like_execvp(command, &setup) {
            Ok(child) => child,
            Err(error) => {
                let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
                tell(&format!("{}: {}", shown(name), describe(&error)));
                return Ok(NOT_STARTED);
            }
        };
        self.debug(&format!("Child spawned with PID {child}."));
        match place {
            Place::Session => {
                let error = io::Error::from_raw_os_error(libc::ENOTTY);
                self.debug(&failed("attach to controlling tty", &error));
                self.debug("setsid complete.");
            }
            Place::SessionWithTerminal => self.debug("setsid complete."),
            _ => {}
        }
        // Does not keep a mount busy.
        if let Err(error) = env::set_current_dir("/") {
            self.debug(&failed("chdir(\"/\")", &error));
        }
        self.forward_and_reap(&signals, child)
    }

    /// Leaves the terminal to the child's session.
    fn give_terminal_up(&mut self) -> Place {
        match Terminal::detach() {
            Ok(()) if Terminal::is_without_shell() => {
                self.debug(
                    "Detached from controlling tty, ignoring the first SIGHUP and SIGCONT we receive.",
                );
                for signal in [Signal::HUP, Signal::CONT] {
                    self.ignored_once[place(signal.number())] = true;
                }
            }
            Ok(()) => self.debug("Detached from controlling tty, but was not session leader."),
            Err(error) => self.debug(&failed("detach from controlling tty", &error)),
        }
        let has_terminal = io::IsTerminal::is_terminal(&io::stdin());
        if has_terminal { Place::SessionWithTerminal } else { Place::Session }
    }

    fn forward_and_reap(&mut self, signals: &BlockedSignals, child: Pid) -> io::Result<u8> {
        loop {
            let Some(received) = signals.wait(None)? else { continue };
            let number = received.signal.number();
            self.debug(&format!("Received signal {number}."));
            let ignored = self.ignored_once.get_mut(place(number)).is_some_and(std::mem::take);
            if ignored {
                self.debug(&format!("Ignoring tty hand-off signal {number}."));
            } else if received.signal == Signal::CHLD {
                if let Some(code) = self.reap(child)? {
                    return Ok(code);
                }
            } else {
                self.forward(child, number);
                if STOPS.contains(&number) {
                    self.debug("Suspending self due to TTY signal.");
                    signals.halt_self()?;
                }
            }
        }
    }

    fn forward(&self, child: Pid, number: i32) {
        let rewritten = self.rewrites.get(place(number)).copied().flatten();
        if let Some(other) = rewritten {
            self.debug(&format!("Translating signal {number} to {other}."));
        }
        let number = rewritten.unwrap_or(number);
        let Some(signal) = Signal::from_number(number) else {
            self.debug(&format!("Not forwarding signal {number} to children (ignored)."));
            return;
        };
        // The group may have ended.
        let _ = if self.session { kill_group(child, signal) } else { kill(child, signal) };
        self.debug(&format!("Forwarded signal {number} to children."));
    }

    /// Reaps all that have ended. Returns the exit code if the child is among them.
    fn reap(&self, child: Pid) -> io::Result<Option<u8>> {
        while let Reaped::Child(pid, end) = reap_next()? {
            let code = end.exit_code();
            match end.signal() {
                None => {
                    self.debug(&format!("A child with PID {pid} exited with exit status {code}."));
                }
                Some(signal) => {
                    let number = signal.number();
                    self.debug(&format!(
                        "A child with PID {pid} was terminated by signal {number}."
                    ));
                }
            }
            if pid == child {
                // Stops the rest of its group. The number cannot be reused this soon.
                self.forward(child, Signal::TERM.number());
                self.debug(&format!("Child exited with status {code}. Goodbye."));
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    fn debug(&self, message: &str) {
        if self.debug {
            tell(message);
        }
    }
}

/// The index of a signal in a table.
fn place(number: i32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn failed(what: &str, error: &io::Error) -> String {
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
   -v, --verbose        Say on stderr what happens.
   -h, --help           Say this, and exit.
   -V, --version        Say which version of dumb-init this stands for, and exit.
"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_are_read_like_the_original_does() {
        for (spec, expected) in [
            ("15:3", Some((15, 3))),
            ("1:0", Some((1, 0))),
            (" 15: 3", Some((15, 3))),
            ("15:3x", Some((15, 3))),
            ("15:0:3", Some((15, 0))),
            ("+31:031", Some((31, 31))),
            ("15", None),
            ("15:", None),
            ("15 :3", None),
            ("TERM:3", None),
            ("0:3", None),
            ("32:1", None),
            ("1:32", None),
            ("1:-1", None),
            ("-1:3", None),
            ("", None),
        ] {
            let mut init = DumbInit {
                debug: false,
                session: false,
                rewrites: [None; 32],
                ignored_once: [false; 32],
            };
            assert_eq!(init.rewrite(spec), expected.is_some(), "{spec}");
            if let Some((from, to)) = expected {
                assert_eq!(init.rewrites[from], Some(to), "{spec}");
            }
        }
    }
}
