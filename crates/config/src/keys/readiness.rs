//! `readiness:`: how drainit sees that a process is ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regex_lite::Regex;

use crate::keys::command::{Command, CommandForm};
use crate::keys::forms::{Positive, SocketPath, Tcp, True, leaf};
use crate::keys::key::{Shape, Table};
use crate::keys::{Address, GrpcTarget, HttpTarget};
use crate::language::invalid::Invalid;

/// `readiness:`.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
pub struct Readiness {
    #[key(flatten)]
    pub probe: Probe,
    /// The longest pause between two attempts. <!-- C218 --> Pauses grow from 1 ms to this length.
    /// Pauses of `exec` always have this length. <!-- C628 --> Unset: a pause is an eighth of the
    /// time already waited, but at most 1 s, and for `exec` at least 100 ms. <!-- C1105 --> Example:
    /// `interval: 250ms`
    #[key(form = Positive, default = "unset")]
    pub interval: Option<Duration>,
    /// A start fails if the process is not ready after this time. <!-- C219 --> Example:
    /// `timeout: 10s`
    #[key(form = Positive, default = "30s")]
    pub timeout: Duration,
}

impl Readiness {
    /// The readiness of an Envoy whose admin interface is at this address.
    pub fn of_envoy(admin: Address, timeout: Duration) -> Self {
        Self { probe: Probe::Envoy(admin), interval: None, timeout }
    }
}

/// The condition that makes a process ready.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(one = "probe")]
pub enum Probe {
    /// Ready when a connection to this Unix socket is accepted. <!-- C210 -->
    /// Example: `unix: /run/gw/app.sock`
    #[key(form = SocketPath)]
    Unix(PathBuf),
    /// Ready when a TCP connection is accepted. <!-- C211 --> Example: `tcp: 127.0.0.1:5432`
    #[key(form = Tcp)]
    Tcp(SocketAddr),
    /// Ready when a `GET` is answered with a status from 200 to 399. <!-- C212 -->
    /// Example: `http: "http://127.0.0.1:9901/ready"`
    Http(HttpTarget),
    /// Ready when a gRPC server answers `SERVING` to `grpc.health.v1.Health/Check`. <!-- C870 --> A
    /// server without this service is not ready. <!-- C871 --> Example: `grpc: 127.0.0.1:9003`
    Grpc(GrpcTarget),
    /// The admin of an Envoy: `http://HOST:PORT` or `unix:/SOCKET`. Ready when Envoy is live, has a
    /// listener, and has got an answer from its control plane. <!-- C213 --> Example:
    /// `envoy: "http://127.0.0.1:9901"`
    Envoy(Address),
    /// Ready when the command exits with 0. The command has the user, directory and environment of
    /// the process, and is killed after 10 s. <!-- C214 --> drainit kills processes that the
    /// command leaves in its group. <!-- C733 --> drainit drops the output, but reports the last
    /// line if the command fails. <!-- C693 --> Example: `exec: [pg_isready]`
    #[key(form = CommandForm, merge = Replace)]
    Exec(Command),
    /// Ready when this path exists. <!-- C215 --> Example: `file: /run/app.ready`
    File(PathBuf),
    /// Ready when a line of the output matches this regular expression
    /// ([syntax](https://docs.rs/regex-lite)). drainit therefore reads the output even if the
    /// process has no key `log`. <!-- C216 --> Example: `log: '^listening on'`
    Log(Pattern),
    /// Ready when the process sends `READY=1` to `NOTIFY_SOCKET`, as sd_notify(3) does. See
    /// [accepted senders](#notify). <!-- C217 --> Example: `notify: true`
    #[key(form = True)]
    Notify,
}

/// A regular expression. Two patterns are equal if their texts are equal.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

leaf! {
    Pattern => Pattern: Shape::Filled("regular expression"), pattern;
}

fn pattern(text: &str) -> Result<Pattern, Invalid> {
    let help = "see https://docs.rs/regex-lite for the syntax, and put it into single quotes";
    match text {
        "" => Err(Invalid::new("it would match every line", help)),
        _ => Regex::new(text)
            .map(Pattern)
            .map_err(|error| Invalid::new(format!("not a regular expression: {error}"), help)),
    }
}

impl Probe {
    /// The address that the probe asks; `None` if the probe asks no address. The path of a `file`
    /// probe is returned like the path of a socket.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Unix(path) | Self::File(path) => Some(Address::Unix(path.clone())),
            Self::Tcp(address) => Some(Address::Tcp(*address)),
            Self::Http(target) => Some(target.address.clone()),
            Self::Grpc(target) => Some(target.address.clone()),
            Self::Envoy(admin) => Some(admin.clone()),
            Self::Exec(_) | Self::Log(_) | Self::Notify => None,
        }
    }
}
