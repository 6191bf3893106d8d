//! The config as the rest of drainit uses it: every value resolved, checked and typed.
//!
//! These types hold what was meant, not how it was written; [`crate::load::load`] makes them or says why it cannot.
//! Where Docker Compose has a word for a thing, that word is used.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regex_lite::Regex;

use crate::types::Signal;

/// A whole config.
#[derive(Clone, Debug)]
pub struct Config {
    /// `env:` defaults that the container's environment does not override, in file order. Every process gets them.
    pub env: Vec<(String, String)>,
    /// How the container stops.
    pub shutdown: Shutdown,
    /// Where drainit can be asked how it is.
    pub control: Control,
    /// How output is written.
    pub logging: Logging,
    /// Commands at the start and end of the whole container.
    pub hooks: Hooks,
    /// The processes, in file order; a [`crate::types::ProcessId`] is a place in this list.
    pub processes: Vec<Process>,
}

/// `shutdown:`, the frame into which everything at the end is fitted.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// The pod's `terminationGracePeriodSeconds`; the whole shutdown is fitted into it. Default 30 s, as Kubernetes has it.
    pub grace_period: Duration,
    /// Kept free at its end. Default 2 s.
    pub reserve: Duration,
    /// `/readyz` answers 503 this long before the drain begins. Default 0.
    pub readiness_delay: Duration,
    /// The signals that stop the container. Default TERM, INT, QUIT.
    pub signals: Vec<Signal>,
}

impl Shutdown {
    /// The time from T0 to the deadline.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.grace_period.saturating_sub(self.reserve)
    }
}

/// `control:`, off unless set.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// TCP address of the HTTP endpoints.
    pub listen: Option<SocketAddr>,
    /// Unix socket with the same endpoints.
    pub socket: Option<PathBuf>,
    /// `POST /drain` is taken at `listen`, too.
    pub drain_over_tcp: bool,
}

/// `logging:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Logging {
    /// Plain prefixed lines, or one JSON object a line.
    pub format: LogFormat,
}

/// The form of a line of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `[prefix] line`
    #[default]
    Text,
    /// `{"time":…,"process":…,"stream":…,"message":…}`
    Json,
}

/// `hooks:` of the container or of a process.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// Before the (first) start. Its failure is a failed start.
    pub pre_start: Option<Hook>,
    /// Before anything is stopped. Its failure is reported and changes nothing.
    pub pre_stop: Option<Hook>,
    /// After the end. Its failure is reported and changes nothing.
    pub post_stop: Option<Hook>,
}

/// One command of `hooks:`.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// When it is killed. Unset: after 10 s, or what the deadline leaves of them.
    pub timeout: Option<Duration>,
}

/// One entry of `processes:`.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its key in the file.
    pub name: String,
    /// The program and its arguments; never empty.
    pub command: Vec<String>,
    /// A service runs until it is stopped; a oneshot must complete.
    pub kind: ProcessKind,
    /// When not fulfilled at its start, the process is left out and counts as done.
    pub only_if: Option<OnlyIf>,
    /// Which of the container's arguments go to it.
    pub args: Option<ArgRoute>,
    /// Unix sockets removed before the start and after the end.
    pub sockets: Vec<PathBuf>,
    /// What it needs before it starts, and what is stopped only after it is gone.
    pub depends_on: Vec<Dependency>,
    /// When it counts as ready. Without it: once it runs.
    pub readiness: Option<Readiness>,
    /// The signal that asks it to end. Default TERM.
    pub stop_signal: Signal,
    /// How long it may take after `stop_signal` before KILL. Unset: up to 10 s of what the deadline leaves.
    pub stop_grace_period: Option<Duration>,
    /// Variables of this process: `env_file` (already read), then `environment`; later entries win.
    /// `None`: it does not get the variable, also where the container has one.
    pub environment: Vec<(String, Option<String>)>,
    /// Its working directory; unset: drainit's own.
    pub working_dir: Option<PathBuf>,
    /// Whom it runs as; unset: drainit's own user.
    pub user: Option<User>,
    /// What its end leads to before `on_exit` is asked.
    pub restart: Restart,
    /// What its unasked end means for the container.
    pub on_exit: OnExit,
    /// Whether the container is ready only while this process has not ended for good with a failure.
    pub required: bool,
    /// Signals that drainit passes on to it.
    pub forward_signals: Vec<Signal>,
    /// Commands around its life.
    pub hooks: Hooks,
    /// How traffic is taken away from it first. `None` where `time` is 0.
    pub drain: Option<Drain>,
    /// Where its output goes.
    pub log: LogMode,
}

/// `type:` of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProcessKind {
    /// Runs until stopped.
    #[default]
    Service,
    /// Must complete with code 0.
    Oneshot,
}

/// What `only_if:` of a process leaves to be seen. What it says of variables is known when the config is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnlyIf {
    /// Something exists at this path at the moment of the start.
    PathExists(PathBuf),
    /// Its `value` is not what it must be.
    Never,
}

