//! `drainit status`: one line for each process, and the progress of a shutdown.
//!
//! The running drainit sends its status. This command itself reads memory and CPU from `/proc`, and
//! thus saves PID 1 this work.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal};
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::cli::ask::{LIMIT, answer_of, is_cut_off, is_unreachable, query, run, send};
use crate::cli::control_address::Found;
use crate::cli::print;
use crate::cli::width::{WHOLE, wrap};
use crate::commands::{StatusArgs, StatusFormat};
use crate::control::status::{DrainStatus, ProcessStatus, Status};
use crate::journal::messages::perhaps;
use crate::journal::state::{ContainerPhase, ProcessState};
use crate::logging::colour;
use crate::os::descendants::{Stat, status_field};
use crate::os::{Pid, private_socket, sys};
use crate::plan::text::cut_to as cut;
use crate::types::suggest::is_meant;
use crate::types::{Stream, counted, escape_json, harmless, human};

/// The pause between two requests of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);
/// The length of a tick, in milliseconds. `/proc/PID/stat` has times in ticks, `USER_HZ` of them in
/// a second. `USER_HZ` is 100 on every architecture that drainit runs on.
const TICK: u64 = 10;

/// Returns 0 if drainit answers, in whatever state it is.
pub(super) fn status(mut args: StatusArgs) -> u8 {
    if args.json {
        args.format = StatusFormat::Json;
    }
    let args = &args;
    run(&args.whom, async |found: Found| {
        let mut meter = Meter::default();
        let screen = args.watch && args.format == StatusFormat::Text && io::stdout().is_terminal();
        let mut again = false;
        while let Some(text) = show(args, &found, &mut meter, again).await? {
            // Moves the cursor to the first row, and clears the whole screen.
            let clear = if screen { "\u{1b}[H\u{1b}[2J" } else { "" };
            print(format!("{clear}{text}").as_bytes());
            if !args.watch {
                return Ok(());
            }
            again = true;
            sleep(PAUSE).await;
        }
        print(b"drainit has ended\n");
        Ok(())
    })
}

/// Asks for the status; `None` if drainit has ended since an earlier request of `--watch`.
async fn show(
    args: &StatusArgs,
    found: &Found,
    meter: &mut Meter,
    again: bool,
) -> Result<Option<String>, String> {
    let path = format!("/v1/status?{}", query(&args.names)?);
    let answer = send(found, Method::GET, &path, LIMIT).await;
    if again && answer.as_ref().is_err_and(|error| is_unreachable(error) || is_cut_off(error)) {
        return Ok(None);
    }
    let body = answer_of(answer, &path, found)?;
    let malformed = |error| format!("drainit's status cannot be read: {error}");
    let mut status: Status = serde_json::from_slice(&body).map_err(malformed)?;
    if !args.names.is_empty() {
        let is_meant = |name: &str| args.names.iter().any(|pattern| is_meant(pattern, name));
        status.processes.retain(|process| is_meant(&process.name));
        if args.format == StatusFormat::Text {
            // The duration of the start is not shown, because it concerns all processes, and not
            // only the named processes.
            status.startup = None;
        }
    }
    meter.measure(&mut status);
    Ok(Some(match args.format {
        StatusFormat::Json => {
            let json = serde_json::to_string(&status).map_err(|error| error.to_string())?;
            format!("{}\n", escape_json(&json))
        }
        StatusFormat::Name => names(&status),
        StatusFormat::Text => {
            let (columns, rows) = sys::terminal_size(false).unwrap_or((WHOLE, 0));
            let shown = text(&status, columns, colour::is_shown(Stream::Stdout));
            if args.watch && rows > 0 { top(&shown, rows) } else { shown }
        }
    }))
}

/// The names of the processes, one a line. A process that is being replaced has one line.
fn names(status: &Status) -> String {
    let mut names: Vec<_> = status.processes.iter().map(|process| &*process.name).collect();
    names.dedup();
    names.iter().flat_map(|name| [&*harmless(name), "\n"].map(str::to_owned)).collect()
}

