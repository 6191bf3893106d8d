//! A process of the example gateway dies or hangs under real load: the stop is bounded, and drainit
//! reports the failure.

use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use testkit::envoy;
use testkit::gateway::{Gateway, Runner, Spec};
use testkit::load::{Failure, IdleClose, Load, Plan, Report, Service};
use tokio::time::{sleep, sleep_until};

use crate::support::{LONG, Signal, ms, namespace};

/// The time under load before the first signal.
const BEFORE: Duration = ms(1500);
/// The time from T0 until new connections go elsewhere.
const LEARN: Duration = ms(1000);
/// The `min` of the example.
const MIN: Duration = ms(5000);
const CLIENTS: u32 = 40;
/// The number of requests per second of one client.
const RATE: f64 = 5.0;

/// A signal to a process, sent at this time after T0, and if the process is Envoy not before clients
/// have been told to leave.
type Blow = (Duration, &'static str, Signal);

struct Outcome {
    report: Report,
    status: ExitStatus,
    /// The time from T0 until drainit had ended.
    took: Duration,
    said: String,
    /// Is T0 on the clock of the load.
    t0: Duration,
}

/// Runs a gateway under load and sends signals to its processes; the name `drainit` stands for
/// drainit itself. T0 is the time of the first signal.
async fn strike(drain_seconds: u32, blows: &[Blow]) -> io::Result<Outcome> {
    let runner = Runner::Init(env!("CARGO_BIN_EXE_drainit").into());
    let spec =
        Spec { runner, envoy: envoy::binary(envoy::DEFAULT)?, drain_seconds, overlays: Vec::new() };
    let (mut old, new) = tokio::try_join!(Gateway::start(&spec), Gateway::start(&spec))?;
    let service = Service::new(&[old.address()]);
    let idle_close = IdleClose::Noticed;
    let plan = Plan { clients: CLIENTS, rate: RATE, length: ms(60_000), idle_close };
    let load = Load::start(&service, plan);
    sleep(BEFORE).await;
    while load.report().open_to(old.address()) < u64::from(CLIENTS) {
        assert!(load.elapsed() < LONG, "not all are connected: {}", load.report());
        sleep(ms(20)).await;
    }
    let (t0, since_start) = (Instant::now(), load.elapsed());
    let story = async {
        for (after, whom, signal) in blows {
            if !after.is_zero() && *whom == "router" {
                while load.report().total.told_to_close == 0 && t0.elapsed() < ms(20_000) {
                    sleep(ms(20)).await;
                }
                // The drain is begun by two calls, and either may tell them.
                sleep(ms(400)).await;
            }
            sleep_until((t0 + *after).into()).await;
            let member = old.members().iter().find(|member| member.name == *whom);
            let pid = member.map_or(old.pid(), |member| Pid::from_raw(member.pid));
            kill(pid, *signal)?;
        }
        Ok::<(), io::Error>(())
    };
    let learn = async {
        sleep_until((t0 + LEARN).into()).await;
        service.set(&[new.address()]);
    };
    let (struck, ()) = tokio::join!(story, learn);
    struck?;
    let status = old.gone().await?;
    let took = t0.elapsed();
    load.end_after(ms(500));
    let report = load.finish().await;
    let said: Vec<_> = old.lines().into_iter().map(|(_, line)| line).collect();
    Ok(Outcome {
        report,
        status,
        took,
        said: said.join(
            "
",
        ),
        t0: since_start,
    })
}

fn struck(drain_seconds: u32, blows: &[Blow]) -> Option<Outcome> {
    if !namespace::is_possible() {
        return None;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Some(runtime.block_on(strike(drain_seconds, blows)).unwrap())
}

impl Outcome {
    #[track_caller]
    fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.said);
        self
    }

    #[track_caller]
    fn assert_took(&self, range: std::ops::Range<Duration>) -> &Self {
        assert!(range.contains(&self.took), "took {:?}, not {range:?}\n{}", self.took, self.said);
        self
    }

    #[track_caller]
    fn assert_said(&self, pattern: &str) -> &Self {
        let found =
            self.said.lines().any(|line| regex_lite::Regex::new(pattern).unwrap().is_match(line));
        assert!(found, "no line `{pattern}`:\n{}", self.said);
        self
    }

    /// Fails unless these processes ended one after the other, and each but the first was asked to
    /// end only after the one before had ended.
    #[track_caller]
    fn assert_went_in_order(&self, names: &[&str]) -> &Self {
        let place = |what: String| {
            let found = self.said.find(&what);
            found.unwrap_or_else(|| panic!("no `{what}`:\n{}", self.said))
        };
        for pair in names.windows(2) {
            let ended = ["exited with", "was ended by"];
            let ended =
                ended.iter().filter_map(|how| self.said.find(&format!("Z {}: {how}", pair[0])));
            let ended =
                ended.chain(self.said.find(&format!("error: {}: was ended by", pair[0]))).min();
            let asked = place(format!("Z {}: SIGTERM, then KILL", pair[1]));
            assert!(ended.is_some_and(|ended| ended < asked), "{pair:?}:\n{}", self.said);
        }
        self
    }

    /// Fails unless all failed requests failed between these times after T0.
    #[track_caller]
    fn assert_failures_within(&self, range: std::ops::Range<Duration>) -> &Self {
        for (at, failure) in &self.report.failures {
            let at = at.saturating_sub(self.t0);
            assert!(
                range.contains(&at),
                "{failure} {at:?} after T0\n{}\n{}",
                self.report,
                self.said
            );
        }
        self
    }
}

