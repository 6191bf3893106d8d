//! The options of `drainit exec`, and what they may be.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use crate::config::schema::{Address, DrainUntil};
use crate::config::values;
use crate::exec::drain::{self, DrainOptions};
use crate::exec::rewrite::{Rewrite, signal};
use crate::exec::{self, Options};
use crate::vocab::{Signal, exit_code, human};

/// Runs one command without a config.
#[derive(Debug, Args)]
#[command(
    override_usage = "drainit exec [OPTIONS] [--] CMD [ARGS]...",
    after_help = "The exit code is the command's own, 128+N if signal N ended it, 127 if it does not exist, 126 if it \
        cannot be executed.\nSignals are names or numbers: TERM, SIGTERM, 15, RTMIN+3. \
        Durations are 500ms, 15s, 2m, or a number of seconds.\n\
        Descriptors of a socket activation (LISTEN_FDS) are handed over to the command; all others from 3 on are not."
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
    /// Before the stop, drain the command, which is an Envoy with its admin at ADMIN: http://127.0.0.1:9901 or
    /// unix:/path. The shutdown is then that of `drainit run`, its exit codes too, and fits into the grace period (30s
    /// if it is not given)
    #[arg(long, value_name = "ADMIN", value_parser = server, conflicts_with_all = ["group", "wait_all", "no_subreaper"])]
    drain_envoy: Option<Address>,
    /// The longest wait for connections to end [default: 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "drain_envoy")]
    drain_time: Option<Duration>,
    /// The shortest wait, while clients learn that this instance goes [default: 5s, or the longest]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "drain_envoy")]
    drain_min: Option<Duration>,
    /// What there must be none of for the drain to be over: connections, or requests for clients that never let go of
    /// their connection [default: connections]
    #[arg(long, value_name = "WHAT", value_parser = until, requires = "drain_envoy")]
    drain_until: Option<DrainUntil>,
    /// Do not let Envoy fail health checks, which is what makes it close connections
    #[arg(long, requires = "drain_envoy")]
    no_fail_healthcheck: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
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
    (verb == "exec" && !command.is_empty()).then(|| exec::run(&Options::new(command.to_vec())))
}

/// Runs the command to its end; the exit code for drainit.
pub(super) fn exec(args: ExecArgs) -> u8 {
    let drain = args.drain_envoy.clone().map(|admin| {
        let time = args.drain_time.unwrap_or(drain::DEFAULT_TIME);
        let fail_healthcheck = !args.no_fail_healthcheck;
        let until = args.drain_until.unwrap_or_default();
        DrainOptions { admin, time, min: args.drain_min, fail_healthcheck, until }
    });
    let options = options(args);
    match wrong(&options, drain.as_ref()) {
        Some(message) => {
            exec::tell(&format!("error: {message}"));
            exit_code::USAGE
        }
        None => match drain {
            Some(drain) => drain::run(&options, &drain),
            None => exec::run(&options),
        },
    }
}

fn options(args: ExecArgs) -> Options {
    let mut options = Options::new(args.command);
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
    options
}

/// What does not go together, beyond what clap knows.
fn wrong(options: &Options, drain: Option<&DrainOptions>) -> Option<String> {
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
    if let Some(min) = drain.min
        && min > drain.time
    {
        let time = human(drain.time);
        return Some(format!("--drain-min {} is longer than --drain-time {time}", human(min)));
    }
    drain::config(options, drain).err()
}

pub(super) fn explain(bad: values::Bad) -> String {
    format!("{}; {}", bad.why, bad.help)
}

fn duration(text: &str) -> Result<Duration, String> {
    values::duration(text).map_err(explain)
}

pub(super) fn positive(text: &str) -> Result<Duration, String> {
    values::positive_duration(text).map_err(explain)
}

fn server(text: &str) -> Result<Address, String> {
    values::server(text).map_err(explain)
}

fn until(text: &str) -> Result<DrainUntil, String> {
    values::drain_until(text).map_err(explain)
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
