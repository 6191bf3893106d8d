//! Points in time, and durations as text and as data.

use core::ops::Add;
use core::time::Duration;

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

/// Writes a duration as the number that [`seconds`] returns, and reads such a number.
pub mod as_seconds {
    use core::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes a duration.
    pub fn serialize<S: Serializer>(of: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(super::seconds(*of))
    }

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Like [`as_seconds`], with null for `None`.
pub mod as_some_seconds {
    use core::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes a duration or null.
    pub fn serialize<S: Serializer>(
        of: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        of.map(super::seconds).serialize(serializer)
    }

    /// Reads a duration or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        #[derive(Deserialize)]
        struct Seconds(#[serde(with = "super::as_seconds")] Duration);
        Ok(Option::<Seconds>::deserialize(deserializer)?.map(|Seconds(read)| read))
    }
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
