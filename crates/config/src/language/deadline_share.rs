//! A process's share of the deadline, for `${stop_seconds}` and its kin.

use std::time::Duration;

/// The times that a shutdown leaves for the stop and the drain of a process. The process can use
/// these times for limits of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadlineShare {
    /// The shortest time from the process's `stop_signal` to SIGKILL.
    pub stop: Duration,
    /// From the beginning of the drain to its end; 0 without a drain.
    pub drain: Duration,
}

impl DeadlineShare {
    /// The names by which a config uses these times.
    pub(crate) const NAMES: [&str; 4] = ["stop_seconds", "stop_ms", "drain_seconds", "drain_ms"];

    /// The number with this name, rounded down; `None` if the name is not in [`Self::NAMES`].
    pub(crate) fn number(self, name: &str) -> Option<String> {
        let number = match name {
            "stop_seconds" => self.stop.as_secs().into(),
            "stop_ms" => self.stop.as_millis(),
            "drain_seconds" => self.drain.as_secs().into(),
            "drain_ms" => self.drain.as_millis(),
            _ => return None,
        };
        Some(number.to_string())
    }
}
