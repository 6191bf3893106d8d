//! One rollout: the old pod receives SIGTERM while the new pod already runs. Some time later the
//! service in front routes new connections to the new pod, as kube-proxy does; open connections
//! stay with the old pod.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use benches::load::{Protocol, Tally, refused};
use testkit::load::{Failure, Report};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::node::{self, Service};
use crate::pod::{self, Mode, Pod};
use crate::rows::Row;
use crate::upstream::Upstream;
use crate::wrk::Wrk;

/// The time after which a stop is abandoned, which is longer than any grace period here.
const LONGEST_STOP: Duration = Duration::from_secs(60);
/// The grace period of a server that is not an Envoy.
const GRACE: Duration = Duration::from_secs(30);
/// At the end, the bench waits this long for outstanding answers of the new pod.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// If a session ends within this time after the pod's SIGTERM, Envoy closed the session in its
/// drain. In every mode with a drain, the stop cuts no session so early: while clients are left,
/// Envoy gets SIGTERM only 15 s after the pod.
const DRAIN: Duration = Duration::from_millis(14_500);

/// A measurement is valid only if the clients reach at least this share of their rate.
const ENOUGH: f64 = 0.9;

/// The result of a rollout.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Requests (or sessions) that ended well.
    pub(crate) served: u64,
    /// Requests that were sent and received no complete answer, and sessions that the stop cut.
    pub(crate) failed: u64,
    /// Sessions that Envoy itself closed in its drain, before the pod had ended.
    pub(crate) closed: u64,
    /// Requests that found no listener.
    pub(crate) refused: u64,
    /// The share of the due requests that the machine managed to send; `None` if the clients have
    /// no rate.
    share: Option<f64>,
    /// The time from SIGTERM until the pod had ended.
    pub(crate) stop: Duration,
    /// The output of the pod after SIGTERM, with the time since SIGTERM.
    pub(crate) lines: Vec<(Duration, String)>,
    /// All lost requests, with the time since SIGTERM, which is negative for earlier requests.
    losses: Vec<(f64, Failure)>,
}

impl Outcome {
    /// Returns the number of requests that failed or were refused.
    pub(crate) fn lost(&self) -> u64 {
        self.failed + self.refused
    }

    /// If the machine is too slow for the row, returns the share of the due requests that were sent;
    /// otherwise `None`.
    pub(crate) fn too_slow(&self) -> Option<f64> {
        self.share.filter(|share| *share < ENOUGH)
    }

    /// Returns the losses and the output of the pod as text.
    pub(crate) fn evidence(&self) -> String {
        let mut text = String::new();
        for (at, failure) in self.losses.iter().take(20) {
            let _ = writeln!(text, "  {at:+8.3} s  {failure:?}");
        }
        for (at, line) in &self.lines {
            let _ = writeln!(text, "  {:+8.3} s  {line}", at.as_secs_f64());
        }
        text
    }
}

/// Runs one rollout.
pub(crate) fn roll_out(row: &Row, mode: Mode) -> io::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(row, mode))
}

async fn run(row: &Row, mode: Mode) -> io::Result<Outcome> {
    let upstream = Upstream::start().await?;
    let (mut old, new) = tokio::try_join!(
        Pod::start(mode, row, &upstream),
        Pod::start(Mode::Plain, row, &upstream)
    )?;
    let _loops: Vec<_> =
        (0..row.size.loops).map(|_| node::Loop::start()).collect::<Result<_, _>>()?;
    let mut service = Service::new(old.address())?;
    let tally = Tally::new();
    let port = if row.plan.protocol == Protocol::Tcp { pod::TCP } else { pod::HTTP };
    let address = SocketAddr::from((service.address, port));
    let wrk = row.is_wrk.then(|| Wrk::start(address)).transpose()?;
    let mut clients = if row.is_wrk { JoinSet::new() } else { row.plan.start(address, &tally) };
    sleep(row.before).await;

    let (asked, asked_at) = (Instant::now(), tally.start.elapsed());
    old.terminate()?;
    let learnt = asked + row.learn;
    let learn = async {
        sleep_until(learnt.into()).await;
        service.move_to(new.address()).await
    };
    let gone = async {
        // The kubelet kills a server that has not ended within its grace period.
        if row.server.is_some() && timeout(GRACE, old.gone()).await.is_err() {
            old.kill()?;
        }
        let gone = timeout(LONGEST_STOP, old.gone()).await;
        gone.unwrap_or_else(|_| Err(io::Error::other("the old pod does not stop")))?;
        io::Result::Ok(asked.elapsed())
    };
    let ((), stop) = tokio::try_join!(learn, gone)?;
    sleep(row.after).await;

    let worked = tally.start.elapsed();
    tally.end();
    let _ = timeout(LAST_ANSWERS, async { while clients.join_next().await.is_some() {} }).await;
    clients.abort_all();
    let report = tally.report();
    let due = row.plan.due(worked).filter(|_| !row.is_wrk);
    let lines = old.lines().into_iter().filter(|(at, _)| *at >= asked);
    let lines = lines.map(|(at, line)| (at - asked, line)).collect();
    let mut outcome = outcome(&report, asked_at, due, stop, lines);
    if row.plan.protocol.has_sessions() && mode != Mode::Plain {
        let drain = 0.0..DRAIN.as_secs_f64();
        let is_closed = |(at, failure): &&(f64, Failure)| {
            drain.contains(at) && matches!(failure, Failure::Reset | Failure::EndOfFile)
        };
        outcome.closed = outcome.losses.iter().filter(is_closed).count() as u64;
        outcome.failed -= outcome.closed;
    }
    if let Some(wrk) = wrk {
        let counts = wrk.finish()?;
        (outcome.served, outcome.failed) = (counts.served, counts.failed);
        outcome.refused = counts.refused;
    }
    Ok(outcome)
}

fn outcome(
    report: &Report,
    asked: Duration,
    due: Option<f64>,
    stop: Duration,
    lines: Vec<(Duration, String)>,
) -> Outcome {
    let refused = refused(report);
    let since = |at: &Duration| at.as_secs_f64() - asked.as_secs_f64();
    let losses = report.failures.iter().map(|(at, failure)| (since(at), *failure)).collect();
    let sent = u32::try_from(report.total.ok + report.total.failed).unwrap_or(u32::MAX);
    Outcome {
        served: report.total.ok,
        share: due.filter(|due| *due > 0.0).map(|due| f64::from(sent) / due),
        failed: report.total.failed - refused,
        closed: 0,
        refused,
        stop,
        lines,
        losses,
    }
}
