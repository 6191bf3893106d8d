//! Runs the gateway of `examples/gateway` as a child process on free ports, and records how it
//! stops. Its supervisor is drainit, or the shell script with which drainit is compared.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::envoy;
use crate::load::{Load, lock};

/// The longest time until a gateway answers, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time between two looks at the processes of a gateway.
pub(crate) const POLL: Duration = Duration::from_millis(10);
/// The longest stop of a gateway that is dropped while it runs.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// A line from the gateway's stdout or stderr, and the time at which it was read.
pub type Line = (Instant, String);

/// A running gateway. When it is dropped, it gets SIGTERM, and SIGKILL after `DROP_TIMEOUT`.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    /// The address at which the gateway serves.
    pub(crate) address: SocketAddr,
    run_dir: PathBuf,
    lines: Arc<Mutex<Vec<Line>>>,
    /// The names and the PIDs of the gateway's processes.
    members: Vec<(&'static str, i32)>,
    /// The processes that have ended, each with the time at which its end was noticed.
    pub(crate) went: Vec<(Instant, &'static str)>,
    /// The time at which the supervisor ended, and its exit status.
    pub(crate) ended: Option<(Instant, ExitStatus)>,
}

impl Gateway {
    /// Starts a gateway and waits until it answers a request with 200. `mode` is `drainit`, or the
    /// mode of `bash-gateway.sh`. `drain_seconds` are `ROUTER_DRAIN_TIME_SECONDS`; 0 turns the
    /// drain off.
    pub(crate) fn start(mode: &str, envoy: &Path, drain_seconds: u32) -> io::Result<Self> {
        let address = free_address()?;
        let run_dir = run_dir();
        let words = match mode {
            "drainit" => ["target/release/drainit", "run", "-c", "examples/gateway/drainit.yaml"],
            _ => ["bash", "--", "tests/testkit/scripts/bash-gateway.sh", mode],
        };
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .current_dir(envoy::checkout())
            .env("GATEWAY_RUN_DIR", &run_dir)
            .env("GATEWAY_ADDRESS", address.ip().to_string())
            .env("GATEWAY_PORT", address.port().to_string())
            .env("ROUTER_DRAIN_TIME_SECONDS", drain_seconds.to_string())
            .env("ENVOY", envoy);
        let (child, lines) = spawn(&mut command, words[0])?;
        let (members, went) = (Vec::new(), Vec::new());
        let mut gateway = Self { child, address, run_dir, lines, members, went, ended: None };
        let started = Instant::now();
        while !Load::probe(address) {
            gateway.look()?;
            if gateway.ended.is_some() || started.elapsed() > START_TIMEOUT {
                let lines: Vec<_> = gateway.lines().into_iter().map(|(_, line)| line).collect();
                let lines = lines.join("\n");
                return Err(io::Error::other(format!("the gateway does not answer:\n{lines}")));
            }
            sleep(POLL);
        }
        gateway.members = members_of(gateway.child.id());
        Ok(gateway)
    }

    /// The output of the gateway so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        lock(&self.lines).clone()
    }

    /// Sends SIGTERM to the supervisor.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?)
    }

    /// Records which processes have ended.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        if self.ended.is_none() {
            let ended = self.child.try_wait()?.map(|status| (Instant::now(), status));
            let gone = self.members.extract_if(.., |(_, pid)| !is_alive(*pid));
            self.went.extend(gone.map(|(name, _)| (Instant::now(), name)));
            self.ended = ended;
        }
        Ok(())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let asked = Instant::now();
        if matches!(self.child.try_wait(), Ok(None)) && self.terminate().is_ok() {
            while asked.elapsed() < DROP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                sleep(POLL);
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            for (_, pid) in members_of(self.child.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

/// A new directory for each gateway, short enough for the path of a Unix socket.
fn run_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Path::new("/tmp").join(format!("drainit-gateway-{}-{number}", std::process::id()))
}

/// Returns an address whose port has no listener. The port is below the kernel's ephemeral range:
/// any connection could take a port of that range before Envoy binds it.
pub fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) + std::process::id().wrapping_mul(101);
        let port = 10_000 + u16::try_from(number % 20_000).unwrap_or_default();
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return listener.local_addr(),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
}

/// Starts a program, and collects its output.
pub fn spawn(command: &mut Command, name: &str) -> io::Result<(Child, Arc<Mutex<Vec<Line>>>)> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error| io::Error::other(format!("cannot start {name}: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let lines = Arc::default();
    if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
        collect(stdout, &lines);
        collect(stderr, &lines);
    }
    Ok((child, lines))
}

/// Reads the output to its end on a separate thread, so that the program never waits for a reader.
fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<Line>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lock(&lines).push((Instant::now(), line));
        }
    });
}

/// Whether this address answers a request with 200.
pub async fn answers(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

/// The names and the PIDs of the gateway's processes among the children of `parent`.
fn members_of(parent: u32) -> Vec<(&'static str, i32)> {
    let known = |pid: u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let marks = ["envoy.yaml", "policy_engine.py", "python_executor.py"];
        let mut names = marks.iter().zip(["router", "policy-engine", "python-executor"]);
        let (_, name) = names.find(|(mark, _)| command.contains(*mark))?;
        Some((name, pid.cast_signed()))
    };
    children(parent).into_iter().filter_map(known).collect()
}

/// The PIDs of the children of `parent`.
pub fn children(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Whether a process exists and is not a zombie.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
