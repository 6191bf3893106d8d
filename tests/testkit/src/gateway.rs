//! Runs the gateway of `examples/gateway` as a child process on free ports, and records how it
//! stops. Its supervisor is drainit, or the shell script with which drainit is compared.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::envoy;

/// The longest time until a gateway answers, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);
/// The longest stop of a gateway that is dropped while it runs.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);

/// The supervisor of a gateway, which decides how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// drainit as an ordinary process.
    Drainit(PathBuf),
    /// drainit as PID 1 of its own PID namespace, as in a container. Needs root.
    Init(PathBuf),
    /// `bash-gateway.sh plain`: SIGTERM goes to Envoy at once.
    Plain,
    /// `bash-gateway.sh recipe`: `drain_listeners?graceful`, a sleep, then SIGTERM.
    Recipe,
    /// `bash-gateway.sh careful`: the recipe with `healthcheck/fail` added.
    Careful,
}

impl Runner {
    /// Variables for overlays: the paths of drainit and of the example policy engine.
    fn programs(&self) -> Vec<(&'static str, PathBuf)> {
        let (Self::Drainit(drainit) | Self::Init(drainit)) = self else { return Vec::new() };
        let engine = drainit.with_file_name("examples").join("policy-engine");
        vec![("DRAINIT", drainit.clone()), ("POLICY_ENGINE", engine)]
    }
}

/// A gateway to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The supervisor of the gateway.
    pub runner: Runner,
    /// The Envoy executable.
    pub envoy: PathBuf,
    /// `ROUTER_DRAIN_TIME_SECONDS`; 0 turns the drain off.
    pub drain_seconds: u32,
    /// Overlays on `examples/gateway/drainit.yaml`, relative to the checkout.
    pub overlays: Vec<PathBuf>,
}

/// A line from the gateway's stdout or stderr, and the time at which it was read.
pub type Line = (Instant, String);

/// A running gateway. When it is dropped, it gets SIGTERM, and SIGKILL after `DROP_TIMEOUT`.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// The PID of the supervisor. The supervisor is `child`, or the child of `unshare` if it has
    /// its own PID namespace.
    pid: u32,
    address: SocketAddr,
    run_dir: PathBuf,
    lines: Arc<Mutex<Vec<Line>>>,
    members: Vec<Member>,
}

/// One of the gateway's processes.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The name of the process in `drainit.yaml`.
    pub name: &'static str,
    /// The PID of the process.
    pub pid: i32,
    /// The time at which the end of the process was noticed. Ends that are noticed together have
    /// the same time.
    pub gone: Option<Instant>,
}

impl Gateway {
    /// Starts a gateway and waits until it answers a request with 200.
    pub async fn start(spec: &Spec) -> io::Result<Self> {
        let address = free_address()?;
        let run_dir = run_dir();
        let mut child = command(&spec.runner, &spec.overlays)
            .current_dir(envoy::checkout())
            .env("GATEWAY_RUN_DIR", &run_dir)
            .env("GATEWAY_ADDRESS", address.ip().to_string())
            .env("GATEWAY_PORT", address.port().to_string())
            .env("ROUTER_DRAIN_TIME_SECONDS", spec.drain_seconds.to_string())
            .env("ENVOY", &spec.envoy)
            .envs(spec.runner.programs())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                io::Error::other(format!("cannot start {:?}: {error}", spec.runner))
            })?;
        let lines = Arc::default();
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            collect(stdout, &lines);
            collect(stderr, &lines);
        }
        let mut gateway =
            Self { pid: child.id(), child, address, run_dir, lines, members: Vec::new() };
        gateway.wait_for_answer().await?;
        if let Runner::Init(_) = spec.runner {
            let init = children(gateway.pid).into_iter().next();
            gateway.pid = init.ok_or_else(|| gateway.problem("has no init"))?;
        }
        gateway.members = members(gateway.pid);
        Ok(gateway)
    }

    /// The address at which the gateway serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PID of the supervisor.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.pid).unwrap_or(i32::MAX))
    }

    /// The output of the gateway so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The processes of the gateway that were found so far.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Sends SIGTERM to the supervisor.
    pub fn terminate(&self) -> io::Result<()> {
        Ok(kill(self.pid(), Signal::SIGTERM)?)
    }

    /// Waits until the gateway has ended, and records when each process ended.
    pub async fn gone(&mut self) -> io::Result<ExitStatus> {
        loop {
            let status = self.child.try_wait()?;
            self.look();
            if let Some(status) = status {
                return Ok(status);
            }
            sleep(POLL).await;
        }
    }

    /// Records which processes have ended. Once a process has ended, this function looks at all
    /// others again: some may have ended before that process, so all get the same time.
    fn look(&mut self) {
        let now = Instant::now();
        let lives = |member: &Member| member.gone.is_none() && is_alive(member.pid);
        let first: Vec<_> = self.members.iter().map(lives).collect();
        if first.iter().zip(&self.members).all(|(lives, member)| *lives || member.gone.is_some()) {
            return;
        }
        for member in self.members.iter_mut().filter(|member| member.gone.is_none()) {
            member.gone = (!is_alive(member.pid)).then_some(now);
        }
    }

    async fn wait_for_answer(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.problem(&format!("ended with {status} before it answered")));
            }
            if answers(self.address).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(self.problem("has not answered a request in time"))
    }

    fn problem(&self, what: &str) -> io::Error {
        let lines: Vec<_> = self.lines().into_iter().map(|(_, line)| line).collect();
        io::Error::other(format!("the gateway {what}; it said:\n{}", lines.join("\n")))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let asked = Instant::now();
        if matches!(self.child.try_wait(), Ok(None)) && self.terminate().is_ok() {
            while asked.elapsed() < DROP_TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(POLL);
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            for member in members(self.pid) {
                let _ = kill(Pid::from_raw(member.pid), Signal::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.run_dir);
    }
}

fn command(runner: &Runner, overlays: &[PathBuf]) -> Command {
    let script = |mode| {
        let mut command = Command::new("bash");
        command.args(["tests/testkit/scripts/bash-gateway.sh", mode]);
        command
    };
    let mut command = match runner {
        Runner::Drainit(binary) => Command::new(binary),
        Runner::Init(binary) => {
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(binary);
            command
        }
        Runner::Plain => return script("plain"),
        Runner::Recipe => return script("recipe"),
        Runner::Careful => return script("careful"),
    };
    command.args(["run", "-c", "examples/gateway/drainit.yaml"]);
    command.args(overlays.iter().flat_map(|overlay| [Path::new("-c"), overlay]));
    command
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

/// Reads the output to its end on a separate thread, so that the gateway never waits for a reader.
pub fn collect(from: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<Line>>>) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            lines.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), line));
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

/// The processes of the gateway among the children of `parent`.
fn members(parent: u32) -> Vec<Member> {
    let known = |pid: u32| {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = command.replace('\0', " ");
        ["envoy.yaml", "policy_engine.py", "policy-engine -listen", "python_executor.py"]
            .iter()
            .zip(["router", "policy-engine", "policy-engine", "python-executor"])
            .find(|(mark, _)| command.contains(*mark))
            .and_then(|(_, name)| Some(Member { name, pid: i32::try_from(pid).ok()?, gone: None }))
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
