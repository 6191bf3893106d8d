//! The ways to replace a process, and the supervisors that replace the process.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use benches::load::Protocol;
use benches::result::drainit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::docker::LABEL;
use testkit::envoy::{self, checkout};
use testkit::gateway::{children, free_address};

/// The time that the server takes to start. docs/measured/replace.md shows this constant and the next
/// two.
const START_MILLISECONDS: u32 = 300;
/// The values of Envoy's `--drain-time-s` and `--parent-shutdown-time-s` in a hot restart. Both are
/// long enough for a client that sends once a second, and for the sessions of the clients.
const DRAIN_SECONDS: u32 = 2;
const PARENT_SECONDS: u32 = 6;
/// The seconds that a replacement may take.
const LONGEST: &str = "60";
/// The longest time that an orderly end may take.
const LONGEST_END: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A column of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    StopFirst,
    Listen,
    StartFirst,
    Supervisor,
    Docker,
    S6,
    EnvoyStopFirst,
    HotRestart,
    HotRestarter,
}

impl Mode {
    /// All modes, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::StopFirst,
        Self::Listen,
        Self::StartFirst,
        Self::Supervisor,
        Self::Docker,
        Self::S6,
        Self::EnvoyStopFirst,
        Self::HotRestart,
        Self::HotRestarter,
    ];

    /// The name in the table and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::StopFirst => "stop-first",
            Self::Listen => "listen",
            Self::StartFirst => "start-first",
            Self::Supervisor => "supervisorctl",
            Self::Docker => "docker",
            Self::S6 => "s6",
            Self::EnvoyStopFirst => "Envoy, stop-first",
            Self::HotRestart => "Envoy, hot-restart",
            Self::HotRestarter => "hot-restarter.py",
        }
    }

    /// Whether drainit replaces the process.
    pub(crate) fn is_drainit(self) -> bool {
        self.config().is_some()
    }

    /// Whether this mode promises that no request is lost.
    pub(crate) fn is_clean(self) -> bool {
        matches!(self, Self::Listen | Self::StartFirst | Self::HotRestart)
    }

    /// Whether the replaced process is an Envoy. If not, it is the server of the bench.
    pub(crate) fn is_envoy(self) -> bool {
        matches!(self, Self::EnvoyStopFirst | Self::HotRestart | Self::HotRestarter)
    }

    /// The config of drainit; `None` if another program replaces the process.
    fn config(self) -> Option<&'static str> {
        match self {
            Self::StopFirst => Some("stop-first.yaml"),
            Self::Listen => Some("listen.yaml"),
            Self::StartFirst => Some("start-first.yaml"),
            Self::EnvoyStopFirst => Some("envoy-stop-first.yaml"),
            Self::HotRestart => Some("envoy-hot-restart.yaml"),
            Self::Supervisor | Self::Docker | Self::S6 | Self::HotRestarter => None,
        }
    }

    /// Says what the mode needs and this machine lacks; `None` if nothing is missing.
    pub(crate) fn missing(self) -> Option<String> {
        if self.is_envoy()
            && let Err(problem) = envoy::binary(envoy::DEFAULT)
        {
            return Some(problem.to_string());
        }
        let output = self.peer("missing").env("TOOLS", tools()).output();
        let why = output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "),
        );
        (!why.is_empty()).then_some(why)
    }

    /// Returns a command of the script for the peers.
    fn peer(self, what: &str) -> Command {
        let mut command = Command::new(configs().join("peers.sh"));
        command.args([self.name(), what]).stdin(Stdio::null());
        command
    }
}

/// The directory with the configs of the bench.
fn configs() -> PathBuf {
    checkout().join("benches/replace/configs")
}

fn tools() -> PathBuf {
    checkout().join("target/bench-tools")
}

/// The addresses of a server.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    http1: SocketAddr,
    http2: SocketAddr,
    tcp: SocketAddr,
}

impl Addresses {
    fn free() -> io::Result<Self> {
        Ok(Self { http1: free_address()?, http2: free_address()?, tcp: free_address()? })
    }

    fn list(self) -> [String; 3] {
        [self.http1, self.http2, self.tcp].map(|address| address.to_string())
    }
}

