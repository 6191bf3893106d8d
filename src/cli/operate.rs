//! `drainit stop`, `start`, `restart` and `kill` of single processes.

use std::time::Duration;

use hyper::Method;

use crate::cli::ask::{LIMIT, ask, query, run};
use crate::cli::control_address::Found;
use crate::cli::{changes, print};
use crate::commands::{KillArgs, OperateArgs};

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
        changes::tell(&found, &args.names, verb, request).await.map(drop)
    })
}