#[test]
fn a_policy_engine_that_dies_under_load_costs_its_answers_and_no_connection() {
    // The policy engine ends at T0, because the default action of USR1 is to end the process.
    // Clients leave with the first answer, so how many are left when they are counted is chance.
    let Some(outcome) = struck(10, &[(ms(0), "policy-engine", Signal::SIGUSR1)]) else { return };
    outcome
        .assert_code(128 + Signal::SIGUSR1 as i32)
        .assert_took(MIN..MIN + ms(6000))
        .assert_said("policy-engine: was ended by SIGUSR1 without being asked to")
        .assert_said("drain router: .*; connections [0-9]+ at the start, 0 at the end")
        // The clients leave a gateway that can no longer decide.
        .assert_failures_within(ms(0)..LEARN + ms(3000));
    outcome.assert_went_in_order(&["policy-engine", "router", "python-executor"]);
    let is_answer = |(_, failure): &(_, Failure)| *failure == Failure::Status(503);
    assert!(outcome.report.failures.iter().all(is_answer), "{}\n{}", outcome.report, outcome.said);
    assert!(outcome.report.total.failed > 0, "there was no load on it");
}

#[test]
fn an_envoy_that_dies_during_the_drain_is_not_waited_for() {
    let blows = [(ms(0), "drainit", Signal::SIGTERM), (ms(2000), "router", Signal::SIGKILL)];
    let Some(outcome) = struck(10, &blows) else { return };
    outcome
        .assert_code(0)
        .assert_took(ms(2000)..ms(7000))
        .assert_said("drain router: .*, the process has ended; connections 40 at the start, .* when last seen")
        .assert_said("stop router: was ended by SIGKILL without being asked to")
        // No request failed before Envoy died; most clients had been asked to close by then, and
        // had left.
        .assert_failures_within(ms(2000)..ms(60_000));
    outcome.assert_went_in_order(&["router", "policy-engine", "python-executor"]);
}

#[test]
fn an_envoy_that_hangs_when_it_is_to_drain_is_stopped_after_min() {
    let blows = [(ms(0), "router", Signal::SIGSTOP), (ms(50), "drainit", Signal::SIGTERM)];
    let Some(outcome) = struck(10, &blows) else { return };
    outcome
        .assert_code(0)
        .assert_took(MIN..MIN + ms(6000))
        .assert_said(
            r"warning: router: POST /drain_listeners\?graceful&skip_exit: no answer within",
        )
        .assert_said(
            "drain router: .*it did not accept the drain, so only min was held; connections unknown",
        )
        .assert_said("stop router: .*, exited with code 0");
    outcome.assert_went_in_order(&["router", "policy-engine", "python-executor"]);
}

#[test]
fn an_envoy_that_hangs_during_the_drain_is_stopped_when_its_time_is_over() {
    let blows = [(ms(0), "drainit", Signal::SIGTERM), (ms(500), "router", Signal::SIGSTOP)];
    let Some(outcome) = struck(6, &blows) else { return };
    outcome
        .assert_code(0)
        .assert_took(ms(6000)..ms(12_000))
        .assert_said(
            "warning: router: GET /stats: no answer within 500ms; its connections are unknown",
        )
        .assert_said(
            "drain router: .*, its time is over; connections 40 at the start, .* when last seen",
        )
        .assert_said("stop router: .*, exited with code 0");
    outcome.assert_went_in_order(&["router", "policy-engine", "python-executor"]);
}
