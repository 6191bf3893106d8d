//! Parts of the sentences in the log, the status and the report.

use core::time::Duration;

use crate::prelude::*;
use drainit_core::cause::{Cause, Failure};
use drainit_core::event::{Load, Unit};
use drainit_core::note::{DrainEnd, DrainTime, RequestError, StopLimit, WhyUndrained};
use drainit_core::spec::HookId;
use drainit_core::types::{End, ProcessId, counted, human};

/// The names of the processes. The index is the [`ProcessId`].
#[derive(Clone, Debug, Default)]
pub struct Names(pub Vec<String>);

impl Names {
    /// Sets the name of the process in `slot`. If there is no such slot yet, adds it.
    pub fn set(&mut self, slot: ProcessId, name: String) {
        self.0.resize(self.0.len().max(slot.index() + 1), String::new());
        self.0[slot.index()] = name;
    }

    pub fn of(&self, id: ProcessId) -> &str {
        self.0.get(id.index()).map_or("?", String::as_str)
    }
}

/// Describes why the container stops.
pub fn why(cause: Cause, names: &Names) -> String {
    match cause {
        Cause::Signal(signal) => format!("{signal} received"),
        Cause::Ended { process, end, before_ready, .. } => {
            let when = if before_ready { " before it was ready" } else { "" };
            format!("{} {end}{when}", names.of(process))
        }
        Cause::Failed { process, why } => failure_text(names.of(process), why),
        Cause::HookFailed => "the container's pre_start hook failed".to_owned(),
        Cause::DrainRequested => "drain requested".to_owned(),
        Cause::ShutdownRequested => "requested by `drainit shutdown`".to_owned(),
        Cause::AllEnded => "every process has ended".to_owned(),
    }
}

/// Describes what has limited the time of a stop, as a part of a sentence. Empty if an earlier line
/// of the log says it.
pub(crate) fn stop_limit(limit: StopLimit, of: ProcessId, names: &Names) -> String {
    let is = |is_declared| if is_declared { "does not fit" } else { "is not written" };
    match limit {
        StopLimit::Own { is_declared: true } => ": its `stop_grace_period` is over".to_owned(),
        StopLimit::Own { .. } => ": `stop_grace_period` is not written".to_owned(),
        StopLimit::Kept { by, time, is_declared } => {
            let by = match by {
                Some(by) if by != of => format!("`{}`", names.of(by)),
                Some(_) => "its `post_stop` hook".to_owned(),
                None => "the container's `post_stop` hook".to_owned(),
            };
            format!(": `stop_grace_period` {}, and {by} keeps {}", is(is_declared), human(time))
        }
        StopLimit::Deadline { is_declared } => format!(
            ": `stop_grace_period` {}, and the deadline of `grace_period` has come",
            is(is_declared)
        ),
        StopLimit::Ignored => {
            ": a longer wait would not help, so the later stops get the rest of the time".to_owned()
        }
        StopLimit::Other => String::new(),
    }
}

/// Describes why a request failed, as a sentence for the operator.
pub fn request_error(why: RequestError, names: &Names) -> String {
    match why {
        RequestError::ShuttingDown => "the container is shutting down".to_owned(),
        RequestError::Drained => {
            "a drain was requested, so nothing is started or stopped any more \
             until the container stops"
                .to_owned()
        }
        RequestError::Busy(process) => format!(
            "{} is being stopped or restarted already; try again when that is done",
            names.of(process)
        ),
        RequestError::Superseded(process) => {
            format!("{} was asked to stop meanwhile", names.of(process))
        }
        RequestError::StillStarting => "not every process has been ready yet".to_owned(),
        RequestError::Reloading => {
            "a reload or another request is under way; try again when that is done".to_owned()
        }
        RequestError::Skipped(process) => {
            format!("{} is left out by `only_if` or `profiles`", names.of(process))
        }
        RequestError::Failed { process, why: Failure::Unhealthy } => {
            format!("{} was ready, and then failed its liveness check", names.of(process))
        }
        RequestError::Failed { process, why } => failure_text(names.of(process), why),
        RequestError::Ended { process, end, was_ready: false } => {
            format!("{} {end} before it was ready", names.of(process))
        }
        RequestError::Ended { process, end, .. } => {
            format!("{} was ready, and then {end}", names.of(process))
        }
        RequestError::Unkillable(process) => format!(
            "{} survives SIGKILL (stuck in the kernel, or not permitted to signal it)",
            names.of(process)
        ),
        RequestError::OldFailed(process) => format!(
            "the running instance of {} failed before the new one had taken over from it",
            names.of(process)
        ),
        RequestError::Doomed { process, left } => format!(
            "the parent epoch of {} exited early: Envoy will abort the newer epoch within {}, and \
             any epoch that starts until then",
            names.of(process),
            human(left)
        ),
    }
}

