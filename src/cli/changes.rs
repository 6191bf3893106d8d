//! Prints the outcome of an operator's request: one line for each process whose status has changed
//! during the request. In a terminal, while the request runs, also shows what the request waits
//! for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, timeout};

use crate::cli::ask::{LIMIT, ask};
use crate::cli::control_address::Found;
use crate::cli::print;
use crate::control::status::{ProcessStatus, Status};
use crate::journal::state::ProcessState;
use crate::os::sys::terminal_width;
use crate::types::suggest::is_meant;
use crate::types::{harmless, human};

/// The pause between two updates of the line that says what a request waits for.
const PAUSE: Duration = Duration::from_secs(1);
/// The assumed width of a terminal that does not report its width.
const WIDTH: usize = 80;
/// Moves the cursor to the start of the line, and clears the line.
const CLEAR: &str = "\r\u{1b}[K";

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProcessNow {
    state: ProcessState,
    /// When the process entered this state.
    since: Option<Instant>,
    pid: Option<i32>,
    /// The message of the status, such as the reason why the process waits.
    message: Option<String>,
    /// Whether SIGKILL ended the previous instance.
    was_killed: bool,
    /// How long no instance was ready between the previous instance and this one.
    down: Option<Duration>,
    /// The requests that the end of the previous instance has cut.
    cost: Option<String>,
    /// How long the drain of the process took, and why it is over.
    drained: Option<(Duration, String)>,
}

impl ProcessNow {
    fn of(process: ProcessStatus, now: Instant) -> Self {
        let text = |text: String| harmless(&text).into_owned();
        let asked = process.last_exit_asked && process.pid.is_none();
        let drain = process.drain;
        Self {
            pid: process.pid,
            since: now.checked_sub(process.since),
            // If drainit or an operator has asked for the end of the process, the end is not news,
            // so the message is left out.
            message: process.message.map(text).filter(|_| !asked),
            was_killed: process.last_exit.is_some_and(|end| end.contains("SIGKILL")),
            down: process.down,
            cost: process.cost.map(text),
            drained: drain.and_then(|drain| Some((drain.elapsed, text(drain.over?)))),
            state: process.state,
        }
    }

    /// Whether `now` has the same values as `self`, apart from `since` and `cost`.
    fn is_as(&self, now: &Self) -> bool {
        Self { since: now.since, cost: now.cost.clone(), ..self.clone() } == *now
    }
}

/// The processes at one moment, by their names. The status has two entries for a process that is
/// being replaced; the first entry counts.
type Processes = BTreeMap<String, ProcessNow>;

/// Makes a request, and prints a line for each process that has changed, even if the request fails.
/// If the request succeeds, also prints a line for each unchanged process that `names` means.
///
/// Three verbs print more. After a `start`, the last line names the processes that are still
/// stopped. After a `stop`, the line of a process that was not named says why that process was
/// stopped. After a `restart`, the server's answer contains the lines of the processes that restart
/// because a dependency restarts.
///
/// # Errors
/// Fails if the request fails. If the status cannot be read, prints no lines, but does not fail.
pub(super) async fn tell(
    found: &Found,
    names: &[String],
    verb: &str,
    request: impl Future<Output = Result<Vec<u8>, String>>,
) -> Result<Vec<u8>, String> {
    let is_meant = |name: &str| names.iter().any(|pattern| is_meant(pattern, name));
    let (began, before) = (Instant::now(), look(found).await);
    let answer = waiting(found, is_meant, request).await;
    if let (Some(before), Some(after)) = (before, look(found).await) {
        let followers = answer.as_deref().ok().filter(|_| verb == "restart").unwrap_or_default();
        let followers = String::from_utf8_lossy(followers);
        let is_named = |name: &str| answer.is_ok() && is_meant(name);
        let why_stopped = |name: &str| match verb == "stop" && !is_meant(name) {
            true => format!(", because it depends on {}", names.join(" or ")),
            false => String::new(),
        };
        let request = began..Instant::now();
        let mut lines = lines(&before, &after, is_named, why_stopped, &followers, request);
        lines.extend(still_stopped(&after).filter(|_| answer.is_ok() && verb == "start"));
        let otherwise = if answer.is_ok() { "no process has changed\n" } else { "" };
        print(if lines.is_empty() { otherwise } else { &lines }.as_bytes());
    }
    answer
}

