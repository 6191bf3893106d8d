//! The wording of each [`Note`], for the person who reads the log at 3 a.m.

use crate::Journal;
use crate::end::EndedBy;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::{
    DrainOver, Names, after_asked, after_handover, drain_end, ended_first, failure, hook_name,
    request_error, still_open, stop_limit, stopped, undrained, why,
};
use crate::prelude::*;
use drainit_core::cause::{Cause, Failure};
use drainit_core::note::{DrainEnd, Hurry, Note, RequestError};
use drainit_core::types::{ProcessId, Signal, WatchAction, human};

impl Journal {
    /// Returns the text and the event of a note; every note has both. `detail` has the same meaning
    /// as in [`Journal::note`].
    pub(crate) fn entry(&self, note: &Note, detail: Option<&str>) -> Entry {
        use Field::{MaxSeconds, MinSeconds, Reason, Seconds};
        use Level::{Error, Warning};
        let names = &self.names;
        match *note {
            Note::Skipped(id) => self.about(id, "skipped", "left out by `only_if` or `profiles`"),
            Note::Started(id) => match self.of(id).start.epoch {
                None => self.one(id, "started", "started"),
                Some(epoch) => {
                    let text = format!("{}: started, epoch {epoch}", names.of(id));
                    self.one(id, "started", text).whole()
                }
            },
            Note::Ready { process: id, after } => self
                .one(id, "ready", format!("ready after {}", human(after)))
                .with([Seconds(after)]),
            Note::AllReady => Entry::new("all_ready", self.start_line()),
            Note::Completed { process: id, end, after } => self
                .one(id, "completed", format!("completed after {}", human(after)))
                .end(end, false)
                .and(detail)
                .with([Seconds(after)]),
            Note::Ended { process: id, end, next } => self
                .one(id, "ended", end.to_string())
                .end(end, false)
                .then(next, &self.of(id).end.unasked(end))
                .mend(end)
                .and(detail),
            Note::Overdue { process: id, why: Failure::NotReady { .. }, after } => self
                .one(id, "not_ready", format!("not ready after {}", human(after)))
                .because(self.of(id).readiness.failure.as_ref())
                .and(detail)
                .at(Error)
                .with([Seconds(after)]),
            Note::Overdue { process: id, after, .. } => self
                .about(id, "timed_out", format!("not complete after {}; stopping it", human(after)))
                .and(detail)
                .at(Warning)
                .with([Seconds(after)]),
            Note::Failed { process: id, why: why @ Failure::Unhealthy, next } => {
                self.about(id, "unhealthy", failure(why)).then(next, ", and is not restarted")
            }
            Note::Failed { process: id, why, next } => {
                self.about(id, "start_failed", failure(why)).then(next, "")
            }
            Note::HookTimedOut(hook) => {
                let text = format!("{}: took too long and was killed", hook_name(hook, names));
                let mut entry = Entry::new("hook_timed_out", text).whole().at(Warning);
                entry.event.process = hook.process.map(|id| names.of(id).to_owned());
                entry.with([Field::Hook(hook.stage.name())])
            }
            Note::DrainRequested => {
                Entry::new("drain_requested", "drain requested; nothing is stopped yet")
            }
            Note::RequestBegan { process: id, request } => self
                .about(id, "request_began", format!("{} requested", request.name()))
                .with([Field::Request(request.name())]),
            Note::FileChanged { process: id, action, .. } => {
                let path = detail.unwrap_or("a watched file");
                let (what, field) = match action {
                    WatchAction::Restart => ("restart".to_owned(), Field::Request("restart")),
                    WatchAction::Reload => ("reload".to_owned(), Field::Request("reload")),
                    WatchAction::Signal(signal) => (signal.to_string(), Field::Signal(signal)),
                };
                self.about(id, "file_changed", format!("{path} changed; {what}")).with([field])
            }
            Note::RequestDone { process: id, request } => self
                .about(id, "request_done", format!("{} done", request.name()))
                .with([Field::Request(request.name())]),
            Note::RequestFailed { process: id, request, why } => self
                .about(id, "request_failed", format!("{} failed", request.name()))
                .fails(why, names)
                .and(detail)
                .with([Field::Request(request.name())]),
            Note::Follows { process: id, on } => {
                let on = names.of(on).to_owned();
                let text = format!("restarting, because its dependency {on} was restarted");
                self.about(id, "follows", text).with([Field::Dependency(on)])
            }
            Note::Replacing { process: id, overlaps, old } => {
                let text = match overlaps {
                    true => "a new instance starts beside the running one",
                    false if self.of(old).start.pid.is_none() => {
                        "it is down, and gets its definition from the config"
                    }
                    false => "changed; the old instance is stopped first",
                };
                self.about(id, "replacing", text)
            }
            Note::TakesOver { process: id, .. } => {
                let text = "the new instance takes over; the old instance is stopped";
                self.about(id, "takes_over", text)
            }
            Note::HandedOver { process: id, limit, .. } => {
                let text = "drains by itself until the new epoch ends it; SIGKILL after";
                self.one(id, "handed_over", format!("{text} {}", human(limit)))
                    .with([MaxSeconds(limit)])
            }
            Note::Doomed { process: id, within } => {
                let why = "its parent epoch exited early";
                let text = format!("Envoy will abort within {}: {why}", human(within));
                self.one(id, "epoch_doomed", text).at(Warning).with([MaxSeconds(within)])
            }
            Note::RolledBack { process: id, why, .. } => {
                let text = match why {
                    RequestError::OldFailed(_) | RequestError::Superseded(_) => "rolled back",
                    _ => "rolled back; the old instance keeps running",
                };
                self.about(id, "taken_back", text).fails(why, names)
            }
            Note::Adding(id) => self.about(id, "adding", "new in the config"),
            Note::Removing(id) => {
                self.about(id, "removing", "no longer in the config; stopping it")
            }
            Note::ReloadDone => Entry::new("reload_done", "reload done"),
            Note::ReloadFailed { why } => {
                Entry::new("reload_failed", "reload failed").fails(why, names)
            }
            Note::ProbeFailed { process: id, failures, retries } => self
                .one(id, "probe_failed", format!("liveness probe failed ({failures} of {retries})"))
                .because(self.of(id).readiness.unhealthy.as_ref())
                .at(Warning)
                .with([Field::Attempt(failures), Field::Retries(retries)]),
            Note::TimeoutExtended { process: id, limit } => {
                let text = format!("asked for more time; {} left", human(limit));
                self.one(id, "timeout_extended", text).with([MaxSeconds(limit)])
            }
            Note::Unhealthy(id) => self
                .one(id, "unhealthy", "failed its liveness check; stopping it")
                .because(self.of(id).readiness.unhealthy.as_ref())
                .at(Warning),
            Note::ShutdownBegan { cause, window, drained_for } => {
                let why = why(cause, names);
                let from = drained_for.map_or_else(String::new, |ago| {
                    format!(", which counts from the drain requested {} ago", human(ago))
                });
                let text = format!("stopping: {why}; {} until the deadline{from}", human(window));
                // A failed hook may have no other line, so this line gets the level `error`. Every
                // other failure has a line of its own at this level.
                let is_failure =
                    matches!(cause, Cause::HookFailed | Cause::Failed { why: Failure::Hook, .. });
                let level = if is_failure { Error } else { Level::Info };
                Entry::new("shutdown", text).at(level).with([Field::Cause(why), MaxSeconds(window)])
            }
            Note::Delayed(delay) => {
                let text = format!("all processes serve for {}: readiness_delay", human(delay));
                Entry::new("readiness_delay", text).with([MaxSeconds(delay)])
            }
            Note::GroupRemains(id) => {
                let text =
                    "other processes of its process group are still alive; asking them to end";
                self.one(id, "group_remains", text)
            }
            Note::GroupGone { process: id, took } => {
                let text = format!("its process group is gone{}", after_asked(took));
                self.one(id, "group_gone", text).with(took.map(Seconds))
            }
            Note::LeftoversFound { process: id, signal, limit } => {
                let found = detail.unwrap_or("processes");
                let text = format!(
                    "left behind by an earlier instance: {found}; sending {signal}; SIGKILL after {}",
                    human(limit)
                );
                let fields = [Field::Signal(signal), MaxSeconds(limit)];
                self.about(id, "leftovers_found", text).at(Warning).with(fields)
            }
            Note::LeftoversKilled { process: id, after } => {
                let after_text = human(after);
                let text = format!(
                    "what an earlier instance left behind is still alive after {after_text}; \
                     sending SIGKILL"
                );
                self.about(id, "leftovers_killed", text).at(Warning).with([Seconds(after)])
            }
            Note::LeftoversGone { process: id, took } => {
                let text =
                    format!("what an earlier instance left behind is gone after {}", human(took));
                self.about(id, "leftovers_gone", text).with([Seconds(took)])
            }
            Note::LeftoversIgnored { process: id, are_known: true } => {
                let text = "what an earlier instance left behind survives SIGKILL; starting \
                            nevertheless";
                self.about(id, "leftovers_ignored", text).at(Warning)
            }
            Note::LeftoversIgnored { process: id, are_known: false } => {
                let text = "it is unknown what earlier instances left behind, because /proc does \
                            not answer; starting nevertheless";
                self.about(id, "leftovers_ignored", text).at(Warning)
            }
            Note::Hurried(hurry) => {
                let fields = [Reason(hurry.name())];
                Entry::new("hurried", hurried(hurry)).at(Warning).with(fields)
            }
            Note::DrainBegan { process: id, longest, min, .. } => {
                let (least, most) = (human(min), human(longest));
                let text = match () {
                    () if min == longest => format!("draining for {least}"),
                    () if min.is_zero() => format!("draining for at most {most}"),
                    () => format!("draining for at least {least} and at most {most}"),
                };
                self.one(id, "draining", text).with([MinSeconds(min), MaxSeconds(longest)])
            }
            Note::StillDraining { process: id, load, left } => {
                let (open, limit) = (still_open(load), human(left));
                let text = format!("still draining{open}; at most {limit} left");
                self.one(id, "still_draining", text).open(load).with([MaxSeconds(left)])
            }
            Note::NotDrained { process: id, why } => {
                let text = format!("not drained: {}", undrained(why));
                self.one(id, "not_drained", text).at(Warning).with([Reason(why.name())])
            }
            Note::DrainOver { process: id, why, took, time, unused, last } => {
                let over = DrainOver { why, took, time, unused, last };
                let text = format!("drain over after {}: {}", human(took), drain_end(&over));
                let level = if why == DrainEnd::NotAccepted { Warning } else { Level::Info };
                let fields = [Reason(why.name()), Seconds(took)];
                self.one(id, "drained", text).at(level).open(last).with(fields)
            }
            Note::OpenAgain { process: id, load, longest } => {
                let (open, limit) = (still_open(load), human(longest));
                let text = format!("in use again{open}; waiting for at most {limit}");
                self.one(id, "open_again", text).open(load).with([MaxSeconds(longest)])
            }
            Note::EndedUndrained(id) => self
                .one(
                    id,
                    "ended_undrained",
                    "ended before it was drained; requests in flight were cut",
                )
                .at(Warning),
            Note::Stopping { process: id, signal: Signal::KILL, .. } => {
                self.one(id, "stopping", "sending SIGKILL").with([Field::Signal(Signal::KILL)])
            }
            Note::Stopping { process: id, signal, limit } => {
                let text = format!("sending {signal}; SIGKILL after {}", human(limit));
                self.one(id, "stopping", text).with([Field::Signal(signal), MaxSeconds(limit)])
            }
            Note::Killed { process: id, after: None, .. } => {
                self.one(id, "killed", "sending SIGKILL to its process group").at(Warning)
            }
            Note::Killed { process: id, after: Some(after), why } => {
                let of = self.of(id);
                // Without a stop signal of its own, the process has ended in its drain.
                let sent = of.end.asked.map(|asked| asked.signal);
                let sent = sent.or(of.end.disposition.map(|(signal, _)| signal));
                let text = format!(
                    "still alive {} after {}{}{}; sending SIGKILL to its process group",
                    human(after),
                    sent.map_or("its stop signal".to_owned(), |signal| signal.to_string()),
                    sent.map_or("", |signal| of.effect_of(signal)),
                    stop_limit(why, id, names)
                );
                self.one(id, "killed", text).and(detail).at(Warning).with([Seconds(after)])
            }
            Note::LeftoversRemain => {
                let text = "leftover processes survive SIGKILL (stuck in the kernel, not \
                            permitted to signal them, or forking faster than drainit finds them); \
                            no longer waiting for them";
                Entry::new("leftovers_remain", text).at(Error)
            }
            Note::Stopped { process: id, end, took, killed, .. } => {
                let text = match self.of(id).end.over.map(|end| end.by) {
                    Some(EndedBy::Newer) => after_handover(end),
                    Some(EndedBy::ProcessFirst) => ended_first(end),
                    _ => stopped(end, took, killed),
                };
                self.one(id, "stopped", text).end(end, killed).with(took.map(Seconds))
            }
            Note::DeadlinePassed { late } => {
                let text = match late {
                    None => "deadline reached: killing everything that is left".to_owned(),
                    Some(late) => format!(
                        "deadline reached {} ago, while drainit could not run: killing everything \
                         that was asked to end, and asking the rest",
                        human(late)
                    ),
                };
                Entry::new("deadline_passed", text).at(Warning)
            }
            Note::Unkillable(id) => {
                let text = "survives SIGKILL (stuck in the kernel, or not permitted to signal \
                            it); no longer waiting for it";
                self.one(id, "unkillable", text).at(Error)
            }
        }
    }

