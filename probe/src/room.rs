//! A room: an init as PID 1 of a new PID namespace, with a puppet of the probe as its child, as the
//! driver sees both.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::openpty;

use crate::verdict::{Outcome, Verdict, check, fail, skip};
use crate::wire::{self, Lines, NoLine};
use crate::{proc, sys};

/// A thing that happens at once on a quiet machine happens within this time.
pub const SOON: Duration = Duration::from_secs(10);
/// No row judges how long a start takes, and a machine may be busy.
pub const START: Duration = Duration::from_secs(60);
/// Docker kills a container 10 s after its stop signal.
pub const GRACE: Duration = Duration::from_secs(10);
/// The variable that the environment of the init has.
pub const VARIABLE: (&str, &str) = ("PID1_PROBE", "from outside");

/// The init under test, and this program.
pub struct Init {
    /// The command of the init. The command of its child is appended.
    pub command: Vec<String>,
    /// The path of this program.
    pub probe: String,
}

/// The descriptors 0, 1 and 2 of the init.
#[derive(Clone, Copy, PartialEq)]
pub enum Streams {
    /// Three pipes.
    Pipes,
    /// No descriptor at all.
    Closed,
    /// A terminal, which is the controlling terminal of the init's session.
    Terminal,
}

/// The place in which the init starts.
#[derive(Clone, Copy)]
pub struct Setup {
    /// The descriptors of the init.
    pub streams: Streams,
    /// The file system is read-only, except `/tmp`, `/run` and `/dev`.
    pub read_only: bool,
    /// `/proc` is an empty directory.
    pub without_proc: bool,
    /// The init runs as a user without a name.
    pub other_user: bool,
    /// At most so many processes and threads of this user.
    pub tasks: Option<u64>,
}

impl Default for Setup {
    fn default() -> Self {
        let streams = Streams::Pipes;
        Self { streams, read_only: false, without_proc: false, other_user: false, tasks: None }
    }
}

/// The output of the init, as far as it has been read.
#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    /// Reads until the end, on a thread of its own.
    fn follow(&self, mut from: impl Read + Send + 'static) {
        let kept = self.clone();
        thread::spawn(move || {
            let mut block = [0; 1 << 16];
            while let Ok(count @ 1..) = from.read(&mut block) {
                if let Ok(mut kept) = kept.0.lock() {
                    kept.extend(&block[..count]);
                }
            }
        });
    }

    /// The text so far.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .map_or_else(|_| String::new(), |kept| String::from_utf8_lossy(&kept).into_owned())
    }

    /// Waits until the text contains these words.
    pub fn says(&self, words: &str, within: Duration) -> bool {
        let until = Instant::now() + within;
        poll_until(until, || self.text().contains(words))
    }
}

