//! `drainit drain`: asks the running supervisor to drain its processes, and waits until the drain
//! is done.
//!
//! The command is for a `preStop` hook or an operator. The command stops nothing; a later SIGTERM
//! continues from the drained state.

use std::io;
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::cli::ask::{self, ask, is_cut_off, is_unreachable, no_answer, run, send, status};
use crate::cli::control_address::Found;
use crate::cli::progress::waiting;
use crate::cli::{control_address, print};
use crate::commands::WaitArgs;
use crate::control::status::Status;
use crate::http::HttpError;
use crate::journal::state::ContainerPhase;
use crate::types::harmless_lines;

/// The time limit of one request.
const LIMIT: Duration = Duration::from_secs(2);
/// How long the command repeats its request to drain after transient errors.
const ASKING: Duration = Duration::from_secs(10);
/// How long the command polls if no answer contains the supervisor's deadline.
const UNKNOWN: Duration = Duration::from_secs(30);
/// The time for which the command keeps polling after the supervisor's deadline.
const SLACK: Duration = Duration::from_secs(5);
/// The pause between two polls.
const PAUSE: Duration = Duration::from_millis(50);

/// Returns 0 when the drain is done, or with `--no-wait` when it has begun.
pub(super) fn drain(args: &WaitArgs) -> u8 {
    run(&args.whom, async |found: Found| {
        let request = async {
            let said = begin(&found).await?;
            if !args.no_wait {
                wait(&found).await?;
            }
            Ok::<_, String>(said)
        };
        let otherwise =
            if args.no_wait { "the drain has begun\n" } else { "nothing is left to drain\n" };
        let said = waiting(&found, &[], request).await?;
        if let Ok(drains) = ask(&found, Method::GET, "/v1/drain", ask::LIMIT).await {
            let lines = said + &harmless_lines(&String::from_utf8_lossy(&drains));
            print(if lines.is_empty() { otherwise } else { &lines }.as_bytes());
        }
        Ok(())
    })
}

/// Asks the supervisor to drain. After a transient error, asks again for up to [`ASKING`]: a
/// repeated request does no harm. Returns the answer without its first line, which is not for the
/// operator.
async fn begin(found: &Found) -> Result<String, String> {
    let until = Instant::now() + ASKING;
    loop {
        let error = match send(found, Method::POST, "/drain", LIMIT).await {
            Ok(answer) if answer.status.is_success() => {
                let body = String::from_utf8_lossy(&answer.body);
                let notes = body.split_once('\n').map_or("", |(_, notes)| notes);
                return Ok(harmless_lines(notes).into_owned());
            }
            Ok(answer) => {
                let said = control_address::first_line(&answer);
                return Err(format!("drainit refuses to drain: {said}"));
            }
            Err(error) => error,
        };
        if !is_transient(&error) || Instant::now() >= until {
            let what = format!("drainit cannot be reached at {} to drain", found.address);
            return Err(no_answer(&error, found, &what));
        }
        sleep(PAUSE).await;
    }
}

/// Polls until the accepted drain is done, or the supervisor has exited. Gives up [`SLACK`] after
/// the supervisor's deadline. Before that, no other error ends the polling, because the drain may
/// still be running.
async fn wait(found: &Found) -> Result<(), String> {
    let mut until = Instant::now() + UNKNOWN;
    loop {
        let why = match status(found, LIMIT).await {
            Ok(Status { phase: ContainerPhase::Drained | ContainerPhase::Stopping, .. }) => {
                return Ok(());
            }
            Ok(now) => {
                let left = now.shutdown.and_then(|shutdown| shutdown.deadline_in);
                let left = left.filter(|left| !left.is_zero());
                until = left.map_or(until, |left| Instant::now() + left + SLACK);
                "the drain takes longer than the grace period".to_owned()
            }
            // Nothing listens any more, because the supervisor has exited.
            Err(error) if is_unreachable(&error) => return Ok(()),
            Err(error) => format!("the progress of the drain cannot be read: {error}"),
        };
        if Instant::now() >= until {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
}

/// Whether an error is transient: the supervisor is busy, or has closed the connection.
fn is_transient(error: &HttpError) -> bool {
    use io::ErrorKind::{ConnectionAborted, TimedOut, WouldBlock};
    match error {
        HttpError::Timeout(_) => true,
        HttpError::Io(io) if matches!(io.kind(), ConnectionAborted | TimedOut | WouldBlock) => true,
        error => is_cut_off(error),
    }
}
