//! `drainit exec`: its options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Address, Direction, EnvoyDrain};
use crate::exec;
use crate::exec::options::ExecOptions;
use crate::exec::rewrite::Rewrite;
use crate::exec::with_drain;
use crate::exec::with_drain::DrainOptions;
use crate::exec_options::OPTIONS;
use crate::keys::values;
use crate::language::invalid::Invalid;
use crate::types::{Signal, exit_code};

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
    group: bool,
    /// Forward signal R when S arrives; 0 for R drops it. May be repeated
    #[arg(short, long = "rewrite", value_name = "S:R")]
    rewrites: Vec<Rewrite>,
    /// Exit with 0 if the command exits with CODE, such as 143. May be repeated
    #[arg(short = 'e', long = "remap-exit", value_name = "CODE", allow_hyphen_values = true)]
    remap_exit: Vec<u8>,
    /// Signal that drainit gets when its parent dies; SIGKILL also kills the command
    #[arg(short, long, value_name = "SIG", value_parser = values::signal)]
    parent_death_signal: Option<Signal>,
    /// A signal that stops the command. May be repeated [default: SIGTERM, SIGINT and SIGQUIT]
    #[arg(long = "stop-signal", value_name = "SIG", value_parser = values::catchable_signal)]
    stop_signals: Vec<Signal>,
    /// Time from the stop signal to SIGKILL, for the command and its process group. When the command
    /// has ended, the rest of its group gets SIGTERM, and SIGKILL when the time is over [default:
    /// wait for the command only, without a limit]
    #[arg(long, value_name = "DURATION", value_parser = values::positive_duration)]
    grace_period: Option<Duration>,
    /// Inherit orphans, even if drainit is not PID 1. This is the default
    #[arg(short, long, overrides_with = "no_subreaper")]
    subreaper: bool,
    /// Do not inherit orphans if drainit is not PID 1
    #[arg(long, conflicts_with = "grace_period")]
    no_subreaper: bool,
    /// Log signals, starts and exits to stderr
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    drain: DrainFlags,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The options that have a meaning only with a drain: the name, the name of the value, and the
/// help. The options are in a table, because clap would derive large parsers. These parsers would
/// be larger than the code that carries the options out.
const OF_THE_DRAIN: [(&str, &str, &str); 10] = [
    (
        "--drain-envoy",
        "ADMIN",
        "Drain an Envoy with its admin at ADMIN: http://127.0.0.1:9901 or unix:/path",
    ),
    ("--drain-time", "DURATION", "Longest drain; 0 turns the drain off [default: 15s]"),
    (
        "--drain-min",
        "DURATION",
        "Shortest drain, while clients learn that this instance goes away [default: 5s, at most --drain-time]",
    ),
    (
        "--drain-fail-healthcheck",
        "BOOL",
        "Also make every response close its connection [default: true, but false with --drain-direction inbound]",
    ),
    (
        "--drain-until",
        "WHAT",
        "The end of the drain: no `connections`, or no `requests` [default: connections]",
    ),
    (
        "--drain-exit-at",
        "NUMBER",
        "The drain is over when at most this number is left [default: 0]",
    ),
    (
        "--drain-direction",
        "WHICH",
        "The listeners to drain: `all`, or those that are `inbound` [default: all]",
    ),
    (
        "--drain-ignore-listeners",
        "NAME",
        "A listener whose connections do not count, such as `prometheus`. May be repeated, or a list with commas",
    ),
    (
        "--readiness",
        "DURATION",
        "Envoy must be ready within this time [default: the command is ready at once]",
    ),
    (
        "--unready-delay",
        "DURATION",
        "Stay ready for this time of the drain, for a load balancer that sends to whole nodes [default: 0]",
    ),
];

/// The values of [`OF_THE_DRAIN`] on the command line.
#[derive(Debug, Default)]
struct DrainFlags([Option<String>; OF_THE_DRAIN.len()]);