/// `args:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgRoute {
    /// Arguments that begin with it go to the process, with `--` in its place.
    pub prefix: String,
    /// Option names that must not be given this way.
    pub refuse: Vec<String>,
}

/// One entry of `depends_on:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The name of the process that is needed.
    pub process: String,
    /// How far it must be.
    pub condition: StartCondition,
}

/// `condition:` of a dependency. Default: `completed` for a oneshot, `ready` for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartCondition {
    /// It was started.
    Started,
    /// Its readiness was seen.
    Ready,
    /// It ended with code 0.
    Completed,
}

/// `readiness:`.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// What is asked.
    pub probe: Probe,
    /// The longest time between two attempts, where the kernel cannot say when to look. Default 100 ms.
    pub interval: Duration,
    /// From the start of the process; when it is over, the start has failed. Default 30 s.
    pub timeout: Duration,
}

/// How readiness is seen.
#[derive(Clone, Debug)]
pub enum Probe {
    /// A connection to this Unix socket is accepted.
    Unix(PathBuf),
    /// A TCP connection is accepted.
    Tcp(SocketAddr),
    /// `GET` is answered with a status from 200 to 399.
    Http(HttpTarget),
    /// The command exits with 0.
    Exec(Vec<String>),
    /// Something exists at this path.
    File(PathBuf),
    /// A line of its output matches.
    Log(Regex),
    /// It sends `READY=1` to `NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
}

impl Probe {
    /// Its key in `readiness`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
            Self::Http(_) => "http",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
            Self::Log(_) => "log",
            Self::Notify => "notify",
        }
    }
}

/// Where an HTTP request goes. Names are not resolved (a PID 1 must not hang in a resolver): an IP address,
/// `localhost` or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// The server's address.
    pub address: Address,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// As it would be written in a config.
impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(_) => write!(f, "{}{}", self.address, self.path),
            Address::Unix(_) => write!(f, "{}:{}", self.address, self.path),
        }
    }
}

/// The address of a server on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// As it would be written in a config.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whom a process runs as, looked up in `/etc/passwd` and `/etc/group` when the config is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// `restart:`, `restart_delay:`, `restart_max:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// When it is started again.
    pub policy: RestartPolicy,
    /// The first pause; it doubles up to 30 s, and begins anew after 60 s of life. Default 1 s.
    pub delay: Duration,
    /// Restarts in a row at most; after that `on_exit` decides. `None`, the default: no limit.
    pub max: Option<u32>,
}

/// `restart:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// After an end that was not code 0.
    OnFailure,
    /// After every unasked end.
    Always,
}

/// `on_exit:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnExit {
    /// The container stops, with the code of the process.
    #[default]
    Shutdown,
    /// The same, and code 0 of the process is code 1 of the container, so that whoever runs it starts it again.
    FailureShutdown,
    /// Nothing.
    Ignore,
}

/// `drain:`.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How the process is drained.
    pub method: DrainMethod,
    /// The longest wait.
    pub time: Duration,
    /// The shortest; never longer than `time`.
    pub min: Duration,
}

impl Drain {
    /// `time` where none is given.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(15);
}

/// How a process is told to let its traffic go.
#[derive(Clone, Debug)]
pub enum DrainMethod {
    /// Through Envoy's admin.
    Envoy {
        /// The admin's address.
        admin: Address,
        /// Also `POST /healthcheck/fail`, so that every response closes its connection.
        fail_healthcheck: bool,
        /// What there must be none of.
        until: DrainUntil,
    },
    /// One request; a 2xx, at whatever time within `time` it comes, says that it is drained.
    Http {
        /// POST unless it is set.
        method: HttpMethod,
        /// What is requested.
        target: HttpTarget,
    },
    /// A command; its end with code 0 says that the process is drained.
    Exec(Vec<String>),
    /// A signal; the end of the process says that it is drained.
    Signal(Signal),
    /// A signal; `DRAINED=1` on `NOTIFY_SOCKET`, or the end of the process, says that it is drained.
    Notify(Signal),
}

impl DrainMethod {
    /// `min` where none is given. The removal of an endpoint takes time to spread, and an Envoy without connections knows
    /// nothing of it. Everything else says itself when it is drained, and whether it has waited for that.
    #[must_use]
    pub const fn default_min(&self) -> Duration {
        match self {
            Self::Envoy { .. } => Duration::from_secs(5),
            Self::Http { .. } | Self::Exec(_) | Self::Signal(_) | Self::Notify(_) => Duration::ZERO,
        }
    }
}

/// `until:` of an Envoy's drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DrainUntil {
    /// No client is connected.
    #[default]
    Connections,
    /// No request is in flight; for clients that never let their connection go.
    Requests,
}

/// The method of a request that drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HttpMethod {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// GET.
    Get,
    /// DELETE.
    Delete,
}

/// `log:`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum LogMode {
    /// The real descriptors.
    #[default]
    Inherit,
    /// Through drainit, each line with `[prefix] ` before it.
    Prefix(String),
}