/// The first lines of the text, as many as the terminal has room for, so that the head stays
/// visible. If lines are left out, a last line says how many.
fn top(text: &str, rows: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    // The row below the last line is for the cursor.
    let room = rows.saturating_sub(1);
    if lines.len() <= room {
        return text.to_owned();
    }
    let shown = room.saturating_sub(1);
    let more = lines.len() - shown;
    let line = format!("… {more} more lines; name processes to see them");
    lines[..shown].iter().copied().chain([&*line]).flat_map(|line| [line, "\n"]).collect()
}

/// Reads the memory and the CPU time of processes, and keeps the CPU time for the next reading.
#[derive(Default)]
struct Meter {
    /// For each pid, the moment of the last reading, and the CPU time until then in seconds.
    before: HashMap<Pid, (Instant, f64)>,
}

impl Meter {
    /// Adds `memory_bytes` and `cpu_percent` to every process, if the pids are valid in this PID
    /// namespace. In another namespace, a pid would name another process.
    fn measure(&mut self, status: &mut Status) {
        let own = private_socket::namespace().ok();
        if own.is_none() || status.pid_namespace != own {
            return;
        }
        for process in &mut status.processes {
            let Some(pid) = process.start.pid else { continue };
            process.memory_bytes = memory(pid);
            process.cpu_percent = self.cpu(pid).map(|percent| (percent * 10.0).round() / 10.0);
        }
    }

    /// The percentage of one CPU that the process has used since the last reading. At the first
    /// reading, this is the percentage since the start of the process.
    fn cpu(&mut self, pid: Pid) -> Option<f64> {
        let stat = Stat::read(pid)?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
        let seconds = |ticks: u64| Duration::from_millis(ticks.saturating_mul(TICK)).as_secs_f64();
        let (used, started) = (seconds(stat.used), seconds(stat.process.started));
        let now = Instant::now();
        let (spent, within) = match self.before.insert(pid, (now, used)) {
            Some((then, before)) => (used - before, (now - then).as_secs_f64()),
            None => (used, uptime - started),
        };
        // Over less than a hundredth of a second, the percentage cannot be measured.
        (within >= 0.01).then(|| (spent / within * 100.0).max(0.0))
    }
}

/// The resident memory of a process, in bytes.
fn memory(pid: Pid) -> Option<u64> {
    let kibibytes = status_field(pid, "VmRSS:")?;
    Some(kibibytes.trim_end_matches(" kB").parse::<u64>().ok()? * 1024)
}

/// The head line and the table of a status, without a limit of the width.
#[cfg(test)]
pub(crate) fn table(status: &serde_json::Value) -> String {
    text(&serde_json::from_value(status.clone()).unwrap(), WHOLE, false)
}

const HEAD: [&str; 8] = ["NAME", "STATE", "PID", "SINCE", "RESTARTS", "CPU", "MEMORY", "NOTE"];
/// For each column, whether it contains numbers, and is therefore aligned to the right.
const RIGHT: [bool; 8] = [false, false, true, true, true, true, true, false];
/// The shortest length to which names of processes are cut if the table would be wider than the
/// terminal.
const SHORTEST_NAME: usize = 12;

/// The indentation of a note that does not fit behind its process.
const INDENT: usize = 6;

