//! `drainit shutdown`: ends the container as SIGTERM does, from inside.

use std::time::Duration;

use hyper::Method;

use crate::cli::ask::{LIMIT, ask, run};
use crate::cli::control_address::Found;
use crate::cli::print;
use crate::commands::ShutdownArgs;
use crate::control::operate::NO_WAIT;
use crate::types::harmless_lines;

/// Returns 0 when everything has stopped and the container ends with 0, or with `--no-wait` when the
/// shutdown has begun. Interrupting the command does not interrupt the shutdown.
pub(super) fn shutdown(args: &ShutdownArgs) -> u8 {
    run(&args.whom, async |found: Found| {
        // There is no limit with a wait, because the grace period limits the shutdown.
        let (query, limit) = match args.no_wait {
            true => (format!("?{NO_WAIT}"), LIMIT),
            false => (String::new(), Duration::MAX),
        };
        let answer = ask(&found, Method::POST, &format!("/v1/shutdown{query}"), limit).await?;
        print(harmless_lines(&String::from_utf8_lossy(&answer)).as_bytes());
        Ok(())
    })
}
