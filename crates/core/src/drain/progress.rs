//! The progress of the drain of one process. The module [`drain`](crate::drain) takes the steps of
//! the drain.

use core::time::Duration;

use crate::event::Load;
use crate::note::{DrainEnd, DrainTime};
use crate::types::Time;

/// A process is quiet if at most `exit_at` connections or requests have been open for this time,
/// and no new one has come. The time is longer than the pause between two samples near the end of a
/// drain, and longer than the time from a connect to the first request. A sample that is older than
/// this time says nothing about the present.
pub const QUIET: Duration = Duration::from_millis(200);

/// The progress of the drain of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Progress {
    NotDue,
    Active(Active),
    /// The drain is over, and `at` is the time of the last count. The open connections or requests
    /// are counted once more before the stop.
    Drained {
        at: Time,
        /// The time at which the granted time of the drain ends.
        until: Time,
        /// Whether the final count was made at `at`. If so, the stop waits for no traffic of this
        /// process. If the stop has to wait long for other processes, the traffic is counted once
        /// more.
        is_counted: bool,
    },
    FinalCount(FinalCount),
    /// There is no drain, or it is over and nothing is left to wait for.
    #[default]
    Over,
}

impl Progress {
    /// Whether the drain is over. A final count may still follow.
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self, Self::Drained { .. } | Self::FinalCount(_) | Self::Over)
    }

    /// The time until which the stop may wait for traffic that has come since the drain.
    pub(crate) fn waits_until(&self) -> Time {
        match self {
            Self::Drained { until, .. } | Self::FinalCount(FinalCount { until, .. }) => *until,
            _ => Time::default(),
        }
    }

    /// Prepares the stop after a drain that was requested without a stop (`POST /drain`). The
    /// process has served since its drain. The stop may therefore wait for its traffic as long as a
    /// new drain could, until `latest`. If the drain used up all of its time, the traffic never
    /// paused. Then only a stop with a grace period of its own (`is_later`) waits for this traffic
    /// again.
    pub(crate) fn count_anew(&mut self, latest: Time, is_later: bool) {
        if let Self::Drained { at, until, .. } = self
            && (is_later || at < until)
        {
            *until = latest.max(*until);
        }
    }

    /// Shortens a drain under way to its `min`. If the drain is over, the stop no longer waits for
    /// connections or requests that have come since the drain.
    pub(crate) fn only_min(&mut self) {
        match self {
            Self::Active(active) => active.only_min(),
            Self::Drained { at, until, .. } => *until = *at,
            // This time is past.
            Self::FinalCount(count) => count.until = Time::default(),
            Self::NotDue | Self::Over => {}
        }
    }

    /// The time at which the next timer is due.
    pub(crate) fn wakes_at(&self, now: Time) -> Option<Time> {
        match self {
            Self::Active(active) => Some(active.wakes_at(now)),
            Self::FinalCount(count) => Some(count.next),
            _ => None,
        }
    }
}

/// The final count of open connections or requests, between the drain and the stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinalCount {
    /// If `is_asked`: the time at which the wait for an answer ends. Otherwise: the time at which
    /// the next count begins.
    pub(crate) next: Time,
    pub(crate) is_asked: bool,
    /// The time until which the stop may wait for connections or requests that have come since the
    /// end of the drain.
    pub(crate) until: Time,
    /// The sample of the count under way. Its numbers are unknown until the sample comes.
    pub(crate) load: Load,
    /// Whether a note has said that the stop waits for open connections or requests.
    pub(crate) is_noted: bool,
}

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    pub(crate) since: Time,
    pub(crate) min_until: Time,
    pub(crate) until: Time,
    /// The time until which the drain would last if there were no deadline.
    pub(crate) wish_until: Time,
    pub(crate) time: DrainTime,
    /// The time that no later step kept when `time` was over.
    pub(crate) unused: Duration,
    /// The reason that is reported if the drain lasts until `until`.
    pub(crate) at_end: DrainEnd,
    /// Whether drainit counts the traffic of the process. If so, drainit makes an Envoy refuse new
    /// connections at the end of the drain.
    pub(crate) closes: bool,
    /// The number of open connections, or requests, at which the drain is over.
    pub(crate) exit_at: u64,
    /// Whether the process has accepted the drain; `None` before its answer.
    pub(crate) accepted: Option<bool>,
    /// Whether the process has reported that it is drained.
    pub(crate) reported: bool,
    pub(crate) last: Load,
    /// The time since which every sample has shown at most `exit_at` open connections or requests,
    /// and no new ones. `None` if there is no such time.
    pub(crate) quiet_since: Option<Time>,
    /// The time of the last sample. A process whose samples are missing does not count as quiet.
    pub(crate) sampled_at: Time,
    /// The time of the last note about this drain.
    pub(crate) noted_at: Time,
    pub(crate) closing: Closing,
}

