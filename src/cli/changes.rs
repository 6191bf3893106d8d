//! Tells an operator the outcome of a request: one line for each process, from the status before and
//! after it. In a terminal, a line also says what the request waits for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::cli::ask::{LIMIT, ask};
use crate::cli::control_address::Found;
use crate::cli::print;
use crate::os::sys::terminal_width;
use crate::types::{harmless, human};

/// The pause between two looks at what a request waits for.
const PAUSE: Duration = Duration::from_secs(1);
/// The width of a terminal that does not tell its own.
const WIDTH: usize = 80;
/// Moves the cursor to the start of the line, and clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    state: String,
    pid: Option<u64>,
    /// The message of the status, such as the reason why it waits.
    message: Option<String>,
    /// How long its drain took, and why the drain is over.
    drained: Option<(Duration, String)>,
}

/// The processes at one moment, by their names. A process that is being replaced has its first
/// entry.
type Processes = BTreeMap<String, Process>;

/// Makes a request, and prints what it has changed. `named` are the processes of the request, which
/// have a line also if nothing has changed; without any, the request is for all.
///
/// # Errors
/// Fails as the request does. A status that cannot be read only leaves the lines out.
pub(super) async fn tell<T>(
    found: &Found,
    is_named: impl Fn(&str) -> bool,
    request: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let (began, before) = (Instant::now(), look(found).await);
    let answer = waiting(found, request).await?;
    let took = began.elapsed();
    if let (Some(before), Some(after)) = (before, look(found).await) {
        let lines = lines(&before, &after, is_named, took);
        print(if lines.is_empty() { "no process has changed\n" } else { &lines }.as_bytes());
    }
    Ok(answer)
}

/// Makes the request of a drain, and prints what is drained then.
///
/// # Errors
/// Fails as the request does.
pub(super) async fn tell_drained(
    found: &Found,
    request: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    waiting(found, request).await?;
    if let Some(after) = look(found).await {
        print(drains(&after).as_bytes());
    }
    Ok(())
}

/// One line for each drain that is over, with the words of the log.
fn drains(after: &Processes) -> String {
    let line = |(name, process): (&String, &Process)| {
        let (took, why) = process.drained.as_ref()?;
        Some(format!("{name}: drain over after {}: {why}\n", human(*took)))
    };
    after.iter().filter_map(line).collect()
}

/// Waits for the request. In a terminal, shows meanwhile what it waits for.
async fn waiting<T>(found: &Found, request: impl Future<Output = T>) -> T {
    let mut request = pin!(request);
    if !io::stderr().is_terminal() {
        return request.await;
    }
    let began = Instant::now();
    // Errors are ignored, because stderr may have no reader.
    let show = |text: &str| {
        drop(write!(io::stderr(), "{CLEAR}{text}").and_then(|()| io::stderr().flush()))
    };
    loop {
        if let Ok(answer) = timeout(PAUSE, &mut request).await {
            show("");
            return answer;
        }
        if let Some(now) = look(found).await {
            show(&waits(&now, began.elapsed(), terminal_width(true).unwrap_or(WIDTH)));
        }
    }
}

/// The processes that are on their way from one state to another. The line is shorter than `width`,
/// because a terminal clears only the last row of a longer one.
fn waits(now: &Processes, since: Duration, width: usize) -> String {
    let on_the_way = ["waiting", "starting", "draining", "stopping", "restarting"];
    let moving = now.iter().filter(|(_, process)| on_the_way.contains(&&*process.state));
    let texts: Vec<_> =
        moving.map(|(name, process)| format!("{name} is {}", process.state)).collect();
    let seconds = since.as_secs();
    let mut line = match texts.is_empty() {
        true => format!("{seconds}s …"),
        false => format!("{seconds}s: {}", texts.join(", ")),
    };
    if line.chars().count() >= width {
        line = line.chars().take(width.saturating_sub(2)).chain(['…']).collect();
    }
    line
}

