//! The log line for each [`Note`], written for the person who reads it at 3 a.m.

use std::time::Duration;

use crate::config::WatchAction;
use crate::core::cause::Cause;
use crate::core::event::{Load, Request, Unit};
use crate::core::note::{AfterEnd, DrainEnd, Evidence, Hurry, Note, RequestError, StartFailure};
use crate::core::spec::{HookId, Stage};
use crate::types::{End, ProcessId, Signal, human};

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
}

/// The names of the processes, by [`ProcessId`].
#[derive(Clone, Debug)]
pub struct Names(pub Vec<String>);

impl Names {
    /// Names a slot: one that was free, or a further one at the end.
    pub fn set(&mut self, slot: ProcessId, name: String) {
        if slot.index() >= self.0.len() {
            self.0.resize(slot.index() + 1, String::new());
        }
        self.0[slot.index()] = name;
    }

    #[must_use]
    pub fn of(&self, id: ProcessId) -> &str {
        self.0.get(id.index()).map_or("?", String::as_str)
    }
}

/// The line of a note. `instance` tells the instance that it is about from another one of the same
/// process.
#[must_use]
pub fn line_of(note: &Note, names: &Names, instance: Option<&str>) -> (Level, String) {
    let (level, line) = line(note, names);
    let (Some(process), Some(instance)) = (note.instance(), instance) else { return (level, line) };
    let name = names.of(process);
    let line = match line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) => format!("{name} ({instance}): {rest}"),
        None => line,
    };
    (level, line)
}

