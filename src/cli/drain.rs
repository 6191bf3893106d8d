//! `drainit drain`: asks the running supervisor to take the traffic away, and waits until it is gone.
//!
//! For a `preStop` hook or an operator. Nothing is stopped; a SIGTERM that follows goes on from there.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use tokio::time::{Instant, sleep};

use super::config_files::ConfigFiles;
use super::{control_address, fail};
use crate::config::schema::{Address, Config};
use crate::shell::http::{RequestError, Response, request};
use crate::vocab::exit_code;

/// One question and its answer.
const LIMIT: Duration = Duration::from_secs(2);
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
    let (address, longest) = match find(args) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE),
    };
    match runtime.block_on(ask(&address, longest, !args.no_wait)) {
        Ok(()) => exit_code::OK,
        Err(reason) => fail(&reason, exit_code::NOT_READY),
    }
}

/// Where the supervisor answers, and how long its drain may take at most.
fn find(args: &DrainArgs) -> Result<(Address, Duration), String> {
    let loaded = args.files.load();
    let window = |config: &Config| config.shutdown.grace_period;
    if let Some(socket) = &args.socket {
        let longest = loaded.map_or(Duration::from_secs(3600), |loaded| window(&loaded.config));
        return Ok((Address::Unix(socket.clone()), longest));
    }
    let config = loaded?.config;
    Ok((control_address::of(&config)?, window(&config)))
}

async fn ask(address: &Address, longest: Duration, wait: bool) -> Result<(), String> {
    let began = Instant::now();
    let told = send(address, Method::POST, "/drain")
        .await
        .map_err(|error| format!("drainit cannot be asked to drain at {address}: {error}"))?;
    if !told.status.is_success() {
        let said = control_address::first_line(&told);
        return Err(format!("drainit refuses to drain: {said}"));
    }
    if !wait {
        return Ok(());
    }
    loop {
        match send(address, Method::GET, "/status").await.and_then(Response::into_ok_body) {
            Ok(status) if is_drained(&status) => return Ok(()),
            Ok(_) => {}
            // It has been stopped meanwhile, and there is nothing left to wait for.
            Err(RequestError::Io(_) | RequestError::Incomplete) => return Ok(()),
            Err(error) => return Err(format!("drainit does not say how far it is: {error}")),
        }
        if began.elapsed() > longest {
            return Err("the drain takes longer than the grace period".to_owned());
        }
        sleep(PAUSE).await;
    }
}

async fn send(address: &Address, method: Method, path: &str) -> Result<Response, RequestError> {
    request(address, method, path, LIMIT, MAX_STATUS).await
}

/// Whether nothing is drained any more.
fn is_drained(status: &[u8]) -> bool {
    let status: serde_json::Value = serde_json::from_slice(status).unwrap_or_default();
    matches!(status["phase"].as_str(), Some("drained" | "stopping"))
}