    /// Begins the entry of a note about a process.
    fn about(&self, process: ProcessId, event: &'static str, text: impl Into<String>) -> Entry {
        let mut entry = Entry::new(event, text);
        entry.event.process = Some(self.names.of(process).to_owned());
        entry
    }

    /// Begins the entry of a note about one instance of a process.
    fn one(&self, process: ProcessId, event: &'static str, text: impl Into<String>) -> Entry {
        Entry { instance: Some(process), ..self.about(process, event, text) }
    }
}

impl Entry {
    /// Adds why a request failed. The level is an error if a process stays down, or stays alive
    /// although it must end.
    fn fails(self, why: RequestError, names: &Names) -> Self {
        use RequestError::{Ended, Failed, Unkillable};
        let is_error = matches!(why, Failed { .. } | Ended { .. } | Unkillable(_));
        let level = if is_error { Level::Error } else { Level::Warning };
        let cause = request_error(why, names);
        self.because(Some(&cause.as_str().into())).at(level).with([Field::Cause(cause)])
    }
}

fn hurried(hurry: Hurry) -> &'static str {
    match hurry {
        Hurry::Continue => "stop signal received: the shutdown is already under way",
        Hurry::CutWaits => "second stop signal: waits are cut short, the order is kept",
        Hurry::KillAll => "third stop signal: everything is killed",
    }
}
