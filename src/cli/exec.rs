//! `drainit exec`: its options.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::config::{Address, Direction, EnvoyDrain};
use crate::exec;
use crate::exec::options::ExecOptions;
use crate::exec::rewrite::Rewrite;
use crate::exec::with_drain;
use crate::exec::with_drain::DrainOptions;
use crate::exec_options::{GRACE_PERIOD, OPTIONS};
use crate::load::values;
use crate::load::values::Invalid;
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
    /// Inherit orphans even if drainit is not PID 1 (the default)
    #[arg(short, long, overrides_with = "no_subreaper")]
    subreaper: bool,
    /// Do not inherit orphans if drainit is not PID 1
    #[arg(long, conflicts_with = "grace_period")]
    no_subreaper: bool,
    /// Log signals, starts and exits to stderr
    #[arg(short, long)]
    verbose: bool,
    /// Drain an Envoy with its admin at ADMIN: http://127.0.0.1:9901 or unix:/path
    #[arg(long, value_name = "ADMIN", help_heading = DRAIN)]
    drain_envoy: Option<String>,
    /// Longest drain; 0 turns the drain off [default: 15s]
    #[arg(long, value_name = "DURATION", help_heading = DRAIN)]
    drain_time: Option<String>,
    /// Shortest drain, while clients learn that this instance goes away [default: 5s, at most
    /// --drain-time]
    #[arg(long, value_name = "DURATION", help_heading = DRAIN)]
    drain_min: Option<String>,
    /// Also make every response close its connection [default: true, but false with
    /// --drain-direction inbound]
    #[arg(long, value_name = "BOOL", help_heading = DRAIN)]
    drain_fail_healthcheck: Option<String>,
    /// The end of the drain: no `connections`, or no `requests` [default: connections]
    #[arg(long, value_name = "WHAT", help_heading = DRAIN)]
    drain_until: Option<String>,
    /// The drain is over when at most this number is left [default: 0]
    #[arg(long, value_name = "NUMBER", help_heading = DRAIN)]
    drain_exit_at: Option<String>,
    /// The listeners to drain: `all`, or those that are `inbound` [default: all]
    #[arg(long, value_name = "WHICH", help_heading = DRAIN)]
    drain_direction: Option<String>,
    /// A listener whose connections do not count, such as `prometheus`. May be repeated, or a list
    /// with commas
    #[arg(long, value_name = "NAME", help_heading = DRAIN)]
    drain_ignore_listeners: Vec<String>,
    /// Envoy must be ready within this time [default: the command is ready at once]
    #[arg(long, value_name = "DURATION", help_heading = DRAIN)]
    readiness: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs `drainit exec [--] CMD` without options and without a drain; `None` for any other command
/// line.
///
/// This is the usual form. clap would take 250,000 instructions for it, four times as many as
/// everything else.
pub(super) fn exec_plainly(args: &[OsString]) -> Option<u8> {
    let (verb, rest) = args.get(1..)?.split_first()?;
    let command = match rest.split_first()? {
        (first, command) if first == "--" => command,
        (first, _) if first.as_encoded_bytes().starts_with(b"-") => return None,
        _ => rest,
    };
    let has_drain =
        OPTIONS.iter().any(|it| it.key != GRACE_PERIOD && variable(it.variable).is_some());
    let is_plain = verb == "exec" && !command.is_empty() && !has_drain;
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

/// Converts the arguments to options. The error says why they contradict each other.
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

/// Reads the options of the drain, and for each missing option its variable. clap leaves them as
/// texts, because a parser of its own for each type would be larger than all else here.
fn drain(args: &mut ExecArgs) -> Result<Option<DrainOptions>, String> {
    let ignored = &args.drain_ignore_listeners;
    let ignored = (!ignored.is_empty()).then(|| ignored.join(","));
    let needs_drain = [
        ("--drain-time", &args.drain_time),
        ("--drain-min", &args.drain_min),
        ("--drain-fail-healthcheck", &args.drain_fail_healthcheck),
        ("--drain-until", &args.drain_until),
        ("--drain-exit-at", &args.drain_exit_at),
        ("--drain-direction", &args.drain_direction),
        ("--drain-ignore-listeners", &ignored),
        ("--readiness", &args.readiness),
    ];
    let admin = given(("--drain-envoy", &args.drain_envoy), values::server)?;
    let [time, min, fails, until, exit_at, direction, listeners, readiness] = needs_drain;
    let drain = DrainOptions {
        time: given(time, values::duration)?,
        min: given(min, values::duration)?,
        readiness: given(readiness, values::positive_duration)?,
        envoy: EnvoyDrain::at(admin.clone().unwrap_or(Address::Unix(PathBuf::new()))),
    };
    let direction = given(direction, values::direction)?;
    let envoy = EnvoyDrain {
        fail_healthcheck: given(fails, values::boolean)?
            .unwrap_or(direction != Some(Direction::Inbound)),
        until: given(until, values::drain_until)?.unwrap_or_default(),
        exit_at: given(exit_at, values::number)?.unwrap_or_default(),
        ignore_listeners: given(listeners, values::listeners)?.unwrap_or_default(),
        direction,
        ..drain.envoy
    };
    if admin.is_none() {
        // Without an admin, the variables have no effect and cause no error: an image may set them
        // for all its commands, and drain only one of these commands.
        return match needs_drain.iter().find(|(_, value)| value.is_some()) {
            None => Ok(None),
            Some((option, _)) => Err(format!("{option} needs --drain-envoy ADMIN")),
        };
    }
    if args.grace_period.is_none() {
        args.grace_period = given(("--grace-period", &None), values::positive_duration)?;
    }
    Ok(Some(DrainOptions { envoy, ..drain }))
}

/// The value of an option, or else of its variable.
fn given<T>(
    (option, text): (&str, &Option<String>),
    read: fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, String> {
    let name = OPTIONS.iter().find(|it| it.option == option).map(|it| it.variable);
    let of_variable = || Some((name?, variable(name?)?.to_string_lossy().into_owned()));
    match text.clone().map(|text| (option, text)).or_else(of_variable) {
        Some((name, text)) => read(&text).map(Some).map_err(|why| format!("{name}: {why}")),
        None => Ok(None),
    }
}

/// A variable of the environment. An empty variable counts as unset.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::DrainUntil;

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
        // Each option of the table exists, and without a drain it is refused.
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
