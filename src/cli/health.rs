//! `drainit health`: asks the running supervisor whether it is ready. For an exec probe or Docker's
//! HEALTHCHECK, the command asks once. For a script, the command can ask again until the supervisor
//! is ready.
//!
//! A probe runs the command every few seconds, so the command must be cheap: it sends one request,
//! and uses two threads, one of which only reads the config.

use std::io::{self, Write};
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::cli::ask::{block_on, no_answer};
use crate::cli::{control_address, progress};
use crate::commands::HealthArgs;
use crate::http::{Answerer, request};
use crate::keys::HttpTarget;
use crate::language::written::as_written;
use crate::types::{exit_code, harmless, human};

/// The largest answer, in bytes. An answer names every process that is not ready.
const MAX_ANSWER: usize = 1024 * 1024;

/// The first pause of `--wait`. Each pause is twice as long as the previous pause, up to
/// `LONGEST_PAUSE`.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Returns 0 for an answer with a 2xx status, 78 if the config is wrong or gives no address, and
/// otherwise 1, the code for unhealthy in Docker.
pub(super) fn health(args: &HealthArgs) -> u8 {
    block_on(async {
        let (line, code) = match args.wait {
            None => ask(args, args.timeout).await.unwrap_or_else(|failed| failed),
            Some(longest) => {
                let answer = ask_until_ready(args, longest).await;
                progress::clear();
                answer
            }
        };
        if code == exit_code::CONFIG {
            return crate::cli::fail(&line, code);
        }
        // Errors are ignored, because stdout may have no reader.
        let _ = writeln!(io::stdout(), "{line}");
        code
    })
}

/// Sends one request, and returns the line to print and the exit code. If there is no answer, both
/// are in the error. Each request looks for the address again, because drainit may have started
/// after the previous request.
async fn ask(args: &HealthArgs, timeout: Duration) -> Result<(String, u8), (String, u8)> {
    // A URL with a path is that of any server; another URL is that of a drainit.
    let server = args.url.as_ref().filter(|url| url.path != "/");
    let own = if args.live { "/livez" } else { "/readyz" };
    let path = server.map_or(own, |url| url.path.as_str()).to_owned();
    let found = match &args.url {
        Some(url) => url.address.clone().into(),
        None => control_address::find(&args.whom, timeout, true).await?,
    };
    let from = if args.url.is_some() { Answerer::Anybody } else { Answerer::Drainit };
    let answer = request((&found.address, from), Method::GET, &path, timeout, MAX_ANSWER).await;
    let target = HttpTarget { address: found.address.clone(), path };
    let response = answer.map_err(|error| {
        let line = no_answer(&error, &found, &target.to_string());
        (as_written(&harmless(&line)).into_owned(), exit_code::NOT_READY)
    })?;
    let line = control_address::first_line(&response);
    if response.status.is_success() {
        return Ok((line, exit_code::OK));
    }
    // The first line of a server's error may be `<!DOCTYPE HTML>`, which says nothing. Therefore the
    // target and the status precede this line.
    let status = response.status.to_string();
    let said = match server.is_some() {
        true if line == status => format!("{target}: {status}"),
        true => format!("{target}: {status}: {line}"),
        false => line,
    };
    Ok((said, exit_code::NOT_READY))
}

/// Repeats the request until the answer is good, the config is wrong, or `longest` is over. A
/// request without an answer is repeated, too, because drainit may still be starting. If the last
/// request has less time than `--timeout` and gets no answer, the result of the previous request
/// counts.
async fn ask_until_ready(args: &HealthArgs, longest: Duration) -> (String, u8) {
    let began = Instant::now();
    let until = began + longest;
    let mut pause = SHORTEST_PAUSE;
    let (mut known, mut heard) = (None, None);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let answer = ask(args, args.timeout.min(left.max(SHORTEST_PAUSE))).await;
        heard = answer.as_ref().map(|(line, _)| line.clone()).ok().or(heard);
        let is_answered = answer.is_ok();
        let (line, code) = match (answer, known.take()) {
            (Err(_), Some(known)) if left < args.timeout => known,
            (Ok(said) | Err(said), _) => said,
        };
        let left = until.saturating_duration_since(Instant::now());
        if matches!(code, exit_code::OK | exit_code::CONFIG) {
            return (line, code);
        }
        if left.is_zero() {
            let before = heard.filter(|heard| !is_answered && *heard != line);
            let before = before.map(|heard| format!("; before: {heard}")).unwrap_or_default();
            return (format!("{line}{before} (after {})", human(longest)), code);
        }
        progress::progress(began, &line);
        known = Some((line, code));
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
