//! `drainit exec`: its options, and the config of a command with a drain.

mod config;

pub use config::cut_short;

use std::ffi::OsString;
use std::fmt::{self, Display};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::keys::values;
use crate::keys::{Address, Config, Direction, EnvoyDrain};
use crate::language::invalid::Invalid;
use crate::rewrite::{Rewrite, Rewrites};
use crate::types::{Signal, exit_code};
use crate::value::Value;

const DRAIN: &str = "Drain before the stop";

/// Runs one command without a config.
#[derive(Debug, Args)]
#[command(
    override_usage = "drainit exec [OPTIONS] [--] CMD [ARGS]...",
    after_help = "The exit code is that of the command, 128+N if signal N ended it, 127 if it does not exist, 126 if it \
        cannot be executed.\nSignals are names or numbers: TERM, SIGTERM, 15, RTMIN+3. \
        Durations are 500ms, 15s, 2m, or a number of seconds.\n\
        Without a drain, the command gets stdin, with its terminal, and the descriptors of a socket activation (LISTEN_FDS). \
        All other descriptors from 3 on are closed.\n\
        With a drain, its stdin is /dev/null, shutdown and exit codes are those of `drainit run`, and the default grace period is 30s. \
        The stop signal is sent when the command is drained or --drain-time is over:\n\
        \n  drainit exec --drain-envoy http://127.0.0.1:9901 --drain-time 15s -- envoy -c /etc/envoy.yaml\n\
        \nEach option of the drain is also a variable: --drain-time is DRAINIT_DRAIN_TIME. An option overrides its variable."
)]
pub struct ExecArgs {
    /// Send signals to the whole process group of the command
    #[arg(short, long)]
    pub group: bool,
    /// Forward signal R when S arrives; 0 for R drops it. May be repeated
    #[arg(short, long = "rewrite", value_name = "S:R", value_parser = rewrite)]
    pub rewrites: Vec<Value<Rewrite>>,
    /// Exit with 0 if the command exits with CODE, such as 143. May be repeated
    #[arg(short = 'e', long = "remap-exit", value_name = "CODE", value_parser = code, allow_hyphen_values = true)]
    pub remap_exit: Vec<Value<u8>>,
    /// Signal that drainit gets when its parent dies; SIGKILL also kills the command
    #[arg(short, long, value_name = "SIG", value_parser = signal)]
    pub parent_death_signal: Option<Value<Signal>>,
    /// A signal that stops the command. May be repeated [default: SIGTERM, SIGINT and SIGQUIT]
    #[arg(long = "stop-signal", value_name = "SIG", value_parser = catchable)]
    pub stop_signals: Vec<Value<Signal>>,
    #[command(flatten)]
    pub keys: KeyOptions,
    /// Inherit orphans, even if drainit is not PID 1. This is the default
    #[arg(short, long, overrides_with = "no_subreaper")]
    pub subreaper: bool,
    /// Do not inherit orphans if drainit is not PID 1
    #[arg(long, conflicts_with = "grace-period")]
    pub no_subreaper: bool,
    /// Log signals, starts and exits to stderr
    #[arg(short, long)]
    pub verbose: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

fn rewrite(text: &str) -> Result<Value<Rewrite>, Invalid> {
    Value::read(text, Rewrite::parse)
}

fn code(text: &str) -> Result<Value<u8>, Invalid> {
    let help = "write a number from 0 to 255";
    Value::read(text, |text| text.parse().map_err(|_| Invalid::new("not an exit code", help)))
}

fn signal(text: &str) -> Result<Value<Signal>, Invalid> {
    Value::read(text, values::signal)
}

fn catchable(text: &str) -> Result<Value<Signal>, Invalid> {
    Value::read(text, values::catchable_signal)
}

/// An option that stands for a key of a config. A variable can replace the option.
#[derive(Clone, Copy, Debug)]
pub struct KeyOption {
    pub name: &'static str,
    pub variable: &'static str,
    value: &'static str,
    help: &'static str,
}

/// Declares the options that stand for keys: the constant with the name of each, the option, its
/// variable, its value, and its help.
macro_rules! key_options {
    ($($(#[doc = $help:literal])+ $vis:vis $name:ident $option:literal $variable:ident $value:ident;)+) => {
        $($vis const $name: &str = $option;)+

        /// The options that stand for keys. `exec` does not pass their variables on to its command,
        /// so only the outermost `exec` uses these variables. The options are in a table, because
        /// clap would derive large parsers. These parsers would be larger than the code that carries
        /// the options out.
        pub const KEY_OPTIONS: [KeyOption; [$($option),+].len()] = [$(KeyOption {
            name: $option,
            variable: stringify!($variable),
            value: stringify!($value),
            help: concat!($($help),+).trim_ascii_start(),
        }),+];
    };
}

key_options! {
    /// Drain an Envoy with its admin at ADMIN: http://127.0.0.1:9901 or unix:/path
    pub ADMIN "--drain-envoy" DRAINIT_DRAIN_ENVOY ADMIN;
    /// Longest drain; 0 turns the drain off [default: what --grace-period leaves]
    pub TIME "--drain-time" DRAINIT_DRAIN_TIME DURATION;
    /// Shortest drain, while clients learn that this instance goes away [default: 5s, at most
    /// --drain-time]
    pub MIN "--drain-min" DRAINIT_DRAIN_MIN DURATION;
    /// Also make every response close its connection [default: true, but false with
    /// --drain-direction inbound]
    FAIL_HEALTHCHECK "--drain-fail-healthcheck" DRAINIT_DRAIN_FAIL_HEALTHCHECK BOOL;
    /// The end of the drain: no `connections`, or no `requests` [default: connections]
    UNTIL "--drain-until" DRAINIT_DRAIN_UNTIL WHAT;
    /// The drain is over when at most this number is left [default: 0]
    EXIT_AT "--drain-exit-at" DRAINIT_DRAIN_EXIT_AT NUMBER;
    /// The listeners to drain: `all`, or those that are `inbound` [default: all]
    DIRECTION "--drain-direction" DRAINIT_DRAIN_DIRECTION WHICH;
    /// A listener whose connections do not count, such as `prometheus`. May be repeated, or a list
    /// with commas
    pub LISTENERS "--drain-ignore-listeners" DRAINIT_DRAIN_IGNORE_LISTENERS NAME;
    /// Envoy must be ready within this time [default: the command is ready at once]
    pub READINESS "--readiness" DRAINIT_READINESS DURATION;
    /// Stay ready for this time of the drain, for a load balancer that sends to whole nodes
    /// [default: 0]
    pub UNREADY_DELAY "--unready-delay" DRAINIT_UNREADY_DELAY DURATION;
    /// Time from the stop signal to SIGKILL, for the command and its process group. When the
    /// command has ended, the rest of its group gets SIGTERM, and SIGKILL when the time is over
    /// [default: wait for the command only, without a limit]
    pub GRACE_PERIOD "--grace-period" DRAINIT_GRACE_PERIOD DURATION;
}

/// The values of [`KEY_OPTIONS`] on the command line.
#[derive(Debug, Default)]
pub struct KeyOptions([Option<String>; KEY_OPTIONS.len()]);

impl KeyOptions {
    pub fn text(&self, option: &str) -> Option<&str> {
        let place = KEY_OPTIONS.iter().position(|it| it.name == option)?;
        self.0[place].as_deref()
    }
}

impl Args for KeyOptions {
    fn augment_args(mut command: Command) -> Command {
        for KeyOption { name, value, help, .. } in KEY_OPTIONS {
            let long = &name[2..];
            let arg = Arg::new(long).long(long).value_name(value).help(help);
            let heading = (name != GRACE_PERIOD).then_some(DRAIN);
            let action = if name == LISTENERS { ArgAction::Append } else { ArgAction::Set };
            command = command.arg(arg.help_heading(heading).action(action));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for KeyOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |it: KeyOption| {
            let values = matches.get_many::<String>(&it.name[2..])?;
            Some(values.map(String::as_str).collect::<Vec<_>>().join(","))
        };
        Ok(Self(KEY_OPTIONS.map(text)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The options of `exec`, without those of the drain.
#[derive(Clone, Debug)]
pub struct ExecOptions {
    pub command: Vec<OsString>,
    /// Whether signals go to the whole process group of the command.
    pub group: bool,
    pub rewrites: Rewrites,
    /// The exit codes of the command that become 0.
    pub remap_exit: Vec<u8>,
    /// The signal that drainit gets when its parent dies, if any.
    pub parent_death_signal: Option<Signal>,
    pub stop_signals: Vec<Signal>,
    /// The time from the stop signal to SIGKILL, for the command and the rest of its process group.
    /// `None` means that drainit waits for the command only, without a limit.
    pub grace_period: Option<Duration>,
    /// Whether drainit inherits orphans although it is not PID 1.
    pub subreaper: bool,
    pub verbose: bool,
}

impl ExecOptions {
    /// A command with the default options.
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            command,
            group: false,
            rewrites: Rewrites::default(),
            remap_exit: Vec::new(),
            parent_death_signal: None,
            stop_signals: vec![Signal::TERM, Signal::INT, Signal::QUIT],
            grace_period: None,
            subreaper: true,
            verbose: false,
        }
    }

    /// The options of tini and dumb-init before their command line is read. Every signal except
    /// SIGCHLD is forwarded, and none counts as a stop signal.
    pub fn forwarding_all() -> Self {
        let mut options = Self::new(Vec::new());
        options.stop_signals.clear();
        options.subreaper = false;
        options.rewrites.set(Signal::CHLD, None);
        options
    }

    /// Whether this signal stops the command. A signal that a rule drops does not stop the command.
    pub fn stops(&self, signal: Signal) -> bool {
        self.stop_signals.contains(&signal) && self.rewrites.of(signal).is_some()
    }

    pub fn code(&self, code: u8) -> u8 {
        if self.remap_exit.contains(&code) { exit_code::OK } else { code }
    }
}

/// The options of `exec` for the drain of an Envoy.
#[derive(Clone, Debug)]
pub struct DrainOptions {
    /// The keys of `drain.envoy`, except `time` and `min`.
    pub envoy: EnvoyDrain,
    /// The longest drain; `None` means the default of a config. Zero turns the drain off.
    pub time: Option<Duration>,
    /// The shortest drain. `None` means the default of a config. This default is shortened if the
    /// longest drain, or the grace period less its reserve, is shorter.
    pub min: Option<Duration>,
    /// How long Envoy may take to get ready; `None` means that the command is ready at once.
    pub readiness: Option<Duration>,
    /// How long drainit and Envoy still say that they are ready, after the drain has begun.
    pub unready_delay: Duration,
}

/// The kind of a mistake in an option or a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Value,
    /// The option has a meaning only with a drain.
    NeedsDrain,
    /// The option cannot be used with a drain.
    WithDrain,
    /// The values do not fit together.
    Times,
}

/// The reason why `exec` refuses its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub wrong: Wrong,
    /// The option or the variable that is wrong.
    pub name: &'static str,
    why: String,
    /// The remedy; empty if the reason says it.
    pub help: String,
}

impl Refusal {
    fn new(wrong: Wrong, name: &'static str, why: impl Into<String>) -> Self {
        Self { wrong, name, why: why.into(), help: String::new() }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A variable of the environment; `None` if it is unset or empty.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A command without a drain, or a command with a drain and its config.
pub type Checked = (ExecOptions, Option<(DrainOptions, Box<Config>)>);

impl ExecArgs {
    /// Converts the arguments to options. Values that are not known have their defaults, and
    /// `grace_period` stands for a grace period that is not known.
    ///
    /// # Errors
    /// Says which value is wrong, or why the arguments contradict each other.
    pub fn checked(
        self,
        variable: Variables<'_>,
        grace_period: Duration,
    ) -> Result<Checked, Refusal> {
        let known = |signal: Value<Signal>| signal.known();
        let mut options = ExecOptions::new(Vec::new());
        // A signal that is not known may be any signal, so the default signals stay.
        let stop_signals: Option<Vec<_>> = self.stop_signals.iter().map(|it| it.known()).collect();
        options.stop_signals =
            stop_signals.filter(|it| !it.is_empty()).unwrap_or(options.stop_signals);
        options.group = self.group;
        options.rewrites = self.rewrites.iter().filter_map(|it| it.known()).collect();
        options.remap_exit = self.remap_exit.iter().filter_map(|it| it.known()).collect();
        options.parent_death_signal = self.parent_death_signal.and_then(known);
        options.subreaper = !self.no_subreaper;
        options.verbose = self.verbose;
        let rewrites = !self.rewrites.is_empty();
        let read = Reader { options: &self.keys, variable, grace_period };
        let drain = read.drain()?;
        let with_variable = drain.is_some();
        options.grace_period = read.grace_period(with_variable)?;
        options.command = self.command;
        let Some(drain) = drain else { return Ok((options, None)) };
        let config = config::config(&options, &drain, rewrites)?;
        Ok((options, Some((drain, Box::new(config)))))
    }
}

struct Reader<'a> {
    options: &'a KeyOptions,
    variable: Variables<'a>,
    grace_period: Duration,
}

impl Reader<'_> {
    /// Reads the options of the drain, and for each missing option its variable.
    fn drain(&self) -> Result<Option<DrainOptions>, Refusal> {
        let admin = self.value_of(ADMIN, values::server)?;
        let time = self.value_of(TIME, values::duration)?;
        let min = self.value_of(MIN, values::duration)?;
        let readiness = self.value_of(READINESS, values::positive_duration)?;
        let unready_delay = self.value_of(UNREADY_DELAY, values::duration)?.and_then(Value::known);
        let direction = self.value_of(DIRECTION, values::direction)?.and_then(Value::known);
        let fail_healthcheck =
            self.value_of(FAIL_HEALTHCHECK, values::boolean)?.and_then(Value::known);
        let until = self.value_of(UNTIL, values::drain_until)?.and_then(Value::known);
        let exit_at = self.value_of(EXIT_AT, values::number)?.and_then(Value::known);
        let listeners = self.value_of(LISTENERS, values::listeners)?.and_then(Value::known);
        self.grace_period(true)?;
        let Some(admin) = admin else {
            // Without an admin there is no drain. Variables of the drain then have no effect, and
            // are not an error: an image may set the variables for all of its commands, although
            // only one command has a drain.
            let of_the_drain = KEY_OPTIONS.iter().filter(|it| it.name != GRACE_PERIOD);
            let mut written = of_the_drain.filter(|it| self.options.text(it.name).is_some());
            return written.next().map_or(Ok(None), |it| {
                Err(Refusal::new(
                    Wrong::NeedsDrain,
                    it.name,
                    format!("{} needs --drain-envoy ADMIN", it.name),
                ))
            });
        };
        let admin = admin.known().unwrap_or(Address::Unix("/unknown".into()));
        let is_min_known = min != Some(Value::Unknown);
        let min = min.and_then(Value::known);
        let envoy = EnvoyDrain {
            fail_healthcheck: fail_healthcheck.unwrap_or(direction != Some(Direction::Inbound)),
            until: until.unwrap_or_default(),
            exit_at: exit_at.unwrap_or_default(),
            ignore_listeners: listeners.unwrap_or_default(),
            direction,
            ..EnvoyDrain::at(admin)
        };
        Ok(Some(DrainOptions {
            envoy,
            // A time that is not known is long enough for `min`.
            time: time.and_then(Value::known),
            min,
            readiness: readiness.map(|it| it.known().unwrap_or(Duration::from_secs(30))),
            // If `min` is not known, nobody knows whether the delay fits.
            unready_delay: unready_delay.filter(|_| is_min_known).unwrap_or_default(),
        }))
    }

    fn grace_period(&self, with_variable: bool) -> Result<Option<Duration>, Refusal> {
        if !with_variable && self.options.text(GRACE_PERIOD).is_none() {
            return Ok(None);
        }
        let given = self.value_of(GRACE_PERIOD, values::positive_duration)?;
        Ok(given.map(|it| it.known().unwrap_or(self.grace_period)))
    }

    /// The value of an option, or of its variable if the option is missing.
    fn value_of<T>(
        &self,
        option: &'static str,
        read: fn(&str) -> Result<T, Invalid>,
    ) -> Result<Option<Value<T>>, Refusal> {
        let variable = KEY_OPTIONS.iter().find(|it| it.name == option).map(|it| it.variable);
        let of_variable = || Some((variable?, (self.variable)(variable?)?));
        let written = self.options.text(option).map(|text| (option, text.to_owned()));
        let Some((name, text)) = written.or_else(of_variable) else { return Ok(None) };
        let value = Value::read(&text, read);
        value.map(Some).map_err(|Invalid { why, help }| Refusal {
            wrong: Wrong::Value,
            name,
            why: format!("`{name}` is `{text}`: {why}"),
            help,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::keys::DrainUntil;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExecArgs,
    }

    fn parsed(options: &str) -> ExecArgs {
        let words = ["exec"].into_iter().chain(options.split_whitespace()).chain(["--", "envoy"]);
        Line::try_parse_from(words).unwrap().args
    }

    fn checked(options: &str) -> Result<Checked, Refusal> {
        parsed(options).checked(&|_| None, Duration::from_secs(30))
    }

    fn drained(options: &str) -> EnvoyDrain {
        let options = format!("--drain-envoy unix:/a {options}");
        checked(&options).unwrap().1.unwrap().0.envoy
    }

    // holds: C880
    #[test]
    fn every_option_of_the_drain_sets_a_key() {
        let of = || EnvoyDrain::at(Address::Unix("/a".into()));
        assert_eq!(drained(""), of());
        let listeners = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let names = "--drain-ignore-listeners a,b --drain-ignore-listeners c";
        let cases = [
            ("--drain-until requests", EnvoyDrain { until: DrainUntil::Requests, ..of() }),
            ("--drain-exit-at 2", EnvoyDrain { exit_at: 2, ..of() }),
            ("--drain-fail-healthcheck false", EnvoyDrain { fail_healthcheck: false, ..of() }),
            (names, EnvoyDrain { ignore_listeners: listeners(&["a", "b", "c"]), ..of() }),
        ];
        for (options, expected) in cases {
            assert_eq!(drained(options), expected, "{options}");
        }
        let inbound = drained("--drain-direction inbound");
        assert!(inbound.direction == Some(Direction::Inbound) && !inbound.fail_healthcheck);
        let both = drained("--drain-direction inbound --drain-fail-healthcheck true");
        assert!(both.fail_healthcheck);
        // Each of these options exists, and is refused without a drain.
        for it in KEY_OPTIONS.into_iter().filter(|it| ![ADMIN, GRACE_PERIOD].contains(&it.name)) {
            let value = match it.name {
                UNTIL => "requests",
                DIRECTION => "all",
                FAIL_HEALTHCHECK => "true",
                _ => "1",
            };
            let why = checked(&format!("{} {value}", it.name)).unwrap_err().to_string();
            assert_eq!(why, format!("{} needs --drain-envoy ADMIN", it.name));
            // The names of options and variables follow one rule.
            let name = it.name.trim_start_matches('-').to_uppercase().replace('-', "_");
            assert_eq!(it.variable, format!("DRAINIT_{name}"));
        }
    }

    /// A value of a variable that is not the default of its option.
    fn other_value(name: &str) -> &'static str {
        match name {
            ADMIN => "unix:/a",
            UNTIL => "requests",
            DIRECTION => "inbound",
            FAIL_HEALTHCHECK => "false",
            LISTENERS => "a,b",
            EXIT_AT => "2",
            _ => "7s",
        }
    }

    // holds: C420, C421
    #[test]
    fn a_variable_alone_changes_a_single_key() {
        let (plain, _) = checked("").unwrap();
        let with_drain = checked("--drain-envoy unix:/b").unwrap();
        for it in KEY_OPTIONS {
            let value = other_value(it.name);
            let with_variable = |options: &str, value: &str| {
                let variable = |name: &str| (name == it.variable).then(|| value.to_owned());
                parsed(options).checked(&variable, Duration::from_secs(30))
            };
            // Without a drain, a command runs as if the variable were missing.
            let (options, drain) = with_variable("", value).unwrap();
            assert_eq!(drain.is_some(), it.name == ADMIN, "{}", it.variable);
            if drain.is_none() {
                assert_eq!(format!("{options:?}"), format!("{plain:?}"), "{}", it.variable);
            }
            // With a drain, the variable does what the option does, and an option overrides it.
            let drained = with_variable("--drain-envoy unix:/b", value).unwrap();
            let of_option = || checked(&format!("--drain-envoy unix:/b {} {value}", it.name));
            let expected = if it.name == ADMIN { with_drain.clone() } else { of_option().unwrap() };
            assert_eq!(format!("{drained:?}"), format!("{expected:?}"), "{}", it.variable);
            let is_other = format!("{drained:?}") != format!("{with_drain:?}");
            assert_eq!(is_other, it.name != ADMIN, "{}", it.variable);
            // A wrong value is an error of the variable, even without a drain.
            if it.name != LISTENERS {
                let refused = with_variable("", "-").map(drop).unwrap_err();
                assert_eq!((refused.wrong, refused.name), (Wrong::Value, it.variable));
            }
        }
    }
}