/// The last step of a drain: drainit makes an Envoy refuse new connections, because the stop would
/// cut every connection that comes later. For any other process, drainit only counts once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    NotYet,
    /// drainit has begun this step, and waits for the answer until `until`.
    Asked {
        until: Time,
        why: DrainEnd,
    },
    /// The answer has come, or drainit no longer waits for it. The drain can end when another
    /// sample shows no traffic.
    Closed,
}

impl Active {
    /// Handles the answer to the request to drain. If the process has not accepted the drain,
    /// drainit waits for `min` only. A longer wait would not help, because nobody asks the clients
    /// to leave, and they send new requests.
    pub(crate) fn on_answer(&mut self, accepted: bool) {
        if self.accepted.is_none() {
            self.accepted = Some(accepted);
            if !accepted {
                self.only_min();
                // A shutdown may have set a deadline before the end of `min`. The drain then ends
                // because of the deadline, and `at_end` already has this reason.
                if self.until == self.min_until {
                    self.at_end = DrainEnd::NotAccepted;
                }
            }
        }
    }

    /// Updates the progress with a new sample.
    pub(crate) fn on_sample(&mut self, now: Time, load: Load) {
        let no_new = match (self.last.total, load.total) {
            (Some(before), Some(after)) => before == after,
            // The first sample with a total begins the quiet time.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let is_low = load.active.is_some_and(|active| active <= self.exit_at);
        self.quiet_since = match self.quiet_since {
            Some(since) if is_low && no_new => Some(since),
            _ if is_low && load.total.is_some() => Some(now),
            _ => None,
        };
        self.last = load;
        self.sampled_at = now;
    }

    /// Whether the process has reported that it is drained, and no count is known. A count is more
    /// reliable than the report.
    pub(crate) fn is_reported(&self) -> bool {
        self.reported && self.last.active.is_none()
    }

    /// Shortens the drain to `min`.
    pub(crate) fn only_min(&mut self) {
        if self.min_until < self.until {
            (self.until, self.at_end) = (self.min_until, DrainEnd::TimeOver);
            self.time = DrainTime::OnlyMin;
        }
        self.wish_until = self.wish_until.min(self.min_until);
    }

    /// The time at which the next timer is due.
    pub(crate) fn wakes_at(&self, now: Time) -> Time {
        match self.closing {
            Closing::Asked { until, .. } => until,
            Closing::Closed => self.until,
            Closing::NotYet => {
                let is_done =
                    self.is_reported() || now < self.min_until && self.is_quiet(self.min_until);
                if is_done { self.until.min(self.min_until) } else { self.until }
            }
        }
    }

    /// The progress after the drain. If the process can be polled, a final count follows.
    pub(crate) fn to_drained(self, now: Time) -> Progress {
        if self.closes && self.accepted == Some(true) {
            Progress::Drained { at: now, until: self.until, is_counted: false }
        } else {
            Progress::Over
        }
    }

    /// Whether the drain may end at `now`, because the samples have shown no traffic for [`QUIET`].
    pub(crate) fn is_quiet(&self, now: Time) -> bool {
        let is_shown = self.quiet_since.is_some_and(|since| since + QUIET <= self.sampled_at);
        let is_fresh = now.since(self.sampled_at) <= QUIET;
        is_shown && is_fresh && self.min_until <= now && self.accepted == Some(true)
    }
}
