//! A rolling restart under load. The old gateway gets SIGTERM while a new gateway already runs. A
//! second later, the load balancer sends new connections to the new gateway.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use tokio::time::{interval_at, sleep_until};

use crate::gateway::{Gateway, Runner, Spec};
use crate::load::{IdleClose, Load, Plan, Report, Service};

/// A stop is abandoned after this time, which is longer than any grace period used here.
const LONGEST_STOP: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
/// The longest wait for the first requests of all clients, after which the restart begins anyway.
const LONGEST_START: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A rolling restart to run.
#[derive(Clone, Debug)]
pub struct RollingRestart {
    /// The supervisor of both gateways.
    pub runner: Runner,
    /// The Envoy executable.
    pub envoy: PathBuf,
    /// `ROUTER_DRAIN_TIME_SECONDS` of the old gateway.
    pub drain_seconds: u32,
    /// Overlays on the config of both gateways.
    pub overlays: Vec<PathBuf>,
    /// Clients, each with one keep-alive connection.
    pub clients: u32,
    /// Requests per second of one client.
    pub rate: f64,
    /// Whether the clients notice connections closed between requests.
    pub idle_close: IdleClose,
    /// The time of load before SIGTERM.
    pub before: Duration,
    /// The time from SIGTERM until new connections go to the new gateway; about 1 s in a cluster.
    pub learn: Duration,
    /// The time of load after the old gateway has ended.
    pub after: Duration,
}

/// The phase of the restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// All traffic goes to the old gateway.
    Before,
    /// The old gateway has got SIGTERM, and new connections still go to it.
    Asked,
    /// New connections go to the new gateway.
    Learnt,
    /// The old gateway has ended.
    Gone,
}

/// The state after each second.
#[derive(Debug)]
pub struct Tick<'a> {
    /// The phase of the restart.
    pub phase: Phase,
    /// The time since the start of the load.
    pub at: Duration,
    /// A snapshot of the report.
    pub report: &'a Report,
    /// Open connections to the old gateway.
    pub to_old: u64,
    /// Open connections to the new gateway.
    pub to_new: u64,
}

/// The result of the restart.
#[derive(Debug)]
pub struct Outcome {
    /// The results of the requests and connections.
    pub report: Report,
    /// The exit status of the old gateway.
    pub status: ExitStatus,
    /// The time from SIGTERM to the end of the old gateway.
    pub stop: Duration,
    /// The processes of the old gateway in the order of their ends, each with the time since
    /// SIGTERM at which its end was noticed.
    pub went: Vec<(Duration, &'static str)>,
    /// The output of the old gateway after SIGTERM, with the time since SIGTERM.
    pub lines: Vec<(Duration, String)>,
}

impl RollingRestart {
    /// Runs the restart, and calls `watch` every second.
    pub async fn run(&self, mut watch: impl FnMut(&Tick<'_>)) -> io::Result<Outcome> {
        let spec = Spec {
            runner: self.runner.clone(),
            envoy: self.envoy.clone(),
            drain_seconds: self.drain_seconds,
            overlays: self.overlays.clone(),
        };
        let fresh = Spec { drain_seconds: 0, ..spec.clone() };
        let (mut old, new) = tokio::try_join!(Gateway::start(&spec), Gateway::start(&fresh))?;
        let service = Service::new(&[old.address()]);
        let load = Load::start(
            &service,
            Plan {
                clients: self.clients,
                rate: self.rate,
                length: self.before + LONGEST_STOP + self.after,
                idle_close: self.idle_close,
            },
        );
        let start = Instant::now();
        let mut ask = start + self.before;
        let latest = ask + LONGEST_START;
        let (mut asked, mut learnt, mut ended) = (None, None, None);
        let mut end = ask + LONGEST_STOP;
        let mut seconds = interval_at((start + SECOND).into(), SECOND);
        while Instant::now() < end {
            tokio::select! {
                biased; // at the end of a second, report it before handling other events
                _ = seconds.tick() => {
                    let phase = match (asked, learnt, ended) {
                        (None, ..) => Phase::Before,
                        (_, None, None) => Phase::Asked,
                        (_, Some(_), None) => Phase::Learnt,
                        (.., Some(_)) => Phase::Gone,
                    };
                    let open = |gateway: &Gateway| load.report().open_to(gateway.address());
                    watch(&Tick { phase, at: start.elapsed(), report: &load.report(), to_old: open(&old), to_new: open(&new) });
                }
                // On a busy machine, some clients may not have an answer yet, so the restart waits
                // for them.
                () = sleep_until(ask.into()), if asked.is_none() => {
                    if load.report().open_to(old.address()) < u64::from(self.clients) && ask < latest {
                        ask += POLL;
                        end += POLL;
                        continue;
                    }
                    old.terminate()?;
                    asked = Some(Instant::now());
                }
                () = sleep_until((ask + self.learn).into()), if asked.is_some() && learnt.is_none() => {
                    service.set(&[new.address()]);
                    learnt = Some(Instant::now());
                }
                status = old.gone(), if asked.is_some() && ended.is_none() => {
                    ended = Some((Instant::now(), status?));
                }
                () = sleep_until(end.into()) => {}
            }
            if let (Some(learnt), Some((ended, _))) = (learnt, ended) {
                end = learnt.max(ended) + self.after;
            }
        }
        load.end_after(Duration::ZERO);
        let report = load.finish().await;
        let (Some(asked), Some((ended, status))) = (asked, ended) else {
            return Err(io::Error::other("the old gateway does not stop"));
        };
        let since = |at: Instant| at.saturating_duration_since(asked);
        let mut went: Vec<_> = old
            .members()
            .iter()
            .map(|member| (since(member.gone.unwrap_or(ended)), member.name))
            .collect();
        let lines = old.lines().into_iter().filter(|(at, _)| *at >= asked);
        let lines: Vec<_> = lines.map(|(at, line)| (since(at), line)).collect();
        // If the log has a line for each end, the processes are in the order of these lines,
        // because a poll may notice the ends in another order.
        let place_of_end = |name: &str| {
            let ends = [format!("{name}: exited with"), format!("{name}: was ended by")];
            lines.iter().position(|(_, line)| ends.iter().any(|end| line.contains(end)))
        };
        went.sort_by_key(|(at, name)| (place_of_end(name), *at));
        Ok(Outcome { report, status, stop: since(ended), went, lines })
    }
}