/// Makes the request to drain, and then prints the lines of the answer and the outcome of each
/// drain. If there are no such lines, prints `otherwise`.
///
/// # Errors
/// Fails if the request fails.
pub(super) async fn tell_drained(
    found: &Found,
    otherwise: &str,
    request: impl Future<Output = Result<String, String>>,
) -> Result<(), String> {
    let said = waiting(found, |_| false, request).await?;
    if let Some(after) = look(found).await {
        let lines = said + &drains(&after);
        print(if lines.is_empty() { otherwise } else { &lines }.as_bytes());
    }
    Ok(())
}

/// One line for each drain, in the words of the log.
fn drains(after: &Processes) -> String {
    let line = |(name, process): (&String, &ProcessNow)| match &process.drained {
        Some((took, why)) => Some(format!("{name}: drain over after {}: {why}\n", human(*took))),
        None if process.state == ProcessState::Draining => Some(format!("{name}: draining\n")),
        None => None,
    };
    after.iter().filter_map(line).collect()
}

/// Waits for the request. In a terminal, shows during the wait what the request waits for, with the
/// named processes first.
async fn waiting<T>(
    found: &Found,
    is_meant: impl Fn(&str) -> bool,
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
        if let Some(now) = look(found).await {
            progress(began, &waits(&now, began, &is_meant));
        }
    }
}

