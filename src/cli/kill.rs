//! `drainit kill`: sends a signal to single processes.

use clap::Args;
use hyper::Method;

use crate::cli::ask::{LIMIT, ask, query, run};
use crate::cli::control_address::{Whom, of_operator};
use crate::cli::fail;
use crate::types::{Signal, exit_code};

const MAX_ANSWER: usize = 64 * 1024;

/// Options of `kill`.
#[derive(Debug, Args)]
#[command(
    after_help = "The signal goes to the process, not to its children. If that ends it, `restart` and `on_exit` decide; \
        `drainit stop` stops a process."
)]
pub struct KillArgs {
    #[command(flatten)]
    whom: Whom,
    /// The signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal, default_value = "KILL")]
    signal: Signal,
    /// The processes; `app-*` means all whose names begin with `app-`
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Returns 0 when the signal was sent to all of them.
pub(super) fn kill(args: &KillArgs) -> u8 {
    let found = match of_operator(&args.whom) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    run(async {
        let names = query(&args.names)?.join("&");
        let path = format!("/v1/kill?signal={}&{names}", args.signal.number());
        ask(&found, Method::POST, &path, LIMIT, MAX_ANSWER).await.map(drop)
    })
}

fn signal(text: &str) -> Result<Signal, String> {
    Signal::parse(text)
        .ok_or_else(|| "write a name such as HUP, or a number from 1 to 64".to_owned())
}
