//! A pod: one Envoy, or another server, in its own network namespace, and the process that handles
//! SIGTERM for it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use benches::result::drainit;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::envoy;
use testkit::gateway::{Line, answers, children, spawn};
use tokio::time::sleep;

use crate::node::{self, Network, Quota};
use crate::rows::{Row, Size};
use crate::upstream::Upstream;

/// The longest time until the first answer of a large Envoy with a tenth of a core.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(5);
/// The port for HTTP/1.1, HTTP/2 and WebSocket.
pub(crate) const HTTP: u16 = 8080;
/// The port of the TCP proxy.
pub(crate) const TCP: u16 = 9000;
/// The port of Envoy's admin interface, on the loopback interface of the pod.
const ADMIN: &str = "9901";
/// The seconds for which the recipe sleeps, and the maximum drain time of drainit.
pub(crate) const DRAIN_SECONDS: &str = "15";

/// The way in which a pod handles SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// Envoy receives SIGTERM directly.
    Plain,
    /// A script calls `drain_listeners?graceful`, sleeps, and then sends SIGTERM to Envoy.
    Recipe,
    /// The script of the recipe, with Envoy's `--drain-time-s` as long as the sleep.
    RecipeWithDrainTime,
    /// drainit drains and stops Envoy.
    Drainit,
    /// drainit drains another server by its graceful stop signal.
    Signal,
    /// drainit drains another server until the kernel shows that no answer is owed.
    Connections,
}

impl Mode {
    /// All modes of an Envoy, in the order of the table.
    pub(crate) const ALL: [Self; 4] =
        [Self::Plain, Self::Recipe, Self::RecipeWithDrainTime, Self::Drainit];
    /// All modes of another server.
    pub(crate) const OF_SERVER: [Self; 3] = [Self::Plain, Self::Signal, Self::Connections];

    /// Returns the name of the mode in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "SIGTERM",
            Self::Recipe => "recipe",
            Self::RecipeWithDrainTime => "recipe+time",
            Self::Drainit => "drainit",
            Self::Signal => "signal",
            Self::Connections => "connections",
        }
    }
}

/// A server that is not an Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Go,
    Nginx,
    Node,
    Uvicorn,
}

impl Server {
    pub(crate) const ALL: [Self; 4] = [Self::Nginx, Self::Node, Self::Go, Self::Uvicorn];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Go => "Go",
            Self::Nginx => "nginx",
            Self::Node => "Node",
            Self::Uvicorn => "uvicorn",
        }
    }

    /// The signal on which the server finishes its requests.
    pub(crate) fn graceful(self) -> &'static str {
        if self == Self::Nginx { "QUIT" } else { "TERM" }
    }

    /// The command of the server, whose files are in this directory.
    fn command(self, directory: &Path) -> Vec<String> {
        let directory = directory.display();
        let command = match self {
            Self::Go => format!("{directory}/go-server"),
            Self::Nginx => format!("nginx -e stderr -p {directory} -c {directory}/nginx.conf"),
            Self::Node => format!("node {directory}/server.js"),
            Self::Uvicorn => format!(
                "uvicorn --app-dir {directory} --host 0.0.0.0 --port 8080 --no-access-log \
                 --timeout-keep-alive 75 app:app"
            ),
        };
        command.split(' ').map(str::to_owned).collect()
    }
}

/// A running pod; its processes are killed on drop.
#[derive(Debug)]
pub(crate) struct Pod {
    child: Child,
    network: Network,
    directory: PathBuf,
    lines: Arc<Mutex<Vec<Line>>>,
}

impl Pod {
    /// Starts a pod and waits until it answers.
    pub(crate) async fn start(mode: Mode, row: &Row, upstream: &Upstream) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = node::directory().join(format!("pod{number}"));
        fs::create_dir_all(&directory)?;
        let quota = row.size.processors.map(|share| Quota::new(number, share)).transpose()?;
        let network = Network::new(quota)?;
        let mut command = match row.server {
            Some(server) => server_command(mode, &network, server, &directory, upstream)?,
            None => {
                let config = directory.join("envoy.yaml");
                fs::write(&config, envoy_config(upstream, row.size)?)?;
                command(mode, &network, &envoy::binary(row.envoy)?, row.drain_time, &config)
            }
        };
        let (child, lines) = spawn(&mut command, &format!("{mode:?}"))?;
        let mut pod = Self { child, network, directory, lines };
        pod.wait_for_answer().await?;
        Ok(pod)
    }

    /// Returns the address of the pod, which no client knows.
    pub(crate) fn address(&self) -> Ipv4Addr {
        self.network.address
    }

    /// Sends SIGTERM to the pod.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX));
        Ok(kill(pid, Signal::SIGTERM)?)
    }

    /// Sends SIGKILL to the pod.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Waits until the pod has ended.
    pub(crate) async fn gone(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(POLL).await;
        }
    }

    /// Returns the output of the pod so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait_for_answer(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT && self.child.try_wait()?.is_none() {
            if answers(SocketAddr::from((self.address(), HTTP))).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(POLL * 4).await;
        }
        let lines: Vec<_> = self.lines().into_iter().map(|(_, line)| line).collect();
        Err(io::Error::other(format!("a pod does not answer; it said:\n{}", lines.join("\n"))))
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            for pid in children(self.child.id()) {
                let _ =
                    kill(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)), Signal::SIGKILL);
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        thread::yield_now();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn files() -> PathBuf {
    envoy::checkout().join("benches/rollout")
}

