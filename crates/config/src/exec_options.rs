//! The options of `drainit exec` that stand for keys of a config. `exec` reads them to run the
//! command, and `check --pod` to check a manifest. [`OTHERS`] are the options that stand for no key.

use std::str::FromStr;

use crate::keys::values;
use crate::language::invalid::Invalid;
use crate::types::Signal;

/// An option, and the variable that can replace the option. `key` is the key of a config that the
/// option sets: a key of `drain.envoy`, or one of the keys below.
#[derive(Clone, Copy, Debug)]
pub struct ExecOption {
    pub option: &'static str,
    pub variable: &'static str,
    pub key: &'static str,
}

/// The key `shutdown.grace_period`.
pub const GRACE_PERIOD: &str = "shutdown.grace_period";
/// The key `shutdown.unready_delay`.
pub const UNREADY_DELAY: &str = "shutdown.unready_delay";
/// The key `readiness.timeout`, for a readiness probe that asks Envoy's admin interface.
pub const READINESS: &str = "readiness.timeout";
/// The key `ignore_listeners`, whose value is a list. In the option for this key, commas separate
/// the items.
pub const LISTENERS: &str = "ignore_listeners";

const fn of(option: &'static str, variable: &'static str, key: &'static str) -> ExecOption {
    ExecOption { option, variable, key }
}

/// The options that stand for keys. `exec` does not pass their variables on to its command, so only
/// the outermost `exec` uses these variables.
pub const OPTIONS: [ExecOption; 11] = [
    of("--drain-envoy", "DRAINIT_DRAIN_ENVOY", "admin"),
    of("--drain-time", "DRAINIT_DRAIN_TIME", "time"),
    of("--drain-min", "DRAINIT_DRAIN_MIN", "min"),
    of("--drain-fail-healthcheck", "DRAINIT_DRAIN_FAIL_HEALTHCHECK", "fail_healthcheck"),
    of("--drain-until", "DRAINIT_DRAIN_UNTIL", "until"),
    of("--drain-exit-at", "DRAINIT_DRAIN_EXIT_AT", "exit_at"),
    of("--drain-direction", "DRAINIT_DRAIN_DIRECTION", "direction"),
    of("--drain-ignore-listeners", "DRAINIT_DRAIN_IGNORE_LISTENERS", LISTENERS),
    of("--readiness", "DRAINIT_READINESS", READINESS),
    of("--unready-delay", "DRAINIT_UNREADY_DELAY", UNREADY_DELAY),
    of("--grace-period", "DRAINIT_GRACE_PERIOD", GRACE_PERIOD),
];

impl ExecOption {
    /// Checks a value.
    ///
    /// # Errors
    /// Says why the value is wrong.
    pub fn check(self, text: &str) -> Result<(), Invalid> {
        match self.key {
            "admin" => values::server(text).map(drop),
            "fail_healthcheck" => values::boolean(text).map(drop),
            "until" => values::drain_until(text).map(drop),
            "exit_at" => values::number(text).map(drop),
            "direction" => values::direction(text).map(drop),
            LISTENERS => values::listeners(text).map(drop),
            READINESS | GRACE_PERIOD => values::positive_duration(text).map(drop),
            _ => values::duration(text).map(drop),
        }
    }
}

/// Checks a value. The error says why the value is wrong.
pub type CheckValue = fn(&str) -> Result<(), String>;

/// An option of `exec` that stands for no key of a config.
#[derive(Clone, Copy, Debug)]
pub struct OtherOption {
    /// The letter of the short option, if there is one.
    pub letter: Option<char>,
    pub name: &'static str,
    /// Checks the value; `None` if the option has no value.
    pub check: Option<CheckValue>,
    /// Whether the option may be given more than once.
    pub repeats: bool,
}

const fn other(letter: Option<char>, name: &'static str, check: Option<CheckValue>) -> OtherOption {
    OtherOption { letter, name, check, repeats: false }
}

const fn list(letter: Option<char>, name: &'static str, check: CheckValue) -> OtherOption {
    OtherOption { letter, name, check: Some(check), repeats: true }
}

/// The options that are not in [`OPTIONS`].
pub const OTHERS: [OtherOption; 8] = [
    other(Some('g'), "--group", None),
    list(Some('r'), "--rewrite", |text| text.parse::<Rewrite>().map(drop)),
    list(Some('e'), "--remap-exit", |text| exit_code(text).map(drop)),
    other(Some('p'), "--parent-death-signal", Some(|text| signal(text).map(drop))),
    list(None, "--stop-signal", |text| catchable(text).map(drop)),
    other(Some('s'), "--subreaper", None),
    other(None, "--no-subreaper", None),
    other(Some('v'), "--verbose", None),
];

/// Whether this option of [`OTHERS`] cannot be combined with a drain. `value` is empty for an
/// option without a value.
pub fn contradicts_a_drain(name: &str, value: &str) -> bool {
    match name {
        "--group" | "--rewrite" | "--no-subreaper" => true,
        // SIGKILL would end drainit at once, without a drain.
        "--parent-death-signal" => values::signal(value).is_ok_and(|it| it == Signal::KILL),
        _ => false,
    }
}

fn exit_code(text: &str) -> Result<u8, String> {
    text.parse().map_err(|_| format!("`{text}` is not an exit code: write a number from 0 to 255"))
}

fn signal(text: &str) -> Result<Signal, String> {
    values::signal(text).map_err(|bad| format!("`{text}` is {bad}"))
}

fn catchable(text: &str) -> Result<Signal, String> {
    values::catchable_signal(text).map_err(|bad| format!("`{text}` is {bad}"))
}

/// One rule `S:R` of `--rewrite`: signal R is forwarded when signal S arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    pub from: Signal,
    /// The signal to forward; `None` drops the signal that has arrived.
    pub to: Option<Signal>,
}

/// Parses a rule, such as `TERM:QUIT`, `15:3`, `HUP:0` or `RTMIN+3:TERM`.
impl FromStr for Rewrite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((from, to)) = text.split_once(':') else {
            return Err(
                "write SIGNAL:SIGNAL, such as `TERM:QUIT`, or `HUP:0` to drop it".to_owned()
            );
        };
        let from = signal(from)?;
        if from == Signal::KILL || from == Signal::STOP {
            return Err(format!("{from} never arrives: the kernel acts on it itself"));
        }
        let to = if to.trim() == "0" { None } else { Some(signal(to)?) };
        Ok(Self { from, to })
    }
}
