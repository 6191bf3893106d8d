//! Replaces a gateway under traffic by a new one, and shows the results of the requests: `make
//! demo`. For comparison, the argument `plain`, `recipe` or `careful` lets a shell script run and
//! stop the gateway without drainit (`make demo MODE=plain`).
//!
//! Exits with 1 if a request failed.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use testkit::envoy;
use testkit::load::Counts;
use testkit::rolling_restart::{self, BEFORE, CLIENTS, LEARN, Outcome, Phase, RATE, Tick};

/// The width of the terminal for which the output is wrapped, in columns.
const COLUMNS: usize = 80;
/// The width of the time before a line, in columns.
const TIME: usize = 9;

fn main() -> ExitCode {
    match demo() {
        Ok(outcome) if outcome.report.total.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("demo: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> io::Result<Outcome> {
    let mode = std::env::args().nth(1).unwrap_or_else(|| "drainit".to_owned());
    if !["drainit", "plain", "recipe", "careful"].contains(&mode.as_str()) {
        let known = "drainit, plain, recipe or careful";
        return Err(io::Error::other(format!("unknown mode {mode}: {known}")));
    }
    let version = std::env::var("ENVOY_VERSION").unwrap_or_else(|_| envoy::DEFAULT.to_owned());
    let envoy = envoy::binary(&version)?;
    let (before, learn) = (BEFORE.as_secs(), LEARN.as_secs());
    println!("Two gateways: router (Envoy {version}) -> policy-engine -> python-executor.");
    println!("{CLIENTS} clients keep a connection to the old one and send {RATE} request/s each.");
    println!(
        "After {before} s the old one gets SIGTERM ({mode}). {learn} s later the load balancer"
    );
    println!("has learnt that new connections go to the new one. Nobody retries anything.\n");
    println!("{:46}in this second   connections", "");
    println!("{:46}served  failed    old    new", "");

    let mut before = Counts::default();
    let outcome = rolling_restart::run(&mode, &envoy, |tick| before = show(tick, before))?;
    tell(&outcome, &mode);
    Ok(outcome)
}

/// Prints one line for the last second; returns the totals so far.
fn show(tick: &Tick, before: Counts) -> Counts {
    let what = match tick.phase {
        Phase::Before => "the old gateway serves",
        Phase::Asked => "SIGTERM; new connections still arrive",
        Phase::Learnt => "it drains; new connections go elsewhere",
        Phase::Gone => "the old gateway is gone",
    };
    let now = tick.report.total;
    let (ok, failed) = (now.ok - before.ok, now.failed - before.failed);
    println!(
        "{:>3.0} s  {what:<40}{ok:>6}{failed:>8}{:>7}{:>7}",
        tick.at.as_secs_f64(),
        tick.to_old,
        tick.to_new
    );
    now
}

fn tell(outcome: &Outcome, mode: &str) {
    println!("\nThe stop of the old gateway ({mode}), in seconds since SIGTERM:\n");
    let mut events: Vec<(Duration, String)> = outcome.lines.clone();
    let seen = outcome.went.iter().map(|(at, name)| (*at, format!("-- {name} is gone")));
    events.extend(seen);
    events.sort_by_key(|(at, _)| *at);
    for (at, text) in events {
        println!("{:>7.2}  {}", at.as_secs_f64(), wrap(&without_clock(&text)));
    }
    println!("{:>7.2}  -- all gone, {}\n", outcome.stop.as_secs_f64(), outcome.status);
    println!("{}", outcome.report);
    if outcome.report.total.failed == 0 {
        println!("\nNo request failed.");
    } else {
        println!("\n{} requests failed.", outcome.report.total.failed);
    }
}

/// Removes the time of day from drainit's own lines, because the column on the left shows the time.
fn without_clock(text: &str) -> String {
    match text.strip_prefix("[drainit] ").and_then(|rest| rest.split_once("Z ")) {
        Some((_, message)) => format!("[drainit] {message}"),
        None => text.to_owned(),
    }
}

/// Breaks a line between words to fit beside the time.
fn wrap(text: &str) -> String {
    let mut wrapped = String::new();
    let mut column = TIME;
    for word in text.split(' ') {
        let width = word.chars().count() + 1;
        if column + width > COLUMNS && column > TIME {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(TIME + 4));
            column = TIME + 4;
        } else if !wrapped.is_empty() {
            wrapped.push(' ');
        }
        wrapped.push_str(word);
        column += width;
    }
    wrapped
}
