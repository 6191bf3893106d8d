//! `drainit health`: asks the running supervisor once whether it is ready, for an exec probe or
//! Docker's HEALTHCHECK.
//!
//! It runs every few seconds, so it is cheap: one thread, one request.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Method;

use crate::cli::config_files::ConfigFiles;
use crate::cli::control_address;
use crate::cli::control_address::Found;
use crate::cli::values::{explain, positive};
use crate::config::HttpTarget;
use crate::http::{RequestError, Response, request};
use crate::load::values;
use crate::types::{exit_code, harmless};

/// An answer names every process that is not ready.
const MAX_ANSWER: usize = 1024 * 1024;

/// Options of `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 0 if it is healthy, 1 if it is not or does not answer in time, 2 for a wrong command \
        line, 78 for a wrong config or one without a control address."
)]
pub struct HealthArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// Ask whether drainit runs (/livez), not whether all processes are ready (/readyz)
    #[arg(long)]
    live: bool,
    /// drainit's control socket [default: that of the config]
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// Its address: http://127.0.0.1:9902 or unix:/path. With a URL path, asks any server for that
    /// instead
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<HttpTarget>,
    /// Limit for the answer
    #[arg(long, value_name = "DURATION", value_parser = positive, default_value = "1s")]
    timeout: Duration,
}

/// Returns 0 for a 2xx, else 1: the codes that Docker knows.
pub(super) fn health(args: HealthArgs) -> u8 {
    let timeout = args.timeout;
    let (target, doubt) = match target(args) {
        Ok(found) => found,
        Err(reason) => return crate::cli::fail(&reason, exit_code::CONFIG),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return crate::cli::fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE);
        }
    };
    let answer = request(&target.address, Method::GET, &target.path, timeout, MAX_ANSWER);
    let (line, code) = judge(runtime.block_on(answer), &target, &doubt);
    // Best effort: stdout may have no reader.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

/// The URL to ask, and why its address may be wrong.
fn target(args: HealthArgs) -> Result<(HttpTarget, String), String> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let found = match args.url {
        Some(url) if url.path != "/" => return Ok((url, String::new())),
        Some(url) => url.address.into(),
        None => control_address::of_probes(&args.files, args.socket)?,
    };
    let Found { address, doubt } = found;
    Ok((HttpTarget { address, path: path.to_owned() }, doubt))
}

/// The line to print, and the exit code.
fn judge(answer: Result<Response, RequestError>, target: &HttpTarget, doubt: &str) -> (String, u8) {
    match answer {
        Ok(response) => {
            let healthy = response.status.is_success();
            let code = if healthy { exit_code::OK } else { exit_code::NOT_READY };
            (control_address::first_line(&response), code)
        }
        Err(error) => {
            let line = format!("{target}: {error}{doubt}");
            (harmless(&line).into_owned(), exit_code::NOT_READY)
        }
    }
}

fn url(text: &str) -> Result<HttpTarget, String> {
    values::http(text).map_err(explain)
}