impl DrainFlags {
    fn text(&self, option: &str) -> Option<String> {
        let place = OF_THE_DRAIN.iter().position(|(name, ..)| *name == option)?;
        self.0[place].clone()
    }
}

impl Args for DrainFlags {
    fn augment_args(mut command: Command) -> Command {
        for (option, value, help) in OF_THE_DRAIN {
            let name = &option[2..];
            let arg = Arg::new(name).long(name).value_name(value).help(help).help_heading(DRAIN);
            let is_list = option == "--drain-ignore-listeners";
            let action = if is_list { ArgAction::Append } else { ArgAction::Set };
            command = command.arg(arg.action(action));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DrainFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let text = |(option, ..): (&str, &str, &str)| {
            let values = matches.get_many::<String>(&option[2..])?;
            Some(values.map(String::as_str).collect::<Vec<_>>().join(","))
        };
        Ok(Self(OF_THE_DRAIN.map(text)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs `drainit exec [--] CMD` if there is no option, and no variable that sets an option. Returns
/// `None` for any other command line.
///
/// Most callers use this form. clap would take 250,000 instructions to parse this form, four times
/// as many as everything else takes.
pub(super) fn exec_plainly(args: &[OsString]) -> Option<u8> {
    let (verb, rest) = args.get(1..)?.split_first()?;
    let command = match rest.split_first()? {
        (first, command) if first == "--" => command,
        (first, _) if first.as_encoded_bytes().starts_with(b"-") => return None,
        _ => rest,
    };
    let is_set = OPTIONS.iter().any(|it| variable(it.variable).is_some());
    let is_plain = verb == "exec" && !command.is_empty() && !is_set;
    is_plain.then(|| exec::run(&ExecOptions::new(command.to_vec())))
}

/// Runs the command, and returns the exit code for drainit.
pub(super) fn exec(args: ExecArgs) -> u8 {
    match checked(args) {
        Ok((options, Some(drain))) => with_drain::run(&options, &drain),
        Ok((options, None)) => exec::run(&options),
        Err(message) => exec::fail(&message, exit_code::USAGE),
    }
}

/// Converts the arguments to options. The error says which value is wrong, or why the arguments
/// contradict each other.
pub(super) fn checked(mut args: ExecArgs) -> Result<(ExecOptions, Option<DrainOptions>), String> {
    let drain = drain(&mut args)?;
    let mut options = ExecOptions::new(args.command);
    if !args.stop_signals.is_empty() {
        options.stop_signals = args.stop_signals;
    }
    options.group = args.group;
    options.rewrites = args.rewrites.into_iter().collect();
    options.remap_exit = args.remap_exit;
    options.parent_death_signal = args.parent_death_signal;
    options.grace_period = args.grace_period;
    options.subreaper = !args.no_subreaper;
    options.verbose = args.verbose;
    if let Some(drain) = &drain {
        with_drain::config(&options, drain)?;
    }
    Ok((options, drain))
}

/// Reads the options of the drain, and for each missing option its variable.
fn drain(args: &mut ExecArgs) -> Result<Option<DrainOptions>, String> {
    let of = &args.drain;
    let admin = given(of, "--drain-envoy", values::server)?;
    let drain = DrainOptions {
        time: given(of, "--drain-time", values::duration)?,
        min: given(of, "--drain-min", values::duration)?,
        readiness: given(of, "--readiness", values::positive_duration)?,
        unready_delay: given(of, "--unready-delay", values::duration)?.unwrap_or_default(),
        envoy: EnvoyDrain::at(admin.clone().unwrap_or(Address::Unix(PathBuf::new()))),
    };
    let direction = given(of, "--drain-direction", values::direction)?;
    let envoy = EnvoyDrain {
        fail_healthcheck: given(of, "--drain-fail-healthcheck", values::boolean)?
            .unwrap_or(direction != Some(Direction::Inbound)),
        until: given(of, "--drain-until", values::drain_until)?.unwrap_or_default(),
        exit_at: given(of, "--drain-exit-at", values::number)?.unwrap_or_default(),
        ignore_listeners: given(of, "--drain-ignore-listeners", values::listeners)?
            .unwrap_or_default(),
        direction,
        ..drain.envoy
    };
    let grace_period = match args.grace_period {
        Some(_) => None,
        None => given(of, "--grace-period", values::positive_duration)?,
    };
    if admin.is_none() {
        // Without an admin there is no drain. Variables of the drain then have no effect, and are
        // not an error: an image may set the variables for all of its commands, although only one
        // command has a drain.
        let written = OF_THE_DRAIN.iter().find(|(option, ..)| of.text(option).is_some());
        return match written {
            None => Ok(None),
            Some((option, ..)) => Err(format!("{option} needs --drain-envoy ADMIN")),
        };
    }
    args.grace_period = args.grace_period.or(grace_period);
    Ok(Some(DrainOptions { envoy, ..drain }))
}

/// The value of an option, or of its variable if the option is missing.
fn given<T>(
    args: &DrainFlags,
    option: &str,
    read: fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, String> {
    let name = OPTIONS.iter().find(|it| it.option == option).map(|it| it.variable);
    let of_variable = || Some((name?, variable(name?)?.to_string_lossy().into_owned()));
    match args.text(option).map(|text| (option, text)).or_else(of_variable) {
        Some((name, text)) => read(&text).map(Some).map_err(|why| format!("{name}: {why}")),
        None => Ok(None),
    }
}

/// A variable of the environment. An empty variable counts as unset.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::DrainUntil;
    use crate::exec_options::GRACE_PERIOD;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ExecArgs,
    }

    fn parsed(options: &str) -> ExecArgs {
        let words = ["exec"].into_iter().chain(options.split_whitespace()).chain(["--", "envoy"]);
        Line::try_parse_from(words).unwrap().args
    }

    fn drained(options: &str) -> EnvoyDrain {
        let options = format!("--drain-envoy unix:/a {options}");
        checked(parsed(&options)).unwrap().1.unwrap().envoy
    }

    // holds: C880
    #[test]
    fn every_option_of_the_drain_sets_a_key() {
        let of = EnvoyDrain::at(Address::Unix("/a".into()));
        assert_eq!(drained(""), of);
        let listeners = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let names = "--drain-ignore-listeners a,b --drain-ignore-listeners c";
        let cases = [
            ("--drain-until requests", EnvoyDrain { until: DrainUntil::Requests, ..of.clone() }),
            ("--drain-exit-at 2", EnvoyDrain { exit_at: 2, ..of.clone() }),
            (
                "--drain-fail-healthcheck false",
                EnvoyDrain { fail_healthcheck: false, ..of.clone() },
            ),
            (names, EnvoyDrain { ignore_listeners: listeners(&["a", "b", "c"]), ..of.clone() }),
        ];
        for (options, expected) in cases {
            assert_eq!(drained(options), expected, "{options}");
        }
        let inbound = drained("--drain-direction inbound");
        assert_eq!(
            (inbound.direction, inbound.fail_healthcheck),
            (Some(Direction::Inbound), false)
        );
        assert!(
            drained("--drain-direction inbound --drain-fail-healthcheck true").fail_healthcheck
        );
        // Each of these options exists, and is refused without a drain.
        for it in OPTIONS.into_iter().filter(|it| !["admin", GRACE_PERIOD].contains(&it.key)) {
            let value = match it.key {
                "until" => "requests",
                "direction" => "all",
                "fail_healthcheck" => "true",
                _ => "1",
            };
            let why = checked(parsed(&format!("{} {value}", it.option))).unwrap_err();
            assert_eq!(why, format!("{} needs --drain-envoy ADMIN", it.option));
            // The names of options and variables follow one rule.
            let name = it.option.trim_start_matches('-').to_uppercase().replace('-', "_");
            assert_eq!(it.variable, format!("DRAINIT_{name}"));
        }
    }
}
