//! `drainit shutdown`: ends the container as SIGTERM does, from inside.

use std::time::Duration;

use hyper::Method;

use crate::cli::ask::{LIMIT, ask, run};
use crate::cli::control_address::Found;
use crate::cli::print;
use crate::commands::WaitArgs;
use crate::control::operate::NO_WAIT;
use crate::http::{Answerer, connect_unix};
use crate::keys::Address;
use crate::os::descendants::descends_from;
use crate::os::private_socket;
use crate::types::harmless_lines;

/// Returns 0 when everything has stopped and the container ends with 0, or with `--no-wait`, and for
/// a process of the container, when the shutdown has begun. Interrupting the command does not
/// interrupt the shutdown.
pub(super) fn shutdown(args: &WaitArgs) -> u8 {
    run(&args.whom, async |found: Found| {
        // There is no limit with a wait, because the grace period limits the shutdown. A process that
        // drainit stops would wait for its own end.
        let (query, limit) = match args.no_wait || is_stopped_by(&found.address).await {
            true => (format!("?{NO_WAIT}"), LIMIT),
            false => (String::new(), Duration::MAX),
        };
        let answer = ask(&found, Method::POST, &format!("/v1/shutdown{query}"), limit).await?;
        print(harmless_lines(&String::from_utf8_lossy(&answer)).as_bytes());
        Ok(())
    })
}

/// Whether this process descends from the drainit at this address, which therefore stops it.
async fn is_stopped_by(address: &Address) -> bool {
    let Address::Unix(path) = address else { return false };
    let connected = connect_unix(path, Answerer::Drainit).await;
    let server = connected.ok().and_then(|stream| private_socket::peer(&stream).ok());
    server.is_some_and(|server| descends_from(server.pid))
}
