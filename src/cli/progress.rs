//! Shows in a terminal what a request waits for.

use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::cli::ask::{LIMIT, status};
use crate::cli::control_address::Found;
use crate::control::status::{ProcessStatus, Status};
use crate::journal::state::ProcessState;
use crate::os::sys::terminal_width;
use crate::plan::text::cut_to;
use crate::types::harmless;
use crate::types::suggest::is_meant;

/// The pause between two updates of the line that says what a request waits for.
const PAUSE: Duration = Duration::from_secs(1);
/// The assumed width of a terminal that does not report its width.
const WIDTH: usize = 80;
/// Moves the cursor to the start of the line, and clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// Waits for the request. In a terminal, shows during the wait what the request waits for, with the
/// processes that `names` means first.
pub(super) async fn waiting<T>(
    found: &Found,
    names: &[String],
    request: impl Future<Output = T>,
) -> T {
    let mut request = pin!(request);
    if !io::stderr().is_terminal() {
        return request.await;
    }
    let began = Instant::now();
    loop {
        if let Ok(answer) = timeout(PAUSE, &mut request).await {
            clear();
            return answer;
        }
        if let Ok(now) = status(found, LIMIT).await {
            progress(began, &waits(&now, began.elapsed(), names));
        }
    }
}

/// In a terminal, replaces the last progress line by a line that says what the command waits for.
/// Shows nothing until a second after `began`.
pub(super) fn progress(began: Instant, what: &str) {
    if began.elapsed() >= PAUSE && io::stderr().is_terminal() {
        let line = format!("{}s: {what}", began.elapsed().as_secs());
        let line = shorter(&line, terminal_width(true).unwrap_or(WIDTH));
        // Errors are ignored, because stderr may have no reader.
        let _ = write!(io::stderr(), "{CLEAR}{line}").and_then(|()| io::stderr().flush());
    }
}

/// Removes the line of [`progress`].
pub(super) fn clear() {
    if io::stderr().is_terminal() {
        // Errors are ignored, because stderr may have no reader.
        let _ = write!(io::stderr(), "{CLEAR}").and_then(|()| io::stderr().flush());
    }
}

/// Cuts a line so that it is shorter than `width`, because a terminal would clear only the last row
/// of a longer line.
fn shorter(line: &str, width: usize) -> String {
    cut_to(line, width.saturating_sub(1))
}

/// The processes that are on their way from one state to another. If some of them are named, first
/// these processes, with the reasons why they are not ready, and of the other processes only those
/// that have begun to move since the request began.
fn waits(now: &Status, elapsed: Duration, names: &[String]) -> String {
    let is_named = |process: &&ProcessStatus| names.iter().any(|one| is_meant(one, &process.name));
    let moving = now.current().filter(|process| process.state.is_moving());
    let (named, others): (Vec<_>, Vec<_>) = moving.partition(is_named);
    let all = named.is_empty();
    let plain = |process: &ProcessStatus| format!("{} is {}", process.name, process.state.name());
    let named = named.into_iter().map(|process| match (&process.message, process.state) {
        (Some(message), state) if message.starts_with(state.name()) => {
            format!("{} is {message}", process.name)
        }
        // In any other state, the message is about an earlier state.
        (Some(message), ProcessState::Starting | ProcessState::Waiting) => {
            format!("{}: {message}", plain(process))
        }
        _ => plain(process),
    });
    let others = others.into_iter().filter(|process| all || process.since < elapsed).map(plain);
    let texts: Vec<_> = named.chain(others).collect();
    if texts.is_empty() { "…".to_owned() } else { harmless(&texts.join(", ")).into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::status::example;

    #[test]
    fn a_wait_names_the_processes_on_their_way_within_the_width() {
        let mut moving = example();
        moving.processes[1].state = ProcessState::Draining;
        moving.processes[2].state = ProcessState::Waiting;
        moving.processes[2].message = Some("waiting for router".to_owned());
        let names = ["migrate".to_owned()];
        let waits = |elapsed| waits(&moving, Duration::from_secs(elapsed), &names);
        assert_eq!(waits(2), "migrate is waiting for router, router is draining");
        // A process that was moving before the request is left out, unless it is named.
        assert_eq!(waits(1), "migrate is waiting for router");
        assert_eq!(shorter("b is draining", 14), "b is draining");
        assert_eq!(shorter("b is draining", 13), "b is draini…");
    }
}
