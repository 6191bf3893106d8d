//! Two gateway containers behind a load balancer are replaced one after the other, under load:
//! `make rollout`.
//!
//!     rollout [stock] [recipe] [drainit]
//!
//! The same gateway three times: with its bash entrypoint as newer releases run it (no admin, so no
//! drain), with the admin enabled and the recipe `drain_listeners?graceful` and 15 s of sleep, and
//! with drainit and `../drainit.yaml` in its place, which drain with nothing enabled. 100
//! keep-alive clients send 1 request/s each through HAProxy, which learns 1 s after the stop signal
//! that a gateway has gone.
//!
//! Exits with 1 if a request failed with drainit.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::panic)] // a person sees the errors

mod balancer;
mod images;
mod roll;

use std::process::ExitCode;

use roll::{Outcome, roll};

/// The way in which a gateway is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The bash entrypoint, without an admin and so without a drain.
    Stock,
    /// The bash entrypoint with the admin enabled: `drain_listeners?graceful`, and 15 s of sleep.
    Recipe,
    /// drainit in its place, in the same environment as `Stock`.
    Drainit,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Stock, Self::Recipe, Self::Drainit];

    fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Recipe => "recipe",
            Self::Drainit => "drainit",
        }
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| Mode::ALL.iter().all(|m| m.name() != *name)) {
        eprintln!("rollout: unknown mode {unknown}: stock, recipe or drainit");
        return ExitCode::from(2);
    }
    testkit::docker::remove_orphans();
    let images = images::build();
    println!("Two gateways behind a load balancer, replaced one after the other.");
    println!(
        "100 keep-alive clients, 1 request/s each; the balancer learns of a stop 1 s after it.\n"
    );
    println!("{:10} {:>9} {:>7}   seconds from SIGTERM to exit", "", "requests", "failed");
    let mut lost = false;
    for mode in Mode::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == mode.name()) {
            continue;
        }
        let Outcome { report, stops } = roll(&images, mode);
        let total = &report.total;
        let stops: Vec<_> = stops.iter().map(|stop| format!("{:.1}", stop.as_secs_f64())).collect();
        println!(
            "{:10} {:>9} {:>7}   {}",
            mode.name(),
            total.ok + total.failed,
            total.failed,
            stops.join(", ")
        );
        lost |= mode == Mode::Drainit && total.failed > 0;
    }
    if lost { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