#[must_use]
pub fn line(note: &Note, names: &Names) -> (Level, String) {
    let name = |id: ProcessId| names.of(id);
    match *note {
        Note::Skipped(id) => {
            (Level::Info, format!("{}: left out, its only_if does not hold", name(id)))
        }
        Note::Started(id) => (Level::Info, format!("{}: started", name(id))),
        Note::Ready { process, after } => {
            (Level::Info, format!("{}: ready after {}", name(process), human(after)))
        }
        Note::AllReady => (Level::Info, "everything is ready".to_owned()),
        Note::Completed { process, after } => {
            (Level::Info, format!("{}: completed after {}", name(process), human(after)))
        }
        Note::Ended { process, end, next } => ended(name(process), end, next),
        Note::NotReady { process, after } => {
            (Level::Error, format!("{}: not ready after {}", name(process), human(after)))
        }
        Note::TimedOut { process, after } => (
            Level::Warning,
            format!("{}: not completed after {}, stopping it", name(process), human(after)),
        ),
        Note::StartFailed { process, why, next } => {
            start_failed(name(process), &start_failure(why), next)
        }
        Note::HookTimedOut(hook) => {
            (Level::Warning, format!("{}: killed, it took too long", hook_name(hook, names)))
        }
        Note::DrainRequested => {
            (Level::Info, "drain requested; nothing is stopped yet".to_owned())
        }
        Note::RequestBegan { process, request } => {
            (Level::Info, format!("{}: {} requested", name(process), request_name(request)))
        }
        Note::FileChanged { process, action, .. } => {
            (Level::Info, file_changed(name(process), "a watched file", action))
        }
        Note::RequestDone { process, request } => {
            (Level::Info, format!("{}: {} done", name(process), request_name(request)))
        }
        Note::RequestFailed { process, request, why } => (
            request_failed(why),
            format!(
                "{}: {} failed: {}",
                name(process),
                request_name(request),
                request_error(why, names)
            ),
        ),
        Note::Follows { process, on } => (
            Level::Info,
            format!("{}: restarting it, because {} was started again", name(process), name(on)),
        ),
        Note::Replacing { process, overlaps: true, .. } => (
            Level::Info,
            format!("{}: a new instance starts beside the running one", name(process)),
        ),
        Note::Replacing { process, .. } => (
            Level::Info,
            format!("{}: changed, the old instance ends first", name(process)),
        ),
        Note::TakesOver { process, .. } => (
            Level::Info,
            format!("{}: the new instance takes over, the old one ends", name(process)),
        ),
        Note::TakenBack {
            process,
            why: why @ (RequestError::OldFailed(_) | RequestError::Superseded(_)),
            ..
        } => (
            Level::Warning,
            format!("{}: the new instance is taken back: {}", name(process), request_error(why, names)),
        ),
        Note::HandedOver { process, limit, .. } => (
            Level::Info,
            format!(
                "{}: drains by itself until the new instance ends it, KILL after {}",
                name(process),
                human(limit)
            ),
        ),
        Note::EpochDoomed { process, within } => (
            Level::Warning,
            format!(
                "{}: Envoy aborts it within {}: the older epoch has ended before its time",
                name(process),
                human(within)
            ),
        ),
        Note::TakenBack { process, why, .. } => (
            request_failed(why),
            format!(
                "{}: the new instance is taken back, the old one goes on: {}",
                name(process),
                request_error(why, names)
            ),
        ),
        Note::Adding(id) => {
            (Level::Info, format!("{}: new in the config, starting it", name(id)))
        }
        Note::Removing(id) => {
            (Level::Info, format!("{}: no longer in the config, stopping it", name(id)))
        }
        Note::ReloadDone => (Level::Info, "reload done".to_owned()),
        Note::ReloadFailed { why } => {
            (request_failed(why), format!("reload failed: {}", request_error(why, names)))
        }
        Note::ProbeFailed { process, failures, retries } => (
            Level::Warning,
            format!("{}: liveness probe failed ({failures} of {retries})", name(process)),
        ),
        Note::TimeoutExtended { process, limit } => {
            (Level::Info, format!("{}: asks for more time, has {} more", name(process), human(limit)))
        }
        Note::Unhealthy { process, next } => unhealthy(name(process), next),
        Note::ShutdownBegan { cause, window } => (
            // All other failures have a line of their own. A failed hook mostly ends nothing.
            if matches!(cause, Cause::HookFailed(_)) { Level::Error } else { Level::Info },
            format!("stopping: {}; {} until the deadline", why(cause, names), human(window)),
        ),
        Note::Hurried(hurry) => (Level::Warning, hurried(hurry).to_owned()),
        Note::DrainBegan { process, longest, min, .. } => (
            Level::Info,
            format!(
                "{}: draining, at least {}, at most {}",
                name(process),
                human(min),
                human(longest)
            ),
        ),
        Note::NotDrained(id) => (
            Level::Warning,
            format!("{}: not drained, the stop needs all the remaining time", name(id)),
        ),
        Note::DrainOver { process, why, took, last } => {
            let text = format!(
                "{}: drain over after {}: {}",
                name(process),
                human(took),
                drain_end(why, last)
            );
            (if why == DrainEnd::MinHeld { Level::Warning } else { Level::Info }, text)
        }
        Note::OpenAgain { process, load, longest } => (
            Level::Info,
            format!(
                "{}: in use again{}; waiting for it, at most {}",
                name(process),
                still_open(load),
                human(longest)
            ),
        ),
        Note::EndedUndrained { process, signal, evidence } => {
            let when = match evidence {
                Evidence::After(after) => format!("{} after the stop signal", human(after)),
                Evidence::Before(before) => format!("{} before the stop signal", human(before)),
                Evidence::OtherEnds => "at the same time as other processes".to_owned(),
            };
            (
                Level::Warning,
                format!(
                    "{}: ended by itself {when}, before it was drained: {signal} was probably sent to \
                     every process at once (kill -TERM -1, a node shutdown); requests in flight were cut",
                    name(process)
                ),
            )
        }
        Note::Stopping { process, signal: Signal::KILL, .. } => {
            (Level::Info, format!("{}: SIGKILL", name(process)))
        }
        Note::Stopping { process, signal, limit } => {
            (Level::Info, format!("{}: {signal}, then KILL after {}", name(process), human(limit)))
        }
        Note::Killed { process, after: Some(after) } => (
            Level::Warning,
            format!(
                "{}: still alive after {}, KILL to its process group",
                name(process),
                human(after)
            ),
        ),
        Note::Killed { process, after: None } => {
            (Level::Warning, format!("{}: KILL to its process group", name(process)))
        }
        Note::GroupRemains(process) => (
            Level::Info,
            format!(
                "{}: others of its process group are alive, asking them to end",
                name(process)
            ),
        ),
        Note::Stopped { process, end, handed_over: true, .. } => {
            (Level::Info, format!("{}: {}", name(process), after_handover(end)))
        }
        Note::Stopped { process, end, took, killed, .. } => {
            (Level::Info, format!("{}: {}", name(process), stopped(end, took, killed)))
        }
        Note::DeadlinePassed => {
            (Level::Warning, "deadline reached: killing everything that is left".to_owned())
        }
        Note::Unkillable(id) => (
            Level::Error,
            format!(
                "{}: survives KILL (stuck in the kernel, or not permitted to signal it), no longer waiting",
                name(id)
            ),
        ),
        Note::LeftoversRemain => (
            Level::Error,
            "leftover processes survive KILL (stuck in the kernel, not permitted to signal them, or \
             forking faster than they are found), no longer waiting"
                .to_owned(),
        ),
    }
}

