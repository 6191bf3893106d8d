//! The ways to replace a process, and the configs of the supervisors that replace the process.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::docker::LABEL;
use testkit::envoy;
use testkit::gateway::children;

use crate::protocol::Protocol;

/// The time that the server takes to start. docs/dev/replace.md shows this constant and the next
/// two.
const START_MILLISECONDS: u32 = 300;
/// The values of Envoy's `--drain-time-s` and `--parent-shutdown-time-s` in a hot restart. Both are
/// long enough for a client that sends once a second, and for the sessions of the clients.
const DRAIN_SECONDS: u32 = 2;
const PARENT_SECONDS: u32 = 6;
/// The longest time that a replacement, or an orderly end, may take.
const LONGEST: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);
/// The first port of the servers. The ports are below the kernel's ports for clients: otherwise a
/// client could take the port of a server that is being restarted.
const FIRST_PORT: u16 = 17_000;

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
        let needed: &[&str] = match self {
            Self::Supervisor => &["supervisord", "supervisorctl"],
            Self::S6 => &["s6-svscan", "s6-svc"],
            _ => &[],
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        let is_there =
            |name: &&&str| std::env::split_paths(&path).any(|place| place.join(name).is_file());
        if let Some(name) = needed.iter().find(|name| !is_there(name)) {
            return Some(format!("{name} is not installed"));
        }
        match self {
            Self::HotRestarter if !restarter().is_file() => Some(
                "it cannot be downloaded here; on HUP it runs its script again, with the next RESTART_EPOCH"
                    .to_owned(),
            ),
            Self::Docker if !static_server().is_file() => {
                Some("the server was not built for an empty image".to_owned())
            }
            Self::Docker if !succeeds(Command::new("docker").arg("version")) => {
                Some("no Docker".to_owned())
            }
            _ if self.is_envoy() => envoy::binary(envoy::DEFAULT).err().map(|it| it.to_string()),
            _ => None,
        }
    }
}

/// The directory with the configs of the bench.
fn files() -> PathBuf {
    envoy::checkout().join("benches/replace/configs")
}

fn target() -> PathBuf {
    envoy::checkout().join("target")
}

/// Envoy's own restarter.
fn restarter() -> PathBuf {
    target().join("bench-tools/hot-restarter.py")
}

/// The server as one file that runs in an empty image.
fn static_server() -> PathBuf {
    target().join("bench-tools/bench-server")
}

/// The drainit that is measured.
pub(crate) fn drainit() -> PathBuf {
    target().join("release/drainit")
}

fn server() -> PathBuf {
    target().join("release/bench-server")
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
    directory: PathBuf,
    addresses: Addresses,
    child: Child,
    /// The server behind Envoy; `None` if no Envoy is replaced.
    upstream: Option<Child>,
    container: Option<String>,
    base_id: u16,
}

impl Running {
    /// Starts the process and its supervisor, with their files in `directory`.
    pub(crate) fn start(mode: Mode, directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let mut addresses = Addresses::free()?;
        let mut upstream = None;
        let admin = free_address()?;
        if mode.is_envoy() {
            let behind = Addresses::free()?;
            let mut command = Command::new(server());
            upstream = Some(spawn(command.args(behind.list()), directory, "upstream.log")?);
            addresses.http2 = addresses.http1;
            write_envoy_config(directory, addresses, behind, admin)?;
        }
        let mut command = match mode.config() {
            Some(config) => run_drainit(config),
            None => peer(mode, directory, addresses)?,
        };
        let [http1, http2, tcp] = addresses.list();
        command
            .env("DIRECTORY", directory)
            .env("SERVER", server())
            .env("START_MILLISECONDS", START_MILLISECONDS.to_string())
            .envs([("HTTP1", http1), ("HTTP2", http2), ("TCP", tcp)])
            .env("ENVOY", target().join("envoy").join(envoy::DEFAULT).join("envoy"))
            .env("ADMIN_PORT", admin.port().to_string())
            .env("BASE_ID", admin.port().to_string())
            .env("DRAIN_SECONDS", DRAIN_SECONDS.to_string())
            .env("PARENT_SECONDS", PARENT_SECONDS.to_string());
        let child = spawn(&mut command, directory, "log")?;
        let container = (mode == Mode::Docker).then(|| container(directory));
        let base_id = admin.port();
        Ok(Self {
            mode,
            directory: directory.into(),
            addresses,
            child,
            upstream,
            container,
            base_id,
        })
    }

