//! `drainit logs`: the last lines that drainit has, and what follows.

use std::future::pending;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use clap::Args;
use hyper::HeaderMap;
use memchr::memrchr;
use tokio::io::Interest;

use crate::cli::ask::{LIMIT, answer_of, query, run};
use crate::cli::control_address::{Whom, of_operator};
use crate::cli::{fail, print};
use crate::control::operate::INHERITED;
use crate::http::{RequestError, stream};
use crate::os::sys;
use crate::types::{exit_code, harmless, harmless_lines};

const MAX_ANSWER: usize = 64 * 1024;

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    #[command(flatten)]
    whom: Whom,
    /// Go on with the lines that follow
    #[arg(short, long)]
    follow: bool,
    /// Show at most this many of the last lines [default: all that drainit has]
    #[arg(short = 'n', long = "tail", value_name = "N")]
    lines: Option<usize>,
    /// The processes, `drainit` for its own lines [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Returns 0 when the lines are shown, or with `-f` when drainit has ended.
pub(super) fn logs(args: &LogsArgs) -> u8 {
    let found = match of_operator(&args.whom) {
        Ok(found) => found,
        Err(reason) => return fail(&reason, exit_code::CONFIG),
    };
    run(async {
        let mut parameters = query(&args.names)?;
        parameters.extend(args.lines.map(|lines| format!("lines={lines}")));
        parameters.extend(args.follow.then(|| "follow".to_owned()));
        let path = format!("/v1/logs?{}", parameters.join("&"));
        let address = found.address()?;
        let mut printer = Printer::default();
        let (mut has_begun, mut rest) = (false, Vec::new());
        let took = |headers: &HeaderMap| {
            has_begun = true;
            report_inherited(headers);
        };
        let answer = stream(&address, &path, LIMIT, MAX_ANSWER, took, |bytes| {
            if args.follow {
                printer.print(bytes);
            } else {
                // drainit does not wait for a pager.
                rest.extend_from_slice(bytes);
            }
        });
        let answer = tokio::select! {
            answer = answer => answer,
            () = reader_gone(), if args.follow => return Ok(()),
        };
        printer.print(&rest);
        printer.finish();
        match answer {
            // drainit has ended.
            Err(RequestError::Incomplete | RequestError::Io(_)) if args.follow && has_begun => {
                Ok(())
            }
            answer => answer_of(answer, &address, &path, &found).map(drop),
        }
    })
}

/// Says which processes are missing, and why.
fn report_inherited(headers: &HeaderMap) {
    let names = headers.get(INHERITED).and_then(|names| names.to_str().ok());
    if let Some(names) = names {
        let names = harmless(names).replace(',', ", ");
        // Best effort: stderr may have no reader.
        let _ = writeln!(
            io::stderr(),
            "[drainit] without the lines of {names}: they go past drainit, straight to the container's output; `log: {{}}` \
             in the config of a process leads them through drainit"
        );
    }
}

/// Prints lines, on a terminal without what would control it.
#[derive(Default)]
struct Printer {
    /// A line without its end.
    partial: Vec<u8>,
}

impl Printer {
    fn print(&mut self, bytes: &[u8]) {
        if !io::stdout().is_terminal() {
            return print(bytes);
        }
        self.partial.extend_from_slice(bytes);
        if let Some(end) = memrchr(b'\n', &self.partial) {
            let rest = self.partial.split_off(end + 1);
            let lines = std::mem::replace(&mut self.partial, rest);
            print(harmless_lines(&String::from_utf8_lossy(&lines)).as_bytes());
        }
    }

    fn finish(&mut self) {
        print(harmless_lines(&String::from_utf8_lossy(&self.partial)).as_bytes());
        self.partial.clear();
    }
}

/// Waits until stdout is a pipe that nobody reads any more. Without it `drainit logs -f | head -1`
/// would wait for the next line.
async fn reader_gone() {
    let stdout = io::stdout().as_fd().try_clone_to_owned();
    // Fails for a file, which needs no reader.
    match stdout.and_then(|stdout| sys::watch(stdout, Interest::ERROR)) {
        Ok(pipe) => drop(pipe.ready(Interest::ERROR).await),
        Err(_) => pending().await,
    }
}
