//! A rolling restart under load. The old gateway gets SIGTERM while a new gateway already runs. A
//! second later, the load balancer sends new connections to the new gateway.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, POLL};
use crate::load::{IdleClose, Load, Plan, Report, Service};

/// `ROUTER_DRAIN_TIME_SECONDS` of the old gateway.
const DRAIN_SECONDS: u32 = 10;
/// Clients, each with one keep-alive connection.
pub const CLIENTS: u32 = 100;
/// Requests per second of one client.
pub const RATE: f64 = 1.0;
const SECOND: Duration = Duration::from_secs(1);
/// The time of load before SIGTERM.
pub const BEFORE: Duration = Duration::from_secs(4);
/// The longest wait for the first requests of all clients, after which the restart begins anyway.
const LONGEST_START: Duration = Duration::from_secs(14);
/// The time from SIGTERM until new connections go to the new gateway; about 1 s in a cluster.
pub const LEARN: Duration = Duration::from_secs(1);
/// A stop is abandoned after this time, which is longer than any grace period used here.
const LONGEST_STOP: Duration = Duration::from_secs(60);
/// The time of load after the old gateway has ended.
const AFTER: Duration = Duration::from_secs(3);

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
pub struct Tick {
    /// The phase of the restart.
    pub phase: Phase,
    /// The time since the start of the load.
    pub at: Duration,
    /// A snapshot of the report.
    pub report: Report,
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

/// Runs the restart, and calls `watch` every second. `mode` is that of `Gateway::start`.
pub fn run(mode: &str, envoy: &Path, mut watch: impl FnMut(&Tick)) -> io::Result<Outcome> {
    let (old, new) = scope(|scope| {
        let old = scope.spawn(|| Gateway::start(mode, envoy, DRAIN_SECONDS));
        let new = Gateway::start(mode, envoy, 0);
        (old.join().unwrap(), new)
    });
    let (mut old, new) = (old?, new?);
    let service = Service::new(&[old.address]);
    let length = BEFORE + LONGEST_START + LONGEST_STOP + AFTER;
    let plan = Plan { clients: CLIENTS, rate: RATE, length, idle_close: IdleClose::Unnoticed };
    let load = Load::start(&service, plan);
    let mut seconds = 1;
    // Waits, and reports every second.
    let mut during = |phase: Phase, old: &mut Gateway, is_over: &dyn Fn(&Tick) -> bool| {
        let began = load.elapsed();
        loop {
            old.look()?;
            let phase = if old.ended.is_some() { Phase::Gone } else { phase };
            let (at, report) = (load.elapsed(), load.report());
            let (to_old, to_new) = (report.open_to(old.address), report.open_to(new.address));
            let mut tick = Tick { phase, at, report, to_old, to_new };
            if at >= SECOND * seconds {
                watch(&tick);
                seconds += 1;
            }
            tick.at -= began;
            if is_over(&tick) {
                return io::Result::Ok(());
            }
            sleep(POLL);
        }
    };
    // On a busy machine, some clients may not have an answer yet, so the restart waits for them.
    during(Phase::Before, &mut old, &|tick| {
        let all_sent = tick.to_old >= u64::from(CLIENTS);
        tick.at >= if all_sent { BEFORE } else { LONGEST_START }
    })?;
    let asked = Instant::now();
    old.terminate()?;
    during(Phase::Asked, &mut old, &|tick| tick.at >= LEARN)?;
    service.set(&[new.address]);
    during(Phase::Learnt, &mut old, &|tick| tick.phase == Phase::Gone || tick.at >= LONGEST_STOP)?;
    during(Phase::Gone, &mut old, &|tick| tick.at >= AFTER)?;
    let report = load.end_after(Duration::ZERO);
    let Some((ended, status)) = old.ended else {
        return Err(io::Error::other("the old gateway does not stop"));
    };
    let since = |at: Instant| at.saturating_duration_since(asked);
    let went = old.went.iter().map(|(at, name)| (since(*at), *name)).collect();
    let lines = old.lines().into_iter().filter(|(at, _)| *at >= asked);
    let lines = lines.map(|(at, line)| (since(at), line)).collect();
    Ok(Outcome { report, status, stop: since(ended), went, lines })
}
