//! `exec` with a drain. The supervisor of `run` carries out a config that has only this one
//! command. Therefore the drain, the deadline, the second and third stop signal and the report work
//! as in `run`.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{
    Config, DEFAULT_MIN, Drain, DrainMethod, DrainTimes, EnvoyDrain, LogFormat, Process, Readiness,
    Shutdown, Variable,
};
use crate::control::listen::ControlListeners;
use crate::exec::options::ExecOptions;
use crate::exec::rewrite::Rewrites;
use crate::exec::{fail, tell};
use crate::exec_options::{OPTIONS, contradicts_a_drain};
use crate::graph::Graph;
use crate::load::Environment;
use crate::logging::Output;
use crate::logging::subscriber;
use crate::os::signal::fd::Signals;
use crate::os::{boot, clock, panic_hook};
use crate::supervisor;
use crate::supervisor::Setup;
use crate::types::{Signal, exit_code, harmless, human};

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

/// The names of the options and variables in messages.
const TIME: &str = "--drain-time (DRAINIT_DRAIN_TIME)";
const MIN: &str = "--drain-min (DRAINIT_DRAIN_MIN)";
const UNREADY_DELAY: &str = "--unready-delay (DRAINIT_UNREADY_DELAY)";

/// Runs the command, and drains it before the stop. Returns the exit code for drainit, like `run`.
pub fn run(options: &ExecOptions, drain: &DrainOptions) -> u8 {
    panic_hook::install();
    let began = clock::now();
    let set_up = || {
        boot::prepare()?;
        let signals = Signals::install()?;
        options.parent_death_signal.map(boot::set_parent_death_signal).transpose()?;
        io::Result::Ok(signals)
    };
    let signals = match set_up() {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot set up: {error}"), exit_code::SOFTWARE),
    };
    let mut config = match config(options, drain) {
        Ok(config) => config,
        Err(error) => return fail(&error, exit_code::USAGE),
    };
    let environment = Environment::from_process();
    config.logging.format = match environment.get("DRAINIT_LOG_FORMAT").unwrap_or_default() {
        "json" => LogFormat::Json,
        "" | "text" => LogFormat::Text,
        _ => return fail(&"`DRAINIT_LOG_FORMAT` is neither `text` nor `json`", exit_code::CONFIG),
    };
    let graph = Graph::edgeless(config.processes.len());
    let output = Output::stdio();
    output.set_format(config.logging.format);
    let level = subscriber::level(environment.get(subscriber::LEVEL_VARIABLE));
    let level = level.unwrap_or_else(|error| {
        tell(&format!("warning: {error}"));
        tracing::Level::INFO
    });
    let level = if options.verbose { level.max(tracing::Level::DEBUG) } else { level };
    subscriber::install(Arc::clone(&output), level);
    // An error is ignored, because the command has to run even if nobody can reach drainit.
    let listeners = ControlListeners::bind(&config.control).ok();
    if let Some(warning) = cut_short(&config.shutdown, drain) {
        tracing::warn!("{warning}");
    }
    let setup = Setup {
        config,
        source: None,
        graph,
        args: vec![Vec::new()],
        output,
        signals,
        began,
        listeners,
        sockets: vec![Vec::new()],
        successes: options.remap_exit.clone(),
    };
    supervisor::run(setup)
}

/// Converts the options to a config.
///
/// # Errors
/// Fails if options contradict each other, or if a config cannot express them.
pub fn config(options: &ExecOptions, drain: &DrainOptions) -> Result<Config, String> {
    let flag = |is_set: bool| is_set.then(String::new);
    for (option, value) in [
        ("--group", flag(options.group)),
        ("--rewrite", flag(options.rewrites != Rewrites::default())),
        ("--no-subreaper", flag(!options.subreaper)),
        ("--parent-death-signal", options.parent_death_signal.map(|signal| signal.to_string())),
    ] {
        if let Some(value) = value.filter(|value| contradicts_a_drain(option, value)) {
            let option = format!("{option} {value}");
            return Err(format!(
                "{} cannot be used with a drain (--drain-envoy, DRAINIT_DRAIN_ENVOY)",
                option.trim_end()
            ));
        }
    }
    let text = |arg: &OsString| {
        arg.to_str().map(str::to_owned).ok_or_else(|| {
            let arg = arg.to_string_lossy();
            format!("`{arg}` is not UTF-8: a command with a drain must be UTF-8")
        })
    };
    let command = options.command.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let name = command.first().and_then(|program| Path::new(program).file_name());
    let name = name.map_or_else(
        || "command".to_owned(),
        |name| harmless(&name.to_string_lossy()).into_owned(),
    );
    let defaults = Shutdown::default();
    let grace_period = options.grace_period.unwrap_or(defaults.grace_period);
    let shutdown = Shutdown {
        grace_period,
        // If the grace period is short, the reserve is only a tenth of it.
        reserve: defaults.reserve.min(grace_period / 10),
        readiness_delay: Duration::ZERO,
        unready_delay: drain.unready_delay,
        signals: options.stop_signals.clone(),
        report: None,
    };
    let method = DrainMethod::Envoy(drain.envoy.clone());
    let room = shutdown.window();
    let time = drain.time.unwrap_or(DrainTimes::default().time);
    let min = drain.min.unwrap_or(DEFAULT_MIN.min(room).min(time));
    if min > time && !time.is_zero() {
        let (min, time) = (human(min), human(time));
        return Err(format!("{MIN} {min} is longer than {TIME} {time}"));
    }
    let min = min.min(time);
    if min > room || room.is_zero() {
        return Err(format!(
            "{MIN} {} does not fit into --grace-period {} less its reserve of {}",
            human(min),
            human(grace_period),
            human(shutdown.reserve),
        ));
    }
    if let Some(why) = shutdown.too_long_ready() {
        return Err(format!("{UNREADY_DELAY} {why}"));
    }
    // All signals except SIGKILL, SIGCHLD and the stop signals are forwarded, because Envoy can use
    // them. For example, SIGUSR1 makes Envoy reopen its logs.
    let is_forwarded = |signal: &Signal| {
        ![Signal::KILL, Signal::CHLD].contains(signal) && !options.stop_signals.contains(signal)
    };
    let process = Process {
        stop_signal: options.stop_signals.first().copied().unwrap_or(Signal::TERM),
        forward_signals: (1..=64).filter_map(Signal::from_number).filter(is_forwarded).collect(),
        environment: OPTIONS.map(|it| Variable::Removed(it.variable.to_owned())).into(),
        readiness: drain
            .readiness
            .map(|timeout| Readiness::of_envoy(drain.envoy.admin.clone(), timeout)),
        drain: (!time.is_zero()).then_some(Drain { method, time, min }),
        ..Process::new(name, command)
    };
    Ok(Config { shutdown, processes: vec![Arc::new(process)], ..Config::default() })
}