/// A running process with the supervisor that replaces it. Both are stopped on drop.
#[derive(Debug)]
pub(crate) struct Running {
    mode: Mode,
    addresses: Addresses,
    /// The variables for the configs and for the script of the peers.
    variables: Vec<(&'static str, String)>,
    directory: PathBuf,
    child: Child,
    /// The server behind Envoy; `None` if no Envoy is replaced.
    upstream: Option<Child>,
    base_id: u16,
}

impl Running {
    /// Starts the process and its supervisor, with their files in `directory`.
    pub(crate) fn start(mode: Mode, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut addresses = Addresses::free()?;
        let mut upstream = None;
        let admin = free_address()?;
        let base_id = admin.port();
        let server = checkout().join("target/release/bench-server");
        if mode.is_envoy() {
            let behind = Addresses::free()?;
            let mut command = Command::new(&server);
            upstream = Some(spawn(command.args(behind.list()), directory, "upstream.log")?);
            addresses.http2 = addresses.http1;
            write_envoy_config(directory, addresses, behind, admin)?;
        }
        let [http1, http2, tcp] = addresses.list();
        let envoy = checkout().join("target/envoy").join(envoy::DEFAULT).join("envoy");
        let number = directory.file_name().unwrap_or_default().to_string_lossy();
        let variables = vec![
            ("DIRECTORY", directory.display().to_string()),
            ("TOOLS", tools().display().to_string()),
            ("SERVER", server.display().to_string()),
            ("START_MILLISECONDS", START_MILLISECONDS.to_string()),
            ("HTTP1", http1),
            ("HTTP2", http2),
            ("TCP", tcp),
            ("ENVOY", envoy.display().to_string()),
            ("ADMIN_PORT", admin.port().to_string()),
            ("BASE_ID", base_id.to_string()),
            ("DRAIN_SECONDS", DRAIN_SECONDS.to_string()),
            ("PARENT_SECONDS", PARENT_SECONDS.to_string()),
            ("NAME", format!("bench-replace-{}-{number}", std::process::id())),
            ("LABEL", LABEL.to_owned()),
        ];
        let mut command = match mode.config() {
            Some(config) => {
                let mut command = Command::new(drainit());
                command.arg("run").arg("-c").arg(configs().join(config));
                command
            }
            None => mode.peer("run"),
        };
        let child = spawn(command.envs(variables.iter().cloned()), directory, "log")?;
        let directory = directory.into();
        Ok(Self { mode, addresses, variables, directory, child, upstream, base_id })
    }

    /// The address for a protocol.
    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 | Protocol::WebSocket => self.addresses.http1,
            Protocol::Http2 | Protocol::Grpc => self.addresses.http2,
            Protocol::Tcp => self.addresses.tcp,
        }
    }

    /// Returns the command that replaces the process once, to be used on another thread. The
    /// command returns when the process is replaced.
    pub(crate) fn replacement(&self) -> Command {
        let restart = if self.mode.is_drainit() {
            let mut command = Command::new(drainit());
            command.arg("restart").arg("--socket").arg(self.directory.join("control.sock"));
            command.arg(if self.mode.is_envoy() { "envoy" } else { "server" });
            command
        } else {
            self.mode.peer("restart")
        };
        let mut command = Command::new("timeout");
        command.arg(LONGEST).arg(restart.get_program()).args(restart.get_args());
        command.envs(self.variables.iter().cloned());
        command.env("SUPERVISOR", self.child.id().to_string()).stdin(Stdio::null());
        command
    }

    /// Returns the last lines of the output, for an error.
    pub(crate) fn output(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.mode.peer("end").envs(self.variables.iter().cloned()).output();
        let supervised = children(self.child.id());
        terminate(&mut self.child);
        for pid in supervised {
            // The process may still run if its supervisor had to be killed or does not stop it.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        if let Some(upstream) = &mut self.upstream {
            terminate(upstream);
        }
        // Envoy leaves the file of its shared memory behind.
        let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}0", self.base_id));
    }
}

fn terminate(child: &mut Child) {
    let begin = Instant::now();
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    while matches!(child.try_wait(), Ok(None)) && begin.elapsed() < LONGEST_END {
        sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Starts a process that ends with this thread.
fn spawn(command: &mut Command, directory: &Path, log: &str) -> io::Result<Child> {
    let log = File::create(directory.join(log))?;
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "TERM"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

fn write_envoy_config(
    directory: &Path,
    front: Addresses,
    behind: Addresses,
    admin: SocketAddr,
) -> io::Result<()> {
    let mut config = fs::read_to_string(configs().join("envoy.yaml"))?;
    for (name, address) in [
        ("ADMIN", admin),
        ("HTTP", front.http1),
        ("TCP", front.tcp),
        ("UPSTREAM_HTTP1", behind.http1),
        ("UPSTREAM_HTTP2", behind.http2),
        ("UPSTREAM_TCP", behind.tcp),
    ] {
        config = config.replace(&format!("${{{name}_PORT}}"), &address.port().to_string());
    }
    fs::write(directory.join("envoy.yaml"), config)
}