/// The line of [`Note::Replacing`] where no old instance runs.
#[must_use]
pub fn changed_while_down(name: &str) -> String {
    format!("{name}: changed while it was down")
}

/// The line of [`Note::FileChanged`], with the path of the file.
#[must_use]
pub fn file_changed(name: &str, path: &str, action: WatchAction) -> String {
    match action {
        WatchAction::Restart => format!("{name}: {path} changed; restart"),
        WatchAction::Reload => format!("{name}: {path} changed; reload"),
        WatchAction::Signal(signal) => format!("{name}: {path} changed; {signal}"),
    }
}

/// Why the container stops.
#[must_use]
pub fn why(cause: Cause, names: &Names) -> String {
    match cause {
        Cause::Signal(signal) => format!("{signal} received"),
        Cause::Ended { process, end, before_ready, .. } => {
            let when = if before_ready { " before it was ready" } else { "" };
            format!("{} {end}{when}", names.of(process))
        }
        Cause::NotReady(process) => format!("{} did not become ready in time", names.of(process)),
        Cause::Unhealthy(process) => format!("{} failed its liveness check", names.of(process)),
        Cause::TimedOut(process) => format!("{} did not complete in time", names.of(process)),
        Cause::SpawnFailed { process, .. } => format!("{} could not be started", names.of(process)),
        Cause::HookFailed(None) => "the container's pre_start hook failed".to_owned(),
        Cause::HookFailed(Some(process)) => {
            format!("the pre_start hook of {} failed", names.of(process))
        }
        Cause::DrainRequested => "drain requested".to_owned(),
        Cause::AllEnded => "every process has ended".to_owned(),
    }
}

/// The command that makes the request.
#[must_use]
pub fn request_name(request: Request) -> &'static str {
    match request {
        Request::Stop => "stop",
        Request::Start => "start",
        Request::Restart => "restart",
    }
}

/// A failure that leaves a process down, or alive against all will, is an error.
fn request_failed(why: RequestError) -> Level {
    match why {
        RequestError::SpawnFailed(_)
        | RequestError::HookFailed(_)
        | RequestError::NotReady { .. }
        | RequestError::Ended { .. }
        | RequestError::Unhealthy(_)
        | RequestError::Unkillable(_) => Level::Error,
        _ => Level::Warning,
    }
}