/// The warning for a `--drain-time` that is longer than the grace period less its reserve; `None`
/// for a shorter time. The default time is shortened without a warning.
fn cut_short(shutdown: &Shutdown, drain: &DrainOptions) -> Option<String> {
    let (time, room) = (drain.time?, shutdown.window());
    (time > room).then(|| {
        format!(
            "{TIME} {} is cut short to the {} that --grace-period {} leaves; raise it together \
             with the grace period of the pod",
            human(time),
            human(room),
            human(shutdown.grace_period)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Address;
    use crate::exec::rewrite::Rewrite;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn options(grace: Option<u64>, rewrites: &[&str]) -> ExecOptions {
        let mut options = ExecOptions::new(vec!["/usr/bin/envoy".into(), "${PATH}".into()]);
        options.grace_period = grace.map(seconds);
        options.rewrites = rewrites.iter().map(|text| text.parse::<Rewrite>().unwrap()).collect();
        options
    }

    fn drain(time: Option<u64>, min: Option<u64>) -> DrainOptions {
        let envoy = EnvoyDrain::at(Address::Unix("/run/admin.sock".into()));
        DrainOptions {
            envoy,
            time: time.map(seconds),
            min: min.map(seconds),
            readiness: None,
            unready_delay: Duration::ZERO,
        }
    }

    // holds: C418, C420, C422
    #[test]
    fn options_become_a_config() {
        let mut options = options(Some(60), &[]);
        options.stop_signals = vec![Signal::USR2, Signal::INT];
        let config = config(&options, &drain(Some(15), None)).unwrap();
        let process = &config.processes[0];
        assert_eq!(process.stop_signal, Signal::USR2);
        assert_eq!(process.name, "envoy");
        // `exec` does not expand variables in the command.
        assert_eq!(process.command, ["/usr/bin/envoy", "${PATH}"]);
        assert_eq!(config.shutdown.grace_period, seconds(60));
        assert_eq!(config.shutdown.reserve, seconds(2));
        let drain = process.drain.as_ref().unwrap();
        assert_eq!((drain.time, drain.min), (seconds(15), seconds(5)));
        for (signal, forwarded) in [(Signal::USR1, true), (Signal::HUP, true), (Signal::INT, false)]
        {
            assert_eq!(process.forward_signals.contains(&signal), forwarded, "{signal}");
        }
    }

    // holds: C424
    #[test]
    fn default_min_is_shortened_to_fit() {
        for (grace, time, min) in [(30, 15, 5000), (30, 3, 3000), (3, 15, 2700), (1, 15, 900)] {
            let config = config(&options(Some(grace), &[]), &drain(Some(time), None)).unwrap();
            let drain = config.processes[0].drain.as_ref().unwrap();
            assert_eq!(drain.min, Duration::from_millis(min), "{grace} {time}");
        }
        assert!(config(&options(Some(3), &[]), &drain(Some(15), Some(3))).is_err());
        assert!(config(&options(None, &["TERM:QUIT"]), &drain(None, None)).is_err());
        for (time, is_warned) in [(Some(60), true), (Some(28), false), (None, false)] {
            let drain = drain(time, None);
            let config = config(&options(None, &[]), &drain).unwrap();
            assert_eq!(cut_short(&config.shutdown, &drain).is_some(), is_warned, "{time:?}");
        }
        assert!(
            config(&options(None, &[]), &drain(Some(0), None)).unwrap().processes[0]
                .drain
                .is_none()
        );
    }

    // holds: C975
    #[test]
    fn an_unready_delay_that_leaves_no_time_is_refused() {
        let config = |delay: u64| {
            let unready_delay = seconds(delay);
            config(&options(None, &[]), &DrainOptions { unready_delay, ..drain(Some(15), None) })
        };
        assert_eq!(config(27).unwrap().shutdown.unready_delay, seconds(27));
        let refused = config(28).unwrap_err();
        assert!(refused.ends_with(") (28s) leaves nothing of the 28s until the deadline"));
    }
}
