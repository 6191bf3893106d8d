//! `drainit exec`: its options.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::cli::exec_drain::DrainArgs;
use crate::cli::values::{duration, positive};
use crate::config::Drain;
use crate::exec;
use crate::exec::options::ExecOptions;
use crate::exec::rewrite::{Rewrite, signal};
use crate::exec::with_drain;
use crate::exec::with_drain::DrainOptions;
use crate::types::{Signal, exit_code, human};

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
        \n  drainit exec --drain-envoy http://127.0.0.1:9901 --drain-time 15s -- envoy -c /etc/envoy.yaml"
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
    /// Receive SIG when the parent of drainit dies; KILL kills the command, too
    #[arg(short, long, value_name = "SIG", value_parser = signal)]
    parent_death_signal: Option<Signal>,
    /// A signal that stops the command. May be repeated [default: TERM, INT and QUIT]
    #[arg(long = "stop-signal", value_name = "SIG", value_parser = stop_signal)]
    stop_signals: Vec<Signal>,
    /// Time from the stop signal to KILL, for the command and its process group. When the command
    /// has ended, the rest of its group gets TERM, and KILL when the time is over [default: wait
    /// for the command only, without a limit]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    grace_period: Option<Duration>,
    /// Exit when all descendants have ended. After a stop signal they get TERM when the command has
    /// ended, and KILL when the grace period (default 10s) is over
    #[arg(long)]
    wait_all: bool,
    /// Forward a stop signal after DURATION, so that load balancers stop sending requests first; a
    /// second one ends the delay
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    signal_delay: Option<Duration>,
    /// Inherit orphans although drainit is not PID 1: the default
    #[arg(short, long, overrides_with = "no_subreaper")]
    subreaper: bool,
    /// Do not inherit orphans if drainit is not PID 1
    #[arg(long, conflicts_with_all = ["grace_period", "wait_all"])]
    no_subreaper: bool,
    /// Log signals, starts and exits to stderr
    #[arg(short, long)]
    verbose: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
    // Last: its heading applies to all options after it.
    #[command(flatten)]
    drain: DrainArgs,
}

/// Runs `drainit exec [--] CMD`, without options; `None` for any other command line.
///
/// This is the usual form. clap would take 250,000 instructions, four times as many as everything
/// else.
pub(super) fn exec_plainly(args: &[OsString]) -> Option<u8> {
    let (verb, rest) = args.get(1..)?.split_first()?;
    let command = match rest.split_first()? {
        (first, command) if first == "--" => command,
        (first, _) if first.as_encoded_bytes().starts_with(b"-") => return None,
        _ => rest,
    };
    (verb == "exec" && !command.is_empty()).then(|| exec::run(&ExecOptions::new(command.to_vec())))
}

/// Runs the command; returns the exit code for drainit.
pub(super) fn exec(args: ExecArgs) -> u8 {
    match checked(args) {
        Ok((options, Some(drain))) => with_drain::run(&options, &drain),
        Ok((options, None)) => exec::run(&options),
        Err(message) => {
            exec::tell(&format!("error: {message}"));
            exit_code::USAGE
        }
    }
}

/// The options; the error is why they contradict each other.
pub(super) fn checked(args: ExecArgs) -> Result<(ExecOptions, Option<DrainOptions>), String> {
    let (options, drain) = options(args);
    match wrong(&options, drain.as_ref()) {
        Some(message) => Err(message),
        None => Ok((options, drain)),
    }
}

fn options(args: ExecArgs) -> (ExecOptions, Option<DrainOptions>) {
    let mut options = ExecOptions::new(args.command);
    if !args.stop_signals.is_empty() {
        options.stop_signals = args.stop_signals;
    }
    options.group = args.group;
    options.rewrites = args.rewrites.into_iter().collect();
    options.remap_exit = args.remap_exit;
    options.parent_death_signal = args.parent_death_signal;
    options.grace_period = args.grace_period;
    options.wait_all = args.wait_all;
    options.signal_delay = args.signal_delay.unwrap_or_default();
    options.subreaper = !args.no_subreaper;
    options.verbose = args.verbose;
    (options, args.drain.options())
}

/// The error of options that contradict each other, beyond what clap checks.
fn wrong(options: &ExecOptions, drain: Option<&DrainOptions>) -> Option<String> {
    let delay = options.signal_delay;
    if let Some(grace) = options.grace_period
        && delay >= grace
    {
        return Some(format!(
            "--signal-delay {} leaves nothing of --grace-period {}; make it shorter",
            human(delay),
            human(grace)
        ));
    }
    let drain = drain?;
    let time = drain.time.unwrap_or(Drain::DEFAULT_TIME);
    if let Some(min) = drain.min
        && min > time
        && !time.is_zero()
    {
        let (min, time) = (human(min), human(time));
        return Some(format!("--drain-min {min} is longer than --drain-time {time}"));
    }
    with_drain::config(options, drain).err()
}

fn stop_signal(text: &str) -> Result<Signal, String> {
    match signal(text)? {
        Signal::CHLD => Err("the end of a child sends it, too".to_owned()),
        signal if signal == Signal::KILL || signal == Signal::STOP => {
            Err(format!("{signal} never arrives: the kernel acts on it itself"))
        }
        signal => Ok(signal),
    }
}