/// Why a request failed, as a sentence for the operator.
#[must_use]
pub fn request_error(why: RequestError, names: &Names) -> String {
    let name = |id| names.of(id);
    match why {
        RequestError::ShuttingDown => "the container is shutting down".to_owned(),
        RequestError::Drained => {
            "a drain was requested, so nothing is started or stopped any more \
             until the container stops"
                .to_owned()
        }
        RequestError::Busy(process) => format!(
            "{} is being stopped or restarted already; try again when that is done",
            name(process)
        ),
        RequestError::Superseded(process) => {
            format!("{} was asked to stop meanwhile", name(process))
        }
        RequestError::StillStarting => "not everything has been ready yet".to_owned(),
        RequestError::Reloading => {
            "a reload or another request is under way; try again when that is done".to_owned()
        }
        RequestError::Skipped(process) => {
            format!("{} is left out, its only_if does not hold", name(process))
        }
        RequestError::SpawnFailed(process) => {
            format!("{} could not be started", name(process))
        }
        RequestError::HookFailed(process) => {
            format!("the pre_start hook of {} failed", name(process))
        }
        RequestError::NotReady { process, after } => {
            format!("{} did not become ready within {}", name(process), human(after))
        }
        RequestError::Ended { process, end, was_ready: false } => {
            format!("{} {end} before it was ready", name(process))
        }
        RequestError::Ended { process, end, .. } => {
            format!("{} was ready, and then {end}", name(process))
        }
        RequestError::Unhealthy(process) => {
            format!("{} was ready, and then failed its liveness check", name(process))
        }
        RequestError::Unkillable(process) => format!(
            "{} survives KILL (stuck in the kernel, or not permitted to signal it)",
            name(process)
        ),
        RequestError::OldFailed(process) => format!(
            "the running instance of {} failed before the new one had taken over from it",
            name(process)
        ),
        RequestError::EpochDoomed { process, left } => format!(
            "the older epoch of {} has ended before its time: Envoy aborts the newer one within {}, and one that \
             starts now with it",
            name(process),
            human(left)
        ),
    }
}

/// The key of a hook in the config.
#[must_use]
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::PreStart => "pre_start",
        Stage::PreStop => "pre_stop",
        Stage::PostStop => "post_stop",
    }
}

#[must_use]
pub fn hook_name(hook: HookId, names: &Names) -> String {
    let stage = stage_name(hook.stage);
    match hook.process {
        Some(process) => format!("{}: {stage} hook", names.of(process)),
        None => format!("{stage} hook"),
    }
}

/// Why a drain is over.
#[must_use]
pub fn drain_end(why: DrainEnd, last: Load) -> String {
    let open = still_open(last);
    match why {
        // Only `exit_at` ends a drain before all are gone.
        DrainEnd::Quiet if last.active > Some(0) => format!("no more than `exit_at` allows{open}"),
        DrainEnd::Quiet if last.unit == Unit::Requests => "no request in flight".to_owned(),
        DrainEnd::Quiet => "no connection left".to_owned(),
        DrainEnd::Reported => "reported by the process".to_owned(),
        DrainEnd::TimeOver => format!("its time is over{open}"),
        DrainEnd::MinHeld => "it did not accept the drain, so only min was held".to_owned(),
        DrainEnd::DeadlineNeedsIt => format!("the stop needs the rest of the time{open}"),
        DrainEnd::ProcessGone => "the process has ended".to_owned(),
        DrainEnd::Hurried => format!("cut short by a second signal{open}"),
    }
}

/// The connections or requests of a sample, as the end of a sentence.
fn still_open(last: Load) -> String {
    match (last.active, last.unit) {
        (None, _) => String::new(),
        (Some(0), Unit::Connections) => ", no connection open".to_owned(),
        (Some(0), Unit::Requests) => ", no request in flight".to_owned(),
        (Some(1), Unit::Connections) => ", 1 connection still open".to_owned(),
        (Some(1), Unit::Requests) => ", 1 request still in flight".to_owned(),
        (Some(count), Unit::Connections) => format!(", {count} connections still open"),
        (Some(count), Unit::Requests) => format!(", {count} requests still in flight"),
    }
}

/// Describes the end of a process during the shutdown.
#[must_use]
pub fn stopped(end: End, took: Option<Duration>, killed: bool) -> String {
    match took {
        Some(took) => format!("{end}, {} after it was asked to stop", human(took)),
        // There was no time to ask.
        None if killed => end.to_string(),
        None => format!("{end}, without being asked to"),
    }
}

