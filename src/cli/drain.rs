//! `drainit drain`: asks the running supervisor to take the traffic away, and waits until it is gone.
//!
//! For a `preStop` hook or an operator. Nothing is stopped; a SIGTERM that follows goes on from there.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::cli::config_files::ConfigFiles;
use crate::cli::control_address;
use crate::cli::control_address::Found;
use crate::cli::fail;
use crate::config::Address;
use crate::http::{RequestError, Response, request};
use crate::types::exit_code;

/// One question and its answer.
const LIMIT: Duration = Duration::from_secs(2);
/// How long a supervisor that listens may take to accept the drain.
const ASKING: Duration = Duration::from_secs(10);
/// How long it may take until it has said once how much time it has itself.
const UNKNOWN: Duration = Duration::from_secs(30);
/// So long after its own deadline it must be drained.
const SLACK: Duration = Duration::from_secs(5);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// A status holds some 150 bytes a process.
const MAX_STATUS: usize = 16 * 1024 * 1024;

/// Options of `drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// drainit's control socket, where it is not to be taken from the config
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Return as soon as the drain has begun
    #[arg(long)]
    no_wait: bool,
}

/// 0 when the traffic is gone (or, with `--no-wait`, the drain has begun).
pub(super) fn drain(args: &DrainArgs) -> u8 {
    let found = match control_address::of_drain(&args.files, args.socket.clone()) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE),
    };
    let asked = runtime.block_on(async {
        begin(&found).await?;
        if args.no_wait { Ok(()) } else { wait(&found.address).await }
    });
    match asked {
        Ok(()) => exit_code::OK,
        Err(reason) => fail(&reason, exit_code::NOT_READY),
    }
}

/// Returns when the drain is accepted. To ask again changes nothing, so what may pass is tried again.
async fn begin(found: &Found) -> Result<(), String> {
    let Found { address, doubt } = found;
    let until = Instant::now() + ASKING;
    loop {
        let error = match send(address, Method::POST, "/drain").await {
            Ok(told) if told.status.is_success() => return Ok(()),
            Ok(told) => {
                let said = control_address::first_line(&told);
                return Err(format!("drainit refuses to drain: {said}"));
            }
            Err(error) => error,
        };
        if !may_pass(&error) || Instant::now() >= until {
            return Err(format!("drainit cannot be asked to drain at {address}: {error}{doubt}"));
        }
        sleep(PAUSE).await;
    }
}

/// Returns when the drain, which was accepted, is over: because the supervisor says so, or because it is gone. Nothing else
/// that goes wrong says anything about the drain. So it is asked again, until some time after its own deadline.
async fn wait(address: &Address) -> Result<(), String> {
    let mut until = Instant::now() + UNKNOWN;
    loop {
        let why = match status(address).await {
            Ok(Progress { is_over: true, .. }) => return Ok(()),
            Ok(Progress { left, .. }) => {
                if let Some(left) = left {
                    until = Instant::now() + left + SLACK;
                }
                "the drain takes longer than the grace period".to_owned()
            }
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => format!("drainit does not say how far the drain is: {error}"),
        };
        if Instant::now() >= until {
            return Err(why);
        }
        sleep(PAUSE).await;
    }
}

async fn send(address: &Address, method: Method, path: &str) -> Result<Response, RequestError> {
    request(address, method, path, LIMIT, MAX_STATUS).await
}

/// How far the supervisor is.
struct Progress {
    /// Nothing is drained any more.
    is_over: bool,
    /// Until its deadline, where it has one and that has not passed.
    left: Option<Duration>,
}

async fn status(address: &Address) -> Result<Progress, RequestError> {
    let body = send(address, Method::GET, "/status").await.and_then(Response::into_ok_body)?;
    let malformed = |error: serde_json::Error| RequestError::Malformed(error.to_string());
    let status: serde_json::Value = serde_json::from_slice(&body).map_err(malformed)?;
    let is_over = matches!(status["phase"].as_str(), Some("drained" | "stopping"));
    let left = status["shutdown"]["deadline_in_seconds"].as_f64();
    let left = left.and_then(|left| Duration::try_from_secs_f64(left).ok());
    Ok(Progress { is_over, left: left.filter(|left| !left.is_zero()) })
}

/// Nobody has the socket any more: what answered before has ended.
fn is_gone(error: &RequestError) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    matches!(error, RequestError::Io(error) if matches!(error.kind(), NotFound | ConnectionRefused))
}

/// Whether the next attempt may go better: somebody listens, and is busy or has ended the connection.
fn may_pass(error: &RequestError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, WouldBlock};
    match error {
        RequestError::Timeout(_) | RequestError::Incomplete => true,
        RequestError::Io(error) => matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | WouldBlock
        ),
        _ => false,
    }
}
