//! `drainit health`: asks the running supervisor once whether all is ready, for an exec probe or Docker's HEALTHCHECK.
//!
//! It is run every few seconds for as long as the container lives, so it costs little: one thread, one request.

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

/// The reason why something is not ready names every process that is not.
const MAX_ANSWER: usize = 1024 * 1024;

/// Options of `health`.
#[derive(Debug, Args)]
#[command(
    after_help = "The exit code is 0 if it is healthy, 1 if it is not or nobody answers in time, 2 if the command line is \
        wrong, 78 if the config is, or has no control address."
)]
pub struct HealthArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// Ask only whether drainit runs (/livez), not whether all is ready (/readyz)
    #[arg(long)]
    live: bool,
    /// drainit's control socket, where it is not to be taken from the config
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// Its address: http://127.0.0.1:9902 or unix:/path. With a path on it, that is asked instead, of whatever server
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<HttpTarget>,
    /// How long the answer may take
    #[arg(long, value_name = "DURATION", value_parser = positive, default_value = "1s")]
    timeout: Duration,
}

/// 0 where the answer is a 2xx, else 1: Docker knows no others of a health check.
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
    // Whoever runs it may not be listening; the code says it all.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

/// What is asked, and how that may be the wrong address.
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

/// The line that is printed, and the exit code.
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
