//! `drainit stop`, `start`, `restart` and `kill` of single processes.

use std::future::Future;
use std::time::Duration;

use hyper::Method;

use crate::cli::ask::{LIMIT, ask, query, refusal, run};
use crate::cli::control_address::Found;
use crate::cli::progress::waiting;
use crate::cli::{print, say};
use crate::commands::{KillArgs, OperateArgs};
use crate::control::answer::Answer;
use crate::types::{harmless, harmless_lines};

/// Stops, starts or restarts processes, and returns 0 when that is done. Interrupting the command
/// does not interrupt the operation.
pub(super) fn operate(verb: &str, args: &OperateArgs) -> u8 {
    run(&args.whom, async |found: Found| {
        let path = format!("/v1/{verb}?{}", query(&args.names)?);
        // There is no limit here, because drainit itself limits drains, stops and the wait for
        // readiness.
        let request = ask(&found, Method::POST, &path, Duration::MAX);
        tell(&found, &args.names, request).await
    })
}

/// Returns 0 when the signal was sent to all named processes.
pub(super) fn kill(args: &KillArgs) -> u8 {
    run(&args.operate.whom, async |found: Found| {
        let (names, signal) = (query(&args.operate.names)?, args.signal.number());
        let path = format!("/v1/kill?{names}&signal={signal}");
        print(&ask(&found, Method::POST, &path, LIMIT).await?);
        Ok(())
    })
}

/// Makes a request about the processes that `names` means, and prints the lines of the answer, even
/// if the request fails.
///
/// # Errors
/// Fails if the request fails.
pub(super) async fn tell(
    found: &Found,
    names: &[String],
    request: impl Future<Output = Result<Vec<u8>, String>>,
) -> Result<(), String> {
    let body = waiting(found, names, request).await?;
    let malformed = |error| format!("drainit's answer cannot be read: {error}");
    let answer: Answer = serde_json::from_slice(&body).map_err(malformed)?;
    let lines: String = answer.lines.iter().map(|line| format!("{}\n", harmless(line))).collect();
    print(lines.as_bytes());
    say(&harmless_lines(&answer.warnings));
    answer.error.map_or(Ok(()), |error| Err(refusal(&error)))
}
