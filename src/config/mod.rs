//! The typed config: every value resolved and checked. Data only; [`crate::load::load`] makes it.
//!
//! The names are those of Docker Compose where it has one, else those of Kubernetes or systemd.

mod address;
mod drain;
mod envoy_flags;
mod listen;
mod liveness;
mod process;
mod readiness;
mod ulimit;
mod values;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use address::{Address, HttpTarget};
pub use drain::{Direction, Drain, DrainMethod, DrainStrategy, DrainUntil, HttpMethod};
pub use envoy_flags::EnvoyFlags;
pub use listen::ListenSocket;
pub use liveness::Liveness;
pub use process::{
    ArgRoute, Dependency, LogFile, LogMode, OnExit, OnlyIf, Process, ProcessKind, Restart,
    RestartPolicy, StartCondition, Update, User,
};
pub use readiness::{Pattern, Probe, Readiness};
pub use ulimit::{Limit, Resource, Ulimit};
pub use values::{CopyOf, Render, ValueFile, Variable};
pub use watch::{Watch, WatchAction};

use crate::types::Signal;

/// A whole config.
#[derive(Clone, Debug)]
pub struct Config {
    /// `env:`: defaults for every process that the container's environment does not override, in
    /// file order.
    pub env: Vec<(String, String)>,
    pub shutdown: Shutdown,
    pub control: Control,
    pub logging: Logging,
    /// The signal at which drainit reads the config again.
    pub reload_signal: Option<Signal>,
    /// Hooks of the container.
    pub hooks: Hooks,
    /// In file order; a [`ProcessId`](crate::types::ProcessId) is an index into this list.
    pub processes: Vec<Process>,
    /// Those with `scale: 0`. Arguments for them are accepted, and dropped.
    pub without_copies: Vec<Process>,
}

/// `shutdown:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// The pod's `terminationGracePeriodSeconds`: the whole shutdown must fit into it.
    pub grace_period: Duration,
    /// The part of it that is kept free at its end.
    pub reserve: Duration,
    /// `/readyz` answers 503 this long before the drain begins. Default 0.
    pub readiness_delay: Duration,
    /// `/readyz`, and Envoy's health check, stay good this long after T0. Default 0.
    pub unready_delay: Duration,
    /// The signals that stop the container. Default TERM, INT, QUIT.
    pub signals: Vec<Signal>,
    /// The file that the report is written to, as JSON.
    pub report: Option<PathBuf>,
}

impl Shutdown {
    /// As in Kubernetes.
    pub const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(30);
    pub const DEFAULT_RESERVE: Duration = Duration::from_secs(2);

    /// The time from T0 to the deadline.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.grace_period.saturating_sub(self.reserve)
    }
}

/// `control:`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// The TCP address of the HTTP endpoints.
    pub listen: Option<SocketAddr>,
    pub socket: ControlSocket,
    /// `listen` accepts `POST /drain`, too.
    pub drain_over_tcp: bool,
}

/// `control.socket`: the Unix socket of drainit's own commands, with the same endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// An abstract socket that needs no directory, for drainit's own user and root of its PID
    /// namespace.
    #[default]
    Private,
    /// A socket in the file system.
    Path(PathBuf),
    Off,
}

impl ControlSocket {
    /// The path, if it has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Private | Self::Off => None,
        }
    }
}

/// `logging:`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Logging {
    pub format: LogFormat,
    /// The file, FIFO or `/dev/fd/N` that gets each event as a line of JSON.
    pub events: Option<PathBuf>,
}

/// The format of a line of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `[prefix] line`
    #[default]
    Text,
    /// `{"time":…,"process":…,"stream":…,"message":…}`
    Json,
}

/// `hooks:` of the container or of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the first start. If it fails, the start has failed.
    pub pre_start: Option<Hook>,
    /// Before the stop. A failure is reported and has no effect.
    pub pre_stop: Option<Hook>,
    /// After the end. A failure is reported and has no effect.
    pub post_stop: Option<Hook>,
}

/// One command of `hooks:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Time until it is killed. Unset: up to 10 s of what the deadline leaves.
    pub timeout: Option<Duration>,
}
