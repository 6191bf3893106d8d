//! The end of an instance: who asked the instance to end, with which signal, how the instance ended,
//! and why.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::prelude::*;
use drainit_core::types::{Disposition, End, Reason, Signal, Time};

/// How the instance in a slot was asked to end, and how it has ended.
#[derive(Clone, Debug, Default)]
pub struct EndHistory {
    /// The time right before drainit first asked the instance to end or to drain.
    pub asked_since: Option<Time>,
    /// The stop signal; `None` if nobody asked the process to end.
    pub(crate) asked: Option<StopSignal>,
    /// The time right before the first SIGKILL of drainit.
    pub killed_since: Option<Time>,
    /// Whether the instance had already ended by itself when its stop signal was sent.
    pub ended_first: bool,
    /// The last signal that drainit has sent to the instance because an operator asked for it. Once
    /// this signal was SIGKILL, the value stays SIGKILL.
    pub requested: Option<Signal>,
    /// The signal that asks the instance to end or to drain, and its effect when drainit last
    /// looked: once the instance had loaded, before this signal, or before SIGKILL. `None` if the
    /// effect is unknown.
    pub disposition: Option<(Signal, Disposition)>,
    /// A reason that explains the coming end better than the exit code does. The reason is set
    /// before the journal records this end.
    pub coming_why: Option<Reason>,
    /// The end; `None` if no instance has ended yet, or if the next instance has started.
    pub(crate) over: Option<Ended>,
    /// The end of the instance before.
    previous: Option<Ended>,
    /// The reason why the process is down; `None` if drainit knows no reason, or if the process has
    /// started again.
    pub message: Option<Reason>,
    /// Whether the process stays down after a failure or after `restart_max` restarts, even if its
    /// last exit code was a success code.
    pub(crate) gave_up: bool,
}

/// The signal that asks an instance to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopSignal {
    pub(crate) at: Time,
    pub(crate) signal: Signal,
    /// The time from the signal to SIGKILL.
    pub(crate) limit: Duration,
}

/// An end that has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Time,
    pub(crate) how: End,
    pub(crate) by: EndedBy,
    /// Whether a failure is the reason for the end, or for the fact that the process is down since
    /// then.
    is_failure: bool,
}

/// The last end of a process, even if the process runs again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastExit {
    /// How the process ended, as people read it; `None` before the first end.
    #[serde(rename = "last_exit", skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether the end was the effect of the stop signal: not of SIGKILL, and not of a failure.
    #[serde(rename = "last_exit_asked", skip_serializing_if = "core::ops::Not::not")]
    pub is_asked: bool,
}

/// Who has ended an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndedBy {
    /// The process itself, although drainit wanted it to run.
    Process,
    /// The process itself: a oneshot that has completed.
    Completion,
    /// The process itself, or the newer instance that had taken over. Nobody can tell which.
    Newer,
    /// The process itself, before its stop signal was sent.
    ProcessFirst,
    /// The process itself, in the shutdown, before anybody asked. Or SIGKILL, if drainit had not
    /// asked before.
    Unasked,
    /// SIGKILL, after drainit had asked.
    Kill,
    /// The stop signal, or the signal or command of the drain.
    Stop,
}

impl EndedBy {
    /// Who has ended an instance that drainit was stopping, or that ended in the shutdown. If
    /// several answers are right, the first one counts.
    pub(crate) fn in_stop(
        is_handed_over: bool,
        ended_first: bool,
        is_asked: bool,
        is_killed: bool,
    ) -> Self {
        match () {
            () if is_handed_over => Self::Newer,
            () if ended_first => Self::ProcessFirst,
            () if !is_asked => Self::Unasked,
            () if is_killed => Self::Kill,
            () => Self::Stop,
        }
    }

    /// Whether drainit asked the instance itself to end, in the shutdown or before it, and the
    /// instance has ended after that.
    pub(crate) fn is_asked(self) -> bool {
        matches!(self, Self::Stop | Self::Kill)
    }
}

