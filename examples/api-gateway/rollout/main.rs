//! Two gateway containers behind a load balancer are replaced one after the other, under load:
//! `make rollout`.
//!
//!     rollout [stock] [recipe] [drainit] [parts]
//!
//! `images.sh` has built the images before.
//!
//! The gateway runs three times:
//!
//! - `stock`: its bash entrypoint, as newer releases run it: without an admin, without a drain;
//! - `recipe`: the same with the admin, `drain_listeners?graceful`, and 15 s of sleep;
//! - `drainit`: drainit and `../drainit.yaml` in place of the entrypoint. drainit drains the
//!   gateway without an option in the environment.
//!
//! 100 keep-alive clients send 1 request/s each through HAProxy, which learns 1 s after the stop
//! signal that a gateway has gone.
//!
//! `parts` uses `../replace.yaml`, and replaces the Policy Engine and the Python Executor of one
//! gateway, but no gateway.
//!
//! Exits with 1 if a request failed with drainit.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]
#![allow(clippy::unwrap_used, clippy::panic)] // a person sees the errors

mod balancer;
mod roll;

use std::process::ExitCode;
use std::time::Duration;

/// The grace period in seconds.
pub(crate) const GRACE: &str = "30";

/// The way in which a gateway is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The bash entrypoint, without an admin and so without a drain.
    Stock,
    /// The bash entrypoint with the admin enabled: `drain_listeners?graceful`, and 15 s of sleep.
    Recipe,
    /// drainit in place of the bash entrypoint, in the same environment as `Stock`.
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

    fn image(self) -> &'static str {
        match self {
            Self::Stock | Self::Recipe => "drainit-rollout-gateway",
            Self::Drainit => "drainit-rollout-drainit",
        }
    }

    /// The options of `docker run` and `docker service create`.
    fn options(self) -> Vec<&'static str> {
        let mut options =
            vec!["--env=TERMINATION_GRACE_PERIOD_SECONDS=30", "--env=LOG_LEVEL=error"];
        if self == Self::Recipe {
            options.push("--env=ROUTER_ADMIN_ENABLED=true");
        }
        options
    }
}

/// The run that replaces the parts behind the Router.
const PARTS: &str = "parts";

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let is_known = |name: &str| name == PARTS || Mode::ALL.iter().any(|mode| mode.name() == name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        eprintln!("rollout: unknown mode {unknown}: stock, recipe, drainit or parts");
        return ExitCode::from(2);
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|it| it == name);
    let modes: Vec<Mode> = Mode::ALL.into_iter().filter(|mode| is_wanted(mode.name())).collect();
    testkit::docker::remove_orphans();
    let mut lost = !modes.is_empty() && rollout(&modes);
    if is_wanted(PARTS) {
        lost |= parts();
    }
    if lost { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Returns whether a request failed with drainit.
fn rollout(modes: &[Mode]) -> bool {
    println!("Two gateways behind a load balancer, replaced one after the other.");
    println!(
        "100 keep-alive clients, 1 request/s each; the balancer learns of a stop 1 s after it.\n"
    );
    println!("{:10} {:>9} {:>7}   seconds from SIGTERM to exit", "", "requests", "failed");
    let mut lost = false;
    for &mode in modes {
        let roll::Outcome { report, stops } = roll::roll(mode);
        let total = &report.total;
        println!(
            "{:10} {:>9} {:>7}   {}",
            mode.name(),
            total.ok + total.failed,
            total.failed,
            seconds(&stops)
        );
        if mode == Mode::Drainit && total.failed > 0 {
            println!("{report}");
            lost = true;
        }
    }
    lost
}

/// Returns whether a request failed.
fn parts() -> bool {
    println!(
        "\nOne gateway, whose Policy Engine and Python Executor are replaced 10 times each.\n"
    );
    let report = roll::replace_parts();
    let total = &report.total;
    println!("{:10} {:>9} requests {:>7} failed", PARTS, total.ok + total.failed, total.failed);
    if total.failed > 0 {
        println!("{report}");
    }
    total.failed > 0
}

fn seconds(stops: &[Duration]) -> String {
    let stops: Vec<_> = stops.iter().map(|stop| format!("{:.1}", stop.as_secs_f64())).collect();
    stops.join(", ")
}
