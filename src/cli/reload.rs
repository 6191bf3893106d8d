//! `drainit reload`, and `drainit plan --reload`.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{self, PathBuf};
use std::time::Duration;

use clap::Args;
use hyper::{Method, StatusCode};

use crate::cli::ask::{answer_of, run};
use crate::cli::control_address::{Found, Whom, of_operator};
use crate::cli::{fail, print};
use crate::http::request;
use crate::types::{exit_code, harmless_lines};

/// A plan has a line for each process; errors of a config are limited in number.
const MAX_ANSWER: usize = 1024 * 1024;
/// drainit gives up the files after 10 s.
const LIMIT: Duration = Duration::from_secs(15);

/// Options of `reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Returns 0 when every process is as the config has it. An interrupted command does not interrupt
/// the reload.
pub(super) fn reload(args: &ReloadArgs) -> u8 {
    let found = match of_operator(&args.whom) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    run(async {
        // As long as drains, stops and starts may take: drainit bounds each.
        let warnings = ask(&found, Method::POST, "/v1/reload", Duration::MAX).await?;
        // Best effort: stderr may have no reader.
        let _ = io::stderr().write_all(harmless_lines(&warnings).as_bytes());
        Ok(())
    })
}

/// Prints what a reload would do, of these files instead of those of the start if there are any.
pub(super) fn plan(found: &Found, paths: &[PathBuf], is_json: bool) -> u8 {
    run(async {
        let mut query = Vec::new();
        for path in paths {
            // drainit has another working directory.
            let path = path::absolute(path).map_err(|error| error.to_string())?;
            query.push(format!("config={}", encoded(path.as_os_str().as_bytes())));
        }
        query.extend(is_json.then(|| "format=json".to_owned()));
        let path = format!("/v1/reload?{}", query.join("&"));
        let plan = ask(found, Method::GET, &path, LIMIT).await?;
        print(harmless_lines(&plan).as_bytes());
        Ok(())
    })
}

/// As `ask::ask`, with all lines of a refusal: they are those of `drainit check`.
async fn ask(found: &Found, method: Method, path: &str, limit: Duration) -> Result<String, String> {
    let answer = request(&found.address, method, path, limit, MAX_ANSWER).await;
    if let Ok(answer) = &answer
        && answer.status == StatusCode::CONFLICT
    {
        let text = String::from_utf8_lossy(&answer.body);
        let (problems, reason) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
        if !problems.is_empty() {
            let _ = writeln!(io::stderr(), "{}", harmless_lines(problems));
        }
        return Err(reason.to_owned());
    }
    let body = answer_of(answer, path, found)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Writes `%XX` for every byte that a query cannot hold.
fn encoded(path: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
            char::from(*byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    path.iter().map(one).collect()
}
