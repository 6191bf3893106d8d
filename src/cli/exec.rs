//! The options of `drainit exec`, and what they may be.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::cli::exec_drain::DrainArgs;
use crate::cli::values::{duration, positive};
use crate::config::Drain;
use crate::exec;
use crate::exec::ExecOptions;
use crate::exec::rewrite::{Rewrite, signal};
use crate::exec::with_drain;
use crate::exec::with_drain::DrainOptions;
use crate::types::{Signal, exit_code, human};

/// Runs one command without a config.
#[derive(Debug, Args)]
#[command(
    override_usage = "drainit exec [OPTIONS] [--] CMD [ARGS]...",
    after_help = "The exit code is the command's own, 128+N if signal N ended it, 127 if it does not exist, 126 if it \
        cannot be executed.\nSignals are names or numbers: TERM, SIGTERM, 15, RTMIN+3. \
        Durations are 500ms, 15s, 2m, or a number of seconds.\n\
        Descriptors of a socket activation (LISTEN_FDS), and the terminal on stdin, are handed over to the command, unless it is \
        drained; all other descriptors from 3 on are not.\n\
        With a drain, which is of one kind, the shutdown is that of `drainit run`, its exit codes too, and fits into the \
        grace period (30s if it is not given). The stop signal comes when the command is drained, or has no more time:\n\
        \n  drainit exec --drain-envoy http://127.0.0.1:9901 --drain-time 15s -- envoy -c /etc/envoy.yaml"
)]
pub struct ExecArgs {
    /// Send signals to the command's whole process group, not only to the command itself
    #[arg(short, long)]
    group: bool,
    /// Pass on R where S is received; R may be 0, which drops it. May be repeated
    #[arg(short, long = "rewrite", value_name = "S:R")]
    rewrites: Vec<Rewrite>,
    /// End with 0 where the command ends with CODE, such as 143. May be repeated
    #[arg(short = 'e', long = "remap-exit", value_name = "CODE", allow_hyphen_values = true)]
    remap_exit: Vec<u8>,
    /// Act as if SIG had been sent when the parent of drainit dies; KILL kills the command, too
    #[arg(short, long, value_name = "SIG", value_parser = signal)]
    parent_death_signal: Option<Signal>,
    /// A signal that asks for the stop. May be repeated [default: TERM, INT and QUIT]
    #[arg(long = "stop-signal", value_name = "SIG", value_parser = stop_signal)]
    stop_signals: Vec<Signal>,
    /// Kill what is left of the command's process group so long after the stop signal; what a command that has ended
    /// leaves in it gets TERM, and KILL when this is over [default: wait for the command, and for nothing after it]
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    grace_period: Option<Duration>,
    /// End when all descendants have ended. Once asked to stop, they get TERM when the command has ended, and KILL when
    /// the grace period (10s if it is not given) is over
    #[arg(long)]
    wait_all: bool,
    /// Pass a stop signal on only after DURATION, so that load balancers learn of it first; a second one cuts that short
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    signal_delay: Option<Duration>,
    /// Take in orphans although drainit is not PID 1: the default
    #[arg(short, long, overrides_with = "no_subreaper")]
    subreaper: bool,
    /// Leave orphans to others where drainit is not PID 1
    #[arg(long, conflicts_with_all = ["grace_period", "wait_all"])]
    no_subreaper: bool,
    /// Say on stderr what is received, sent, started and reaped
    #[arg(short, long)]
    verbose: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
    // Last: the heading of its options goes on to whatever follows.
    #[command(flatten)]
    drain: DrainArgs,
}

/// Runs `drainit exec -- CMD`, where there is no option to read. `None` for any other command line.
///
/// That is how almost everybody starts it, and clap would take a tenth of the time.
pub(super) fn exec_plainly(args: &[OsString]) -> Option<u8> {
    let (verb, rest) = args.get(1..)?.split_first()?;
    let command = match rest.split_first()? {
        (first, command) if first == "--" => command,
        (first, _) if first.as_encoded_bytes().starts_with(b"-") => return None,
        _ => rest,
    };
    (verb == "exec" && !command.is_empty()).then(|| exec::run(&ExecOptions::new(command.to_vec())))
}

/// Runs the command to its end; the exit code for drainit.
pub(super) fn exec(args: ExecArgs) -> u8 {
    let (options, drain) = options(args);
    match wrong(&options, drain.as_ref()) {
        Some(message) => {
            exec::tell(&format!("error: {message}"));
            exit_code::USAGE
        }
        None => match drain {
            Some(drain) => with_drain::run(&options, &drain),
            None => exec::run(&options),
        },
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

/// What does not go together, beyond what clap knows.
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