pub fn hook_name(hook: HookId, names: &Names) -> String {
    let stage = hook.stage.name();
    match hook.process {
        Some(process) => format!("{}: {stage} hook", names.of(process)),
        None => format!("{stage} hook"),
    }
}

/// The end of a drain, as the core has noted it.
#[derive(Clone, Copy, Debug)]
pub struct DrainOver {
    pub why: DrainEnd,
    pub took: Duration,
    pub time: DrainTime,
    /// The rest of the grace period that no later step kept when `time` was over.
    pub unused: Duration,
    /// The last sample.
    pub last: Load,
}

/// Describes why a drain is over.
pub fn drain_end(over: &DrainOver) -> String {
    /// A shorter rest is not worth a word.
    const WORTH: Duration = Duration::from_secs(1);
    const KEY: &str = "; a `time` ends this drain sooner";
    let DrainOver { why, time, unused, last, .. } = *over;
    let open = still_open(last);
    match why {
        // If connections or requests are open at the end of a quiet drain, `exit_at` allows them.
        // The drain is over for this reason.
        DrainEnd::Quiet if last.active > Some(0) => format!("`exit_at` is reached{open}"),
        DrainEnd::Quiet if last.unit == Unit::Requests => "no request in flight".to_owned(),
        DrainEnd::Quiet => "no connection left".to_owned(),
        DrainEnd::Reported => "complete".to_owned(),
        DrainEnd::TimeOver => match time {
            DrainTime::Set(time) if unused >= WORTH => format!(
                "its `time` of {} is over; {} of the grace period were not used{open}",
                human(time),
                human(unused)
            ),
            DrainTime::Unset => format!("it lasted as long as the grace period{open}{KEY}"),
            DrainTime::Set(_) => format!("its time is over{open}"),
            DrainTime::OnlyMin => format!("`min` is over{open}"),
        },
        DrainEnd::NotAccepted => {
            "it did not accept the drain, so drainit only waited for `min`".to_owned()
        }
        DrainEnd::Deadline => {
            let key = if time == DrainTime::Unset { KEY } else { "" };
            format!("stopping needs the rest of the time{open}{key}")
        }
        DrainEnd::ProcessGone => "the process has ended".to_owned(),
        DrainEnd::Hurried => format!("cut short by a second signal{open}"),
        DrainEnd::NotLive => "it was not live, so nothing was in flight".to_owned(),
    }
}

/// Describes why a process is not drained.
pub(crate) fn undrained(why: WhyUndrained) -> &'static str {
    match why {
        WhyUndrained::NoTime => "stopping needs all the remaining time",
        WhyUndrained::Time => "its drain's `time` is 0",
        WhyUndrained::OnlyIf => "its drain's `only_if` does not hold",
    }
}

/// Describes the connections or requests of a sample, as the last part of a sentence.
pub(crate) fn still_open(last: Load) -> String {
    let Some(active) = last.active else { return String::new() };
    let (count, before, after) = match active.saturating_sub(last.unsure) {
        0 if active > 0 => (active, "perhaps ", String::new()),
        known => (known, "", perhaps(last.unsure)),
    };
    let open = match (count, last.unit) {
        (0, Unit::Connections) => "no connection open".to_owned(),
        (0, Unit::Requests) => "no request in flight".to_owned(),
        (_, Unit::Connections) => counted(count, "connection", "connections") + " still open",
        (_, Unit::Requests) => counted(count, "request", "requests") + " still in flight",
    };
    format!(", {before}{open}{after}")
}

