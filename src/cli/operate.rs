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
use crate::types::suggest::is_meant;
use crate::types::{harmless, harmless_lines};

/// Stops, starts or restarts processes, and returns 0 when that is done. Interrupting the command
/// does not interrupt the operation.
pub(super) fn operate(verb: &str, args: &OperateArgs) -> u8 {
    // There is no limit here, because drainit itself limits drains, stops and the wait for
    // readiness.
    post(args, verb, None, Duration::MAX)
}

/// Returns 0 when the signal was sent to all named processes.
pub(super) fn kill(args: &KillArgs) -> u8 {
    post(&args.operate, "kill", Some(format!("signal={}", args.signal.number())), LIMIT)
}

fn post(args: &OperateArgs, verb: &str, parameter: Option<String>, limit: Duration) -> u8 {
    run(&args.whom, async |found: Found| {
        let mut query = query(&args.names)?;
        query.extend(parameter);
        let path = format!("/v1/{verb}?{}", query.join("&"));
        let request = ask(&found, Method::POST, &path, limit);
        if verb == "kill" {
            print(&request.await?);
            return Ok(());
        }
        tell(&found, &args.names, request).await
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
    let is_meant = |name: &str| names.iter().any(|pattern| is_meant(pattern, name));
    let body = waiting(found, is_meant, request).await?;
    let malformed = |error| format!("drainit's answer cannot be read: {error}");
    let answer: Answer = serde_json::from_slice(&body).map_err(malformed)?;
    let lines: String = answer.lines.iter().map(|line| format!("{}\n", harmless(line))).collect();
    print(lines.as_bytes());
    say(&harmless_lines(&answer.warnings));
    answer.error.map_or(Ok(()), |error| Err(refusal(&error)))
}