/// Looks every few milliseconds, where the kernel has no event.
pub fn poll_until(until: Instant, mut holds: impl FnMut() -> bool) -> bool {
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// An init with its child.
pub struct Room {
    listener: UnixListener,
    /// The process that made the namespace. Its end ends the namespace.
    door: Child,
    door_lines: Lines,
    /// PID 1, as seen from outside.
    pub pid: i32,
    /// The other end of the init's stdin.
    pub stdin: Option<Box<dyn Write>>,
    /// The terminal of the init.
    pub terminal: Option<OwnedFd>,
    /// The init's and its child's stdout.
    pub stdout: Output,
    /// The init's and its child's stderr.
    pub stderr: Output,
    ended: Option<ExitStatus>,
}

impl Drop for Room {
    fn drop(&mut self) {
        // The kernel then kills PID 1, and with it all of the namespace.
        let _ = self.door.kill();
        let _ = self.door.wait();
    }
}

static ROOMS: AtomicU32 = AtomicU32::new(0);

impl Room {
    /// Starts the init with a puppet in this role as its child.
    pub fn open(init: &Init, setup: Setup, role: &str) -> Outcome<Self> {
        Self::open_with(init, setup, |name| puppet(init, name, role))
    }

    /// Fails unless the init runs the words behind its command at all.
    pub fn try_out(init: &Init) -> Outcome {
        Self::open(init, Setup::default(), "puppet")?.puppet().map(drop)
    }

    /// Starts the init with a child whose command gets the name of the room's socket.
    pub fn open_with(
        init: &Init,
        setup: Setup,
        child: impl FnOnce(&str) -> Vec<String>,
    ) -> Outcome<Self> {
        let number = ROOMS.fetch_add(1, Ordering::Relaxed);
        let name = format!("pid1-probe-{}-{number}", std::process::id());
        let listener = wire::listen(&name)?;
        let mut command = Command::new(&init.probe);
        command
            .args(["door", &name])
            .args(options(setup))
            .arg("--")
            .args(&init.command)
            .args(child(&name));
        command.env(VARIABLE.0, VARIABLE.1);
        let (mut stdin, mut terminal) = (None, None);
        let (stdout, stderr) = (Output::default(), Output::default());
        if setup.streams == Streams::Terminal {
            let pair = openpty(None, None)?;
            command
                .stdin(pair.slave.try_clone()?)
                .stdout(pair.slave.try_clone()?)
                .stderr(pair.slave);
            stdout.follow(std::fs::File::from(pair.master.try_clone()?));
            terminal = Some(pair.master);
        } else {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut door = command.spawn()?;
        drop(command);
        if let Some(writer) = door.stdin.take() {
            stdin = Some(Box::new(writer) as Box<dyn Write>);
        }
        door.stdout.take().into_iter().for_each(|reader| stdout.follow(reader));
        door.stderr.take().into_iter().for_each(|reader| stderr.follow(reader));
        let Some(door_lines) = wire::accept(&listener, None, SOON)? else {
            let _ = door.kill();
            let _ = door.wait();
            return skip(format!("no namespace was made: {}", last_line(&stderr.text())));
        };
        let ended = None;
        let mut room =
            Self { listener, door, door_lines, pid: 0, stdin, terminal, stdout, stderr, ended };
        let said = room
            .door_lines
            .next(SOON)
            .map_err(|_| Verdict::Skip("no namespace was made".to_owned()))?;
        match said.split_once(' ') {
            Some(("pid", pid)) => room.pid = pid.parse().unwrap_or(0),
            _ => return skip(said),
        }
        Ok(room)
    }

    /// The next puppet that reports.
    pub fn puppet(&mut self) -> Outcome<Puppet> {
        let Some(mut lines) =
            wire::accept(&self.listener, Some(self.door_lines.stream().as_fd()), START)?
        else {
            return match self.end(Duration::ZERO) {
                Some(status) => fail(format!(
                    "the init {} before its child ran{}",
                    told(status),
                    self.last_words()
                )),
                None => fail(format!(
                    "the child of the init did not run within {} s{}",
                    START.as_secs(),
                    self.last_words()
                )),
            };
        };
        let hello = lines.next(SOON).unwrap_or_default();
        let words: Vec<_> = hello.split(' ').collect();
        if let ["hello", role] = words[..] {
            use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
            let pid = getsockopt(lines.stream(), PeerCredentials)?.pid();
            return Ok(Puppet { lines, pid, role: role.to_owned(), unread: Vec::new() });
        }
        skip(hello.trim_start_matches("cannot ").to_owned())
    }

    /// Sends a signal to PID 1, from outside, as a container runtime does.
    pub fn signal(&self, signal: i32) {
        let _ = sys::kill(self.pid, signal);
    }

    /// The end of PID 1, if it comes within this time.
    pub fn end(&mut self, within: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            let said = self.door_lines.next(within).ok()?;
            let raw = said.strip_prefix("ended ")?.parse().ok()?;
            self.ended = Some(ExitStatus::from_raw(raw));
        }
        self.ended
    }

    /// Fails unless PID 1 ends within this time.
    pub fn must_end(&mut self, within: Duration, after: &str) -> Outcome<ExitStatus> {
        match self.end(within) {
            Some(status) => Ok(status),
            None => fail(format!("the container still ran {} s after {after}", within.as_secs())),
        }
    }

    /// Fails unless PID 1 ends soon, with this code.
    pub fn must_exit(&mut self, code: i32, after: &str) -> Outcome {
        let status = self.must_end(SOON, after)?;
        check(status.code() == Some(code), || {
            format!("the init {} after {after}, in place of code {code}", told(status))
        })
    }

    /// Fails if PID 1 ends within this time.
    pub fn must_stay(&mut self, within: Duration, after: &str) -> Outcome {
        match self.end(within) {
            None => Ok(()),
            Some(status) => fail(format!("the init {} after {after}", told(status))),
        }
    }

    /// Waits until PID 1 has taken all signals that it got, and sleeps again. An init that is at
    /// work all the time is waited for a while.
    pub fn settle(&self) {
        poll_until(Instant::now() + SOON, || {
            let waiting = proc::signals(self.pid, "SigPnd") | proc::signals(self.pid, "ShdPnd");
            waiting == 0 && proc::state(self.pid) != Some('R')
        });
    }

    /// Fails unless PID 1 reaps this process, which has ended or will end.
    pub fn must_reap(&self, pid: i32, what: &str) -> Outcome {
        let gone = poll_until(Instant::now() + SOON, || proc::state(pid).is_none());
        check(gone, || match proc::state(pid) {
            Some('Z') => format!("{what} was still a zombie {} s after its end", SOON.as_secs()),
            _ => format!("{what} did not end within {} s", SOON.as_secs()),
        })
    }

    /// The last line of the output, to explain a failure.
    pub fn last_words(&self) -> String {
        let said = last_line(&self.stderr.text());
        let said = if said.is_empty() { last_line(&self.stdout.text()) } else { said };
        if said.is_empty() { said } else { format!(": {said}") }
    }
}

/// The command of a puppet.
pub fn puppet(init: &Init, socket: &str, role: &str) -> Vec<String> {
    [&init.probe, "puppet", socket, role].map(str::to_owned).to_vec()
}

fn options(setup: Setup) -> Vec<String> {
    let mut options = Vec::new();
    match setup.streams {
        Streams::Pipes => {}
        Streams::Closed => options.push("closed".to_owned()),
        Streams::Terminal => options.push("terminal".to_owned()),
    }
    let flags = [
        (setup.read_only, "read-only"),
        (setup.without_proc, "without-proc"),
        (setup.other_user, "other-user"),
    ];
    options.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
    options.extend(setup.tasks.map(|count| format!("tasks={count}")));
    options
}

fn last_line(text: &str) -> String {
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned()
}

/// An end in words.
pub fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (_, Some(signal)) => format!("was killed by {}", proc::signal_name(signal)),
        _ => "ended".to_owned(),
    }
}