/// Names the requests that may be in flight, but perhaps are not.
pub fn perhaps(unsure: u64) -> String {
    if unsure > 0 { format!(" (perhaps {unsure} more)") } else { String::new() }
}

/// Describes a time since the stop signal, as the last part of a sentence.
pub(crate) fn after_asked(took: Option<Duration>) -> String {
    took.map_or_else(String::new, |took| format!(", {} after it was asked to stop", human(took)))
}

/// Describes the end of a process in a stop.
pub fn stopped(end: End, took: Option<Duration>, killed: bool) -> String {
    match took {
        Some(_) => format!("{end}{}", after_asked(took)),
        // drainit killed the process without asking it to stop.
        None if killed => end.to_string(),
        None => format!("{end}, without being asked to"),
    }
}

/// Describes the end of a process that had ended before its stop signal was sent.
pub fn ended_first(end: End) -> String {
    format!("{end} by itself, before the stop signal")
}

/// Describes the end of an old instance. The text does not say whether the newer instance has ended
/// the old one, because nobody can tell.
pub fn after_handover(end: End) -> String {
    format!("{end}, after the new instance had taken over")
}

/// Describes how a process has failed, without the name of the process.
pub fn failure(why: Failure) -> String {
    match why {
        Failure::Spawn { .. } => "could not be started".to_owned(),
        Failure::Hook => "its pre_start hook failed".to_owned(),
        Failure::NotReady { after } => format!("did not become ready within {}", human(after)),
        Failure::TimedOut { after } => format!("did not complete within {}", human(after)),
        Failure::Unhealthy => "failed its liveness check".to_owned(),
    }
}

/// Describes a failure in a sentence with the name of the process.
fn failure_text(name: &str, why: Failure) -> String {
    match why {
        Failure::Hook => format!("the pre_start hook of {name} failed"),
        _ => format!("{name} {}", failure(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: S893, C1017
    #[test]
    fn the_end_of_a_drain_names_the_limiting_key() {
        let [second, minute] = [1, 60].map(Duration::from_secs);
        let set = DrainTime::Set(minute);
        for (why, time, unused, expected) in [
            (
                DrainEnd::TimeOver,
                set,
                second,
                "its `time` of 1m is over; 1s of the grace period were not used",
            ),
            (DrainEnd::TimeOver, set, Duration::ZERO, "its time is over"),
            (DrainEnd::TimeOver, DrainTime::OnlyMin, minute, "`min` is over"),
            (
                DrainEnd::TimeOver,
                DrainTime::Unset,
                Duration::ZERO,
                "it lasted as long as the grace period; a `time` ends this drain sooner",
            ),
            (
                DrainEnd::Deadline,
                DrainTime::Unset,
                Duration::ZERO,
                "stopping needs the rest of the time; a `time` ends this drain sooner",
            ),
            (DrainEnd::Deadline, set, Duration::ZERO, "stopping needs the rest of the time"),
            (
                DrainEnd::Deadline,
                DrainTime::OnlyMin,
                Duration::ZERO,
                "stopping needs the rest of the time",
            ),
        ] {
            let over = DrainOver { why, took: minute, time, unused, last: Load::default() };
            assert_eq!(drain_end(&over), expected, "{time:?}");
        }
    }

    // holds: S505
    #[test]
    fn unknown_requests_are_called_perhaps() {
        for (active, unsure, expected) in [
            (0, 0, ", no request in flight"),
            (2, 0, ", 2 requests still in flight"),
            (1, 1, ", perhaps 1 request still in flight"),
            (3, 3, ", perhaps 3 requests still in flight"),
            (3, 2, ", 1 request still in flight (perhaps 2 more)"),
        ] {
            let (unit, active) = (Unit::Requests, Some(active));
            assert_eq!(still_open(Load { unit, active, unsure, total: None }), expected);
        }
    }
}
