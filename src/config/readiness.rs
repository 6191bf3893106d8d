//! `readiness:`: how drainit sees that a process is ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use regex_lite::Regex;

use crate::config::{Address, HttpTarget};

/// `readiness:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    pub probe: Probe,
    /// The longest time between two attempts, where the kernel cannot report a change. Default
    /// 100 ms.
    pub interval: Duration,
    /// Time from the start of the process until the start has failed. Default 30 s.
    pub timeout: Duration,
}

/// The condition that makes a process ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection to this Unix socket is accepted.
    Unix(PathBuf),
    /// A TCP connection is accepted.
    Tcp(SocketAddr),
    /// `GET` is answered with a status from 200 to 399.
    Http(HttpTarget),
    /// The Envoy with this admin is live, has a listener, and its control plane has answered.
    Envoy(Address),
    /// The command exits with code 0.
    Exec(Vec<String>),
    /// The path exists.
    File(PathBuf),
    /// A line of its output matches.
    Log(Pattern),
    /// It sends `READY=1` to `NOTIFY_SOCKET` (sd_notify(3)).
    Notify,
}

/// A regular expression. Two are equal if they are written alike.
#[derive(Clone, Debug)]
pub struct Pattern(pub Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Probe {
    /// Its key in `readiness`.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
            Self::Http(_) => "http",
            Self::Envoy(_) => "envoy",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
            Self::Log(_) => "log",
            Self::Notify => "notify",
        }
    }
}
