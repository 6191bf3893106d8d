//! `drainit reload`, and `drainit plan --reload`.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path;
use std::time::Duration;

use clap::Args;
use hyper::Method;

use crate::cli::ask::{ask, run};
use crate::cli::control_address::{Found, Whom};
use crate::cli::print;
use crate::types::harmless_lines;

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
    run(&args.whom, async |found: Found| {
        // As long as drains, stops and starts may take: drainit bounds each.
        let warnings = ask(&found, Method::POST, "/v1/reload", Duration::MAX).await?;
        // Best effort: stderr may have no reader.
        let _ = io::stderr().write_all(shown(&warnings).as_bytes());
        Ok(())
    })
}

/// Prints what a reload would do, of the files of `-c` instead of those of the start if there are any.
pub(super) fn plan(whom: &Whom) -> u8 {
    run(whom, async |found: Found| {
        let mut query = Vec::new();
        for path in whom.files.named() {
            // drainit has another working directory.
            let path = path::absolute(path).map_err(|error| error.to_string())?;
            query.push(format!("config={}", encoded(path.as_os_str().as_bytes())));
        }
        let path = format!("/v1/reload?{}", query.join("&"));
        let plan = ask(&found, Method::GET, &path, LIMIT).await?;
        print(shown(&plan).as_bytes());
        Ok(())
    })
}

fn shown(text: &[u8]) -> String {
    harmless_lines(&String::from_utf8_lossy(text)).into_owned()
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
