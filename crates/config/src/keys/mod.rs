//! The config of drainit. Each mapping of the file has a struct, and the fields of the struct are
//! the keys of the mapping ([`key`]). [`crate::load::load`] reads a config from YAML.
//! From this config, `spec` makes the part that drainit-core needs.
//!
//! A key has the name that Docker Compose uses for it, or else the name that Kubernetes or systemd
//! uses. The doc comment of a key becomes its row in docs/config/. Marks such as `<!-- C196 -->`
//! tie its promises to tests.

mod account;
mod address;
mod command;
pub mod config;
mod depends_on;
mod drain;
mod environment;
mod envoy_flags;
pub mod forms;
mod hooks;
pub mod key;
mod listen;
mod liveness;
mod log;
pub mod neighbours;
mod only_if;
pub mod overlay;
mod process;
mod processes;
pub mod reader;
mod readiness;
mod render;
pub mod scale;
pub(crate) mod share;
mod shutdown;
mod spec;
mod ulimit;
pub mod values;
mod waiting;
mod watch;

pub use account::{Account, Accounts};
pub use address::{Address, GrpcTarget, HttpTarget};
pub use command::Command;
pub use config::{Arguments, Config, Control, ControlSocket, LogFormat, Logging};
pub use depends_on::Dependency;
pub use drain::{
    ConnectionsDrain, CountUntil, Counting, DEFAULT_MIN, Direction, Drain, DrainMethod, DrainTimes,
    DrainUntil, EnvoyDrain, ExecDrain, Header, HeaderValue, HttpDrain, HttpMethod, SignalDrain,
};
pub use drainit_os::spawn::User;
pub use drainit_os::spawn::limits::{Limit, Ulimit};
pub use environment::{ValueFile, Variable};
pub use envoy_flags::EnvoyFlags;
pub use hooks::{Hook, Hooks};
pub use listen::ListenSocket;
pub use liveness::Liveness;
pub use log::{Log, LogFile, LogMode};
pub use only_if::{OnlyIf, Paths};
pub use process::{ArgRoute, Leftovers, Process, ProcessKind};
pub use readiness::{Pattern, Probe, Readiness};
pub use render::Render;
pub use shutdown::Shutdown;
pub use ulimit::RESOURCES;
pub use watch::Watch;

pub use crate::core::spec::DrainOff;
pub use crate::language::deadline_share::DeadlineShare;
pub use crate::types::{
    ExitPolicy, OnExit, Restart, RestartPolicy, StartCondition, Update, WatchAction,
};
