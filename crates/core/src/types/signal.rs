//! Signals by number and name, including real-time signals.

use core::fmt;
use core::time::Duration;

/// Two stop signals that are less than this time apart count as one. Some programs send a signal to
/// a process and then to its process group. The process receives both signals if the first one was
/// already delivered when the second one came.
pub const ONE_SIGNAL: Duration = Duration::from_millis(5);

/// The time that the kernel gets to end a process after SIGKILL. A process with little memory needs
/// only milliseconds.
pub const AFTER_KILL: Duration = Duration::from_millis(200);

/// A signal number from 1 to 64. drainit does not use the enum of `nix`, because that enum has no
/// real-time signals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// `SIGRTMIN` of glibc. drainit uses this number even if it is linked with another C library,
/// because users who write `RTMIN+3` (systemd's "halt") mean glibc's number.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The names of the signals from 1 on, without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Further names for signals that are already in [`NAMES`].
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const USR2: Self = Self(12);
    pub const PIPE: Self = Self(13);
    pub const TERM: Self = Self(15);
    pub const CHLD: Self = Self(17);
    pub const CONT: Self = Self(18);
    pub const STOP: Self = Self(19);
    pub const TSTP: Self = Self(20);
    pub const TTIN: Self = Self(21);
    pub const TTOU: Self = Self(22);
    pub const WINCH: Self = Self(28);

    /// The signal with this number; `None` if the number is not from 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    /// Reads `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3` or `RTMAX-2`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(signal) = (1..).map(Self).zip(NAMES).find(|(_, known)| *known == name) {
            return Some(signal.0);
        }
        if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
            return Some(Self(*number));
        }
        let number = if name == "RTMIN" {
            RTMIN
        } else if name == "RTMAX" {
            RTMAX
        } else if let Some(above) = name.strip_prefix("RTMIN+") {
            RTMIN.checked_add(above.parse().ok()?)?
        } else {
            RTMAX.checked_sub(name.strip_prefix("RTMAX-")?.parse().ok()?)?
        };
        (RTMIN..=RTMAX).contains(&number).then_some(Self(number))
    }

    pub fn number(self) -> i32 {
        self.0
    }

    /// The names without `SIG`, and their aliases.
    pub fn all_names() -> impl Iterator<Item = &'static str> {
        Self::names().chain(ALIASES.iter().map(|(name, _)| *name))
    }

    /// The names without `SIG` and without aliases, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }
}

/// Writes text such as `SIGTERM` or `SIGRTMIN+3`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = usize::try_from(self.0 - 1).ok();
        match place.and_then(|place| NAMES.get(place)) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => write!(f, "SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_signal_is_read_back() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            if number == 32 || number == 33 {
                continue; // the C library reserves both, so they have no names
            }
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
            assert_eq!(Signal::parse(&number.to_string()), Some(signal));
        }
    }

    // holds: C70, C71, C72
    #[test]
    fn signals_are_read_in_every_common_form() {
        for text in ["TERM", "term", "SIGTERM", "SigTerm", "15"] {
            assert_eq!(Signal::parse(text), Some(Signal::TERM), "{text}");
        }
        for (alias, number) in [("IOT", 6), ("CLD", 17), ("SIGPOLL", 29), ("unused", 31)] {
            assert_eq!(Signal::parse(alias).map(Signal::number), Some(number), "{alias}");
        }
        let names: Vec<_> = Signal::all_names().collect();
        assert!(["HUP", "SYS", "IOT", "UNUSED"].iter().all(|name| names.contains(name)));
        assert_eq!(Signal::parse("RTMIN+3").map(Signal::number), Some(37));
        assert_eq!(Signal::parse("SIGRTMAX-1").map(Signal::number), Some(63));
        for text in ["", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMAX-31", "RTMIN+", "SIG"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }
}