/// Describes the end of an old epoch. Whether the newer one has ended it, nobody can tell.
#[must_use]
pub fn after_handover(end: End) -> String {
    format!("{end}, after the new instance had taken over")
}

fn ended(name: &str, end: End, next: AfterEnd) -> (Level, String) {
    let (level, line) = what_follows(name, end, next);
    if end == End::OutOfMemory {
        let mend = "raise the container's memory limit, or let its processes use less";
        return (level.min(Level::Warning), format!("{line}; {mend}"));
    }
    (level, line)
}

/// Why a start has failed.
#[must_use]
pub fn start_failure(why: StartFailure) -> String {
    match why {
        StartFailure::Spawn => "could not be started".to_owned(),
        StartFailure::Hook => "its pre_start hook failed".to_owned(),
        StartFailure::NotReady { after } => format!("did not become ready within {}", human(after)),
        StartFailure::TimedOut { after } => format!("did not complete within {}", human(after)),
    }
}

fn start_failed(name: &str, why: &str, next: AfterEnd) -> (Level, String) {
    match next {
        AfterEnd::Restart { delay, attempt } => {
            (Level::Warning, format!("{name}: {why}; restart {attempt} in {}", human(delay)))
        }
        AfterEnd::Nothing | AfterEnd::StaysDown => {
            (Level::Warning, format!("{name}: {why} (on_exit: ignore), and stays down"))
        }
        AfterEnd::GivesUp => {
            (Level::Error, format!("{name}: {why}, and restart_max is reached: it stays down"))
        }
        AfterEnd::Shutdown => (Level::Error, format!("{name}: {why}")),
        AfterEnd::Exhausted => (Level::Error, format!("{name}: {why}, and restart_max is reached")),
    }
}

fn what_follows(name: &str, end: End, next: AfterEnd) -> (Level, String) {
    match next {
        AfterEnd::Restart { delay, attempt } => {
            (Level::Warning, format!("{name}: {end}; restart {attempt} in {}", human(delay)))
        }
        AfterEnd::Nothing => (Level::Info, format!("{name}: {end} (on_exit: ignore)")),
        AfterEnd::StaysDown => {
            (Level::Warning, format!("{name}: {end} (on_exit: ignore), and stays down"))
        }
        AfterEnd::GivesUp => {
            (Level::Error, format!("{name}: {end}, and restart_max is reached: it stays down"))
        }
        AfterEnd::Shutdown => (Level::Error, format!("{name}: {end} without being asked to")),
        AfterEnd::Exhausted => (Level::Error, format!("{name}: {end}, and restart_max is reached")),
    }
}

fn unhealthy(name: &str, next: Option<AfterEnd>) -> (Level, String) {
    match next {
        None => (Level::Warning, format!("{name}: failed its liveness check, stopping it")),
        Some(AfterEnd::Restart { delay, attempt }) => (
            Level::Warning,
            format!("{name}: failed its liveness check; restart {attempt} in {}", human(delay)),
        ),
        Some(AfterEnd::Nothing | AfterEnd::StaysDown) => (
            Level::Warning,
            format!("{name}: failed its liveness check (on_exit: ignore), and stays down"),
        ),
        Some(AfterEnd::GivesUp) => (
            Level::Error,
            format!("{name}: failed its liveness check, and restart_max is reached: it stays down"),
        ),
        Some(AfterEnd::Shutdown) => {
            (Level::Error, format!("{name}: failed its liveness check, and is not restarted"))
        }
        Some(AfterEnd::Exhausted) => {
            (Level::Error, format!("{name}: failed its liveness check, and restart_max is reached"))
        }
    }
}

fn hurried(hurry: Hurry) -> &'static str {
    match hurry {
        Hurry::Continue => "stop signal received: the shutdown is already under way",
        Hurry::CutWaits => "second stop signal: waits are cut short, the order is kept",
        Hurry::KillAll => "third stop signal: everything is killed",
    }
}
