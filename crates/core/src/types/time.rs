//! Points in time, and durations as text and as data.

use core::ops::Add;
use core::time::Duration;

use serde::Serializer;

use crate::prelude::*;

/// The time since boot, on a clock that also runs while the machine is suspended
/// (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// A time that is later than every deadline.
    pub const NEVER: Self = Self(Duration::MAX);

    /// The time since `earlier`; zero if `earlier` is later than this time.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs))
    }
}

/// Formats a duration for people: `850ms`, `1.5s`, `12s`, `2m 5s`.
pub fn human(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    if millis < 60_000 {
        let hundredths = (millis + 5) / 10;
        let (seconds, rest) = (hundredths / 100, hundredths % 100);
        return match rest {
            0 => format!("{seconds}s"),
            _ if rest % 10 == 0 => format!("{seconds}.{}s", rest / 10),
            _ => format!("{seconds}.{rest:02}s"),
        };
    }
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

/// The duration in seconds, for programs. The number is rounded to milliseconds, because more
/// digits would be meaningless.
pub fn seconds(duration: Duration) -> f64 {
    ((duration.as_nanos() + 500_000) / 1_000_000) as f64 / 1000.0
}

/// Writes a duration as the number that [`seconds`] returns.
pub fn serialize_seconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(seconds(*duration))
}

/// Writes a duration as the number that [`seconds`] returns; writes null for `None`.
pub fn serialize_some_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_some(&duration.map(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (millis, text) in [
            (0, "0ms"),
            (850, "850ms"),
            (1500, "1.5s"),
            (12_000, "12s"),
            (12_346, "12.35s"),
            (125_400, "2m 5s"),
        ] {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }
}
