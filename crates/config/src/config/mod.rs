//! The config of drainit. Each mapping of the file has a struct, and the fields of the struct are
//! the keys of the mapping ([`crate::load::key`]). [`crate::load::load`] reads a config from YAML.
//! From this config, `spec` makes the part that the core needs.
//!
//! A key has the name that Docker Compose uses for it, or else the name that Kubernetes or systemd
//! uses. The doc comment of a key becomes its row in docs/config/, together with the anchors that
//! tie its promises to tests.

mod address;
pub(crate) mod drain;
mod envoy_flags;
mod hooks;
mod listen;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod only_if;
mod process;
mod readiness;
mod render;
mod shutdown;
mod spec;
mod ulimit;
mod values;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use address::{Address, GrpcTarget, HttpTarget};
pub use drain::{
    ConnectionsDrain, CountUntil, Counting, Direction, Drain, DrainMethod, DrainTimes, DrainUntil,
    EnvoyDrain, ExecDrain, Header, HeaderValue, HttpDrain, HttpMethod, SignalDrain,
};
pub use drainit_os::spawn::User;
pub use drainit_os::spawn::limits::{Limit, Ulimit};
pub use envoy_flags::EnvoyFlags;
pub use hooks::{Hook, Hooks};
pub use listen::ListenSocket;
pub use liveness::Liveness;
pub use log::{Log, LogFile, LogMode};
pub use only_if::{OnlyIf, Paths};
pub use process::{Account, ArgRoute, Dependency, Process, ProcessKind};
pub use readiness::{Pattern, Probe, Readiness};
pub use render::Render;
pub use shutdown::Shutdown;
pub use ulimit::RESOURCES;
pub(crate) use values::Moment;
pub use values::{Share, ValueFile, Variable};
pub use watch::Watch;

use crate::config::hooks::ContainerHooks;
use crate::load::forms::Catchable;
use crate::load::key::Table;
use crate::load::read::environment::Env;
use crate::load::read::processes::Processes;
use crate::types::Signal;
pub use crate::types::{
    ExitPolicy, OnExit, Restart, RestartPolicy, StartCondition, Update, WatchAction,
};

/// A whole config.
#[derive(Clone, Debug, Table)]
#[table(default, differing)]
pub struct Config {
    /// Defaults of variables, for `${…}` and for every process.
    // This field is the first, because all other values may use the variables. The variables are in
    // file order, without the variables that the container's environment overrides.
    #[key(form = Env, merge = Entries)]
    pub env: Vec<(String, String)>,
    /// The time for the shutdown, and the signals that begin it.
    pub shutdown: Shutdown,
    /// Addresses for status, health, metrics and drain.
    pub control: Control,
    /// The format of lines.
    pub logging: Logging,
    /// The signal at which drainit [reads the config again](operating.md#reload), as systemd's
    /// `ReloadSignal=`; default none. <!-- C76 --> It must not be a stop signal or a forwarded
    /// signal. <!-- C601 --> Example: `reload_signal: HUP`
    #[key(form = Catchable)]
    pub reload_signal: Option<Signal>,
    /// How drainit treats an argument of the container that no process claims. `refuse`: an
    /// error. `exec`: if it is the first argument and not an option, the arguments run as a command
    /// in place of the processes, as by `drainit exec`. <!-- C682 --> Example: `arguments: exec`
    #[key(default = "refuse")]
    pub arguments: Arguments,
    /// Commands at the start and the end of the container.
    #[key(form = ContainerHooks)]
    pub hooks: Hooks,
    /// The processes by name; at least one. <!-- C77 -->
    // The list is in file order, and a [`ProcessId`](crate::types::ProcessId) is an index into it.
    #[key(form = Processes, merge = Entries, uncompared)]
    pub processes: Vec<Arc<Process>>,
    // The `args` of each entry with `scale: 0`, with the name of the entry. drainit accepts the
    // arguments that these entries claim, and drops them.
    #[key(skip)]
    pub unused_args: Vec<(String, ArgRoute)>,
}

/// `arguments:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arguments {
    #[default]
    Refuse,
    Exec,
}

/// `control:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
pub struct Control {
    /// TCP address of the HTTP endpoints. <!-- C92 --> Example: `listen: 127.0.0.1:9902`
    #[key(default = "none")]
    pub listen: Option<SocketAddr>,
    /// Unix socket of drainit's own commands, for its own user and root (mode 0600), in a directory
    /// that exists. <!-- C93 --> drainit replaces a stale socket, and removes the socket at its
    /// exit. <!-- C609 --> `off`: no socket. <!-- C610 --> Without the key, drainit has a [private
    /// socket](operating.md#the-socket) without a path. Example: `socket: /run/drainit.sock`
    pub socket: ControlSocket,
}

/// `control.socket`: the Unix socket over which drainit's own commands ask the supervisor. The HTTP
/// endpoints are on it, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ControlSocket {
    /// An abstract socket, which needs no directory. Only drainit's own user, and root in drainit's
    /// PID namespace, can use the socket.
    #[default]
    Private,
    /// A socket in the file system.
    Path(PathBuf),
    Off,
}

impl ControlSocket {
    /// The path of a socket in the file system.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Private | Self::Off => None,
        }
    }
}

/// `logging:`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Table)]
pub struct Logging {
    /// The format of every line. <!-- C136 --> `DRAINIT_LOG_FORMAT` overrides it. <!-- C613 -->
    /// Example: `format: json`
    #[key(default = "text")]
    pub format: LogFormat,
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
