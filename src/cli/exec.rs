//! `drainit exec`: its options.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::config::Address;
use crate::exec;
use crate::exec::options::ExecOptions;
use crate::exec::rewrite::Rewrite;
use crate::exec::with_drain;
use crate::exec::with_drain::{DRAIN_VARIABLES, DrainOptions};
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
        \nDRAINIT_DRAIN_ENVOY, DRAINIT_DRAIN_TIME and DRAINIT_DRAIN_MIN are these options as variables. An option overrides its variable."
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
    #[arg(long, value_name = "ADMIN", value_parser = values::server, help_heading = DRAIN)]
    drain_envoy: Option<Address>,
    /// Longest drain; 0 turns the drain off [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = DRAIN)]
    drain_time: Option<Duration>,
    /// Shortest drain, while clients learn that this instance goes away [default: 5s, at most
    /// --drain-time]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = DRAIN)]
    drain_min: Option<Duration>,
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
    let has_drain = DRAIN_VARIABLES.iter().any(|name| variable(name).is_some());
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
pub(super) fn checked(args: ExecArgs) -> Result<(ExecOptions, Option<DrainOptions>), String> {
    let drain = drain(&args)?;
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
fn drain(args: &ExecArgs) -> Result<Option<DrainOptions>, String> {
    let [of_admin, of_time, of_min] = DRAIN_VARIABLES;
    let admin = given(args.drain_envoy.as_ref(), of_admin, values::server)?;
    let time = given(args.drain_time.as_ref(), of_time, values::duration)?;
    let min = given(args.drain_min.as_ref(), of_min, values::duration)?;
    let Some(admin) = admin else {
        // Without an admin, the variables for the times have no effect and cause no error: an image
        // may set them for all its commands, and drain only one of these commands.
        return match args.drain_time.or(args.drain_min) {
            None => Ok(None),
            Some(_) => Err("--drain-time and --drain-min need --drain-envoy ADMIN".to_owned()),
        };
    };
    Ok(Some(DrainOptions { admin, time, min }))
}

/// The value of an option, or else of its variable.
fn given<T: Clone>(
    option: Option<&T>,
    name: &str,
    read: fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, String> {
    match (option, variable(name)) {
        (Some(value), _) => Ok(Some(value.clone())),
        (None, Some(text)) => {
            read(&text.to_string_lossy()).map(Some).map_err(|why| format!("{name}: {why}"))
        }
        (None, None) => Ok(None),
    }
}

/// A variable of the environment. An empty variable counts as unset.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|text| !text.is_empty())
}