/// In a terminal, replaces the last progress line by a line that says what the command waits for.
/// Shows nothing until a second after `began`.
pub(super) fn progress(began: Instant, what: &str) {
    if began.elapsed() >= PAUSE && io::stderr().is_terminal() {
        let line = format!("{}s: {what}", began.elapsed().as_secs());
        let line = shorter(line, terminal_width(true).unwrap_or(WIDTH));
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
fn shorter(line: String, width: usize) -> String {
    if line.chars().count() < width {
        return line;
    }
    line.chars().take(width.saturating_sub(2)).chain(['…']).collect()
}

/// The processes that are on their way from one state to another. If some of them are named, first
/// these processes, with the reasons why they are not ready, and of the other processes only those
/// that have begun to move since the request began.
fn waits(now: &Processes, began: Instant, is_meant: impl Fn(&str) -> bool) -> String {
    let moving = now.iter().filter(|(_, process)| process.state.is_moving());
    let (named, others): (Vec<_>, Vec<_>) = moving.partition(|(name, _)| is_meant(name));
    let all = named.is_empty();
    let plain =
        |(name, process): (&String, &ProcessNow)| format!("{name} is {}", process.state.name());
    let named = named.into_iter().map(|(name, process)| match &process.message {
        Some(message) if message.starts_with(process.state.name()) => {
            format!("{name} is {message}")
        }
        // In any other state, the message is about an earlier state.
        Some(message)
            if matches!(process.state, ProcessState::Starting | ProcessState::Waiting) =>
        {
            format!("{}: {message}", plain((name, process)))
        }
        _ => plain((name, process)),
    });
    let others =
        others.into_iter().filter(|(_, process)| all || process.since.is_none_or(|at| at > began));
    let others = others.map(plain);
    let texts: Vec<_> = named.chain(others).collect();
    if texts.is_empty() { "…".to_owned() } else { texts.join(", ") }
}

/// Asks for the status of every process; `None` if the status cannot be read.
async fn look(found: &Found) -> Option<Processes> {
    let body = ask(found, Method::GET, "/v1/status", LIMIT).await.ok()?;
    Some(processes_of(serde_json::from_slice(&body).ok()?))
}

fn processes_of(status: Status) -> Processes {
    let (now, mut processes) = (Instant::now(), Processes::new());
    for process in status.processes {
        let name = harmless(&process.name).into_owned();
        processes.entry(name).or_insert_with(|| ProcessNow::of(process, now));
    }
    processes
}

/// A line with the names of the processes that are stopped; `None` if there are none.
fn still_stopped(now: &Processes) -> Option<String> {
    let stopped = now.iter().filter(|(_, process)| process.state == ProcessState::Stopped);
    let names: Vec<_> = stopped.map(|(name, _)| &**name).collect();
    (!names.is_empty()).then(|| format!("still stopped: {}\n", names.join(", ")))
}

/// One line for each process that has changed since `before`, or that the request has named. For a
/// process that restarts because a dependency restarts, the line is taken from `followers`.
fn lines(
    before: &Processes,
    after: &Processes,
    is_named: impl Fn(&str) -> bool,
    why_stopped: impl Fn(&str) -> String,
    followers: &str,
    request: Range<Instant>,
) -> String {
    let after_start = |at: Instant| format!(" after {}", human(at - request.start));
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let gone = gone.map(|name| format!("{name}: removed{}\n", after_start(request.end)));
    let followers: BTreeMap<_, _> =
        followers.lines().filter_map(|line| Some((line.split_once(": ")?.0, line))).collect();
    let line = |(name, now): (&String, &ProcessNow)| {
        if let Some(line) = followers.get(name.as_str()) {
            return Some(format!("{}\n", harmless(line)));
        }
        let message =
            now.message.as_ref().map(|message| format!("; {message}")).unwrap_or_default();
        let state = format!("{}{message}", now.state.name());
        let since = now.since.filter(|since| *since > request.start);
        let took = since.map(after_start).unwrap_or_default();
        let cost = now.cost.as_ref().map(|cost| format!("; {cost}")).unwrap_or_default();
        let what = match (before.get(name), now.pid) {
            (Some(then), _) if then.is_as(now) && is_named(name) => format!("{state}, as before"),
            (Some(then), _) if then.is_as(now) => return None,
            (then, Some(pid))
                if now.state == ProcessState::Stopping
                    && then.and_then(|then| then.pid) != Some(pid) =>
            {
                format!("not started after {}: {state}", human(request.end - request.start))
            }
            (Some(ProcessNow { pid: Some(then), .. }), Some(pid)) if *then != pid => {
                let killed = if now.was_killed { "; SIGKILL ended the old pid" } else { "" };
                let down = now.down.map(|down| format!("; down for {}", human(down)));
                let down = down.unwrap_or_default();
                format!("replaced{took}, pid {then} is now {pid}, {state}{down}{killed}{cost}")
            }
            (Some(ProcessNow { pid: None, .. }) | None, Some(pid)) => {
                format!("started{took}, pid {pid}, {state}")
            }
            _ if now.state == ProcessState::Stopped => {
                format!("stopped{took}{}{message}{cost}", why_stopped(name))
            }
            _ => format!("{}{took}{message}", now.state.name()),
        };
        Some(format!("{name}: {what}\n"))
    };
    gone.chain(after.iter().filter_map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state_of(name: &str) -> ProcessState {
        ProcessState::ALL.into_iter().find(|state| state.name() == name).unwrap()
    }

    fn processes(all: &[(&str, &str, Option<i32>)]) -> Processes {
        let one = |(name, state, pid): &(&str, &str, Option<i32>)| {
            let (state, message) = (state_of(state), None);
            let (since, was_killed, down, cost, drained) = (None, false, None, None, None);
            let process =
                ProcessNow { state, since, pid: *pid, message, was_killed, down, cost, drained };
            ((*name).to_owned(), process)
        };
        all.iter().map(one).collect()
    }

    // holds: C809, S864
    #[test]
    fn each_process_that_has_changed_or_was_named_has_a_line() {
        let before = processes(&[
            ("api", "ready", Some(7)),
            ("db", "stopped", None),
            ("deaf", "failed", None),
            ("dull", "ready", Some(5)),
            ("old", "ready", Some(3)),
            ("same", "ready", Some(4)),
            ("web", "ready", Some(8)),
            ("worker", "ready", Some(9)),
        ]);
        let mut after = processes(&[
            ("api", "stopped", None),
            ("db", "ready", Some(12)),
            ("deaf", "stopping", Some(15)),
            ("dull", "stopping", Some(16)),
            ("new", "failed", None),
            ("same", "ready", Some(4)),
            ("web", "ready", Some(14)),
            ("worker", "ready", Some(9)),
        ]);
        let began = Instant::now();
        let moment = |ms| Some(began + Duration::from_millis(ms));
        for (name, ms) in [("api", 40), ("db", 1234), ("new", 5), ("web", 70)] {
            after.entry(name.to_owned()).and_modify(|process| process.since = moment(ms));
        }
        after.entry("new".to_owned()).and_modify(|it| it.message = Some("why".to_owned()));
        let cost = |process: &mut ProcessNow| {
            (process.was_killed, process.down) = (true, Some(Duration::from_millis(50)));
            process.cost = Some("requests 2 cut".to_owned());
        };
        for name in ["api", "web"] {
            after.entry(name.to_owned()).and_modify(cost);
        }
        let request = began..began + Duration::from_millis(1300);
        after.insert("tail".to_owned(), after["new"].clone());
        let followers = "done\ntail: follows web (`restart: true`)\n";
        let why = |_: &str| ", because it depends on db".to_owned();
        let shown = lines(&before, &after, |name| name == "worker", why, followers, request);
        let expected = "old: removed after 1.3s\n\
            api: stopped after 40ms, because it depends on db; requests 2 cut\n\
            db: started after 1.23s, pid 12, ready\n\
            deaf: not started after 1.3s: stopping\n\
            dull: not started after 1.3s: stopping\n\
            new: failed after 5ms; why\n\
            tail: follows web (`restart: true`)\n\
            web: replaced after 70ms, pid 8 is now 14, ready; down for 50ms; SIGKILL ended the old pid; requests 2 cut\n\
            worker: ready, as before\n";
        assert_eq!(shown, expected);
        assert_eq!(still_stopped(&before).as_deref(), Some("still stopped: db\n"));
        assert_eq!(still_stopped(&after).as_deref(), Some("still stopped: api\n"));
        let mut moving =
            processes(&[("a", "ready", None), ("b", "draining", None), ("c", "waiting", None)]);
        moving.entry("c".to_owned()).and_modify(|it| it.message = Some("waiting for b".to_owned()));
        assert_eq!(waits(&moving, began, |name| name == "c"), "c is waiting for b, b is draining");
        // A process that was moving before the request is left out, unless it is named.
        moving.entry("b".to_owned()).and_modify(|it| it.since = Some(began));
        assert_eq!(waits(&moving, began, |name| name == "c"), "c is waiting for b");
        assert_eq!(shorter("b is draining".to_owned(), 14), "b is draining");
        assert_eq!(shorter("b is draining".to_owned(), 13), "b is draini…");
    }

    #[test]
    fn the_newer_of_two_instances_counts() {
        let (newer, older) = (("web", "ready", 14), ("web", "stopping", 8));
        let one =
            |(name, state, pid)| serde_json::json!({"name": name, "state": state, "pid": pid});
        let (one, other) = (one(newer), one(older));
        let status = serde_json::json!({
            "version": "1", "pid": 1, "phase": "running", "ready": true, "uptime_seconds": 1.0,
            "processes": [one, other],
        });
        let mut shown = processes_of(serde_json::from_value(status).unwrap());
        shown.entry("web".to_owned()).and_modify(|process| process.since = None);
        assert_eq!(shown, processes(&[("web", "ready", Some(14))]));
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
        let now = processes(&[("a", "ready", Some(7)), ("b", "draining", Some(8))]);
        assert_eq!(drains(&now), "b: draining\n");
    }
}