fn envoy_config(upstream: &Upstream, size: Size) -> io::Result<String> {
    let mut config = fs::read_to_string(files().join("envoy.yaml"))?;
    let listeners: String = (1..=size.listeners).map(idle_listener).collect();
    config = config.replace("\n  clusters:\n", &format!("{listeners}\n  clusters:\n"));
    for number in 1..=size.clusters {
        let _ = writeln!(config, "    - {{name: idle-{number}, type: STATIC}}");
    }
    for (name, address) in [("UPSTREAM", upstream.http), ("ECHO", upstream.echo)] {
        config = config.replace(&format!("${{{name}_PORT}}"), &address.port().to_string());
    }
    Ok(config)
}

fn idle_listener(number: usize) -> String {
    format!(
        r#"
    - name: idle-{number}
      address:
        socket_address: {{address: 127.0.0.1, port_value: 0}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.tcp_proxy
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
                stat_prefix: idle-{number}
                cluster: echo
"#
    )
}

fn command(
    mode: Mode,
    network: &Network,
    envoy: &Path,
    drain_time: Option<&str>,
    config: &Path,
) -> Command {
    if mode == Mode::Drainit {
        let mut command = network.command(&drainit());
        command.arg("run").arg("-c").arg(files().join("drainit.yaml"));
        command.env("ENVOY", envoy).env("ENVOY_CONFIG", config).env("ADMIN_PORT", ADMIN);
        command.envs(drain_time.map(|seconds| ("ENVOY_DRAIN_SECONDS", seconds)));
        return command;
    }
    let mut command = if mode == Mode::Plain {
        network.command(envoy)
    } else {
        let mut command = network.command(&files().join("recipe.sh"));
        command.arg(DRAIN_SECONDS).arg(ADMIN).arg(envoy);
        command
    };
    command.arg("-c").arg(config);
    command.args(["--log-level", "warning", "--concurrency", "2", "--disable-hot-restart"]);
    let tuned = (mode == Mode::RecipeWithDrainTime).then_some(DRAIN_SECONDS);
    if let Some(seconds) = drain_time.or(tuned) {
        command.args(["--drain-time-s", seconds]);
    }
    command
}

fn server_command(
    mode: Mode,
    network: &Network,
    server: Server,
    directory: &Path,
    upstream: &Upstream,
) -> io::Result<Command> {
    for name in ["app.py", "server.js", "nginx.conf"] {
        let text = fs::read_to_string(files().join("servers").join(name))?;
        fs::write(directory.join(name), text.replace("UPSTREAM", &upstream.http.to_string()))?;
    }
    let words = server.command(directory);
    if server == Server::Go {
        let source = files().join("servers/server.go");
        let built = Command::new("go").args(["build", "-o", &words[0]]).arg(source).status()?;
        if !built.success() {
            return Err(io::Error::other("`go build` has failed"));
        }
    }
    let drain = match mode {
        Mode::Signal => format!("{{signal: {{signal: {}, time: 15s}}}}", server.graceful()),
        Mode::Connections => "{connections: {time: 15s, min: 5s}}".to_owned(),
        _ => {
            let mut command = network.command(Path::new(&words[0]));
            command.args(&words[1..]);
            return Ok(command);
        }
    };
    let config = format!(
        "shutdown: {{grace_period: 30s}}\nprocesses:\n  server:\n    command: {words:?}\n    \
         readiness: {{tcp: '127.0.0.1:8080'}}\n    drain: {drain}\n    stop_signal: {}\n",
        server.graceful()
    );
    let path = directory.join("drainit.yaml");
    fs::write(&path, config)?;
    let mut command = network.command(&drainit());
    command.arg("run").arg("-c").arg(path);
    Ok(command)
}
