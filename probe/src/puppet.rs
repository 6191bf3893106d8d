//! The child of the init in a row that the driver judges. It does what the driver asks, and reports
//! each signal.

use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpgrp, getpid, pause, setsid, tcgetpgrp};

use crate::room::VARIABLE;
use crate::start::Start;
use crate::sys;
use crate::wire::{Lines, NoLine};

/// A time that only the end of the driver ends earlier.
const LONG: Duration = Duration::from_secs(3600);

/// `puppet SOCKET ROLE`
pub fn run(program: &str, socket: &str, role: &str, start: &Start) -> io::Result<i32> {
    if role == "plain" {
        // Like a program that knows nothing of signals.
        let mut lines = Lines::connect(socket)?;
        lines.send("hello plain");
        let _ = lines.next(LONG);
        return Ok(0);
    }
    let all = SigSet::all();
    all.thread_block()?;
    let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    if role == "session" {
        setsid()?;
    }
    let mut lines = Lines::connect(socket)?;
    lines.send(&format!("hello {role}"));
    loop {
        let mut fds = [
            PollFd::new(lines.stream().as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        while let Some(info) = signals.read_signal()? {
            lines.send(&format!("signal {}", info.ssi_signo));
        }
        loop {
            match lines.next(Duration::ZERO) {
                Ok(line) => {
                    if let Some(code) = act(program, socket, &line, &mut lines, start)? {
                        return Ok(code);
                    }
                }
                Err(NoLine::Late) => break,
                Err(NoLine::Ended) => return Ok(0),
            }
        }
    }
}

/// Does what the driver asks. Returns the code to exit with, if that is what it asks.
fn act(
    program: &str,
    socket: &str,
    line: &str,
    lines: &mut Lines,
    start: &Start,
) -> io::Result<Option<i32>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "ping" => lines.send("ping"),
        "exit" => return Ok(Some(rest.parse().unwrap_or(1))),
        "die" => {
            // A pending signal must not be first.
            SigSet::empty().thread_set_mask()?;
            sys::kill(getpid().as_raw(), rest.parse().unwrap_or(0))?;
            pause();
        }
        "child" => drop(Command::new(program).args(["puppet", socket, rest]).spawn()?),
        "orphan" => drop(Command::new(program).args(["middle", socket, rest]).status()?),
        "storm" => {
            let mut child = plainly(program, "storm", Stdio::piped())?;
            // The first orphan has been made when the storm says something.
            child.stdout.as_mut().map(|out| out.read(&mut [0])).transpose()?;
            lines.send("storm");
        }
        "fill" => lines.send(&format!("fill {}", fill(program))),
        "write" => write(rest)?,
        "read" => {
            let mut text = String::new();
            io::stdin().lock().read_line(&mut text)?;
            lines.send(&format!("read {}", text.trim_end()));
        }
        "environment" => {
            let value = std::env::var(VARIABLE.0).unwrap_or_default();
            let place = std::env::current_dir().unwrap_or_default();
            lines.send(&format!("environment {value}|{}", place.display()));
        }
        "foreground" => {
            let group = tcgetpgrp(io::stdin())
                .map_or_else(|error| error.to_string(), |group| group.to_string());
            lines.send(&format!("foreground {group} {}", getpgrp()));
        }
        "descriptors" => {
            let open = start.descriptors.as_deref().unwrap_or_default();
            let open =
                open.iter().filter(|(fd, _)| *fd < 3).map(|(fd, target)| format!("{fd}={target}"));
            lines.send(&format!("descriptors {}", open.collect::<Vec<_>>().join(" ")));
        }
        _ => {}
    }
    Ok(None)
}

fn write(rest: &str) -> io::Result<()> {
    let mut words = rest.splitn(3, ' ');
    let (to, count, text) = (words.next(), words.next(), words.next().unwrap_or_default());
    let mut block = ".".repeat(79) + "\n";
    block = block.repeat(count.and_then(|count| count.parse().ok()).unwrap_or(0));
    let block = format!("{block}{text}\n");
    match to {
        Some("2") => io::stderr().write_all(block.as_bytes()),
        _ => {
            io::stdout().write_all(block.as_bytes())?;
            io::stdout().flush()
        }
    }
}

/// Starts this program again, as one that blocks no signal.
fn plainly(program: &str, role: &str, out: Stdio) -> io::Result<std::process::Child> {
    Command::new(program).args(["plainly", role]).stdin(Stdio::null()).stdout(out).spawn()
}

/// Starts processes until the kernel refuses one, and says how many there are.
fn fill(program: &str) -> usize {
    (0..4096).take_while(|_| plainly(program, "idle", Stdio::null()).is_ok()).count()
}

/// The short roles that no row speaks with: `plainly ROLE`, `middle SOCKET ROLE`, `nothing`,
/// `sleeper`, `nursery COUNT`.
pub fn short(program: &str, role: &str, arguments: &[String]) -> io::Result<i32> {
    match role {
        "plainly" => {
            SigSet::empty().thread_set_mask()?;
            return match arguments.first().map(String::as_str) {
                Some("storm") => storm(program),
                _ => loop {
                    pause();
                },
            };
        }
        "middle" => drop(Command::new(program).arg("puppet").args(arguments).spawn()?),
        "nothing-twice" => drop(Command::new(program).arg("nothing").spawn()?),
        "sleeper" => drop(io::copy(&mut io::stdin(), &mut io::sink())),
        "nursery" => {
            let count = arguments.first().and_then(|count| count.parse().ok()).unwrap_or(0);
            for _ in 0..count {
                let Ok(child) = Command::new(program).arg("sleeper").stdout(Stdio::null()).spawn()
                else {
                    break;
                };
                writeln!(io::stdout(), "{}", child.id())?;
            }
        }
        _ => {}
    }
    Ok(0)
}

/// Makes orphans, one after the other, until it is killed.
fn storm(program: &str) -> io::Result<i32> {
    // A signal to the child's group does not end the storm.
    setsid()?;
    loop {
        let mut orphan = Command::new(program);
        orphan.arg("nothing-twice").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        // Nobody listens any more when the puppet has ended.
        let _ = io::stdout().write_all(b".").and_then(|()| io::stdout().flush());
    }
}
