//! One cell of the table: clients at work while the process that they talk to is replaced.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use benches::load::{Plan, Protocol, Tally, refused};
use testkit::gateway::answers;
use testkit::load::{IdleClose, Report};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use crate::mode::{Mode, Running};

/// The number of clients, each with one connection.
const CLIENTS: u32 = 50;
/// After a request without an answer, a client waits this long before its next request.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The time after which a client ends its gRPC stream, its TCP connection and, through a proxy, its
/// WebSocket.
const SESSION: Duration = Duration::from_millis(1500);
/// The longest time that a process may take to start, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time of traffic before the first replacement, between two replacements, and after the last.
const BETWEEN: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(10);

/// The paces at which each client sends, in the order of the table: the name, and the time between
/// two requests.
pub(crate) const PACES: [(&str, Duration); 3] = [
    ("1/s", Duration::from_secs(1)),
    ("10/s", Duration::from_millis(100)),
    ("full speed", Duration::ZERO),
];

/// The traffic of a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) protocol: Protocol,
    pub(crate) pace: &'static str,
    /// The time between two requests of a client; zero at full speed.
    pub(crate) period: Duration,
}

impl Traffic {
    /// Returns the traffic of all rows, in the order of the table.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Protocol::ALL
            .into_iter()
            .flat_map(|protocol| PACES.map(|(pace, period)| Self { protocol, pace, period }))
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.protocol, self.pace)
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) mode: Mode,
    pub(crate) traffic: Traffic,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.mode.name(), self.traffic)
    }
}

/// The results of a cell.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) cell: Cell,
    pub(crate) report: Report,
    /// Requests that found no listener.
    pub(crate) refused: u64,
    pub(crate) replacements: u32,
}

impl Outcome {
    /// The requests that got no answer.
    pub(crate) fn lost(&self) -> u64 {
        self.report.total.failed
    }

    /// Requests that were sent and got no complete answer; sessions that were cut.
    pub(crate) fn failed(&self) -> u64 {
        self.lost() - self.refused
    }

    /// All requests.
    pub(crate) fn requests(&self) -> u64 {
        self.report.total.ok + self.lost()
    }
}

/// Measures a cell on this thread, with this number of replacements. A cell takes at least this
/// time if its mode promises to lose no request and its clients send at full speed. The files of
/// the cell are in `directory`.
pub(crate) fn measure(
    cell: Cell,
    replacements: u32,
    at_least: Duration,
    directory: &Path,
) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let running = Running::start(cell.mode, directory)?;
    let is_long = cell.mode.is_clean() && cell.traffic.period.is_zero();
    let at_least = if is_long { at_least } else { Duration::ZERO };
    let outcome = runtime.block_on(replace(cell, replacements, at_least, &running));
    outcome.map_err(|error| io::Error::other(format!("{cell}: {error}\n{}", running.output())))
}

async fn replace(
    cell: Cell,
    wanted: u32,
    at_least: Duration,
    running: &Running,
) -> io::Result<Outcome> {
    wait_for_answer(running).await?;
    let Traffic { protocol, period, .. } = cell.traffic;
    // Envoy cannot announce the end of a WebSocket, so its clients must end their WebSockets.
    let must_end = protocol != Protocol::WebSocket || cell.mode.is_envoy();
    let plan = Plan {
        clients: CLIENTS,
        protocol,
        period,
        spread: period,
        idle_close: IdleClose::Noticed,
        session: (protocol.has_sessions() && must_end).then_some(SESSION),
        repeats: true,
        after_failure: AFTER_FAILURE,
        ..Plan::default()
    };
    let tally = Tally::new();
    let mut clients = plan.start(running.address(protocol), &tally);
    let mut replacements = 0;
    while replacements < wanted || tally.start.elapsed() < at_least {
        sleep(BETWEEN).await;
        let mut restart = running.replacement();
        let output = spawn_blocking(move || restart.output()).await??;
        if !output.status.success() {
            return Err(io::Error::other(format!("no replacement: {output:?}")));
        }
        replacements += 1;
    }
    sleep(BETWEEN).await;
    tally.end();
    while clients.join_next().await.is_some() {}
    let report = tally.report();
    Ok(Outcome { cell, refused: refused(&report), report, replacements })
}

async fn wait_for_answer(running: &Running) -> io::Result<()> {
    let address = running.address(Protocol::Http1);
    let wait = async {
        while !answers(address).await.unwrap_or(false) {
            sleep(POLL).await;
        }
    };
    timeout(START_TIMEOUT, wait).await.map_err(|_| io::Error::other("no answer"))
}