/// Asks for the status of every process; `None` if there is none.
async fn look(found: &Found) -> Option<Processes> {
    let body = ask(found, Method::GET, "/v1/status", LIMIT).await.ok()?;
    let status: Value = serde_json::from_slice(&body).ok()?;
    let text = |value: &Value| value.as_str().map(|text| harmless(text).into_owned());
    let mut processes = Processes::new();
    for process in status["processes"].as_array()? {
        let drain = &process["drain"];
        let took = drain["seconds"].as_f64().and_then(|it| Duration::try_from_secs_f64(it).ok());
        let one = Process {
            pid: process["pid"].as_u64(),
            message: text(&process["message"]),
            drained: took.zip(text(&drain["over"])),
            state: text(&process["state"])?,
        };
        processes.entry(text(&process["name"])?).or_insert(one);
    }
    Some(processes)
}

/// One line for each process that is another one than before, or that the request has named.
fn lines(
    before: &Processes,
    after: &Processes,
    is_named: impl Fn(&str) -> bool,
    took: Duration,
) -> String {
    let took = human(took);
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| format!("{name}: removed in {took}\n"));
    let line = |(name, now): (&String, &Process)| {
        let message = now.message.as_ref().map(|message| format!("; {message}"));
        let state = format!("{}{}", now.state, message.unwrap_or_default());
        let what = match (before.get(name), now.pid) {
            (Some(then), _) if then == now && is_named(name) => format!("{state}, as before"),
            (Some(then), _) if then == now => return None,
            (Some(Process { pid: Some(then), .. }), Some(pid)) if *then != pid => {
                format!("replaced in {took}, pid {then} is now {pid}, {state}")
            }
            (Some(Process { pid: None, .. }) | None, Some(pid)) => {
                format!("started in {took}, pid {pid}, {state}")
            }
            (Some(Process { pid: Some(_), .. }), None) => format!("ended in {took}, {state}"),
            _ => state,
        };
        Some(format!("{name}: {what}\n"))
    };
    gone.chain(after.iter().filter_map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processes(all: &[(&str, &str, Option<u64>)]) -> Processes {
        let one = |(name, state, pid): &(&str, &str, Option<u64>)| {
            let (state, message) = ((*state).to_owned(), None);
            let process = Process { state, pid: *pid, message, drained: None };
            ((*name).to_owned(), process)
        };
        all.iter().map(one).collect()
    }

    // holds: C809
    #[test]
    fn each_process_that_has_changed_or_was_named_has_a_line() {
        let before = processes(&[
            ("api", "ready", Some(7)),
            ("db", "stopped", None),
            ("old", "ready", Some(3)),
            ("same", "ready", Some(4)),
            ("web", "ready", Some(8)),
            ("worker", "ready", Some(9)),
        ]);
        let after = processes(&[
            ("api", "stopped", None),
            ("db", "ready", Some(12)),
            ("new", "ready", Some(13)),
            ("same", "ready", Some(4)),
            ("web", "ready", Some(14)),
            ("worker", "ready", Some(9)),
        ]);
        let shown = lines(&before, &after, |name| name == "worker", Duration::from_millis(1234));
        let expected = "old: removed in 1.23s\n\
            api: ended in 1.23s, stopped\n\
            db: started in 1.23s, pid 12, ready\n\
            new: started in 1.23s, pid 13, ready\n\
            web: replaced in 1.23s, pid 8 is now 14, ready\n\
            worker: ready, as before\n";
        assert_eq!(shown, expected);
        let now = processes(&[("a", "ready", None), ("b", "draining", None)]);
        assert_eq!(waits(&now, PAUSE, 18), "1s: b is draining");
        assert_eq!(waits(&now, PAUSE, 17), "1s: b is draini…");
    }

    // holds: C845
    #[test]
    fn each_drain_shows_time_and_reason() {
        let mut after = processes(&[("a", "ready", Some(7)), ("b", "ready", Some(8))]);
        let why = "its time is over, 2 connections still open".to_owned();
        let drained = Some((Duration::from_millis(6010), why));
        after.entry("b".to_owned()).and_modify(|process| process.drained = drained);
        let expected = "b: drain over after 6.01s: its time is over, 2 connections still open\n";
        assert_eq!(drains(&after), expected);
    }
}
