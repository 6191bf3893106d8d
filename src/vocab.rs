//! The words that every layer shares: process ids in the graph, moments, signals, how a process ended.
//!
//! Nothing here decides anything or touches the system.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A process of the graph, by its place in the config file. Not a PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u16);

impl ProcessId {
    /// The place in any table that has one entry a process.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A moment on a clock that keeps running while the machine sleeps (`CLOCK_BOOTTIME`), as the time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

impl Time {
    /// A moment that never comes.
    pub const NEVER: Self = Self(Duration::MAX);

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
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

impl Sub<Duration> for Time {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs))
    }
}

/// A signal number, 1 to 64. Real-time signals are signals like any other here, which is why this is not `nix`'s
/// enum: that one cannot name them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

/// The kernel's first real-time signal that the C libraries leave to programs is 34 under glibc (`SIGRTMIN`), and
/// people write `RTMIN+3` with that in mind (systemd's "halt"), whatever library drainit itself is linked with.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Names that mean the same signal as one of [`NAMES`].
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];

impl Signal {
    /// Hang-up.
    pub const HUP: Self = Self(1);
    /// Interrupt, as Ctrl-C sends it.
    pub const INT: Self = Self(2);
    /// Quit.
    pub const QUIT: Self = Self(3);
    /// The end that cannot be caught.
    pub const KILL: Self = Self(9);
    /// First user-defined signal; Envoy reopens its access logs.
    pub const USR1: Self = Self(10);
    /// Second user-defined signal.
    pub const USR2: Self = Self(12);
    /// A write that nobody reads.
    pub const PIPE: Self = Self(13);
    /// Termination: what `docker stop` and the kubelet send.
    pub const TERM: Self = Self(15);
    /// A child has ended.
    pub const CHLD: Self = Self(17);
    /// Continue if stopped.
    pub const CONT: Self = Self(18);
    /// Stop, which cannot be caught.
    pub const STOP: Self = Self(19);
    /// Stop, as Ctrl-Z sends it.
    pub const TSTP: Self = Self(20);
    /// A read from the terminal by a process in its background.
    pub const TTIN: Self = Self(21);
    /// A write to the terminal by a process in its background.
    pub const TTOU: Self = Self(22);

    /// The signal with this number, if there is one (1 to 64).
    #[must_use]
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }

    /// Reads `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3` or `RTMAX-2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().chain(&ALIASES).find(|(known, _)| *known == name) {
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

    /// The number that the kernel uses.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// Every name that [`Signal::parse`] knows without its `SIG`, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// Writes `SIGTERM`, `SIGRTMIN+3`.
impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(Signal),
    /// KILL ended it, which drainit had not sent, and the kernel has counted one more OOM kill in this container since:
    /// most likely this one.
    OutOfMemory,
}

impl End {
    /// The code that a shell would give: its own, or 128 plus the number of the signal.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
            Self::OutOfMemory => exit_code::KILLED,
        }
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
            Self::OutOfMemory => Some(Signal::KILL),
        }
    }

    /// The same without the guess who sent it.
    #[must_use]
    pub fn plainly(self) -> Self {
        match self {
            Self::OutOfMemory => Self::Signal(Signal::KILL),
            other => other,
        }
    }

    /// Whether it exited with 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Writes `exited with code 7` or `was ended by SIGKILL`, and for [`End::OutOfMemory`] what is known of it.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by {signal}"),
            Self::OutOfMemory => {
                write!(
                    f,
                    "was ended by SIGKILL, probably by the kernel's OOM killer (out of memory)"
                )
            }
        }
    }
}

/// Exit codes of drainit itself that do not come from a process.
pub mod exit_code {
    /// Asked to stop, and everything stopped by itself.
    pub const OK: u8 = 0;
    /// A process did not become ready in time, or ended with 0 where that is a failure.
    pub const NOT_READY: u8 = 1;
    /// Wrong usage of the command line.
    pub const USAGE: u8 = 2;
    /// Something failed inside drainit (`EX_SOFTWARE`).
    pub const SOFTWARE: u8 = 70;
    /// The config is missing or wrong (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// A command exists and cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// A command does not exist.
    pub const NOT_FOUND: u8 = 127;
    /// Something had to be killed to keep the deadline: what a container killed from outside shows, too.
    pub const KILLED: u8 = 137;
}

/// Writes a duration as people do: `850ms`, `1.5s`, `12s`, `2m 5s`.
#[must_use]
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

/// A character that takes one place and does nothing to a terminal.
#[must_use]
pub fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        // Marks that reorder text or take no place would make the line lie about what is in it.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        other => other,
    }
}

/// A text from outside, on one line and harmless to a terminal: the name of a process, what
/// somebody answers, the path of a file. Otherwise it could pass for a line of drainit's own.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| visible(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(visible).collect())
}

/// The same for a text of several lines, which they stay.
#[must_use]
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    let keep = |c| if c == '\n' { c } else { visible(c) };
    if text.chars().all(|c| keep(c) == c) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(keep).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_harmless() {
        for (text, shown) in [
            ("plain — übrig", "plain — übrig"),
            ("a\nb\r\tc", "a␊b␍ c"),
            ("\u{1b}[31m\u{7}\0\u{7f}", "␛[31m␇␀␡"),
            ("\u{9b}31m\u{202e}\u{2028}", "\u{fffd}31m\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(harmless(text), shown);
            assert_eq!(harmless(shown), shown);
        }
        assert_eq!(harmless_lines("a\n  b\u{1b}"), "a\n  b␛");
    }

    #[test]
    fn every_signal_reads_what_it_writes() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            if number == 32 || number == 33 {
                continue; // the C library's own: they have no name
            }
            assert_eq!(Signal::parse(&signal.to_string()), Some(signal), "{signal}");
            assert_eq!(Signal::parse(&number.to_string()), Some(signal));
        }
    }

    #[test]
    fn signals_are_read_in_every_usual_form() {
        for text in ["TERM", "term", "SIGTERM", "SigTerm", "15"] {
            assert_eq!(Signal::parse(text), Some(Signal::TERM), "{text}");
        }
        assert_eq!(Signal::parse("RTMIN+3").map(Signal::number), Some(37));
        assert_eq!(Signal::parse("SIGRTMAX-1").map(Signal::number), Some(63));
        for text in ["", "0", "65", "-1", "TERMINATE", "RTMIN+31", "RTMAX-31", "RTMIN+", "SIG"] {
            assert_eq!(Signal::parse(text), None, "{text}");
        }
    }

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