/// The head line, the table, and the last log lines of failed processes. Only names of processes
/// are cut to the width.
fn text(status: &Status, width: usize, in_colour: bool) -> String {
    let notes = status.notes.iter().map(|note| format!("note: {}", harmless(note)));
    let head = [Some(head_line(status)), start_line(status)].into_iter().flatten().chain(notes);
    let mut out: String = head.map(|line| wrap(&line, width, 2) + "\n").collect();
    let is_drained = status.phase == ContainerPhase::Drained;
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(status.processes.iter().map(|process| row(process, is_drained)));
    let mut widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let fixed: usize = widths[1..7].iter().map(|width| width + 2).sum();
    widths[0] = widths[0].min(width.saturating_sub(fixed).max(SHORTEST_NAME));
    let room = width.saturating_sub(widths[0] + 2 + fixed);
    for row in &rows {
        let cells = row.iter().zip(widths).zip(RIGHT).take(7).map(|((cell, width), is_right)| {
            let cell = cut(cell, width);
            if is_right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") }
        });
        let mut line: String = cells.collect();
        let note = &row[7];
        if note.chars().count() > room {
            line.truncate(line.trim_end().len());
            let below = wrap(&format!("{:INDENT$}{note}", ""), width, INDENT);
            line.extend(["\n", &below]);
        } else {
            line.push_str(note);
            line = wrap(line.trim_end(), width, INDENT);
        }
        let state = &row[1];
        if let Some(colour) = colour_of(state).filter(|_| in_colour) {
            let coloured = format!("  {colour}{state}{}", colour::RESET);
            line = line.replacen(&format!("  {state}"), &coloured, 1);
        }
        out.extend([line.as_str(), "\n"]);
    }
    for process in &status.processes {
        let name = harmless(&process.name);
        if let Some(places) = &process.listens {
            let places: Vec<_> = places.iter().map(|place| harmless(place)).collect();
            let places = if places.is_empty() { "nothing".into() } else { places.join(", ") };
            let _ = writeln!(out, "{name} listens on {places}");
        }
        for (lines, what) in [
            (&process.recent_lines, "is not ready; its last lines are:"),
            (&process.last_lines, "has failed; its last lines were:"),
        ] {
            if !lines.is_empty() {
                let _ = writeln!(out, "{name} {what}");
            }
            for line in lines {
                let _ = writeln!(out, "  {}", harmless(line));
            }
        }
    }
    out
}

fn colour_of(state: &str) -> Option<&'static str> {
    match state {
        "ready" | "done" => Some(colour::GREEN),
        "waiting" | "starting" | "restarting" | "draining" | "stopping" => Some(colour::YELLOW),
        "failed" => Some(colour::RED),
        _ => None,
    }
}

/// The container in one line, with the progress of a shutdown.
fn head_line(status: &Status) -> String {
    let mut line = status.phase.name().to_owned();
    if let Some(shutdown) = &status.shutdown {
        let _ = write!(line, " ({}", harmless(&shutdown.cause));
        // The elapsed time counts from the request to drain, but the container was drained only
        // later. Therefore the line says that the request was `5m ago`, and not `drained for 5m`.
        let elapsed = age(shutdown.elapsed);
        let _ = match status.phase {
            ContainerPhase::Drained => write!(line, " {elapsed} ago)"),
            _ => write!(line, ") for {elapsed}"),
        };
        if let Some(left) = shutdown.deadline_in {
            let _ = write!(line, ", {} left", age(left));
        }
        for step in &shutdown.waits_for {
            let _ = write!(line, ", waiting for {}", harmless(step));
        }
    } else {
        let ready = if status.ready { "ready" } else { "not ready" };
        let _ = write!(line, ", {ready}, up {}", age(status.uptime));
    }
    for (is_request, one, many) in
        [(false, "connection", "connections"), (true, "request", "requests")]
    {
        let counts = status.processes.iter().filter_map(|process| {
            let drain = process.drain.as_ref().map(|drain| drain.traffic);
            drain.into_iter().chain(process.stop).find_map(|of| match is_request {
                true => Some((of.requests?, of.unsure.unwrap_or_default())),
                false => Some((of.connections?, 0)),
            })
        });
        // Without a known count, the line has no sum, because 0 would be wrong.
        if let Some((sum, unsure)) = counts.reduce(|a, b| (a.0 + b.0, a.1 + b.1)) {
            let known = sum.saturating_sub(unsure);
            let _ = write!(line, ", {}{}", counted(known, one, many), perhaps(unsure));
        }
    }
    let _ = write!(line, " (drainit {}, pid {})", harmless(&status.version), status.pid);
    line
}

