//! One cell of the table: clients at work while the process that they talk to is replaced.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use testkit::gateway::answers;
use testkit::load::lock;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, Counts, Shared};
use crate::mode::{Mode, Running};
use crate::protocol::{Pace, Protocol};

/// The number of clients, each with one connection.
pub(crate) const CLIENTS: u32 = 50;
/// The longest time that a process may take to start, on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// The time of traffic before the first replacement, between two replacements, and after the last.
const BETWEEN: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(10);

/// A measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) mode: Mode,
    pub(crate) protocol: Protocol,
    pub(crate) pace: Pace,
}

/// The amount of measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// The number of replacements in each cell.
    pub(crate) replacements: u32,
    /// The minimum time of a cell whose mode promises to lose no request and whose clients send at
    /// full speed.
    pub(crate) at_least: Duration,
}

/// The results of a cell.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) replacements: u32,
}

impl Outcome {
    /// The requests that got no answer.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.failed + self.counts.refused
    }

    /// All requests.
    pub(crate) fn requests(&self) -> u64 {
        self.counts.answered + self.lost()
    }
}

/// Measures a cell on this thread. Its files are in `directory`.
pub(crate) fn measure(cell: Cell, plan: Plan, directory: &Path) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let running = Running::start(cell.mode, directory)?;
    let outcome = runtime.block_on(replace(cell, plan, &running));
    outcome.map_err(|error| {
        let Cell { mode, protocol, pace } = cell;
        let (mode, output) = (mode.name(), running.output());
        io::Error::other(format!("{mode}, {protocol}, {pace}: {error}\n{output}"))
    })
}

async fn replace(cell: Cell, plan: Plan, running: &Running) -> io::Result<Outcome> {
    wait_for_answer(running).await?;
    let shared = Shared {
        address: running.address(cell.protocol),
        protocol: cell.protocol,
        pace: cell.pace,
        ends_websockets: cell.mode.is_envoy(),
        counts: Arc::default(),
        start: Instant::now(),
        end: Arc::new(Mutex::new(false)),
    };
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let part = f64::from(number) / f64::from(CLIENTS);
        clients.spawn(Client::new(shared.clone()).run(part));
    }
    let at_least = match cell.pace {
        Pace::FullSpeed if cell.mode.is_clean() => plan.at_least,
        _ => Duration::ZERO,
    };
    let mut replacements = 0;
    while replacements < plan.replacements || shared.start.elapsed() < at_least {
        sleep(BETWEEN).await;
        let replacement = running.replacement();
        spawn_blocking(|| replacement.run()).await??;
        replacements += 1;
    }
    sleep(BETWEEN).await;
    *lock(&shared.end) = true;
    while clients.join_next().await.is_some() {}
    let counts = lock(&shared.counts).clone();
    Ok(Outcome { counts, replacements })
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