/// A process of the probe that runs below the init, does what it is asked, and reports its signals.
pub struct Puppet {
    lines: Lines,
    /// Its PID, as seen from outside.
    pub pid: i32,
    /// Its role.
    pub role: String,
    unread: Vec<String>,
}

impl Puppet {
    /// Asks the puppet for something.
    pub fn ask(&mut self, line: &str) {
        self.lines.send(line);
    }

    /// The rest of the first line that begins with one of these words. Lines before it are kept.
    pub fn hear_any(&mut self, begins: &[String], within: Duration) -> Result<String, NoLine> {
        let fits = |line: &str| {
            begins.iter().any(|begin| line == begin || line.starts_with(&format!("{begin} ")))
        };
        let until = Instant::now() + within;
        loop {
            if let Some(place) = self.unread.iter().position(|line| fits(line)) {
                return Ok(self.unread.remove(place));
            }
            let line = self.lines.next(until.saturating_duration_since(Instant::now()))?;
            self.unread.push(line);
        }
    }

    /// The answer that begins with this word, without the word.
    pub fn hear(&mut self, begin: &str) -> Outcome<String> {
        match self.hear_any(&[begin.to_owned()], SOON) {
            Ok(line) => Ok(line[begin.len()..].trim().to_owned()),
            Err(NoLine::Ended) => fail("the child was killed"),
            Err(NoLine::Late) => skip(format!("the child did not answer `{begin}`")),
        }
    }

    /// Asks, and waits for the answer, which begins with the same word.
    pub fn answer(&mut self, line: &str) -> Outcome<String> {
        self.ask(line);
        self.hear(line.split(' ').next().unwrap_or_default())
    }

    /// Fails unless the puppet gets this signal.
    pub fn must_get(&mut self, signal: i32, who: &str) -> Outcome {
        let name = proc::signal_name(signal);
        match self.hear_any(&[format!("signal {signal}")], SOON) {
            Ok(_) => Ok(()),
            Err(NoLine::Ended) => fail(format!("{who} was killed before it got {name}")),
            Err(NoLine::Late) => {
                fail(format!("{who} did not get {name} within {} s", SOON.as_secs()))
            }
        }
    }

    /// Whether the puppet has got this signal so far.
    pub fn has_got(&mut self, signal: i32) -> Outcome<bool> {
        self.answer("ping")?;
        Ok(self.unread.iter().any(|line| *line == format!("signal {signal}")))
    }

    /// Whether the puppet still runs.
    pub fn lives(&mut self) -> bool {
        self.answer("ping").is_ok()
    }
}