    /// The address for a protocol.
    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http1 | Protocol::WebSocket => self.addresses.http1,
            Protocol::Http2 | Protocol::Grpc => self.addresses.http2,
            Protocol::Tcp => self.addresses.tcp,
        }
    }

    /// Returns the command or the signal that replaces the process, to be used on another thread.
    pub(crate) fn replacement(&self) -> Replacement {
        let supervisor = self.child.id();
        let directory = self.directory.as_path();
        let mut command;
        match self.mode {
            mode if mode.is_drainit() => {
                command = Command::new(drainit());
                command.arg("restart").arg("--socket").arg(directory.join("control.sock"));
                command.arg(if mode.is_envoy() { "envoy" } else { "server" });
            }
            Mode::Supervisor => {
                command = Command::new("supervisorctl");
                command.arg("-c").arg(directory.join("supervisord.conf"));
                command.args(["restart", "server"]);
            }
            Mode::S6 => {
                command = Command::new("s6-svc");
                command.args(["-wr", "-T", "60000", "-r"]).arg(directory.join("scan/server"));
            }
            Mode::Docker => {
                command = Command::new("docker");
                command.args(["restart", &container(directory)]);
            }
            _ => return Replacement::Signal(supervisor),
        }
        Replacement::Command(command)
    }

    /// Returns the last lines of the output, for an error.
    pub(crate) fn output(&self) -> String {
        let text = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// The way to replace the process once.
#[derive(Debug)]
pub(crate) enum Replacement {
    /// A command, which returns when the process is replaced.
    Command(Command),
    /// SIGHUP to Envoy's restarter. The process is replaced when the restarter has one child again.
    Signal(u32),
}

impl Replacement {
    /// Replaces the process, and returns when the replacement is complete.
    pub(crate) fn run(self) -> io::Result<()> {
        match self {
            Self::Command(mut command) => {
                let output = command.stdin(Stdio::null()).output()?;
                if output.status.success() {
                    return Ok(());
                }
                let [out, err] =
                    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
                Err(io::Error::other(format!("{command:?}: {out}{err}")))
            }
            Self::Signal(restarter) => {
                kill(Pid::from_raw(restarter.cast_signed()), Signal::SIGHUP)?;
                for number in [2, 1] {
                    wait_until("the restarter", || children(restarter).len() == number)?;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(container) = &self.container {
            succeeds(Command::new("docker").args(["rm", "--force", container]));
        }
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
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    let _ = wait_until("the end", || !matches!(child.try_wait(), Ok(None)));
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) -> io::Result<()> {
    let begin = Instant::now();
    while !is_true() {
        if begin.elapsed() > LONGEST {
            return Err(io::Error::other(format!("{what} does not come")));
        }
        sleep(POLL);
    }
    Ok(())
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
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

fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST_PORT);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|_| address),
        }
    }
}

fn run_drainit(config: &str) -> Command {
    let mut command = Command::new(drainit());
    command.arg("run").arg("-c").arg(files().join(config));
    command
}

fn write_envoy_config(
    directory: &Path,
    front: Addresses,
    behind: Addresses,
    admin: SocketAddr,
) -> io::Result<()> {
    let mut config = fs::read_to_string(files().join("envoy.yaml"))?;
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

/// Writes the config of another supervisor and returns the command that runs it.
fn peer(mode: Mode, directory: &Path, addresses: Addresses) -> io::Result<Command> {
    let run = format!("{} {}", server().display(), addresses.list().join(" "));
    match mode {
        Mode::Supervisor => {
            let config = directory.join("supervisord.conf");
            let place = directory.display();
            fs::write(
                &config,
                format!(
                    "[supervisord]\nuser=root\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n\
                     pidfile={place}/supervisord.pid\n\
                     [unix_http_server]\nfile={place}/supervisord.sock\n\
                     [rpcinterface:supervisor]\n\
                     supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
                     [supervisorctl]\nserverurl=unix://{place}/supervisord.sock\n\
                     [program:server]\ncommand={run}\nstdout_logfile=NONE\nstderr_logfile=NONE\n"
                ),
            )?;
            let mut command = Command::new("supervisord");
            command.arg("-c").arg(config);
            Ok(command)
        }
        Mode::S6 => {
            let service = directory.join("scan/server");
            fs::create_dir_all(&service)?;
            write_script(&service.join("run"), &format!("#!/bin/sh\nexec {run}\n"))?;
            let mut command = Command::new("s6-svscan");
            command.arg(directory.join("scan"));
            Ok(command)
        }
        Mode::Docker => {
            let image = image(directory)?;
            let mut command = Command::new("docker");
            command.args(["run", "--network", "host", "--name", &container(directory)]);
            command.args(["--label", &format!("{LABEL}={}", std::process::id())]);
            command.args(["--env", "START_MILLISECONDS", &image]).args(addresses.list());
            Ok(command)
        }
        _ => {
            let script = directory.join("envoy.sh");
            write_script(
                &script,
                "#!/bin/sh\nexec \"$ENVOY\" -c \"$DIRECTORY/envoy.yaml\" --log-level warning --concurrency 2 \
                 --base-id \"$BASE_ID\" --restart-epoch \"$RESTART_EPOCH\" \
                 --drain-time-s \"$DRAIN_SECONDS\" --parent-shutdown-time-s \"$PARENT_SECONDS\"\n",
            )?;
            let mut command = Command::new("python3");
            command.arg(restarter()).arg(script);
            Ok(command)
        }
    }
}

fn write_script(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

/// The name of the container.
fn container(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    format!("bench-replace-{}-{name}", std::process::id())
}

/// Makes an image of the server alone, without a registry.
fn image(directory: &Path) -> io::Result<String> {
    let name = "drainit-test/bench-server".to_owned();
    let tar = directory.join("image.tar");
    let server = static_server();
    let place = server.parent().unwrap_or(&server);
    let mut pack = Command::new("tar");
    pack.arg("-cf").arg(&tar).arg("-C").arg(place).arg("bench-server");
    let mut import = Command::new("docker");
    import.args(["import", "--change", "ENTRYPOINT [\"/bench-server\"]"]);
    import.args(["--change", &format!("LABEL {LABEL}=1")]).arg(&tar).arg(&name);
    if succeeds(&mut pack) && succeeds(&mut import) {
        return Ok(name);
    }
    Err(io::Error::other("cannot make an image of the server"))
}
