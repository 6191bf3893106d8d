//! `liveness:`: how drainit sees that a process still works.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::command::{Command, CommandForm};
use crate::keys::forms::{AtLeastOne, Positive, SocketPath, Tcp};
use crate::keys::key::Table;
use crate::keys::reader::{Fields, Reader};
use crate::keys::{Address, GrpcTarget, HttpTarget, Probe};
use crate::language::diagnostics::rule::Rule;

/// The liveness check of a process, as `liveness:` defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// drainit probes the process.
    Probe {
        /// The probe, which is never a [`Probe::File`], [`Probe::Log`] or [`Probe::Notify`].
        probe: Probe,
        interval: Duration,
        timeout: Duration,
        /// The number of failures in a row after which the check has failed; at least 1.
        retries: u32,
        start_period: Duration,
    },
    /// The process must send `WATCHDOG=1` to `NOTIFY_SOCKET` at least this often (sd_notify(3)).
    Notify(Duration),
}

/// The keys of `liveness:`.
#[derive(Table)]
#[table(settle = Liveness)]
pub(crate) struct LivenessKeys {
    #[key(flatten)]
    check: Check,
    /// The pause before each probe. <!-- C235 --> Example: `interval: 5s`
    #[key(form = Positive, default = "10s")]
    interval: Duration,
    /// The time limit of one probe. <!-- C236 --> A command that takes longer is killed.
    /// <!-- C629 --> Example: `timeout: 3s`
    #[key(form = Positive, default = "1s")]
    timeout: Duration,
    /// After this many failed probes in a row, the check has failed. <!-- C237 --> Example:
    /// `retries: 5`
    #[key(form = AtLeastOne, default = "3")]
    retries: u32,
    /// For this long after the process became ready, drainit makes no probe. <!-- C238 --> Example:
    /// `start_period: 30s`
    #[key(default = "0s")]
    start_period: Duration,
}

#[derive(Table)]
#[table(one = "check")]
enum Check {
    /// Alive while this Unix socket accepts connections. <!-- C230 --> Example: `unix: /run/gw/app.sock`
    #[key(form = SocketPath)]
    Unix(PathBuf),
    /// Alive while a TCP connection is accepted. Example: `tcp: 127.0.0.1:5432`
    #[key(form = Tcp)]
    Tcp(SocketAddr),
    /// Alive while a `GET` is answered with a status from 200 to 399.
    /// Example: `http: "http://127.0.0.1:8080/healthz"`
    Http(HttpTarget),
    /// Alive while a gRPC server answers `SERVING` to `grpc.health.v1.Health/Check`. <!-- C872 -->
    /// Example: `grpc: {address: "127.0.0.1:9003", service: liveness}`
    Grpc(GrpcTarget),
    /// Alive while the admin of this Envoy answers with any status, because an Envoy that has lost
    /// its control plane still serves. <!-- C231 --> Example: `envoy: "http://127.0.0.1:9901"`
    Envoy(Address),
    /// Alive while the command exits with 0. Example: `exec: [/app/check]`
    #[key(form = CommandForm, merge = Replace)]
    Exec(Command),
    /// Alive while the process sends `WATCHDOG=1` to `NOTIFY_SOCKET` at least this often. See
    /// [accepted senders](#notify). <!-- C232 --> Example: `notify: 30s`
    #[key(form = Positive)]
    Notify(Duration),
}

impl LivenessKeys {
    fn settle(self, reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Liveness> {
        let Self { check, interval, timeout, retries, start_period } = self;
        let probe = match check {
            Check::Unix(path) => Probe::Unix(path),
            Check::Tcp(address) => Probe::Tcp(address),
            Check::Http(target) => Probe::Http(target),
            Check::Grpc(target) => Probe::Grpc(target),
            Check::Envoy(admin) => Probe::Envoy(admin),
            Check::Exec(command) => Probe::Exec(command),
            Check::Notify(within) => {
                for key in ["interval", "timeout", "retries", "start_period"] {
                    if fields.get(key).is_some() {
                        let message = format!("`{key}` has no effect on `notify`");
                        reader
                            .problems
                            .error_in_check(Rule::KeyWithoutEffect, fields.key(key), message)
                            .help(
                                "remove it; the time of `notify` is the longest pause between two \
                             messages, and one that is missing is enough",
                            );
                    }
                }
                return Some(Liveness::Notify(within));
            }
        };
        Some(Liveness::Probe { probe, interval, timeout, retries, start_period })
    }
}

impl Liveness {
    /// The number of failures in a row after which the check has failed.
    pub fn retries(&self) -> u32 {
        match self {
            Self::Probe { retries, .. } => *retries,
            Self::Notify(_) => 1,
        }
    }

    pub fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Probe { probe, .. } => Some(probe),
            Self::Notify(_) => None,
        }
    }
}