impl EndHistory {
    /// The history of a slot whose earlier instances ran in another slot.
    pub(crate) fn after(earlier: &Self) -> Self {
        Self { previous: earlier.last().copied(), ..Self::default() }
    }

    /// The last end, which is kept while the next instance runs.
    pub(crate) fn last(&self) -> Option<&Ended> {
        self.over.as_ref().or(self.previous.as_ref())
    }

    /// The last end, as the status shows it.
    pub fn last_exit(&self) -> LastExit {
        let last = self.last();
        LastExit {
            text: last.map(|end| end.how.to_string()),
            is_asked: last.is_some_and(|end| end.by == EndedBy::Stop && !end.is_failure),
        }
    }

    /// Forgets how the earlier instance was asked to end, and keeps its end.
    pub(crate) fn on_start(&mut self) {
        self.previous = self.over.take().or(self.previous);
        (self.asked, self.coming_why) = (None, None);
        (self.asked_since, self.killed_since) = (None, None);
        (self.ended_first, self.gave_up) = (false, false);
    }

    /// Records an end.
    pub(crate) fn on_end(&mut self, at: Time, how: End, by: EndedBy) {
        let is_failure = self.coming_why.is_some();
        self.over = Some(Ended { at, how, by, is_failure });
    }

    /// Says why the process is down, after an end.
    pub(crate) fn explain(&mut self) {
        let why = self.coming_why.take();
        self.message = why.or_else(|| Some(self.over?.how.to_string().into()));
    }

    /// Records that the process is down because of a failure. If drainit asked the process to end
    /// because of this failure, the end does not count as asked for.
    pub(crate) fn on_failure(&mut self) {
        if let Some(last) = self.over.as_mut().or(self.previous.as_mut()) {
            last.is_failure = true;
        }
    }

    /// Whether the signal that asked the instance to end has ended it, because the instance does
    /// not catch this signal.
    pub(crate) fn is_uncaught(&self, end: End) -> bool {
        let has_ended =
            |(signal, effect)| effect == Disposition::Fatal && end == End::Signal(signal);
        self.disposition.is_some_and(has_ended)
    }

    /// The words that follow an end for which drainit did not ask. If an operator had requested a
    /// signal that probably led to the end, the words name this signal.
    pub(crate) fn unasked(&self, end: End) -> String {
        let ends = |signal: &Signal| {
            end == End::Signal(*signal)
                || [Signal::TERM, Signal::INT, Signal::QUIT].contains(signal)
        };
        match self.requested.filter(ends) {
            Some(signal) => format!(" after {signal} was requested"),
            None => " without being asked to".to_owned(),
        }
    }
}

/// A stop in the shutdown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stop {
    /// The position among all drains and stops, in the order in which they began.
    pub(super) place: usize,
    /// The time from the stop signal until the whole process group was gone.
    pub(super) took: Option<Duration>,
    /// The time at which the whole process group was gone.
    pub(super) ends: Option<Time>,
    /// Whether the process was only asked to drain, and has ended for that reason. The time that
    /// this took is that of the drain.
    pub(super) in_drain: bool,
    pub(super) killed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_right_answer_says_who_has_ended_an_instance() {
        for (handed_over, ended_first, asked, killed, by) in [
            (true, true, true, true, EndedBy::Newer),
            (false, true, true, true, EndedBy::ProcessFirst),
            (false, true, false, false, EndedBy::ProcessFirst),
            (false, false, false, true, EndedBy::Unasked),
            (false, false, false, false, EndedBy::Unasked),
            (false, false, true, true, EndedBy::Kill),
            (false, false, true, false, EndedBy::Stop),
        ] {
            assert_eq!(EndedBy::in_stop(handed_over, ended_first, asked, killed), by);
        }
    }

    #[test]
    fn a_failure_after_an_asked_end_makes_the_end_a_failure() {
        let mut end = EndHistory::default();
        end.on_end(Time::default(), End::Code(0), EndedBy::Stop);
        assert!(end.last_exit().is_asked);
        end.on_start();
        assert!(end.last_exit().is_asked, "the end is kept while the next instance runs");
        end.on_failure();
        assert!(!end.last_exit().is_asked);
    }
}
