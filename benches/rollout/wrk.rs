//! Runs wrk, which sends as many requests as 100 connections and the machine allow, and reads its
//! report.
//!
//! We measured the meaning of wrk's counters with wrk 4.1.0 and a server that fails on purpose:
//!
//! - A request whose connection ends before the complete answer, by FIN or RST, counts as one
//!   `read` error and not as a request.
//! - `Connection: close` is honoured and is not an error.
//! - An answer with a status of 400 or above counts as a request, and also in `Non-2xx or 3xx
//!   responses`.
//! - An answer after `--timeout` counts as a request, and also as a `timeout`. A request without
//!   any answer is not counted.
//! - After an error, wrk opens a new connection at once. A refused connection also counts as a
//!   `read` error: a `connect` error is only an error of the call of connect(2), which does not
//!   wait for the answer. The number of refused connections is therefore read from the counters of
//!   the kernel.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node;

/// A running wrk, which is the only client on the machine.
#[derive(Debug)]
pub(crate) struct Wrk {
    child: Child,
    refused_before: u64,
}

/// The numbers of requests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Requests that were answered in time and with a status below 400.
    pub(crate) served: u64,
    /// Requests that were cut, late, or answered with a status of 400 or above.
    pub(crate) failed: u64,
    /// Requests that found no listener.
    pub(crate) refused: u64,
}

impl Wrk {
    /// Starts wrk, which runs until [`Wrk::finish`].
    pub(crate) fn start(service: SocketAddr) -> io::Result<Self> {
        let refused_before = node::refused()?;
        let child = Command::new("wrk")
            .args(["--threads", "2", "--connections", "100", "--duration", "10m"])
            .args(["--timeout", "10s", &format!("http://{service}/")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { child, refused_before })
    }

    /// Ends wrk and returns its results.
    pub(crate) fn finish(mut self) -> io::Result<Counts> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        let mut text = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut text)?;
        }
        self.child.wait()?;
        let refused = node::refused()? - self.refused_before;
        parse(&text, refused).ok_or_else(|| io::Error::other(format!("wrk said:\n{text}")))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(text: &str, refused: u64) -> Option<Counts> {
    let line = |name: &str| text.lines().map(str::trim).find(|line| line.contains(name));
    let requests: u64 = line("requests in ")?.split(' ').next()?.parse().ok()?;
    let [mut connect, mut read, mut write, mut late] = [0; 4];
    // `Socket errors: connect 0, read 3, write 0, timeout 0`; wrk omits the line if there are no
    // errors.
    if let Some(errors) = line("Socket errors: ") {
        for error in errors.split_once(": ")?.1.split(", ") {
            let (kind, count) = error.split_once(' ')?;
            let of_kind = match kind {
                "connect" => &mut connect,
                "read" => &mut read,
                "write" => &mut write,
                "timeout" => &mut late,
                _ => return None,
            };
            *of_kind = count.parse().ok()?;
        }
    }
    let bad: u64 = match line("Non-2xx or 3xx responses: ") {
        Some(line) => line.rsplit_once(' ')?.1.parse().ok()?,
        None => 0,
    };
    Some(Counts {
        served: requests.saturating_sub(bad + late),
        failed: (connect + read + write).saturating_sub(refused) + bad + late,
        refused,
    })
}