/// The duration of the start; `None` before everything is ready, and in a shutdown.
fn start_line(status: &Status) -> Option<String> {
    let startup = status.startup.as_ref().filter(|_| status.shutdown.is_none())?;
    Some(format!("started in {}", human(startup.took)))
}

/// The cells of a process. `is_drained` says that the container is drained and not stopped.
fn row(process: &ProcessStatus, is_drained: bool) -> [String; 8] {
    let said = |text: &Option<String>| text.as_ref().map(|text| harmless(text).into_owned());
    let is_ready = process.state == ProcessState::Ready;
    let state = match process.drain {
        // The process runs until a stop signal comes, but takes no traffic any more.
        Some(DrainStatus { over: Some(_), .. }) if is_ready => "drained",
        _ => process.state.name(),
    };
    let has_none = is_drained && is_ready && process.drain.is_none();
    let has_none = has_none.then(|| "has no drain, and runs on".to_owned());
    let epoch = process.start.epoch.map(|epoch| format!("epoch {epoch}"));
    // If drainit or an operator has asked for the last end, the end is not news, so the row leaves
    // the end out.
    let (asked, last) = (process.last_exit.is_asked, said(&process.last_exit.text));
    let message = said(&process.message).filter(|message| !asked || last.as_ref() != Some(message));
    let last = last.filter(|last| !asked && message.as_ref() != Some(last));
    let last = last.map(|last| format!("last exit: {last}"));
    let warnings = process.warnings.iter().map(|text| harmless(text).into_owned());
    let note: Vec<_> =
        [epoch, has_none, message].into_iter().flatten().chain(warnings).chain(last).collect();
    [
        harmless(&process.name).into_owned(),
        state.to_owned(),
        process.start.pid.map_or("-".to_owned(), |pid| pid.to_string()),
        age(process.since),
        process.restarts.to_string(),
        process.cpu_percent.map_or("-".to_owned(), |cpu| format!("{cpu:.1}%")),
        process.memory_bytes.map_or("-".to_owned(), bytes),
        note.join("; "),
    ]
}

/// Formats a duration in at most two units: `5s`, `2m5s`, `3h2m`, `4d1h`.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m{rest}s"),
        (0, ..) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// Formats bytes in units of 1024: `12K`, `3.4M`, `1.2G`.
