//! A goodbye that is spread: clients of a real Envoy are asked to leave one after the other, and the
//! last ones when `min` is over.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::envoy::TESTED;
use testkit::load::{IdleClose, Load, Plan, Report, Service};
use tokio::time::sleep;

use crate::support::http::get_unix;
use crate::support::real_envoy::RealEnvoy;
use crate::support::{LONG, Running, Signal, in_parallel, ms, now};

const CLIENTS: u32 = 200;
/// The part of a second in which closed connections are counted.
const SLICE: Duration = ms(100);

/// A moment of the drain.
struct Slice {
    /// Since the stop signal.
    at: Duration,
    /// The number of clients that were told to leave, since the slice before.
    told: u64,
    /// The time since the slice before, which is longer where the machine pauses.
    took: Duration,
    /// Whether the health check is good.
    is_good: bool,
}

fn answers_itself(config: &mut Value) {
    let listeners = &mut config["static_resources"]["listeners"];
    let manager = &mut listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
    ]);
}

fn start(
    version: &'static str,
    flags: &'static [&'static str],
    drain: &'static str,
) -> Option<(Running, SocketAddr)> {
    let shutdown = "grace_period: 30s, reserve: 2s";
    let change = answers_itself;
    RealEnvoy { version, flags, drain, shutdown, change, ..RealEnvoy::default() }.start()
}

/// Drains one of two Envoys while so many clients send so many requests a second each.
fn drained(
    (old, address): &(Running, SocketAddr),
    next: SocketAddr,
    clients: u32,
    rate: f64,
) -> (Report, Vec<Slice>) {
    let drained = async {
        let service = Service::new(&[*address]);
        let plan = Plan { clients, rate, length: ms(60_000), idle_close: IdleClose::Noticed };
        let load = Load::start(&service, plan);
        while load.report().open_to(*address) < u64::from(clients) {
            assert!(load.elapsed() < LONG, "not all are connected: {}", load.report());
            sleep(ms(50)).await;
        }
        service.set(&[next]);
        let asked = old.signal(Signal::SIGTERM);
        let (mut slices, mut before, mut last) = (Vec::new(), 0, asked);
        while load.report().open_to(*address) > 0 && load.elapsed() < ms(50_000) {
            sleep(SLICE).await;
            let total = load.report().total.told_to_close;
            let counted = now();
            let told = total - std::mem::replace(&mut before, total);
            let ready = get_unix(&old.path("admin.sock"), "/ready");
            let is_good = ready.is_ok_and(|(status, _)| status == 200);
            let took = counted - std::mem::replace(&mut last, counted);
            slices.push(Slice { at: now() - asked, told, took, is_good });
        }
        load.end_after(ms(500));
        (load.finish().await, slices)
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(drained)
}

#[test]
fn clients_leave_one_after_the_other_within_min() {
    // 5 requests per second, and the square of the 3 s of `min`, by 5.
    let flags = &["--concurrency", "1", "--drain-time-s", "9"];
    let drained_with = |version: &'static str| {
        let old = start(version, flags, "time: 9s, min: 3s, strategy: gradual");
        let new = start(version, &["--concurrency", "1"], "time: 0s");
        let (Some(old), Some((_new, next))) = (old, new) else { return };
        let (report, slices) = drained(&old, next, CLIENTS, 5.0);
        let (old, _) = old;
        let told: Vec<_> = slices.iter().map(|slice| (slice.at, slice.told)).collect();
        let seen = format!("Envoy {version}: {told:?}\n{report}\n{}", old.record());
        assert_eq!(report.total.failed, 0, "{seen}");
        let count = |from, to| -> u64 {
            let within = told.iter().filter(|(at, _)| (ms(from)..ms(to)).contains(at));
            within.map(|(_, told)| told).sum()
        };
        assert_eq!(count(0, 60_000), u64::from(CLIENTS), "{seen}");
        // At once they would all leave in a fifth of a second.
        let pace = |slice: &Slice| slice.told as f64 / slice.took.max(SLICE).as_secs_f64();
        let busiest = slices.iter().map(pace).fold(0.0, f64::max);
        assert!(busiest < f64::from(CLIENTS) * 5.0, "{seen}");
        assert!(count(0, 3000) > u64::from(CLIENTS) / 3, "{seen}");
        // The health check fails when `min` is over, and not before.
        let early = slices.iter().filter(|slice| slice.at < ms(2900));
        assert!(early.clone().count() > 0, "{seen}");
        assert!(early.clone().all(|slice| slice.is_good), "{seen}");
        old.wait_exit(LONG).assert_code(0).assert_line("no connection left");
    };
    // Each has a second Envoy and many clients, too many for two cores if all run at once.
    for versions in TESTED.chunks(3) {
        in_parallel(versions.iter().copied(), drained_with);
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "its output is the table")]
#[ignore = "measures the table of docs/envoy.md, in two minutes"]
fn how_clients_leave() {
    const IMMEDIATE: &str = "time: 15s, min: 5s";
    const GRADUAL: &str = "time: 15s, min: 5s, strategy: gradual";
    const DEFAULT: &[&str] = &["--concurrency", "1"];
    const LONGER: &[&str] = &["--concurrency", "1", "--drain-time-s", "50"];
    for version in TESTED {
        for (clients, rate, flags, drain) in [
            (1000, 10.0, DEFAULT, IMMEDIATE),
            (1000, 10.0, LONGER, GRADUAL),
            (100, 70.0, DEFAULT, IMMEDIATE),
            (100, 70.0, DEFAULT, GRADUAL),
        ] {
            let (old, new) = (start(version, flags, drain), start(version, DEFAULT, "time: 0s"));
            let (Some(old), Some((_new, next))) = (old, new) else { return };
            let (report, slices) = drained(&old, next, clients, rate);
            let told = slices.iter().filter(|slice| slice.told > 0);
            let seconds = |slice: Option<&Slice>| {
                slice.map(|slice| slice.at.as_secs_f64()).unwrap_or_default()
            };
            let ended = old.0.wait_exit(LONG * 2);
            let over = ended.record.line("drain over after").map(|line| line.text.clone());
            println!(
                "{version} {flags:?} {drain}, {clients} with {rate}/s: busiest slice {}, first {:.1} s, last {:.1} s, \
                 {} failed, {}",
                told.clone().map(|slice| slice.told).max().unwrap_or_default(),
                seconds(told.clone().next()),
                seconds(told.clone().next_back()),
                report.total.failed,
                over.unwrap_or_default(),
            );
        }
    }
}

#[test]
fn an_envoy_that_cannot_spread_it_is_reported_while_it_is_healthy() {
    let envoy = RealEnvoy {
        flags: &["--drain-strategy", "immediate"],
        drain: "time: 3s, min: 1s, strategy: gradual",
        ..RealEnvoy::default()
    };
    let Some((drainit, _)) = envoy.start() else { return };
    drainit.wait_for_line("warning: router: with `--drain-strategy immediate` every response");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}
