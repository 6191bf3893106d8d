//! `liveness:`: how drainit sees that a process still works.

use std::time::Duration;

use crate::config::Probe;

/// `liveness:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// drainit probes it.
    Probe {
        /// Not [`Probe::File`], [`Probe::Log`] or [`Probe::Notify`].
        probe: Probe,
        /// The pause before each probe. Default 10 s.
        interval: Duration,
        /// The limit of one probe. Default 1 s.
        timeout: Duration,
        /// The check has failed after this many failures in a row. At least 1; default 3.
        retries: u32,
        /// No probe for this long after the process became ready. Default 0.
        start_period: Duration,
    },
    /// It must send `WATCHDOG=1` to `NOTIFY_SOCKET` at least this often (sd_notify(3)).
    Notify(Duration),
}

impl Liveness {
    /// The number of failures in a row after which the check has failed.
    #[must_use]
    pub fn retries(&self) -> u32 {
        match self {
            Self::Probe { retries, .. } => *retries,
            Self::Notify(_) => 1,
        }
    }

    #[must_use]
    pub fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Probe { probe, .. } => Some(probe),
            Self::Notify(_) => None,
        }
    }
}