fn bytes(bytes: u64) -> String {
    let kibi = bytes / 1024;
    let tenths = |unit: u64| format!("{}.{}", kibi / unit, kibi % unit * 10 / unit);
    match kibi {
        0..1024 => format!("{kibi}K"),
        1024..10_240 => format!("{}M", tenths(1024)),
        10_240..1_048_576 => format!("{}M", kibi / 1024),
        _ => format!("{}G", tenths(1_048_576)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::testing::temp_dir::TempDir;
    use crate::types::Signal;

    fn example() -> Status {
        let status = serde_json::json!({
            "version": "0.1.0", "pid": 1, "phase": "running", "ready": false, "uptime_seconds": 3725.5,
            "processes": [
                {"name": "policy-engine", "state": "ready", "pid": 17, "restarts": 2, "since_seconds": 125.2,
                 "last_exit": "exited with code 7", "memory_bytes": 12_582_912, "cpu_percent": 0.25},
                {"name": "router-with-a-name-that-is-much-too-long-for-a-table", "state": "starting", "pid": 18,
                 "restarts": 0, "since_seconds": 0.4, "message": "connection refused \u{1b}[31m and more of that"},
                {"name": "migrate", "state": "done", "restarts": 0, "since_seconds": 3700.0, "message": "exited with code 0",
                 "last_exit": "exited with code 0"},
            ],
        });
        serde_json::from_value(status).unwrap()
    }

    #[test]
    fn a_second_reading_measures_the_cpu_time_since_the_first() {
        let busy = ["-c", "while :; do :; done"];
        let mut child = Command::new("sh").args(busy).spawn().unwrap();
        let pid = child.id().cast_signed();
        // After a single tick, less than 10 ms may have passed since the start. `cpu` would then
        // return `None`.
        while Stat::read(pid).unwrap().used < 3 {
            std::thread::yield_now();
        }
        sys::kill(pid, Signal::STOP).unwrap();
        let is_stopped =
            || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(" T ");
        while !is_stopped() {
            std::thread::yield_now();
        }
        let mut meter = Meter::default();
        assert!(meter.cpu(pid) > Some(0.0));
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(meter.cpu(pid), Some(0.0));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    // holds: C888
    #[test]
    fn table_fits_the_terminal_and_no_note_is_cut() {
        let mut status = example();
        let long = "a reason of many words, none of which may be cut ".repeat(5);
        status.processes[0].message = Some(long.trim().to_owned());
        for width in [80, 100, 200, 60] {
            let text = text(&status, width, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{width}:\n{text}");
            assert!(!text.contains('\u{1b}'));
            let words: Vec<_> = text.split_whitespace().collect();
            let words = words.join(" ");
            assert!(words.contains("connection refused ␛[31m and more of that"), "{text}");
            assert!(words.contains(long.trim()), "{text}");
            assert!(words.contains("last exit: exited with code 7"), "{text}");
        }
        let whole = text(&example(), WHOLE, false);
        assert!(!whole.contains('…') && whole.contains("and more of that"), "{whole}");
        let text = text(&example(), 200, false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "running, not ready, up 1h2m (drainit 0.1.0, pid 1)");
        let columns = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(columns(1), "NAME STATE PID SINCE RESTARTS CPU MEMORY NOTE");
        let engine = "policy-engine ready 17 2m5s 2 0.2% 12M last exit: exited with code 7";
        assert_eq!(columns(2), engine);
        assert_eq!(columns(4), "migrate done - 1h1m 0 - - exited with code 0");
    }

    // holds: C888
    #[test]
    fn the_head_stays_when_the_terminal_has_too_few_rows() {
        let text = text(&example(), 200, false);
        let shown = top(&text, 5);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines.len() == 4 && lines[0].starts_with("running, not ready"), "{shown}");
        assert_eq!(lines[3], "… 2 more lines; name processes to see them");
        assert_eq!(top(&text, 6), text);
    }

    // holds: C889
    #[test]
    fn a_process_that_is_drained_is_not_called_ready() {
        let mut status = example();
        status.processes[0].drain = Some(DrainStatus::default());
        assert_eq!(row(&status.processes[0], true)[1], "ready");
        let over = Some("no connection left".to_owned());
        status.processes[0].drain = Some(DrainStatus { over, ..DrainStatus::default() });
        assert_eq!(row(&status.processes[0], true)[1], "drained");
        status.processes[0].drain = None;
        status.phase = ContainerPhase::Drained;
        assert!(text(&status, WHOLE, false).contains("has no drain, and runs on; last exit"));
    }

    #[test]
    fn program_with_invalid_utf8_name_is_measured() {
        let dir = TempDir::new();
        let program = dir.root().join(OsStr::from_bytes(b"sh\xff"));
        std::os::unix::fs::symlink("/bin/sh", &program).unwrap();
        let mut command = Command::new(program);
        let mut child = command.args(["-c", "read line"]).stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        let measured = (memory(pid), Stat::read(pid));
        // `wait` closes the child's input, and the child then ends.
        child.wait().unwrap();
        assert!(matches!(measured, (Some(_), Some(_))), "{measured:?}");
    }

    #[test]
    fn ages_and_sizes_are_short() {
        for (seconds, shown) in
            [(0.9, "0s"), (59.0, "59s"), (125.0, "2m5s"), (3725.0, "1h2m"), (90_061.0, "1d1h")]
        {
            assert_eq!(age(Duration::from_secs_f64(seconds)), shown);
        }
        for (kibi, shown) in
            [(0, "0K"), (2, "2K"), (1536, "1.5M"), (102_400, "100M"), (1_572_864, "1.5G")]
        {
            assert_eq!(bytes(1024 * kibi), shown);
        }
    }
}
